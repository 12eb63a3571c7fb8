"""Asks which schedules and heartbeats are due, and has each of them fired or skipped.

What firing means is decided above: `fire` looks at the row, decides in one transaction (`Tx.fire` or `Tx.skip`, with
what the wake brings) and computes the next time from the last nominal one. Knows nothing of agents, checks or rules.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from ostinato.domain.errors import Exhausted
from ostinato.engine.notice import ScheduleFailed, traceback_of
from ostinato.engine.service import STOP_S, Ground, Service
from ostinato.store.port import ScheduleRow, StoreAway

Fire = Callable[[ScheduleRow], Awaitable[None]]
"""Fires or skips one due row, in one transaction. Called again for the same row until that has moved its `next_at`."""

FireTogether = Callable[[Sequence[ScheduleRow]], Awaitable[Sequence[ScheduleRow]]]
"""Fires or skips, in one transaction, those of these due rows that need nothing but that; returns the others. Where it
raises, none was."""

BATCH = 100
"""Due rows looked at in one poll."""

HELD_MAX = 10_000
"""Rows set aside after a failure that a look may have to step over: as many as a large fleet has."""

HOLD_S = 30.0
"""How long a row that could not be fired is set aside, so that it cannot keep the others from their turn."""

AWAY_S = 1.0
"""The same, where nothing but the store was missing."""

PATIENCE_S = 1.0
"""How long a poll waits for its rows. One whose check takes longer goes on beside, while others fall due."""

SWEEP_S = 30.0
"""Rest without being rung."""


class Scheduler:
    """Has due rows fired, at most `at_once` at the same time."""

    def __init__(self, ground: Ground, fire: Fire, *, at_once: int, fire_together: FireTogether | None = None) -> None:
        self._store = ground.store
        self._fire = fire
        self._fire_together = fire_together
        self._clock = ground.clock
        self._notify = ground.notify
        self._at_once = at_once
        self._held: dict[str, float] = {}
        self._firing: dict[str, asyncio.Task[None]] = {}
        self._service = Service("scheduler", self._poll, ground)
        self.start = self._service.start
        self.wake = self._service.wake

    async def stop(self) -> None:
        """Returns when nothing is fired any more; cuts off what takes longer than a poll may."""
        await self._service.stop()
        if self._firing:
            _, late = await asyncio.wait(self._firing.values(), timeout=STOP_S)
            for each in late:
                each.cancel()
            await asyncio.gather(*late, return_exceptions=True)
            self._firing.clear()

    async def _poll(self) -> float:
        now, elapsed_s = self._clock.now(), self._clock.elapsed_s()
        self._held = {name: until_s for name, until_s in self._held.items() if until_s > elapsed_s}
        limit = BATCH + min(HELD_MAX, len(self._held)) + len(self._firing)
        # A writer's verb by the seam, although it changes nothing.
        due = await self._store.run(lambda tx: tx.due_schedules(now=now, limit=limit))
        rows = [row for row in due if row.name not in self._held and row.name not in self._firing]
        if left := await self._fire_most(rows[:BATCH]):
            await self._fire_all(left)
        if (rows and len(due) == limit) or len(rows) > BATCH:
            return 0.0
        return min([SWEEP_S, *(until_s - elapsed_s for until_s in self._held.values())])

    async def _fire_most(self, rows: Sequence[ScheduleRow]) -> Sequence[ScheduleRow]:
        """Those that could not be fired together, to be fired one by one: of 10,000 heartbeats with nothing to do,
        eleven come due each second, and one by one they cost twice as much."""
        if self._fire_together is None or not rows:
            return rows
        try:
            return await self._fire_together(rows)
        except Exhausted:  # a store that is away, or without room: none of them would fare better alone
            raise
        except Exception:  # whichever it was is found out, and told of, one by one
            return rows

    async def _fire_all(self, rows: Sequence[ScheduleRow]) -> None:
        """Several at a time, so that their commits share one write to the disk."""
        left, begun = deque(rows), set[asyncio.Task[None]]()
        patience = asyncio.ensure_future(self._clock.sleep(PATIENCE_S))
        try:
            while (left or begun) and not patience.done():
                while left and len(self._firing) < self._at_once:
                    row = left.popleft()
                    self._firing[row.name] = asyncio.create_task(self._fire_one(row))
                    begun.add(self._firing[row.name])
                await asyncio.wait((patience, *self._firing.values()), return_when=asyncio.FIRST_COMPLETED)
                begun = {each for each in begun if not each.done()}
        finally:
            patience.cancel()
            for each in begun:
                each.add_done_callback(lambda _: self.wake())

    async def _fire_one(self, row: ScheduleRow) -> None:
        try:
            await self._fire(row)
        except StoreAway:  # the schedule is in order; the polls say that the store is not
            self._held[row.name] = self._clock.elapsed_s() + AWAY_S
        except Exception as error:  # one broken schedule must not silence the others
            self._held[row.name] = self._clock.elapsed_s() + HOLD_S
            self._notify(
                ScheduleFailed(schedule=row.name, error=str(error), traceback=traceback_of(error), pause_s=HOLD_S)
            )
        finally:
            del self._firing[row.name]
