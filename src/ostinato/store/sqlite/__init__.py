"""The store in one SQLite file: nothing to install, nothing to run beside it.

Open it with `open_store`. Never open the database file by any other means than SQLite: closing any other descriptor of
it drops SQLite's locks, and acknowledged work can be lost.
"""

from __future__ import annotations

from ostinato.store.sqlite.copies import restore
from ostinato.store.sqlite.store import SqliteStore, open_store
from ostinato.store.sqlite.writer import CommitHook

__all__ = ["CommitHook", "SqliteStore", "open_store", "restore"]
