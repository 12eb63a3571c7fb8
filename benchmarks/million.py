"""A node over a million tasks: start, lists, status and a single task, asked over its socket as a command asks; on
SQLite, and on PostgreSQL."""

from __future__ import annotations

import shutil
import subprocess
import time
from collections.abc import Sequence

from benchmarks.fill import fill
from benchmarks.node import ENVIRONMENT, OSTINATO, Fleet, children, rss_of, until
from benchmarks.places import real_directory
from benchmarks.result import Result, at_most, quantile
from tests.postgres.server import Server, binaries

HALF = 500_000
LISTS = {
    "all": "",
    "done": "state=done",
    "ready": "state=ready",
    "failed": "state=failed",
    "agent": "agent=agent-3",
    "agent and state": "agent=agent-3&state=done",
    "another kind": "kind=delivery",
    "project": "project=web",
    "dead": "dead=true",
    "session": "session=task:77",
    "from the middle": "before=T500000",
    "text": "text=invoice",
    "text that there is not": "text=nowhere",
    "text of an agent": "text=nowhere&agent=agent-3",
    "text among the done": "text=nowhere&state=done",
}
"""Every filter that the command line offers, found and not found."""
TIMES = 9
STARTS = 3


def million() -> Sequence[Result]:
    """`list_ms`, `status_ms`, `show_ms` and `node.start_s` over 1,000,000 tasks, half of them done and half queued."""
    with real_directory() as directory:
        fleet = Fleet(directory)
        with fleet.model():
            empty_s = _start_s(fleet)
            size_mb = _fill(fleet)
            fleet.command("stop", "--reason", "measured")  # or the queue would be served meanwhile
            start_s = _start_s(fleet)
        with fleet.model(), fleet.up() as process:
            until(fleet.healthy)
            lists, nothing = _lists(fleet)
            status, show = _ms(fleet, "/api/v1/status"), _ms(fleet, "/api/v1/tasks/T500000")
            memory = sum(rss_of(pid) for pid in (process.pid, *children(process.pid)))
    worst = max(lists, key=lambda name: lists[name])
    note = f"the slowest of {len(lists)} lists: {worst}; {size_mb:,.0f} MB of database; bound: a call that asks nothing"
    return [
        at_most("list_ms.1000000", lists[worst], "ms", floor=50.0, bound=nothing, note=note),
        *(Result(name=f"list_ms.{name.replace(' ', '_')}", value=ms, unit="ms") for name, ms in lists.items()),
        at_most("status_ms.1000000", status, "ms", floor=50.0, bound=nothing),
        at_most("show_ms.1000000", show, "ms", floor=50.0, bound=nothing),
        at_most(
            "node.start_s.1000000", start_s, "s", floor=1.0, bound=empty_s, note=f"median of {STARTS}; bound: no tasks"
        ),
        Result(name="node.rss_mb.1000000", value=memory, unit="MB", note="after all these lists"),
    ]


def on_postgres() -> Sequence[Result]:
    """`list_ms.postgres`: the same lists of the same tasks, which `store copy` has brought to a PostgreSQL server; and
    how long that took. Where the server's binaries are missing there is no figure."""
    if binaries() is None:
        return ()
    server = Server.make(on_disk=True)
    server.start()
    try:
        with real_directory() as directory:
            fleet, url = Fleet(directory), server.make_database()
            with fleet.model():
                _fill(fleet)
                fleet.command("stop", "--reason", "measured")
                began = time.perf_counter()
                copy = [*OSTINATO, "store", "copy", url, "--fleet", str(directory)]
                subprocess.run(copy, env=ENVIRONMENT, stdout=subprocess.DEVNULL, check=True)
                copy_s = time.perf_counter() - began
            with fleet.model():
                with (directory / "ostinato.toml").open("a") as file:
                    file.write(f'\n[store]\nurl = "{url}"\n')
                with fleet.up():
                    until(fleet.healthy)
                    lists, nothing = _lists(fleet)
                    status = _ms(fleet, "/api/v1/status")
    finally:
        server.stop()
        server.remove()
    worst = max(lists, key=lambda name: lists[name])
    note = f"the slowest of {len(lists)} lists: {worst}; bound: a call that asks nothing"
    return [
        at_most("list_ms.postgres.1000000", lists[worst], "ms", floor=50.0, bound=nothing, note=note),
        at_most("list_ms.postgres.status", status, "ms", floor=50.0, bound=nothing),
        Result(name="list_ms.postgres.copy_s", value=copy_s, unit="s", note="`store copy` of them, and the comparison"),
    ]


def _fill(fleet: Fleet) -> float:
    """A million tasks in place of what the fleet had; megabytes of the file."""
    state = fleet.directory / ".ostinato"
    shutil.rmtree(state, ignore_errors=True)
    fill(state, done=HALF, ready=HALF)
    return (state / "ostinato.db").stat().st_size / 1e6


def _lists(fleet: Fleet) -> tuple[dict[str, float], float]:
    """Milliseconds of each list, and of a call that asks nothing."""
    lists = {name: _ms(fleet, f"/api/v1/tasks?{query}&limit=50") for name, query in LISTS.items()}
    return lists, _ms(fleet, "/healthz")


def _start_s(fleet: Fleet) -> float:
    times = []
    for _ in range(STARTS):
        with fleet.up():
            times.append(until(fleet.healthy))
    return quantile(times, 0.5)


def _ms(fleet: Fleet, path: str) -> float:
    """Milliseconds of one call, the fastest of some: what slows the others is the machine's other work."""
    times = []
    for _ in range(TIMES):
        began = time.perf_counter()
        status, body = fleet.get(path)
        times.append((time.perf_counter() - began) * 1_000)
        assert status == 200, (path, body[:200])
    return min(times)
