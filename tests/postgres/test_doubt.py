"""A commit whose answer was lost: whether it stands is known, whoever has written since, whatever a server forgot."""

from __future__ import annotations

from typing import Literal

import psycopg
import pytest

from ostinato.domain.errors import Internal
from ostinato.domain.task import NewTask, TaskKind
from ostinato.store.port import TaskFilter
from ostinato.store.postgres import PostgresStore, open_postgres, writer
from tests.conftest import run
from tests.postgres.server import Server

NOW = 1_800_000_000_000_000


async def add(store: PostgresStore, title: str) -> None:
    new = NewTask(kind=TaskKind.RUN, title=title)
    await store.run(lambda tx: tx.add_task(new, now=NOW))


async def titles(store: PostgresStore) -> list[str]:
    return [task.title for task in await store.read(lambda reads: reads.tasks(TaskFilter(), limit=10_000))]


@pytest.mark.slow
def test_whether_a_commit_stands_is_known_until_its_signature_may_be_forgotten(database: str) -> None:
    async def work() -> None:
        store, other = open_postgres(database), open_postgres(database)
        await add(store, "mine")
        mine, asked = store._writer._number, store._writer._was_committed
        await add(other, "another's")
        assert asked(mine)
        assert not asked(mine + 1), "that commit is another's"
        assert not asked(mine + 2), "there is none"
        with psycopg.connect(database, autocommit=True) as connection:
            much_later = mine + writer.SIGNATURES_KEPT + 2 * writer.FORGET_EVERY
            before_it_forgets = much_later - much_later % writer.FORGET_EVERY - 1
            connection.execute("UPDATE ostinato_store SET commits = %s", [before_it_forgets])
        late = open_postgres(database)
        await add(late, "long after")
        with pytest.raises(Internal, match="what became of it"):
            asked(mine)
        for each in (store, other, late):
            await each.close()

    run(work())


@pytest.mark.slow
def test_a_number_that_a_crashed_server_gives_out_again_is_not_taken_for_ones_own(
    server: Server, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What a server had not flushed is gone after a crash, and the number of that transaction is the next one's."""
    del server  # only to skip where there is none
    monkeypatch.setattr(writer, "RECONNECT_S", 60.0)  # however long a start takes here
    own = Server.make()
    own.start()
    try:
        url = own.make_database()
        crashes: list[int] = []

        async def go_on_elsewhere() -> None:
            other = open_postgres(url)
            for number in range(3):
                await add(other, f"other {number}")
            await other.close()

        def crash(moment: Literal["before", "after"], number: int) -> None:
            if (moment, number) == ("before", 2) and not crashes:
                crashes.append(number)
                own.stop("immediate")
                own.start()
                run(go_on_elsewhere())

        async def work() -> None:
            store = open_postgres(url, hook=crash)
            await add(store, "first")
            await add(store, "second")
            assert sorted(await titles(store)) == ["first", "other 0", "other 1", "other 2", "second"]
            await store.close()

        run(work(), timeout_s=60.0)
    finally:
        own.stop_if_running()
        own.remove()
