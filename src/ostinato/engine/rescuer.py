"""Brings back what would wait for ever: tasks of a lost node, waits and questions whose time is over.

Knows nothing of what those tasks are; the store's verbs say what moves where.
"""

from __future__ import annotations

from ostinato.domain.values import Instant
from ostinato.engine.service import Ground, Service
from ostinato.store.port import Tx

BATCH = 100
"""Tasks, and questions, moved in one transaction."""

SWEEP_S = 10.0
"""Rest without being rung: how long the tasks of a lost node wait beyond its lease, at most."""


class Rescuer:
    """Sweeps in small batches, and at once when rung."""

    def __init__(self, ground: Ground, *, sweep_s: float = SWEEP_S) -> None:
        """`sweep_s`: rest without being rung, in seconds."""
        self._sweep_s = sweep_s
        self._store = ground.store
        self._clock = ground.clock
        self._service = Service("rescuer", self._poll, ground)
        self.start = self._service.start
        self.stop = self._service.stop
        self.wake = self._service.wake

    async def sweep(self) -> int:
        """One batch; returns how many tasks and questions moved."""
        now = self._clock.now()
        return await self._store.run(lambda tx: _sweep(tx, now))

    async def _poll(self) -> float:
        return self._sweep_s if await self.sweep() < BATCH else 0.0


def _sweep(tx: Tx, now: Instant) -> int:
    moved = tx.rescue(now=now, limit=BATCH) + tx.expire_questions(now=now, limit=BATCH)
    return moved + tx.repeat_questions(now=now, limit=BATCH)
