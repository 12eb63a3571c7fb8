"""One SQLite connection as the verbs see it, and what the errors of SQLite mean.

Knows nothing of threads: whoever holds the connection sees to it that only one uses it at a time.
"""

from __future__ import annotations

import functools
import os
import sqlite3
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

from ostinato.domain.errors import Exhausted, Internal, OstinatoError
from ostinato.domain.task import UNFINISHED, TaskState
from ostinato.store.sql import Query, load_queries
from ostinato.store.sqlite.held import OF_A_TASK, WAITING, Held, Values
from ostinato.store.verbs.database import Row

BUSY_TIMEOUT_S: Final = 10.0
"""How long to wait for another process's transaction; group commits take milliseconds."""
CACHE_KB: Final = 16_384
"""Pages that one connection keeps, at most; holds the hot part of 1,000,000 tasks."""
STATEMENTS_CACHED: Final = 256
"""More than there are queries, so that each is compiled once."""

_HERE = Path(__file__).parent


@functools.cache
def queries() -> dict[str, Query]:
    """Every query of this dialect, read from its files once; not to be changed."""
    states = ", ".join(f"'{each.value}'" for each in TaskState if each in UNFINISHED)  # as the indexes say it
    return load_queries(_HERE / "queries", {"unfinished": states})


class StoreFull(Exhausted):
    """There is no room for more; nothing was done."""


class StoreBroken(Internal):
    """The database cannot be trusted to have written what it was told: the node must end and begin from disk."""


_FULL = {sqlite3.SQLITE_FULL, sqlite3.SQLITE_IOERR_SHMSIZE}
_FATAL = {
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_CORRUPT,
    sqlite3.SQLITE_NOTADB,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_PROTOCOL,
    sqlite3.SQLITE_NOMEM,
}


def meaning_of(error: sqlite3.Error) -> OstinatoError:
    """What an error of SQLite means for the caller."""
    code = getattr(error, "sqlite_errorcode", 0)
    if code in _FULL:
        return StoreFull("The disk is full: nothing was written", cure="Make room; the runtime goes on by itself.")
    if code & 0xFF in _FATAL:
        name = getattr(error, "sqlite_errorname", "an error")
        return StoreBroken(
            f"The database reports {name} ({error})",
            cure="Look at the disk; the node begins again from what is on it. `ostinato doctor` tells more.",
        )
    if code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED):
        return Exhausted(
            f"Another process has held the database for {BUSY_TIMEOUT_S:g} s", cure="Try again when it is done."
        )
    return Internal(f"The database refused a statement: {error}")


def connect(path: Path | None, *, read_only: bool = False) -> sqlite3.Connection:
    """A connection with the settings that the store relies on; None: in memory."""
    mode = "?mode=ro" if read_only else ""
    target = "file::memory:" if path is None else f"file:{quote(os.fspath(path))}{mode}"
    connection = sqlite3.connect(
        target,
        uri=True,
        timeout=BUSY_TIMEOUT_S,
        isolation_level=None,
        check_same_thread=False,
        cached_statements=STATEMENTS_CACHED,
    )
    try:
        connection.execute(f"PRAGMA cache_size = -{CACHE_KB}")
        connection.execute("PRAGMA temp_store = MEMORY")
        connection.execute("PRAGMA trusted_schema = OFF")
        if read_only:
            connection.execute("PRAGMA query_only = ON")
    except sqlite3.Error:
        connection.close()
        raise
    return connection


class SqliteDatabase:
    """Queries by name over one connection; satisfies `ostinato.store.verbs.database.Database`."""

    epoch: Final = 0
    """One file has one history."""

    def __init__(self, connection: sqlite3.Connection, path: Path | None, known: dict[str, Query]) -> None:
        self.connection = connection
        self.path = path
        self.failed: OstinatoError | None = None
        """The full disk or broken file that this transaction has met, also where its function has hidden it. SQLite may
        have undone the transaction by itself then, so that every further statement would stand alone: none is let in.
        Whoever begins a transaction clears it."""
        self.spoilt: Exception | None = None
        """What a change has met that had waited: whose it was is not known any more."""
        self.changes = 0
        """Changes that were asked for, one after the other."""
        self.last_ids: dict[str, int] = {}
        self._queries = known
        self._held = Held()
        self._marked = False
        """The next change begins a savepoint."""
        self._parted = False
        """It has begun."""

    def begin(self) -> None:
        """A transaction begins: nothing of another one waits, or has failed."""
        self.failed = self.spoilt = None
        self._held.clear()

    def drop_held(self) -> None:
        """Forgets what waits: it is undone with the rest."""
        self.spoilt = None
        self._held.clear()

    def send_held(self) -> None:
        """Performs what waits."""
        for name, rows in self._held.take() if self._held.count else ():
            try:
                self._perform(self._queries[name], rows)
            except Exception as error:  # also a value that no column holds
                self.spoilt = error
                raise

    def _execute(self, query: Query, values: Mapping[str, Any]) -> sqlite3.Cursor:
        self._begin_statement(query)
        try:
            return self.connection.execute(query.text, query.pick(values))
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _perform(self, query: Query, rows: list[Values]) -> int:
        """A change for each row; returns the rows it touched."""
        self._let_in()
        try:
            return self.connection.executemany(query.text, rows).rowcount
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def _begin_statement(self, query: Query) -> None:
        """Whatever is asked or changed finds all that was changed before."""
        if self._held.count:
            self.send_held()
        self._let_in()
        if query.changes:
            self.changes += 1
            if self._marked:
                self._part()

    def _let_in(self) -> None:
        if self.failed is not None:
            raise type(self.failed)(self.failed.message, cure=self.failed.cure)

    def _failure(self, error: sqlite3.Error) -> OstinatoError:
        meaning = meaning_of(error)
        if isinstance(meaning, StoreFull | StoreBroken):
            self.failed = meaning
        return meaning

    def one(self, name: str, /, **values: Any) -> Row | None:
        """The first row of a query, or None."""
        row: Row | None = self._execute(self._queries[name], values).fetchone()
        return row

    def all(self, name: str, /, **values: Any) -> list[Row]:
        """Every row of a query."""
        try:
            return self._execute(self._queries[name], values).fetchall()
        except sqlite3.Error as error:
            raise self._failure(error) from error

    def do(self, name: str, /, **values: Any) -> int:
        """Performs a change; returns the rows it touched, or 1 where it may wait."""
        query = self._queries[name]
        if name in WAITING and not (self._marked or self._parted):
            self._hold(name, [query.pick(values)], values["id"] if name in OF_A_TASK else None)
            return 1
        return self._execute(query, values).rowcount

    def many(self, name: str, values: Iterable[Mapping[str, Any]], /) -> int:
        """Performs a change once for each set of values; returns the rows it touched, or was to touch where it may
        wait."""
        query = self._queries[name]
        rows = list(map(query.pick, values))
        if not rows:
            return 0
        if name in WAITING and not (self._marked or self._parted):
            self._hold(name, rows, None)
            return len(rows)
        self._begin_statement(query)
        return self._perform(query, rows)

    def _hold(self, name: str, rows: list[Values], task: int | None) -> None:
        self._let_in()
        if not self._held.has_room(name, task):
            self.send_held()
        self.changes += 1
        self._held.add(name, rows, task)

    def mark(self) -> None:
        """See the interface."""
        assert not self._marked, "marks do not nest"
        assert not self._parted, "marks do not nest"
        self._marked = True

    def unmark(self, *, undo: bool) -> bool:
        """See the interface."""
        parted, self._marked, self._parted = self._parted, False, False
        if parted and self.failed is None:  # else SQLite may have undone it all, and whoever began it must know
            if undo:
                self.connection.execute("ROLLBACK TO part")
                self.last_ids.clear()
            self.connection.execute("RELEASE part")
        return parted

    def _part(self) -> None:
        self._marked = False
        self.connection.execute("SAVEPOINT part")
        self._parted = True

    def next_id(self, table: str, *, take: bool = True) -> int:
        """See the interface; the last id is known until another process writes."""
        last = self.last_ids.get(table)
        if last is None:
            row = self._execute(Query(f"SELECT max(id) FROM {table}"), {}).fetchone()
            last = self.last_ids[table] = row[0] or 0
        if take:
            self.last_ids[table] = last + 1
        return last + 1

    def lease_now(self) -> int:
        """The machine's clock since it started, sleep included."""
        return time.clock_gettime_ns(_LEASE_CLOCK) // 1_000

    def boot(self) -> str:
        """The kernel's name for this run of the machine."""
        return _boot()

    def size(self) -> Mapping[str, int]:
        """Bytes, by `stat` alone: the file is never opened by other means than SQLite."""
        if self.path is None:
            pages, page_size = (
                self.connection.execute(f"PRAGMA {x}").fetchone()[0] for x in ("page_count", "page_size")
            )
            return {"database": pages * page_size, "wal": 0, "free": 0}
        disk = os.statvfs(self.path.parent)
        wal = self.path.with_name(self.path.name + "-wal")
        return {
            "database": self.path.stat().st_size,
            "wal": wal.stat().st_size if wal.exists() else 0,
            "free": disk.f_bavail * disk.f_frsize,
        }


# Counts through sleep and is the same for every process of a machine; nobody can set it.
_LEASE_CLOCK: Final = getattr(time, "CLOCK_BOOTTIME", time.CLOCK_MONOTONIC)


def _boot() -> str:
    """Names this run of the machine, where the kernel does (Linux); elsewhere leases cross a restart of the machine."""
    try:
        return Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return ""
