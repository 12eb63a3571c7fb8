"""`ostinato tools ...`: which tools there are, and what would happen if an agent called one.

Knows nothing of how operations work.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
import typer

from ostinato.cli.client import Client
from ostinato.cli.options import AgentId, Commands, Fleet, Json
from ostinato.cli.screen import Screen
from ostinato.gateway import tools_api
from ostinato.gateway.tools_api import CallView


def list_tools(
    agent: Annotated[
        str | None, typer.Argument(metavar="[AGENT]", help="Which of them this agent has, and why.")
    ] = None,
    *,
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """Tools; for an agent, which it has.

    Example: ostinato tools list triage
    """
    screen = Screen()
    found = Client(fleet).call(tools_api.list_tools, tools_api.WhichTools(agent=agent))
    if as_json:
        screen.json(found)
        return
    if agent is None:
        rows = [(each.name, each.effect, _marks(each), each.description) for each in found.tools]
        screen.table(("TOOL", "EFFECT", "", "WHAT IT DOES"), rows, grow=3)
        return
    granted = [
        (each.name, "yes" if each.granted else "no", each.effect, each.rule, each.description) for each in found.tools
    ]
    screen.table(("TOOL", "GRANTED", "EFFECT", "RULE", "WHAT IT DOES"), granted, grow=4)


def check(
    agent: AgentId,
    tool: Annotated[str, typer.Argument(metavar="TOOL", help="Such as message.send.")],
    arguments: Annotated[str, typer.Argument(metavar="JSON", help="The call's arguments.")] = "{}",
    *,
    tainted: Annotated[bool, typer.Option("--tainted", help="As if the turn had read text from strangers.")] = False,
    private: Annotated[bool, typer.Option("--private", help="As if it had read private data, too.")] = False,
    requester: Annotated[
        str, typer.Option("--for", metavar="PERSON", help="On whose behalf the turn would work.")
    ] = "operator",
    fleet: Fleet = None,
    as_json: Json = False,
) -> None:
    """What would happen if the agent made this call, and why. Nothing is done.

    Example: ostinato tools check billing message.send '{"to": "operator", "text": "hi"}'
    """
    screen = Screen()
    request = tools_api.CheckCall(
        agent=agent,
        tool=tool,
        arguments=arguments,
        requester=requester,
        trust="external" if tainted else "operator",
        private=private,
    )
    view = Client(fleet).call(tools_api.check, request)
    if as_json:
        screen.json(view)
    else:
        _show(screen, view)


def _marks(tool: tools_api.ToolView) -> str:
    marks = (("outward", tool.outward), ("strangers' text", tool.outside_text), ("private", tool.private))
    return ", ".join(name for name, holds in marks if holds)


_OUTCOMES = {
    "allow": "allowed: it would be done at once",
    "ask": "asks: a person would decide",
    "deny": "denied: the model would read the reason",
    "invalid": "no valid call: the model would read what is wrong",
}


def _show(screen: Screen, view: CallView) -> None:
    screen.say(_OUTCOMES[view.decision], style="strong")
    screen.pairs(
        [
            ("why", view.reason),
            ("rule", view.rule),
            ("effect", f"{view.effect or ''}{', seen outside' if view.outward else ''}"),
            ("recipient", view.recipient or ""),
            ("hosts", ", ".join(view.hosts)),
            ("reads", ", ".join(view.reads)),
            ("writes", ", ".join(view.writes)),
            ("costs", f"up to ${view.cost_usd:.4f}" if view.cost_usd else ""),
            ("asks", view.asks or ""),
            ("but", view.paused),
        ]
    )
    if view.question is None:
        return
    screen.say(f"\nwhat {view.asks} would see: {view.question}", style="strong")
    for name, value in {**view.arguments, **view.bound}.items():
        screen.say(f"  {name}: {value if isinstance(value, str) else msgspec.json.encode(value).decode()}")


HELP = "Tools, and what would happen if an agent called one."

COMMANDS: Commands = {"list": list_tools, "check": check}
