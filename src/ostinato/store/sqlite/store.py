"""The store: one writer, a few readers, one file.

Composes the writer's thread with a small pool of reading connections, each over its own snapshot. Knows nothing of
tasks.
"""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from ostinato.domain.errors import Internal, Invalid
from ostinato.store.port import Listener, Reads, Store, Tx
from ostinato.store.sqlite import copies
from ostinato.store.sqlite.database import SqliteDatabase, connect, meaning_of, queries
from ostinato.store.sqlite.directory import FILE_NAME, log_of, prepare_directory, settle_names, write_log_again
from ostinato.store.sqlite.migrations import migrate
from ostinato.store.sqlite.writer import CommitHook, Writer
from ostinato.store.verbs.transaction import snapshot

T = TypeVar("T")

READERS: Final = 2
"""Reading threads; as many as the smallest machine has cores."""


class SqliteStore:
    """A store in one SQLite file, or in memory; satisfies `ostinato.store.port.Store`."""

    writer: type[Writer] = Writer
    """What writes; a harness that owns all time has one without a thread."""

    def __init__(self, path: Path | None, writing: sqlite3.Connection, *, hook: CommitHook | None) -> None:
        self.path = path
        """The database file; None: in memory."""
        self._queries = queries()
        self._writer = self.writer(SqliteDatabase(writing, path, self._queries), hook=hook)
        self._pool = ThreadPoolExecutor(max_workers=READERS, thread_name_prefix="ostinato-reader")
        self._local = threading.local()
        self._readers: list[sqlite3.Connection] = []

    async def run(self, fn: Callable[[Tx], T]) -> T:
        """A function in the next group commit."""
        result: T = await self._writer.run(fn)
        return result

    async def read(self, fn: Callable[[Reads], T]) -> T:
        """One snapshot on a reading thread; in memory, a turn on the writer's."""
        if self.path is None:  # a database in memory has one connection
            result: T = await self._writer.run(fn)
            return result
        return await self._on_reader(lambda database: _over_snapshot(database, fn))

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener on the running loop; call the result to remove it."""
        return self._writer.subscribe(listener)

    def run_along(self, fn: Callable[[Tx], T], then: Callable[[T, bool], None]) -> Callable[[], None]:
        """A function in every commit that makes a task claimable; call the result to end it."""
        return self._writer.run_along(fn, then)

    async def backup(self, target: Path) -> int:
        """Raises Conflict where the target exists. The copy is complete in itself and readable by its owner only."""
        if self.path is None:
            size: int = await self._writer.apart(lambda connection: copies.copy_out(connection, target))
            return size
        return await self._on_reader(lambda database: copies.copy_out(database.connection, target))

    async def check(self) -> str:
        """SQLite's quick check: `ok`, or what is wrong, a line each."""
        if self.path is None:
            found: str = await self._writer.apart(copies.check)
            return found
        return await self._on_reader(lambda database: copies.check(database.connection))

    async def close(self) -> None:
        """Performs what was handed in, then closes readers and writer, in this order."""
        self._pool.shutdown(wait=False)
        await asyncio.to_thread(self._pool.shutdown)
        for connection in self._readers:
            connection.close()
        self._readers.clear()
        await self._writer.close()  # last, so that it is the writer who leaves the log behind clean

    async def _on_reader(self, fn: Callable[[SqliteDatabase], T]) -> T:
        if self._writer.closed is not None:
            raise Internal(self._writer.closed.message, cure=self._writer.closed.cure)
        return await asyncio.get_running_loop().run_in_executor(self._pool, self._with_reader, fn)

    def _with_reader(self, fn: Callable[[SqliteDatabase], T]) -> T:
        """Runs on a reading thread, with that thread's own connection."""
        database: SqliteDatabase | None = getattr(self._local, "database", None)
        try:
            if database is None:
                database = SqliteDatabase(connect(self.path, read_only=True), self.path, self._queries)
                self._local.database = database
                self._readers.append(database.connection)
            return fn(database)
        except sqlite3.Error as error:
            raise meaning_of(error) from error


def _over_snapshot(database: SqliteDatabase, fn: Callable[[Reads], T]) -> T:
    database.failed = None
    database.connection.execute("BEGIN")
    try:
        return fn(snapshot(database))
    finally:
        database.connection.execute("ROLLBACK")


def open_store(
    directory: Path | None,
    *,
    hook: CommitHook | None = None,
    alone: bool = False,
    kind: type[SqliteStore] = SqliteStore,
) -> SqliteStore:
    """Opens or makes the store in a state directory, which nobody but its owner may enter; None: in memory.

    Raises Invalid where the directory is open to others or holds another program's file, Conflict where a newer version
    has written it. `hook` is told of each commit; `kind`: for harnesses, which add to it. `alone`: the caller holds the
    fleet's lock, so that nobody else writes; what an earlier node could not bring to the disk is brought there now.
    """
    path: Path | None = None
    if directory is not None:
        prepare_directory(directory)
        path = directory / FILE_NAME
        if alone:
            write_log_again(path)
    is_new = path is not None and not log_of(path).exists()
    try:
        connection = connect(path)
        try:
            if path is not None:
                path.chmod(0o600)  # before the log is made, which takes over these rights
                connection.execute("PRAGMA journal_mode = WAL")
                connection.execute("PRAGMA synchronous = FULL")
                connection.execute("PRAGMA wal_autocheckpoint = 0")
            migrate(connection, place=str(path or "memory"))
            if directory is not None and is_new:
                settle_names(directory)
        except BaseException:  # whatever it was: no connection stays behind
            connection.close()
            raise
    except sqlite3.Error as error:
        if getattr(error, "sqlite_errorcode", 0) == sqlite3.SQLITE_NOTADB:
            raise Invalid("This is no database", place=str(path), cure="Restore a backup, or move it away.") from error
        raise meaning_of(error) from error
    return kind(path, connection, hook=hook)


def _proof(store: SqliteStore) -> Store:
    """The type checker's proof that nothing of the port is missing."""
    return store
