"""A proxy between a store and its server that cuts connections at a chosen statement.

Counts what clients tell the server (each execution of a statement, each sync) over all connections, and asks `plan` for
each one what is to become of it: cut it before the server has it, or let the server have it and cut the answer off.
Speaks as much of PostgreSQL's protocol as that needs. Knows nothing of what the statements mean.
"""

from __future__ import annotations

import contextlib
import socket
import struct
import tempfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Final, Literal

from tests.postgres.server import USER

SOCKET: Final = ".s.PGSQL.5432"
COUNTED: Final = b"ESQ"
"""Execute, Sync, Query: the messages that make the server do something or answer."""
FLUSH: Final = b"H\x00\x00\x00\x04"

Cut = Literal["before", "after"] | None
Plan = Callable[[int, str], Cut]
"""What to do with the message of this number, from 0, which is the execution of this statement or `sync`."""


def never(number: int, statement: str) -> Cut:
    """Cuts nothing."""
    del number, statement
    return None


class Proxy:
    """Listens beside the server, as a server of its own; `plan` may be changed at any time."""

    def __init__(self, target: Path) -> None:
        self.plan: Plan = never
        self.seen: list[str] = []
        """Statements that were counted, in order."""
        self.cuts: list[tuple[str, Cut]] = []
        self._target = target / SOCKET
        self._folder = tempfile.TemporaryDirectory(prefix="ostinato-proxy-", dir="/tmp")
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(f"{self._folder.name}/{SOCKET}")
        self._listener.listen(64)
        self._guard = threading.Lock()
        self._open: set[socket.socket] = set()
        self._threads = [threading.Thread(target=self._accept, daemon=True)]
        self._threads[0].start()

    def url(self, database: str) -> str:
        """Where a database is, by way of this proxy."""
        return f"postgresql://{USER}@/{database}?host={self._folder.name}"

    def close(self) -> None:
        """Cuts everything, and returns when nothing of it runs."""
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
        with self._guard:
            left = list(self._open)
        for each in left:
            _cut(each)
        for thread in self._threads:
            thread.join()
        self._folder.cleanup()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:  # closed
                return
            server = socket.socket(socket.AF_UNIX)
            try:
                server.connect(str(self._target))
            except OSError:  # the server is away
                client.close()
                server.close()
                continue
            with self._guard:
                self._open |= {client, server}
            pair = _Pair(client, server)
            for work in (self._forward, self._answer):
                thread = threading.Thread(target=self._carry, args=(work, pair), daemon=True)
                self._threads.append(thread)
                thread.start()

    def _carry(self, work: Callable[[_Pair], None], pair: _Pair) -> None:
        with contextlib.suppress(OSError):
            work(pair)
        pair.end()
        with self._guard:
            pair.carriers -= 1
            if not pair.carriers:
                self._open -= {pair.client, pair.server}
                pair.client.close()
                pair.server.close()

    def _forward(self, pair: _Pair) -> None:
        pair.server.sendall(_take(pair.client, 4, counts_itself=True))
        for kind, message in _messages(pair.client):
            if kind == b"B":
                pair.statement = message[5:].split(b"\0", 2)[1].decode()
            if kind not in COUNTED:
                pair.server.sendall(message)
                continue
            statement = pair.statement if kind == b"E" else "sync" if kind == b"S" else "settings"
            match self._decide(statement):
                case "before":
                    return
                case "after":
                    pair.is_muted = True
                    pair.server.sendall(message + (FLUSH if kind == b"E" else b""))
                    pair.answered.wait(5.0)
                    return
                case None:
                    pair.server.sendall(message)

    def _decide(self, statement: str) -> Cut:
        with self._guard:
            cut = self.plan(len(self.seen), statement)
            self.seen.append(statement)
            if cut is not None:
                self.cuts.append((statement, cut))
            return cut

    def _answer(self, pair: _Pair) -> None:
        """Everything as it comes, until the connection is muted: then its next words are heard by nobody."""
        while data := pair.server.recv(65_536):
            if pair.is_muted:
                pair.answered.set()
                return
            pair.client.sendall(data)


class _Pair:
    """One connection: both its ends, and the statement that was bound last."""

    def __init__(self, client: socket.socket, server: socket.socket) -> None:
        self.client = client
        self.server = server
        self.statement = ""
        self.is_muted = False
        self.carriers = 2
        """Threads that still carry; the last one closes both ends."""
        self.answered = threading.Event()

    def end(self) -> None:
        """Both ends learn of it."""
        self.answered.set()
        for each in (self.client, self.server):
            _cut(each)


def _cut(end: socket.socket) -> None:
    with contextlib.suppress(OSError):
        end.shutdown(socket.SHUT_RDWR)


def _take(end: socket.socket, count: int, *, counts_itself: bool = False) -> bytes:
    """So many bytes; with `counts_itself` they are a length that includes itself, and the rest comes along."""
    data = b""
    while len(data) < count:
        part = end.recv(count - len(data))
        if not part:
            raise ConnectionResetError
        data += part
    return data + _take(end, struct.unpack("!i", data)[0] - 4) if counts_itself else data


def _messages(client: socket.socket) -> Iterator[tuple[bytes, bytes]]:
    """Kind and whole text of each message of a client."""
    while True:
        kind = _take(client, 1)
        yield kind, kind + _take(client, 4, counts_itself=True)
