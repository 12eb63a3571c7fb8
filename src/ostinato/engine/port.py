"""What the engine needs from others: handlers for kinds of tasks, a clock, and a dispatcher.

Knows nothing of agents, models or which store is beneath.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from typing import Protocol

from ostinato.domain.step import Entry
from ostinato.domain.task import Outcome, Task, TaskKind
from ostinato.domain.values import Instant, Value
from ostinato.store.port import Claim, Store, Tx


class Clock(Protocol):
    """Time, injectable: real, manual for tests, or a story's."""

    def now(self) -> Instant:
        """Wall-clock time."""

    def elapsed_s(self) -> float:
        """Seconds from an arbitrary start; never goes back."""

    async def sleep(self, seconds: float) -> None: ...


class Ending(Value):
    """An outcome that shares its commit with the last entries of the journal and with `within`."""

    outcome: Outcome
    entries: tuple[Entry, ...] = ()
    within: Callable[[Tx], None] | None = None
    """Run in the finishing transaction, before the task moves."""


class Settled(Value):
    """The handler has ended the attempt itself, by `Tx.finish` in a commit of its own that also held its last work."""

    task: Task


class AttemptPort(Protocol):
    """What a handler is given: one attempt of one task."""

    task: Task
    claim: Claim
    store: Store
    clock: Clock

    async def record(self, entries: Sequence[Entry], *, within: Callable[[Tx], None] | None = None) -> None:
        """Appends to the journal in one commit, together with `within` (run first); raises Fenced when the claim is
        gone."""

    @property
    def draining(self) -> bool:
        """True: the node wants to stop, or an urgent task needs the place; return Requeue at the next step boundary."""

    @property
    def preempted(self) -> bool:
        """True: it is for an urgent task."""


class Handler(Protocol):
    """Performs tasks of one kind."""

    kind: TaskKind
    timeout_s: float
    """Default for attempts whose task names none."""

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Called in the claim's own transaction, on the store's thread; may record first steps so that they share the
        claim's commit. Must be quick. An exception fails this attempt only, and what was written before it stays: check
        first, then write."""

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """Does the work. Exceptions are surprises: they become a Retry with the traceback in the log. Cancellation
        means stop now."""


class Dispatcher(Protocol):
    """Placement hints; the row and its token alone decide. May drop, double and reorder them, and come late: whoever
    takes a hint claims from the store, and looks there now and then without one. `ostinato.testing.dispatching` is the
    contract."""

    def listen(self, store: Store) -> None:
        """Offers what the commits of `store` make claimable, from now on. Twice is fine."""

    def offer(self, task: int, *, pool: str, priority: int) -> None:
        """There may be something to claim in `pool`; `task` and `priority` are what it was, as far as is known."""

    async def take(self, pools: Sequence[str], free: int) -> None:
        """Returns when there may be something to claim in one of `pools`, for a worker with `free` places (at least
        1)."""

    def close(self) -> None:
        """Offers nothing more, and lets go of what it holds. Twice is fine."""


Poll = Callable[[], Awaitable[float]]
"""A service: does one bounded batch and returns the seconds until it wants to be called again."""
