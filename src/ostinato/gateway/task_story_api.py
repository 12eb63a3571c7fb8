"""Operations that explain a task: why this agent has it, why it failed, and what it does right now.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from contextlib import suppress

from ostinato.domain.dependency import joined
from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName
from ostinato.domain.retry import class_of
from ostinato.domain.step import (
    Answered,
    Decision,
    Judged,
    LimitReached,
    ModelAnswer,
    ResultStatus,
    Reviewed,
    Step,
    ToolOutcome,
)
from ostinato.domain.task import ENDED, Join, Task, TaskState, WaitKind, claim_number
from ostinato.gateway.context import AgentCard, Context
from ostinato.gateway.follow import changes_of
from ostinato.gateway.journal_view import DIGEST_CHARS, prompt_files, step_view
from ostinato.gateway.limit_views import limits_in_the_way
from ostinato.gateway.notation import iso, parse_id
from ostinato.gateway.operation import View, operation, stream
from ostinato.gateway.placing import CandidateView, placing
from ostinato.gateway.sentences import held_words, question_words, quoted
from ostinato.gateway.setback_view import classes_of
from ostinato.gateway.tasks_api import WhichTask
from ostinato.gateway.views import EventView, StepView, event_views, missing, next_command, waits_for
from ostinato.store.port import EventFilter, QuestionFilter, Reads
from ostinato.tools.router import SCALE, scaled

ASKED_MAX = 5
"""Pending questions of one task that a walk names."""

WALK_MAX = 20
"""How many tasks back a walk from a failure goes."""


class Explanation(View):
    """Why a task is where it is."""

    task: str
    agent: str | None
    state: str
    lines: list[str]
    candidates: list[CandidateView] = []
    """Whoever could do it, best first, then those who lack little; none where an agent was named."""


class WhyLine(View):
    """One finding on the way back from a failure."""

    task: str
    at: str
    text: str


class WhyView(View):
    """The way back from a failure to the step and agent whose output caused it, nearest first."""

    task: str
    state: str
    lines: list[WhyLine]


class TailItem(View):
    """What happened to a task: a step of its journal or an event; `ended` in the last one."""

    at: str
    text: str
    step: StepView | None = None
    event: EventView | None = None
    ended: bool = False
    state: str = ""
    command: str = ""
    """What to type next, where the task goes on only once a person does something."""


_BEGINNINGS = frozenset({EventName.TASK_ADDED, EventName.TASK_CLAIMED})


def _order(item: TailItem) -> tuple[str, int]:
    """By time; of one commit, first what let the steps come, then the steps, then what came of them."""
    if item.event is None:
        return item.at, 1
    return item.at, 0 if item.event.name in _BEGINNINGS else 2


@operation("tasks.explain", "GET /api/v1/tasks/{task}/explain")
async def explain(context: Context, request: WhichTask) -> Explanation:
    """Why this agent has the task, and why it is in its state."""
    number = parse_id(request.task, "T")

    first = await context.store.read(lambda tx: tx.task(number))
    where, now = await placing(context, needed=bool(first.spec.skills)), context.now
    card = await _card_or_none(context, first.agent)

    def read(tx: Reads) -> Explanation:
        task = tx.task(number)
        lines = where.why_here(tx, task, now=now)
        lines.append(f"it is {task.state.value}{f': {task.reason}' if task.reason else ''}")
        if waits_for(task):
            lines.append(f"it waits for {waits_for(task)}")
        if task.state not in ENDED:
            lines += [*_what_holds(tx, task, card), *limits_in_the_way(tx, task, now=now), *_missing(tx, task)]
            lines += [f"not before {iso(task.not_before_at)}"] if task.not_before_at > now else []
            lines += ["no node is running"] if context.node is None else []
        return Explanation(
            task=task.name,
            agent=task.agent,
            state=task.state.value,
            lines=lines,
            candidates=where.candidates(tx, task, now=now),
        )

    return await context.store.read(read)


async def _card_or_none(context: Context, agent: str | None) -> AgentCard | None:
    try:
        return None if agent is None else await context.card(agent)
    except NotFound:
        return None


def _what_holds(tx: Reads, task: Task, card: AgentCard | None) -> Iterator[str]:
    """What keeps a task from beginning, however long it has been ready: no agent, its files, a stop, its limit."""
    if task.agent is not None and card is None:
        yield f"there is no agent {task.agent!r} now: ostinato tasks move {task.name} --agent AGENT"
        return
    for each in card.problems if card is not None else ():
        if each.level == "error":
            yield f"{each.place}: {each.message}"
    if task.state is not TaskState.READY:
        return
    words, command = _held(tx, task)
    if words:
        yield f"it {words}: {command}"
    if card is not None:
        most = scaled(tx.settings(SCALE).get(card.id), card.concurrency)
        running = tx.agent_tally(card.id).get(TaskState.RUNNING.value, 0)
        if running >= most:
            yield f"{card.id} does {most} at once, and {running} run{'s' if running == 1 else ''}"


def _missing(tx: Reads, task: Task) -> Iterator[str]:
    """What it depends on and has not come, and what a person can do about what will not come by itself."""
    if task.state not in (TaskState.BLOCKED, TaskState.DRAFT):
        return
    lacks = missing(tx, task)
    if not lacks:
        return
    any_of = "any of " if task.spec.join is Join.ANY and len(lacks) > 1 else ""
    yield f"it needs first: {any_of}" + ", ".join(f"{joined(each)} ({other.state.value})" for each, other in lacks)
    if task.state is TaskState.BLOCKED and all(other.state in ENDED for _, other in lacks):
        yield f"to go on without: ostinato tasks approve {task.name}; to end it: ostinato tasks cancel {task.name}"


@operation("tasks.why", "GET /api/v1/tasks/{task}/why")
async def why(context: Context, request: WhichTask) -> WhyView:
    """Walk back from a failure to the step and agent whose output caused it."""
    number = parse_id(request.task, "T")

    def read(tx: Reads) -> WhyView:
        task = tx.task(number)
        return WhyView(task=task.name, state=task.state.value, lines=_walk(tx, task))

    return await context.store.read(read)


@stream("tasks.tail", "GET /api/v1/tasks/{task}/tail")
async def tail(context: Context, request: WhichTask) -> AsyncIterator[TailItem | None]:
    """Steps and events of a task as they come, from its beginning until it has ended."""
    number = parse_id(request.task, "T")
    seq, event_id, journal, told = 0, 0, 0, ""

    def read(tx: Reads) -> tuple[Task, list[Step], list[EventView], TailItem | None]:
        task = tx.task(number)
        views = event_views(tx, tx.events(EventFilter(task=number), after=event_id, limit=500))
        return task, tx.steps(number), views, _hold(tx, task)

    async with changes_of(context.store) as changes:
        while True:
            task, steps, events, hold = await context.store.read(read)
            if task.journal != journal:
                journal, seq = task.journal, 0
            fresh = [step_view(each) for each in steps if each.seq > seq]
            items = [TailItem(at=each.at, text=each.text, step=each) for each in fresh]
            items += [TailItem(at=view.at, text=view.text, event=view) for view in events]
            seq = steps[-1].seq if steps else seq
            event_id = events[-1].id if events else event_id
            for item in sorted(items, key=_order):
                yield item
            if task.state in ENDED and len(events) < 500:
                text = f"{task.name} is {task.state.value}"
                yield TailItem(at=iso(task.updated_at), text=text, ended=True, state=task.state.value)
                return
            if hold is not None and hold.text != told:
                yield hold
            told = hold.text if hold is not None else ""
            await changes.wait()
            yield None


def _hold(tx: Reads, task: Task) -> TailItem | None:
    """What keeps a task where it is until a person does something; None where nothing does."""
    text = command = ""
    match task.state:
        case TaskState.WAITING:
            asked = tx.questions(QuestionFilter(task=task.id), limit=1)
            if asked:
                text, command = f"waits for your answer to {asked[0].name}", next_command(asked[0])
        case TaskState.DRAFT:
            text, command = "is a proposal", f"ostinato tasks approve {task.name}"
        case TaskState.REVIEW:
            asked = tx.questions(QuestionFilter(task=task.id), limit=1)
            if asked or task.wait is None:
                command = f"ostinato tasks approve {task.name}, or tasks reject {task.name} --reason ..."
                text = f"has a result to accept or reject{f': {asked[0].name}' if asked else ''}"
        case TaskState.BLOCKED if not task.unfinished:
            text, command = f"is blocked: {task.reason}", f"ostinato tasks explain {task.name}"
        case TaskState.READY:
            text, command = _held(tx, task)
        case _:
            pass
    if not text:
        return None
    return TailItem(at=iso(task.updated_at), text=f"{task.name} {text}", state=task.state.value, command=command)


def _held(tx: Reads, task: Task) -> tuple[str, str]:
    """Why a ready task does not begin, where somebody has stopped the fleet or its agent; and how to undo it."""
    scopes = {"fleet": "ostinato start", f"agent:{task.agent}": f"ostinato agents resume {task.agent}"}
    for each in (f"task:{task.id}", f"session:{task.session}", f"pool:{task.pool}"):
        scopes[each] = f"ostinato start {each}"
    for flag in tx.flags():
        if flag.scope in scopes:
            return f"waits: {held_words(flag)}", scopes[flag.scope]
    return "", ""


def _walk(tx: Reads, task: Task) -> list[WhyLine]:
    """From a task to the cause of its state: its own journal, then what it depended on, then who made it."""
    lines: list[WhyLine] = []
    pending, seen = [task], set[int]()
    while pending and len(seen) < WALK_MAX:
        each = pending.pop(0)
        if each.id in seen:
            continue
        seen.add(each.id)
        lines += _findings(tx, each)
        pending += _behind(tx, each)
    return lines


def _behind(tx: Reads, task: Task) -> Iterator[Task]:
    """What a task did not get that it needed, as far as that is no mere matter of time; then who made it."""
    held = (TaskState.FAILED, TaskState.CANCELLED, TaskState.BLOCKED)
    if task.state in (TaskState.BLOCKED, TaskState.DRAFT, TaskState.CANCELLED):
        yield from (other for other in tx.dependencies(task.id) if other.state in held)
    if task.state is TaskState.WAITING and task.wait is not None and task.wait.kind is WaitKind.CHILD:
        children = (tx.task(parse_id(each, "T")) for each in task.wait.refs)
        yield from (each for each in children if each.state is not TaskState.DONE)
    for cause in task.spec.causes[-1:]:
        if cause[:1] == "T":
            with suppress(NotFound):  # it may have been pruned
                yield tx.task(int(cause[1:]))


def _findings(tx: Reads, task: Task) -> list[WhyLine]:
    who = f"{task.name} {quoted(task.title, chars_max=60)} of {task.agent or 'nobody'}"
    state = f"{who} is {task.state.value}{f': {task.reason}' if task.reason else ''}"
    lines = [WhyLine(task=task.name, at=iso(task.updated_at), text=state)]
    asked = tx.questions(QuestionFilter(task=task.id), limit=ASKED_MAX) if task.state not in ENDED else []
    for question in asked:
        text = f"it asks {question.name}, {question_words(question)}: {next_command(question)}"
        lines.append(WhyLine(task=task.name, at=iso(question.created_at), text=text))
    if task.result and task.result.error and task.result.error not in task.reason:
        text = f"it ended with: {task.result.error} ({_kind_words(task.result.error_class)})"
        lines.append(WhyLine(task=task.name, at=iso(task.updated_at), text=text))
    steps = tx.steps(task.id)
    telling = [each for each in steps if _is_telling(each)]
    if task.state is TaskState.FAILED and not telling:
        telling = steps[-1:]  # as far as it had come
    for each in reversed(telling[-5:]):
        view = step_view(each)
        lines.append(WhyLine(task=task.name, at=view.at, text=f"step {view.seq}: {view.text}"))
    files = prompt_files(steps) if task.state is TaskState.FAILED else {}
    if files:
        named = ", ".join(f"{name} {digest[:DIGEST_CHARS]}" for name, digest in files.items())
        text = f"{task.agent or 'nobody'} ran with {named}"
        lines.append(WhyLine(task=task.name, at=iso(steps[0].at), text=text))
    classes = classes_of(tx, task)
    for attempt in tx.attempts(task.id):
        if attempt.error and not (task.result and attempt.error == task.result.error):
            how = f"{attempt.outcome}{_class(classes.get(attempt.token))}"
            text = f"attempt {claim_number(attempt.token)} ended with {how}: {attempt.error}"
            lines.append(WhyLine(task=task.name, at=iso(attempt.ended_at or attempt.started_at), text=text))
    return lines


def _kind_words(kind: str) -> str:
    failure = class_of(kind).value
    return failure if kind in ("", failure) else f"{failure}, {kind}"


def _class(words: str | None) -> str:
    return f" ({words})" if words else ""


def _is_telling(step: Step) -> bool:
    """True for a step that may be the cause of a bad end."""
    match step.entry:
        case ToolOutcome(status=status):
            return status in {ResultStatus.ERROR, ResultStatus.INVALID, ResultStatus.DENIED, ResultStatus.UNKNOWN}
        case Judged(decision=decision):
            return decision is Decision.DENY
        case Answered(decision=decision):
            return decision in {"deny", "denied", "expired"}
        case ModelAnswer(problem=problem):
            return bool(problem)
        case LimitReached():
            return True
        case Reviewed(accepted=accepted):
            return not accepted
        case _:
            return False
