"""Servers that are set up otherwise: whatever a database or a role says, the store works, or refuses with the cure."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from ostinato.domain.errors import Invalid
from ostinato.domain.task import NewTask, TaskKind
from ostinato.store.postgres import open_postgres
from ostinato.store.postgres.shelf import shelf_in
from ostinato.store.postgres.wire import Statement
from tests.conftest import run, wait_until
from tests.postgres.server import Server

NOW = 1_800_000_000_000_000
ODD = {
    "default_transaction_isolation": "serializable",
    "default_transaction_deferrable": "on",
    "lock_timeout": "1ms",
    "idle_in_transaction_session_timeout": "1ms",
    "bytea_output": "escape",
    "client_encoding": "LATIN1",
    "extra_float_digits": "-15",
    "standard_conforming_strings": "off",
    "array_nulls": "off",
    "datestyle": "German",
    "timezone": "Asia/Kathmandu",
}


@pytest.fixture
def told(own_database: str) -> Iterator[psycopg.Connection]:
    """A connection that may change what the test's own database says."""
    with psycopg.connect(own_database, autocommit=True) as connection:
        yield connection


def name_of(url: str) -> str:
    return urlsplit(url).path[1:]


@pytest.mark.slow
def test_a_store_is_the_same_whatever_its_database_sets(own_database: str, told: psycopg.Connection) -> None:
    for name, value in ODD.items():
        told.execute(f"ALTER DATABASE {name_of(own_database)} SET {name} = '{value}'".encode())
    data, title = bytes(range(256)), "ümläut 🎵 \\' \\"

    async def work() -> None:
        store = open_postgres(own_database)
        digest = await store.run(lambda tx: tx.put_blob(data, now=NOW))
        task = await store.run(lambda tx: tx.add_task(NewTask(kind=TaskKind.RUN, title=title), now=NOW))
        assert await store.read(lambda reads: reads.blob(digest)) == data
        assert (await store.read(lambda reads: reads.task(task.id))).title == title
        await store.close()

    run(work())
    with shelf_in(own_database, password_env=None) as shelf:
        assert [row for row in shelf.rows("blobs") if data in row]
        assert [row for row in shelf.rows("tasks") if title in row]


def refusal_of(url: str) -> str:
    """What a store says that is opened there."""
    with pytest.raises(Invalid) as refusal:
        open_postgres(url)
    assert refusal.value.place
    return f"{refusal.value.message}: {refusal.value.cure}"


@pytest.mark.slow
def test_a_database_that_cannot_hold_a_fleet_is_refused_with_the_cure(
    server: Server, own_database: str, told: psycopg.Connection
) -> None:
    name = name_of(own_database)
    stranger = f"postgresql://{name}@/{name}?host={server.folder}"
    told.execute(f"CREATE ROLE {name} LOGIN".encode())
    assert f"GRANT CREATE ON SCHEMA public TO {name}" in refusal_of(stranger)
    run(open_postgres(own_database).close())
    assert "belong to another user" in refusal_of(stranger)
    told.execute(f"ALTER ROLE {name} SET search_path = nowhere".encode())
    assert f"ALTER ROLE {name} SET search_path" in refusal_of(stranger)
    told.execute(f"DROP ROLE {name}".encode())
    latin = name.replace("t", "l")
    told.execute(f"CREATE DATABASE {latin} TEMPLATE template0 ENCODING 'LATIN1'".encode())
    assert "createdb --encoding=UTF8" in refusal_of(own_database.replace(name, latin))
    told.execute(f"DROP DATABASE {latin}".encode())


@pytest.mark.slow
def test_a_server_that_takes_no_writes_for_a_while_is_waited_for(database: str) -> None:
    async def work() -> None:
        store = open_postgres(database)
        wire = store._writer._database.wire
        wire.put(Statement("read only", "SET default_transaction_read_only = on"))
        wire.sync()
        await store.run(
            lambda tx: tx.set_setting("name", "value"),
        )
        await store.close()

    run(work())


@pytest.mark.slow
def test_a_statement_that_somebody_cancels_is_done_anew(database: str) -> None:
    run(open_postgres(database).close())

    async def work() -> None:
        store = open_postgres(database)
        pid = store._writer._database.wire._connection.backend_pid

        def cancel() -> None:
            waits = "SELECT wait_event_type FROM pg_stat_activity WHERE pid = %s"
            with psycopg.connect(database) as other, psycopg.connect(database, autocommit=True) as eye:
                other.execute("SELECT commits FROM ostinato_store FOR UPDATE")
                locked.set()
                wait_until(lambda: eye.execute(waits, [pid]).fetchone() == ("Lock",))
                assert eye.execute("SELECT pg_cancel_backend(%s)", [pid]).fetchone() == (True,)
                wait_until(lambda: eye.execute(waits, [pid]).fetchone() != ("Lock",))

        locked = threading.Event()
        cancelling = asyncio.create_task(asyncio.to_thread(cancel))
        await asyncio.to_thread(locked.wait)
        await store.run(lambda tx: tx.set_setting("name", "value"))
        await cancelling
        too_long = "".join(map(chr, range(1_000, 9_000)))
        with pytest.raises(Invalid, match="more than a database can hold"):
            await store.run(lambda tx: tx.set_setting(too_long, "value"))
        await store.close()

    run(work())
