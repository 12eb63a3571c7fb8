"""Operations on dead letters: failed tasks that nobody has dealt with yet, one by one or all that failed alike.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from typing import Annotated, Any, Literal

import msgspec

from ostinato.domain.errors import Conflict, Invalid, NotFound
from ostinato.domain.fingerprint import error_of, fingerprint_of
from ostinato.domain.limit import parse_rate
from ostinato.domain.person import Role
from ostinato.domain.replay import NO_EDIT, Edit, ReplayOrder, Risky, input_of
from ostinato.domain.task import NewTask, Task, TaskEvent, TaskKind, TaskSpec
from ostinato.domain.task_query import QUERY_CHARACTERS_MAX, TaskQuery, parse_query
from ostinato.domain.values import Instant, digest_of, to_json
from ostinato.gateway.context import Context
from ostinato.gateway.journal_view import step_views
from ostinato.gateway.notation import iso, parse_id
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.setback_view import FailuresView, failures_view
from ostinato.gateway.sureness import NAMED_MAX, done_for_good, refuse_unsure
from ostinato.gateway.tasks_api import PageSize, Text, Word
from ostinato.gateway.views import (
    AttemptView,
    Page,
    StepView,
    TaskRow,
    attempt_view,
    task_row,
    task_rows,
    task_usd,
)
from ostinato.store.port import Reads, TaskFilter, Tx
from ostinato.store.queue_port import DeadGroup

GROUPS_MAX = 100
"""Groups that are listed, those that failed last first."""

LOOKED_AT = 500
"""Letters looked at in one transaction, where many are asked about."""

COUNTED_MAX = 10_000
"""Letters that are looked at before a replay of many: for how many there are, and what must be asked first."""

Group = Annotated[str, msgspec.Meta(max_length=64)]
Query = Annotated[str, msgspec.Meta(max_length=QUERY_CHARACTERS_MAX)]


class WhichDead(Ask):
    """Which dead letters to list: all, one group, or those that a query means."""

    agent: Word | None = None
    group: Group = ""
    where: Query = ""
    before: Word | None = None
    limit: PageSize = 50


class WhichLetter(Ask):
    """One dead letter and the reason for what is done to it."""

    task: Word
    reason: Text = ""


class ReplayLetter(Ask):
    """One dead letter to be tried anew; `goal`, `input` and single `keys` of it can be other than they were. `sure`:
    also where it has done what cannot be undone, or may have."""

    task: Word
    reason: Text = ""
    goal: Text | None = None
    input: dict[str, Any] | None = None
    keys: dict[str, Any] = {}
    sure: bool = False


class ReplayMany(Ask):
    """Dead letters to be tried anew by a task that can be followed and cancelled: a group, or those that a query means.
    `risky` says what becomes of those that have done what cannot be undone, or may have: `ask` refuses where there are
    any, `leave` leaves them, `replay` replays them, too."""

    group: Group = ""
    where: Query = ""
    reason: Text = ""
    goal: Text | None = None
    input: dict[str, Any] | None = None
    keys: dict[str, Any] = {}
    rate: Word | None = None
    """How fast: `5/m`."""
    risky: Literal["ask", "leave", "replay"] = "ask"


class DismissMany(Ask):
    """Dead letters that somebody has dealt with: a group, or those that a query means."""

    group: Group = ""
    where: Query = ""
    reason: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]


class GroupRow(View):
    """Dead letters that failed alike."""

    fingerprint: str
    count: int
    first_at: str
    last_at: str
    agent: str | None
    kind: str
    error: str
    """Of the newest."""
    error_class: str
    example: str
    """The newest task."""


class DeadRow(View):
    """A dead letter in a list. Equal fingerprints failed in the same way."""

    task: TaskRow
    error: str
    error_class: str
    fingerprint: str


class DeadList(Page):
    """The groups, a page of dead letters, newest first, and how many there are in all."""

    groups: list[GroupRow] = []
    """Of all dead letters, whatever the page shows; those that failed last first."""
    dead: list[DeadRow] = []
    total: int = 0


class LetterView(View):
    """A dead letter with all that is known of it, and what can be done."""

    task: TaskRow
    error: str
    error_class: str
    fingerprint: str
    failed_at: str
    goal: str
    input: dict[str, Any]
    causes: list[str]
    requester: str
    attempts: int
    journal: int
    tries: list[AttemptView]
    steps: list[StepView]
    beyond_recall: list[str]
    """What it has done that cannot be undone, or may have done: replaying it asks first."""
    failures: FailuresView | None
    """What has failed in it, by class; null where nobody kept it."""
    alike: int
    """Dead letters that failed alike, itself among them."""


class Dismissed(View):
    """How many dead letters are none any more."""

    count: int


@operation("dead.list", "GET /api/v1/dead")
async def list_dead(context: Context, request: WhichDead) -> DeadList:
    """Failed tasks that nobody has dealt with: what failed alike together, then each, newest first."""
    query, now = parse_query(request.where), context.now
    before = parse_id(request.before, "T") if request.before else None

    def read(tx: Reads) -> DeadList:
        groups = [_group_row(each) for each in tx.dead_groups(limit=GROUPS_MAX)]
        tasks, more = _page(tx, request, query, before=before, now=now)
        rows = task_rows(tx, tasks)
        dead = [_dead_row(task, row) for task, row in zip(tasks, rows, strict=True)]
        shown = [each for each in groups if request.agent in (None, each.agent)]
        return DeadList(groups=shown, dead=dead, next=f"T{more}" if more else None, total=tx.tallies().dead)

    return await context.store.read(read)


def _page(
    tx: Reads, request: WhichDead, query: TaskQuery, *, before: int | None, now: Instant
) -> tuple[list[Task], int | None]:
    """A page, and where the next one begins; a query looks at a bounded number."""
    size = max(request.limit, LOOKED_AT) if query.terms or request.agent else request.limit
    if request.group:
        found = tx.dead_of_group(request.group, before=before, limit=size)
    else:
        found = tx.tasks(TaskFilter(dead=True, agent=request.agent), before=before, limit=size)
    meant = [each for each in found if query.holds(each, now=now) and request.agent in (None, each.agent)]
    page = meant[: request.limit]
    if len(meant) > len(page):
        return page, page[-1].id
    return page, found[-1].id if len(found) == size else None


@operation("dead.show", "GET /api/v1/dead/{task}")
async def show(context: Context, request: WhichLetter) -> LetterView:
    """How a task failed, and all that is kept of it."""
    number = parse_id(request.task, "T")

    def read(tx: Reads) -> LetterView:
        task, steps = tx.task(number), tx.steps(number)
        error, error_class = error_of(task)
        fingerprint = fingerprint_of(task)
        alike = next((each.count for each in tx.dead_groups(limit=GROUPS_MAX) if each.fingerprint == fingerprint), 0)
        return LetterView(
            task=task_row(task, usd=task_usd(tx, task)),
            error=error,
            error_class=error_class,
            fingerprint=fingerprint,
            failed_at=iso(task.finished_at or task.updated_at),
            goal=task.spec.goal,
            input=task.spec.input,
            causes=list(task.spec.causes),
            requester=task.spec.requester,
            attempts=task.attempts,
            journal=task.journal,
            tries=[attempt_view(each) for each in tx.attempts(number)],
            steps=step_views(steps),
            beyond_recall=done_for_good(tx, task),
            failures=failures_view(tx, task),
            alike=alike,
        )

    return await context.store.read(read)


@operation("dead.replay", "POST /api/v1/dead/{task}/replay", role=Role.OPERATOR)
async def replay(context: Context, request: ReplayLetter) -> TaskRow:
    """Try a failed task again with a new journal, which is told what the old one did."""
    number, now, edit = parse_id(request.task, "T"), context.now, _edit(request)

    def write(tx: Tx) -> TaskRow:
        if not request.sure:
            refuse_unsure(tx, tx.task(number))
        task = tx.retry_task(
            number,
            fresh=True,
            actor=context.caller.name,
            reason=request.reason,
            edit=None if edit == NO_EDIT else edit,
            now=now,
        )
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


@operation("dead.replay_many", "POST /api/v1/dead/replay", role=Role.OPERATOR)
async def replay_many(context: Context, request: ReplayMany) -> TaskRow:
    """Try a group of failed tasks again, or those that a query means: as a task, which `tasks.cancel` stops."""
    now, actor = context.now, context.caller.name
    order = ReplayOrder(
        group=request.group,
        where=request.where,
        until_at=now,
        edit=_edit(request),
        rate=parse_rate(request.rate) if request.rate else None,
        risky=Risky.REPLAY if request.risky == "replay" else Risky.LEAVE,
        actor=actor,
        reason=request.reason,
    )
    _check_which(request.group, request.where)

    def look(tx: Reads) -> tuple[int, list[str]]:
        letters = list(_meant(tx, request.group, request.where, now=now))
        return len(letters), [each.name for each in letters if request.risky == "ask" and done_for_good(tx, each)]

    total, risky = await context.store.read(look)
    if not total:
        raise NotFound("No dead letter is meant", cure="See which there are: ostinato dead list")
    if risky:
        more = f" and {len(risky) - NAMED_MAX} more" if len(risky) > NAMED_MAX else ""
        raise Conflict(
            f"{len(risky)} of {total} have done, or may have done, what cannot be undone: "
            f"{', '.join(risky[:NAMED_MAX])}{more}",
            cure="Leave them out (--safe), or say that they may do it again (--yes).",
        )
    what = f"group {request.group}" if request.group else request.where
    work = f"replay:{digest_of(to_json([request.group, ' '.join(request.where.split())]))[:24]}"
    new = NewTask(
        kind=TaskKind.REPLAY,
        title=f"replay dead letters: {what}"[:200],
        spec=TaskSpec(input=input_of(msgspec.structs.replace(order, total=total)), requester=actor, delegation=work),
    )

    def begin(tx: Tx) -> TaskRow:
        task = tx.add_task(new, now=now, actor=actor)
        if task.spec.input != new.spec.input:
            raise Conflict(
                f"{task.name} replays them already, for {task.spec.requester}",
                cure=f"Follow it: ostinato tasks show {task.name}. Or stop it: ostinato tasks cancel {task.name}",
            )
        return task_row(task, usd=0.0)

    return await context.store.run(begin)


@operation("dead.dismiss", "POST /api/v1/dead/{task}/dismiss", role=Role.OPERATOR)
async def dismiss(context: Context, request: WhichLetter) -> TaskRow:
    """Leave a failed task as it is: somebody has dealt with it."""
    number, now = parse_id(request.task, "T"), context.now

    def write(tx: Tx) -> TaskRow:
        task = tx.move_task(number, TaskEvent.DISMISS, actor=context.caller.name, reason=request.reason, now=now)
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


@operation("dead.dismiss_many", "POST /api/v1/dead/dismiss", role=Role.OPERATOR)
async def dismiss_many(context: Context, request: DismissMany) -> Dismissed:
    """Leave a group of failed tasks as they are, or those that a query means; each has its row in the audit."""
    query, now, actor = parse_query(request.where), context.now, context.caller.name
    _check_which(request.group, request.where)
    if not request.reason.strip():
        raise Invalid("Why are they dismissed?", cure='Say it: --reason "answered by hand"')

    def write(after: int, tx: Tx) -> tuple[int, int | None]:
        found = tx.dead_letters(group=request.group, after=after, until_at=now, limit=LOOKED_AT)
        meant = [each for each in found if query.holds(each, now=now)]
        for each in meant:
            tx.move_task(each.id, TaskEvent.DISMISS, actor=actor, reason=request.reason, now=now)
        return len(meant), found[-1].id if len(found) == LOOKED_AT else None

    total, after = 0, 0
    while True:
        count, more = await context.store.run(partial(write, after))
        total += count
        if more is None:
            return Dismissed(count=total)
        after = more


def _check_which(group: str, where: str) -> None:
    parse_query(where)
    if not group and not where.strip():
        raise Invalid("Which dead letters?", cure="Name a group (--group) or a query (--where 'agent:billing').")


def _meant(tx: Reads, group: str, where: str, *, now: Instant) -> Iterator[Task]:
    """Letters of a group that a query means, oldest first; of very many the first COUNTED_MAX are looked at."""
    query, after, looked_at = parse_query(where), 0, 0
    while looked_at < COUNTED_MAX:
        found = tx.dead_letters(group=group, after=after, until_at=now, limit=LOOKED_AT)
        yield from (each for each in found if query.holds(each, now=now))
        if len(found) < LOOKED_AT:
            return
        after, looked_at = found[-1].id, looked_at + len(found)


def _edit(request: ReplayLetter | ReplayMany) -> Edit:
    return Edit(goal=request.goal, input=request.input, keys=request.keys)


def _group_row(group: DeadGroup) -> GroupRow:
    task = group.example
    error, error_class = error_of(task)
    return GroupRow(
        fingerprint=group.fingerprint,
        count=group.count,
        first_at=iso(group.first_at),
        last_at=iso(group.last_at),
        agent=task.agent,
        kind=task.kind.value,
        error=error,
        error_class=error_class,
        example=task.name,
    )


def _dead_row(task: Task, row: TaskRow) -> DeadRow:
    error, error_class = error_of(task)
    return DeadRow(task=row, error=error, error_class=error_class, fingerprint=fingerprint_of(task))
