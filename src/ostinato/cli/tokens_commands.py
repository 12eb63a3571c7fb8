"""`ostinato tokens ...`: who may decide in this fleet.

Knows nothing of how operations work. A token is never an argument: arguments show in lists of processes.
"""

from __future__ import annotations

import sys
from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json
from ostinato.cli.screen import Screen
from ostinato.cli.words import when
from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.person import TOKEN_MARK
from ostinato.gateway import people_api
from ostinato.gateway.operation import Nothing

TokenId = Annotated[str, typer.Argument(metavar="TOKEN", help="K3, or just 3.")]


def add(
    person: Annotated[str, typer.Argument(metavar="PERSON", help="Their login, or their address of mail.")],
    *,
    role: Annotated[str, typer.Option("--role", metavar="ROLE", help="viewer, operator or admin.")] = "operator",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Let a person in: make a token for them, shown once.

    Example: ostinato tokens add ann --role operator
    """
    screen = Screen()
    made = Client(fleet).call(people_api.add, people_api.AddToken(person=person, role=role))
    if as_json:
        screen.json(made)
        return
    screen.say(f"{made.token.id}: {made.token.person} is {made.token.role} now. Their token, shown only here:")
    screen.say(made.secret, style="strong")
    screen.say("They keep it with: ostinato tokens use")


def list_tokens(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """Who may decide here, and by whose word.

    Example: ostinato tokens list
    """
    screen = Screen()
    found = Client(fleet).call(people_api.list_tokens, Nothing())
    if as_json:
        screen.json(found)
        return
    rows = [
        (
            each.id,
            each.person,
            each.role,
            f"{when(each.added_at)} by {each.added_by}",
            f"{when(each.revoked_at)} by {each.revoked_by}" if each.revoked_at else "-",
        )
        for each in found.tokens
    ]
    screen.table(("TOKEN", "PERSON", "ROLE", "ADDED", "REVOKED"), rows, grow=1)


def revoke(token: TokenId, *, fleet: Fleet = None, as_json: Json = False) -> None:
    """Take a token away: it opens nothing from now on.

    Example: ostinato tokens revoke K3
    """
    screen = Screen()
    gone = Client(fleet).call(people_api.revoke, people_api.WhichToken(token=token))
    screen.answer(gone, f"{gone.id} of {gone.person} is revoked", as_json=as_json)


def use(*, fleet: Fleet = None) -> None:
    """Keep the token that an admin gave you, in your own configuration directory; it is read from standard input.

    Example: ostinato tokens use
    """
    from ostinato.app import make_state_folder
    from ostinato.gateway.access import own_name
    from ostinato.gateway.keyring import keep

    client, screen = Client(fleet), Screen()
    token = typer.prompt("Token", hide_input=True) if sys.stdin.isatty() else sys.stdin.readline(1_000)
    token = token.strip()
    if not token.startswith(TOKEN_MARK) or not token.isascii() or " " in token:
        raise Invalid("This is no token", place="standard input", cure=f"They begin with {TOKEN_MARK!r}.")
    make_state_folder(client.state_dir)
    place = keep(client.state_dir, own_name(), token)
    screen.say(f"Your token is in {place}")
    me = client.call(people_api.whoami, Nothing())
    screen.say(f"You are {me.person}, {me.role} of this fleet")


def whoami(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """Who you are for this fleet.

    Example: ostinato tokens whoami
    """
    screen = Screen()
    me = Client(fleet).call(people_api.whoami, Nothing())
    screen.answer(me, f"{me.person}, {me.role}", as_json=as_json)


def recover(*, fleet: Fleet = None) -> None:
    """Become an admin of your own fleet again, when the last token is lost; no node may run.

    Example: ostinato tokens recover
    """
    from ostinato.app import recover_here

    client, screen = Client(fleet), Screen()
    if client.node_runs():
        raise Conflict("A node of this fleet is running", cure="Stop it first: Ctrl-C where `ostinato up` runs.")
    token, place = recover_here(client.fleet)
    screen.say(f"K{token.id}: {token.person} is {token.role.word} now; the token is in {place}")
    screen.say("Revoke what is lost: ostinato tokens list")


HELP = "People and their tokens: who may decide."

COMMANDS: Commands = {
    "add": add,
    "list": list_tokens,
    "revoke": revoke,
    "use": use,
    "whoami": whoami,
    "recover": recover,
}
