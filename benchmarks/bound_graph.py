"""The bound for graphs: bare SQLite, one thread, the store's own tables, a counter for each task, no promises.

It claims what is ready, as many as the node would, ends them and counts down those that wait; an end is on disk before
anything begins that waits for it. No states are checked, nothing is fenced, nobody is told.
"""

from __future__ import annotations

import json
import sqlite3
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks import bound_sqlite as bare

BATCH = 500
CLAIM = 256

EDGE = "INSERT INTO dependencies (task, after) VALUES (?, ?)"
WAIT = "UPDATE tasks SET state = 'blocked', unfinished = ? WHERE id = ?"
LESS = "UPDATE tasks SET unfinished = unfinished - 1 WHERE id IN (SELECT task FROM dependencies WHERE after = ?)"
FREE = """UPDATE tasks SET state = 'ready', ready_at = ? WHERE unfinished = 0 AND state = 'blocked'
    AND id IN (SELECT task FROM dependencies WHERE after = ?)"""


def tasks_per_s(directory: Path, parents: Sequence[Sequence[int]]) -> float:
    """Whole tasks a second: added in batches, then claimed and ended until all are done."""
    database = sqlite3.connect(directory / "bound-graph.db", isolation_level=None)
    database.execute("PRAGMA journal_mode=WAL")
    database.execute("PRAGMA synchronous=FULL")
    database.executescript(bare.SCHEMA)
    began = time.perf_counter()
    spec = json.dumps(bare.SPEC)
    for first in range(0, len(parents), BATCH):
        database.execute("BEGIN IMMEDIATE")
        for number in range(first, min(first + BATCH, len(parents))):
            now, task = time.time_ns() // 1_000, number + 1
            database.execute(bare.ADD, ("bench", f"task:{task}", now, now, now, spec))
            if before := parents[number]:
                database.executemany(EDGE, [(task, each + 1) for each in before])
                database.execute(WAIT, (len(before), task))
            _tell(database, "task.added", task=task, now=now)
        database.execute("COMMIT")
    held: list[int] = []
    done = 0
    while done < len(parents):  # what ends in one commit is claimed behind it, in the same one
        database.execute("BEGIN IMMEDIATE")
        now = time.time_ns() // 1_000
        for task in held:
            _end(database, task, now)
        done += len(held)
        held = [task for _ in range(CLAIM) if (task := _claim(database, now)) is not None]
        database.execute("COMMIT")
    database.close()
    return len(parents) / (time.perf_counter() - began)


def _claim(database: sqlite3.Connection, now: int) -> int | None:
    row = database.execute(bare.CLAIM, (now,)).fetchone()
    if row is None:
        return None
    json.loads(row[1])
    database.execute(bare.ATTEMPT, (row[0], now, now))
    _tell(database, "task.claimed", task=row[0], now=now)
    return int(row[0])


def _end(database: sqlite3.Connection, task: int, now: int) -> None:
    database.execute(bare.FINISH, (now, now, json.dumps({"text": "ok"}), task))
    database.execute(bare.ENDED, (now, task))
    _tell(database, "task.done", task=task, now=now)
    database.execute(LESS, (task,))
    database.execute(FREE, (now, task))


def _tell(database: sqlite3.Connection, name: str, *, task: int, now: int) -> None:
    database.execute(bare.EVENT, (now, name, task, f"task:{task}"))
    database.execute(bare.TALLY, (bare.STATES[name], 1))
    database.executemany(bare.TOTAL, [(f"{kind}.{bare.STATES[name]}", 1) for kind in ("tasks", "goals")])
