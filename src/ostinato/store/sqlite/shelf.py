"""SQLite's file as rows, to be copied into another store or filled from one. Knows nothing of that other store."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Final

from ostinato.domain.errors import Conflict, NotFound
from ostinato.store.sqlite.copies import restore
from ostinato.store.sqlite.database import connect, meaning_of
from ostinato.store.sqlite.directory import FILE_NAME, prepare_directory
from ostinato.store.sqlite.migrations import migrate
from ostinato.store.verbs.database import Row

DRAFTS: Final = f"{FILE_NAME}.copying"
"""The folder in which a database is filled before it takes its place."""


class SqliteShelf:
    """One file; satisfies `ostinato.store.shelf.Shelf`."""

    def __init__(self, connection: sqlite3.Connection, *, place: str) -> None:
        self.place = place
        self._connection = connection

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """All of them."""
        names = self._connection.execute("SELECT name FROM sqlite_schema WHERE type = 'table' ORDER BY name")
        return {name: tuple(sorted(self._columns(name))) for (name,) in names if not name.startswith("sqlite_")}

    def _columns(self, table: str) -> dict[str, int]:
        """Column -> its place in the key, from 1; 0: it is not in it."""
        return {row[1]: row[5] for row in self._connection.execute(f"PRAGMA table_info({table})")}

    def rows(self, table: str) -> Iterator[Row]:
        """In the order of the key."""
        columns = self._columns(table)
        key = sorted((place, name) for name, place in columns.items() if place)
        order, names = (
            ", ".join(f'"{name}"' for name in each) for each in ([name for _, name in key], sorted(columns))
        )
        yield from self._connection.execute(f"SELECT {names} FROM {table} ORDER BY {order}")

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """One statement for all."""
        columns = sorted(self._columns(table))
        names, marks = ", ".join(f'"{each}"' for each in columns), ", ".join("?" for _ in columns)
        self._connection.executemany(f"INSERT INTO {table} ({names}) VALUES ({marks})", rows)


@contextlib.contextmanager
def shelf_to_read(directory: Path) -> Iterator[SqliteShelf]:
    """The database of a state directory, brought up to date; raises NotFound where there is none. The caller holds the
    fleet's lock."""
    path = directory / FILE_NAME
    if not path.exists():
        raise NotFound("There is no database", place=str(path), cure="Start the fleet once: ostinato up")
    with _opened(path) as connection:
        yield SqliteShelf(connection, place=str(path))


@contextlib.contextmanager
def shelf_to_fill(directory: Path) -> Iterator[SqliteShelf]:
    """An empty database, which becomes that of a state directory once the block ends well; raises Conflict where there
    is one already. The caller holds the fleet's lock."""
    prepare_directory(directory)
    path = directory / FILE_NAME
    if path.exists():
        raise Conflict("There is a database already", place=str(path), cure="Move it away first.")
    folder = directory / DRAFTS
    shutil.rmtree(folder, ignore_errors=True)  # of a copy that was killed
    folder.mkdir(mode=0o700)
    try:
        draft = folder / FILE_NAME
        with _opened(draft) as connection:
            yield SqliteShelf(connection, place=str(path))
        restore(draft, directory)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _opened(path: Path) -> Iterator[sqlite3.Connection]:
    """One transaction over a file."""
    try:
        with contextlib.closing(connect(path)) as connection:
            migrate(connection, place=str(path))
            connection.execute("BEGIN IMMEDIATE")
            yield connection
            connection.execute("COMMIT")  # after anything else, closing undoes it
    except sqlite3.Error as error:
        raise meaning_of(error) from error
