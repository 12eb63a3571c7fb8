"""`ostinato pins ...`: what servers and skills said when they were let in, and what a person does about a change.

Knows nothing of how operations work.
"""

from __future__ import annotations

import difflib
from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json
from ostinato.cli.screen import Screen
from ostinato.cli.words import when
from ostinato.gateway import pins_api
from ostinato.gateway.operation import Nothing

PinName = Annotated[str, typer.Argument(metavar="NAME", help="Such as mcp.github.list_issues or skills.triage.")]


def list_pins(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """What was let in, and what of it has changed since and is withheld.

    Example: ostinato pins list
    """
    screen = Screen()
    found = Client(fleet).call(pins_api.list_pins, Nothing())
    if as_json:
        screen.json(found)
        return
    rows = [
        (each.name, each.state, each.seen_digest[:12], f"{when(each.accepted_at)} {_by(each.accepted_by)}")
        for each in found.pins
    ]
    screen.table(("NAME", "STATE", "NOW", "ACCEPTED"), rows, grow=0)


def show(name: PinName, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """What it says now, and what has changed since it was accepted.

    Example: ostinato pins show mcp.github.list_issues
    """
    screen = Screen()
    found = Client(fleet).call(pins_api.show, pins_api.WhichPin(pin=name))
    if as_json:
        screen.json(found)
        return
    pin = found.pin
    screen.say(f"{pin.name}: {pin.state}, accepted {when(pin.accepted_at)} {_by(pin.accepted_by)}")
    before, after = found.accepted_text.splitlines(), found.seen_text.splitlines()
    if pin.state != "withheld":
        lines = after
    else:
        lines = list(difflib.unified_diff(before, after, "accepted", "now", lineterm="", n=len(after)))
    for line in lines:
        screen.say(line)
    if pin.state != "accepted":
        screen.say(f"To accept it as it is now: ostinato pins accept {pin.name} {pin.seen_digest[:12]}")


def accept(
    name: PinName,
    digest: Annotated[str, typer.Argument(metavar="DIGEST", help="As `pins show` gives it: what you accept.")],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Accept it as it is now: it can be used again.

    Example: ostinato pins accept mcp.github.list_issues 3f1c09a2b7de
    """
    screen = Screen()
    found = Client(fleet).call(pins_api.accept, pins_api.AcceptPin(pin=name, digest=digest))
    screen.answer(found, f"{found.pin.name} is accepted as it is now ({found.pin.digest[:12]})", as_json=as_json)


def _by(person: str) -> str:
    return f"by {person}" if person else "at first sight"


HELP = "Tools of servers, and skills: what was let in, and what has changed since."

COMMANDS: Commands = {"list": list_pins, "show": show, "accept": accept}
