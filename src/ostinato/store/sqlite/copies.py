"""Copies of a database: made while it runs, verified before they are used.

Always by SQLite's own backup, never by copying the file. Knows nothing of stores that are open.
"""

from __future__ import annotations

import contextlib
import os
import sqlite3
from pathlib import Path

from ostinato.domain.errors import Conflict, Internal, Invalid, NotFound
from ostinato.store.sqlite.database import StoreFull, connect, meaning_of
from ostinato.store.sqlite.directory import FILE_NAME, prepare_directory, sync_directory
from ostinato.store.sqlite.migrations import check_known, version_of


def check(connection: sqlite3.Connection) -> str:
    """`ok`, or what SQLite's quick check found wrong, a line each."""
    try:
        return "\n".join(row[0] for row in connection.execute("PRAGMA quick_check(20)"))
    except sqlite3.DatabaseError as error:  # too damaged to be checked
        return str(error)


def copy_out(source: sqlite3.Connection, target: Path) -> int:
    """Copies a database into a new file that only its owner may read; returns its bytes.

    Conflict where the target exists; nothing is left behind where it fails.
    """
    try:
        os.close(os.open(target, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o600))
    except FileExistsError:
        raise Conflict("A backup never overwrites anything", place=str(target), cure="Choose another name.") from None
    except OSError as error:
        cure = "Choose another place."
        raise Invalid(f"A backup cannot be written here: {error.strerror}", place=str(target), cure=cure) from error
    try:
        copy = sqlite3.connect(target, isolation_level=None)
        try:
            source.backup(copy)
            copy.execute("PRAGMA journal_mode = DELETE")  # one file, complete in itself
        finally:
            copy.close()
        sync_directory(target.parent)
    except sqlite3.Error as error:
        target.unlink(missing_ok=True)
        meaning = meaning_of(error)
        if isinstance(meaning, StoreFull):
            raise meaning from error
        cure = "Choose another place."
        raise Internal(f"The copy could not be made: {error}", place=str(target), cure=cure) from error
    return target.stat().st_size


def restore(file: Path, directory: Path) -> int:
    """Verifies a backup and makes it the database of a state directory; returns its schema.

    NotFound without such a file, Invalid where it is damaged or something else, Conflict where it is of a newer version
    or the directory holds a database already.
    """
    if not file.is_file():
        raise NotFound("There is no such backup", place=str(file), cure="Name a file that `ostinato backup` wrote.")
    prepare_directory(directory)
    target = directory / FILE_NAME
    for each in (target, *(target.with_name(target.name + end) for end in ("-wal", "-shm", "-journal"))):
        if each.exists():  # a log of another database would be read into this one
            cure = "Give --replace: then it is moved aside."
            raise Conflict("There is a database already", place=str(each), cure=cure)
    draft = target.with_name(f"{target.name}.restoring")
    draft.unlink(missing_ok=True)
    try:
        with contextlib.closing(connect(file, read_only=True)) as source:
            version = _verified(source, file)
            copy_out(source, draft)
    except sqlite3.DatabaseError as error:
        raise Invalid(f"The backup cannot be read: {error}", place=str(file), cure="Use another one.") from error
    try:
        os.rename(draft, target)
        sync_directory(target.parent)
    except OSError as error:
        raise Internal(
            f"The restored database could not be put in place: {error.strerror}", place=str(target)
        ) from error
    return version


def _verified(source: sqlite3.Connection, file: Path) -> int:
    """The schema of a backup that is whole, ours, and of a version that is known."""
    check_known(source, place=str(file))
    version = version_of(source)
    if version == 0:
        raise Invalid("This is an empty file, no backup", place=str(file), cure="Use another one.")
    if (found := check(source)) != "ok":
        raise Invalid(f"The backup is damaged: {found.splitlines()[0]}", place=str(file), cure="Use another one.")
    return version
