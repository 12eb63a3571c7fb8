"""Puts schedules right after a clock was ahead and is set back: else they would be silent until that far time comes.

A schedule is due at the first time after the last look at a clock, so that it can never lie behind the next time from
now on, unless that clock was wrong. All rows are looked at after a start and, in a node that runs, where its own clock
goes back against the time that has passed, or now and then: another node's clock may have been the wrong one. What has
fired stands in the store by itself, so that nothing fires twice by this. Knows nothing of what fires.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from functools import partial

from ostinato.domain.due import repaired
from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.schedule import parse_rule
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.port import Clock
from ostinato.store.port import ScheduleRow, Store, Tx

LOOK_S = 5.0
"""Seconds between looks at the clock."""

BACK_S = 1.0
"""A clock that goes back by less is being adjusted, as clocks are all the time."""

AGAIN_S = 600.0
"""Seconds after which all rows are looked at anyway. 10,000 take a fifth of a second, a 3,000th of a core."""

BATCH = 200
"""Rows written in one transaction."""

NAMED_MAX = 10
"""Names that an event lists."""


class Regulator:
    """The service that watches the clock."""

    def __init__(self, *, store: Store, clock: Clock) -> None:
        self._store = store
        self._clock = clock
        self._seen: tuple[Instant, float] | None = None
        self._again_s = 0.0

    async def poll(self) -> float:
        """One look; seconds until the next."""
        now, elapsed_s = self._clock.now(), self._clock.elapsed_s()
        if self._is_suspect(now, elapsed_s):
            await self._put_right(now)
            self._again_s = elapsed_s + AGAIN_S
        self._seen = (now, elapsed_s)
        return LOOK_S

    def _is_suspect(self, now: Instant, elapsed_s: float) -> bool:
        if self._seen is None or elapsed_s >= self._again_s:
            return True
        seen_at, seen_s = self._seen
        return (now - seen_at) / SECOND < elapsed_s - seen_s - BACK_S

    async def _put_right(self, now: Instant) -> None:
        rows = await self._store.read(lambda reads: reads.schedules())
        wrong = await asyncio.to_thread(lambda: [each for row in rows if (each := _missed_by(row, now=now))])
        for start in range(0, len(wrong), BATCH):
            await self._store.run(partial(_write, wrong=wrong[start : start + BATCH], now=now))


def _missed_by(row: ScheduleRow, *, now: Instant) -> tuple[str, Instant] | None:
    """A row's name and when it is due, where it passes by a time that is still to come."""
    try:
        next_at = repaired(parse_rule(row.rule, of=row.name), next_at=row.next_at, now=now)
    except OstinatoError:  # written by another version: whoever fires it says so
        return None
    return None if next_at is None else (row.name, next_at)


def _write(tx: Tx, *, wrong: Sequence[tuple[str, Instant]], now: Instant) -> None:
    names = [name for name, next_at in wrong if tx.bring_forward(name, next_at=next_at, now=now)]
    if names:
        data = {"schedules": len(names), "names": names[:NAMED_MAX]}
        reason = "a clock was ahead and has been set back, or another version reckoned otherwise"
        tx.announce(NewEvent(name=EventName.SCHEDULE_CORRECTED, reason=reason, data=data), now=now)
