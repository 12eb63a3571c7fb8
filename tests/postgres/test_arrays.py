"""Many values as one array, and many changes as one statement: what the server has then is what was said."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterator

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.domain.errors import Invalid
from ostinato.domain.task import NewTask, TaskEvent, TaskKind, TaskState
from ostinato.domain.values import Instant
from ostinato.store.port import Tx
from ostinato.store.postgres import open_postgres
from ostinato.store.postgres.arrays import array
from ostinato.store.postgres.wire import FLOAT8, INT8, TEXT
from tests.conftest import run

NOW = Instant(1_000_000)
NEW = NewTask(kind=TaskKind.RUN, title="x")

letters = st.characters(exclude_categories=["Cs"]) | st.sampled_from('\\"{},\0\n\t\x7f')
texts = st.none() | st.text(letters, max_size=12) | st.sampled_from(["null", "NULL", "", "\\n", "{}"])
numbers = st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1)
fractions = st.none() | st.floats()


@pytest.fixture(scope="module")
def connection(kept_database: str) -> Iterator[psycopg.Connection]:
    with psycopg.connect(kept_database, autocommit=True) as connected:
        yield connected


@pytest.mark.slow
@settings(max_examples=40)
@given(
    st.lists(texts, min_size=1, max_size=6), st.lists(numbers, min_size=1, max_size=6), st.lists(fractions, min_size=1)
)
def test_an_array_is_read_as_it_was_meant(
    connection: psycopg.Connection, words: list[str | None], whole: list[int | None], parts: list[float | None]
) -> None:
    written = [array(words, of=TEXT).decode(), array(whole, of=INT8).decode(), array(parts, of=FLOAT8).decode()]
    row = connection.execute("SELECT %s::text[], %s::bigint[], %s::float8[]", written).fetchone()
    assert row is not None
    assert row[0] == [None if each is None else each.replace("\0", "\ufffd") for each in words]
    assert row[1] == whole
    assert [None if each is None or math.isnan(each) else each for each in row[2]] == [
        None if each is None or math.isnan(each) else each for each in parts
    ]


def test_changes_that_wait_for_others_are_done_in_the_order_in_which_they_were_said(database: str) -> None:
    def many(tx: Tx) -> list[int]:
        """More than one statement takes; some are moved before they are sent."""
        added = [tx.add_task(NEW, now=NOW).id for _ in range(100)]
        for task in added[::2]:
            tx.move_task(task, TaskEvent.CANCEL, actor="ada", reason="not this one", now=NOW)
        return added

    async def work() -> None:
        store = open_postgres(database)
        added = await store.run(many)
        states = await store.read(lambda reads: [reads.task(each).state for each in added])
        assert states == [TaskState.CANCELLED, TaskState.READY] * 50
        assert await store.check() == "ok"
        await store.close()

    run(work())


def test_what_cannot_be_stored_falls_back_on_nobody_else(database: str) -> None:
    async def work() -> None:
        store = open_postgres(database)
        adding = [
            store.run(lambda tx, title=title: tx.add_task(NewTask(kind=TaskKind.RUN, title=title), now=NOW).title)
            for title in ("a", "half of a letter: \ud800", "b")
        ]
        found = await asyncio.gather(*adding, return_exceptions=True)
        assert (found[0], found[2]) == ("a", "b")
        assert isinstance(found[1], Invalid)
        await store.close()

    run(work())
