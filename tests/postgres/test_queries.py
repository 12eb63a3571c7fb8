"""The queries of PostgreSQL: each can be prepared, and none of the frequent ones walks through a table."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from ostinato.store import sqlite
from ostinato.store.postgres import database, open_postgres
from ostinato.store.postgres.database import SETTINGS
from ostinato.store.postgres.statements import EXPECTED, HELD, UNANSWERED, queries
from ostinato.store.postgres.wire import ARRAY_OF, BYTEA, FLOAT8, INT8, TEXT
from ostinato.store.sql import PARAMETER, query_texts
from tests.conftest import run
from tests.contract.test_queries import FRAGMENTS, LISTS, RARE

QUERIES = queries()
TYPES = {
    BYTEA: "bytea",
    FLOAT8: "float8",
    INT8: "bigint",
    TEXT: "text",
    **{each.oid: each.name for each in ARRAY_OF.values()},
}
OWN = {"begin_writing", "count_commit"}
"""One row."""


@pytest.fixture(scope="module")
def connection(kept_database: str) -> Iterator[psycopg.Connection]:
    run(open_postgres(kept_database).close())
    with psycopg.connect(kept_database, autocommit=True) as connected:
        for each in (*SETTINGS, "SET plan_cache_mode = force_generic_plan"):
            connected.execute(each)  # type: ignore[arg-type]  # a text of our own
        yield connected


@pytest.mark.parametrize("name", sorted(set(QUERIES) - FRAGMENTS))
def test_a_query_can_be_prepared_and_walks_along_an_index(name: str, connection: psycopg.Connection) -> None:
    statement = QUERIES[name].statement
    types = ", ".join(TYPES[each] for each in statement.types)
    nulls = ", ".join(["NULL"] * len(statement.types))
    connection.execute(f"PREPARE tried{f' ({types})' if types else ''} AS {statement.text}")  # type: ignore[arg-type]  # our own
    try:
        plan = connection.execute(f"EXPLAIN EXECUTE tried{f' ({nulls})' if nulls else ''}").fetchall()  # type: ignore[arg-type]  # our own
    finally:
        connection.execute("DEALLOCATE tried")
    walks = [row[0].strip() for row in plan if re.search(r"Seq Scan on \w+", row[0])]
    assert name in LISTS | RARE | OWN or not walks, f"walks through a table: {walks}"


@pytest.mark.parametrize("walk", ["of_agent", "of_kind", "of_project", "of_session", "done", "set_aside", "dead"])
def test_what_is_asked_for_in_full_is_not_looked_for_among_all_newer_tasks(
    walk: str, connection: psycopg.Connection
) -> None:
    statement = QUERIES[f"tasks_{walk}"].statement
    types, nulls = ", ".join(TYPES[each] for each in statement.types), ", ".join(["NULL"] * len(statement.types))
    connection.execute(f"PREPARE tried ({types}) AS {statement.text}")  # type: ignore[arg-type]  # our own
    try:
        plan = connection.execute(f"EXPLAIN EXECUTE tried ({nulls})").fetchall()  # type: ignore[arg-type]  # our own
    finally:
        connection.execute("DEALLOCATE tried")
    in_full, _, within = "\n".join(row[0] for row in plan).partition(" on tasks tasks_1")
    assert "(ROW(" in in_full, "by a comparison of rows, whose order the index of ids has not"
    assert "(ROW(" not in within, "by the ids"


def test_what_brings_many_rows_at_once_can_be_prepared(connection: psycopg.Connection) -> None:
    many = [query.many for query in QUERIES.values() if query.many is not None]
    assert len(many) > 10
    for statement in many:
        types = ", ".join(TYPES[each] for each in statement.types)
        connection.execute(f"PREPARE tried ({types}) AS {statement.text}")  # type: ignore[arg-type]  # our own
        connection.execute("DEALLOCATE tried")
    assert all(QUERIES[name].many is not None for name in HELD.keys() | EXPECTED)


def test_changes_that_are_not_waited_for_exist_and_are_changes() -> None:
    for name in UNANSWERED | EXPECTED:
        assert re.match(r"(WITH touched AS \()?(INSERT|UPDATE|DELETE)", QUERIES[name].statement.text), name


def test_a_query_in_other_words_asks_for_the_same() -> None:
    here, there = Path(database.__file__).with_name("queries"), Path(sqlite.__file__).with_name("queries")
    words = {"unfinished": "''"}
    asked = [
        {name: set(PARAMETER.findall(text)) for name, text in query_texts(folders, words).items()}
        for folders in ((there,), (there, here))
    ]
    assert not [name for name, names in asked[0].items() if names != asked[1][name]]


def test_every_query_of_sqlite_has_one_here() -> None:
    assert not [name for name, query in QUERIES.items() if "json_each" in query.statement.text]
    assert not [name for name, query in QUERIES.items() if "INDEXED BY" in query.statement.text]
