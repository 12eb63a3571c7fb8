"""The bound for whole tasks a second: bare SQLite, one writer thread, group commit, a full record, hand-written.

It writes the same rows into the same tables as the store, each caller's verb in a savepoint of its own, and does
nothing else: no state table, no fences, no limits, no callers' functions. What the store adds is the price of its
promises.
"""

from __future__ import annotations

import asyncio
import json
import queue
import sqlite3
import threading
import time
from collections import Counter
from importlib import resources
from pathlib import Path

SCHEMA = "".join(
    each.read_text()
    for each in sorted(resources.files("ostinato.store.sqlite").joinpath("migrations").iterdir(), key=lambda e: e.name)
)
"""The store's own tables and indexes: the same record, written by hand."""

ADD = """INSERT INTO tasks (kind, state, title, agent, session, pool, project, type, priority, not_before_at,
    created_at, updated_at, ready_at, attempts, failures, losses, token, journal, steps, unfinished, held, depth,
    reason, dismissed, seen, endings, tokens, usd_micros, awaited, spec)
    VALUES ('goal', 'ready', ?, '', ?, 'default', '', '', 0, 0, ?,
    ?, ?, 0, 0, 0, 0, 1, 0, 0, 0, 0, '', 0, 0, 0, 0, 0, 0, ?)"""
CLAIM = """UPDATE tasks SET state = 'running', attempts = attempts + 1, token = token + 1, node = 1, updated_at = ?
    WHERE id = (SELECT id FROM tasks WHERE state = 'ready' AND due_at IS NULL AND pool = 'default' AND agent = ''
    AND kind = 'goal' ORDER BY priority DESC, id LIMIT 1) RETURNING id, spec"""
ATTEMPT = "INSERT INTO attempts VALUES (?, 1, 1, ?, NULL, '', '', ?)"
FINISH = """UPDATE tasks SET state = 'done', updated_at = ?, finished_at = ?, node = NULL, result = ?
    WHERE id = ? AND token = 1"""
ENDED = "UPDATE attempts SET ended_at = ?, outcome = 'done' WHERE task = ? AND token = 1"
EVENT = "INSERT INTO events (at, name, task, session, actor, reason) VALUES (?, ?, ?, ?, 'runtime', '')"
TALLY = """INSERT INTO tallies VALUES ('', 1, ?, ?)
    ON CONFLICT (agent, goal, state) DO UPDATE SET count = count + excluded.count"""
TOTAL = "INSERT INTO totals VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET count = count + excluded.count"
SPEC = {"goal": "bench", "requester": "operator", "trigger": "operator"}
STATES = {"task.added": "ready", "task.claimed": "running", "task.done": "done"}


class BareQueue:
    """A queue with a full record and nothing else."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._orders: queue.SimpleQueue[tuple[str, int, asyncio.Future[int]] | None] = queue.SimpleQueue()
        self._loop = asyncio.get_running_loop()
        self.commits = 0
        self._last = 0
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    def ask(self, what: str, task: int = 0) -> asyncio.Future[int]:
        """One verb: add, claim or finish; done when it is on disk."""
        future: asyncio.Future[int] = self._loop.create_future()
        self._orders.put((what, task, future))
        return future

    def close(self) -> None:
        """Ends the writer."""
        self._orders.put(None)
        self._thread.join()

    def _write(self) -> None:
        database = sqlite3.connect(self._file, isolation_level=None)
        database.execute("PRAGMA journal_mode=WAL")
        database.execute("PRAGMA synchronous=FULL")
        database.executescript(SCHEMA)
        while (order := self._orders.get()) is not None:
            batch = [order]
            while len(batch) < 512 and not self._orders.empty():
                following = self._orders.get()
                if following is None:
                    return
                batch.append(following)
            try:
                self._run(database, batch)
            except sqlite3.Error as error:  # the store's tables have changed: say so, rather than wait for ever
                self._loop.call_soon_threadsafe(_fail, batch, error)
                return

    def _run(self, database: sqlite3.Connection, batch: list[tuple[str, int, asyncio.Future[int]]]) -> None:
        database.execute("BEGIN IMMEDIATE")
        events: list[tuple[int, str, int, str]] = []
        done = []
        for what, task, future in batch:
            database.execute("SAVEPOINT caller")
            done.append((future, self._verb(database, what, task=task, events=events)))
            database.execute("RELEASE caller")
        counts = Counter(STATES[event[1]] for event in events)
        database.executemany(EVENT, events)
        database.executemany(TALLY, list(counts.items()))
        database.executemany(
            TOTAL, [(f"{kind}.{state}", n) for state, n in counts.items() for kind in ("tasks", "goals")]
        )
        database.execute("COMMIT")
        self.commits += 1
        self._loop.call_soon_threadsafe(_resolve, done)

    def _verb(
        self, database: sqlite3.Connection, what: str, *, task: int, events: list[tuple[int, str, int, str]]
    ) -> int:
        now = time.time_ns() // 1_000
        if what == "add":
            name, self._last = "task.added", self._last + 1
            task = self._last
            spec = json.dumps(SPEC)
            database.execute(ADD, ("bench", f"task:{task}", now, now, now, spec))
        elif what == "claim":
            name = "task.claimed"
            task, spec = database.execute(CLAIM, (now,)).fetchone()
            json.loads(spec)
            database.execute(ATTEMPT, (task, now, now))
        else:
            name = "task.done"
            database.execute(FINISH, (now, now, json.dumps({"text": "ok"}), task))
            database.execute(ENDED, (now, task))
        events.append((now, name, task, f"task:{task}"))
        return task


def _fail(batch: list[tuple[str, int, asyncio.Future[int]]], error: Exception) -> None:
    for _, _, future in batch:
        future.set_exception(error)


def _resolve(done: list[tuple[asyncio.Future[int], int]]) -> None:
    for future, value in done:
        if not future.done():
            future.set_result(value)


async def tasks_per_s(directory: Path, *, callers: int, tasks: int) -> tuple[float, int]:
    """Whole tasks a second (add, claim, finish, each awaited by its caller) and commits."""
    bare = BareQueue(directory / f"bound-{callers}.db")
    left = tasks

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await bare.ask("add")
            task = await bare.ask("claim")
            await bare.ask("finish", task)

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(callers)))
    elapsed = time.perf_counter() - began
    bare.close()
    return tasks / elapsed, bare.commits
