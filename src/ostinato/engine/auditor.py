"""Looks through the audit's chain in the background, a portion at a time, from where the last look ended.

Knows nothing of what the rows say; a break is told by the store.
"""

from __future__ import annotations

from ostinato.engine.service import Ground, Service

BATCH = 500
"""Rows of one look: some milliseconds of the one writer."""

FIRST_S = 20.0
"""A node that has just started has better things to do."""

SWEEP_S = 300.0
"""Rest once everything has been looked at: whoever tampers with a row should not have a day to hide it."""


class Auditor:
    """Finds where somebody has changed what people did."""

    def __init__(self, ground: Ground) -> None:
        self._store = ground.store
        self._clock = ground.clock
        self._service = Service("auditor", self._poll, ground, first_s=FIRST_S)
        self.start = self._service.start
        self.stop = self._service.stop

    async def _poll(self) -> float:
        now = self._clock.now()
        looked, wrong = await self._store.run(lambda tx: tx.check_audit(now=now, limit=BATCH))
        return 0.0 if looked == BATCH and not wrong else SWEEP_S
