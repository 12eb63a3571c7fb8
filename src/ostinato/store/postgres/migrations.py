"""The schema and its history: numbered files, applied in order, forward only, one opener at a time.

Knows nothing of what the tables mean.
"""

from __future__ import annotations

from pathlib import Path
from typing import Final

from ostinato.domain.errors import Conflict, Invalid
from ostinato.store.postgres.wire import Statement, Wire
from ostinato.store.verbs.database import Row

FOLDER: Final = Path(__file__).parent / "migrations"
SERVER_OLDEST: Final = 130_000
"""PostgreSQL 13: what is older, nobody mends any more."""
_LOCK: Final = 0x0571A70
"""Of those who open the database at once, one makes the tables."""


def migrations(folder: Path = FOLDER) -> dict[int, Path]:
    """Number -> file."""
    return {int(file.name.partition("_")[0]): file for file in sorted(folder.glob("[0-9]*.sql"))}


def statements(text: str) -> list[str]:
    """A script as single statements; each ends with its line."""
    lines = "\n".join(line for line in text.splitlines() if not line.startswith("--"))
    return [each.strip() for each in lines.split(";\n") if each.strip()]


def migrate(wire: Wire, *, place: str, folder: Path = FOLDER) -> int:
    """Brings the schema up to date, in one transaction; returns its version.

    Raises Conflict where a newer version has written it, Invalid for the database of something else.
    """
    newest = max(migrations(folder))
    _check_server(wire, place=place)
    if _version_of(wire) == newest:
        return newest
    _do(wire, "BEGIN")
    try:
        _do(wire, f"SELECT pg_advisory_xact_lock({_LOCK})")
        version = _version_of(wire)
        if version > newest:
            raise Conflict(
                f"The database has schema {version}; this program knows schemas up to {newest}",
                place=place,
                cure="Install the newer version again.",
            )
        if version == 0 and _rows(wire, "SELECT 1 FROM pg_tables WHERE schemaname = current_schema() LIMIT 1"):
            raise Invalid("This is a database of something else", place=place, cure="Make a database of its own.")
        for number, file in migrations(folder).items():
            if number > version:
                for statement in statements(file.read_text(encoding="utf-8")):
                    _do(wire, statement)
                _do(wire, f"UPDATE ostinato_store SET schema = {number}")
        _do(wire, "COMMIT")
    except BaseException:  # whatever it was: all of it or nothing
        if wire.is_open:
            _do(wire, "ROLLBACK")
        raise
    return newest


def _check_server(wire: Wire, *, place: str) -> None:
    version = int(_rows(wire, "SELECT current_setting('server_version_num')")[0][0])
    if version < SERVER_OLDEST:
        raise Invalid(f"The server is PostgreSQL {version // 10_000}", place=place, cure="Use PostgreSQL 13 or newer.")
    if _rows(wire, "SELECT pg_is_in_recovery()")[0][0]:
        raise Conflict("The server is a copy that cannot be written", place=place, cure="Name the primary server.")
    _check_database(wire, place=place)
    for name in ("fsync", "synchronous_commit"):
        if _rows(wire, f"SELECT current_setting('{name}')")[0][0] == "off":
            cure = f"Acknowledged work would be lost: {name} = on."
            raise Invalid(f"The server has {name} switched off", place=place, cure=cure)


def _check_database(wire: Wire, *, place: str) -> None:
    """Raises Invalid where texts of every language have no place, or we have none for our tables."""
    encoding, schema, user = _rows(wire, "SELECT current_setting('server_encoding'), current_schema(), current_user")[0]
    if encoding != "UTF8":
        cure = "createdb --encoding=UTF8 --template=template0 makes one that can."
        raise Invalid(
            f"The database keeps texts as {encoding}, which cannot hold every character", place=place, cure=cure
        )
    if schema is None:
        cure = f"ALTER ROLE {user} SET search_path = public, or another schema that there is."
        raise Invalid(f"No schema on the search_path is open to the user {user}", place=place, cure=cure)
    if _is_made(wire):
        may, right = (
            "has_table_privilege('ostinato_store', 'UPDATE')",
            "to change the tables, which belong to another user",
        )
        cure = "Connect as the user who made them, or GRANT ALL ON ALL TABLES IN SCHEMA to this one."
    else:
        may, right = "has_schema_privilege(current_schema(), 'CREATE')", f"to make tables in the schema {schema}"
        cure = f"GRANT CREATE ON SCHEMA {schema} TO {user}, or make a database that is this user's."
    if not _rows(wire, f"SELECT {may}")[0][0]:
        raise Invalid(f"The user {user} is not allowed {right}", place=place, cure=cure)


def _is_made(wire: Wire) -> bool:
    return not _rows(wire, "SELECT to_regclass('ostinato_store') IS NULL")[0][0]


def _version_of(wire: Wire) -> int:
    if not _is_made(wire):
        return 0
    return int(_rows(wire, "SELECT schema FROM ostinato_store")[0][0])


def _do(wire: Wire, text: str) -> None:
    wire.put(Statement(f"schema#{hash(text)}", text))
    wire.sync()


def _rows(wire: Wire, text: str) -> list[Row]:
    wire.put(Statement(f"schema#{hash(text)}", text))
    return wire.sync()[-1].rows
