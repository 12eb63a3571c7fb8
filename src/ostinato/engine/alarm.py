"""Rings when something comes due: a delayed task, the end of a wait, an expiry, a schedule.

One look at the earliest due instant replaces polling by everybody: an idle node sleeps until there is something to do.
Knows nothing of what is due; whoever it rings looks for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from ostinato.domain.event import Event, EventName
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.service import Ground, Service

REST_S = 30.0
"""Longest rest: a wall clock that is set forward is noticed within half a minute."""

QUIET_S = 0.1
"""From the first ring to the next. Doubles while rings follow each other, so that 10,000 heartbeats, eleven of which
come due each second, cost one ring a second (0.4 % of a core; a ring for each of them 2 %)."""

QUIET_MAX_S = 1.0
"""How late something due can be noticed in a fleet where something is always due."""

BRINGS_DUE = frozenset(
    {
        EventName.TASK_PARKED,
        EventName.QUESTION_ASKED,
        EventName.SCHEDULE_ADDED,
        EventName.SCHEDULE_REMOVED,
        EventName.SCHEDULE_FIRED,
        EventName.SCHEDULE_MISSED,
        EventName.SCHEDULE_CORRECTED,
        EventName.HEARTBEAT_FIRED,
        EventName.HEARTBEAT_SKIPPED,
        EventName.TASK_CHANGED,
    }
)
"""Events that may bring an earlier due instant. Delayed tasks are told by the worker, which looks after each claim."""


class Alarm:
    """Calls those it was told to ring for, when the store's earliest due instant has come."""

    def __init__(self, ground: Ground) -> None:
        self._store = ground.store
        self._bells: tuple[Callable[[], None], ...] = ()
        self._clock = ground.clock
        self._planned_at: Instant | None = None
        self._rung_s = -math.inf
        self._quiet_s = QUIET_S
        self._service = Service("alarm", self._poll, ground, hears=self._hears)
        self.start = self._service.start
        self.stop = self._service.stop

    def ring_for(self, *bells: Callable[[], None]) -> None:
        """Whom to call when something has come due."""
        self._bells += bells

    def learn(self, due_at: Instant | None) -> None:
        """Somebody has just looked: the earliest due instant is `due_at`."""
        if due_at is not None and (self._planned_at is None or due_at < self._planned_at):
            self._planned_at = due_at
            self._service.wake()

    async def _poll(self) -> float:
        quiet_s = self._rung_s + self._quiet_s - self._clock.elapsed_s()
        if quiet_s > 0.0:
            return quiet_s  # nobody will be rung for before, whatever is due: a look would be for nothing
        due_at = self._planned_at = await self._store.read(lambda reads: reads.next_due_at())
        if due_at is None:
            return REST_S
        now = self._clock.now()
        if due_at > now:
            return min(REST_S, (due_at - now) / SECOND)
        since_s = self._clock.elapsed_s() - self._rung_s
        self._rung_s = self._clock.elapsed_s()
        self._quiet_s = min(QUIET_MAX_S, 2 * self._quiet_s) if since_s < 2 * QUIET_MAX_S else QUIET_S
        for ring in self._bells:
            ring()
        return self._quiet_s

    def _hears(self, events: Sequence[Event]) -> bool:
        if self._clock.elapsed_s() < self._rung_s + self._quiet_s:
            return False  # it looks at the end of the quiet time anyway
        return any(event.name in BRINGS_DUE for event in events)
