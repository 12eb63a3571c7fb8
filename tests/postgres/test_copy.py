"""A fleet moves from SQLite to PostgreSQL and back: everything is there again, and nothing is copied half."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import psycopg
import pytest

from ostinato.app import copy_here
from ostinato.domain.errors import Conflict, Internal, Invalid, NotFound
from ostinato.domain.ledger import Charge
from ostinato.domain.message import NewMessage
from ostinato.domain.question import NewQuestion, QuestionKind
from ostinato.domain.step import Note
from ostinato.domain.task import Fail, NewTask, TaskKind, TaskSpec
from ostinato.domain.values import Source
from ostinato.engine.lock import FleetLock
from ostinato.store.port import ClaimRequest, ScheduleRow, Store, Tx
from ostinato.store.postgres import open_postgres
from ostinato.store.postgres.shelf import PostgresShelf, shelf_in
from ostinato.store.shelf import Shelf
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.shelf import DRAFTS, shelf_to_read
from ostinato.store.verbs.database import Row
from ostinato.testing.contract.scene import claim_of, done
from tests.conftest import run
from tests.gateway.ground import make_fleet

NOW = 1_800_000_000_000_000
ODD = "ümlaut 🎵 \t\n\\N 'quoted' \\x00"


async def live(store: Store) -> None:
    """Something in every table that a life fills; its node is killed in the middle of a task."""

    def begin(tx: Tx) -> None:
        node = tx.start_node(pid=1, host="here", version="1", lease_s=60.0, exclusive=True, now=NOW)
        long = TaskSpec(goal="long " * 2_000)
        first = tx.add_task(NewTask(kind=TaskKind.GOAL, title=ODD, agent="a", priority=9, spec=long, key="k"), now=NOW)
        tx.add_task(NewTask(kind=TaskKind.GOAL, title="held", agent="a", after=(first.id,)), now=NOW)
        tx.add_task(NewTask(kind=TaskKind.RUN, title="dead", agent="b", priority=8), now=NOW)
        for outcome in (done(ODD), Fail(error="broken")):
            (task,) = tx.claim(ClaimRequest(node=node.id), now=NOW)
            tx.record_steps(claim_of(task), [Note(text=ODD)], now=NOW)
            tx.finish(claim_of(task), outcome, now=NOW)
        (task,) = tx.claim(ClaimRequest(node=node.id), now=NOW)
        tx.record_steps(claim_of(task), [Note(text="under way")], now=NOW)
        tx.ask(NewQuestion(kind=QuestionKind.ASK, text="?", agent="a", task=task.id, session="", call_id="1"), now=NOW)
        spent = Charge(
            task=task.id, agent="a", session="", trigger="operator", call=1, provider="p", model="m", status=200,
            usd_micros=None, duration_ms=0.125,
        )  # fmt: skip
        tx.charge(spent, now=NOW)
        tx.reserve(agent="a", usd_micros=5, limit_usd_micros=None, fleet_limit_usd_micros=None, now=NOW)
        tx.append_message("main:a", NewMessage(text=ODD, source=Source.OPERATOR, client_id="c"), agent="a", now=NOW)
        tx.put_schedule(ScheduleRow(name="s", agent="a", rule={"every": "1h"}, next_at=NOW + 5), now=NOW)
        tx.set_flag("agent:b", "paused", actor="ann", reason=ODD, now=NOW)
        tx.put_blob(bytes(range(256)) * 40, now=NOW)
        tx.set_setting("name", "value")

    await store.run(begin)
    await store.close()


def fleet_in(folder: Path, *, url: str = "") -> Path:
    """A fleet's folder, with a store in this database, or in its own."""
    fleet = make_fleet(folder)
    if url:
        file = fleet / "ostinato.toml"
        file.write_text(f'{file.read_text()}\n[store]\nurl = "{url}"\n')
    (fleet / ".ostinato").mkdir(mode=0o700, exist_ok=True)
    return fleet


def all_of(opened: Shelf) -> dict[str, list[Row]]:
    """Every row."""
    return {table: list(opened.rows(table)) for table in opened.tables()}


def here(fleet: Path) -> dict[str, list[Row]]:
    """What is in a fleet's own folder."""
    with shelf_to_read(fleet / ".ostinato") as opened:
        return all_of(opened)


def there(url: str) -> dict[str, list[Row]]:
    """What is in a database."""
    with shelf_in(url, password_env=None) as opened:
        return all_of(opened)


@pytest.mark.slow
def test_a_fleet_moves_to_postgresql_and_back_with_everything(own_database: str, tmp_path: Path) -> None:
    first, second = fleet_in(tmp_path / "first"), fleet_in(tmp_path / "second", url=own_database)
    run(live(open_store(first / ".ostinato")))
    before = here(first)
    filled = {table for table, rows in before.items() if rows}
    assert filled >= {"tasks", "task_documents", "dependencies", "attempts", "steps", "messages", "questions", "events"}
    assert filled >= {"charges", "accounts", "schedules", "nodes", "flags", "blobs", "settings", "tallies", "totals"}
    counts = copy_here(first, own_database, password_env=None)
    assert counts == {table: len(rows) for table, rows in before.items()}
    assert there(own_database) == before
    with psycopg.connect(own_database) as connection:
        unknown = "SELECT relname FROM pg_class WHERE relname = ANY(%s) AND reltuples < 0"
        assert connection.execute(unknown, [list(filled)]).fetchall() == [], "its planner knows what came"
    assert copy_here(second, "sqlite", password_env=None) == counts
    assert here(second) == before
    assert [each.name for each in (second / ".ostinato").glob("*.db*")] == ["ostinato.db"]


@pytest.mark.slow
def test_work_goes_on_where_it_was_moved_to(own_database: str, tmp_path: Path) -> None:
    fleet = fleet_in(tmp_path)
    run(live(open_store(fleet / ".ostinato")))
    copy_here(fleet, own_database, password_env=None)

    async def go_on() -> None:
        store = open_postgres(own_database)

        def work(tx: Tx) -> None:
            node = tx.start_node(pid=2, host="there", version="1", lease_s=60.0, exclusive=False, now=NOW)
            tx.rescue(now=NOW)
            task = next(each for each in tx.claim(ClaimRequest(node=node.id, most=9), now=NOW) if each.title == "held")
            assert task.token == 2, "what its dead node held is claimed anew"
            tx.record_steps(claim_of(task), [Note(text="there")], now=NOW)
            tx.finish(claim_of(task), done(), now=NOW)
            assert tx.blob(tx.put_blob(bytes(range(256)) * 40, now=NOW)) == bytes(range(256)) * 40
            assert tx.add_task(NewTask(kind=TaskKind.RUN, title="new"), now=NOW).id == 5

        await store.run(work)
        assert await store.check() == "ok"
        await store.close()

    run(go_on())


@pytest.mark.slow
def test_a_copy_is_refused_with_the_cure_and_leaves_nothing(own_database: str, tmp_path: Path) -> None:
    fleet, shared = fleet_in(tmp_path / "own"), fleet_in(tmp_path / "shared", url=own_database)
    for wrong, target in ((fleet, "sqlite"), (shared, own_database), (fleet, "mysql://x")):
        with pytest.raises((Invalid, NotFound)) as refusal:
            copy_here(wrong, target, password_env=None)
        assert refusal.value.cure
    run(live(open_store(fleet / ".ostinato")))
    with FleetLock(fleet / ".ostinato"), pytest.raises(Conflict):
        copy_here(fleet, own_database, password_env=None)
    run(live(open_postgres(own_database)))  # its node was killed just now
    with pytest.raises(Conflict, match="Node 1 on here runs"):
        copy_here(shared, "sqlite", password_env=None)
    forget_nodes(own_database)
    (shared / ".ostinato" / DRAFTS).mkdir()  # of a copy that was killed
    (shared / ".ostinato" / DRAFTS / "ostinato.db").write_bytes(b"half of it")
    with pytest.raises(Conflict, match="not empty"):
        copy_here(fleet, own_database, password_env=None)
    assert copy_here(shared, "sqlite", password_env=None)["tasks"] == 4
    assert not list((shared / ".ostinato").glob(f"{DRAFTS}*"))
    with psycopg.connect(own_database) as connection:
        open_ones = connection.execute("SELECT id FROM nodes WHERE ended_at IS NULL").fetchall()
        assert open_ones == [], "one that stands still does not go on with what was moved away"
    with pytest.raises(Conflict, match="There is a database already"):
        copy_here(shared, "sqlite", password_env=None)


def forget_nodes(url: str) -> None:
    """Their leases are over."""
    with psycopg.connect(url) as connection:
        connection.execute("UPDATE nodes SET lease_until = 0")


@pytest.mark.slow
def test_a_copy_that_comes_back_otherwise_is_noticed_and_undone(
    own_database: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    fleet, fill = fleet_in(tmp_path), PostgresShelf.fill
    run(live(open_store(fleet / ".ostinato")))

    def spoil(self: PostgresShelf, table: str, rows: Iterable[Row]) -> None:
        fill(self, table, rows)
        if table == "steps":
            self._connection.execute("UPDATE steps SET entry = entry || ' ' WHERE id = 2")

    monkeypatch.setattr(PostgresShelf, "fill", spoil)
    with pytest.raises(Internal, match="steps"):
        copy_here(fleet, own_database, password_env=None)
    assert not any(there(own_database).values()), "all of it or nothing"
