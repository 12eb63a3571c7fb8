"""A PostgreSQL database as rows, to be copied into another store or filled from one. Knows nothing of that other store.

Stands on psycopg's own connection and on COPY: what is copied once need not be fast statement by statement.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, Final

import psycopg

from ostinato.domain.errors import Conflict, OstinatoError
from ostinato.store.postgres.address import Address
from ostinato.store.postgres.database import SETTINGS
from ostinato.store.postgres.failures import away, meaning_of
from ostinato.store.postgres.migrations import migrate
from ostinato.store.postgres.wire import Wire, quiet
from ostinato.store.verbs.database import Row

OWN_TABLE: Final = "ostinato_store"
OWN_SETTINGS: Final = "postgres.%"
"""What is about this database, and goes nowhere."""
ROWS_AT_ONCE: Final = 1_000
AT_ONCE: Final = {"blobs": 8}
"""Rows that are fetched together: whole files are few at a time, or a copy would need the memory of them all."""
PATIENT: Final = "SET idle_in_transaction_session_timeout = 0"
"""Rows are read from the other store for as long as it takes."""

_COLUMNS: Final = """
SELECT columns.table_name, columns.column_name FROM information_schema.columns
JOIN pg_tables ON schemaname = table_schema AND tablename = columns.table_name
WHERE table_schema = current_schema() AND columns.table_name != %s
"""
_KEY: Final = """
SELECT attname FROM pg_index, unnest(indkey) WITH ORDINALITY AS key (number, place)
JOIN pg_attribute ON attnum = key.number
WHERE indrelid = %s::regclass AND attrelid = indrelid AND indisprimary ORDER BY key.place
"""
_RUNNING: Final = """
SELECT id, host FROM nodes WHERE ended_at IS NULL AND boot = ''
    AND lease_until > (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
"""
_END_NODES: Final = """
UPDATE nodes SET ended_at = (extract(epoch FROM clock_timestamp()) * 1000000)::bigint
WHERE ended_at IS NULL AND boot = ''
"""


class PostgresShelf:
    """One database; satisfies `ostinato.store.shelf.Shelf`."""

    def __init__(self, connection: psycopg.Connection[Any], *, place: str) -> None:
        self.place = place
        self._connection = connection

    def tables(self) -> Mapping[str, tuple[str, ...]]:
        """All but the one that is about the database itself."""
        found: dict[str, list[str]] = {}
        for table, column in self._connection.execute(_COLUMNS, [OWN_TABLE]):
            found.setdefault(table, []).append(column)
        return {table: tuple(sorted(found[table])) for table in sorted(found)}

    def rows(self, table: str) -> Iterator[Row]:
        """In the order of the key; texts in a key compare byte by byte."""
        key = ", ".join(f'"{name}"' for (name,) in self._connection.execute(_KEY, [table]))
        names = self._names(table)
        which = f"WHERE name NOT LIKE '{OWN_SETTINGS}'" if table == "settings" else ""
        with self._connection.cursor(name="rows") as cursor:
            cursor.itersize = AT_ONCE.get(table, ROWS_AT_ONCE)
            yield from cursor.execute(f"SELECT {names} FROM {table} {which} ORDER BY {key}".encode())

    def fill(self, table: str, rows: Iterable[Row]) -> None:
        """One COPY for all; ids that the database gives out go on behind them, and its planner knows of them."""
        with (
            self._connection.cursor() as cursor,
            cursor.copy(f"COPY {table} ({self._names(table)}) FROM STDIN".encode()) as copy,
        ):
            for row in rows:
                copy.write_row(row)
        if "id" in self.tables()[table]:
            self._connection.execute(
                f"SELECT setval(sequence, max(id)) FROM {table}, pg_get_serial_sequence('{table}', 'id') AS sequence "
                "WHERE sequence IS NOT NULL GROUP BY sequence".encode()
            )
        self._connection.execute(f"ANALYZE {table}".encode())

    def _names(self, table: str) -> str:
        return ", ".join(f'"{each}"' for each in self.tables()[table])

    def hold(self) -> None:
        """Nobody else writes until the end; raises Conflict where a node runs. One that stands still finds that it has
        ended: what it holds goes on elsewhere."""
        self._connection.execute(f"UPDATE {OWN_TABLE} SET commits = commits + 1".encode())
        for node, host in self._connection.execute(_RUNNING):
            raise Conflict(
                f"Node {node} on {host} runs, or has not said goodbye",
                place=self.place,
                cure="Stop it: Ctrl-C where `ostinato up` runs. One that has died is forgotten when its lease is over.",
            )
        self._connection.execute(_END_NODES.encode())


@contextlib.contextmanager
def shelf_in(url: str, *, password_env: str | None) -> Iterator[PostgresShelf]:
    """The database at this URL, with its tables, in one transaction that stands when the block ends well."""
    address = Address(url, password_env=password_env)
    wire = Wire(address, settings=(*SETTINGS, PATIENT))
    try:
        migrate(wire, place=str(address))
    finally:
        wire.close()
    try:
        with _connected(address) as connection:
            shelf = PostgresShelf(connection, place=str(address))
            shelf.hold()
            yield shelf
    except psycopg.Error as error:
        said = error.diag.message_primary or str(error).partition("\n")[0]
        raise meaning_of(error.sqlstate or "", said) from error


def _connected(address: Address) -> psycopg.Connection[Any]:
    refused: OstinatoError | None = None
    for conninfo in address.conninfos():
        try:
            connection = psycopg.connect(conninfo.decode(), connect_timeout=5, autocommit=True)
            settings = (*SETTINGS, *quiet(connection.info.server_version), PATIENT)
            connection.execute("; ".join(settings).encode())  # at once: what they keep away may come between two
            connection.autocommit = False
            return connection
        except psycopg.OperationalError as error:
            refused = away(f"{address} says: {str(error).partition(chr(10))[0]}")
    assert refused is not None
    raise refused
