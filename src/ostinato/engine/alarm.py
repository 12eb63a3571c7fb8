"""Rings when something comes due: a delayed task, the end of a wait, an expiry, a schedule.

One look at the earliest due instant replaces polling by everybody: an idle node sleeps until there is something to do.
Knows nothing of what is due; whoever it rings looks for itself.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence

from ostinato.domain.event import Event, EventName
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.service import Ground, Service

REST_S = 30.0
"""Longest rest: a wall clock that is set forward is noticed within half a minute."""

TASKS, QUESTIONS, SCHEDULES = "tasks", "questions", "schedules"

QUIET_S = 0.1
"""From the first ring to the next. Doubles while rings follow each other, so that 10,000 heartbeats, eleven of which
come due each second, cost a ring every other second."""

QUIET_MAX_S: Mapping[str, float] = {TASKS: 1.0, QUESTIONS: 1.0, SCHEDULES: 2.0}
"""How late something due can be noticed where something of its kind is always due."""

SOONER_S = 0.001
"""What is due by so much earlier than the next look is worth another one: clocks differ by less."""

BRINGS_DUE: Mapping[EventName, str] = {
    EventName.TASK_PARKED: TASKS,
    EventName.TASK_CHANGED: TASKS,
    EventName.QUESTION_ASKED: QUESTIONS,
    EventName.SCHEDULE_ADDED: SCHEDULES,
    EventName.SCHEDULE_REMOVED: SCHEDULES,
    EventName.SCHEDULE_FIRED: SCHEDULES,
    EventName.SCHEDULE_MISSED: SCHEDULES,
    EventName.SCHEDULE_CORRECTED: SCHEDULES,
    EventName.HEARTBEAT_FIRED: SCHEDULES,
    EventName.HEARTBEAT_SKIPPED: SCHEDULES,
}
"""Events that may bring an earlier due instant, and of what. Delayed tasks are told by the worker, which looks after
each claim."""


Ring = Callable[[], None]


class _Bell:
    """Who is rung for when something of one kind has come due, and not too often."""

    def __init__(self, rings: Sequence[Ring], *, quiet_max_s: float) -> None:
        self._rings = rings
        self._quiet_max_s = quiet_max_s
        self._rung_s = -math.inf
        self._quiet_s = QUIET_S

    @property
    def quiet_until_s(self) -> float:
        """Until then nobody is rung for, whatever is due."""
        return self._rung_s + self._quiet_s

    def ring(self, elapsed_s: float) -> None:
        """Rings, and is quiet for a while: for longer each time while rings follow each other."""
        follows = elapsed_s - self._rung_s < 2 * self._quiet_max_s
        self._quiet_s = min(self._quiet_max_s, 2 * self._quiet_s) if follows else QUIET_S
        self._rung_s = elapsed_s
        for each in self._rings:
            each()


class Alarm:
    """Calls those it was told to ring for, when the earliest due instant of what they look after has come."""

    def __init__(self, ground: Ground) -> None:
        self._store = ground.store
        self._clock = ground.clock
        self._bells: Mapping[str, _Bell] = {}
        self._looks_s = math.inf
        self._service = Service("alarm", self._poll, ground, hears=self._hears)
        self.start = self._service.start
        self.stop = self._service.stop

    def ring_for(self, *, tasks: Sequence[Ring], questions: Sequence[Ring], schedules: Sequence[Ring]) -> None:
        """Whom to call when one of these has come due."""
        rings = {TASKS: tasks, QUESTIONS: questions, SCHEDULES: schedules}
        self._bells = {kind: _Bell(each, quiet_max_s=QUIET_MAX_S[kind]) for kind, each in rings.items()}

    def learn(self, due_at: Instant | None) -> None:
        """Somebody has just looked: the earliest due instant of a task is `due_at`."""
        if due_at is not None and self._clock.elapsed_s() + self._rest_s(TASKS, due_at) < self._looks_s - SOONER_S:
            self._service.wake()

    def _rest_s(self, kind: str, due_at: Instant) -> float:
        """Until this is due, and may be rung for."""
        return max((due_at - self._clock.now()) / SECOND, self._bells[kind].quiet_until_s - self._clock.elapsed_s())

    async def _poll(self) -> float:
        self._looks_s = math.inf  # what is learned during this look may be news to it
        dues = await self._store.read(lambda reads: reads.next_dues())
        elapsed_s = self._clock.elapsed_s()
        rests = [REST_S]
        for kind, due_at in dues.items():
            rest_s = self._rest_s(kind, due_at)
            if rest_s > 0.0:
                rests.append(rest_s)
            else:
                self._bells[kind].ring(elapsed_s)
        # What comes due while a bell is quiet is not heard: it is looked for when the bell may ring again.
        quiet = (each.quiet_until_s - elapsed_s for each in self._bells.values())
        rest_s = min([*rests, *(each for each in quiet if each > 0.0)])
        self._looks_s = elapsed_s + rest_s
        return rest_s

    def _hears(self, events: Sequence[Event]) -> bool:
        elapsed_s = self._clock.elapsed_s()
        kinds = {kind for event in events if (kind := BRINGS_DUE.get(event.name)) is not None}
        return any(self._bells[kind].quiet_until_s <= elapsed_s for kind in kinds)
