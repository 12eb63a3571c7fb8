"""The store of a fleet of several nodes: one writing connection of each, a few reading ones, and a bell.

Composes the writer's thread with a small pool of readers, each over its own snapshot. Knows nothing of tasks.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from ostinato.domain.errors import Internal, Invalid
from ostinato.store.examination import Examinable, Remark
from ostinato.store.port import Listener, Reads, Store, StoreAway, Tx
from ostinato.store.postgres.address import Address
from ostinato.store.postgres.bell import Bell
from ostinato.store.postgres.checks import check, copies
from ostinato.store.postgres.connecting import patiently
from ostinato.store.postgres.database import SETTINGS, PostgresDatabase
from ostinato.store.postgres.migrations import migrate
from ostinato.store.postgres.statements import queries
from ostinato.store.postgres.wire import Statement, Wire
from ostinato.store.postgres.writer import ROLLBACK, STALL_S, CommitHook, Writer
from ostinato.store.verbs.transaction import snapshot

T = TypeVar("T")

READERS: Final = 2
"""Reading connections of a node; as many as the smallest machine has cores."""
BEGIN_READING: Final = Statement("begin reading", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")


class PostgresStore:
    """A store in a PostgreSQL database; satisfies `ostinato.store.port.Store`."""

    def __init__(self, address: Address, wire: Wire, *, hook: CommitHook | None, settings: Sequence[str]) -> None:
        self.address = address
        self._settings = settings
        self._queries = queries()
        self._writer = Writer(PostgresDatabase(wire, self._queries), self._connect, hook=hook)
        self._bell = Bell(self._connect, self._writer.orders.nudge, name=self._writer.name)
        self._pool = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="ostinato-reader")
        self._local = threading.local()
        self._readers: list[PostgresDatabase] = []
        self._is_closed = False

    async def run(self, fn: Callable[[Tx], T]) -> T:
        """Runs `fn` in a savepoint of a group commit; returns when it is on disk. See `ostinato.store.port.Store`."""
        result: T = await self._writer.orders.run(fn)
        return result

    async def read(self, fn: Callable[[Reads], T]) -> T:
        """Runs `fn` over one snapshot."""
        return await self._on_reader(lambda database: _over_snapshot(database, fn))

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener, which hears of every node's commits."""
        self._bell.start()
        return self._writer.orders.subscribe(listener)

    def run_along(self, fn: Callable[[Tx], T], then: Callable[[T, bool], None]) -> Callable[[], None]:
        """Never does: whoever adds a task would get it, and other nodes stood idle."""
        return lambda: None

    async def backup(self, target: Path) -> int:
        """Refused: a server is copied by its own means, also while nodes run."""
        raise Invalid(
            "A store in PostgreSQL is backed up by PostgreSQL's own means",
            cure=f"pg_dump --format=custom --file={target} DATABASE; pg_restore puts it back.",
        )

    async def check(self) -> str:
        """Whether the counters say what is there: `ok`, or what is wrong."""
        return await self._on_reader(check)

    async def examine(self) -> Sequence[Remark]:
        """What the server is set up for: who follows it, and whether commits wait for them."""
        return [await self._on_reader(copies)]

    async def close(self) -> None:
        """Performs what was handed in, and closes every connection. Twice is fine."""
        if self._is_closed:
            return
        self._is_closed = True
        await asyncio.to_thread(self._bell.stop)
        await asyncio.to_thread(self._pool.shutdown)
        for reader in self._readers:
            reader.wire.close()
        self._readers.clear()
        await self._writer.close()

    def _connect(self) -> Wire:
        return Wire(self.address, settings=self._settings)

    async def _on_reader(self, fn: Callable[[PostgresDatabase], T]) -> T:
        closed = self._writer.orders.closed
        if self._is_closed or closed is not None:
            raise Internal("The store is closed", cure="Open it again.")
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._with_reader, fn)

    def _with_reader(self, fn: Callable[[PostgresDatabase], T]) -> T:
        """Runs on a reading thread, with that thread's own connection; a second time where it was lost."""
        database: PostgresDatabase | None = getattr(self._local, "database", None)
        if database is None:
            database = self._local.database = PostgresDatabase(patiently(self._connect), self._queries)
            self._readers.append(database)
        try:
            if database.wire.is_open:
                return fn(database)
        except StoreAway:
            pass  # nothing is lost by reading it again
        database.wire = patiently(self._connect)
        return fn(database)


def _over_snapshot(database: PostgresDatabase, fn: Callable[[Reads], T]) -> T:
    database.wire.put(BEGIN_READING)
    try:
        return fn(snapshot(database))
    finally:
        if database.wire.is_open:
            database.wire.put(ROLLBACK)
            database.wire.sync()


def open_postgres(
    url: str, *, password_env: str | None = None, hook: CommitHook | None = None, stall_s: float = STALL_S
) -> PostgresStore:
    """Opens or makes the store in a PostgreSQL database that is its own.

    `url` is `postgresql://user@host:port/database`, without a password: that is read from the environment variable
    `password_env`, or by libpq from PGPASSFILE. `stall_s`: a node that stops in the middle of a commit holds the others
    up for so long. Raises Invalid for a wrong URL or another program's database, Conflict where a newer version has
    written it, StoreAway (Exhausted) where the server does not answer. `hook` is told of each commit.
    """
    address = Address(url, password_env=password_env)
    settings = (*SETTINGS, f"SET idle_in_transaction_session_timeout = '{round(stall_s * 1_000)}ms'")
    wire = Wire(address, settings=settings)
    try:
        migrate(wire, place=str(address))
        return PostgresStore(address, wire, hook=hook, settings=settings)
    except BaseException:  # whatever it was: no connection stays behind
        wire.close()
        raise


def _proof(store: PostgresStore) -> tuple[Store, Examinable]:
    """The type checker's proof that nothing of the ports is missing."""
    return store, store
