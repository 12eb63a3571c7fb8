"""Moves all that a store holds to a store of another kind: every table, every column, compared afterwards.

A shelf is a database as rows, without any meaning: ids, tokens and counters go along as they are. Knows nothing of
tasks.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Protocol

from ostinato.domain.errors import Conflict, Internal
from ostinato.store.verbs.database import Row


class Shelf(Protocol):
    """A database, opened alone and inside of one transaction. Rows have their columns in the order of `tables`."""

    place: str
    """Which one it is, in words."""

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """Table -> its columns by name, without what only this kind of store knows."""

    def rows(self, table: str) -> Iterator[Row]:
        """Every row, in the order of the table's key."""

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """Adds rows to a table that is empty."""


class _Watched:
    """Rows on their way, counted and digested."""

    def __init__(self, rows: Iterable[Row]) -> None:
        self._rows = rows
        self._digest = hashlib.blake2b(digest_size=16)
        self.count = 0

    def __iter__(self) -> Iterator[Row]:
        for row in self._rows:
            plain = tuple(each.replace("\0", "\ufffd") if isinstance(each, str) else each for each in row)
            for each in plain:
                # Whole files as they are: written out they would be four times as large.
                data = each if isinstance(each, bytes) else repr(each).encode()
                self._digest.update(b"%s %d " % (type(each).__name__.encode(), len(data)))
                self._digest.update(data)
            self.count += 1
            yield plain

    def seen(self) -> tuple[int, str]:
        """Rows, and their digest."""
        return self.count, self._digest.hexdigest()


def copy(source: Shelf, target: Shelf) -> dict[str, int]:
    """Fills `target` with all of `source`, and reads it back; returns the rows of each table.

    The character 0, which PostgreSQL's texts cannot hold, becomes U+FFFD. Raises Conflict where the target is not
    empty, Internal where the two do not have the same tables or what is read back differs.
    """
    tables = source.tables()
    if tables != target.tables():
        raise Internal(f"{source.place} and {target.place} have different tables", cure="Use one version for both.")
    for table in tables:
        if next(iter(target.rows(table)), None) is not None:
            cure = "Name a database that is new, or move the one that is there away."
            raise Conflict(f"The target is not empty: there are {table}", place=target.place, cure=cure)
    copied: dict[str, int] = {}
    for table in tables:
        there = _Watched(source.rows(table))
        target.fill(table, there)
        back = _Watched(target.rows(table))
        for _ in back:
            pass
        if there.seen() != back.seen():
            raise Internal(f"{table}: {there.count} rows were copied, and {back.count} others came back")
        copied[table] = there.count
    return copied
