"""One connection to PostgreSQL on which statements are sent without waiting for the one before.

`put` sends a statement and goes on; `sync` waits until everything that was put is answered. A commit of many small
changes so costs a few round trips instead of a thousand: measured on one machine, a statement that is waited for takes
70 µs, one that is not takes 15. Stands on libpq's pipeline mode by psycopg's thin layer over it, because psycopg's own
cursors cost more than the statement itself.

Every statement is prepared once under the name of its query. Knows nothing of transactions or of what the queries mean.
"""

from __future__ import annotations

import contextlib
import select
from collections.abc import Callable, Sequence
from typing import Any, Final, NamedTuple

from psycopg import pq

from ostinato.domain.errors import OstinatoError
from ostinato.store.port import StoreAway
from ostinato.store.postgres.address import Address
from ostinato.store.postgres.connecting import connect
from ostinato.store.postgres.failures import away, meaning_of
from ostinato.store.verbs.database import Row

ANSWER_TIMEOUT_S: Final = 30.0
"""Longest wait for the server's next word; far above any commit, and what a network that swallows everything costs."""
PUT_MAX: Final = 200
"""Statements under way: their answers stay well below what a socket holds, or both sides would wait for each other."""

INT8: Final = 20
TEXT: Final = 25
BYTEA: Final = 17
FLOAT8: Final = 701


QUIET_SINCE: Final = {140_000: "SET idle_session_timeout = 0", 170_000: "SET transaction_timeout = 0"}
"""What keeps a server of this version, or a newer one, from ending a connection that has nothing to say for long."""


def quiet(server_version: int) -> list[str]:
    """The commands by which this server lets a silent connection be."""
    return [command for version, command in QUIET_SINCE.items() if server_version >= version]


class ArrayType(NamedTuple):
    """The type of an array, by its number and its name."""

    oid: int
    name: str


ARRAY_OF: Final = {
    INT8: ArrayType(1016, "bigint[]"), TEXT: ArrayType(1009, "text[]"), FLOAT8: ArrayType(1022, "float8[]")
}  # fmt: skip


class Statement(NamedTuple):
    """A statement with `$1` for its parameters, and their types."""

    name: str
    text: str
    types: tuple[int, ...] = ()


class Answer(NamedTuple):
    """What came of one statement."""

    rows: list[Row]
    touched: int


class Wire:
    """One connection; one thread uses it at a time."""

    def __init__(self, address: Address, *, settings: Sequence[str] = ()) -> None:
        """Connects, with these `SET`s; raises StoreAway where that fails."""
        self._connection = connect(address)
        self._closed = False
        self._prepared: set[str] = set()
        self._under_way: list[tuple[str, bool]] = []
        """Statements whose answers are awaited, by name; True: it is only prepared."""
        try:
            self._set("; ".join((*settings, *quiet(self._connection.server_version))))
        except BaseException:  # whatever it was: no connection stays behind
            self._connection.finish()
            raise
        self._connection.nonblocking = 1
        self._connection.enter_pipeline_mode()
        self._poll = select.poll()
        self._poll.register(self._connection.socket, select.POLLIN)

    def _set(self, commands: str) -> None:
        result = self._connection.exec_(commands.encode())
        if result.status not in (pq.ExecStatus.COMMAND_OK, pq.ExecStatus.EMPTY_QUERY):
            raise _failure(result)

    @property
    def is_open(self) -> bool:
        """False once the connection is lost or closed."""
        return not self._closed and self._connection.status == pq.ConnStatus.OK

    @property
    def is_crowded(self) -> bool:
        """True when what is under way should be waited for before more is put."""
        return len(self._under_way) >= PUT_MAX

    def fileno(self) -> int:
        """The socket, for whoever waits for what the server says by itself."""
        return self._connection.socket

    def close(self) -> None:
        """Closes the connection; the server undoes what was not committed. Twice is fine."""
        if not self._closed:
            self._closed = True
            self._connection.finish()

    def put(self, statement: Statement, values: Sequence[Any] = ()) -> None:
        """Sends a statement without waiting for its answer. Raises StoreAway where the connection is lost."""
        self._send(statement, *encode(values))

    def put_arrays(self, statement: Statement, arrays: Sequence[bytes]) -> None:
        """The same for a statement over arrays, as the server writes them, which is to begin with it at once."""
        self._send(statement, arrays, None)
        try:
            self._connection.flush()
        except Exception as error:  # libpq says only in words what is wrong
            raise self._lost(str(error)) from error

    def _send(
        self, statement: Statement, parameters: Sequence[bytes | None], formats: Sequence[pq.Format] | None
    ) -> None:
        connection = self._connection
        name = statement.name.encode()
        try:
            if statement.name not in self._prepared:
                connection.send_prepare(name, statement.text.encode(), statement.types)
                self._under_way.append((statement.name, True))
                self._prepared.add(statement.name)
            connection.send_query_prepared(name, parameters, formats)
            self._under_way.append((statement.name, False))
        except Exception as error:  # libpq says only in words what is wrong
            raise self._lost(str(error)) from error

    def clear(self) -> None:
        """Lets go of what was sent: its answers come with the next `sync`, and do not matter."""
        if self._under_way:
            with contextlib.suppress(OstinatoError):
                self.sync()

    def sync(self) -> list[Answer]:
        """Waits for the answers to everything that was put, in order; raises what the first failed statement means."""
        under_way, self._under_way = self._under_way, []
        try:
            self._connection.pipeline_sync()
            answers = self._receive()
        except OstinatoError:
            raise
        except Exception as error:  # libpq says only in words what is wrong
            raise self._lost(str(error)) from error
        failure: OstinatoError | None = None
        found: list[Answer] = []
        for (name, is_preparation), result in zip(under_way, answers, strict=True):
            if result.status in (pq.ExecStatus.TUPLES_OK, pq.ExecStatus.COMMAND_OK):
                if not is_preparation:
                    found.append(Answer(rows_of(result), result.command_tuples or 0))
                continue
            if is_preparation:
                self._prepared.discard(name)
            if failure is None:  # those behind it were not even tried
                failure = _failure(result, of=name)
        if failure is not None:
            if isinstance(failure, StoreAway):
                self.close()
            raise failure
        return found

    def _receive(self) -> list[pq.abc.PGresult]:
        """Everything up to the answer to the sync, one result for each statement."""
        connection = self._connection
        results: list[pq.abc.PGresult] = []
        self._send_all()
        while True:
            while connection.is_busy():
                self._wait()
                connection.consume_input()
            result = connection.get_result()
            if result is None:
                continue  # parts the results of two statements
            if result.status == pq.ExecStatus.PIPELINE_SYNC:
                return results
            if result.status == pq.ExecStatus.FATAL_ERROR and connection.status != pq.ConnStatus.OK:
                raise self._lost(_first_line(result.get_error_message()))
            results.append(result)

    def _send_all(self) -> None:
        connection = self._connection
        while connection.flush():
            self._wait(select.POLLIN | select.POLLOUT)
            connection.consume_input()

    def _wait(self, events: int = select.POLLIN) -> None:
        """Sleeps until the server has a word, with the interpreter free for other threads."""
        if events != select.POLLIN:
            self._poll.modify(self._connection.socket, events)
        try:
            ready = self._poll.poll(ANSWER_TIMEOUT_S * 1_000)
        finally:
            if events != select.POLLIN:
                self._poll.modify(self._connection.socket, select.POLLIN)
        if not ready:
            raise self._lost(f"no answer in {ANSWER_TIMEOUT_S:g} s")

    def _lost(self, message: str) -> StoreAway:
        self._under_way.clear()
        said = "" if self._closed else self._connection.get_error_message()
        self.close()
        return away(_first_line(said or message))

    def notifications(self) -> list[str]:
        """What notifications carry that have come in; raises StoreAway where the connection is lost."""
        connection = self._connection
        try:
            connection.consume_input()
        except Exception as error:  # libpq says only in words what is wrong
            raise self._lost(str(error)) from error
        found: list[str] = []
        while (notification := connection.notifies()) is not None:
            found.append(notification.extra.decode())
        return found


def encode(values: Sequence[Any]) -> tuple[list[bytes | None], list[pq.Format] | None]:
    """Values as the server takes them: numbers and texts as text, bytes as they are. PostgreSQL's texts cannot hold the
    character 0; it is replaced by U+FFFD. Raises OverflowError for whole numbers of more than 64 bits."""
    parameters = [None if value is None else _WRITERS.get(type(value), text_of)(value) for value in values]
    if bytes not in map(type, values):
        return parameters, None
    return parameters, [pq.Format.BINARY if type(value) is bytes else pq.Format.TEXT for value in values]


def text_of(value: object) -> bytes:
    """A value as a text column holds it: members of an enumeration are texts; what is none writes itself."""
    return _text(value if isinstance(value, str) else repr(value))


def _text(value: str) -> bytes:
    return (value.replace("\0", "\ufffd") if "\0" in value else value).encode()


def _whole(value: int) -> bytes:
    if not -(2**63) <= value < 2**63:
        raise OverflowError(f"{value} has more than 64 bits")
    return b"%d" % value


_WRITERS: dict[type, Callable[[Any], bytes]] = {str: _text, int: _whole, bool: _whole, bytes: bytes, float: text_of}


def _bytes_of(text: bytes) -> bytes:
    return bytes.fromhex(text[2:].decode())


_READERS: dict[int, Callable[[bytes], Any]] = {
    16: lambda text: text == b"t",
    BYTEA: _bytes_of,
    INT8: int,
    21: int,
    23: int,
    26: int,
    FLOAT8: float,
    1700: int,  # a sum of whole numbers
}


def rows_of(result: pq.abc.PGresult) -> list[Row]:
    """The rows of a result as Python's values."""
    columns = range(result.nfields)
    readers = [_READERS.get(result.ftype(column), bytes.decode) for column in columns]
    value = result.get_value
    return [
        tuple(None if (cell := value(row, column)) is None else readers[column](cell) for column in columns)
        for row in range(result.ntuples)
    ]


def _failure(result: pq.abc.PGresult, *, of: str = "") -> OstinatoError:
    state = result.error_field(pq.DiagnosticField.SQLSTATE) or b""
    primary = result.error_field(pq.DiagnosticField.MESSAGE_PRIMARY)
    message = primary.decode(errors="replace") if primary else _first_line(result.get_error_message())
    name = of.partition("#")[0]  # what is behind it only tells two statements apart
    return meaning_of(state.decode(), f"{name}: {message}" if name else message)


def _first_line(text: str) -> str:
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return lines[0] if lines else "the connection is lost"
