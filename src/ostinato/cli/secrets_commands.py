"""`ostinato secrets ...`: which secrets are named, by whom, and whether they are there. Never a value.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json
from ostinato.cli.screen import Screen
from ostinato.domain.errors import Conflict
from ostinato.gateway import secrets_api
from ostinato.gateway.operation import Nothing

SecretName = Annotated[str, typer.Argument(metavar="NAME", help="As TOOLS.md or ostinato.toml names it.")]

_WHOSE = {"node": "the running node", "command": "this command (no node runs)"}


def list_secrets(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """Which secrets are named, by whom, where each comes from, and which are missing.

    Example: ostinato secrets list
    """
    screen = Screen()
    found = Client(fleet).call(secrets_api.list_secrets, Nothing())
    if as_json:
        screen.json(found)
        return
    if not found.secrets:
        screen.say("no secret is named: neither by a TOOLS.md nor by ostinato.toml")
        return
    rows = [(each.name, _state(each), ", ".join(each.users)) for each in found.secrets]
    screen.table(("NAME", "STATE", "FOR"), rows)
    screen.say(f"as {_WHOSE[found.seen_by]} sees it")


def try_secret(name: SecretName, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """Read one, and try whether it is taken out of text. Ends with 1 where it cannot be used safely.

    Example: ostinato secrets test BILLING_API_KEY
    """
    screen = Screen()
    found = Client(fleet).call(secrets_api.try_secret, secrets_api.WhichSecret(secret=name))
    screen.answer(
        found, f"{found.secret.name}: {_state(found.secret)}, as {_WHOSE[found.seen_by]} sees it", as_json=as_json
    )
    if not found.secret.is_present:
        raise Conflict(found.secret.problem, cure=f"Set {name} or {name}_FILE for the node.")
    if not found.is_taken_out:
        raise Conflict(f"{name} is too short to be taken out of text", cure="Ask its issuer for a longer one.")


def _state(secret: secrets_api.SecretView) -> str:
    if not secret.is_present:
        return f"missing: {secret.problem}"
    return f"from the {secret.source}{', weak' if secret.is_weak else ''}"


HELP = "Secrets by name: who may use them, and whether they are there."

COMMANDS: Commands = {"list": list_secrets, "test": try_secret}
