"""A client of a node, in a process of its own. Standard library only, so that it begins at once.

`add SOCKET LOG NAME COUNT [SECONDS]`: adds COUNT tasks over the socket, each under a key of its own, again and again
until it is told that the task is safe; then it writes `key task` into LOG, and rests. Begins behind what stands there.
`read DATABASE`: opens the database, counts, closes it, and begins again, until it is killed.
`look DATABASE`: the same with one connection that may not write.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import select
import socket
import sqlite3
import sys
from pathlib import Path

AGENTS = 4


class Connection(http.client.HTTPConnection):
    """HTTP over a Unix socket."""

    def __init__(self, path: str) -> None:
        super().__init__("localhost", timeout=120)
        self._path = path

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self._path)


def add(path: str, log: Path, *, name: str, count: int, pause_s: float) -> None:
    """Each task until it is safe."""
    token = os.environ["OSTINATO_TOKEN"]
    done = len(log.read_text().splitlines()) if log.exists() else 0
    with log.open("a", buffering=1) as said:
        connection = Connection(path)
        for number in range(done, count):
            key = f"{name}-{number}"
            body = {"title": key, "goal": key, "agent": f"free-{number % AGENTS}", "key": key}
            while (task := ask(connection, body, token=token)) is None:
                connection.close()
                rest(0.02)
            said.write(f"{key} {task}\n")
            rest(pause_s)


def ask(connection: Connection, body: dict[str, str], *, token: str) -> str | None:
    """The task that was added, or that was there already; None: there is no node now, or it has no room."""
    headers = {"authorization": f"Bearer {token}", "content-type": "application/json"}
    try:
        connection.request("POST", "/api/v1/tasks", body=json.dumps(body), headers=headers)
        answer = connection.getresponse()
        text = answer.read()
    except (OSError, http.client.HTTPException):
        return None
    if answer.status in (429, 503):
        return None
    assert answer.status == 200, text
    return str(json.loads(text)["id"])


def rest(seconds: float) -> None:
    """The pace of a client; nothing is waited for."""
    select.select([], [], [], seconds)


def read(database: str) -> None:
    """As a person who looks with a tool of their own, and closes it."""
    while True:
        with (
            contextlib.closing(sqlite3.connect(database, timeout=120)) as connection,
            contextlib.suppress(sqlite3.Error),
        ):
            connection.execute("SELECT count(*) FROM tasks").fetchone()


def look(database: str) -> None:
    """As a monitor that stays."""
    with contextlib.closing(sqlite3.connect(f"file:{database}?mode=ro", uri=True, timeout=120)) as connection:
        while True:
            with contextlib.suppress(sqlite3.Error):
                connection.execute("SELECT count(*) FROM tasks").fetchone()
            rest(0.001)


def main(arguments: list[str]) -> None:
    match arguments:
        case ["add", path, log, name, count, *pause]:
            pause_s = float(pause[0]) if pause else 0.0
            add(path, Path(log), name=name, count=int(count), pause_s=pause_s)
        case ["read", database]:
            read(database)
        case ["look", database]:
            look(database)
        case _:
            raise SystemExit(__doc__)


if __name__ == "__main__":
    main(sys.argv[1:])
