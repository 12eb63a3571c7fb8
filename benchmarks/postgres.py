"""Whole tasks a second through one node on PostgreSQL: the same work as on SQLite, over its own server.

Where the server's binaries are missing there is no figure.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence

from benchmarks.engine import Running, whole_tasks_per_s
from benchmarks.result import Result, at_least
from ostinato.store.postgres import open_postgres
from tests.postgres.server import Server, binaries

RUNS = ((1, 300), (16, 4_000), (256, 10_000))
"""Callers, and whole tasks: some seconds each."""


def tasks_per_s() -> Sequence[Result]:
    """`postgres.tasks_per_s` for 1, 16 and 256 callers."""
    if binaries() is None:
        return ()
    server = Server.make(on_disk=True)
    server.start()
    try:
        return [_measured(server, callers, tasks) for callers, tasks in RUNS]
    finally:
        server.stop()
        server.remove()


def _measured(server: Server, callers: int, tasks: int) -> Result:
    url = server.make_database()
    node = Running(lambda hook: open_postgres(url, hook=hook))
    value, commits = asyncio.run(whole_tasks_per_s(node, callers=callers, tasks=tasks))
    name, note = f"postgres.tasks_per_s.{callers}", f"{tasks} tasks, {commits} commits, fsync on"
    if callers == 256:
        return at_least(name, value, "tasks/s", floor=1_500, note=note)
    return Result(name=name, value=value, unit="tasks/s", note=note)
