"""A store with very many tasks, written by SQL in seconds: what a year of work leaves behind, or a long queue.

The rows are those that the store writes, with their counters and an event each; no attempts and steps.
"""

from __future__ import annotations

import asyncio
import json
import sqlite3
import time
from collections.abc import Iterator
from pathlib import Path

from ostinato.store.sqlite import open_store

AGENTS = 10
WORDS = ("invoice", "refund", "login", "parcel", "address", "order", "report", "draft", "review", "meeting", "budget")
SPEC = json.dumps({"goal": "Look at it, say what it is about and who should have it.", "trigger": "operator"})
RESULT = json.dumps({"text": "It is about an invoice; billing should have it by tomorrow."})
COLUMNS = (
    "id", "kind", "state", "title", "agent", "session", "pool", "project", "type", "priority", "not_before_at",
    "created_at", "updated_at", "finished_at", "ready_at", "attempts", "failures", "losses", "token", "journal",
    "steps", "unfinished", "held", "awaited", "depth", "reason", "dismissed", "seen", "endings", "tokens",
    "usd_micros", "result", "spec",
)  # fmt: skip


def fill(directory: Path, *, done: int = 0, ready: int = 0, agents: int = AGENTS) -> None:
    """Makes a store in `directory` with so many old tasks that are done and newer ones that are ready; with no agents
    the tasks are nobody's."""
    asyncio.run(_make(directory))
    with sqlite3.connect(directory / "ostinato.db", isolation_level=None) as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.execute("BEGIN")
        places = ", ".join("?" * len(COLUMNS))
        connection.executemany(
            f"INSERT INTO tasks ({', '.join(COLUMNS)}) VALUES ({places})", _rows(done, ready, agents=agents)
        )
        connection.execute(
            "INSERT INTO events (at, name, task, agent, session, actor, reason)"
            " SELECT created_at, 'task.added', id, nullif(agent, ''), session, 'runtime', '' FROM tasks"
        )
        counts = connection.execute("SELECT agent, state, count(*) FROM tasks GROUP BY agent, state").fetchall()
        connection.executemany("INSERT INTO tallies VALUES (?, 1, ?, ?)", counts)
        for state, count in (("done", done), ("ready", ready)):
            for what in ("tasks", "goals"):
                connection.execute("INSERT INTO totals VALUES (?, ?)", (f"{what}.{state}", count))
        connection.execute("COMMIT")
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    connection.close()


async def _make(directory: Path) -> None:
    store = open_store(directory)
    await store.run(lambda tx: None)
    await store.close()


def _rows(done: int, ready: int, *, agents: int) -> Iterator[tuple[object, ...]]:
    now = time.time_ns() // 1_000
    for number in range(1, done + ready + 1):
        is_done = number <= done
        at = now - (done + ready - number) * 1_000_000
        title = f"{WORDS[number % len(WORDS)]} {number}"
        agent = f"agent-{number % agents}" if agents else ""
        yield (
            number, "goal", "done" if is_done else "ready", title, agent, f"task:{number}", "default", "", "",
            0, 0, at, at, at + 500_000 if is_done else None, at, int(is_done), 0, 0, int(is_done), 1,
            3 * is_done, 0, 0, 0, 0, "", 0, 0, 0, 900 * is_done, 0, RESULT if is_done else None, SPEC,
        )  # fmt: skip
