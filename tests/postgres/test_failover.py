"""A copy takes over that lagged behind: what was lost stays lost, and what came from that past changes nothing."""

from __future__ import annotations

from collections.abc import Iterator
from urllib.parse import urlsplit

import psycopg
import pytest

from ostinato.domain.errors import Fenced
from ostinato.domain.task import NewTask, Task, TaskKind, claim_number
from ostinato.store.port import Claim, ClaimRequest, Node
from ostinato.store.postgres import PostgresStore, lineage, open_postgres, writer
from ostinato.testing.contract.scene import done
from tests.conftest import run, wait_until
from tests.postgres.server import USER, Server

NOW = 1_800_000_000_000_000


class Pair:
    """A primary and its copy, which follows without the primary waiting for it."""

    def __init__(self, primary: Server, copy: Server) -> None:
        self.primary = primary
        self.copy = copy
        database = primary.make_database().split("/")[3].split("?")[0]
        self.url = f"postgresql://{USER}@/{database}?host={primary.folder},{copy.folder}"

    def wait_copied(self) -> None:
        """Returns when the copy has everything."""
        with psycopg.connect(self.primary.url("postgres"), autocommit=True) as connection:
            row = connection.execute("SELECT pg_current_wal_flush_lsn()").fetchone()
        assert row is not None
        with psycopg.connect(self.copy.url("postgres"), autocommit=True) as connection:
            question = "SELECT pg_last_wal_replay_lsn() >= %s::pg_lsn"
            wait_until(lambda: connection.execute(question, row).fetchone() == (True,))

    def fail_over(self) -> None:
        """The copy becomes the primary; it has not seen what came after it was stopped."""
        self.primary.stop("immediate")
        self.copy.start()
        self.copy.promote()


@pytest.fixture
def pair(server: Server) -> Iterator[Pair]:
    """Two servers of this test alone."""
    del server  # only to skip where there is none
    primary = Server.make()
    primary.start()
    copy = primary.copy()
    copy.start()
    yield Pair(primary, copy)
    for each in (primary, copy):
        each.stop_if_running()
        each.remove()


async def begin(store: PostgresStore) -> Node:
    """A node of this store."""
    return await store.run(
        lambda tx: tx.start_node(pid=1, host="here", version="1", lease_s=600.0, exclusive=False, now=NOW)
    )


async def claim(store: PostgresStore, node: Node) -> Task:
    """The only task that there is."""
    (task,) = await store.run(lambda tx: tx.claim(ClaimRequest(node=node.id), now=NOW))
    return task


async def claim_lose_and_finish(pair: Pair) -> tuple[Task, Task]:
    """A node claims a task, and its claim is lost with the primary; another claims it from the copy, and then the first
    finishes what it holds. Returns both claims; raises Fenced where the first is refused."""
    first = open_postgres(pair.url)
    node = await begin(first)
    await first.run(lambda tx: tx.add_task(NewTask(kind=TaskKind.GOAL, title="x"), now=NOW))
    pair.wait_copied()
    pair.copy.stop()
    lost = await claim(first, node)
    pair.fail_over()
    second = open_postgres(pair.url)
    try:
        taken = await claim(second, await begin(second))
        mine = Claim(task=lost.id, token=lost.token)
        await first.run(lambda tx: tx.finish(mine, done("a ghost"), now=NOW))
    finally:
        await first.close()
        await second.close()
    return lost, taken


@pytest.mark.slow
def test_a_claim_that_was_lost_in_a_failover_matches_no_later_one(pair: Pair) -> None:
    with pytest.raises(Fenced):
        run(claim_lose_and_finish(pair))

    async def look() -> None:
        store = open_postgres(pair.url)
        (attempt,) = await store.read(lambda reads: reads.attempts(1))
        assert claim_number(attempt.token) == 1
        assert 1 << 32 < attempt.token < 1 << 53
        await store.close()

    run(look())


@pytest.mark.slow
def test_the_harness_notices_an_epoch_that_does_not_rise(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    still = lineage.Lineage("always the same", 0)

    monkeypatch.setattr(writer, "learn", lambda database: still)
    lost, taken = run(claim_lose_and_finish(pair))
    assert lost.token == taken.token


@pytest.mark.slow
def test_what_a_lost_past_has_named_is_nobody_elses(pair: Pair) -> None:
    async def work() -> None:
        store = open_postgres(pair.url)
        await begin(store)
        pair.wait_copied()
        pair.copy.stop()
        kept = store._writer._number
        late = await begin(store)
        pair.fail_over()
        assert fate_of(store, kept)
        assert not fate_of(store, kept + 1)
        heir = await begin(store)
        assert heir.id > late.id
        assert not await store.run(lambda tx: tx.renew_node(late.id, lease_s=60.0)), "a node that is not known ends"
        await store.close()

    run(work())


def fate_of(store: PostgresStore, number: int) -> bool:
    """What the writer finds out about a commit whose answer the failover has cut off."""
    store._writer._database.wire.close()
    return store._writer._was_committed(number)


@pytest.mark.slow
def test_a_backup_that_is_put_back_into_the_same_server_is_another_past(server: Server, own_database: str) -> None:
    url, name = own_database, urlsplit(own_database).path[1:]

    async def claim_one() -> Task:
        store = open_postgres(url)
        task = await claim(store, await begin(store))
        await store.close()
        return task

    async def work() -> tuple[Task, Task]:
        store = open_postgres(url)
        await store.run(lambda tx: tx.add_task(NewTask(kind=TaskKind.GOAL, title="x"), now=NOW))
        await store.close()
        with psycopg.connect(server.url("postgres"), autocommit=True) as connection:
            connection.execute(f"CREATE DATABASE {name}_kept TEMPLATE {name}".encode())
            lost = await claim_one()
            connection.execute(f"DROP DATABASE {name} WITH (FORCE)".encode())
            connection.execute(f"ALTER DATABASE {name}_kept RENAME TO {name}".encode())
        return lost, await claim_one()

    lost, taken = run(work())
    assert lost.token != taken.token


@pytest.mark.slow
def test_doctor_says_whether_commits_wait_for_the_copies(pair: Pair) -> None:
    async def level() -> str:
        store = open_postgres(pair.url)
        (remark,) = await store.examine()
        assert (remark.level == "ok") == (not remark.cure)
        await store.close()
        return f"{remark.level}: {remark.text}"

    assert run(level()) == "warn: commits do not wait for walreceiver: a failover may lose what was acknowledged"
    pair.primary.configure({"synchronous_standby_names": "ANY 1 (*)"})
    pair.primary.reload()
    wait_until(lambda: run(level()) == "ok: walreceiver has everything before it is acknowledged")
    pair.copy.stop()
    wait_until(lambda: run(level()).startswith("bad: commits wait for"))
    pair.primary.configure({"synchronous_standby_names": ""})
    pair.primary.reload()
    wait_until(lambda: run(level()) == "ok: none: what this server has is all there is")
