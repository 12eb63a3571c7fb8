"""Whole tasks a second through one node on PostgreSQL: the same work as on SQLite, over its own server.

Singly, each caller adds a task and awaits its end; in batches, a caller adds BATCH tasks in one function and awaits
them all, as whoever has many tasks at hand does. Claims and endings are the node's own affair in both, and share
commits as they come. Where the server's binaries are missing there is no figure.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence

from benchmarks.engine import NEW, Running, whole_tasks_per_s
from benchmarks.result import Result, at_least
from ostinato.store.port import Tx
from ostinato.store.postgres import open_postgres
from tests.postgres.server import Server, binaries

CALLERS, BATCH, TASKS = 8, 64, 16_384
"""Of the batched figure: as many tasks under way as the node runs at once."""
RUNS = ((1, 300), (16, 4_000), (256, 10_000))
"""Callers, and whole tasks: some seconds each."""


def tasks_per_s() -> Sequence[Result]:
    """`postgres.tasks_per_s` for 1, 16 and 256 callers."""
    if binaries() is None:
        return ()
    server = Server.make(on_disk=True)
    server.start()
    try:
        return [*(_measured(server, callers, tasks) for callers, tasks in RUNS), _batched(server)]
    finally:
        server.stop()
        server.remove()


def _batched(server: Server) -> Result:
    """`postgres.tasks_per_s.batched`."""
    url = server.make_database()
    node = Running(lambda hook: open_postgres(url, hook=hook))
    value, commits = asyncio.run(_batches_per_s(node))
    note = f"{TASKS} tasks, {CALLERS} callers who add {BATCH} each in one function, {commits} commits, fsync on"
    return at_least("postgres.tasks_per_s.batched", value, "tasks/s", floor=4_000, note=note)


async def _batches_per_s(node: Running) -> tuple[float, int]:
    async with node as running:
        left = TASKS

        def add_some(tx: Tx) -> list[int]:
            return [tx.add_task(NEW, now=running.clock.now()).id for _ in range(BATCH)]

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= BATCH
                added = await running.store.run(add_some)
                await asyncio.gather(*map(running.node.completions.wait_new, added))

        began, commits = time.perf_counter(), running.commits
        await asyncio.gather(*(caller() for _ in range(CALLERS)))
        return TASKS / (time.perf_counter() - began), running.commits - commits


def _measured(server: Server, callers: int, tasks: int) -> Result:
    url = server.make_database()
    node = Running(lambda hook: open_postgres(url, hook=hook))
    value, commits = asyncio.run(whole_tasks_per_s(node, callers=callers, tasks=tasks))
    name, note = f"postgres.tasks_per_s.{callers}", f"{tasks} tasks, {commits} commits, fsync on"
    if callers == 256:
        return at_least(name, value, "tasks/s", floor=1_500, note=note)
    return Result(name=name, value=value, unit="tasks/s", note=note)
