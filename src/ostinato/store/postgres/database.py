"""PostgreSQL as the verbs see it: queries by name over one connection, waited for only where the answer matters.

Knows nothing of threads: whoever holds the connection sees to it that only one uses it at a time.
"""

from __future__ import annotations

import functools
import itertools
import re
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from ostinato.domain.errors import OstinatoError
from ostinato.domain.task import UNFINISHED, TaskState
from ostinato.store.postgres.wire import BYTEA, FLOAT8, INT8, TEXT, Answer, Statement, Wire
from ostinato.store.sql import PARAMETER, Values, picker, query_texts
from ostinato.store.verbs.database import Row

_HERE = Path(__file__).parent
_SHARED = _HERE.parent / "sqlite" / "queries"
"""The texts of SQLite's dialect are the base; `queries/` here holds what PostgreSQL says in other words."""

SETTINGS: Final = (
    "SET enable_seqscan = off",  # what INDEXED BY is to SQLite: a query that has an index walks along it
    "SET jit = off",  # costs milliseconds to save microseconds
    "SET lock_timeout = '15s'",
    "SET statement_timeout = 0",
    "SET client_min_messages = error",
    "SET timezone = 'UTC'",
)
"""What every connection relies on."""

FLOOR: Final = "postgres.last_id.{table}"
"""The setting that says below which ids of a table none is given out again."""
LAST_ID: Final = (
    "SELECT greatest((SELECT coalesce(max(id), 0) FROM {table}), "
    "(SELECT coalesce(max(value::bigint), 0) FROM settings WHERE name = '{floor}'))"
)

UNANSWERED: Final = frozenset(
    {
        "add_task", "add_task_document", "add_dependency", "await_task", "move_task", "change_task", "explain_task",
        "drop_hold", "count_dependency", "spend_on_task", "add_attempt", "end_attempt", "count_steps", "add_session",
        "touch_session", "give_session", "add_message", "add_question", "settle_question", "remind_question",
        "withdraw_question",
        "add_to_account", "release_reserved", "open_account", "warn_account", "ask_account", "grant_account",
        "forget_account", "add_audit", "add_charge", "add_node", "set_flag", "add_blob", "touch_blob",
        "put_schedule", "remove_schedule", "add_fire", "forget_fires", "add_skip", "skip_schedule", "set_setting",
        "forget_steps", "forget_attempts", "forget_questions", "forget_dependencies", "forget_document", "forget_task",
        "forget_setbacks", "put_setbacks",
        "forget_messages", "forget_session", "forget_blob_uses", "forget_blob", "put_breaker", "drop_breaker",
        "meet_dependency",
    }
)  # fmt: skip
"""Changes of which no verb asks how many rows they touched: their answer is not waited for."""

EXPECTED: Final = frozenset({"claim_task"})
"""The same, where a row must have been touched: what is remembered says so. If not, all of it is done anew."""

_TEXTS: Final = frozenset(
    {
        "actor", "agent", "agents", "answer", "arguments", "body", "boot", "bound", "by", "call_id", "client_id",
        "data", "deliver", "digest", "effort", "ended", "entry", "error", "fingerprint", "heartbeat", "host", "ids",
        "key", "keys", "kind", "kinds", "model", "name", "names", "outcome", "person", "pool", "prefix", "behind",
        "previous", "pools", "delegation", "probe", "project", "provider", "reason", "result", "retry", "rule", "scope",
        "session", "source", "spec", "state", "states", "strand", "text", "title", "transaction", "trigger", "type",
        "condition", "value", "version", "wait", "writer",
    }
)  # fmt: skip
_FRACTIONS: Final = frozenset({"duration_ms"})


WIDTHS: Final = (32, 4)
"""Rows that one INSERT brings where many are to be written: a row in a crowd costs a fifth of one alone."""
_ROWS: Final = re.compile(r"(.*?\bVALUES )(\(.*?\))(.*)")


class Prepared(NamedTuple):
    """A query: its statement, and the function that puts named values into the order of its parameters."""

    statement: Statement
    pick: Callable[[Values], tuple[Any, ...]]
    unanswered: bool
    expected: bool
    wide: Mapping[int, Statement] = {}
    """The same for so many rows at once, where it adds rows."""


@functools.cache
def queries() -> dict[str, Prepared]:
    """Every query of this dialect, read from its files; all stores of a process share them."""
    states = ", ".join(f"'{each.value}'" for each in TaskState if each in UNFINISHED)
    texts = query_texts((_SHARED, _HERE / "queries"), {"unfinished": states})
    return {name: prepared(name, text) for name, text in texts.items()}


def prepared(name: str, text: str) -> Prepared:
    """A query with `$1` for its parameters; the name of a parameter says its type, or `:x::bytea`, `:x::text` does."""
    names: dict[str, int] = {}
    for each in PARAMETER.findall(text):
        names.setdefault(each, len(names) + 1)
    types = tuple(_type_of(each, text) for each in names)
    plain = re.sub(r" INDEXED BY \w+", "", text)
    numbered = PARAMETER.sub(lambda found: f"${names[found[1]]}", plain)
    statement = Statement(name, numbered, types)
    return Prepared(
        statement, picker(tuple(names)), name in UNANSWERED | EXPECTED, name in EXPECTED, _widened(statement)
    )


def _widened(narrow: Statement) -> dict[int, Statement]:
    """The statements that add several rows at once; none where `narrow` adds none."""
    found = _ROWS.fullmatch(" ".join(narrow.text.split()))
    if found is None:  # it adds nothing, and takes no rows
        return {}
    head, row, tail = found.groups()
    count = len(narrow.types)

    def shifted(by: int) -> str:
        return re.sub(r"\$(\d+)", lambda number: f"${int(number[1]) + by}", row)

    return {
        width: Statement(
            f"{narrow.name} {width}",
            head + ", ".join(shifted(place * count) for place in range(width)) + tail,
            narrow.types * width,
        )
        for width in WIDTHS
    }


def _type_of(name: str, text: str) -> int:
    if f":{name}::bytea" in text:
        return BYTEA
    if name in _FRACTIONS:
        return FLOAT8
    return TEXT if name in _TEXTS or f":{name}::text" in text else INT8


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

    def put(self, name: str, /, **values: Any) -> None:
        """Sends a query whose answer comes with the next one that is waited for."""
        query = self._queries[name]
        self.wire.put(query.statement, query.pick(values))

    def sync(self) -> list[Answer]:
        """The answers to all that was sent."""
        try:
            return self.wire.sync()
        except OstinatoError as error:
            self.failed = error
            raise

    def _ask(self, name: str, values: Values) -> Answer:
        query = self._queries[name]
        self.wire.put(query.statement, query.pick(values))
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
        self.wire.put(query.statement, picked, expected=int(query.expected))
        if not query.unanswered:
            return self.sync()[-1].touched
        if self.wire.is_crowded:
            self.sync()
        return 1

    def many(self, name: str, values: Iterable[Mapping[str, Any]], /) -> int:
        """Performs a change once for each set of values; returns the rows it was to touch. Where each must be touched,
        this is seen to."""
        query = self._queries[name]
        rows = list(map(query.pick, values))
        if rows:
            self._note_change()
            self.changes += len(rows) - 1
        start = 0
        while left := len(rows) - start:
            width = next((each for each in WIDTHS if each <= left and query.wide), 1)
            flat = rows[start] if width == 1 else tuple(itertools.chain.from_iterable(rows[start : start + width]))
            self.wire.put(query.wide.get(width, query.statement), flat, expected=width if query.expected else 0)
            start += width
            if self.wire.is_crowded:
                self.sync()
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
            self.wire.put(_PART)

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
                self.wire.put(_PART_UNDONE)
                self.changes = marked_at
                self.last_ids.clear()
            self.wire.put(_PART_STANDS)
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
