"""Two nodes on one database: one dies or stands still, the other goes on, and nothing is done twice."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ostinato.domain.event import EventName
from ostinato.domain.task import NewTask, Task, TaskKind, TaskState
from ostinato.engine.clock import SystemClock
from ostinato.store.port import EventFilter, ScheduleRow, TaskFilter, Tx
from ostinato.store.postgres import open_postgres
from tests.conftest import run, wait_until

LEASE_S = 3.0
TAKEOVER_S = 4.0
TASKS = 160
"""Of 0.3 s each, sixteen at once."""


class Outside:
    """What nodes have done, in the words of a file that no database can undo."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def lines(self, word: str) -> list[list[str]]:
        """The notes that begin with this word."""
        if not self.path.exists():
            return []
        return [line.split()[1:] for line in self.path.read_text().splitlines() if line.startswith(f"{word} ")]


@contextmanager
def nodes(url: str, log: Path, count: int = 2) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Node processes that have started; whatever is left of them ends."""
    command = (sys.executable, "-m", "tests.postgres.node_process", url, str(log), str(LEASE_S))
    started = [subprocess.Popen(command) for _ in range(count)]
    try:
        wait_until(lambda: len(Outside(log).lines("up")) >= count)
        yield started
    finally:
        for each in started:
            each.kill()
            each.wait()


def add(url: str, count: int, *, first: int = 0) -> None:
    async def work() -> None:
        store, now = open_postgres(url), SystemClock().now()

        def add_all(tx: Tx) -> None:
            for number in range(first, first + count):
                tx.add_task(NewTask(kind=TaskKind.GOAL, title=str(number), key=f"k{number}"), now=now)

        await store.run(add_all)
        await store.close()

    run(work())


def look(url: str) -> tuple[list[Task], dict[int, int]]:
    """Every task, and how often each was done."""

    async def work() -> tuple[list[Task], dict[int, int]]:
        store = open_postgres(url)
        tasks = await store.read(lambda reads: reads.tasks(TaskFilter(), limit=10_000))
        which = EventFilter(names=frozenset({EventName.TASK_DONE}))
        events = await store.read(lambda reads: reads.events(which, limit=10_000))
        assert await store.check() == "ok"
        await store.close()
        return tasks, Counter(event.task or 0 for event in events)

    return run(work())


def is_done(url: str) -> bool:
    return all(task.state is TaskState.DONE for task in look(url)[0])


def check_each_done_once(url: str, outside: Outside) -> None:
    tasks, endings = look(url)
    assert {task.state for task in tasks} == {TaskState.DONE}, "none is lost"
    assert len(tasks) == TASKS
    assert set(endings.values()) == {1}, "none is completed twice"
    ended = Counter((task, token) for task, token, _pid in outside.lines("end"))
    assert set(ended.values()) == {1}, "no claim is performed twice"
    assert {int(task) for task, _token in ended} == {task.id for task in tasks}
    again = [task for task in tasks if task.attempts > 1]
    assert len(again) <= 8, "only what the dead node held is done again"


@pytest.mark.slow
@pytest.mark.parametrize("ending", ["kill", "stop"])
def test_one_of_two_nodes_is_gone_and_the_other_goes_on(own_database: str, tmp_path: Path, ending: str) -> None:
    log = tmp_path / "log"
    outside = Outside(log)
    open_and_close(own_database)
    with nodes(own_database, log) as (first, second):
        add(own_database, TASKS)
        wait_until(lambda: {pid for *_, pid in outside.lines("end")} == {str(first.pid), str(second.pid)})
        wait_until(lambda: len(held_by(first.pid, outside)) >= 4)
        os.kill(first.pid, signal.SIGKILL if ending == "kill" else signal.SIGSTOP)
        gone_s = time.monotonic()
        held = held_by(first.pid, outside)
        assert held
        wait_until(lambda: rescued(outside, held), timeout_s=TAKEOVER_S + 6.0)
        took_s = time.monotonic() - gone_s
        wait_until(lambda: is_done(own_database), timeout_s=20.0)
        if ending == "stop":
            os.kill(first.pid, signal.SIGCONT)
            assert first.wait(timeout=15.0) != 0, "a node that has lost its lease ends"
        sys.stdout.write(f"takeover after {ending}: {took_s:.2f} s, tasks taken over: {len(held)}\n")
        assert took_s <= TAKEOVER_S
    check_each_done_once(own_database, outside)


def open_and_close(url: str) -> None:
    async def work() -> None:
        await open_postgres(url).close()

    run(work())


def held_by(pid: int, outside: Outside) -> set[str]:
    """Tasks that this process had begun and not ended."""
    ended = {(task, token) for task, token, _ in outside.lines("end")}
    return {task for task, token, by in outside.lines("begin") if by == str(pid) and (task, token) not in ended}


def rescued(outside: Outside, held: set[str]) -> bool:
    return held <= {task for task, _token, _pid in outside.lines("end")}


@pytest.mark.slow
def test_two_nodes_fire_each_nominal_time_once(own_database: str, tmp_path: Path) -> None:
    log = tmp_path / "log"
    outside = Outside(log)

    async def plan() -> None:
        store, now = open_postgres(own_database), SystemClock().now()
        for number in range(5):
            row = ScheduleRow(name=f"s{number}", agent="a", rule={"every": "1s"}, next_at=now + 500_000)
            await store.run(lambda tx, row=row: tx.put_schedule(row, now=now))  # type: ignore[misc]  # mypy: defaults
        await store.close()

    run(plan())
    with nodes(own_database, log):
        wait_until(lambda: len(outside.lines("fire")) >= 60, timeout_s=20.0)
    fired = Counter((name, nominal) for name, nominal, _pid in outside.lines("fire"))
    assert set(fired.values()) == {1}
