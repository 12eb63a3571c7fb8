"""The schema and its history: numbered files, applied in order, forward only.

Knows nothing of what the tables mean.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ostinato.domain.errors import Conflict, Invalid

APPLICATION_ID: Final = 0x0571A70
"""Stands in the head of each of our database files ("ostinato", as far as hexadecimal digits go)."""

_FOLDER = Path(__file__).parent / "migrations"


def migrations(folder: Path = _FOLDER) -> dict[int, Path]:
    """Number -> file."""
    return {int(file.name.partition("_")[0]): file for file in sorted(folder.glob("[0-9]*.sql"))}


def version_of(connection: sqlite3.Connection) -> int:
    """How many migrations a database has seen; 0: it is empty."""
    return int(connection.execute("PRAGMA user_version").fetchone()[0])


def check_known(connection: sqlite3.Connection, *, place: str) -> None:
    """Refuses a file that is not ours, and one that a newer program has written."""
    version, newest = version_of(connection), max(migrations())
    if version > newest:
        raise Conflict(
            f"The database has schema {version}; this program knows schemas up to {newest}",
            place=place,
            cure="Install the newer version again, or restore a backup that this version has made.",
        )
    owner = int(connection.execute("PRAGMA application_id").fetchone()[0])
    tables = connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if owner != APPLICATION_ID and (tables or version):
        raise Invalid("This is a database of something else", place=place, cure="Choose another directory or file.")


def migrate(connection: sqlite3.Connection, *, place: str, folder: Path = _FOLDER) -> int:
    """Brings the schema up to date, each step in a transaction of its own; returns its version."""
    check_known(connection, place=place)
    for number, file in migrations(folder).items():
        if number <= version_of(connection):
            continue
        connection.execute("BEGIN IMMEDIATE")
        try:
            if number > version_of(connection):  # another process may have been faster
                for statement in statements(file.read_text(encoding="utf-8")):
                    connection.execute(statement)
                connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
                connection.execute(f"PRAGMA user_version = {number}")
            connection.execute("COMMIT")
        except BaseException:  # whatever it was: all of a step or nothing
            if connection.in_transaction:  # a disk that fails has ended it already
                connection.execute("ROLLBACK")
            raise
    return version_of(connection)


def statements(text: str) -> list[str]:
    """A script as single statements, so that it can run inside a transaction."""
    found: list[str] = []
    rest = ""
    for line in text.splitlines(keepends=True):
        rest += line
        if line.rstrip().endswith(";") and sqlite3.complete_statement(rest):
            found.append(rest.strip())
            rest = ""
    if "".join(line for line in rest.splitlines() if not line.startswith("--")).strip():
        found.append(rest.strip())
    return found
