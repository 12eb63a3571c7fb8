"""When running attempts must have ended: one timer for all of them, at the earliest deadline.

A timer for each attempt costs more than most attempts do. Here starting one costs a comparison; when the earliest
deadline comes, all that run are looked at, and the timer moves to the next. Knows nothing of what a deadline is for.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from typing import Generic, Protocol, TypeVar

from ostinato.engine.service import Ground, Service


class Timed(Protocol):
    """What has a deadline, in seconds of `Clock.elapsed_s`; it may change as long as `watch` is told."""

    ends_at_s: float


TimedT = TypeVar("TimedT", bound=Timed)

REST_S = 3_600.0
"""Rest while nothing runs; a new deadline ends it."""


class Deadlines(Generic[TimedT]):
    """Calls `expired` for each of `running()` whose time is over. It must end it or move its deadline."""

    def __init__(
        self,
        running: Callable[[], Iterable[TimedT]],
        expired: Callable[[TimedT], None],
        ground: Ground,
    ) -> None:
        self._running = running
        self._expired = expired
        self._clock = ground.clock
        self._next_s = math.inf
        self._service = Service("deadlines", self._poll, ground)
        self.start = self._service.start
        self.stop = self._service.stop

    def watch(self, ends_at_s: float) -> None:
        """Says that something now ends at `ends_at_s`."""
        if ends_at_s < self._next_s:
            self._next_s = ends_at_s
            self._service.wake()

    async def _poll(self) -> float:
        now_s = self._clock.elapsed_s()
        if now_s >= self._next_s:
            for each in [each for each in self._running() if each.ends_at_s <= now_s]:
                self._expired(each)
            self._next_s = min((each.ends_at_s for each in self._running()), default=math.inf)
        return min(REST_S, max(0.0, self._next_s - now_s))
