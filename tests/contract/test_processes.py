"""More than one process, and processes that die: what was acknowledged is there, and nothing is there twice."""

from __future__ import annotations

import asyncio
import os
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import pytest

from ostinato.domain.errors import Invalid
from ostinato.domain.task import Task, TaskEvent, TaskState
from ostinato.store.port import TaskFilter
from ostinato.store.sqlite import SqliteStore, open_store
from ostinato.testing.faults import KILL_AT, CommitCounter, kill_at
from tests.conftest import run
from tests.contract.test_sqlite_file import NOW, add

COMMAND = (sys.executable, "-m", "tests.contract.store_process")


def start(verb: str, directory: Path, count: int = 1, *, kill: str | None = None) -> subprocess.Popen[str]:
    """Another process over the same directory."""
    environment = {**os.environ, **({} if kill is None else {KILL_AT: kill})}
    return subprocess.Popen(
        (*COMMAND, verb, str(directory), str(count)), stdout=subprocess.PIPE, text=True, env=environment
    )


def all_tasks(directory: Path) -> list[Task]:
    async def look() -> list[Task]:
        store = open_store(directory)
        tasks = await store.read(lambda reads: reads.tasks(TaskFilter(), limit=10_000))
        assert await store.check() == "ok"
        await store.close()
        return tasks

    return run(look())


MINE_MAX = 5_000
"""However late the other begins: all of them are read as one page."""


@pytest.mark.slow
def test_two_writers_and_a_coming_and_going_reader_lose_nothing(tmp_path: Path) -> None:
    directory = tmp_path / "s"

    async def work() -> list[int]:
        store = open_store(directory)
        other, reader = start("add", directory, 150), start("read", directory, 50)
        mine: list[int] = []
        while len(mine) < 150 or (other.poll() is None and len(mine) < MINE_MAX):
            mine += [task.id for task in await asyncio.gather(*(add(store, "mine") for _ in range(5)))]
            await asyncio.sleep(0)
        theirs = [int(line) for line in other.communicate()[0].split()]
        counts = [int(line) for line in reader.communicate()[0].split()]
        assert counts == sorted(counts)
        assert len(theirs) == 150
        await store.close()
        return mine + theirs

    acknowledged = run(work())
    assert len(set(acknowledged)) == len(acknowledged), "no number is given out twice"
    assert {task.id for task in all_tasks(directory)} == set(acknowledged)


async def cancelled(store: SqliteStore, task: Task) -> Task:
    return await store.run(lambda tx: tx.move_task(task.id, TaskEvent.CANCEL, actor="x", now=NOW))


@pytest.mark.slow
def test_what_another_process_changes_is_noticed_at_once(tmp_path: Path) -> None:
    async def work() -> None:
        first, second = open_store(tmp_path / "s"), open_store(tmp_path / "s")
        for number in range(20):
            task = await add((first, second)[number % 2], str(number), agent="a")
            reader = (second, first)[number % 2]
            assert (await cancelled(reader, task)).state is TaskState.CANCELLED
        tallies = await first.read(lambda reads: reads.tallies())
        assert tallies.tasks == {"cancelled": 20}
        await first.close()
        await second.close()

    run(work())


@pytest.mark.slow
@pytest.mark.parametrize("side", ["before", "after"])
def test_a_process_killed_at_any_commit_keeps_what_it_acknowledged(tmp_path: Path, side: str) -> None:
    tasks = 2
    commits = 1 + 3 * tasks
    for commit in range(1, commits + 1):
        directory = tmp_path / f"{commit}"
        with start("work", directory, tasks, kill=f"{side}:{commit}") as killed:
            said = killed.communicate(timeout=120)[0].split("\n")
        assert killed.returncode == -signal.SIGKILL
        with start("work", directory, tasks) as again:
            again.communicate(timeout=120)
        assert again.returncode == 0
        found = {task.key: task for task in all_tasks(directory)}
        assert set(found) == {f"k{number}" for number in range(tasks)}, "each key once, after the second run"
        for line in filter(None, said):
            word, key = line.split()
            task = found[key]
            assert word == "added" or task.state is TaskState.DONE, f"{key} was acknowledged as done"
            if word == "done":
                assert task.attempts == 1, "what was acknowledged as done is not done again"


def test_the_killing_hook_names_its_place_or_refuses() -> None:
    for place in ("before", "during:3", "after:", "after:x", ""):
        with pytest.raises(Invalid, match=KILL_AT):
            kill_at(place)
    kill_at("after:3")("after", 2)
    kill_at("after:3")("before", 3)


def test_commits_that_change_nothing_are_not_counted(tmp_path: Path) -> None:
    async def work() -> int:
        counter = CommitCounter()
        store = open_store(tmp_path / "s", hook=counter)
        for _ in range(3):
            await add(store)
            await store.run(lambda tx: tx.tallies())
        await store.close()
        return counter.commits

    assert run(work()) == 3


@pytest.mark.slow
def test_nothing_the_store_does_drops_the_locks_of_its_database(tmp_path: Path) -> None:
    directory = tmp_path / "s"

    def is_held() -> bool:
        with start("lock", directory) as process:
            return process.communicate()[0].strip() == "held"

    async def work() -> None:
        store = open_store(directory)
        await add(store)
        holder = sqlite3.connect(directory / "ostinato.db", isolation_level=None)
        holder.execute("BEGIN IMMEDIATE")
        assert is_held()
        await store.backup(tmp_path / "copy.db")
        await store.read(lambda reads: reads.size())
        await store.check()
        second = open_store(directory)
        await second.read(lambda reads: reads.tallies())
        assert is_held(), "a copy, a look at the size or a second store has dropped the lock"
        holder.execute("ROLLBACK")
        holder.close()
        await second.close()
        assert not is_held()
        await store.close()

    run(work())
