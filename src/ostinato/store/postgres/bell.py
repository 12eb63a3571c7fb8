"""Hears when another node has written, and nudges the writer to look: hints alone, nothing hangs on one that is lost.

The only room that knows LISTEN. A look without a hint comes every SWEEP_S, also while the connection is lost.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
from collections.abc import Callable
from typing import Final

from ostinato.domain.errors import OstinatoError
from ostinato.store.postgres.wire import Statement, Wire

SWEEP_S: Final = 2.0
LISTEN: Final = Statement("listen", "LISTEN ostinato")


class Bell:
    """A thread with a connection of its own; `name` is the writer whose notifications are its own."""

    def __init__(self, connect: Callable[[], Wire], nudge: Callable[[], None], *, name: str) -> None:
        self._connect = connect
        self._nudge = nudge
        self._name = name
        self._thread: threading.Thread | None = None
        self._stopping = threading.Event()
        self._wake_read, self._wake_write = os.pipe()

    def start(self) -> None:
        """Begins to listen; twice is fine."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._live, name="ostinato-bell", daemon=True)
            self._thread.start()

    def stop(self) -> None:
        """Returns when the thread has ended; once."""
        self._stopping.set()
        os.write(self._wake_write, b"x")
        if self._thread is not None:
            self._thread.join()
        os.close(self._wake_write)
        os.close(self._wake_read)

    def _live(self) -> None:
        while not self._stopping.is_set():
            with contextlib.suppress(OstinatoError):  # away: the next round connects anew
                wire = self._connect()
                try:
                    wire.put(LISTEN)
                    wire.sync()
                    self._nudge()  # what came before anybody listened
                    self._listen(wire)
                finally:
                    wire.close()
            if not self._stopping.is_set():
                self._sleep(None)
                self._nudge()

    def _listen(self, wire: Wire) -> None:
        while not self._stopping.is_set():
            if not self._sleep(wire) or any(writer != self._name for writer in wire.notifications()):
                self._nudge()

    def _sleep(self, wire: Wire | None) -> bool:
        """Until there is something to hear, at most SWEEP_S; False: there was nothing."""
        poll = select.poll()
        poll.register(self._wake_read, select.POLLIN)
        if wire is not None:
            poll.register(wire.fileno(), select.POLLIN)
        return bool(poll.poll(SWEEP_S * 1_000))
