"""Looks for tasks that have come to a standstill, and says so once for each standstill.

It moves nothing: what to do about it is a person's matter, or a heartbeat's. Knows nothing of what tasks are about.
"""

from __future__ import annotations

from functools import partial

from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.stalled import MAY_STALL, STALLED_S, why_stalled
from ostinato.domain.task import Task
from ostinato.domain.values import Instant
from ostinato.engine.service import Ground, Service
from ostinato.store.port import EventFilter, Reads, TaskFilter, Tx

LOOK_S = 30.0
"""Rest between two looks: nothing that stands still for minutes is seen too late."""

_STATES = sorted(MAY_STALL)

LOOKED_AT = 1_000
"""Newest tasks of each state that are looked at."""


def stalled_tasks(
    reads: Reads, *, now: Instant, after_s: float = STALLED_S, agent: str | None = None
) -> list[tuple[Task, str]]:
    """Tasks at a standstill and why, the newest of each state first; of one agent, or of all."""
    tally = reads.tallies().tasks if agent is None else reads.agent_tally(agent)
    states = [each for each in _STATES if tally.get(each.value)]
    filters = [TaskFilter(states=frozenset({each}), agent=agent) for each in states]
    seen = [each for which in filters for each in reads.tasks(which, limit=LOOKED_AT)]
    return [(each, why) for each in seen if (why := why_stalled(each, now=now, after_s=after_s))]


class Lookout:
    """Tells of each standstill, with one event."""

    def __init__(self, ground: Ground, *, stalled_s: float = STALLED_S) -> None:
        """`stalled_s`: seconds without a step, for a task that runs."""
        self._store = ground.store
        self._clock = ground.clock
        self._stalled_s = stalled_s
        self._service = Service("lookout", self._poll, ground)
        self.start = self._service.start
        self.stop = self._service.stop
        self.wake = self._service.wake

    async def look(self) -> int:
        """Looks once; returns how many standstills nobody had told of."""
        now = self._clock.now()
        found = await self._store.read(partial(stalled_tasks, now=now, after_s=self._stalled_s))
        return await self._store.run(partial(_tell, found=found, now=now)) if found else 0

    async def _poll(self) -> float:
        await self.look()
        return LOOK_S


def _tell(tx: Tx, *, found: list[tuple[Task, str]], now: Instant) -> int:
    told = 0
    for task, why in found:
        which = EventFilter(names=frozenset({EventName.TASK_STALLED}), task=task.id, since_at=task.updated_at)
        if tx.events(which, limit=1) or tx.task(task.id).updated_at != task.updated_at:
            continue
        new = NewEvent(name=EventName.TASK_STALLED, task=task.id, agent=task.agent, session=task.session, reason=why)
        tx.announce(new, now=now)
        told += 1
    return told
