"""What is wrong with whatever a fleet brings with it: Python tools that cannot be loaded, and tools that are granted
and that nobody offers.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.gateway.context import Context, Problem
from ostinato.tools.python.family import examine


async def plugin_problems(context: Context) -> Sequence[Problem]:
    """All of it; looks at the files anew, and at what servers offered when they were seen last."""
    findings = await examine(context.definitions.root)
    found = [Problem(level="error", place=each.place, message=each.message, cure=each.cure) for each in findings]
    return [*found, *await _not_offered(context)]


async def _not_offered(context: Context) -> list[Problem]:
    """Tools of servers that were seen, and that had no such tool."""
    seen = {each.name: each for each in await context.store.read(lambda reads: reads.pins())}
    servers = {name.split(".")[1] for name in seen if name.startswith("mcp.")}
    problems = []
    for card in await context.cards():
        for tool in card.tools:
            parts = tool.split(".")
            place = f"agents/{card.id}/TOOLS.md, key 'mcp'"
            if parts[0] != "mcp" or len(parts) != 3 or "*" in tool or parts[1] not in servers:
                continue
            if tool not in seen:
                message, cure = f"The server {parts[1]!r} does not offer {parts[2]!r}", "See: ostinato mcp list"
            elif seen[tool].is_withheld:
                message, cure = f"{tool} has changed and is withheld", f"Look: ostinato pins show {tool}"
            else:
                continue
            problems.append(Problem(level="warning", place=place, message=message, cure=cure, agent=card.id))
    return problems
