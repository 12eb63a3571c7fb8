"""Operations on dead letters: failed tasks that nobody has dealt with yet.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import re

from ostinato.domain.person import Role
from ostinato.domain.task import Task, TaskEvent
from ostinato.gateway.context import Context
from ostinato.gateway.notation import iso, parse_id
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.tasks_api import PageSize, Text, Word
from ostinato.gateway.views import Page, TaskRow, task_row, task_rows, task_usd
from ostinato.store.port import Reads, TaskFilter, Tx


class WhichDead(Ask):
    """Which dead letters to list."""

    agent: Word | None = None
    before: Word | None = None
    limit: PageSize = 50


class WhichLetter(Ask):
    """One dead letter and the reason for what is done to it."""

    task: Word
    reason: Text = ""


class DeadRow(View):
    """A dead letter in a list. Equal fingerprints failed in the same way."""

    task: TaskRow
    error: str
    error_class: str
    fingerprint: str


class DeadList(Page):
    """A page of dead letters, newest first, and how many there are in all."""

    dead: list[DeadRow] = []
    total: int = 0


class LetterView(View):
    """A dead letter: how it ended and what can be done."""

    task: TaskRow
    error: str
    error_class: str
    failed_at: str
    goal: str
    attempts: int
    journal: int


@operation("dead.list", "GET /api/v1/dead")
async def list_dead(context: Context, request: WhichDead) -> DeadList:
    """Failed tasks that nobody has dealt with, newest first."""
    which = TaskFilter(dead=True, agent=request.agent)
    before = parse_id(request.before, "T") if request.before else None

    def read(tx: Reads) -> DeadList:
        tasks = tx.tasks(which, before=before, limit=request.limit)
        rows = task_rows(tx, tasks)
        dead = [_dead_row(task, row) for task, row in zip(tasks, rows, strict=True)]
        more = tasks[-1].name if len(tasks) == request.limit else None
        return DeadList(dead=dead, next=more, total=tx.tallies().dead)

    return await context.store.read(read)


@operation("dead.show", "GET /api/v1/dead/{task}")
async def show(context: Context, request: WhichLetter) -> LetterView:
    """How a task failed."""
    number = parse_id(request.task, "T")

    def read(tx: Reads) -> LetterView:
        task = tx.task(number)
        error, error_class = error_of(task)
        return LetterView(
            task=task_row(task, usd=task_usd(tx, task)),
            error=error,
            error_class=error_class,
            failed_at=iso(task.finished_at or task.updated_at),
            goal=task.spec.goal,
            attempts=task.attempts,
            journal=task.journal,
        )

    return await context.store.read(read)


@operation("dead.replay", "POST /api/v1/dead/{task}/replay", role=Role.OPERATOR)
async def replay(context: Context, request: WhichLetter) -> TaskRow:
    """Try a failed task again with a new journal, which is told what the old one did."""
    return await _move(context, request, TaskEvent.REPLAY)


@operation("dead.dismiss", "POST /api/v1/dead/{task}/dismiss", role=Role.OPERATOR)
async def dismiss(context: Context, request: WhichLetter) -> TaskRow:
    """Leave a failed task as it is: somebody has dealt with it."""
    return await _move(context, request, TaskEvent.DISMISS)


async def _move(context: Context, request: WhichLetter, event: TaskEvent) -> TaskRow:
    number, now = parse_id(request.task, "T"), context.now

    def write(tx: Tx) -> TaskRow:
        task = tx.move_task(number, event, actor=context.caller.name, reason=request.reason, now=now)
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


def error_of(task: Task) -> tuple[str, str]:
    """How a task failed: the words, and their class."""
    if task.result is not None and task.result.error:
        return task.result.error, task.result.error_class
    return task.reason, ""


def fingerprint_of(task: Task) -> str:
    """The error without what differs from task to task: numbers, ids, quoted names."""
    error, error_class = error_of(task)
    bare = re.sub(r"'[^']*'|\"[^\"]*\"|\b[0-9a-f]{8,}\b|\d+", "*", error.splitlines()[0] if error else "")
    return f"{error_class}: {bare[:120]}"


def _dead_row(task: Task, row: TaskRow) -> DeadRow:
    error, error_class = error_of(task)
    return DeadRow(task=row, error=error, error_class=error_class, fingerprint=fingerprint_of(task))
