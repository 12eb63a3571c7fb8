"""What would happen if an agent called a tool: schema and gate as in a turn, and nothing is done.

The same functions judge here and there. Knows nothing of turns or journals.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.agents.leash import command_rules
from ostinato.domain.errors import NotFound, unknown_name
from ostinato.domain.file_rules import FileRules
from ostinato.domain.permission import Permission
from ostinato.domain.policy import CallFacts, Policy, Verdict, is_visible, judge
from ostinato.domain.step import Effect
from ostinato.domain.values import Instant, Trust, Value
from ostinato.store.port import Flag, Store
from ostinato.tools.port import Tool, ToolContext
from ostinato.tools.toolbox import Toolbox, is_unaddressed, usage
from ostinato.workspace.agent import AgentDefinition
from ostinato.workspace.registry import Workspaces


class Wanted(Value):
    """A call that somebody asks about, with what the turn would bring along."""

    agent: str
    tool: str
    arguments: dict[str, Any]
    requester: str = "operator"
    trust: Trust = Trust.OPERATOR
    private: bool = False
    session: str = ""


class Rehearsed(Value):
    """What would come of it. Without a verdict the call itself is wrong, and `problem` says how."""

    problem: str = ""
    facts: CallFacts | None = None
    verdict: Verdict | None = None
    paused: str = ""
    """Who has paused the agent or the fleet: nothing new begins."""


class ToolCard(Value):
    """A tool, and whether an agent has it."""

    name: str
    description: str
    usage: str
    effect: Effect
    outward: bool
    outside_text: bool
    private: bool
    visible: bool | None = None
    """None: for no agent in particular."""
    rule: str = ""
    """Where the rule stands that grants or denies it."""


class Rehearsal:
    """Judges calls that nobody makes."""

    def __init__(self, *, store: Store, workspaces: Workspaces, toolbox: Toolbox) -> None:
        self._store = store
        self._workspaces = workspaces
        self._toolbox = toolbox

    async def judge(self, wanted: Wanted, *, now: Instant) -> Rehearsed:
        """What would happen. NotFound for an agent or tool that does not exist; Invalid where the agent's files are
        broken."""
        agent = await asyncio.to_thread(self._workspaces.current, wanted.agent)
        tool = self._tool(wanted.tool)
        permissions, flags = await self._store.read(lambda reads: (reads.permissions(agent.id), reads.flags()))
        return await asyncio.to_thread(self._judge, agent, tool, wanted, permissions=permissions, flags=flags, now=now)

    async def cards(self, agent: str | None) -> Sequence[ToolCard]:
        """Every tool there is; with an agent, which of them it has."""
        if agent is None:
            return [_card(each, None) for each in self._toolbox]
        found = await asyncio.to_thread(self._workspaces.current, agent)
        return [_card(each, found.policy) for each in self._toolbox]

    def _tool(self, name: str) -> Tool:
        tool = self._toolbox.get(name)
        if tool is None:
            cure = "See: ostinato tools list"
            raise NotFound(unknown_name("tool", name[:80], [each.name for each in self._toolbox]), cure=cure)
        return tool

    def _judge(
        self,
        agent: AgentDefinition,
        tool: Tool,
        wanted: Wanted,
        *,
        permissions: Sequence[Permission],
        flags: Sequence[Flag],
        now: Instant,
    ) -> Rehearsed:
        problem = self._toolbox.check_arguments(tool, wanted.arguments)
        if problem:
            return Rehearsed(problem=problem)
        facts = self._toolbox.facts(tool, wanted.arguments, _context(agent, wanted, now=now))
        facts = replace(facts, stopped=_flagged(flags, agent.id, "halted"))
        verdict = judge(facts, agent.policy, permissions)
        return Rehearsed(facts=facts, verdict=verdict, paused=_flagged(flags, agent.id, "paused"))


def _context(agent: AgentDefinition, wanted: Wanted, *, now: Instant) -> ToolContext:
    """What a tool is told that only looks at a call."""
    return ToolContext(
        task=0,
        call_id="rehearsal",
        key="",
        agent=agent.id,
        session=wanted.session,
        workspace=agent.folder,
        now=now,
        timezone=agent.timezone,
        policy=agent.policy,
        files=FileRules(read=agent.files_read, write=agent.files_write),
        commands=command_rules(agent),
        secrets=agent.tools.secrets,
        requester=wanted.requester,
        trust=wanted.trust,
        private=wanted.private,
        remembers=any(name in agent.prompt_files for name in ("MEMORY.md", "USER.md")),
        delegates=agent.delegates,
    )


def _flagged(flags: Sequence[Flag], agent: str, name: str) -> str:
    for each in flags:
        if each.name == name and each.scope in ("fleet", f"agent:{agent}"):
            what = "the fleet" if each.scope == "fleet" else agent
            return f"{what} is {name} by {each.actor}" + (f": {each.reason}" if each.reason else "")
    return ""


def _card(tool: Tool, policy: Policy | None) -> ToolCard:
    visible, rule = None, ""
    if policy is not None:
        visible = tool.always_allowed or is_visible(tool.name, tool.effect, policy, unaddressed=is_unaddressed(tool))
        facts = CallFacts(tool=tool.name, effect=tool.effect, always_allowed=tool.always_allowed)
        rule = judge(facts, policy).rule
    return ToolCard(
        name=tool.name,
        description=tool.description,
        usage=usage(tool),
        effect=tool.effect,
        outward=tool.outward,
        outside_text=tool.outside_text,
        private=tool.private,
        visible=visible,
        rule=rule,
    )
