"""Notices that another history of the database goes on: after a failover to a copy, or where a dump was put back.

Commits may have been lost then, and whoever made them does not know it: a claim of the lost past could carry the very
token that is given out next. So the epoch rises, which stands above the count in every token, and ids that others have
remembered are not given out again: those of nodes, questions and events. The epoch is the second in which this was
noticed: counting on from the last one was thought of, and two copies promoted one after the other would both have
counted to the same.

Knows nothing of tasks.
"""

from __future__ import annotations

from typing import Final, NamedTuple

from ostinato.store.postgres.database import FLOOR, PostgresDatabase
from ostinato.store.postgres.wire import Statement

NAME: Final = "postgres.lineage"
"""The setting that holds lineage and epoch."""
GAPS: Final = {"nodes": 1_000, "questions": 1_000, "events": 1_000_000}
"""Ids that a lost past may have given out: far above what any copy lags behind."""

LOCK: Final = Statement("lock lineage", "SELECT 1 FROM ostinato_store FOR UPDATE")
LINE: Final = (
    "(SELECT system_identifier FROM pg_control_system()) || '/' || "
    "substr(pg_walfile_name(pg_current_wal_insert_lsn()), 1, 8) || '/' || 'ostinato_store'::regclass::oid || '/' || "
    "(SELECT oid FROM pg_database WHERE datname = current_database())"
)
LOOK: Final = Statement(
    "lineage",
    f"SELECT {LINE}, (SELECT value FROM settings WHERE name = '{NAME}'), "
    "extract(epoch FROM clock_timestamp() - timestamptz '2025-01-01 00:00:00+00')::bigint",
)


class Lineage(NamedTuple):
    """Which history of which database this is."""

    line: str
    """The server's system identifier and timeline, and the numbers that it gave to the table and to the database when
    these were made: a backup that is put back has others."""
    epoch: int


def learn(database: PostgresDatabase) -> Lineage:
    """The lineage of the server that answers now; a new one is written down, and its epoch is above all before."""
    line, known, _ = _look(database)
    if known is None or known.line != line:
        database.wire.put(Statement("begin lineage", "BEGIN"))
        database.wire.put(LOCK)
        line, known, seconds = _look(database)  # another node may have been faster
        if known is None or known.line != line:
            known = Lineage(line, 0 if known is None else max(known.epoch + 1, seconds))
            _write_down(database, known)
        database.wire.put(Statement("commit lineage", "COMMIT"))
        database.sync()
    return known


def _look(database: PostgresDatabase) -> tuple[str, Lineage | None, int]:
    database.wire.put(LOOK)
    ((line, value, seconds),) = database.sync()[-1].rows
    if value is None:
        return line, None, seconds
    before, _, epoch = value.rpartition(" ")
    return line, Lineage(before, int(epoch)), seconds


def _write_down(database: PostgresDatabase, lineage: Lineage) -> None:
    database.put("set_setting", name=NAME, value=f"{lineage.line} {lineage.epoch}")
    if lineage.epoch:
        for table, gap in GAPS.items():
            floor = database.next_id(table, take=False) + gap
            database.put("set_setting", name=FLOOR.format(table=table), value=str(floor))
            database.last_ids.pop(table)
