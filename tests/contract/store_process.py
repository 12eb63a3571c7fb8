"""A process of its own that uses a store, for the tests that need two of them or that kill one.

`python -m tests.contract.store_process VERB DIRECTORY [NUMBER]`; each line that it prints is something acknowledged.
"""

from __future__ import annotations

import asyncio
import sqlite3
import sys
from pathlib import Path

from ostinato.domain.task import Done, NewTask, Task, TaskKind, TaskResult
from ostinato.store.port import Claim, ClaimRequest, TaskFilter, Tx
from ostinato.store.sqlite import SqliteStore
from ostinato.testing.faults import open_faulty_store

NOW = 1_800_000_000_000_000


def say(line: object) -> None:
    """Tells what is acknowledged, at once."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


async def added(store: SqliteStore, new: NewTask) -> Task:
    """One task, acknowledged."""
    return await store.run(lambda tx: tx.add_task(new, now=NOW))


async def finished(store: SqliteStore, task: Task) -> Task:
    """The end of a claimed task, acknowledged."""
    held, outcome = Claim(task=task.id, token=task.token), Done(result=TaskResult(text=task.title))
    return await store.run(lambda tx: tx.finish(held, outcome, now=NOW))


async def add(store: SqliteStore, count: int) -> None:
    """Adds tasks one after the other."""
    for number in range(count):
        task = await added(store, NewTask(kind=TaskKind.RUN, title=str(number), agent="a"))
        say(task.id)


async def work(store: SqliteStore, count: int) -> None:
    """Adds, claims and finishes tasks one after the other."""
    node = await store.run(
        lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=60.0, exclusive=True, now=NOW)
    )

    def claim(tx: Tx) -> list[Task]:
        return tx.claim(ClaimRequest(node=node.id), now=NOW)

    for number in range(count):
        await added(store, NewTask(kind=TaskKind.RUN, title=str(number), agent="a", key=f"k{number}"))
        say(f"added k{number}")
        for task in await store.run(claim):  # none where an earlier process has done it
            await finished(store, task)
            say(f"done {task.key}")


async def read(store: SqliteStore, count: int) -> None:
    """Comes, counts, goes, again and again."""
    for _ in range(count):
        found = await store.read(lambda reads: reads.tasks(TaskFilter(), limit=10_000))
        say(len(found))


def lock(directory: Path) -> None:
    """Says whether a write lock could be had at once."""
    connection = sqlite3.connect(directory / "ostinato.db", timeout=0.0, isolation_level=None)
    try:
        connection.execute("BEGIN IMMEDIATE")
        say("free")
    except sqlite3.OperationalError:
        say("held")
    connection.close()


async def main(verb: str, directory: Path, count: int) -> None:
    """One verb over one store."""
    if verb == "lock":
        lock(directory)
        return
    store = open_faulty_store(directory)
    await {"add": add, "work": work, "read": read}[verb](store, count)
    await store.close()


if __name__ == "__main__":
    asyncio.run(main(sys.argv[1], Path(sys.argv[2]), int((*sys.argv, "1")[3])))
