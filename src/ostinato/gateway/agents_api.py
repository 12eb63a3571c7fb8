"""Operations on agents: list, show, add, and the leash: pause, drain, kill, resume.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Mapping, Sequence
from typing import Annotated

import msgspec

from ostinato.domain.errors import Conflict
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.person import Role
from ostinato.domain.taint import touches
from ostinato.domain.task import UNFINISHED, TaskState
from ostinato.domain.values import SECOND, Instant
from ostinato.gateway.context import AgentCard, Context
from ostinato.gateway.notation import iso_or_none
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.sentences import held_words
from ostinato.gateway.tasks_api import Text, Word
from ostinato.gateway.views import (
    EventView,
    FlagView,
    ScheduleView,
    SkipView,
    TaskRow,
    agent_tallies,
    event_views,
    flag_view,
    schedule_view,
    skip_view,
    task_rows,
)
from ostinato.store.port import EventFilter, Reads, TaskFilter, Tx
from ostinato.tools.router import SCALE, scaled

DAY = 86_400 * SECOND

INSTANCES_MAX = 1_000

LATELY = 12
"""Events that show what an agent did last."""

LATELY_REACHES = (2_000, 20_000, 1_000_000)
"""How many of the fleet's last events are looked through for them, until there are enough."""

AgentId = Annotated[str, msgspec.Meta(min_length=1, max_length=64)]


class WhichAgents(Ask):
    """All of them."""


class WhichAgent(Ask):
    """One agent."""

    agent: Word


class AddAgent(Ask):
    """A new workspace, secure by default: its own files and notes, and messages to the operator alone."""

    agent: AgentId
    purpose: Text = ""
    skills: Annotated[list[Word], msgspec.Meta(max_length=20)] = []


class LeashAgent(Ask):
    """One agent and the reason for what is done to it."""

    agent: Word
    reason: Text = ""


class ScaleAgent(Ask):
    """How many of an agent's tasks run at once; null: as its files say."""

    agent: Word
    instances: Annotated[int, msgspec.Meta(ge=1, le=INSTANCES_MAX)] | None = None
    reason: Text = ""


class Scaled(View):
    """How many of an agent's tasks run at once."""

    agent: str
    concurrency: int
    files_say: int
    unfinished: int
    """Tasks that share its queue."""


class TrustFiles(Ask):
    """Files of an agent that a person has looked at: they do not count as written by strangers. None named: all."""

    agent: Word
    files: Annotated[list[Text], msgspec.Meta(max_length=100)] = []
    reason: Text = ""


class ProblemView(View):
    """Something wrong in a file: where, what, and what to do."""

    level: str
    place: str
    message: str
    cure: str
    agent: str


class AgentRow(View):
    """An agent in a list. `state`: ready, working, waiting, paused, draining, halted, invalid."""

    id: str
    state: str
    purpose: str
    skills: list[str]
    model: str
    tools: int
    tasks: dict[str, int]
    """State -> tasks of every kind."""
    next_wake_at: str | None
    problems: int
    held: str = ""
    """Who paused, drained or killed it, and why."""


class AgentList(View):
    """All agents by id."""

    agents: list[AgentRow]


class BeatView(View):
    """A heartbeat as its file defines it."""

    name: str
    rule: str
    active: str
    timezone: str
    check: str
    model: str
    session: str


class AgentView(View):
    """An agent: what its files say, and what it is doing."""

    agent: AgentRow
    folder: str
    concurrency: int
    files_say: int
    """What `concurrency` would be without `agents scale`."""
    tools: list[str]
    recipients: list[str]
    gates: list[str]
    heartbeats: list[BeatView]
    files: dict[str, int]
    stop: str
    version: str
    problems: list[ProblemView]
    flags: list[FlagView]
    schedules: list[ScheduleView]
    tasks: list[TaskRow]
    """Unfinished, newest first."""
    recent: list[EventView]
    """The last day's latest events, oldest first."""
    skips: list[SkipView]
    usd_today: float | None
    unpriced_calls_today: int
    tainted_files: list[str]
    """Files that hold text from strangers; whoever reads them is tainted. A folder ends with `/`, `./` is all."""


class ContextPartView(View):
    """A part of the prompt and what it costs."""

    name: str
    tokens: int
    size_bytes: int
    cached: bool
    note: str


class ContextView(View):
    """What a model is shown at the start of a turn of this agent."""

    agent: str
    parts: list[ContextPartView]
    tokens: int
    tainted: list[str]
    """Which of its files make each turn begin tainted."""


class AddedAgent(View):
    """A new workspace."""

    agent: str
    folder: str
    files: list[str]


class Leashed(View):
    """An agent and the flags that hold it now."""

    agent: str
    flags: list[FlagView]
    running: int
    """Its tasks that are at work this moment."""
    procedure: str
    """What else belongs to stopping it, as its AGENTS.md says (`stop`)."""


class TrustedFiles(View):
    """What had been marked, and is so no longer; and what still is."""

    agent: str
    files: list[str]
    left: list[str]


@operation("agents.list", "GET /api/v1/agents")
async def list_agents(context: Context, request: WhichAgents) -> AgentList:
    """Every agent with its state."""
    cards = await context.cards()

    def read(tx: Reads) -> AgentList:
        return AgentList(agents=agent_rows(tx, cards))

    return await context.store.read(read)


@operation("agents.show", "GET /api/v1/agents/{agent}")
async def show(context: Context, request: WhichAgent) -> AgentView:
    """One agent: its leash, its work, what it did last."""
    card, now = await context.card(request.agent), context.now

    def read(tx: Reads) -> AgentView:
        spent = next((each for each in tx.spending("agent", since_at=now - now % DAY) if each.name == card.id), None)
        unfinished = frozenset({TaskState.READY, TaskState.RUNNING, TaskState.WAITING, TaskState.BLOCKED})
        tasks = tx.tasks(TaskFilter(agent=card.id, states=unfinished), limit=20)
        return AgentView(
            agent=agent_rows(tx, [card])[0],
            folder=card.folder,
            concurrency=scaled(tx.setting(f"{SCALE}{card.id}"), card.concurrency),
            files_say=card.concurrency,
            tools=list(card.tools),
            recipients=list(card.recipients),
            gates=list(card.gates),
            heartbeats=[BeatView(**msgspec.structs.asdict(each)) for each in card.heartbeats],
            files=dict(card.files),
            stop=card.stop,
            version=card.version,
            problems=problem_views(card),
            flags=[flag_view(each) for each in tx.flags() if each.scope == f"agent:{card.id}"],
            schedules=[schedule_view(each) for each in tx.schedules(agent=card.id)],
            tasks=task_rows(tx, tasks),
            recent=event_views(tx, _lately(tx, card.id, since_at=now - DAY)),
            skips=[skip_view(each) for each in tx.skips(agent=card.id, since_at=now - DAY, limit=20)],
            usd_today=spent.usd_micros / 1_000_000 if spent else 0.0,
            unpriced_calls_today=spent.unpriced_calls if spent else 0,
            tainted_files=list(tx.tainted_files(card.id)),
        )

    return await context.store.read(read)


def _lately(tx: Reads, agent: str, *, since_at: Instant) -> list[Event]:
    """The last events of an agent. They are read forwards, so it looks from further and further back."""
    which, newest = EventFilter(agent=agent, since_at=since_at), tx.latest_event()
    for reach in LATELY_REACHES:
        found: deque[Event] = deque(maxlen=LATELY)
        after = max(0, newest - reach)
        while page := tx.events(which, after=after, limit=500):
            found.extend(page)
            after = page[-1].id
        if len(found) == LATELY:
            break
    return list(found)


@operation("agents.context", "GET /api/v1/agents/{agent}/context")
async def show_context(context: Context, request: WhichAgent) -> ContextView:
    """Each part of an agent's prompt with its tokens."""
    card = await context.card(request.agent)
    found = await asyncio.to_thread(context.definitions.context, card.id)
    parts = [ContextPartView(**msgspec.structs.asdict(each)) for each in found]
    marked = await context.store.read(lambda tx: tx.tainted_files(card.id))
    shown = await asyncio.to_thread(context.definitions.shown_files, card.id)
    tainted = [each for each in marked if any(touches(name, [each]) for name in shown)]
    return ContextView(agent=card.id, parts=parts, tokens=sum(each.tokens for each in parts), tainted=tainted)


@operation("agents.add", "POST /api/v1/agents", role=Role.ADMIN)
async def add(context: Context, request: AddAgent) -> AddedAgent:
    """Write a new workspace, secure by default."""
    files = await asyncio.to_thread(
        lambda: context.definitions.add_agent(request.agent, purpose=request.purpose, skills=request.skills)
    )
    await context.card(request.agent)  # whoever looks first brings its heartbeats to everybody's notice
    return AddedAgent(agent=request.agent, folder=f"{context.definitions.root}/agents/{request.agent}", files=[*files])


@operation("agents.pause", "POST /api/v1/agents/{agent}/pause", role=Role.OPERATOR)
async def pause(context: Context, request: LeashAgent) -> Leashed:
    """Nothing new starts; what runs goes on."""
    return await _set(context, request, flag="paused")


@operation("agents.drain", "POST /api/v1/agents/{agent}/drain", role=Role.OPERATOR)
async def drain(context: Context, request: LeashAgent) -> Leashed:
    """What runs is finished or parked at its next step; nothing new starts."""
    return await _set(context, request, flag="draining")


@operation("agents.kill", "POST /api/v1/agents/{agent}/kill", role=Role.OPERATOR)
async def kill(context: Context, request: LeashAgent) -> Leashed:
    """What runs is stopped now, and nothing new starts until resume."""
    return await _set(context, request, flag="halted")


@operation("agents.resume", "POST /api/v1/agents/{agent}/resume", role=Role.OPERATOR)
async def resume(context: Context, request: LeashAgent) -> Leashed:
    """Let a paused, draining or killed agent go on."""
    card, now = await context.card_to_hold(request.agent), context.now
    agent, scope = card.id, f"agent:{card.id}"

    def write(tx: Tx) -> Leashed:
        held = [each.name for each in tx.flags() if each.scope == scope]
        if not held:
            raise Conflict(f"{agent} is not paused", cure="Nothing has to be done.")
        for name in held:
            tx.clear_flag(scope, name, actor=context.caller.name, reason=request.reason, now=now)
        return _leashed(tx, card)

    return await context.store.run(write)


@operation("agents.scale", "POST /api/v1/agents/{agent}/scale", role=Role.OPERATOR)
async def scale(context: Context, request: ScaleAgent) -> Scaled:
    """Let an agent do more or fewer tasks at once; they share its queue. It holds until it is scaled anew."""
    card, now, most = await context.card(request.agent), context.now, request.instances

    def write(tx: Tx) -> Scaled:
        at_once = card.concurrency if most is None else most
        tx.set_setting(f"{SCALE}{card.id}", "" if most is None else str(most))
        data = {"concurrency": at_once, "files_say": card.concurrency}
        scaled_now = NewEvent(
            name=EventName.AGENT_SCALED, agent=card.id, actor=context.caller.name, reason=request.reason, data=data
        )
        tx.announce(scaled_now, now=now)
        tally = tx.agent_tally(card.id)
        unfinished = sum(tally.get(each.value, 0) for each in UNFINISHED)
        return Scaled(agent=card.id, concurrency=at_once, files_say=card.concurrency, unfinished=unfinished)

    return await context.store.run(write)


@operation("agents.trust", "POST /api/v1/agents/{agent}/trust", role=Role.OPERATOR)
async def trust(context: Context, request: TrustFiles) -> TrustedFiles:
    """Say that a person has looked at files which strangers had a hand in: whoever reads them is not tainted by it."""
    card, now = await context.card(request.agent), context.now

    def write(tx: Tx) -> TrustedFiles:
        cleared = tx.clear_taint(card.id, request.files, actor=context.caller.name, reason=request.reason, now=now)
        return TrustedFiles(agent=card.id, files=list(cleared), left=list(tx.tainted_files(card.id)))

    return await context.store.run(write)


def problem_views(card: AgentCard) -> list[ProblemView]:
    """What is wrong in an agent's files."""
    return [ProblemView(**msgspec.structs.asdict(each)) for each in card.problems]


def agent_rows(tx: Reads, cards: Sequence[AgentCard]) -> list[AgentRow]:
    """Agents of a list, with what the store knows of them."""
    ids = [each.id for each in cards]
    states, tallies, due = agent_states(tx, cards), agent_tallies(tx, ids), tx.next_wakes()
    rows = [_agent_row(each, states[each.id], tallies=tallies.get(each.id, {}), due=due) for each in cards]
    holds: dict[str, str] = {}
    for flag in tx.flags():
        holds[flag.scope] = "; ".join(filter(None, (holds.get(flag.scope), held_words(flag))))
    return [msgspec.structs.replace(each, held=holds.get(f"agent:{each.id}", "")) for each in rows]


def agent_states(tx: Reads, cards: Sequence[AgentCard]) -> dict[str, str]:
    """Agent -> its state in one word, in the order of the cards."""
    held: dict[str, set[str]] = {}
    for flag in tx.flags():
        held.setdefault(flag.scope, set()).add(flag.name)
    tallies = agent_tallies(tx, [each.id for each in cards])
    none: Mapping[str, int] = {}
    return {
        each.id: _state_of(each, held=held.get(f"agent:{each.id}", set()), tally=tallies.get(each.id, none))
        for each in cards
    }


def _state_of(card: AgentCard, *, held: set[str], tally: Mapping[str, int]) -> str:
    if card.is_broken:
        return "invalid"
    if held:
        return next(each for each in ("halted", "draining", "paused", *held) if each in held)
    if tally.get("running"):
        return "working"
    return "waiting" if tally.get("waiting") else "ready"


def _agent_row(card: AgentCard, state: str, *, tallies: Mapping[str, int], due: Mapping[str, int]) -> AgentRow:
    return AgentRow(
        id=card.id,
        state=state,
        purpose=card.purpose,
        skills=list(card.skills),
        model=card.model,
        tools=len(card.tools),
        tasks={name: count for name, count in tallies.items() if count},
        next_wake_at=iso_or_none(due.get(card.id)),
        problems=len(card.problems),
    )


async def _set(context: Context, request: LeashAgent, *, flag: str) -> Leashed:
    card, now = await context.card_to_hold(request.agent), context.now

    def write(tx: Tx) -> Leashed:
        tx.set_flag(f"agent:{card.id}", flag, actor=context.caller.name, reason=request.reason, now=now)
        return _leashed(tx, card)

    return await context.store.run(write)


def _leashed(tx: Tx, card: AgentCard) -> Leashed:
    flags = [flag_view(each) for each in tx.flags() if each.scope == f"agent:{card.id}"]
    running = tx.agent_tally(card.id).get("running", 0)
    return Leashed(agent=card.id, flags=flags, running=running, procedure=card.stop)
