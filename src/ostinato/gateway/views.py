"""What operations answer: structs whose keys are stable, and how they are made from the domain's values.

Ids are text (`T12`, `Q7`), times ISO 8601 in UTC, durations seconds, money dollars, `null` where it is unknown. Knows
nothing of HTTP or of how a screen shows them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from ostinato.domain.dependency import Standing, is_skipped, standing, still_missing
from ostinato.domain.event import Event
from ostinato.domain.ledger import Charge, Spending
from ostinato.domain.message import Message, Session
from ostinato.domain.question import Question, QuestionKind, QuestionState, everybody_asked
from ostinato.domain.task import After, Task, TaskState, WaitKind
from ostinato.domain.values import SECOND, Attachment
from ostinato.gateway.notation import iso, iso_or_none, usd
from ostinato.gateway.operation import View
from ostinato.gateway.sentences import known_of, question_words, sentence
from ostinato.store.port import Attempt, Flag, Reads, ScheduleRow, Skip

_COST_LOOKUPS_MAX = 200
"""Tasks of one list whose ledger rows are read to tell an unknown price from none."""


ONE_BY_ONE_MAX = 20
"""Agents whose counters are read one by one."""


class Page(View):
    """What every list has: where the next page begins."""

    next: str | None = None
    """Give it back as `before` (or `after`) for more; null: that was all."""


class TaskRow(View):
    """A task in a list."""

    id: str
    kind: str
    state: str
    title: str
    agent: str | None
    project: str
    priority: int
    session: str | None
    parent: str | None
    created_at: str
    updated_at: str
    finished_at: str | None
    not_before_at: str | None
    attempts: int
    reason: str
    waits_for: str
    """`question Q7`, `child T9`, `time`, ...; empty where it does not wait."""
    dead: bool
    """Failed, and nobody has dealt with it yet."""
    tokens: int
    usd: float | None
    like: list[str] = []
    """Tasks that were much like it when it was added."""


class TaskList(Page):
    """A page of tasks, newest first."""

    tasks: list[TaskRow] = []


class FileView(View):
    """A file that came with a task or message; its bytes are the blob `digest`."""

    name: str
    digest: str
    media_type: str
    size_bytes: int


class AttemptView(View):
    """One try of a task."""

    token: int
    node: int | None
    started_at: str
    ended_at: str | None
    queued_s: float
    ran_s: float | None
    outcome: str
    error: str


class StepView(View):
    """One entry of a journal, told in a sentence, with its figures."""

    seq: int
    at: str
    attempt: int
    kind: str
    text: str
    """The sentence."""
    tokens: int | None = None
    usd: float | None = None
    ran_s: float | None = None
    call: str | None = None
    tool: str | None = None
    detail: dict[str, Any] = {}
    """The entry as it is stored."""


class QuestionView(View):
    """A question, with the exact action where it is an approval."""

    id: str
    kind: str
    state: str
    summary: str
    """What it is about, on one line."""
    text: str
    agent: str
    task: str
    session: str
    reason: str
    rule: str
    created_at: str
    expires_at: str | None
    decided_at: str | None
    decided_by: str
    answer: str
    tool: str | None
    arguments: dict[str, Any] | None
    edited: dict[str, Any] | None
    """The arguments that a person put in the place of the agent's."""
    digest: str | None
    """What the approval is bound to: of the edited action, where a person has edited it."""
    bound: dict[str, Any] | None
    """What its tool found beside the arguments, and must find again when it acts: of a command, the program behind its
    name, the digests, the folder, the names of its variables."""
    asks: str
    """Whom it asks: a role or a person, and who else in the end."""
    requesters: list[str]
    """On whose behalf the turn works: they decide only where nobody else could."""


class QuestionList(Page):
    """A page of questions, newest first."""

    questions: list[QuestionView] = []


class SessionRow(View):
    """A session in a list."""

    key: str
    agent: str
    kind: str
    created_at: str
    active_at: str
    unread: int
    paused: bool


class SessionList(Page):
    """A page of sessions."""

    sessions: list[SessionRow] = []


class MessageView(View):
    """A message in an inbox."""

    id: str
    at: str
    source: str
    sender: str
    trust: str
    text: str
    files: list[FileView] = []


class EventView(View):
    """An event, with its sentence."""

    id: int
    at: str
    name: str
    task: str | None
    agent: str | None
    session: str | None
    actor: str
    reason: str
    data: dict[str, Any]
    text: str


class EventList(Page):
    """A page of events, oldest first."""

    events: list[EventView] = []


class ScheduleView(View):
    """A heartbeat or schedule."""

    name: str
    agent: str
    rule: dict[str, str]
    text: str
    session: str
    model: str | None
    effort: str | None
    attempts: int | None
    deliver: str | None
    source: str
    last_at: str | None
    """Last time that fired or was skipped."""
    fired_at: str | None
    next_at: str | None
    skips_in_row: int


class ScheduleList(Page):
    """Every heartbeat and schedule."""

    schedules: list[ScheduleView] = []


class SkipView(View):
    """A run of wakes that did nothing, counted and priced like work."""

    agent: str
    heartbeat: str
    reason: str
    from_at: str
    to_at: str
    count: int


class SpendingView(View):
    """A line of a cost table."""

    name: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    usd: float | None
    unpriced_calls: int
    skipped: int
    title: str = ""
    """Of a task, what it is called; empty where it is gone, and in other tables."""


class FlagView(View):
    """A scope that is halted, paused or draining."""

    scope: str
    name: str
    at: str
    actor: str
    reason: str


def waits_for(task: Task) -> str:
    """What a task waits for that is parked or under review, in a word or two."""
    if task.wait is None or task.state not in (TaskState.WAITING, TaskState.REVIEW):
        return ""
    wait = task.wait
    refs = wait.refs
    if wait.kind in (WaitKind.QUESTION, WaitKind.UNKNOWN):
        refs = tuple(f"Q{each}" if each.isdigit() else each for each in refs)
    elif wait.kind is WaitKind.CHILD:
        refs = tuple(f"T{each}" if each.isdigit() else each for each in refs)
    return " ".join((wait.kind.value, *refs))


def missing(tx: Reads, task: Task) -> list[tuple[After, Task]]:
    """What a task waits for in others, as far as it has not come; nothing where any one was enough."""
    others = {each.id: each for each in tx.dependencies(task.id)}
    edges = [(each, others[each.task]) for each in tx.waits_on(task.id) if each.task in others]
    stands = [standing(each.on, state=other.state, skipped=is_skipped(other)) for each, other in edges]
    if not still_missing(task.spec.join, stands):
        return []
    return [pair for pair, stand in zip(edges, stands, strict=True) if stand is not Standing.MET]


def is_dead(task: Task) -> bool:
    """True for a dead letter."""
    return task.state is TaskState.FAILED and not task.dismissed


def charged(charges: Iterable[Charge]) -> tuple[float | None, int]:
    """Dollars of ledger rows, and how many rows have no known price; null where none has one."""
    known = 0
    unpriced = priced = 0
    for each in charges:
        if each.usd_micros is None:
            unpriced += 1
        else:
            priced += 1
            known += each.usd_micros
    return (None if unpriced and not priced else usd(known)), unpriced


def task_usd(tx: Reads, task: Task) -> float | None:
    """What a task has cost. Where the sum is 0 although tokens were used, the ledger tells 0 from unknown."""
    if task.usd_micros or not task.tokens:
        return usd(task.usd_micros)
    return charged(tx.charges(task.id))[0]


def task_row(task: Task, *, usd: float | None) -> TaskRow:
    """A task in a list."""
    return TaskRow(
        id=task.name,
        kind=task.kind.value,
        state=task.state.value,
        title=task.title,
        agent=task.agent,
        project=task.project,
        priority=task.priority,
        session=task.session,
        parent=f"T{task.parent}" if task.parent else None,
        created_at=iso(task.created_at),
        updated_at=iso(task.updated_at),
        finished_at=iso_or_none(task.finished_at),
        not_before_at=iso(task.not_before_at) if task.not_before_at else None,
        attempts=task.attempts,
        reason=task.reason,
        waits_for=waits_for(task),
        dead=is_dead(task),
        tokens=task.tokens,
        usd=usd,
        like=list(task.spec.like),
    )


def task_rows(tx: Reads, tasks: Sequence[Task]) -> list[TaskRow]:
    """Tasks of a list, with their cost."""
    rows = []
    for number, task in enumerate(tasks):
        cost = task_usd(tx, task) if number < _COST_LOOKUPS_MAX else usd(task.usd_micros)
        rows.append(task_row(task, usd=cost))
    return rows


def file_view(file: Attachment) -> FileView:
    """An attached file."""
    return FileView(name=file.name, digest=file.digest, media_type=file.media_type, size_bytes=file.size_bytes)


def attempt_view(attempt: Attempt) -> AttemptView:
    """One try, with the time in the queue and the time at work."""
    ended = attempt.ended_at
    return AttemptView(
        token=attempt.token,
        node=attempt.node,
        started_at=iso(attempt.started_at),
        ended_at=iso_or_none(ended),
        queued_s=max(0, attempt.started_at - attempt.ready_at) / SECOND,
        ran_s=None if ended is None else (ended - attempt.started_at) / SECOND,
        outcome=attempt.outcome,
        error=attempt.error,
    )


def question_view(question: Question) -> QuestionView:
    """A question, with the exact action."""
    action, allowed = question.action, question.allowed_action
    return QuestionView(
        id=question.name,
        kind=question.kind.value,
        state=question.state.value,
        summary=question_words(question),
        text=question.text,
        agent=question.agent,
        task=f"T{question.task}",
        session=question.session,
        reason=question.reason,
        rule=question.rule,
        created_at=iso(question.created_at),
        expires_at=iso_or_none(question.expires_at),
        decided_at=iso_or_none(question.decided_at),
        decided_by=question.decided_by,
        answer=question.answer,
        tool=action.tool if action else None,
        arguments=action.arguments if action else None,
        edited=question.arguments,
        digest=allowed.digest if allowed else None,
        bound=allowed.bound if allowed else None,
        asks=" or ".join(dict.fromkeys([question.ask, *(each.to for each in everybody_asked(question))])),
        requesters=list(question.requesters),
    )


def next_command(question: Question) -> str:
    """What a person types next about a pending question."""
    if question.state is not QuestionState.PENDING:
        return f"ostinato approvals show {question.name}"
    if question.kind is QuestionKind.ASK:
        return f'ostinato approvals answer {question.name} "..."'
    return f"ostinato approvals show {question.name}"


def session_row(session: Session, *, unread: int) -> SessionRow:
    """A session in a list."""
    return SessionRow(
        key=session.key,
        agent=session.agent,
        kind=session.kind.value,
        created_at=iso(session.created_at),
        active_at=iso(session.active_at),
        unread=unread,
        paused=session.paused,
    )


def message_view(message: Message) -> MessageView:
    """A message."""
    return MessageView(
        id=f"M{message.id}",
        at=iso(message.at),
        source=message.source.value,
        sender=message.sender,
        trust=message.trust.value,
        text=message.text,
        files=[file_view(each) for each in message.attachments],
    )


def event_views(tx: Reads, events: Sequence[Event]) -> list[EventView]:
    """Events with their sentences."""
    known = known_of(tx, events)
    return [
        EventView(
            id=event.id,
            at=iso(event.at),
            name=event.name.value,
            task=f"T{event.task}" if event.task else None,
            agent=event.agent,
            session=event.session,
            actor=event.actor,
            reason=event.reason,
            data=event.data,
            text=sentence(event, known),
        )
        for event in events
    ]


def schedule_view(row: ScheduleRow) -> ScheduleView:
    """A heartbeat or schedule."""
    return ScheduleView(
        name=row.name,
        agent=row.agent,
        rule=row.rule,
        text=row.text,
        session=row.session,
        model=row.model,
        effort=row.effort,
        attempts=row.retry.attempts_max if row.retry is not None else None,
        deliver=row.deliver,
        source=row.source,
        last_at=iso_or_none(row.last_at),
        fired_at=iso_or_none(row.fired_at),
        next_at=iso_or_none(row.next_at),
        skips_in_row=row.skips_in_row,
    )


def skip_view(skip: Skip) -> SkipView:
    """A run of skips."""
    return SkipView(
        agent=skip.agent,
        heartbeat=skip.heartbeat,
        reason=skip.reason,
        from_at=iso(skip.from_at),
        to_at=iso(skip.to_at),
        count=skip.count,
    )


def spending_view(line: Spending, *, title: str = "") -> SpendingView:
    """A line of a cost table; dollars are null where no call of it has a known price."""
    all_unpriced = line.unpriced_calls > 0 and line.unpriced_calls == line.calls
    return SpendingView(
        name=line.name,
        calls=line.calls,
        input_tokens=line.input_tokens,
        cached_tokens=line.cached_tokens,
        output_tokens=line.output_tokens,
        usd=None if all_unpriced else usd(line.usd_micros),
        unpriced_calls=line.unpriced_calls,
        skipped=line.skipped,
        title=title,
    )


def flag_view(flag: Flag) -> FlagView:
    """A halted, paused or draining scope."""
    return FlagView(scope=flag.scope, name=flag.name, at=iso(flag.at), actor=flag.actor, reason=flag.reason)


def agent_tallies(tx: Reads, agents: Sequence[str]) -> Mapping[str, Mapping[str, int]]:
    """Agent -> state -> tasks of every kind: one by one for a few agents, all counters at once for many."""
    if len(agents) <= ONE_BY_ONE_MAX:
        return {each: tx.agent_tally(each) for each in agents}
    return tx.tallies().agents
