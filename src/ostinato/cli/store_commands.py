"""Commands about where a fleet's truth is kept: copy.

Knows nothing of databases.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet
from ostinato.cli.screen import Screen
from ostinato.domain.errors import Conflict

HELP = "Move the fleet's truth to another kind of store."

SQLITE = "sqlite"


def copy(
    target: Annotated[
        str, typer.Argument(metavar="TARGET", help="postgresql://user@host:5432/database, or sqlite: the own folder.")
    ],
    *,
    password_env: Annotated[
        str | None,
        typer.Option("--password-env", metavar="NAME", help="The environment variable with the target's password."),
    ] = None,
    fleet: Fleet = None,
) -> None:
    """Copy everything into an empty store of the other kind, and compare; no node may run. The fleet's file then says
    which one counts.

    Example: ostinato store copy postgresql://fleet@db.example.com/fleet --password-env FLEET_DB
    """
    from ostinato.app import copy_here, make_state_folder

    client = Client(fleet)
    if client.node_runs():
        raise Conflict("A node of this fleet is running", cure="Stop it first: Ctrl-C where `ostinato up` runs.")
    make_state_folder(client.state_dir)
    copied = copy_here(client.fleet, target, password_env=password_env)
    screen = Screen()
    for table, rows in copied.items():
        if rows:
            screen.say(f"{rows:>9} {table}")
    screen.say(f"copied and compared: {sum(copied.values())} rows")
    screen.say("Now let the fleet use it, in ostinato.toml:", style="strong")
    screen.say("  [store]")
    if target == SQLITE:
        screen.say('  kind = "sqlite"  # without url, password_env and lease')
        return
    screen.say(f'  url = "{target}"')
    if password_env:
        screen.say(f'  password_env = "{password_env}"')


COMMANDS: Commands = {"copy": copy}
