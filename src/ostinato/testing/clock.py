"""A clock that a test moves by hand, or that jumps by itself as soon as everybody waits.

By hand: `advance` wakes sleepers in the order of their times. By itself: `run_virtual` runs a coroutine in a loop
whose time is the clock's; when nothing in that loop is ready, and no work that was announced with `outside` is under
way, time jumps to the earliest sleeper. So hours pass in milliseconds, and every run is the same. A jump is decided
where the loop would go to sleep in `select`: counting turns of the loop until "it must be idle" was tried, and is wrong
as soon as a thread answers late. Knows nothing of engines or stores.
"""

from __future__ import annotations

import asyncio
import contextlib
import heapq
import itertools
import selectors
import threading
from collections.abc import Callable, Coroutine, Iterator
from pathlib import Path
from typing import Any, TypeVar

from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import Listener, Reads, Store, Tx

T = TypeVar("T")

STARTS_AT: Instant = 1_767_600_000_000_000
"""2026-01-05T08:00:00Z, a Monday morning."""


class ManualClock:
    """A clock (`engine.port.Clock`) that stands still until it is moved."""

    def __init__(self, at: Instant = STARTS_AT) -> None:
        self._at = at
        self._elapsed = 0
        self._sleepers: list[tuple[int, int, asyncio.Future[None]]] = []
        self._numbers = itertools.count()
        self._outside = 0
        self._guard = threading.Lock()
        self._arrivals: list[tuple[int, asyncio.Future[None]]] = []

    # --- the clock ---

    def now(self) -> Instant:
        """Wall-clock time."""
        return self._at + self._elapsed

    def elapsed_s(self) -> float:
        """Seconds since the clock was made; `set` does not touch it."""
        return self._elapsed / SECOND

    async def sleep(self, seconds: float) -> None:
        """Returns once the clock has been moved that far."""
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        # Rounded up, so that the time slept for has come when it returns.
        until = self._elapsed + max(1, -int(-seconds * SECOND // 1))
        heapq.heappush(self._sleepers, (until, next(self._numbers), waiter))
        self._notice_arrivals()
        await waiter

    # --- the hand on it ---

    @property
    def sleepers(self) -> int:
        """How many sleep now."""
        return sum(not waiter.done() for _, _, waiter in self._sleepers)

    def advance(self, seconds: float) -> None:
        """Moves time; whoever it was enough for wakes, earliest first, when the loop next runs."""
        target = self._elapsed + round(seconds * SECOND)
        while self._sleepers and self._sleepers[0][0] <= target:
            until, _, waiter = heapq.heappop(self._sleepers)
            self._elapsed = max(self._elapsed, until)
            if not waiter.done():
                waiter.set_result(None)
        self._elapsed = target

    def set(self, at: Instant) -> None:
        """Sets the wall clock, as people and time servers do: nobody wakes by that."""
        self._at = at - self._elapsed

    async def wait_sleepers(self, count: int) -> None:
        """Returns once at least `count` sleep."""
        if self.sleepers < count:
            arrived: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._arrivals.append((count, arrived))
            await arrived

    def _notice_arrivals(self) -> None:
        if self._arrivals:
            here = self.sleepers
            for count, arrived in self._arrivals:
                if here >= count and not arrived.done():
                    arrived.set_result(None)
            self._arrivals = [each for each in self._arrivals if not each[1].done()]

    # --- by itself ---

    @contextlib.contextmanager
    def outside(self) -> Iterator[None]:
        """Time does not jump meanwhile: work is done where the loop cannot see it, in a thread or a process."""
        with self._guard:
            self._outside += 1
        try:
            yield
        finally:
            with self._guard:
                self._outside -= 1

    @property
    def busy_outside(self) -> bool:
        """True while something is done outside of the loop."""
        return self._outside > 0

    def jump(self) -> bool:
        """Moves time to the earliest sleeper; False where nobody sleeps."""
        while self._sleepers and self._sleepers[0][2].done():
            heapq.heappop(self._sleepers)  # cancelled
        if not self._sleepers:
            return False
        self.advance((self._sleepers[0][0] - self._elapsed) / SECOND)
        return True


class _JumpingSelector(selectors.DefaultSelector):
    """Lets time jump where the loop would wait."""

    def __init__(self, clock: ManualClock, grace_s: float) -> None:
        super().__init__()
        self._clock = clock
        self._grace_s = grace_s

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As `select` does, except that an idle loop moves the clock instead of waiting."""
        if (timeout is None or timeout > 0) and not self._clock.busy_outside:
            ready: list[tuple[selectors.SelectorKey, int]] = super().select(self._grace_s)
            if ready or self._clock.jump():
                return ready
        waited: list[tuple[selectors.SelectorKey, int]] = super().select(timeout)
        return waited


def run_virtual(work: Coroutine[Any, Any, T], clock: ManualClock, *, grace_s: float = 0.0) -> T:
    """Runs `work` to its end in a loop whose idle moments let `clock` jump.

    `grace_s`: real seconds that an idle loop waits for the world (sockets, processes) before time jumps. Threads need
    none where their work is announced with `outside`, as `WatchedStore` does.
    """

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_JumpingSelector(clock, grace_s))

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


class WatchedStore:
    """A store whose work counts as outside of the loop, so that time does not jump while its thread is at it."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        self._store = store
        self._clock = clock

    async def run(self, fn: Callable[[Tx], T]) -> T:
        """As the store does."""
        with self._clock.outside():
            return await self._store.run(fn)

    async def read(self, fn: Callable[[Reads], T]) -> T:
        """As the store does."""
        with self._clock.outside():
            return await self._store.read(fn)

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """As the store does."""
        return self._store.subscribe(listener)

    def run_along(self, fn: Callable[[Tx], T], then: Callable[[T, bool], None]) -> Callable[[], None]:
        """As the store does."""
        return self._store.run_along(fn, then)

    async def backup(self, target: Path) -> int:
        """As the store does."""
        with self._clock.outside():
            return await self._store.backup(target)

    async def check(self) -> str:
        """As the store does."""
        with self._clock.outside():
            return await self._store.check()

    async def close(self) -> None:
        """As the store does."""
        with self._clock.outside():
            await self._store.close()
