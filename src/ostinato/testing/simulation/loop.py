"""Virtual time, and event loops that live in it: each party of a simulation has a loop of its own.

A loop runs until it has nothing to do at this instant; then somebody else decides who is next, and moves time. So a
process can die between any two steps, and everybody else goes on. Threads are replaced by doing their work at once and
telling of it later. Rests on the insides of asyncio that a loop of one's own has to provide (`_selector`,
`_process_events`, `_write_to_self`) and on the two queues of `BaseEventLoop`. Knows nothing of fleets.
"""

from __future__ import annotations

import asyncio
import heapq
import sys
import warnings
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager, suppress
from typing import Any, NoReturn

from ostinato.domain.values import SECOND, Instant

LAST_WORDS_MAX = 100
"""Times that a coroutine may wait for something while it is being closed."""


class Died(KeyboardInterrupt):
    """The process whose loop this is exists no more. One of the few exceptions that asyncio lets out of a loop."""


class Time:
    """What all loops of a run share. `wall_at` is what clocks on the wall show at the beginning."""

    def __init__(self, wall_at: Instant) -> None:
        self.elapsed_us = 0
        self.wall_at = wall_at

    def now(self) -> Instant:
        """What clocks on the wall show."""
        return self.wall_at + self.elapsed_us

    def set_wall(self, *, by_s: float) -> None:
        """Somebody sets the clocks; nobody wakes by that."""
        self.wall_at += round(by_s * SECOND)


class _Nothing:
    """In the place of a selector: a loop that would wait gives the word to whoever runs it."""

    def __init__(self, loop: asyncio.BaseEventLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None or timeout > 0:
            self._loop.stop()
        return []


class Loop(asyncio.BaseEventLoop):
    """A loop in virtual time. `delay_s` says how long a piece of work on a thread seems to take."""

    # What BaseEventLoop keeps, and its stubs do not name.
    _ready: Any
    _scheduled: list[Any]
    _selector: Any
    _clock_resolution: float

    def __init__(self, time: Time, *, delay_s: Callable[[], float]) -> None:
        super().__init__()
        self._selector = _Nothing(self)
        self._clock_resolution = 1e-9
        self._time = time
        self._delay_s = delay_s
        self.frozen_until_us = 0
        """Until then nothing of this process runs."""

    def time(self) -> float:
        """Seconds of virtual time."""
        return self._time.elapsed_us / SECOND

    def due_us(self) -> int | None:
        """When there is something to do next; None: never, unless somebody else gives it something."""
        if self._ready:
            return max(self._time.elapsed_us, self.frozen_until_us)
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
            self._timer_cancelled_count: int = max(0, self._timer_cancelled_count - 1)
        if not self._scheduled:
            return None
        return max(-int(-self._scheduled[0]._when * SECOND // 1), self._time.elapsed_us, self.frozen_until_us)

    def run(self) -> None:
        """Runs until there is nothing to do at this instant. Raises Died."""
        self.run_forever()

    def run_in_executor(self, executor: Any, func: Callable[..., Any], *args: Any) -> asyncio.Future[Any]:  # type: ignore[override]  # as asyncio itself does
        """Does the work now, and tells of it as a thread would: later."""
        future = self.create_future()
        try:
            tell, value = future.set_result, func(*args)
        except Exception as error:  # it goes to whoever waits
            tell, value = future.set_exception, error
        self.call_later(self._delay_s(), _unless_done, future, tell, value)
        return future

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def _write_to_self(self) -> None:
        """Nobody sleeps that would have to be woken."""

    def bury(self) -> None:
        """Takes apart what a dead process left behind, unheard: nothing of it may run any more."""
        self.set_exception_handler(lambda _loop, _context: None)
        asyncio.set_event_loop(None)  # else last words may make themselves another loop, which nobody closes
        with _unheard():
            for task in asyncio.all_tasks(self):
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # nobody is to hear of it
                work = task.get_coro()
                if isinstance(work, Coroutine):
                    _close(work)
            self.close()


@contextmanager
def _unheard() -> Iterator[None]:
    """Last words concern nobody: neither what was never awaited, nor what fails inside of something that is ended."""
    heard = sys.unraisablehook
    sys.unraisablehook = lambda _: None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    finally:
        sys.unraisablehook = heard


def _close(work: Coroutine[Any, Any, Any]) -> None:
    """Ends a coroutine for good. One that would still wait for something in its last words is interrupted again."""
    for _ in range(LAST_WORDS_MAX):
        with suppress(BaseException):  # whatever they are
            work.close()
            return


def _unless_done(future: asyncio.Future[Any], tell: Callable[[Any], None], value: Any) -> None:
    if not future.done():
        tell(value)


def die() -> NoReturn:
    """To be called by a loop: ends its process."""
    raise Died


class LoopClock:
    """The clock (`engine.port.Clock`) of whoever lives in a loop."""

    def __init__(self, time: Time, loop: Loop) -> None:
        self._time = time
        self._loop = loop

    def now(self) -> Instant:
        """What the clock on the wall shows."""
        return self._time.now()

    def elapsed_s(self) -> float:
        """Seconds since the run began."""
        return self._time.elapsed_us / SECOND

    async def sleep(self, seconds: float) -> None:
        """Returns when so much time has passed."""
        if seconds <= 0.0:
            await asyncio.sleep(0)
            return
        waiter = self._loop.create_future()
        # Rounded up to whole microseconds, so that the time slept for has come.
        timer = self._loop.call_at((self._time.elapsed_us + -int(-seconds * SECOND // 1)) / SECOND, _wake, waiter)
        try:
            await waiter
        finally:
            timer.cancel()


def _wake(waiter: asyncio.Future[None]) -> None:
    if not waiter.done():
        waiter.set_result(None)
