"""The schema's history on PostgreSQL: a database of the first release is brought up to date, a newer one is refused."""

from __future__ import annotations

import psycopg
import pytest

from ostinato.domain.errors import Conflict
from ostinato.store.port import ScheduleRow
from ostinato.store.postgres import open_postgres
from ostinato.store.postgres.migrations import migrations as on_postgres
from ostinato.store.postgres.migrations import statements
from ostinato.store.sqlite.migrations import migrations as on_sqlite
from tests.conftest import run


def test_both_stores_have_the_same_history() -> None:
    postgres, sqlite = ([file.name for file in each().values()] for each in (on_postgres, on_sqlite))
    assert postgres == sqlite


@pytest.mark.slow
def test_a_database_of_the_first_release_is_brought_up_to_date_and_a_newer_one_refused(own_database: str) -> None:
    with psycopg.connect(own_database, autocommit=True) as connection:
        for statement in statements(on_postgres()[1].read_text(encoding="utf-8")):
            connection.execute(statement)  # type: ignore[arg-type]  # from a file of ours
        connection.execute("UPDATE ostinato_store SET schema = 1")
        connection.execute(
            "INSERT INTO schedules (name, agent, rule, text, session, source, last_at, next_at, skips_in_row)"
            """ VALUES ('daily', 'clerk', '{"every":"1d"}', 'go', 'main', 'command', 1, 2, 3)"""
        )

    async def story() -> None:
        store = open_postgres(own_database)
        try:
            kept = ScheduleRow(
                name="daily", agent="clerk", rule={"every": "1d"}, text="go", last_at=1, next_at=2, skips_in_row=3
            )
            assert await store.read(lambda reads: reads.schedules()) == [kept]
            assert await store.run(lambda tx: tx.fire("daily", nominal_at=2, next_at=3, now=2))
        finally:
            await store.close()
        with psycopg.connect(own_database, autocommit=True) as connection:
            connection.execute("UPDATE ostinato_store SET schema = 999")
        with pytest.raises(Conflict, match="schema 999; this program knows schemas up to"):
            await open_and_read()

    async def open_and_read() -> None:
        store = open_postgres(own_database)
        try:
            await store.read(lambda reads: reads.schedules())
        finally:
            await store.close()

    run(story())
