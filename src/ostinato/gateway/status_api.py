"""The fleet on one screen: what needs a person first, then how things stand.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

import msgspec

from ostinato.domain.breaker import BreakerState
from ostinato.domain.dependency import BAD_END
from ostinato.domain.duration import format_duration
from ostinato.domain.fingerprint import error_of
from ostinato.domain.message import OWN_KINDS, kind_of
from ostinato.domain.question import Question, QuestionKind
from ostinato.domain.task import ENDED, Task, TaskKind, TaskState
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.lock import FleetLock
from ostinato.engine.lookout import stalled_tasks
from ostinato.gateway.agents_api import DAY, AgentRow, agent_rows, agent_states
from ostinato.gateway.context import AgentCard, Context, Problem
from ostinato.gateway.limit_views import LimitView, limit_views
from ostinato.gateway.notation import iso, iso_or_none, usd
from ostinato.gateway.operation import Nothing, View, operation
from ostinato.gateway.sentences import held_words, one_line, question_words, quoted
from ostinato.gateway.views import is_dead, missing, next_command
from ostinato.store.port import EventFilter, Flag, Node, QuestionFilter, Reads, Tallies, TaskFilter
from ostinato.workspace.tasks_file import REFUSED_SETTING, TASKS_FILE

SHOWN_MAX = 8
"""Things of one kind that are named one by one; the rest are counted."""

HELD_LOOKED_AT = 500
"""Newest goals of one state among which those are looked for that wait for a person: whatever else is blocked must not
hide them, and 500 are read in a few milliseconds."""

AGENTS_MAX = 100
"""Agents of one status; of a larger fleet those that are not simply ready come first."""

DISK_FREE_MIN = 500_000_000
"""Bytes; below this the disk is named before it is full."""


class Attention(View):
    """Something that needs a person. `level`: `wrong` (broken, or at a standstill) or `waiting` (for a decision)."""

    level: Literal["wrong", "waiting"]
    text: str
    command: str
    """What to type next."""
    age_s: float | None = None
    id: str | None = None


class NodeStatus(View):
    """The node that answers, or the last one that ran."""

    running: bool
    pid: int | None
    version: str | None
    started_at: str | None
    uptime_s: float | None
    clean_end: bool | None
    """Of the last node, where none runs: false where it died."""
    changing: int | None = None
    """Process that holds the fleet though no node answers: one that starts, or stops."""
    story_time: bool


class DataStatus(View):
    """Where the data are and how large."""

    folder: str
    database_bytes: int
    wal_bytes: int
    disk_free_bytes: int
    rows: dict[str, int] = {}
    """Table -> rows, estimated."""
    kept: dict[str, str] = {}
    """What -> how long it is kept once it has ended: a duration, or `forever`."""
    oldest_event_at: str | None = None
    next_goes_at: str | None = None
    """When the oldest event goes; events and ended tasks of an age go at about the same time."""


class SpendStatus(View):
    """Spending of the UTC day."""

    calls: int
    tokens: int
    usd: float | None
    unpriced_calls: int
    answered: int
    """Tasks answered from an equal one's result."""
    note: str


class StatusView(View):
    """Everything on one screen. `ok` is false where something is wrong; questions that wait do not count."""

    fleet: str
    folder: str
    now: str
    ok: bool
    needs_you: list[Attention]
    node: NodeStatus
    tasks: dict[str, int]
    """State -> goals."""
    questions: int
    dead: int
    agents: list[AgentRow]
    """All by id; in a large fleet only some, those first that are not simply ready."""
    agents_by_state: dict[str, int]
    """State -> agents, of all."""
    next_wake_at: str | None
    last_event_at: str | None
    spent_today: SpendStatus
    limits: list[LimitView]
    """The fleet's limits of queues, and who waits for them."""
    data: DataStatus


@operation("fleet.status", "GET /api/v1/status")
async def status(context: Context, request: Nothing) -> StatusView:
    """What needs a person first, then how things stand."""
    cards, problems = await context.cards(), await context.problems()
    now, changed = context.now, await asyncio.to_thread(context.definitions.changed_settings)
    free = shutil.disk_usage(context.state_dir).free

    def read(tx: Reads) -> StatusView:
        tallies, flags = tx.tallies(), tx.flags()
        nodes = tx.nodes(limit=1)
        node = _node(context, nodes, now=now)
        needs = [
            *_about_node(node, flags),
            *_about_people(tx, context),
            *_about_settings(changed, context),
            *_about_disk(free, context),
            *_about_tasks_file(tx, context),
            *_about_pools(tx, context),
            *_about_breakers(tx, now=now),
            *_about_questions(tx, tallies, now=now),
            *_about_tasks(tx, tallies, now=now, stalled_s=context.definitions.stalled_s()),
            *_about_agents(cards, problems, flags),
        ]
        needs.sort(key=lambda each: each.level != "wrong")  # stable: the order above within each level
        states = agent_states(tx, cards)
        latest = tx.latest_event()
        last = tx.events(EventFilter(), after=max(0, latest - 1), limit=1)
        return StatusView(
            fleet=context.definitions.name,
            folder=str(context.definitions.root),
            now=iso(now),
            ok=not any(each.level == "wrong" for each in needs),
            needs_you=needs,
            node=node,
            tasks={state.value: tallies.goals.get(state.value, 0) for state in TaskState},
            questions=tallies.questions,
            dead=tallies.dead,
            agents=agent_rows(tx, _worth_showing(cards, states)),
            agents_by_state=dict(sorted(Counter(states.values()).items())),
            next_wake_at=iso_or_none(tx.next_due_at()),
            last_event_at=iso(last[0].at) if last else None,
            spent_today=_spent(tx, context, now=now),
            limits=limit_views(tx, now=now),
            data=_data(tx, context, free=free),
        )

    return await context.store.read(read)


def _worth_showing(cards: Sequence[AgentCard], states: Mapping[str, str]) -> Sequence[AgentCard]:
    if len(cards) <= AGENTS_MAX:
        return cards
    return sorted(cards, key=lambda each: states[each.id] == "ready")[:AGENTS_MAX]


def _node(context: Context, nodes: Sequence[Node], *, now: Instant) -> NodeStatus:
    last = nodes[0] if nodes else None
    facts = context.node
    if facts is None:
        holder = FleetLock(context.state_dir).holder()
        changing = holder if holder != os.getpid() else None
        return NodeStatus(
            running=False,
            pid=None,
            version=last.version if last else None,
            started_at=iso(last.started_at) if last else None,
            uptime_s=None,
            clean_end=last.clean if last and changing is None else None,
            story_time=False,
            changing=changing,
        )
    return NodeStatus(
        running=True,
        pid=facts.pid,
        version=facts.version,
        started_at=iso(facts.started_at),
        uptime_s=max(0, now - facts.started_at) / SECOND,
        clean_end=None,
        story_time=facts.story_time,
    )


def _about_node(node: NodeStatus, flags: Sequence[Flag]) -> Iterator[Attention]:
    if node.changing is not None:
        text = f"The node (process {node.changing}) is starting, or brings what runs to the end of its step and stops"
        yield Attention(level="waiting", text=text, command="ostinato status")
    elif not node.running:
        how = "No node is running: nothing is done until one is"
        if node.clean_end is False:
            how = "No node is running, and the last one died: its work goes on from the last step once one is"
        yield Attention(level="wrong", text=how, command="ostinato up")
    for flag in flags:
        if flag.scope == "fleet":
            why = f": {flag.reason}" if flag.reason else ""
            yield Attention(level="wrong", text=f"The fleet was stopped by {flag.actor}{why}", command="ostinato start")


def _about_people(tx: Reads, context: Context) -> Iterator[Attention]:
    """Nobody has a token, because the node could not write the first one; without a node the next to write gets it."""
    if context.node is not None and not tx.tokens():
        text = "Nobody may give work or decide: the node could not write a first token. Stop it, and take one yourself"
        yield Attention(level="wrong", text=text, command="ostinato tokens recover")


def _about_settings(changed: Sequence[str], context: Context) -> Iterator[Attention]:
    """What a person has written since, and the node does not know."""
    if changed and context.node is not None:
        text = f"ostinato.toml has changed since the node started: {', '.join(changed)}; it works with the old settings"
        yield Attention(level="waiting", text=text, command=f"kill -HUP {context.node.pid}")


def _about_disk(free: int, context: Context) -> Iterator[Attention]:
    if free < DISK_FREE_MIN:
        yield Attention(
            level="wrong",
            text=f"Only {free // 1_000_000} MB are free on the disk of {context.state_dir}",
            command="ostinato doctor",
        )


def _about_tasks_file(tx: Reads, context: Context) -> Iterator[Attention]:
    """A file that is not kept looks as if nothing had happened since."""
    refused = tx.setting(REFUSED_SETTING) if context.definitions.keeps_tasks_file() else None
    if refused:
        text = f"{TASKS_FILE} is not kept: {one_line(refused)}"
        yield Attention(level="waiting", text=text, command="ostinato events --name file.refused")


def _about_pools(tx: Reads, context: Context) -> Iterator[Attention]:
    """Work that no node takes; without any node that is said elsewhere."""
    if context.node is None:
        return
    for pool in tx.unserved_pools():
        text = f"Tasks wait in the pool {pool!r}, and no node takes from it"
        yield Attention(level="wrong", text=text, command=f"ostinato up --pool {pool}")


def _about_breakers(tx: Reads, *, now: Instant) -> Iterator[Attention]:
    """Who is left alone because it was in trouble."""
    found, command = [each for each in tx.breakers() if each.state is not BreakerState.CLOSED], "ostinato breakers list"
    for each in found[:SHOWN_MAX]:
        text = f"{each.name.replace(':', ' ', 1)} is not asked for now: {one_line(each.reason)}"
        yield Attention(level="wrong", text=text, command=command, age_s=max(0, now - each.since_at) / SECOND)
    if len(found) > SHOWN_MAX:
        text = f"{len(found) - SHOWN_MAX} more are not asked for now, because they were in trouble"
        yield Attention(level="wrong", text=text, command=command)


def _about_questions(tx: Reads, tallies: Tallies, *, now: Instant) -> Iterator[Attention]:
    """Oldest first: whoever waits longest is answered first; unknown outcomes before everything else."""
    pending = tx.questions(QuestionFilter(), limit=200)
    ordered = sorted(pending, key=lambda each: (each.kind is not QuestionKind.UNKNOWN, each.id))
    for each in ordered[:SHOWN_MAX]:
        yield Attention(
            level="waiting",
            text=_about_question(each, now=now),
            command=next_command(each),
            age_s=max(0, now - each.created_at) / SECOND,
            id=each.name,
        )
    if tallies.questions > SHOWN_MAX:
        text = f"{tallies.questions - SHOWN_MAX} more questions wait for an answer"
        yield Attention(level="waiting", text=text, command="ostinato approvals list")


def _about_question(question: Question, *, now: Instant) -> str:
    about = {
        QuestionKind.APPROVAL: f"{question.agent} asks {question_words(question)}",
        QuestionKind.ASK: f"{question.agent} asks: {question_words(question)}",
        QuestionKind.UNKNOWN: f"{question.agent} does not know whether it happened: {question_words(question)}",
        QuestionKind.REVIEW: f"{question.agent} has a result to accept: {question_words(question)}",
        QuestionKind.FAILURE: f"what is to become of T{question.task}, which has failed: {question_words(question)}",
        QuestionKind.BUDGET: f"{question.agent} has reached a limit: {question_words(question)}",
    }[question.kind]
    left = ""
    if question.expires_at is not None:
        beside = bool(question.session) and kind_of(question.session) not in OWN_KINDS
        ends = "denied" if question.kind is not QuestionKind.FAILURE else "left" if beside else "given up"
        hours = (question.expires_at - now) / SECOND / 3_600
        left = f" ({ends} by itself in {hours:.0f} h)" if hours >= 1 else f" ({ends} by itself within the hour)"
    return f"{question.name} {about}{left}"


def _about_tasks(tx: Reads, tallies: Tallies, *, now: Instant, stalled_s: float) -> Iterator[Attention]:
    if tallies.dead:
        yield from _about_dead(tx, tallies, now=now)
    stalled = stalled_tasks(tx, now=now, after_s=stalled_s)
    for each, why in stalled[:SHOWN_MAX]:
        text = f"{each.name} {quoted(each.title, chars_max=60)} of {each.agent} {why}"
        yield _about_task(each, "wrong", text, command=f"ostinato tasks show {each.name}", now=now)
    if len(stalled) > SHOWN_MAX:
        text = f"{len(stalled) - SHOWN_MAX} more tasks have come to a standstill"
        yield Attention(level="wrong", text=text, command="ostinato tasks list is:stalled --all")
    yield from _about_held(tx, tallies, now=now)


def _about_dead(tx: Reads, tallies: Tallies, *, now: Instant) -> Iterator[Attention]:
    """Those that failed alike are one line: a dead mail server is one thing to look at, not three hundred."""
    groups = tx.dead_groups(limit=SHOWN_MAX)
    for group in groups:
        latest, more = group.example, group.count - 1
        what = f"{latest.name} {quoted(latest.title, chars_max=60)}"
        what += f" and {more} more of {latest.agent} failed alike" if more else f" of {latest.agent} failed"
        text = f"{what}: {one_line(error_of(latest)[0])}"
        command = f"dead list --group {group.fingerprint}" if more else f"dead show {latest.name}"
        yield _about_task(latest, "wrong", text, command=f"ostinato {command}", now=now)
    shown = sum(group.count for group in groups)
    if tallies.dead > shown:
        text = f"{tallies.dead - shown} more tasks failed and were not dealt with"
        yield Attention(level="wrong", text=text, command="ostinato dead list")


def _about_held(tx: Reads, tallies: Tallies, *, now: Instant) -> Iterator[Attention]:
    """Goals that only a person can bring further: drafts, results to accept, and those that nobody can do."""
    plans = (
        (TaskState.REVIEW, "has a result to accept or return", "tasks show"),
        (TaskState.DRAFT, "is proposed", "tasks approve"),
        (TaskState.BLOCKED, "cannot be done", "tasks explain"),
    )
    for state, words, command in plans:
        if not tallies.goals.get(state.value):
            continue
        which = TaskFilter(states=frozenset({state}), kinds=frozenset({TaskKind.GOAL}))
        seen = tx.tasks(which, limit=HELD_LOOKED_AT)
        found = _by_plan([each for each in seen if _is_held(tx, each)], state)
        beyond = "" if tallies.goals[state.value] <= HELD_LOOKED_AT else "at least "
        for each, *others in found[:SHOWN_MAX]:
            why = f": {each.reason}" if each.reason and state is TaskState.BLOCKED else ""
            text = f"{each.name} {quoted(each.title, chars_max=60)} {words}{why}"
            next_one = f"ostinato {command} {each.name}"
            if others:
                text = f"{text}, with {beyond}{len(others)} more of its plan"
                next_one = f"ostinato tasks show {each.name} --tree"
            elif state is TaskState.DRAFT and each.agent is None:  # approved as it is, it would only be blocked
                text += f", and waits for somebody to do it: {each.reason}"
                next_one = f"ostinato tasks move {each.name} --agent AGENT"
            yield _about_task(each, "waiting", text, command=next_one, now=now)
        if len(found) > SHOWN_MAX:
            text = f"{beyond}{sum(map(len, found[SHOWN_MAX:]))} more such tasks"
            yield Attention(level="waiting", text=text, command=f"ostinato tasks list --state {state.value}")


def _by_plan(tasks: Sequence[Task], state: TaskState) -> list[list[Task]]:
    """Drafts of one plan are one thing to look at, its oldest first; all else stands alone."""
    groups: dict[object, list[Task]] = {}
    for each in tasks:
        is_planned = state is TaskState.DRAFT and each.spec.plan
        groups.setdefault(each.spec.plan if is_planned else each.id, []).insert(0, each)
    return list(groups.values())


def _is_held(tx: Reads, task: Task) -> bool:
    """False where what it waits for comes by itself, or is a line of its own: a question, a dead letter."""
    if task.state is TaskState.REVIEW:
        return task.wait is None
    if task.state is not TaskState.BLOCKED or not task.unfinished:
        return True
    return BAD_END in task.reason and any(other.state in ENDED and not is_dead(other) for _, other in missing(tx, task))


def _about_task(task: Task, level: Literal["wrong", "waiting"], text: str, *, command: str, now: Instant) -> Attention:
    age_s = max(0, now - task.updated_at) / SECOND
    return Attention(level=level, text=text, command=command, age_s=age_s, id=task.name)


def _about_agents(
    cards: Sequence[AgentCard], problems: Sequence[Problem], flags: Sequence[Flag]
) -> Iterator[Attention]:
    errors = [each for each in problems if each.level == "error"]
    for each in errors[:SHOWN_MAX]:
        yield Attention(level="wrong", text=f"{each.place}: {each.message}", command="ostinato check")
    if len(errors) > SHOWN_MAX:
        text = f"{len(errors) - SHOWN_MAX} more errors in the fleet's files"
        yield Attention(level="wrong", text=text, command="ostinato check")
    known = {card.id: one_line(card.stop, chars_max=300) for card in cards}
    for flag in flags:
        scope, _, agent = flag.scope.partition(":")
        if scope == "agent" and agent in known:
            text = held_words(flag) + (f"; what else belongs to it: {known[agent]}" if known[agent] else "")
            yield Attention(level="waiting", text=text, command=f"ostinato agents resume {agent}")
    others = [each for each in flags if each.scope.startswith(("session:", "pool:", "task:"))]
    for flag in others[:SHOWN_MAX]:
        yield Attention(level="waiting", text=held_words(flag), command=f"ostinato start {flag.scope}")
    if len(others) > SHOWN_MAX:
        text = f"{len(others) - SHOWN_MAX} more tasks, sessions or pools are stopped"
        yield Attention(level="waiting", text=text, command="ostinato status --json")


def _data(tx: Reads, context: Context, *, free: int) -> DataStatus:
    size, keep = tx.size(), context.definitions.retention()
    oldest = tx.events(EventFilter(), limit=1)
    kept = {name.removesuffix("_s"): seconds for name, seconds in msgspec.structs.asdict(keep).items()}
    goes_at = oldest[0].at + round(keep.events_s * SECOND) if oldest and keep.events_s is not None else None
    return DataStatus(
        folder=str(context.state_dir),
        database_bytes=size.get("database", 0),
        wal_bytes=size.get("wal", 0),
        disk_free_bytes=free,
        rows={name[5:]: count for name, count in size.items() if name.startswith("rows.")},
        kept={name: "forever" if seconds is None else format_duration(seconds) for name, seconds in kept.items()},
        oldest_event_at=iso(oldest[0].at) if oldest else None,
        next_goes_at=iso_or_none(goes_at),
    )


def _spent(tx: Reads, context: Context, *, now: Instant) -> SpendStatus:
    days = tx.spending("day", since_at=now - now % DAY)
    calls, unpriced = sum(each.calls for each in days), sum(each.unpriced_calls for each in days)
    return SpendStatus(
        calls=calls,
        tokens=sum(each.input_tokens + each.output_tokens for each in days),
        usd=None if calls and unpriced == calls else usd(sum(each.usd_micros for each in days)),
        unpriced_calls=unpriced,
        answered=tx.hits(since_at=now - now % DAY)[0],
        note=context.definitions.money_note(),
    )
