"""When to move the write-ahead log into the database file. Only the writer does so, between commits.

SQLite tells the length of the log only when it checkpoints, so it is estimated from the rows changed since the last
time, by the ratio that the last checkpoint showed. The log is written over from its start, never cut off while it is in
use: overwriting costs the disk a third less than growing a file.
"""

from __future__ import annotations

import sqlite3
from typing import Final

from ostinato.store.sqlite.database import StoreBroken, meaning_of

PAGES_LARGE: Final = 2_000
"""8 MB: a checkpoint costs some milliseconds once in a thousand tasks, and a log that is soon written over again stays
small and costs the disk less than one that grows."""
PAGES_WORTH: Final = 500
"""2 MB: worth a checkpoint when nobody waits."""
IDLE_S: Final = 0.5
"""Silence after which nobody is disturbed by a checkpoint."""
PAGES_HUGE: Final = 64_000
"""256 MB: readers have kept the log from being reused; its file is cut off when they let it go."""


class Checkpoints:
    """Counts changes and checkpoints when it is time. Raises StoreBroken where the disk fails."""

    def __init__(self, connection: sqlite3.Connection) -> None:
        self._connection = connection
        self._changes = 0
        self._pages_per_change = 2.0

    @property
    def _pages(self) -> float:
        return self._changes * self._pages_per_change

    @property
    def idle_s(self) -> float | None:
        """How long the writer should wait before it calls `when_idle`; None: there is nothing to do then."""
        return IDLE_S if self._pages > PAGES_WORTH else None

    def note(self, changes: int) -> None:
        """So many rows were changed by a commit, which itself writes a page or two."""
        self._changes += changes + 2

    def when_idle(self) -> None:
        """Nobody waits."""
        self._checkpoint()

    def when_large(self) -> None:
        """After each commit."""
        if self._pages > PAGES_LARGE:
            self._checkpoint()

    def _checkpoint(self) -> None:
        try:
            _busy, pages, moved = self._connection.execute("PRAGMA wal_checkpoint(PASSIVE)").fetchone()
            if pages > PAGES_HUGE and moved == pages:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        except sqlite3.Error as error:
            meaning = meaning_of(error)
            if isinstance(meaning, StoreBroken):
                raise meaning from error
            pages = 0  # no room to grow the file, say: the log keeps everything until there is
        if pages > 0:
            self._pages_per_change = min(8.0, max(0.2, pages / max(1, self._changes)))
        self._changes = 0
