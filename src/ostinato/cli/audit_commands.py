"""`ostinato audit`: what people decided, changed and stopped, and whether the record of it is whole.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json
from ostinato.cli.screen import Screen
from ostinato.cli.words import count, when
from ostinato.gateway import audit_api
from ostinato.gateway.operation import Nothing


def list_audit(
    *,
    limit: Annotated[int, typer.Option("--limit", metavar="N", min=1, max=1_000, help="How many at most.")] = 50,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What people decided, changed and stopped, newest first.

    Example: ostinato audit list --limit 20
    """
    screen = Screen()
    found = Client(fleet).call(audit_api.list_audit, audit_api.WhichAudit(limit=limit))
    if as_json:
        screen.json(found)
        return
    rows = [
        (f"{each.incarnation}.{each.seq}", when(each.at), each.actor, each.name, _about(each.fact), each.reason)
        for each in found.rows
    ]
    if rows:
        screen.table(("ROW", "TIME", "WHO", "WHAT", "ABOUT", "WHY"), rows)
    else:
        screen.say("Nobody has decided anything yet")


def check(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """Look through the whole record for rows that were changed or taken out. Exits with 1 if one was.

    Example: ostinato audit check
    """
    screen = Screen()
    found = Client(fleet).call(audit_api.check, Nothing())
    if as_json:
        screen.json(found)
    elif found.ok:
        screen.say(f"{count(found.rows, 'row')} in {count(found.incarnations, 'chain')}: whole")
    else:
        screen.say(f"Somebody has tampered with the record: {found.problem}", style="bad")
    if not found.ok:
        raise typer.Exit(1)


def _about(fact: dict[str, object]) -> str:
    if fact.get("task"):
        return f"T{fact['task']}"
    return str(fact.get("agent") or fact.get("session") or fact.get("data") or "")


HELP = "What people did: decisions, changes of settings, stops."

COMMANDS: Commands = {
    "list": list_audit,
    "check": check,
}
