"""Two nodes on one database: one dies or stands still, or the server restarts; the work goes on, nothing is done twice.

A node that is stopped for longer than its lease is stopped for 30 s with OSTINATO_CRASH=full.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ostinato.domain.task import NewTask, TaskKind
from ostinato.engine.clock import SystemClock
from ostinato.store.port import ScheduleRow, Tx
from ostinato.store.postgres import open_postgres
from tests.conftest import FULL, WAIT_TIMEOUT_S, Count, run, wait_until
from tests.postgres.errand import Outside, judge
from tests.postgres.server import Server

LEASE_S = 3.0
"""What the fleet's file says where it says nothing."""
TAKEOVER_S = 4.0
TASKS = 64
"""Of 0.3 s each, eight at once on each node."""
STOPPED_S = 30.0 if FULL else 0.0
"""How long a stopped node stands still at least; it comes back when its lease is over and its work is done."""


@pytest.fixture
def outside(tmp_path: Path) -> Iterator[Outside]:
    """The log of everything that was done."""
    log = Outside(tmp_path / "log")
    yield log
    log.close()


Nodes = list[subprocess.Popen[bytes]]


@contextmanager
def nodes(url: str, outside: Outside, *, bug: str = "", lease_s: float = LEASE_S, count: int = 2) -> Iterator[Nodes]:
    """Node processes that have started; whatever is left of them ends."""
    run(open_postgres(url).close())  # one makes the tables, so that all start at once
    started = [start(url, outside, lease_s=lease_s, bug=bug) for _ in range(count)]
    try:
        wait_until(lambda: len(outside.lines("up")) >= count)
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def start(url: str, outside: Outside, *, lease_s: float, bug: str = "") -> subprocess.Popen[bytes]:
    """One node's process, which begins to start."""
    command = (sys.executable, "-m", "tests.postgres.node_process", url, str(outside.path), str(lease_s), bug)
    return subprocess.Popen(command)


def add(url: str, numbers: Iterable[int] = range(TASKS)) -> list[str]:
    """Sends errands; returns their titles."""
    titles = [f"errand-{number}" for number in numbers]

    async def work() -> None:
        store, now = open_postgres(url), SystemClock().now()

        def add_all(tx: Tx) -> None:
            for title in titles:
                tx.add_task(NewTask(kind=TaskKind.GOAL, title=title, key=title), now=now)

        await store.run(add_all)
        await store.close()

    run(work())
    return titles


def findings(url: str, outside: Outside, sent: list[str]) -> list[str]:
    """What is wrong now."""

    async def work() -> list[str]:
        store = open_postgres(url)
        found = await judge(store, outside, sent)
        await store.close()
        return found

    return run(work())


def unfinished(url: str) -> int:
    """Tasks that still want something."""

    async def work() -> int:
        store = open_postgres(url)
        tallies = await store.read(lambda reads: reads.tallies())
        await store.close()
        return sum(tallies.tasks.values()) - tallies.tasks.get("done", 0)

    return run(work())


def lose_one(url: str, outside: Outside, both: Nodes, *, signal_: signal.Signals) -> float:
    """Stops the first node in the middle of some deeds; returns the seconds until the second goes on with one."""
    first, second = (str(each.pid) for each in both)
    wait_until(lambda: {pid for _, pid in outside.lines("effect")} == {first, second})
    before = effects_of(first, outside)
    wait_until(lambda: len(effects_of(first, outside) - before) >= 4)
    both[0].send_signal(signal_)
    gone_s = time.monotonic()
    under_way = effects_of(first, outside) - before
    wait_until(lambda: under_way & taken_by(second, outside), timeout_s=TAKEOVER_S + WAIT_TIMEOUT_S)
    took_s = time.monotonic() - gone_s
    wait_until(lambda: not unfinished(url))
    if signal_ is signal.SIGSTOP:
        wait_until(lambda: time.monotonic() > gone_s + STOPPED_S, timeout_s=STOPPED_S + WAIT_TIMEOUT_S)
    return took_s


def effects_of(pid: str, outside: Outside) -> set[str]:
    """Titles of the deeds that this process has done."""
    return {title for title, by in outside.lines("effect") if by == pid}


def taken_by(pid: str, outside: Outside) -> set[str]:
    """Titles of errands that this process has gone on with, whatever it made of them."""
    return effects_of(pid, outside) | {title for title, by in outside.lines("doubt") if by == pid}


@pytest.mark.slow
@pytest.mark.parametrize("signal_", [signal.SIGKILL, signal.SIGSTOP], ids=["killed", "stopped"])
def test_one_of_two_nodes_is_gone_and_the_other_goes_on(
    own_database: str, outside: Outside, signal_: signal.Signals, *, tell: Callable[[str], None], count: Count
) -> None:
    with nodes(own_database, outside) as both:
        sent = add(own_database)
        took_s = lose_one(own_database, outside, both, signal_=signal_)
        if signal_ is signal.SIGSTOP:
            os.kill(both[0].pid, signal.SIGCONT)
            assert both[0].wait(timeout=120) != 0, "a node that has lost its lease ends"
    assert findings(own_database, outside, sent) == []
    assert outside.lines("doubt"), "the harness must catch a node between intent and result"
    count({"nodes lost": 1, "tasks": TASKS})
    tell(f"taken over {took_s:.2f} s after {signal_.name}, {TASKS} errands done, 0 lost, 0 twice")
    assert took_s <= TAKEOVER_S or not FULL  # on a machine that does nothing else


@pytest.mark.slow
def test_the_harness_notices_a_node_that_repeats_a_deed_in_doubt(own_database: str, outside: Outside) -> None:
    with nodes(own_database, outside, bug="again", lease_s=1.0) as both:
        sent = add(own_database)
        lose_one(own_database, outside, both, signal_=signal.SIGKILL)
    assert any(found.startswith("done 2 times") for found in findings(own_database, outside, sent))


@pytest.mark.slow
def test_two_nodes_survive_a_restart_of_their_server(server: Server, outside: Outside) -> None:
    del server  # only to skip where there is none
    other = Server.make()
    other.start()
    try:
        url = other.make_database()
        with nodes(url, outside):
            sent = add(url)
            wait_until(lambda: len(outside.lines("effect")) > TASKS // 4)
            other.stop("immediate")
            other.start()
            wait_until(lambda: not unfinished(url))
        assert findings(url, outside, sent) == []
    finally:
        other.stop("immediate")
        other.remove()


@pytest.mark.slow
def test_two_nodes_fire_each_nominal_time_once(own_database: str, outside: Outside) -> None:
    async def plan() -> None:
        store, now = open_postgres(own_database), SystemClock().now()
        for number in range(5):
            row = ScheduleRow(name=f"s{number}", agent="a", rule={"every": "1s"}, next_at=now + 500_000)
            await store.run(lambda tx, row=row: tx.put_schedule(row, now=now))  # type: ignore[misc]  # mypy: defaults
        await store.close()

    run(plan())
    with nodes(own_database, outside):
        wait_until(lambda: len(outside.lines("fire")) >= 25)
    fired = Counter((name, nominal) for name, nominal, _pid in outside.lines("fire"))
    assert set(fired.values()) == {1}
