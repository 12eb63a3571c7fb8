"""What the writer remembers between transactions, so that it need not ask: nothing here is truth.

The writer forgets all of it whenever the database was changed behind its back, or a function that had changed
something is undone. Knows nothing of SQL.
"""

from __future__ import annotations

from collections.abc import Collection
from itertools import islice
from typing import TypeVar

from ostinato.domain.limit import Strands
from ostinato.domain.values import Instant
from ostinato.store.verbs.queues import QueueKey, Queues
from ostinato.store.verbs.rows import Kept

T = TypeVar("T")

TASKS_MAX = 4_096
"""Tasks at hand: more than any node runs at once; about 8 MB."""


class Memory:
    """Droppable knowledge. None means: not known, ask."""

    def __init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        """Back to knowing nothing."""
        self.last_ids: dict[str, int] = {}
        self.flags: dict[str, set[str]] | None = None
        self.queues: Queues | None = None
        self.long_queues: set[QueueKey] = set()
        """Those of which nothing was at hand when their last page was read."""
        self.strands: Strands | None = None
        self.aging_s: float | None = None
        self.tasks: dict[int, Kept] = {}
        self.asking: set[int] | None = None
        """Tasks that may have questions which their end withdraws."""
        self.sessionless: set[str] = set()
        """Keys of sessions that do not exist."""
        self.unasked: set[str] = set()
        """Keys of sessions that are about to be needed, and that most likely do not exist: to be looked up together."""
        self.pools: dict[str, str] | None = None
        """Agent -> its pool, of those that are not in the default one."""
        self.treeless: set[int] = set()
        """Tasks that no budget of a task covers."""
        self.tainted: dict[str, tuple[str, ...]] = {}
        """Agent -> its files that hold text from strangers."""
        self.due_known = False
        self.due_at: Instant | None = None
        """Earliest time at which a delayed task or a wait comes due, once `due_known`."""

    def keep(self, kept: Kept) -> None:
        """Remembers a task; those remembered longest make room, many at once: one by one, each would be looked for
        behind all that have gone before it."""
        tasks, number = self.tasks, kept.task.id
        if len(tasks) >= TASKS_MAX and number not in tasks:
            for each in list(islice(tasks, TASKS_MAX // 8)):
                del tasks[each]
        tasks[number] = kept

    def note_sessionless(self, keys: Collection[str]) -> None:
        """None of these sessions exists."""
        _note(self.sessionless, keys)

    def note_unasked(self, keys: Collection[str]) -> None:
        """Tasks were claimed that have these sessions of their own."""
        _note(self.unasked, keys)

    def note_treeless(self, task: int) -> None:
        """No budget of a task covers this one."""
        _note(self.treeless, (task,))

    def note_due(self, at: Instant | None) -> None:
        """Something will come due at `at`."""
        if at is not None and self.due_known and (self.due_at is None or at < self.due_at):
            self.due_at = at


def _note(known: set[T], new: Collection[T]) -> None:
    """What has grown too large is forgotten: all of it can be asked again."""
    if len(known) + len(new) > TASKS_MAX:
        known.clear()
    known.update(new)
