"""The state directory: whose it is, and what the database in it is called."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from ostinato.domain.errors import Internal, Invalid

FILE_NAME: Final = "ostinato.db"
PART_BYTES: Final = 1_048_576
"""Of a log, at a time: as much as nobody minds to have in memory."""


def prepare_directory(directory: Path) -> None:
    """Makes the state directory with mode 0700, and refuses one that others may enter.

    Before a database is made in it, its own name is made durable: a power cut takes a name that nobody has synced, and
    with it everything below, synced or not.
    """
    new = [each for each in (directory, *directory.parents) if not each.exists()]
    try:
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    except FileExistsError:
        raise Invalid("The state directory is no directory", place=str(directory), cure="Move it away.") from None
    except OSError as error:
        raise Invalid(f"The state directory cannot be made: {error.strerror}", place=str(directory)) from error
    mode = stat.S_IMODE(directory.stat().st_mode)
    if mode & 0o077:
        raise Invalid(
            f"Others may enter the state directory (mode {mode:04o})",
            place=str(directory),
            cure=f"chmod 700 {directory}",
        )
    if not (directory / FILE_NAME).exists():
        for each in new or [directory]:
            sync_directory(each.parent)


def sync_directory(directory: Path) -> None:
    """Makes the names in a directory durable. Only for directories: a database file is opened by SQLite alone."""
    descriptor = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def log_of(database: Path) -> Path:
    """Where SQLite keeps the log of a database."""
    return database.with_name(f"{database.name}-wal")


def settle_names(directory: Path) -> None:
    """Makes the name of a log that SQLite has just made durable, with everything that will be acknowledged in it.

    SQLite syncs the folder itself, and goes on where that fails. Raises Internal.
    """
    try:
        sync_directory(directory)
    except OSError as error:
        raise Internal(f"The state directory cannot be synced: {error.strerror}", cure="Look at the disk.") from error


def write_log_again(database: Path) -> None:
    """Writes the log that an unclean end has left behind over itself, and syncs it.

    After a sync that failed, the kernel may still show pages that are not on the disk, and call them clean: later syncs
    pass them over. What is committed on top of such pages would be lost with them in a power cut. Nobody may write
    meanwhile; readers see the same bytes. SQLite holds no lock on this file, so that opening it drops none.
    """
    try:
        log = os.open(log_of(database), os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return
    try:
        offset = 0
        while part := os.pread(log, PART_BYTES, offset):
            offset += os.pwrite(log, part, offset)
        os.fsync(log)
    finally:
        os.close(log)
