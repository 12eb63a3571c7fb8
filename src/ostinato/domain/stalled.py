"""When a task has come to a standstill: it runs and makes no step, or it waits past the time by which it was wanted.

Knows nothing of stores, or of who looks.
"""

from __future__ import annotations

from ostinato.domain.duration import format_duration
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.domain.values import SECOND, Instant

STALLED_S = 900.0
"""Seconds without a step after which a running task is stalled: longer than a slow model and a slow tool together."""

STALLED_LEAST_S = 1.0

MAY_STALL = frozenset({TaskState.RUNNING, TaskState.WAITING, TaskState.REVIEW})
"""Everything else either waits for its turn or has ended."""


def why_stalled(task: Task, *, now: Instant, after_s: float = STALLED_S) -> str:
    """What is wrong, in words; empty where nothing is. A process works without steps: its own limits look after it."""
    if task.kind is TaskKind.PROCESS or task.state not in MAY_STALL:
        return ""
    still_s = max(0, now - task.updated_at) / SECOND
    if task.state is TaskState.RUNNING:
        return f"makes no step for {format_duration(round(still_s))}" if still_s >= after_s else ""
    deadline_at = task.spec.deadline_at
    if deadline_at is not None and now >= deadline_at:
        return "waits past its deadline"
    until_at = None if task.wait is None else task.wait.until_at
    missed = until_at is not None and now - until_at >= after_s * SECOND
    return "waits past its time, and nothing woke it" if missed else ""
