"""A node on PostgreSQL as a process of its own: `python -m tests.postgres.node_process URL LOG LEASE_S`.

Performs whatever it can claim until it is told to stop (SIGTERM) or killed. Each performed task is a line in LOG, which
outlives every kill: `begin task token pid`, `end task token pid`; fires are `fire name nominal pid`.
"""

from __future__ import annotations

import asyncio
import os
import signal
import sys

from ostinato.domain.task import Done, Outcome, TaskResult
from ostinato.engine.clock import SystemClock
from ostinato.engine.lease import LeaseTimes
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.port import AttemptPort
from ostinato.store.port import ScheduleRow
from ostinato.store.postgres import open_postgres
from tests.engine.house import Deed


async def live(url: str, log: str, lease_s: float) -> None:
    """One life of the node."""
    file = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    clock = SystemClock()
    store = open_postgres(url, stall_s=1.0)

    def note(*words: object) -> None:
        os.write(file, (" ".join(map(str, (*words, os.getpid()))) + "\n").encode())

    async def perform(attempt: AttemptPort) -> Outcome:
        note("begin", attempt.task.id, attempt.claim.token)
        await attempt.clock.sleep(0.3)
        note("end", attempt.task.id, attempt.claim.token)
        return Done(result=TaskResult(text=str(os.getpid())))

    async def fire(row: ScheduleRow) -> None:
        now = clock.now()
        nominal_at = row.next_at or now
        if await store.run(lambda tx: tx.fire(row.name, nominal_at=nominal_at, next_at=nominal_at + 200_000, now=now)):
            note("fire", row.name, nominal_at)

    settings = NodeSettings(
        version="0",
        limits=EngineLimits(tasks=8, agent_default=100),
        lease=LeaseTimes(lease_s=lease_s, renew_s=lease_s / 3, tick_s=lease_s / 6),
        exclusive=False,
    )
    node = EngineNode(store, [Deed(perform)], clock=clock, settings=settings, fire=fire, notify=lambda notice: None)
    await node.start()
    note("up")
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, lambda: asyncio.ensure_future(node.stop()))
    try:
        await node.wait_stopped()
    finally:
        await store.close()


if __name__ == "__main__":
    asyncio.run(live(sys.argv[1], sys.argv[2], float(sys.argv[3])))
