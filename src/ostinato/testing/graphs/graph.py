"""A graph of tasks as values: names, and who waits for whom.

Knows nothing of files, stores or what the tasks do.
"""

from __future__ import annotations

from collections import Counter

from ostinato.domain.values import Value


class GraphTask(Value):
    """One task. `parents` are ids of tasks that must have ended before it begins."""

    id: str
    name: str
    parents: tuple[str, ...]
    level: int
    """1 for a task without parents, else one more than the highest of theirs."""


class TaskGraph(Value):
    """Tasks, each behind its parents."""

    name: str
    tasks: tuple[GraphTask, ...]

    @property
    def edges(self) -> int:
        """Pairs of a task and one of its parents."""
        return sum(len(each.parents) for each in self.tasks)

    @property
    def levels(self) -> int:
        """Tasks of the longest row in which each waits for the one before."""
        return max(each.level for each in self.tasks)

    @property
    def widest(self) -> int:
        """Tasks of the largest level."""
        return max(Counter(each.level for each in self.tasks).values())
