"""The database goes away in every way there is: what was acknowledged stays, what was not says so, and work goes on."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import psycopg
import pytest

from ostinato.domain.errors import Conflict, Exhausted, Internal, Invalid, OstinatoError
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.task import NewTask, Task, TaskKind
from ostinato.store.port import ClaimRequest, EventFilter, TaskFilter, Tx
from ostinato.store.postgres import PostgresStore, connecting, open_postgres, writer
from ostinato.store.postgres.address import Address
from ostinato.store.postgres.wire import encode
from tests.conftest import run
from tests.postgres.server import Server

NOW = 1_800_000_000_000_000


async def add(store: PostgresStore, title: str = "a task", **more: object) -> Task:
    new = NewTask(kind=TaskKind.RUN, title=title, **more)  # type: ignore[arg-type]  # passed on as they are
    return await store.run(lambda tx: tx.add_task(new, now=NOW))


async def titles(store: PostgresStore) -> list[str]:
    tasks = await store.read(lambda reads: reads.tasks(TaskFilter(), limit=10_000))
    return [task.title for task in reversed(tasks)]


@pytest.mark.slow
def test_a_restart_of_the_server_is_survived(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    del server  # only to skip where there is none
    for room in (connecting, writer):
        monkeypatch.setattr(room, "RECONNECT_S", 2.0)
    other = Server.make()
    other.start()
    try:
        url = other.make_database()

        async def work() -> None:
            store = open_postgres(url)
            heard: list[Event] = []
            store.subscribe(heard.extend)
            acknowledged = [(await add(store, str(number))).title for number in range(20)]
            other.stop("immediate")
            waiting = asyncio.ensure_future(add(store, "while it was away"))
            await asyncio.sleep(0)
            await asyncio.to_thread(other.start)
            acknowledged.append((await waiting).title)
            acknowledged.append((await add(store, "later")).title)
            assert await titles(store) == acknowledged
            assert len(heard) == len(acknowledged)
            other.stop("immediate")
            with pytest.raises(Exhausted, match="cannot be reached"):
                await add(store, "never")
            other.start()
            await add(store, "at last")
            assert await titles(store) == [*acknowledged, "at last"]
            await store.close()

        run(work(), timeout_s=60.0)
    finally:
        other.stop("immediate")
        other.remove()


@pytest.mark.slow
def test_events_of_a_newer_version_are_passed_over(own_database: str) -> None:
    async def work() -> None:
        first, second = open_postgres(own_database), open_postgres(own_database)
        heard: asyncio.Queue[str] = asyncio.Queue()

        def listen(events: Sequence[Event]) -> None:
            for each in events:
                heard.put_nowait(each.name.value)

        await add(first)
        first.subscribe(listen)
        newer = NewEvent(name=cast("EventName", SimpleNamespace(value="moon.landed")))
        await second.run(lambda tx: tx.announce(newer, now=NOW))
        await add(second)
        async with asyncio.timeout(10.0):
            assert await heard.get() == "task.added"
        told = await first.read(lambda reads: reads.events(EventFilter()))
        assert [each.name.value for each in told] == ["task.added"] * 2
        await first.close()
        await second.close()

    run(work())


@pytest.mark.slow
def test_a_writer_that_stands_still_is_passed_by(database: str) -> None:
    run(open_postgres(database).close())  # making the tables may stand still for longer on a busy machine

    async def work() -> None:
        store = open_postgres(database, stall_s=0.3)
        with psycopg.connect(database) as other:
            other.execute("SET idle_in_transaction_session_timeout = '300ms'")
            other.commit()
            other.execute("SELECT commits FROM ostinato_store FOR UPDATE")
            task = await add(store, "behind it")
            assert task.title == "behind it"
            with pytest.raises(psycopg.Error):
                other.execute("UPDATE ostinato_store SET commits = 0")
        await store.close()

    run(work())


@pytest.mark.slow
def test_two_stores_take_turns_and_hear_each_other(own_database: str) -> None:
    async def work() -> None:
        first, second = open_postgres(own_database), open_postgres(own_database)
        heard: list[Event] = []
        all_heard = asyncio.Event()

        def listen(events: object) -> None:
            heard.extend(events)  # type: ignore[arg-type]  # a sequence of events
            if len(heard) == 100:
                all_heard.set()

        first.subscribe(listen)
        tasks = await asyncio.gather(*(add((first, second)[number % 2], str(number)) for number in range(100)))
        assert len({task.id for task in tasks}) == 100
        async with asyncio.timeout(10.0):
            await all_heard.wait()
        assert [event.id for event in heard] == sorted({event.id for event in heard})
        assert (await first.read(lambda reads: reads.tallies())).tasks == {"ready": 100}
        await first.close()
        await second.close()

    run(work())


@pytest.mark.slow
def test_a_function_that_fails_late_is_undone_alone(own_database: str) -> None:
    async def work() -> None:
        store = open_postgres(own_database)
        performed: list[str] = []

        def fail(tx: Tx) -> None:
            tx.add_task(NewTask(kind=TaskKind.RUN, title="undone"), now=NOW)
            performed.append("fail")
            raise KeyError("late")

        results = await asyncio.gather(add(store, "first"), store.run(fail), add(store, "last"), return_exceptions=True)
        assert isinstance(results[1], KeyError)
        assert performed == ["fail", "fail"], "the second time behind a savepoint"
        assert await titles(store) == ["first", "last"]
        assert await store.check() == "ok"
        await store.close()

    run(work())


def test_a_password_is_in_no_text_that_is_shown(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FLEET_DB", "correct horse")
    address = Address("postgresql://ann@nowhere.invalid:1/x", password_env="FLEET_DB")
    assert b"correct horse" in address.conninfos()[0]
    assert "correct" not in f"{address} {address!r}"
    with pytest.raises(Exhausted) as refusal:
        open_postgres("postgresql://ann@nowhere.invalid:1/x", password_env="FLEET_DB")
    assert "correct" not in str(refusal.value)
    monkeypatch.delenv("FLEET_DB")
    with pytest.raises(Invalid, match="FLEET_DB is not set"):
        address.conninfos()


@pytest.mark.parametrize("url", ["mysql://x", "", "postgresql://a:b@h/d", "postgresql://h/d?nonsense=1"])
def test_a_url_that_is_none_or_has_a_secret_is_refused_with_the_cure(url: str) -> None:
    with pytest.raises(Invalid) as refusal:
        Address(url)
    assert refusal.value.cure


@pytest.mark.slow
def test_a_database_of_something_else_or_of_a_newer_version_is_refused(own_database: str) -> None:
    with psycopg.connect(own_database) as connection:
        connection.execute("CREATE TABLE tasks (x int)")
    with pytest.raises(Invalid, match="something else"):
        open_postgres(own_database)
    with psycopg.connect(own_database) as connection:
        connection.execute("DROP TABLE tasks")
    run(open_postgres(own_database).close())
    with psycopg.connect(own_database) as connection:
        connection.execute("UPDATE ostinato_store SET schema = 99")
    with pytest.raises(Conflict, match="schema 99"):
        open_postgres(own_database)


@pytest.mark.slow
def test_texts_and_numbers_of_every_kind_are_kept_or_refused(own_database: str) -> None:
    async def work() -> None:
        store = open_postgres(own_database)
        odd = "a\0b — ümlaut 🎵 'quoted' \\ $1 %s {x}"
        results = await asyncio.gather(
            add(store, odd), add(store, "too far", not_before_at=2**70), add(store, "fine"), return_exceptions=True
        )
        assert isinstance(results[1], Invalid)
        assert await titles(store) == [odd.replace("\0", "\ufffd"), "fine"]
        await store.close()

    run(work())
    assert encode([None, True, 7, b"\0", "x"])[0] == [None, b"1", b"7", b"\0", b"x"]


def test_a_backup_is_refused_with_the_cure(database: str, tmp_path: Path) -> None:
    async def work() -> None:
        store = open_postgres(database)
        with pytest.raises(Invalid, match="pg_dump"):
            await store.backup(tmp_path / "copy")
        await store.close()
        with pytest.raises(OstinatoError, match="closed"):
            await add(store)

    run(work())
    assert os.listdir(tmp_path) == []


def test_a_claim_of_what_cannot_be_claimed_any_more_writes_nothing_at_all(database: str) -> None:
    async def work() -> None:
        store = open_postgres(database)
        request = ClaimRequest(node=1, most=9)
        await store.run(lambda tx: tx.start_node(pid=1, host="x", version="0", lease_s=60.0, exclusive=True, now=NOW))
        assert await store.run(lambda tx: tx.claim(request, now=NOW)) == []
        gone, there = await add(store), await add(store)
        with psycopg.connect(database, autocommit=True) as connection:
            connection.execute("UPDATE tasks SET state = 'blocked' WHERE id = %s", (gone.id,))  # past every rule
        with pytest.raises(Internal, match="claim_task"):
            await store.run(lambda tx: tx.claim(request, now=NOW))
        assert await store.read(lambda reads: [*reads.attempts(gone.id), *reads.attempts(there.id)]) == []
        assert [each.id for each in await store.run(lambda tx: tx.claim(request, now=NOW))] == [there.id]
        await store.close()

    run(work())
