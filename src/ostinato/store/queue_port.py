"""The part of the seam about queues: limits of what runs and begins, what has failed alike, answers that count again.

`ostinato.store.port` joins it to the rest. Knows nothing of who claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ostinato.domain.limit import LimitState, QueueLimit
from ostinato.domain.replay import Edit
from ostinato.domain.task import Task
from ostinato.domain.values import Instant, Value


class DeadGroup(Value):
    """Dead letters that failed alike."""

    fingerprint: str
    count: int
    first_at: Instant
    last_at: Instant
    example: Task
    """The newest of them."""


class QueueReads(Protocol):
    """Verbs that change nothing."""

    def dead_groups(self, *, limit: int = 100) -> list[DeadGroup]:
        """Groups of dead letters, those that failed last first."""

    def dead_letters(
        self, *, group: str = "", after: int = 0, until_at: Instant | None = None, limit: int = 100
    ) -> list[Task]:
        """Oldest first behind the id `after`: dead letters, or those of one group, that had failed by `until_at`."""

    def dead_of_group(self, group: str, *, before: int | None = None, limit: int = 100) -> list[Task]:
        """A page of one group, newest first."""

    def limits(self) -> tuple[QueueLimit, ...]:
        """The fleet's limits of queues."""

    def limits_of(self, task: Task, *, now: Instant) -> list[LimitState]:
        """How the limits stand that cover a task."""

    def limit_states(self, *, now: Instant) -> list[LimitState]:
        """How every limit stands, with the first task that waits for it."""

    def recall(self, key: str, *, within_s: float, now: Instant) -> Task | None:
        """The task that has answered this question last, not longer ago than that, and whose answer still counts."""

    def hits(self, *, since_at: Instant, until_at: Instant | None = None) -> tuple[int, int]:
        """Tasks answered from another's result, and the micro-dollars that these results have cost the first time."""


class QueueTx(Protocol):
    """Verbs bound to one transaction."""

    def note_question(self, task: int, key: str, *, now: Instant) -> None:
        """What a task that begins asks, so that its result can be kept."""

    def keep_result(self, task: int, *, for_s: float, now: Instant) -> bool:
        """From now on, and for so long, the result of a task answers its question; False where none was noted."""

    def set_limits(self, limits: Sequence[QueueLimit], *, now: Instant) -> bool:
        """The fleet's limits of queues from now on, for all nodes; False where they are these already. What began
        before counts for the rates that stay."""

    def set_aging(self, aging_s: float) -> bool:
        """Seconds of waiting that a level of priority is worth from now on, for all nodes; False where it is so."""

    def next_start_at(self) -> Instant | None:
        """When the first rate opens for which tasks wait that the last claim passed over; None: none does."""

    def retry_task(
        self,
        task: int,
        *,
        fresh: bool,
        actor: str,
        reason: str = "",
        now: Instant,
        edit: Edit | None = None,
    ) -> Task:
        """A failed task goes on with its journal, or with a new one that is told of the old one's effects; with `edit`,
        for goals only, in other words."""
