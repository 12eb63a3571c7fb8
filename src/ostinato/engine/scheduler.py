"""Asks which schedules and heartbeats are due, and has each of them fired or skipped.

What firing means is decided above: `fire` looks at the row, decides in one transaction (`Tx.fire` or `Tx.skip`, with
what the wake brings) and computes the next time from the last nominal one. Knows nothing of agents, checks or rules.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from ostinato.engine.notice import ScheduleFailed, traceback_of
from ostinato.engine.service import Ground, Service
from ostinato.store.port import ScheduleRow

Fire = Callable[[ScheduleRow], Awaitable[None]]
"""Fires or skips one due row, in one transaction. Called again for the same row until that has moved its `next_at`."""

BATCH = 100
"""Due rows looked at in one poll."""

HELD_MAX = 400
"""Rows set aside after a failure that a look may have to step over."""

HOLD_S = 30.0
"""How long a row that could not be fired is set aside, so that it cannot keep the others from their turn."""

SWEEP_S = 30.0
"""Rest without being rung."""


class Scheduler:
    """Has due rows fired, at most `at_once` at the same time."""

    def __init__(self, ground: Ground, fire: Fire, *, at_once: int) -> None:
        self._store = ground.store
        self._fire = fire
        self._clock = ground.clock
        self._notify = ground.notify
        self._at_once = at_once
        self._held: dict[str, float] = {}
        self._service = Service("scheduler", self._poll, ground)
        self.start = self._service.start
        self.stop = self._service.stop
        self.wake = self._service.wake

    async def _poll(self) -> float:
        now, elapsed_s = self._clock.now(), self._clock.elapsed_s()
        self._held = {name: until_s for name, until_s in self._held.items() if until_s > elapsed_s}
        limit = BATCH + min(HELD_MAX, len(self._held))
        # A writer's verb by the seam, although it changes nothing.
        due = await self._store.run(lambda tx: tx.due_schedules(now=now, limit=limit))
        rows = [row for row in due if row.name not in self._held][:BATCH]
        await self._fire_all(rows)
        if len(due) == limit:
            return 0.0
        return min([SWEEP_S, *(until_s - elapsed_s for until_s in self._held.values())])

    async def _fire_all(self, rows: list[ScheduleRow]) -> None:
        """Several at a time, so that their commits share one write to the disk."""
        left = iter(rows)

        async def fire_some() -> None:
            for row in left:
                await self._fire_one(row)

        async with asyncio.TaskGroup() as group:
            for _ in range(min(self._at_once, len(rows))):
                group.create_task(fire_some())

    async def _fire_one(self, row: ScheduleRow) -> None:
        try:
            await self._fire(row)
        except Exception as error:  # one broken schedule must not silence the others
            self._held[row.name] = self._clock.elapsed_s() + HOLD_S
            self._notify(
                ScheduleFailed(schedule=row.name, error=str(error), traceback=traceback_of(error), pause_s=HOLD_S)
            )
