"""Story time: a clock for a day that is told in half a minute, and the loop that lets it move.

Time goes in steps, and only while nothing is being done: no attempt runs, the store is at rest, and the loop has
nothing to do. So the times of a story do not depend on how fast a machine is. A file keeps the time, so that a node
that was killed goes on in the same minute. Used by the demo alone; a fleet that you run lives in real time. Knows
nothing of mail or agents.
"""

from __future__ import annotations

import asyncio
import os
import selectors
import time
from collections.abc import Callable, Coroutine
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, TypeVar
from zoneinfo import ZoneInfo

from ostinato.domain.values import SECOND, Instant, Value
from ostinato.testing.clock import ManualClock

T = TypeVar("T")

STEP_S = 30.0
"""Story seconds of a step: whoever sleeps wakes with one, so that a thousand small sleeps cost a few hundred wakes."""

AFTERWARDS_S = 0.5
"""Real seconds of a step when the story is told: a minute a second."""


class Story(Value):
    """What the node of a story is told, in a file beside the fleet."""

    mails: str
    """Folder of the mails to deliver."""
    midnight_at: Instant
    """Where the day of the story begins; the mails' times count from here."""
    begins_at: Instant
    until_at: Instant
    """When the story is told. Time goes on after it, slowly."""
    pace_s: float
    """Real seconds of doing nothing that a step takes."""
    patience_s: float = 2.0
    """Real seconds for which time stands still while an attempt waits for something outside of the process."""


class StoryClock(ManualClock):
    """A clock (`engine.port.Clock`) that moves in steps, and writes down how far it has come."""

    def __init__(self, file: Path, *, begins_at: Instant) -> None:
        super().__init__(begins_at)
        self._file = file
        if file.exists():
            self.advance((int(file.read_text()) - begins_at) / SECOND)

    async def sleep(self, seconds: float) -> None:
        """Returns with the first step that is at least `seconds` away."""
        if seconds > 0.0:
            elapsed_s = self.elapsed_s()
            seconds = -(-(elapsed_s + seconds) // STEP_S) * STEP_S - elapsed_s
        await super().sleep(seconds)

    def step(self) -> None:
        """Moves to the next step."""
        elapsed_s = self.elapsed_s()
        self.advance((elapsed_s // STEP_S + 1) * STEP_S - elapsed_s)
        beside = self._file.with_suffix(".new")
        beside.write_text(str(self.now()))
        os.replace(beside, self._file)


class _StorySelector(selectors.DefaultSelector):
    """Moves the clock where the loop would wait."""

    def __init__(self, clock: StoryClock, story: Story, busy: Callable[[], bool]) -> None:
        super().__init__()
        self._clock = clock
        self._story = story
        self._busy = busy
        self._waited_s = 0.0
        """Real seconds since the last step in which nothing was done."""

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        """As `select` does; but after a while in which nothing was done, the story takes a step. Timers and callers of
        the loop interrupt the while, and do not begin it anew."""
        if timeout is not None and timeout <= 0.0:
            return list(super().select(timeout))
        busy = self._clock.busy_outside or self._busy()
        pace_s = self._story.pace_s if self._clock.now() < self._story.until_at else AFTERWARDS_S
        left_s = max(pace_s, self._story.patience_s) if busy else max(0.0, pace_s - self._waited_s)
        began_s = time.monotonic()
        ready = list(super().select(left_s if timeout is None else min(timeout, left_s)))
        waited_s = time.monotonic() - began_s
        self._waited_s += 0.0 if busy else waited_s
        if not ready and waited_s >= left_s:
            self._waited_s = 0.0
            self._clock.step()
        return ready


def run_story(work: Coroutine[Any, Any, T], clock: StoryClock, story: Story, *, busy: Callable[[], bool]) -> T:
    """Runs `work` to its end in a loop that moves the clock. `busy`: time has to wait."""

    def loop() -> asyncio.AbstractEventLoop:
        return asyncio.SelectorEventLoop(_StorySelector(clock, story, busy))

    with asyncio.Runner(loop_factory=loop) as runner:
        return runner.run(work)


def midnight_of_the_story(timezone: str, *, over_at_hour: int) -> Instant:
    """Midnight of the last day that is over by now: the story lies in the past, but not far, so that what waits for you
    at its end has not expired."""
    here = datetime.fromtimestamp(time.time(), tz=UTC).astimezone(ZoneInfo(timezone))
    day = here if here.hour >= over_at_hour else here - timedelta(days=1)
    return round(day.replace(hour=0, minute=0, second=0, microsecond=0).timestamp()) * SECOND
