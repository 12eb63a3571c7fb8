"""A node on PostgreSQL as a process of its own: `python -m tests.postgres.node_process URL LOG LEASE_S [BUG]`.

Performs errands until it is told to stop (SIGTERM) or killed. What it does is a line in LOG, which outlives every kill;
fires are `fire name nominal pid`. BUG `again` repeats a deed that is in doubt: seeded, to be found.
"""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from ostinato.engine.clock import SystemClock
from ostinato.engine.lease import LeaseTimes
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.store.port import ScheduleRow
from ostinato.store.postgres import open_postgres
from tests.engine.house import Deed
from tests.postgres.errand import Outside, perform

DEED_S = 0.3


async def live(url: str, log: str, lease_s: float, bug: str) -> None:
    """One life of the node."""
    outside = Outside(Path(log))
    clock = SystemClock()
    store = open_postgres(url, stall_s=1.0)

    async def fire(row: ScheduleRow) -> None:
        now = clock.now()
        nominal_at = row.next_at or now
        if await store.run(lambda tx: tx.fire(row.name, nominal_at=nominal_at, next_at=nominal_at + 200_000, now=now)):
            outside.say("fire", row.name, nominal_at)

    settings = NodeSettings(
        version="0",
        limits=EngineLimits(tasks=8, agent_default=100),
        lease=LeaseTimes(lease_s=lease_s, renew_s=lease_s / 3, tick_s=lease_s / 6),
        exclusive=False,
    )
    deed = Deed(lambda attempt: perform(attempt, outside, pause_s=DEED_S, again=bug == "again"))
    node = EngineNode(store, [deed], clock=clock, settings=settings, fire=fire, notify=lambda notice: None)
    await node.start()
    outside.say("up")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(node.stop()))
    try:
        await node.wait_stopped()
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], sys.argv[2], float(sys.argv[3]), sys.argv[4] if len(sys.argv) > 4 else ""))
