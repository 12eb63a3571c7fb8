"""What every operation is given: the store, the clock, the fleet's definitions, the running node if there is one, and
who calls.

Knows nothing of HTTP. The protocols here say what the gateway needs of rooms that only the composition root names.
"""

from __future__ import annotations

import asyncio
import copy
from collections.abc import Awaitable, Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from ostinato.agents.live import LiveText
from ostinato.domain.errors import NotFound
from ostinato.domain.person import Role, people_of
from ostinato.domain.values import Instant, Value
from ostinato.engine.port import Clock
from ostinato.gateway.metrics import Meter
from ostinato.store.port import Reads, Retention, ScheduleRow, Store
from ostinato.tools.mcp.port import ServerFacts
from ostinato.tools.port import Colleague
from ostinato.tools.router import Router
from ostinato.workspace.inbox_table import InboxSettings

if TYPE_CHECKING:
    from ostinato.agents.rehearsal import Rehearsal


class Caller(Value):
    """Who calls. `name` stands in the record of whatever they decide."""

    name: str
    role: Role


class Problem(Value):
    """Something wrong in a fleet's files. `level`: `error` (the agent does not run) or `warning`."""

    level: str
    place: str
    message: str
    cure: str = ""
    agent: str = ""


class HeartbeatCard(Value):
    """A heartbeat as its file defines it. `rule` is `every 15m` or a cron expression."""

    name: str
    rule: str
    active: str = ""
    timezone: str = ""
    check: str = ""
    model: str = ""
    session: str = "main"


class AgentCard(Value):
    """What an agent's files say, for people. Nothing here is secret."""

    id: str
    purpose: str = ""
    folder: str = ""
    skills: tuple[str, ...] = ()
    model: str = ""
    """As written; empty: the fleet's default."""
    function: str = ""
    """What an agent of kind `python` does."""
    concurrency: int = 1
    tools: tuple[str, ...] = ()
    recipients: tuple[str, ...] = ()
    gates: tuple[str, ...] = ()
    heartbeats: tuple[HeartbeatCard, ...] = ()
    files: Mapping[str, int] = {}
    """Prompt files and their bytes."""
    stop: str = ""
    version: str = ""
    problems: tuple[Problem, ...] = ()

    @property
    def is_broken(self) -> bool:
        """True where its files, or the fleet's settings, keep it from running."""
        return any(each.level == "error" for each in self.problems)


class ContextPart(Value):
    """A part of what a model is shown at the start of a turn, and what it costs."""

    name: str
    tokens: int
    size_bytes: int
    cached: bool = True
    note: str = ""


class KeyNeed(Value):
    """A key that the fleet's file names, and whether it is in the node's environment. Never its value."""

    name: str
    wanted_by: str
    present: bool


class Definitions(Protocol):
    """The fleet's files, as far as the gateway shows or changes them."""

    root: Path
    name: str

    def agents(self) -> Sequence[AgentCard]:
        """Every agent, also those with problems, by id; without files, gates, recipients and heartbeats."""

    def colleagues(self) -> Sequence[Colleague]:
        """Every agent that could do a task: no file of its, and no setting, keeps it from running."""

    def agent(self, agent: str) -> AgentCard:
        """One agent; raises NotFound with the known ones."""

    def inbox(self) -> InboxSettings:
        """Who gets what comes from outside, by the settings that are in force."""

    def keeps_tasks_file(self) -> bool:
        """Whether TASKS.md is to be written."""

    def stalled_s(self) -> float:
        """Seconds without a step after which a running task is stalled."""

    def retention(self) -> Retention:
        """How long things are kept, by the settings that are in force."""

    def changed_settings(self) -> Sequence[str]:
        """Tables of the fleet's file that say something else than when it was read."""

    def problems(self, people: Mapping[str, Role]) -> Sequence[Problem]:
        """Whatever is wrong in the fleet's file and the agents' files; `people` are those with a valid token."""

    def context(self, agent: str) -> Sequence[ContextPart]:
        """Each part of an agent's prompt with its tokens."""

    def shown_files(self, agent: str) -> Sequence[str]:
        """Files of the agent's own hand that its prompt shows."""

    def add_agent(self, agent: str, *, purpose: str, skills: Sequence[str]) -> Sequence[str]:
        """Writes a new workspace; the paths of its files within the fleet. Conflict where it exists."""

    def key_needs(self) -> Sequence[KeyNeed]:
        """Each key that the fleet's file names."""

    def secret_uses(self) -> Mapping[str, tuple[str, ...]]:
        """Each secret that the fleet's files name -> who may use it, in words."""

    def models(self) -> Collection[str]:
        """Every name that stands for a model: the models' own, and tiers."""

    def scripts(self) -> Sequence[Path]:
        """Script files that the fleet's file names, for scripted models."""

    def money_note(self) -> str:
        """A sentence for every screen, such as `scripted model, no money spent`; empty for real models."""


class NodeFacts(Value):
    """The node that answers."""

    pid: int
    version: str
    started_at: Instant
    story_time: bool = False
    """True where the clock is not the machine's (the demo)."""


FireNow = Callable[[ScheduleRow, bool], Awaitable[str]]
"""Fires a heartbeat or schedule beside its own times, with True only where its check and all else agree. Why the agent
was not woken; empty: it was."""


class Context:
    """What every operation is given. One per caller; `as_caller` makes another."""

    def __init__(
        self,
        *,
        store: Store,
        clock: Clock,
        definitions: Definitions,
        state_dir: Path,
        caller: Caller,
        fire: FireNow,
        node: NodeFacts | None = None,
        live: LiveText | None = None,
        meter: Meter | None = None,
        rehearsal: Callable[[], Rehearsal] | None = None,
        servers: Callable[[], Sequence[ServerFacts]] | None = None,
        router: Router | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.definitions = definitions
        self.state_dir = state_dir
        self.caller = caller
        self.fire = fire
        self.node = node
        """None: in the process of a command, with the engine off."""
        self.live = live
        self.rehearsal = rehearsal
        """Lends who judges calls that nobody makes, and knows all tools for that; None where none are known."""
        self.meter = meter
        """What was counted in this process; None where no node runs."""
        self.servers = servers
        """How the servers of tools stand; None where no node runs."""
        self.router = router or Router()

    def as_caller(self, caller: Caller) -> Context:
        """The same, called by somebody else."""
        other = copy.copy(self)
        other.caller = caller
        return other

    async def cards(self) -> Sequence[AgentCard]:
        """Every agent, looked up in a thread: a large fleet has many files."""
        return await asyncio.to_thread(self.definitions.agents)

    async def colleagues(self) -> Sequence[Colleague]:
        """Every agent that could do a task, looked up in a thread."""
        return await asyncio.to_thread(self.definitions.colleagues)

    async def card(self, agent: str) -> AgentCard:
        """One agent; raises NotFound with the known ones."""
        return await asyncio.to_thread(self.definitions.agent, agent)

    async def card_to_hold(self, agent: str) -> AgentCard:
        """The same, also of one whose folder is gone while the store still has work or a hold of it: whatever may be at
        work can be stopped, and let go."""
        try:
            return await self.card(agent)
        except NotFound:
            if not await self.store.read(lambda reads: _is_known(reads, agent)):
                raise
            return AgentCard(id=agent)

    async def problems(self) -> Sequence[Problem]:
        """Whatever is wrong in the fleet's files."""
        people = people_of(await self.store.read(lambda reads: reads.tokens()))
        return await asyncio.to_thread(self.definitions.problems, people)

    @property
    def now(self) -> Instant:
        """The clock's now."""
        return self.clock.now()


def _is_known(reads: Reads, agent: str) -> bool:
    """True for an agent that has, or has had, work, or is held."""
    return bool(reads.agent_tally(agent)) or any(flag.scope == f"agent:{agent}" for flag in reads.flags())
