"""Makes a connection: the hosts of an address in turn, each within CONNECT_S, while other threads go on.

libpq's own blocking way was tried and lost: psycopg's layer over it holds the interpreter meanwhile, so that a server
whose machine does not answer stopped the event loop for five seconds. Knows nothing of what is said afterwards.
"""

from __future__ import annotations

import select
import time
from collections.abc import Callable
from typing import Final, TypeVar

from psycopg import pq

from ostinato.store.port import StoreAway
from ostinato.store.postgres.address import Address
from ostinato.store.postgres.failures import away

CONNECT_S: Final = 5.0
"""Longest wait for one host: far above any network's round trips."""
RECONNECT_S: Final = 5.0
"""How long callers wait for a database that restarts, before they are told that it is away."""
PAUSE_S: Final = 0.25
"""Between two tries to connect."""

T = TypeVar("T")


def connect(address: Address) -> pq.abc.PGconn:
    """A connection to the first host that can be written; raises StoreAway with what each of them said."""
    said: list[str] = []
    for conninfo in address.conninfos():
        connection = pq.PGconn.connect_start(conninfo)
        if _is_made(connection):
            return connection
        lines = [line.strip() for line in connection.get_error_message().splitlines() if line.strip()]
        said.append(lines[0] if lines else f"no answer in {CONNECT_S:g} s")
        connection.finish()
    raise away(f"{address} says: {'; '.join(said)}")


def patiently(connect: Callable[[], T]) -> T:
    """What `connect` returns, tried again where the server is away; raises StoreAway when it is so for RECONNECT_S."""
    deadline_s = time.monotonic() + RECONNECT_S
    while True:
        try:
            return connect()
        except StoreAway:
            if time.monotonic() > deadline_s:
                raise
        time.sleep(PAUSE_S)


def _is_made(connection: pq.abc.PGconn) -> bool:
    """Brings a connection that was begun to its end."""
    deadline_s = time.monotonic() + CONNECT_S
    if connection.status == pq.ConnStatus.BAD:
        return False
    waits: dict[int, int] = {pq.PollingStatus.READING: select.POLLIN, pq.PollingStatus.WRITING: select.POLLOUT}
    status: int = pq.PollingStatus.WRITING
    while status in waits:
        poll = select.poll()  # anew each time: libpq may go on with another socket
        poll.register(connection.socket, waits[status])
        if not poll.poll(max(0.0, deadline_s - time.monotonic()) * 1_000):
            return False
        status = connection.connect_poll()
    return status == pq.PollingStatus.OK
