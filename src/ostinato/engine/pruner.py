"""Deletes what is older than its retention, in small batches, and only a little at a time while there is work.

Knows nothing of what the things are.
"""

from __future__ import annotations

from collections.abc import Callable

from ostinato.engine.service import Ground, Service
from ostinato.store.port import Retention

BATCH = 500
"""Things deleted in one transaction: some milliseconds of the one writer."""

BUSY_S = 1.0
"""Rest between batches while tasks run."""

IDLE_S = 0.05
"""Rest between batches while none runs."""

FIRST_S = 30.0
"""A node that has just started has better things to do."""

SWEEP_S = 900.0
"""Rest once nothing is left to delete; retention is a matter of days."""


class Pruner:
    """Keeps the database at the size that `keep` allows."""

    def __init__(self, ground: Ground, keep: Retention, busy: Callable[[], bool]) -> None:
        self._store = ground.store
        self._keep = keep
        self._clock = ground.clock
        self._busy = busy
        self._service = Service("pruner", self._poll, ground, first_s=FIRST_S)
        self.start = self._service.start
        self.stop = self._service.stop

    async def _poll(self) -> float:
        now = self._clock.now()
        deleted = await self._store.run(lambda tx: tx.prune(self._keep, now=now, limit=BATCH))
        if deleted == 0:
            return SWEEP_S
        return BUSY_S if self._busy() else IDLE_S
