"""A node as a process of its own, for tests that kill it: `python -m tests.engine.process STATE COUNT`.

Adds COUNT tasks under keys, performs them, and ends in order when all are done. Each start of an attempt is a line in
STATE/performed (`pid task token`), which outlives every kill.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

from ostinato.domain.task import NewTask, Outcome, TaskKind, TaskSpec
from ostinato.engine.clock import SystemClock
from ostinato.engine.limits import EngineLimits
from ostinato.engine.lock import FleetLock
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.port import AttemptPort
from ostinato.store.sqlite import open_store
from tests.engine.house import DONE, Deed, never_fire


def notes_in(state: Path) -> Deed:
    """A handler that notes what it begins, and takes a moment."""
    file = os.open(state / "performed", os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)

    async def perform(attempt: AttemptPort) -> Outcome:
        os.write(file, f"{os.getpid()} {attempt.task.id} {attempt.claim.token}\n".encode())
        await attempt.clock.sleep(0.002)
        return DONE

    return Deed(perform)


async def live(state: Path, count: int) -> None:
    """One life of the node."""
    lock = FleetLock(state)
    lock.acquire()
    store = open_store(state)
    clock = SystemClock()
    node = EngineNode(
        store,
        [notes_in(state)],
        clock=clock,
        settings=NodeSettings(version="0", limits=EngineLimits(tasks=4)),
        fire=never_fire,
        notify=print,
        lock=lock,
    )
    await node.start()

    async def perform_one(number: int) -> None:
        new = NewTask(kind=TaskKind.GOAL, title=f"task {number}", spec=TaskSpec(), key=f"k{number}")
        task = await store.run(lambda tx: tx.add_task(new, now=clock.now()))
        await node.completions.wait(task.id)

    await asyncio.gather(*(perform_one(number) for number in range(count)))
    await node.stop()
    await store.close()


if __name__ == "__main__":
    asyncio.run(live(Path(sys.argv[1]), int(sys.argv[2])))
