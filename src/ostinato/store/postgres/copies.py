"""Copies of a whole database, and a look through it. The copy is an SQLite database: the tables are the same.

Knows nothing of what the tables mean.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ostinato.domain.errors import Conflict
from ostinato.store.postgres.database import PostgresDatabase
from ostinato.store.postgres.wire import Statement
from ostinato.store.sqlite.database import connect, meaning_of
from ostinato.store.sqlite.migrations import migrate

PAGE: Final = 1_000
"""Rows fetched at once."""
_SNAPSHOT: Final = Statement("begin copy", "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY")
_END: Final = Statement("rollback", "ROLLBACK")


def copy_out(database: PostgresDatabase, target: Path) -> int:
    """Writes every table of one snapshot into a new SQLite file, readable by its owner only; returns its bytes."""
    try:
        target.touch(mode=0o600, exist_ok=False)
    except FileExistsError:
        raise Conflict("There is a file already", place=str(target), cure="Choose another name.") from None
    try:
        copy = connect(target)
        try:
            migrate(copy, place=str(target))
            database.wire.put(_SNAPSHOT)
            copy.execute("BEGIN")
            for (table,) in copy.execute(
                "SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name"
            ).fetchall():
                _copy_table(database, copy, table)
            copy.execute("COMMIT")
        finally:
            copy.close()
            if database.wire.is_open:
                database.wire.clear()
                database.wire.put(_END)
                database.wire.sync()
    except BaseException as error:  # whatever it was: no half a copy stays
        target.unlink()
        if isinstance(error, sqlite3.Error):
            raise meaning_of(error) from error
        raise
    return target.stat().st_size


def _copy_table(database: PostgresDatabase, copy: sqlite3.Connection, table: str) -> None:
    columns = [row[1] for row in copy.execute(f"PRAGMA table_info({table})")]
    names = ", ".join(f'"{each}"' for each in columns)
    cursor = f"copy_{table}"
    wire = database.wire
    wire.put(Statement(f"declare {cursor}", f"DECLARE {cursor} NO SCROLL CURSOR FOR SELECT {names} FROM {table}"))
    insert = f"INSERT INTO {table} ({names}) VALUES ({', '.join('?' * len(columns))})"
    while True:
        wire.put(Statement(f"fetch {cursor}", f"FETCH {PAGE} FROM {cursor}"))
        page = wire.sync()[-1].rows
        copy.executemany(insert, page)
        if len(page) < PAGE:
            return


_COUNTED: Final = Statement(
    "check totals",
    "SELECT state, count(*), coalesce((SELECT count FROM totals WHERE name = 'tasks.' || state), 0) "
    "FROM tasks GROUP BY state ORDER BY state",
)


def check(database: PostgresDatabase) -> str:
    """Reads every task and compares the counters with what is there; the pages themselves are the server's matter."""
    database.wire.put(_COUNTED)
    wrong = [f"{counted} tasks are {state}, the counter says {said}"
             for state, counted, said in database.sync()[-1].rows if counted != said]  # fmt: skip
    return "; ".join(wrong) or "ok"
