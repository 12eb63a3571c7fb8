"""Changes that wait for others of their kind: what is written is the same as if none had waited, and what is wrong with
one is told to its caller alone."""

from __future__ import annotations

import asyncio
import contextlib
import random
import sqlite3
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from ostinato.domain.ledger import Charge
from ostinato.domain.task import NewTask, TaskKind
from ostinato.store.port import TaskFilter, Tx
from ostinato.store.postgres.statements import UNANSWERED
from ostinato.store.postgres.statements import queries as typed
from ostinato.store.postgres.wire import TEXT
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.database import SqliteDatabase, queries
from ostinato.store.sqlite.held import KINDS
from ostinato.store.sqlite.migrations import migrate
from tests.conftest import FULL, run

AT_ONCE = ("change_task", "explain_task", "forget_steps", "warn_account", "release_reserved", "add_attempt")
ASKED = ("steps", "account")
ONCE = {"add_step": "seq", "add_attempt": "token"}
"""What may be there once only, and the parameter that sees to it."""
UNSENDABLE = "\ud800"
"""Half a character: no database holds it."""


class Said(NamedTuple):
    """One call of the database."""

    name: str
    values: dict[str, Any]


def script(chance: random.Random) -> list[Said]:
    """Changes of every kind that may wait, between others and questions, all about the same few rows."""
    said: list[Said] = []
    tasks = 0
    for number, name in enumerate(["add_task", *chance.choices((*KINDS, *KINDS, *AT_ONCE, *ASKED), k=40)], 1):
        values = values_of(name, chance)
        if name == "add_task":
            tasks += 1
            values |= {"id": tasks, "key": None, "delegation": None}
        elif "id" in values:
            values["id"] = chance.randint(1, tasks)
        if name in ONCE:
            values[ONCE[name]] = number
        said.append(Said(name, values))
    return said


def values_of(name: str, chance: random.Random) -> dict[str, Any]:
    """Small numbers and words for its parameters."""
    parameters = zip(dict.fromkeys(queries()[name].names), typed()[name].statement.types, strict=True)
    return {
        each: chance.choice("ab") if kind == TEXT else chance.randint(-2 if each.startswith("reserved") else 1, 3)
        for each, kind in parameters
    }


@pytest.fixture(scope="module")
def empty() -> bytes:
    """A database without rows."""
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, place="memory")
    return connection.serialize()


def written(said: list[Said], empty: bytes, *, waits: bool) -> tuple[list[Any], list[str]]:
    """What the questions found, and all tables afterwards."""
    with contextlib.closing(sqlite3.connect(":memory:", isolation_level=None)) as connection:
        connection.deserialize(empty)
        database = SqliteDatabase(connection, None, queries())
        found: list[Any] = []
        for name, values in said:
            if name in ASKED:
                found.append(database.all(name, **values))
            elif len(values) % 2:
                database.do(name, **values)
            else:
                database.many(name, [values])
            if not waits:
                database.send_held()
        database.send_held()
        return found, list(connection.iterdump())


@pytest.mark.slow
def test_what_waits_is_written_as_if_it_had_not_waited(empty: bytes) -> None:
    for seed in range(400 if FULL else 20):
        said = script(random.Random(seed))
        assert written(said, empty, waits=True) == written(said, empty, waits=False), (seed, said)


@pytest.mark.slow
def test_the_law_notices_a_kind_that_waits_although_its_turn_has_passed(
    empty: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ostinato.store.sqlite.database.OF_A_TASK", frozenset())
    scripts = [script(random.Random(seed)) for seed in range(20)]
    assert any(written(each, empty, waits=True) != written(each, empty, waits=False) for each in scripts)


def test_no_verb_asks_how_many_rows_a_change_touched_that_may_wait() -> None:
    in_sets = {"add_step", "use_blob", "book_account"}  # by `many`, of which only claims are counted
    assert set(KINDS) - in_sets <= UNANSWERED


def charge(task: int, model: str) -> Charge:
    return Charge(task=task, agent="a", session="", trigger="operator", call=1, provider="p", model=model, status=200)


def test_a_value_that_no_column_holds_is_told_to_its_caller_alone(tmp_path: Path) -> None:
    async def go() -> None:
        store = open_store(tmp_path / "state")

        def spend(tx: Tx, model: str, *, hides: bool = False) -> str:
            tx.charge(charge(1, model), now=1)
            try:
                tx.tasks(TaskFilter())
            except UnicodeEncodeError:
                if not hides:
                    raise
            return model

        def spend_unasked(tx: Tx, model: str) -> str:
            tx.charge(charge(1, model), now=1)
            return model

        calls = [
            *(lambda tx, m=m: spend(tx, m) for m in ("one", UNSENDABLE, "two")),
            *(lambda tx, m=m: spend_unasked(tx, m) for m in ("three", UNSENDABLE, "four")),
            lambda tx: spend(tx, UNSENDABLE, hides=True),
        ]
        came = await asyncio.gather(*(store.run(each) for each in calls), return_exceptions=True)
        assert [each if isinstance(each, str) else type(each).__name__ for each in came] == [
            "one", "UnicodeEncodeError", "two", "three", "UnicodeEncodeError", "four", "UnicodeEncodeError",
        ]  # fmt: skip
        kept = await store.read(lambda reads: reads.spending("model", since_at=0, limit=9))
        assert {each.name for each in kept} == {"one", "two", "three", "four"}
        await store.close()

    run(go())


def test_a_function_that_fails_leaves_nothing_that_waited(tmp_path: Path) -> None:
    async def go() -> None:
        store = open_store(tmp_path / "state")

        def fail(tx: Tx) -> None:
            tx.charge(charge(1, "gone"), now=1)
            tx.add_task(NewTask(kind=TaskKind.GOAL, title="gone"), now=1)
            raise ValueError("no")

        for together in (1, 3):
            orders = [
                store.run(lambda tx: tx.add_task(NewTask(kind=TaskKind.GOAL, title="kept"), now=1))
                for _ in range(together - 1)
            ]
            *_, failed = await asyncio.gather(*orders, store.run(fail), return_exceptions=True)
            assert isinstance(failed, ValueError)
        assert [each.title for each in await store.read(lambda reads: reads.tasks(TaskFilter()))] == ["kept", "kept"]
        assert await store.read(lambda reads: reads.spending("model", since_at=0, limit=9)) == []
        await store.close()

    run(go())
