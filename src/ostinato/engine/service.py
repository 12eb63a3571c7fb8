"""The one loop that all services share: poll a bounded batch, rest until the next is due or somebody wakes it.

Knows nothing of what a service does. Stopping lets the poll that is under way come to its end, because a poll that is
cut off between a commit and what follows from it would leave claimed work that nobody performs.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ostinato.domain.event import Event
from ostinato.domain.values import Value
from ostinato.engine.notice import Notify, ServiceFailed, code_of, traceback_of
from ostinato.engine.port import Clock, Poll
from ostinato.store.port import Store

FAILURE_PAUSE_S = 0.5
"""Rest after the first failed poll; doubles with each in a row."""

FAILURE_PAUSE_MAX_S = 10.0
"""Longest rest after failures: how late a disk that has room again is noticed."""

STOP_S = 10.0
"""How long a stop waits for the poll under way before it cuts it off; polls are bounded batches of milliseconds."""

Hears = Callable[[Sequence[Event]], bool]
"""What a service makes of a commit's events: True where it has something to do before its time comes."""


class Ground(Value):
    """What everything in an engine stands on."""

    store: Store
    clock: Clock
    notify: Notify


class Service:
    """A trade that works in bounded batches: `poll` returns the seconds until it wants to be called again.

    Start twice, stop twice and stop before start are fine; `stop` returns when all has stopped.
    """

    def __init__(
        self,
        name: str,
        poll: Poll,
        ground: Ground,
        *,
        hears: Hears | None = None,
        first_s: float = 0.0,
        stop_s: float = STOP_S,
    ) -> None:
        """`hears` is told of each commit while the service runs. `first_s`: seconds of rest before the first poll;
        `stop_s`: how long a stop waits for a poll."""
        self.name = name
        self._poll = poll
        self._store = ground.store
        self._hears = hears
        self._first_s = first_s
        self._stop_s = stop_s
        self._deaf: Callable[[], None] | None = None
        self._clock = ground.clock
        self._notify = ground.notify
        self._loop: asyncio.Task[None] | None = None
        self._rest: asyncio.Future[None] | None = None
        self._woken = False
        self._stopping = False
        self._failures = 0

    def start(self) -> None:
        """Begins to listen, and to poll, at once."""
        if self._loop is None:
            self._stopping = False
            self._deaf = self._store.subscribe(self._heard) if self._hears is not None else None
            self._loop = asyncio.create_task(self._run(), name=self.name)

    async def stop(self) -> None:
        """Returns when no poll runs any more; cuts one off that outlasts `stop_s`."""
        self._stopping = True
        self._end_rest()
        if self._deaf is not None:
            self._deaf()
            self._deaf = None
        loop = self._loop
        if loop is None or loop is asyncio.current_task():
            return
        done, _ = await asyncio.wait((loop,), timeout=self._stop_s)
        if not done:
            loop.cancel()
            await asyncio.wait((loop,))
        if self._loop is loop:
            self._loop = None

    def wake(self) -> None:
        """Polls again without waiting for the time to come; many calls before the next poll are one. After a failed
        poll the rest is kept, so that hints cannot make it fail all the time."""
        self._woken = True
        if not self._failures:
            self._end_rest()

    def _heard(self, events: Sequence[Event]) -> None:
        if self._hears is not None and self._hears(events):
            self.wake()

    def _end_rest(self) -> None:
        if self._rest is not None and not self._rest.done():
            self._rest.set_result(None)

    async def _run(self) -> None:
        if self._first_s > 0.0:
            await self._wait(self._first_s)
        while not self._stopping:
            self._woken = False
            pause_s = await self._poll_once()
            if pause_s <= 0.0 or (self._woken and not self._failures):
                pause_s = 0.0  # still given up once, or a poll that never waits would starve the others
            await self._wait(pause_s)

    async def _poll_once(self) -> float:
        try:
            pause_s = await self._poll()
        except Exception as error:  # a service outlives whatever one of its polls may raise
            pause_s = min(FAILURE_PAUSE_MAX_S, FAILURE_PAUSE_S * 2.0 ** min(self._failures, 16))
            self._failures += 1
            self._notify(
                ServiceFailed(
                    service=self.name,
                    error=str(error),
                    code=code_of(error),
                    traceback=traceback_of(error),
                    pause_s=pause_s,
                )
            )
        else:
            self._failures = 0
        return pause_s

    async def _wait(self, seconds: float) -> None:
        """Until `seconds` have passed on the clock or somebody ends the rest."""
        if seconds <= 0.0 or self._stopping:
            await asyncio.sleep(0)
            return
        rest = self._rest = asyncio.get_running_loop().create_future()
        sleeper = asyncio.create_task(self._sleep(rest, seconds))
        try:
            await rest
        finally:
            self._rest = None
            sleeper.cancel()

    async def _sleep(self, rest: asyncio.Future[None], seconds: float) -> None:
        await self._clock.sleep(seconds)
        if not rest.done():
            rest.set_result(None)
