"""Operations on tasks: add, list, show, decide, move.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from typing import Annotated, Any

import msgspec

from ostinato.agents.unfit import is_unfit
from ostinato.domain.budget import Ceiling
from ostinato.domain.dependency import joined
from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Conflict, Invalid, unknown_name
from ostinato.domain.escalation import parse_rungs
from ostinato.domain.failure import SKILLS
from ostinato.domain.message import parse_deliver
from ostinato.domain.person import Role, check_deciders, people_of
from ostinato.domain.question import Answer, QuestionKind, QuestionState
from ostinato.domain.retry import parse_retry
from ostinato.domain.review import ByAgent, read_review, reviewing_people
from ostinato.domain.routing import RoutingPolicy
from ostinato.domain.task import UNFINISHED, Join, NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.task_query import QUERY_CHARACTERS_MAX, TaskQuery, parse_query
from ostinato.domain.values import digest_of, to_json
from ostinato.gateway.context import Context
from ostinato.gateway.deciding import BudgetView, budget_view, undecidable, unheld, ways_on
from ostinato.gateway.journal_view import prompt_files, step_views
from ostinato.gateway.notation import iso, parse_after, parse_id, parse_moment
from ostinato.gateway.operation import Ask, View, member_of, operation
from ostinato.gateway.placing import placing
from ostinato.gateway.reviewing import ReviewView, decide_review, review_view
from ostinato.gateway.setback_view import FailuresView, failures_view
from ostinato.gateway.sureness import refuse_unsure
from ostinato.gateway.views import (
    AttemptView,
    FileView,
    QuestionView,
    StepView,
    TaskList,
    TaskRow,
    attempt_view,
    charged,
    file_view,
    question_view,
    task_row,
    task_rows,
    task_usd,
)
from ostinato.store.port import QuestionFilter, Reads, TaskFilter, Tx
from ostinato.tools.proposing import compared, neighbours, once
from ostinato.workspace.failure_rules import check_fallback

Title = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Text = Annotated[str, msgspec.Meta(max_length=200_000)]
Word = Annotated[str, msgspec.Meta(max_length=200)]
Skill = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]
Priority = Annotated[int, msgspec.Meta(ge=-100, le=100)]
CHILDREN_SHOWN_MAX = 50
PAGE_MAX = 500
PageSize = Annotated[int, msgspec.Meta(ge=1, le=PAGE_MAX)]


class AddTask(Ask):
    """A task to add. `agent` or `skills` say who does it; `not_before` and `deadline` are times or durations from
    now; `after` names tasks: `T12`, `T12:failure` (once it has failed), `T12:always` (once it has ended); `key` makes
    adding it twice harmless."""

    title: Title
    goal: Text = ""
    agent: Word | None = None
    skills: Annotated[list[Skill], msgspec.Meta(max_length=20)] = []
    project: Word = ""
    type: Word = ""
    priority: Priority = 0
    input: dict[str, Any] = {}
    after: Annotated[list[Word], msgspec.Meta(max_length=100)] = []
    any: bool = False
    """Any one of `after` is enough."""
    not_before: Word | None = None
    deadline: Word | None = None
    timeout: Word | None = None
    model: Word | None = None
    budget: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None
    """Dollars that it may spend with all that it sets off."""
    cache: Word | None = None
    """How long an equal task's result will do, and its own for others: `1h`; `0s`: never. Null: as its agent says."""
    fresh: bool = False
    """It runs, whatever is known already."""
    deliver: Word | None = None
    policy: Word | None = None
    """What makes an agent the best for it: balanced, least_loaded, cheapest, fastest or best."""
    review: dict[str, Any] | Text | None = None
    """Who must accept its result before it counts: `agent:NAME`, `person:operator`, `command:pytest -q`, `when:CEL`, or
    a group such as `{"person": "operator", "within": "1d", "rounds": 2}`."""
    retry: dict[str, Any] = {}
    """How it is tried again, as `[retry]` says it: `{"attempts": 5, "rate_limited": {"attempts": 9}}`."""
    fallback: Word | None = None
    """Who takes over when its agent has given up: an agent, or `skills`."""
    escalate: list[dict[str, Any]] | None = None
    """Whom to ask when it has failed, one after the other: `[{"to": "alice", "within": "2h"}]`."""
    delegation: Word | None = None
    """Key of the work: while a task with it is unfinished, that one is given back. A draft has one by what it says."""
    draft: bool = False
    key: Word | None = None


class WhichTasks(Ask):
    """Which tasks to list; goals of every state unless said otherwise."""

    state: list[str] = []
    kind: list[str] = []
    all: bool = False
    """Also turns, deliveries and wake-ups."""
    agent: Word | None = None
    project: Word | None = None
    session: Word | None = None
    parent: Word | None = None
    dead: bool = False
    text: Word = ""
    query: Annotated[str, msgspec.Meta(max_length=QUERY_CHARACTERS_MAX)] = ""
    """Terms that must all hold, such as `status:failed cost:>1 age:>2d`."""
    before: Word | None = None
    limit: PageSize = 50


class WhichTask(Ask):
    """One task."""

    task: Word


class DecideTask(Ask):
    """One task and the reason for what is done to it."""

    task: Word
    reason: Text = ""


class RetryTask(Ask):
    """A failed task goes on with its journal; `fresh` begins a new one; `more` grants a parked turn its limit again."""

    task: Word
    reason: Text = ""
    fresh: bool = False
    more: bool = False
    sure: bool = False
    """It may begin anew also where it has done what cannot be undone, or may have."""


class MoveTask(Ask):
    """What to change; what is not named stays."""

    task: Word
    priority: Priority | None = None
    agent: Word | None = None
    project: Word | None = None
    not_before: Word | None = None


class CommentTask(Ask):
    """A remark for whoever works on the task."""

    task: Word
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]


class TaskView(View):
    """A task with everything that happened to it."""

    task: TaskRow
    goal: str
    input: dict[str, Any]
    budget: BudgetView | None
    """Its own, with all that it sets off; null: only the limits of its agent and the fleet."""
    type: str
    skills: list[str]
    requester: str
    trust: str
    trigger: str
    causes: list[str]
    deadline_at: str | None
    files: list[FileView]
    """What came with it."""
    like: list[str]
    """Tasks that were much like it when it was proposed."""
    why_here: list[str]
    """Why this agent has it."""
    answered_from: str | None
    """The task whose result this is, where an equal one had been answered."""
    result: str
    result_data: dict[str, Any] | None
    error: str
    error_class: str
    failures: FailuresView | None
    """What has failed in it, by class, and what comes next; null where nothing has."""
    after: list[str]
    """Tasks it waits for."""
    before: list[str]
    """Tasks that wait for it."""
    children: list[str]
    """What it began: sub-agents, and whatever else is done for it; at most 50, the oldest first."""
    review: ReviewView | None
    """Who reviews its result, and what was said; None: nobody was asked yet."""
    attempts: list[AttemptView]
    steps: list[StepView]
    questions: list[QuestionView]
    possible: list[str]
    """The commands for what people can do about it as it stands."""
    prompt_files: dict[str, str]
    """Name -> digest of the agent's files that the last attempt ran with."""
    model_calls: int
    unpriced_calls: int


class AddedTask(TaskRow):
    """A task that was added, or the one that was there."""

    existed: bool
    """It was there already, under the same key or as the same work (`delegation`), and is as it was."""


@operation("tasks.add", "POST /api/v1/tasks", role=Role.OPERATOR)
async def add(context: Context, request: AddTask) -> AddedTask:
    """Add a task. It is durable when this returns; the same `key` gives the same task back."""
    now = context.now
    spec = TaskSpec(
        goal=request.goal,
        requester=context.caller.name,
        input=request.input,
        skills=tuple(request.skills),
        timeout_s=parse_duration(request.timeout) if request.timeout else None,
        deadline_at=parse_moment(request.deadline, now=now, ahead=True) if request.deadline else None,
        model=request.model,
        cache_s=parse_duration(request.cache) if request.cache else None,
        fresh=request.fresh,
        deliver=parse_deliver(request.deliver) if request.deliver is not None else None,
        budget=None if request.budget is None else Ceiling(usd_micros=round(request.budget * 1_000_000)),
        join=Join.ANY if request.any else Join.ALL,
        retry=parse_retry(request.retry, place="key 'retry'"),
        fallback=check_fallback(request.fallback) if request.fallback else "",
        escalate=None if request.escalate is None else parse_rungs(request.escalate, place="key 'escalate'"),
        delegation=request.delegation or "",
        review=None if request.review is None else read_review(request.review),
        policy=None if request.policy is None else member_of(RoutingPolicy, request.policy, what="policy"),
    )
    new = NewTask(
        kind=TaskKind.GOAL,
        title=" ".join(request.title.split()) or request.title,
        agent=request.agent,
        spec=spec,
        project=request.project,
        type=request.type,
        priority=request.priority,
        not_before_at=parse_moment(request.not_before, now=now, ahead=True) if request.not_before else 0,
        draft=request.draft,
        after=tuple(parse_after(each) for each in request.after),
        key=request.key,
        body=digest_of(to_json(request)) if request.key else "",
    )
    await _check_names(context, request)
    await _check_reviewer(context, new)
    where = await placing(context, needed=request.agent is None)

    near = await context.store.read(lambda reads: neighbours(reads, new.project))
    whom = (*(each.to for each in spec.escalate or ()), *reviewing_people(spec.review))

    def write(tx: Tx) -> AddedTask:
        check_deciders(whom, people_of(tx.tokens()) if whom else {})
        work = (once if request.draft or request.delegation else compared)(tx, new, others=near)
        is_keyed = work.key is not None or work.spec.delegation
        newest = max((each.id for each in tx.tasks(TaskFilter(), limit=1)), default=0) if is_keyed else 0
        task = tx.add_task(where.place(tx, work, now=now), now=now, actor=context.caller.name)
        existed = bool(newest) and task.id <= newest
        row = task_row(task, usd=task_usd(tx, task) if existed else 0.0)
        return AddedTask(**msgspec.structs.asdict(row), existed=existed)

    return await context.store.run(write)


async def _check_reviewer(context: Context, new: NewTask) -> None:
    """Raises NotFound where the reviewer does not exist, Invalid where it is the author."""
    by = None if new.spec.review is None else new.spec.review.by
    if isinstance(by, ByAgent):
        await context.card(by.agent)
        if by.agent == new.agent:
            raise Invalid(f"{by.agent} cannot review its own work", cure="Name another agent, or a person.")


async def _check_names(context: Context, request: AddTask) -> None:
    """Raises NotFound for an agent that is not there, whatever it is wanted for, and Invalid for such a model."""
    kind, _, receiver = (request.deliver or "").partition(":")
    fallback = request.fallback if request.fallback != SKILLS else None
    for name in (request.agent, fallback, receiver if kind == "agent" else None):
        if name:
            await context.card(name)
    known = context.definitions.models()
    if request.model is not None and request.model not in known:
        raise Invalid(unknown_name("model", request.model[:64], known), place="body, key 'model'")


@operation("tasks.list", "GET /api/v1/tasks")
async def list_tasks(context: Context, request: WhichTasks) -> TaskList:
    """Tasks, newest first."""
    query = parse_query(request.query)
    states = request.state or query.only("status")
    which = TaskFilter(
        states=frozenset(member_of(TaskState, each, what="state") for each in states),
        kinds=_kinds(request, query),
        agent=request.agent or _single(query, "agent"),
        project=request.project or _single(query, "project"),
        session=request.session or _single(query, "session"),
        parent=parse_id(parent, "T") if (parent := request.parent or _single(query, "parent")) else None,
        dead=request.dead,
        text=request.text,
    )
    before, now = parse_id(request.before, "T") if request.before else None, context.now
    stalled_s = context.definitions.stalled_s()

    def read(tx: Reads) -> TaskList:
        tasks, more = tx.tasks_page(which, before=before, limit=request.limit if not query.terms else PAGE_MAX)
        found = [each for each in tasks if query.holds(each, now=now, stalled_s=stalled_s)]
        if len(found) > request.limit:
            found, more = found[: request.limit], found[request.limit - 1].id
        return TaskList(tasks=task_rows(tx, found), next=f"T{more}" if more else None)

    return await context.store.read(read)


@operation("tasks.show", "GET /api/v1/tasks/{task}")
async def show(context: Context, request: WhichTask) -> TaskView:
    """One task: why this agent, every attempt and step with time, tokens and cost, questions, files."""
    number = parse_id(request.task, "T")

    task = await context.store.read(lambda tx: tx.task(number))
    where, now = await placing(context, needed=bool(task.spec.skills)), context.now

    def read(tx: Reads) -> TaskView:
        task = tx.task(number)
        return _task_view(tx, task, why_here=where.why_here(tx, task, now=now))

    return await context.store.read(read)


@operation("tasks.approve", "POST /api/v1/tasks/{task}/approve", role=Role.OPERATOR)
async def approve(context: Context, request: DecideTask) -> TaskRow:
    """Let a draft run, accept a result that waits for it, or go on without what ended badly."""
    moves = {
        TaskState.DRAFT: TaskEvent.APPROVE,
        TaskState.REVIEW: TaskEvent.ACCEPT,
        TaskState.BLOCKED: TaskEvent.RELEASE,
    }
    return await _decide(context, request, moves, deed="approved")


@operation("tasks.reject", "POST /api/v1/tasks/{task}/reject", role=Role.OPERATOR)
async def reject(context: Context, request: DecideTask) -> TaskRow:
    """Refuse a draft, or return a result with the reason as notes: the agent reads them and goes on."""
    moves = {TaskState.DRAFT: TaskEvent.REJECT, TaskState.REVIEW: TaskEvent.RETURN}
    return await _decide(context, request, moves, deed="rejected")


@operation("tasks.cancel", "POST /api/v1/tasks/{task}/cancel", role=Role.OPERATOR)
async def cancel(context: Context, request: DecideTask) -> TaskRow:
    """End a task that has not ended; a running attempt stops at once."""
    return await _decide(context, request, dict.fromkeys(UNFINISHED, TaskEvent.CANCEL), deed="cancelled")


@operation("tasks.retry", "POST /api/v1/tasks/{task}/retry", role=Role.OPERATOR)
async def retry(context: Context, request: RetryTask) -> TaskRow:
    """Let a failed task go on with its journal, or with a new one; or grant a parked turn its limit once more."""
    number, now, actor = parse_id(request.task, "T"), context.now, context.caller.name

    def write(tx: Tx) -> TaskRow:
        if request.more:
            task = _grant_more(tx, number, by=actor, now=now)
        else:
            if request.fresh and not request.sure:
                refuse_unsure(tx, tx.task(number))
            task = tx.retry_task(number, fresh=request.fresh, actor=actor, reason=request.reason, now=now)
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


@operation("tasks.move", "POST /api/v1/tasks/{task}/move", role=Role.OPERATOR)
async def move(context: Context, request: MoveTask) -> TaskRow:
    """Change a task's priority, agent, project or time. One that waited for somebody to do it, or for the files of its
    agent, is then ready."""
    number, now = parse_id(request.task, "T"), context.now
    if all(getattr(request, each) is None for each in ("priority", "agent", "project", "not_before")):
        raise Invalid("Nothing to change", cure="Name priority, agent, project or not_before.")
    if request.agent is not None:
        await context.card(request.agent)
    not_before_at = parse_moment(request.not_before, now=now, ahead=True) if request.not_before else None

    def write(tx: Tx) -> TaskRow:
        before = tx.task(number)
        task = tx.change_task(
            number,
            actor=context.caller.name,
            now=now,
            priority=request.priority,
            agent=request.agent,
            not_before_at=not_before_at,
            project=request.project,
        )
        waited = before.state is TaskState.BLOCKED and (before.agent is None or is_unfit(before))
        if request.agent is not None and waited:
            task = tx.move_task(number, TaskEvent.RELEASE, actor=context.caller.name, now=now)
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


@operation("tasks.comment", "POST /api/v1/tasks/{task}/comment", role=Role.OPERATOR)
async def comment(context: Context, request: CommentTask) -> TaskRow:
    """Leave a remark in the task's journal; the agent reads it with its next model call."""
    number, now = parse_id(request.task, "T"), context.now

    def write(tx: Tx) -> TaskRow:
        tx.note_task(number, request.text, by=context.caller.name, now=now)
        task = tx.task(number)
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


def _single(query: TaskQuery, key: str) -> str | None:
    """The one value that an index can answer for a key."""
    values = query.only(key)
    return values[0] if len(values) == 1 else None


def _kinds(request: WhichTasks, query: TaskQuery) -> frozenset[TaskKind]:
    """Goals alone, unless something is asked for that other kinds have as well."""
    if wanted := request.kind or query.only("kind"):
        return frozenset(member_of(TaskKind, each, what="kind") for each in wanted)
    narrow = request.all or request.dead or request.session is not None or request.parent is not None
    return frozenset() if narrow or query.names("kind", "session", "parent") else frozenset({TaskKind.GOAL})


async def _decide(context: Context, request: DecideTask, moves: dict[TaskState, TaskEvent], *, deed: str) -> TaskRow:
    number, now = parse_id(request.task, "T"), context.now
    approves = TaskEvent.APPROVE in moves.values()
    where = await placing(context) if approves else None

    def write(tx: Tx) -> TaskRow:
        task = tx.task(number)
        event = moves.get(task.state)
        if event is None or (event is TaskEvent.RELEASE and task.agent is None):
            raise undecidable(tx, task, deed)
        if event in (TaskEvent.ACCEPT, TaskEvent.RETURN):
            task = decide_review(tx, task, context.caller, accepted=approves, notes=request.reason, now=now)
            return task_row(task, usd=task_usd(tx, task))
        if where is not None and task.state is TaskState.DRAFT:
            where.place_again(tx, task, actor=context.caller.name, now=now)
        task = tx.move_task(number, event, actor=context.caller.name, reason=request.reason, now=now)
        if event is TaskEvent.APPROVE:
            task = unheld(tx, task, actor=context.caller.name, now=now)
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


def _grant_more(tx: Tx, number: int, *, by: str, now: int) -> Task:
    """Allows the question in which a turn asks whether it may go on past a limit."""
    wait = tx.task(number).wait
    waited = [tx.question(parse_id(each, "Q")) for each in wait.refs if each[:1] == "Q"] if wait else []
    asked = [each for each in waited if each.kind is QuestionKind.BUDGET and each.state is QuestionState.PENDING]
    asked = asked or tx.questions(QuestionFilter(kind=QuestionKind.BUDGET, task=number), limit=1)
    if not asked:
        raise Conflict(
            f"T{number} does not wait at a limit",
            cure=f"See what it waits for: ostinato tasks show T{number}. A failed task goes on without --more.",
        )
    tx.answer(asked[0].id, Answer(state=QuestionState.ALLOWED, by=by), now=now)
    return tx.task(number)


def _task_view(tx: Reads, task: Task, *, why_here: list[str]) -> TaskView:
    steps = tx.steps(task.id)
    charges = tx.charges(task.id)
    cost, unpriced = charged(charges)
    questions = tx.questions(QuestionFilter(state=None, task=task.id), limit=200)
    result = task.result
    return TaskView(
        task=task_row(task, usd=cost if charges else task_usd(tx, task)),
        goal=task.spec.goal,
        input=task.spec.input,
        budget=budget_view(tx, task),
        type=task.type,
        skills=list(task.spec.skills),
        requester=task.spec.requester,
        trust=task.spec.trust.value,
        trigger=task.spec.trigger.value,
        causes=list(task.spec.causes),
        deadline_at=iso(task.spec.deadline_at) if task.spec.deadline_at else None,
        files=[file_view(each) for each in task.spec.attachments],
        like=list(task.spec.like),
        why_here=why_here,
        answered_from=f"T{result.source}" if result and result.source else None,
        result=result.text if result else "",
        result_data=result.data if result else None,
        error=result.error if result else "",
        error_class=result.error_class if result else "",
        failures=failures_view(tx, task),
        after=[joined(each) for each in tx.waits_on(task.id)],
        before=[each.name for each in tx.dependants(task.id)],
        children=[each.name for each in tx.tasks(TaskFilter(parent=task.id), limit=CHILDREN_SHOWN_MAX)][::-1],
        review=review_view(task, steps),
        attempts=[attempt_view(each) for each in tx.attempts(task.id)],
        steps=step_views(steps),
        questions=[question_view(each) for each in reversed(questions)],
        possible=ways_on(tx, task),
        prompt_files=prompt_files(steps),
        model_calls=len({each.call for each in charges}),
        unpriced_calls=unpriced,
    )
