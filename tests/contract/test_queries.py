"""The queries of SQLite: each can be prepared, each is used, and none of the frequent ones walks through a table."""

from __future__ import annotations

import re
import sqlite3
from pathlib import Path

import pytest

from ostinato.domain.errors import Internal
from ostinato.domain.message import OWN_KINDS
from ostinato.domain.task import ENDED, UNFINISHED, TaskState
from ostinato.store.sql import load_queries
from ostinato.store.sqlite.database import queries
from ostinato.store.sqlite.migrations import migrate, migrations

QUERIES = queries()
VERBS = "".join(path.read_text(encoding="utf-8") for path in Path("src/ostinato/store/verbs").resolve().glob("*.py"))
FRAGMENTS = {name for name in QUERIES if name.endswith(("_columns", "_filter"))} | {"sums"}
LISTS = {
    *("tasks", "questions", "sessions", "schedules", "skips", "events", "nodes", "flags", "totals", "tokens"),
    *("placements", "served_pools", "move_to_pool"),
    "breakers",
    "audit_latest",
    "pins",
    "permissions",
    "agent_tallies",
}
"""Pages or small tables, walked in the order of their key."""
RARE = {
    *(f"spending_by_{by}" for by in ("agent", "model", "task", "day", "trigger")),
    *(f"skips_by_{by}" for by in ("agent", "day", "trigger")),
    *(name for name in QUERIES if name.startswith(("prune_", "prunable_"))),
    "row_estimates",
    "move_to_strand",
    "change_aging",  # once, when the fleet's setting has changed
    "strands_in_use",  # as move_to_strand: once, when the fleet's limits have changed
    "running",  # along the small index of what runs
    "running_elsewhere",
    "open_nodes",
    "lapsed_nodes",
    "asking_tasks",
    "next_due",
    "latest_event",
    "first_due",
    "agent_record",  # over the few rows that its inner query found along an index
}


@pytest.fixture(scope="module")
def empty() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None)
    migrate(connection, place="memory")
    return connection


@pytest.mark.parametrize("name", sorted(set(QUERIES) - FRAGMENTS))
def test_a_query_can_be_prepared_and_is_used(name: str, empty: sqlite3.Connection) -> None:
    query = QUERIES[name]
    plan = empty.execute(f"EXPLAIN QUERY PLAN {query.text}", [None] * len(query.names)).fetchall()
    walks = [row[3] for row in plan if re.match(r"SCAN \w+", row[3]) and "json_each" not in row[3]]
    allowed = name in LISTS | RARE or all("USING INDEX" in walk or "USING COVERING INDEX" in walk for walk in walks)
    assert allowed, f"walks through a table: {walks}"
    stem = re.sub(r"(spending|skips)_by_\w+", r"\1_by_{by}", name)
    assert f'"{stem}"' in VERBS, "no verb uses it"


def test_every_query_that_a_verb_names_exists() -> None:
    named = re.findall(r'_db\.(?:one|all|do|many)\(\s*"(\w+)"', VERBS)
    assert len(named) > 80
    assert set(named) <= set(QUERIES)


def test_the_conditions_of_indexes_say_what_the_table_of_states_says() -> None:
    schema = "".join(path.read_text(encoding="utf-8") for path in migrations().values())
    ended = " AND ".join(
        f"state != '{state.value}'" for state in (TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED)
    )
    assert {TaskState.DONE, TaskState.CANCELLED, TaskState.FAILED} == ENDED == set(TaskState) - UNFINISHED
    assert f"kind = 'turn' AND session != '' AND {ended}" in schema
    pruned = QUERIES["prune_messages"].text
    assert all(f"'{kind.value}'" in pruned for kind in OWN_KINDS)


def test_a_query_written_twice_or_with_unknown_words_is_found(tmp_path: Path) -> None:
    (tmp_path / "a.sql").write_text("-- name: one\n-- What for.\nSELECT :x, '::y', {two};\n")
    (tmp_path / "b.sql").write_text("-- name: two\n-- What for.\n:x + :y\n")
    loaded = load_queries(tmp_path, {})
    assert loaded["one"].text == "SELECT ?, '::y', ? + ?"
    assert loaded["one"].pick({"x": 1, "y": 2}) == (1, 1, 2)
    (tmp_path / "c.sql").write_text("-- name: two\n-- Again.\nSELECT 1\n")
    with pytest.raises(Internal, match="'two' is written twice"):
        load_queries(tmp_path, {})
