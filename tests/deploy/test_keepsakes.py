"""What an earlier version wrote is read by this one, means the same, and goes on living."""

from __future__ import annotations

import json
import sqlite3
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ostinato.domain.question import Answer, QuestionState
from ostinato.domain.step import Entry, entry_from_json, entry_to_json
from ostinato.domain.task import Done, TaskEvent, TaskResult, TaskState
from ostinato.domain.values import SECOND
from ostinato.store.port import Claim, ClaimRequest, Store, TaskFilter, Tx
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.migrations import migrations
from tests.conftest import run
from tests.deploy.keepsake import ENTRIES, GOLDEN, NOW, VALUES, meaning, readings

STORES = sorted(GOLDEN.glob("store-*.sql"))
RECORDS = [
    pytest.param(record, id=f"{file.stem}-{record['type']}-{number}")
    for file in sorted(GOLDEN.glob("values-*.json"))
    for number, record in enumerate(json.loads(file.read_text()))
]


def lacks(was: Any, now: Any, path: str = "") -> list[str]:
    """Where `now` says something else than `was`. More fields are fine, other ones are not."""
    if isinstance(was, dict) and isinstance(now, dict):
        gone = [f"{path}.{key} is gone" for key in was if key not in now]
        return gone + [each for key in was if key in now for each in lacks(was[key], now[key], f"{path}.{key}")]
    if isinstance(was, list) and isinstance(now, list) and len(was) == len(now):
        return [each for n, (a, b) in enumerate(zip(was, now, strict=True)) for each in lacks(a, b, f"{path}[{n}]")]
    return [] if was == now else [f"{path}: {was!r} became {now!r}"]


@pytest.mark.parametrize("record", RECORDS)
def test_a_value_that_an_earlier_version_wrote_means_the_same(record: dict[str, Any]) -> None:
    kind = VALUES[record["type"]]
    text = json.dumps(record["written"])
    value = entry_from_json(text) if kind in ENTRIES else msgspec.json.decode(text, type=kind)
    assert type(value) is kind
    assert lacks(record["means"], meaning(value)) == [], "rows of this form are in everybody's database"


def test_each_kind_of_entry_and_each_schema_that_was_released_has_its_keepsake() -> None:
    newest = json.loads(sorted(GOLDEN.glob("values-*.json"))[-1].read_text())
    assert {record["type"] for record in newest} == set(VALUES), "run: python -m tests.deploy.keepsake"
    schemas = [int(file.stem.rpartition("-")[2]) for file in STORES]
    assert schemas[0] == 1
    assert set(schemas) <= migrations().keys()


def revived(file: Path, folder: Path) -> Store:
    """The store of an earlier version, opened by this one."""
    folder.mkdir(mode=0o700)
    connection = sqlite3.connect(folder / "ostinato.db", isolation_level=None)
    connection.executescript(file.read_text())
    connection.close()
    return open_store(folder)


@pytest.mark.parametrize("file", STORES, ids=lambda file: file.stem)
def test_a_store_of_an_earlier_version_says_the_same_after_its_migrations(file: Path, tmp_path: Path) -> None:
    async def story() -> None:
        store = revived(file, tmp_path / "state")
        try:
            was = json.loads(file.with_suffix(".json").read_text())
            now = json.loads(json.dumps(await store.read(readings)))
            assert lacks(was, now) == []
            assert await store.check() == "ok"
        finally:
            await store.close()

    run(story())


@pytest.mark.parametrize("file", STORES, ids=lambda file: file.stem)
def test_a_store_of_an_earlier_version_goes_on_living(file: Path, tmp_path: Path) -> None:
    later = NOW + 7_200 * SECOND

    def begin(tx: Tx) -> int:
        tx.move_task(2, TaskEvent.REPLAY, actor="ann", reason="once more", now=later)
        tx.answer(1, Answer(state=QuestionState.ALLOWED, by="ann"), now=later)
        tx.clear_flag("agent:sleeper", "paused", actor="ann", now=later)
        node = tx.start_node(pid=8, host="machine.example", version="next", lease_s=60.0, exclusive=True, now=later)
        tx.rescue(now=later)
        return node.id

    def work(tx: Tx, node: int) -> list[list[Entry]]:
        request = ClaimRequest(node=node, most=100, agent_limit_default=100)
        journals = []
        for task in tx.claim(request, now=later):
            journals.append([each.entry for each in tx.steps(task.id)])
            if unread := tx.inbox(task.session or ""):
                tx.advance_cursor(task.session or "", unread[-1].id, now=later)
            tx.finish(Claim(task=task.id, token=task.token), Done(result=TaskResult(text="ok")), now=later)
        return journals

    async def story() -> None:
        store = revived(file, tmp_path / "state")
        try:
            node = await store.run(begin)
            first = await store.run(lambda tx: work(tx, node))
            second = await store.run(lambda tx: work(tx, node))
            assert (len(first), len(second)) == (7, 1), "whoever was blocked by another follows"
            assert all(entry_from_json(entry_to_json(entry)) == entry for journal in first for entry in journal)
            tasks = await store.read(lambda reads: reads.tasks(TaskFilter(), limit=100))
            left = {task.title: task.state for task in tasks if task.state is not TaskState.DONE}
            assert left == {
                "cancelled": TaskState.CANCELLED,
                "blocked for a reason": TaskState.BLOCKED,
                "draft": TaskState.DRAFT,
            }
            tallies = await store.read(lambda reads: reads.tallies())
            assert sum(tallies.tasks.values()) == len(tasks)
            (row,) = await store.read(lambda reads: reads.schedules())
            assert await store.run(
                lambda tx: tx.fire(row.name, nominal_at=row.next_at or 0, next_at=later, now=later)
            ), "heartbeats go on"
        finally:
            await store.close()

    run(story())


@pytest.mark.parametrize("now", [{"tries": 5}, {"attempts": 3}, {"tries": [3]}])
def test_a_default_a_name_or_a_form_that_changes_is_noticed(now: dict[str, Any]) -> None:
    assert lacks({"tries": 3}, now)
    assert not lacks({"tries": 3}, {"tries": 3, "new": True})
