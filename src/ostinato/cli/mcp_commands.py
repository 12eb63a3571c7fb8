"""`ostinato mcp ...`: the fleet's servers of tools.

Knows nothing of how operations work.
"""

from __future__ import annotations

from ostinato.cli.client import Client
from ostinato.cli.options import Commands, Fleet, Json
from ostinato.cli.screen import Screen
from ostinato.gateway import pins_api
from ostinato.gateway.operation import Nothing


def list_servers(*, fleet: Fleet = None, as_json: Json = False) -> None:
    """Which servers are up, what they offer, what is withheld or not taken, and why.

    Example: ostinato mcp list
    """
    screen = Screen()
    found = Client(fleet).call(pins_api.list_servers, Nothing())
    if as_json:
        screen.json(found)
        return
    if not found.node_running:
        screen.say("No node is running, so no server is. Start one with: ostinato up")
        return
    rows = [
        (each.name, each.state, str(len(each.tools)), str(len(each.withheld)), each.problem or each.where)
        for each in found.servers
    ]
    screen.table(("SERVER", "STATE", "TOOLS", "WITHHELD", "ABOUT"), rows, grow=4)
    for each in found.servers:
        for tool in each.tools:
            screen.say(f"mcp.{each.name}.{tool}")
        for tool in each.withheld:
            screen.say(f"mcp.{each.name}.{tool}: withheld, look with: ostinato pins show mcp.{each.name}.{tool}")
        for words in each.refused:
            screen.say(f"{each.name}: not taken: {words}")


HELP = "Servers of the Model Context Protocol: which are up, and what they offer."

COMMANDS: Commands = {"list": list_servers}
