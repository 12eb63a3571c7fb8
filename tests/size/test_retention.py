"""A fleet that works for ever in a database that does not grow: what is forgotten makes room for what comes."""

from __future__ import annotations

import asyncio
import sqlite3
from collections import Counter
from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.domain.message import NewMessage
from ostinato.domain.step import Input, Note
from ostinato.domain.task import Done, NewTask, TaskKind, TaskResult
from ostinato.domain.values import SECOND, Instant, Source
from ostinato.store.port import Claim, ClaimRequest, Retention, ScheduleRow, Store, Tx
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.database import SqliteDatabase

HOUR: Instant = 3_600 * SECOND
DAY_S = 86_400.0
KEEP = Retention(tasks_s=DAY_S, events_s=DAY_S, blobs_s=DAY_S, skips_s=DAY_S, charges_s=DAY_S)
START: Instant = 1_700_000_000 * SECOND
ROW = ScheduleRow(name="heartbeat:triage:heartbeat", agent="triage", rule={"every": "1h"}, next_at=START)
TASKS = 20
"""Of an hour."""
ONE = ClaimRequest(node=1, pools=("default",), most=TASKS, agent_limits={}, agent_limit_default=TASKS)


async def _hour(store: Store, now: Instant) -> None:
    """An hour of work: goals with journals, messages that are read, a heartbeat that skips; then forgetting."""

    def work(tx: Tx) -> None:
        for number in range(TASKS):
            tx.add_task(NewTask(kind=TaskKind.GOAL, title=f"ticket {number}", agent="triage"), now=now)
            tx.put_blob(f"{now}:{number}".encode() * 20, now=now)
        said = NewMessage(source=Source.OPERATOR, text="look " * 50, sender="ann")
        message = tx.append_message("main:triage", said, agent="triage", now=now, wake=False)
        tx.advance_cursor("main:triage", message.id, now=now)
        tx.skip(
            "heartbeat:triage:heartbeat", heartbeat="heartbeat", agent="triage", reason=f"nothing at {now}",
            nominal_at=now, next_at=now + HOUR, now=now,
        )  # fmt: skip
        for task in tx.claim(ONE, now=now):
            claim = Claim(task=task.id, token=task.token)
            tx.record_steps(claim, [Note(text="found it " * 40, by="triage")], now=now)
            tx.finish(claim, Done(result=TaskResult(text="done")), now=now)

    await store.run(work)
    while await store.run(lambda tx: tx.prune(KEEP, now=now)):
        pass


async def _sizes(folder: Path, *, days: int) -> list[int]:
    """The database's size after each day."""
    store = open_store(folder)
    now = START
    await store.run(lambda tx: tx.put_schedule(ROW, now=now))
    sizes = []
    for _ in range(days):
        for _ in range(24):
            now += HOUR
            await _hour(store, now)
        sizes.append((await store.read(lambda reads: reads.size()))["database"])
    await store.close()
    return sizes


@pytest.mark.slow
def test_a_database_with_short_retention_stops_growing(tmp_path: Path) -> None:
    sizes = asyncio.run(_sizes(tmp_path / "state", days=5))
    assert sizes[-1] <= 1.05 * sizes[2]


def test_a_file_that_every_turn_begins_with_is_noted_for_the_turns_that_are_kept_alone(tmp_path: Path) -> None:
    async def story() -> None:
        store, now = open_store(tmp_path), START
        for hour in range(4):
            now += HOUR * 12

            def work(tx: Tx, hour: int = hour, now: Instant = now) -> None:
                digest = tx.put_blob(b"You are SOUL.", now=now)  # as each day's first turn does
                for number in range(5):
                    tx.add_task(NewTask(kind=TaskKind.GOAL, title=f"{hour}.{number}", agent="triage"), now=now)
                for task in tx.claim(ONE, now=now):
                    claim = Claim(task=task.id, token=task.token)
                    tx.record_steps(claim, [Input(files={"SOUL.md": digest, "AGENTS.md": digest})], now=now)
                    tx.finish(claim, Done(result=TaskResult(text="done")), now=now)

            await store.run(work)
        while await store.run(lambda tx: tx.prune(KEEP, now=now)):
            pass
        await store.close()

    asyncio.run(story())
    (file,) = tmp_path.glob("*.db")
    opened = sqlite3.connect(file)
    kept = opened.execute("SELECT id FROM tasks ORDER BY id").fetchall()
    noted = opened.execute("SELECT task FROM blob_uses ORDER BY task").fetchall()
    opened.close()
    assert 0 < len(kept) < 20
    assert noted == kept


def test_forgetting_many_tasks_takes_as_few_statements_as_forgetting_one(monkeypatch: pytest.MonkeyPatch) -> None:
    statements: Counter[str] = Counter()
    inner = SqliteDatabase.do

    def counting(self: SqliteDatabase, name: str, /, **values: object) -> int:
        statements[name] += 1
        return inner(self, name, **values)

    async def go() -> None:
        store = open_store(None)
        await store.run(lambda tx: tx.put_schedule(ROW, now=START))
        await _hour(store, START)
        statements.clear()
        later = START + 48 * HOUR
        assert (
            await store.run(lambda tx: tx.prune(replace(KEEP, events_s=None, blobs_s=None), now=later, limit=500))
            >= TASKS - 1
        )
        await store.close()

    monkeypatch.setattr(SqliteDatabase, "do", counting)
    asyncio.run(go())
    assert max(statements.values()) == 1
