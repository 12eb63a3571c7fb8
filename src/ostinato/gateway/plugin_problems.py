"""What is wrong with whatever a fleet brings with it: Python tools and skills that cannot be read, and
whatever is granted that nobody offers.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from ostinato.domain.errors import unknown_name
from ostinato.gateway.context import Context, Problem
from ostinato.tools.python.family import ToolFinding, examine
from ostinato.tools.skills import FOLDER, READ_TOOL, SkillFinding, read_skills


async def plugin_problems(context: Context) -> Sequence[Problem]:
    """All of it; looks at the files anew, and at what servers offered when they were seen last."""
    root = context.definitions.root
    skills, unfit = await asyncio.to_thread(read_skills, root / FOLDER)
    python, functions = await examine(root)
    findings: list[ToolFinding | SkillFinding] = [*python, *unfit]
    found = [
        Problem(level="error", place=each.place, message=each.message, cure=getattr(each, "cure", ""))
        for each in findings
    ]
    found += await _unknown_functions(context, functions)
    return [*found, *await _unknown_skills(context, {each.name for each in skills}), *await _not_offered(context)]


async def _unknown_functions(context: Context, known: frozenset[str]) -> list[Problem]:
    """Functions that do the work of agents and are not there."""
    return [
        Problem(
            level="error",
            place=f"agents/{card.id}/AGENTS.md, key 'function'",
            message=unknown_name("function", card.function, known),
            cure=f"Mark it with @agent in tools/{card.function.partition('.')[0]}.py.",
            agent=card.id,
        )
        for card in await context.cards()
        if card.function and card.function not in known
    ]


async def _unknown_skills(context: Context, known: set[str]) -> list[Problem]:
    """Skills that are granted and not there."""
    return [
        Problem(
            level="warning",
            place=f"agents/{card.id}/TOOLS.md, key 'uses'",
            message=unknown_name("skill", tool.removeprefix("skills."), known),
            cure="Skills are folders of skills/ with a SKILL.md.",
            agent=card.id,
        )
        for card in await context.cards()
        for tool in card.tools
        if tool.startswith("skills.")
        and tool not in (READ_TOOL, "skills.*")
        and tool.removeprefix("skills.") not in known
    ]


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
