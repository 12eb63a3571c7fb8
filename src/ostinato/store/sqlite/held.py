"""Changes that wait for others of their kind, so that each kind is one statement for many rows, and not one for each.

They may wait because their order does not matter: they are performed before anything else is asked or changed, and
among themselves as `KINDS` says. Knows nothing of connections.
"""

from __future__ import annotations

from typing import Any, Final

Values = tuple[Any, ...]
"""One row, in the order of its query's parameters."""

HELD_MAX: Final = 512
"""Rows that wait at most."""

KINDS: Final = (
    "add_task",
    "add_charge",
    "spend_on_task",
    "add_step",
    "use_blob",
    "book_account",
    "count_steps",
    "move_task",
    "end_attempt",
    "end_task",
)
"""The changes that may wait, in the order in which they are performed; those of one kind keep theirs. No verb asks how
many rows they touched. Two kinds never write the same column of a row, but for those of `OF_A_TASK`."""

OF_A_TASK: Final = frozenset({"add_task", "count_steps", "move_task", "end_task"})
"""These write the same columns of a task, `id`: one that would come too early by the order above waits for none."""

WAITING: Final = frozenset(KINDS)

_RANK: Final = {name: rank for rank, name in enumerate(KINDS)}


class Held:
    """What waits."""

    __slots__ = ("_latest", "_rows", "count")

    def __init__(self) -> None:
        self.count = 0
        """Rows that wait."""
        self._rows: dict[int, list[Values]] = {}
        self._latest: dict[int, int] = {}
        """Task -> the last kind of OF_A_TASK that waits for it."""

    def has_room(self, name: str, task: int | None) -> bool:
        """False where all that waits must be performed first."""
        if self.count >= HELD_MAX:
            return False
        return task is None or self._latest.get(task, 0) <= _RANK[name]

    def add(self, name: str, rows: list[Values], task: int | None) -> None:
        """Rows of one kind, to be kept as they are; `task`: the one that a change of OF_A_TASK is about."""
        rank = _RANK[name]
        waiting = self._rows.setdefault(rank, rows)
        if waiting is not rows:
            waiting += rows
        if task is not None:
            self._latest[task] = rank
        self.count += len(rows)

    def take(self) -> list[tuple[str, list[Values]]]:
        """All that waits, kind by kind; from here on nothing does."""
        taken = [(KINDS[rank], self._rows[rank]) for rank in sorted(self._rows)]
        self.clear()
        return taken

    def clear(self) -> None:
        """Nothing waits any more."""
        self.count = 0
        self._rows.clear()
        self._latest.clear()
