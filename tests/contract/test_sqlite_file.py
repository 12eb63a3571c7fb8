"""What is particular to a store in a file: whose it is, which version wrote it, full disks, broken files, copies."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import stat
from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any, Literal

import pytest

from ostinato.domain.errors import Conflict, Exhausted, Internal, Invalid, NotFound, OstinatoError
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import NewTask, Task, TaskKind
from ostinato.store.port import ClaimRequest, EventFilter, Node, TaskFilter, Tx
from ostinato.store.sqlite import SqliteStore, open_store, restore
from ostinato.store.sqlite.migrations import APPLICATION_ID, migrate, migrations, statements
from tests.conftest import run

NOW = 1_800_000_000_000_000


async def add(store: SqliteStore, title: str = "a task", **more: Any) -> Task:
    new = NewTask(kind=TaskKind.RUN, title=title, **more)
    return await store.run(lambda tx: tx.add_task(new, now=NOW))


async def titles(store: SqliteStore) -> list[str]:
    tasks = await store.read(lambda reads: reads.tasks(TaskFilter(), limit=10_000))
    return [task.title for task in reversed(tasks)]


def mode_of(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def beside(path: Path) -> list[str]:
    """Files whose name begins like this one's."""
    return [each.name for each in path.parent.iterdir() if each.name.startswith(path.name[:4])]


@pytest.mark.parametrize("alone", [True, False])
def test_leases_do_not_outlast_a_restart_of_the_machine(tmp_path: Path, alone: bool) -> None:
    """The clock of leases begins anew then: the old ones seem to run for as long as the machine did."""

    async def work() -> None:
        store = open_store(tmp_path / ".ostinato")
        begin = partial(_begin_node, lease_s=1e6)
        node = await store.run(begin)
        task = await add(store)
        await store.run(lambda tx: tx.claim(ClaimRequest(node=node.id), now=NOW))
        assert await store.run(lambda tx: tx.rescue(now=NOW)) == 0
        with contextlib.closing(sqlite3.connect(tmp_path / ".ostinato" / "ostinato.db")) as other:
            other.execute("UPDATE nodes SET boot = 'an earlier one'")
            other.commit()
        if alone:
            assert await store.run(lambda tx: tx.rescue(now=NOW)) == 1
        else:
            await store.run(begin)
        assert (await store.read(lambda reads: reads.task(task.id))).losses == 1
        await store.close()

    run(work())


def _begin_node(tx: Tx, *, lease_s: float) -> Node:
    return tx.start_node(pid=1, host="here", version="1", lease_s=lease_s, exclusive=False, now=NOW)


# --- whose it is ------------------------------------------------------------------------------------------------------


def test_what_it_makes_is_open_to_its_owner_alone(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "deep" / ".ostinato")
        await add(store)
        assert store.path is not None
        assert mode_of(store.path.parent) == 0o700
        assert {mode_of(each) for each in store.path.parent.iterdir()} == {0o600}
        assert len(list(store.path.parent.iterdir())) == 3
        await store.close()

    run(work())


@pytest.mark.parametrize("mode", [0o777, 0o750, 0o705, 0o701])
def test_a_directory_that_others_may_enter_is_refused_with_the_cure(tmp_path: Path, mode: int) -> None:
    directory = tmp_path / ".ostinato"
    directory.mkdir()
    directory.chmod(mode)
    with pytest.raises(Invalid) as refusal:
        open_store(directory)
    assert f"{mode:04o}" in str(refusal.value)
    assert f"chmod 700 {directory}" in str(refusal.value)
    assert list(directory.iterdir()) == []


def test_a_file_where_the_directory_should_be_is_refused(tmp_path: Path) -> None:
    (tmp_path / ".ostinato").write_text("")
    with pytest.raises(Invalid):
        open_store(tmp_path / ".ostinato")


# --- which version wrote it -------------------------------------------------------------------------------------------


def test_a_newer_schema_is_refused_in_clear_words(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        await add(store, "kept")
        await store.close()
        assert store.path is not None
        with sqlite3.connect(store.path) as connection:
            connection.execute("PRAGMA user_version = 999")
        connection.close()
        with pytest.raises(Conflict, match=r"schema 999.*newer version"):
            open_store(tmp_path / "s")

    run(work())


def test_the_database_of_another_program_is_left_alone(tmp_path: Path) -> None:
    directory = tmp_path / "s"
    directory.mkdir(mode=0o700)
    with sqlite3.connect(directory / "ostinato.db") as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    with pytest.raises(Invalid, match="something else"):
        open_store(directory)
    (directory / "ostinato.db").unlink()
    (directory / "ostinato.db").write_text("This is no database, but it is long enough to be looked at. " * 20)
    with pytest.raises(Invalid, match="no database"):
        open_store(directory)


def test_a_store_is_found_again_as_it_was(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        task = await add(store, "kept")
        await store.close()
        assert store.path is not None
        assert [each.name for each in store.path.parent.iterdir()] == ["ostinato.db"], "the log is gone when closed"
        again = open_store(tmp_path / "s")
        assert await again.read(lambda reads: reads.task(task.id)) == task
        assert (await add(again, "next")).id == task.id + 1
        await again.close()

    run(work())


def test_migrations_are_numbered_without_gaps_and_all_or_nothing(tmp_path: Path) -> None:
    files = next(iter(migrations().values())).parent.glob("*.sql")
    assert sorted(int(each.name[:3]) for each in files) == list(range(1, len(migrations()) + 1)), "two of one number?"
    (tmp_path / "001_good.sql").write_text("-- Good.\nCREATE TABLE a (x INTEGER) STRICT;\n")
    (tmp_path / "002_bad.sql").write_text("-- Bad.\nCREATE TABLE b (x INTEGER) STRICT;\nCREATE TABLE a (x INTEGER);\n")
    connection = sqlite3.connect(":memory:", isolation_level=None)
    with pytest.raises(sqlite3.OperationalError):
        migrate(connection, place="memory", folder=tmp_path)
    assert connection.execute("SELECT name FROM sqlite_schema").fetchall() == [("a",)]
    assert connection.execute("PRAGMA user_version").fetchone() == (1,)
    assert connection.execute("PRAGMA application_id").fetchone() == (APPLICATION_ID,)
    connection.close()


def test_a_script_is_split_where_its_statements_end() -> None:
    text = "-- x; y\nCREATE TABLE a (b TEXT DEFAULT ';');\n\n-- z\nCREATE TRIGGER t AFTER INSERT ON a BEGIN\n"
    text += "  DELETE FROM a;\nEND;\n-- the end\n"
    assert len(statements(text)) == 2


# --- full disks -------------------------------------------------------------------------------------------------------


def fill(store: SqliteStore, pages: int) -> None:
    """Leaves room for so many more pages."""
    connection = store._writer._connection
    used = connection.execute("PRAGMA page_count").fetchone()[0]
    connection.execute(f"PRAGMA max_page_count = {used + pages}")


def make_room(store: SqliteStore) -> None:
    store._writer._connection.execute("PRAGMA max_page_count = 1000000000")


def test_a_full_disk_refuses_and_goes_on_when_there_is_room(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        heard: list[Event] = []
        store.subscribe(heard.extend)
        await add(store, "before")
        fill(store, 2)
        refused: list[OstinatoError] = []
        accepted = ["before"]
        for number in range(20):
            try:
                await add(store, str(number), project="x" * 4_000)
                accepted.append(str(number))
            except Exhausted as error:
                refused.append(error)
        assert len(refused) >= 10
        assert "disk is full" in str(refused[0])
        assert await titles(store) == accepted, "what was acknowledged is there, what was refused is not"
        assert await store.check() == "ok"
        make_room(store)
        await add(store, "after")
        assert await titles(store) == [*accepted, "after"]
        (told,) = await store.read(lambda reads: reads.events(EventFilter(names=frozenset({EventName.DISK_FULL}))))
        assert str(len(refused)) in told.reason
        assert heard == await store.read(lambda reads: reads.events(EventFilter()))
        await store.close()

    run(work())


def test_a_full_disk_refuses_the_whole_crowd_and_keeps_nothing_of_it(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        await add(store, "before")
        fill(store, 1)
        results = await asyncio.gather(
            *(add(store, str(number), project="x" * 2_000) for number in range(50)), return_exceptions=True
        )
        assert all(isinstance(result, Exhausted) for result in results)
        assert len({id(result) for result in results}) == 50, "each caller has an error of its own"
        assert await titles(store) == ["before"]
        make_room(store)
        assert (await add(store, "after")).id == 2
        await store.close()

    run(work())


def test_a_function_that_hides_a_full_disk_is_refused_all_the_same(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        fill(store, 0)

        def hides(tx: Tx) -> str:
            try:
                tx.put_blob(b"x" * 100_000, now=NOW)
            except Exhausted:
                return "fine"
            return "really fine"

        with pytest.raises(Exhausted):
            await store.run(hides)
        await store.close()

    run(work())


def test_nothing_is_written_behind_a_full_disk_that_a_function_hides(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        fill(store, 0)

        def hides(tx: Tx) -> None:
            tx.set_setting("before", "x")
            with contextlib.suppress(Exhausted):
                tx.put_blob(b"x" * 100_000, now=NOW)
            tx.set_setting("behind", "x")  # SQLite has undone the transaction by itself: this one would stand alone

        with pytest.raises(Exhausted):
            await store.run(hides)
        names = ("before", "behind")
        assert await store.read(lambda reads: [reads.setting(name) for name in names]) == [None, None]
        await store.close()

    run(work())


# --- broken files -----------------------------------------------------------------------------------------------------


class FailingSync:
    """Reports a failed fsync at one commit, as SQLite does."""

    def __init__(self, commit: int) -> None:
        self.commit = commit

    def __call__(self, when: Literal["before", "after"], commit: int) -> None:
        if (when, commit) == ("before", self.commit):
            error = sqlite3.OperationalError("disk I/O error")
            error.sqlite_errorcode = sqlite3.SQLITE_IOERR_FSYNC
            error.sqlite_errorname = "SQLITE_IOERR_FSYNC"
            raise error


def test_a_failed_fsync_closes_the_store_for_good(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s", hook=FailingSync(2))
        await add(store, "before")
        results = await asyncio.gather(*(add(store, "lost") for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, Internal) and "FSYNC" in str(result) for result in results)
        for _ in range(2):
            with pytest.raises(Internal, match="FSYNC"):
                await add(store, "later")
        with pytest.raises(Internal, match="FSYNC"):
            await titles(store)
        await store.close()
        again = open_store(tmp_path / "s")
        assert await titles(again) == ["before"]
        await again.close()

    run(work())


def test_a_mistake_in_the_writer_itself_leaves_nobody_waiting(tmp_path: Path) -> None:
    def broken(when: str, commit: int) -> None:
        raise KeyError(when)

    async def work() -> None:
        store = open_store(tmp_path / "s", hook=broken)
        results = await asyncio.gather(*(add(store) for _ in range(5)), return_exceptions=True)
        assert all(isinstance(result, Internal) for result in results)
        await store.close()

    run(work())


def test_a_closed_store_says_so(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        await add(store)
        await store.close()
        for attempt in (add(store), titles(store), store.check(), store.backup(tmp_path / "b")):
            with pytest.raises(Internal, match="closed"):
                await attempt
        await store.close()

    run(work())


def test_what_was_handed_in_before_the_end_is_still_done(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")
        tasks = [asyncio.ensure_future(add(store, str(number))) for number in range(50)]
        await asyncio.sleep(0)
        await store.close()
        assert len(await asyncio.gather(*tasks)) == 50
        again = open_store(tmp_path / "s")
        assert len(await titles(again)) == 50
        await again.close()

    run(work())


# --- copies -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("memory", [True, False])
def test_a_backup_taken_while_writing_is_a_whole_store(tmp_path: Path, memory: bool) -> None:
    async def work() -> None:
        store = open_store(None if memory else tmp_path / "s")
        await asyncio.gather(*(add(store, str(number)) for number in range(100)))
        copy = tmp_path / "copy.db"
        size, *_ = await asyncio.gather(store.backup(copy), *(add(store, str(number)) for number in range(100, 200)))
        assert size == copy.stat().st_size
        assert mode_of(copy) == 0o600
        assert beside(copy) == ["copy.db"]
        with pytest.raises(Conflict, match="never overwrites"):
            await store.backup(copy)
        assert restore(copy, tmp_path / "t") == max(migrations())
        again = open_store(tmp_path / "t")
        found = await titles(again)
        assert found == [str(number) for number in range(len(found))]
        assert len(found) >= 100
        assert await again.check() == "ok"
        await add(again, "goes on")
        await again.close()
        await store.close()

    run(work())


@pytest.mark.slow
def test_a_restore_verifies_before_it_touches_anything(tmp_path: Path) -> None:
    async def make() -> Path:
        store = open_store(tmp_path / "s")
        for number in range(300):
            await add(store, str(number), project="y" * 500)
        await store.backup(tmp_path / "good.db")
        await store.close()
        return tmp_path / "good.db"

    good = run(make())
    damaged = tmp_path / "damaged.db"
    data = bytearray(good.read_bytes())
    data[8 * 4096 : 20 * 4096] = b"\xff" * (12 * 4096)
    damaged.write_bytes(bytes(data))
    foreign = tmp_path / "foreign.db"
    with sqlite3.connect(foreign) as connection:
        connection.execute("CREATE TABLE theirs (x)")
    connection.close()
    text = tmp_path / "text.db"
    text.write_text("no database " * 1_000)
    empty = tmp_path / "empty.db"
    empty.touch()
    for file in (damaged, foreign, text, empty):
        with pytest.raises(Invalid):
            restore(file, tmp_path / "t")
        assert list((tmp_path / "t").iterdir()) == [], file
    with pytest.raises(NotFound):
        restore(tmp_path / "none.db", tmp_path / "t")
    with pytest.raises(Conflict, match="already"):
        restore(good, tmp_path / "s")
    restore(good, tmp_path / "t")
    (tmp_path / "t" / "ostinato.db").unlink()
    (tmp_path / "t" / "ostinato.db-wal").touch()
    with pytest.raises(Conflict, match="wal"):
        restore(good, tmp_path / "t")


@pytest.mark.slow
def test_a_check_finds_a_damaged_file(tmp_path: Path) -> None:
    async def work() -> str:
        store = open_store(tmp_path / "s")
        for number in range(300):
            await add(store, str(number), project="y" * 500)
        await store.close()
        assert store.path is not None
        data = bytearray(store.path.read_bytes())
        data[8 * 4096 : 20 * 4096] = b"\xff" * (12 * 4096)
        store.path.write_bytes(bytes(data))
        again = open_store(tmp_path / "s")
        found = await again.check()
        await again.close()
        return found

    assert run(work()) != "ok"


# --- the log ----------------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_the_log_is_moved_into_the_file_again_and_again(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path / "s")

        def many(tx: Tx) -> None:
            for number in range(500):
                tx.add_task(NewTask(kind=TaskKind.RUN, title=str(number), project="z" * 1_000), now=NOW)

        largest = 0
        for _ in range(30):
            await store.run(many)
            largest = max(largest, (await store.read(lambda reads: reads.size()))["wal"])
        size = await store.read(lambda reads: reads.size())
        assert size["database"] > 10_000_000
        assert largest < 20_000_000, "the log does not grow with the database"
        await store.close()

    run(work())


def test_a_listener_that_left_hears_nothing_and_two_loops_each_hear_their_own(tmp_path: Path) -> None:
    heard: list[Sequence[Event]] = []

    async def work() -> None:
        store = open_store(tmp_path / "s")
        stop = store.subscribe(heard.append)
        await add(store)
        await asyncio.to_thread(lambda: asyncio.run(elsewhere(store)))
        await add(store)
        stop()
        await add(store)
        await store.close()

    async def elsewhere(store: SqliteStore) -> None:
        assert (await add(store, "from another loop")).title == "from another loop"

    run(work())
    assert [event.id for events in heard for event in events] == [1, 2, 3]
