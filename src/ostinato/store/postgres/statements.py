"""The queries as statements of PostgreSQL: parameters by number with their types, and how each is sent.

A change of which nobody asks what came of it need not be sent at once, and many of a kind go as one statement over
arrays, a column each: for the server a row among many costs a third of one alone. Knows nothing of connections.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from operator import itemgetter
from pathlib import Path
from typing import Any, Final, NamedTuple

from ostinato.domain.task import UNFINISHED, TaskState
from ostinato.store.postgres.wire import ARRAY_OF, BYTEA, FLOAT8, INT8, TEXT, Statement
from ostinato.store.sql import PARAMETER, Values, picker, query_texts

_HERE = Path(__file__).parent
_SHARED = _HERE.parent / "sqlite" / "queries"
"""The texts of SQLite's dialect are the base; `queries/` here holds what PostgreSQL says in other words."""

UNANSWERED: Final = frozenset(
    {
        "add_task", "add_task_document", "add_dependency", "await_task", "move_task", "end_task", "change_task",
        "explain_task",
        "drop_hold", "count_dependency", "spend_on_task", "add_attempt", "end_attempt", "count_steps", "add_session",
        "touch_session", "give_session", "add_message", "add_question", "settle_question", "remind_question",
        "withdraw_question",
        "release_reserved", "open_account", "warn_account", "ask_account", "grant_account",
        "forget_account", "add_audit", "add_charge", "add_node", "set_flag", "add_blob", "touch_blob",
        "put_schedule", "remove_schedule", "add_fire", "forget_fires", "add_skip", "skip_schedule", "set_setting",
        "forget_steps", "forget_attempts", "forget_questions", "forget_dependencies", "forget_document", "forget_task",
        "forget_setbacks", "put_setbacks",
        "forget_messages", "forget_session", "forget_blob_uses", "forget_blob_use", "forget_blob", "put_breaker",
        "drop_breaker",
        "meet_dependency",
    }
)  # fmt: skip
"""Changes of which no verb asks how many rows they touched: their answer is not waited for."""

EXPECTED: Final = frozenset({"claim_task"})
"""The same, where a row must have been touched: what is remembered says so. If not, the server refuses the statement,
and with it the commit behind it, which is on its way by then."""

HELD: Final = {
    **dict.fromkeys(
        ("add_task", "await_task", "move_task", "end_task", "explain_task", "count_dependency"), ("tasks", "id")
    ),
    **dict.fromkeys(("spend_on_task", "count_steps"), ("tasks", "id")),
    **dict.fromkeys(("add_dependency", "meet_dependency"), ("dependencies", "task", "after")),
    "end_attempt": ("attempts", "task", "token"),
}
"""Changes of UNANSWERED that wait for others of their kind: the table, and the parameters that name the one row."""

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

_INSERT: Final = re.compile(r"(INSERT INTO .*?)\bVALUES \(([^()]*)\)([^$]*)")
_UPDATE: Final = re.compile(r"(UPDATE \w+ SET (?:(?! FROM ).)*)( WHERE (?:(?!SELECT).)*)")


class Prepared(NamedTuple):
    """A query: its statement, and the function that puts named values into the order of its parameters."""

    statement: Statement
    pick: Callable[[Values], tuple[Any, ...]]
    unanswered: bool
    many: Statement | None = None
    """The same for any number of rows, each parameter an array; None: it changes no single rows."""
    table: str = ""
    """Of a change that may be held back; empty: it is sent at once."""
    row: Callable[[Values], Any] | None = None
    """Which row of the table such a change is about."""


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
        _seen_to(statement, rows="1") if name in EXPECTED else statement,
        picker(tuple(names)),
        name in UNANSWERED | EXPECTED,
        many=_for_many(statement),
        table=HELD[name][0] if name in HELD else "",
        row=itemgetter(*HELD[name][1:]) if name in HELD else None,
    )


def _for_many(one: Statement) -> Statement | None:
    """The statement that takes an array for each parameter. A row that is changed must be named once in them."""
    if BYTEA in one.types:
        return None
    text = " ".join(one.text.split())
    arrays = ", ".join(f"${number}::{ARRAY_OF[each].name}" for number, each in enumerate(one.types, 1))
    given = f"FROM unnest({arrays}) AS given ({', '.join(f'v{number}' for number in range(1, len(one.types) + 1))})"
    if (found := _INSERT.fullmatch(text)) is not None:
        head, row, tail = found.groups()
        text = f"{head}SELECT {_from_arrays(row)} {given}{tail}"
    elif one.name in HELD.keys() | EXPECTED and (found := _UPDATE.fullmatch(text)) is not None:
        head, where = found.groups()
        text = f"{_from_arrays(head)} {given}{_from_arrays(where)}"
    else:
        return None
    many = Statement(f"{one.name} (many)", text, tuple(ARRAY_OF[each].oid for each in one.types))
    return _seen_to(many, rows=f"cardinality($1::{ARRAY_OF[one.types[0]].name})") if one.name in EXPECTED else many


def _seen_to(statement: Statement, *, rows: str) -> Statement:
    """The same, refused as a division by zero unless it touches so many rows."""
    check = f"SELECT 1 / (count(*) = {rows})::int FROM touched"
    return statement._replace(text=f"WITH touched AS ({statement.text} RETURNING 1) {check}")


def _from_arrays(text: str) -> str:
    return re.sub(r"\$(\d+)", r"given.v\1", text)


def _type_of(name: str, text: str) -> int:
    if f":{name}::bytea" in text:
        return BYTEA
    if name in _FRACTIONS:
        return FLOAT8
    return TEXT if name in _TEXTS or f":{name}::text" in text else INT8
