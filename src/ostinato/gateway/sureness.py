"""What a person is asked about before a task begins anew: deeds that cannot be undone, or of which nobody knows.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from ostinato.domain.errors import Conflict
from ostinato.domain.replay import beyond_recall
from ostinato.domain.task import Task
from ostinato.store.port import Reads

NAMED_MAX = 5
"""Deeds, or tasks, that a refusal names."""


def done_for_good(tx: Reads, task: Task) -> list[str]:
    """What a task has done, or may have done, that cannot be undone: names of tools."""
    if not task.steps:
        return []
    return sorted({each.tool for each in beyond_recall([step.entry for step in tx.steps(task.id)])})


def refuse_unsure(tx: Reads, task: Task) -> None:
    """Raises Conflict where a task that is to begin anew has done such a thing."""
    done = done_for_good(tx, task)
    if done:
        raise Conflict(
            f"{task.name} has done, or may have done, what cannot be undone: {', '.join(done[:NAMED_MAX])}",
            cure="Look at it: ostinato dead show. If it may happen again, say that you are sure (--yes).",
        )
