"""PostgreSQL as the verbs see it: queries by name over one connection, waited for only where the answer matters.

Knows nothing of threads: whoever holds the connection sees to it that only one uses it at a time.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any, Final

from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.store.postgres.arrays import array
from ostinato.store.postgres.statements import Prepared, prepared
from ostinato.store.postgres.wire import Answer, Statement, Wire
from ostinato.store.sql import Values
from ostinato.store.verbs.database import Row

SETTINGS: Final = (
    "SET enable_seqscan = off",  # what INDEXED BY is to SQLite: a query that has an index walks along it
    "SET jit = off",  # costs milliseconds to save microseconds
    "SET lock_timeout = '15s'",
    "SET statement_timeout = 0",
    "SET client_min_messages = error",
    "SET timezone = 'UTC'",
    "SET client_encoding = 'UTF8'",
    "SET bytea_output = 'hex'",
    "SET extra_float_digits = 1",  # a number comes back as it was given
    "SET array_nulls = on",
    "SET standard_conforming_strings = on",
    "SET default_transaction_isolation = 'read committed'",  # who has waited for a lock sees what was written meanwhile
)
"""What every connection relies on, whatever a database or a role says otherwise."""

FLOOR: Final = "postgres.last_id.{table}"
"""The setting that says below which ids of a table none is given out again."""
LAST_ID: Final = (
    "SELECT greatest((SELECT coalesce(max(id), 0) FROM {table}), "
    "(SELECT coalesce(max(value::bigint), 0) FROM settings WHERE name = '{floor}'))"
)

TOGETHER: Final = 64
"""Rows of one statement: beyond that none gets cheaper, and the server begins while the next are gathered."""


_PART: Final = Statement("part", "SAVEPOINT part")
_PART_STANDS: Final = Statement("part_stands", "RELEASE SAVEPOINT part")
_PART_UNDONE: Final = Statement("part_undone", "ROLLBACK TO SAVEPOINT part")


class PostgresDatabase:
    """Queries by name over one connection; satisfies `ostinato.store.verbs.database.Database`."""

    def __init__(self, wire: Wire, known: dict[str, Prepared]) -> None:
        self.wire = wire
        self.failed: OstinatoError | None = None
        """The error of the server that this function has met, also where it has hidden it."""
        self.changes = 0
        """Changes that were sent."""
        self.epoch = 0
        """What stands above the count in new tokens."""
        self.last_ids: dict[str, int] = {}
        self.before_change: Callable[[], None] | None = None
        """Called before the first change of a function: the moment to begin what can be undone."""
        self._queries = known
        self._marked_at: int | None = None
        """Changes that were sent when the mark was set."""
        self._before_mark: Callable[[], None] | None = None
        self._held: dict[str, list[tuple[Any, ...]]] = {}
        """Changes that wait for others of their kind. No two are about one row, so their order does not matter."""
        self._rows_held: dict[str, set[Any]] = {}

    def say(self, statement: Statement) -> None:
        """Sends what is no query, behind all that was held."""
        self._send_held()
        self.wire.put(statement)

    def put(self, name: str, /, **values: Any) -> None:
        """Sends a query whose answer comes with the next one that is waited for."""
        query = self._queries[name]
        picked = query.pick(values)
        self._send_held()
        self.wire.put(query.statement, picked)

    def sync(self) -> list[Answer]:
        """The answers to all that was sent."""
        self._send_held()
        try:
            return self.wire.sync()
        except OstinatoError as error:
            self.failed = error
            raise

    def drop_held(self) -> None:
        """Forgets what was held: it is undone with the rest."""
        self._held.clear()
        self._rows_held.clear()

    def _send_held(self) -> None:
        if self._held:
            held, self._held = self._held, {}
            self._rows_held.clear()
            for name, rows in held.items():
                self._send(self._queries[name], rows)

    def _send(self, query: Prepared, rows: Sequence[tuple[Any, ...]]) -> None:
        """One statement. Whose rows these are is not known any more: an error is that of the whole batch."""
        try:
            if query.many is None or len(rows) == 1:
                for row in rows:
                    self.wire.put(query.statement, row)
            else:
                columns = zip(zip(*rows, strict=True), query.statement.types, strict=True)
                arrays = [array(column, of=of) for column, of in columns]
                self.wire.put_arrays(query.many, arrays)
        except OstinatoError as error:
            self.failed = error
            raise
        except (OverflowError, UnicodeEncodeError) as error:
            self.failed = Invalid(f"{query.statement.name}: {error}", cure="Give what a database can hold.")
            raise self.failed from error
        if self.wire.is_crowded:
            self.sync()

    def _ask(self, name: str, values: Values) -> Answer:
        query = self._queries[name]
        picked = query.pick(values)
        self._send_held()
        self.wire.put(query.statement, picked)
        return self.sync()[-1]

    def one(self, name: str, /, **values: Any) -> Row | None:
        """The first row, or None."""
        found = self._ask(name, values).rows
        return found[0] if found else None

    def all(self, name: str, /, **values: Any) -> list[Row]:
        """Every row."""
        if name in _CHANGING:
            self._note_change()
        return self._ask(name, values).rows

    def do(self, name: str, /, **values: Any) -> int:
        """Performs a change; returns the rows it touched, or 1 where no verb asks for them."""
        query = self._queries[name]
        picked = query.pick(values)
        self._note_change()
        if query.row is not None:
            self._hold(query, query.row(values), picked)
            return 1
        self._send_held()
        self.wire.put(query.statement, picked)
        if not query.unanswered:
            return self.sync()[-1].touched
        if self.wire.is_crowded:
            self.sync()
        return 1

    def _hold(self, query: Prepared, row: object, picked: tuple[Any, ...]) -> None:
        name, of_table = query.statement.name, self._rows_held.setdefault(query.table, set())
        if row in of_table:
            self._send_held()
            of_table = self._rows_held[query.table] = set()
        of_table.add(row)
        held = self._held.setdefault(name, [])
        held.append(picked)
        if len(held) == TOGETHER:
            del self._held[name]
            self._send(query, held)

    def many(self, name: str, values: Iterable[Mapping[str, Any]], /) -> int:
        """Performs a change once for each set of values; returns the rows it was to touch. Where each must be touched,
        this is seen to."""
        query = self._queries[name]
        rows = list(map(query.pick, values))
        if rows:
            self._note_change()
            self.changes += len(rows) - 1
            self._send_held()
        for start in range(0, len(rows), TOGETHER):
            self._send(query, rows[start : start + TOGETHER])
        return len(rows)

    def _note_change(self) -> None:
        if self.before_change is not None:
            begin, self.before_change = self.before_change, None
            begin()
        self.changes += 1

    def mark(self) -> None:
        """See the interface."""
        assert self._marked_at is None, "marks do not nest"
        outer, self._marked_at = self.before_change, self.changes

        def begin() -> None:
            if outer is not None:
                outer()
            self.say(_PART)

        self.before_change = begin
        self._before_mark = outer

    def unmark(self, *, undo: bool) -> bool:
        """See the interface."""
        assert self._marked_at is not None, "there is a mark"
        marked_at, self._marked_at = self._marked_at, None
        if self.before_change is not None:  # nothing was changed
            self.before_change = self._before_mark
            return False
        if self.failed is None:  # else the server takes nothing more in this transaction
            if undo:
                self.drop_held()
                self.say(_PART_UNDONE)
                self.changes = marked_at
                self.last_ids.clear()
            self.say(_PART_STANDS)
        return True

    def next_id(self, table: str, *, take: bool = True) -> int:
        """The next id of a table; `take=False` looks."""
        last = self.last_ids.get(table)
        if last is None:
            name = f"last_id_of_{table}"
            if name not in self._queries:
                self._queries[name] = prepared(name, LAST_ID.format(table=table, floor=FLOOR.format(table=table)))
            row = self.one(name)
            last = self.last_ids[table] = row[0] if row else 0
        if take:
            self.last_ids[table] = last + 1
        return last + 1

    def lease_now(self) -> int:
        """Microseconds of the database's clock."""
        row = self.one("lease_now")
        assert row is not None
        now: int = row[0]
        return now

    def boot(self) -> str:
        """Always empty."""
        return ""  # the database's clock is one for all, and restarts of machines do not set it back

    def size(self) -> Mapping[str, int]:
        """Bytes of the database; its log and the room left are the server's matter."""
        row = self.one("database_size")
        return {"database": 0 if row is None else row[0], "wal": 0, "free": 0}


_CHANGING: Final = frozenset({"release_delayed", "withdraw_questions"})
"""Changes that return rows."""
