"""`ostinato breakers ...`: what is left alone because it kept failing.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import typer

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json
from ostinato.cli.screen import Screen
from ostinato.cli.words import when
from ostinato.gateway import breakers_api
from ostinato.gateway.operation import Nothing


def list_breakers(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """What has failed lately, and what is left alone because of it.

    Example: ostinato breakers list
    """
    screen = Screen()
    found = Client(fleet).call(breakers_api.list_breakers, Nothing())
    if as_json:
        screen.json(found)
        return
    rows = [
        (each.name, each.state, str(each.failures), _next(each), each.reason.split("\n")[0]) for each in found.breakers
    ]
    screen.table(("BREAKER", "STATE", "FAILED", "NEXT", "LAST FAILURE"), rows, grow=4)


def reset(
    breaker: Annotated[str, typer.Argument(metavar="BREAKER", help="Such as agent:clerk or host:api.example.com.")],
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Close it now: calls go again, and tasks that waited for it go on.

    Example: ostinato breakers reset agent:clerk
    """
    screen = Screen()
    found = Client(fleet).call(breakers_api.reset, breakers_api.WhichBreaker(breaker=breaker))
    screen.answer(found, f"{found.name} is closed: calls go again", as_json=as_json)


def _next(each: breakers_api.BreakerView) -> str:
    match each.state:
        case "open":
            return f"a try {when(each.until_at)}"
        case "half_open":
            return f"{each.probe} is trying"
        case _:
            return "calls go"


HELP = "What is left alone because it kept failing: models, hosts, tools, channels, agents."

COMMANDS: Commands = {"list": list_breakers, "reset": reset}
