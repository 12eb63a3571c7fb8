"""Lists over many tasks: what a page looks at is counted in steps of the database, never in time."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import asdict

from ostinato.domain.task import TaskKind, TaskState
from ostinato.store.port import Reads, TaskFilter
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.database import SqliteDatabase, connect, queries
from ostinato.store.verbs.reads import LOOKED_AT_MAX
from ostinato.store.verbs.transaction import snapshot

MANY = 3 * LOOKED_AT_MAX
"""Enough that a page cannot look at all."""

STEPS_OF_A_PAGE = 40_000
"""Steps of SQLite's machine that a page of 50 along an index takes at most, whatever the number of tasks."""

STEPS_OF_A_ROW = 30
"""Steps for a row that is looked at and passed over."""

GOALS = frozenset({TaskKind.GOAL})
DONE, READY = frozenset({TaskState.DONE}), frozenset({TaskState.READY})


class Counted:
    """Reads over a snapshot; counts the steps that the database's machine makes."""

    def __init__(self, file: Path) -> None:
        self.connection = connect(file, read_only=True)
        self.reads: Reads = snapshot(SqliteDatabase(self.connection, file, queries()))
        self.steps = 0
        self.connection.set_progress_handler(self._step, 100)

    def _step(self) -> int:
        self.steps += 100
        return 0


@pytest.fixture(scope="module")
def crowd(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Old tasks that are done, then as many that are ready; one of a project and one delivery among the oldest."""
    folder = tmp_path_factory.mktemp("crowd") / "state"
    asyncio.run(_make(folder))
    return folder / "ostinato.db"


async def _make(folder: Path) -> None:
    store = open_store(folder)
    await store.run(lambda tx: None)
    await store.close()
    with sqlite3.connect(folder / "ostinato.db") as connection:
        connection.execute("PRAGMA synchronous = OFF")
        connection.executemany(
            "INSERT INTO tasks (id, kind, state, title, agent, session, pool, project, type, priority, not_before_at,"
            " created_at, updated_at, finished_at, ready_at, attempts, failures, losses, token, journal, steps,"
            " unfinished, held, awaited, depth, reason, dismissed, seen, endings, tokens, usd_micros, spec)"
            " VALUES (?, ?, ?, ?, 'triage', '', 'default', ?, '', 0, 0, 0, 0, ?, 0,"
            " 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, '', 0, 0, 0, 0, 0, '{}')",
            _rows(),
        )
        for state, count in connection.execute("SELECT state, count(*) FROM tasks GROUP BY state").fetchall():
            connection.execute("INSERT INTO totals VALUES (?, ?)", (f"tasks.{state}", count))
            connection.execute("INSERT INTO tallies VALUES ('triage', 1, ?, ?)", (state, count))
    connection.close()


def _rows() -> Iterator[tuple[object, ...]]:
    for number in range(1, 2 * MANY + 1):
        kind, project = ("delivery", "web") if number == 5 else ("goal", "")
        done = number <= MANY
        yield number, kind, "done" if done else "ready", f"ticket {number}", project, 1 if done else None


@pytest.mark.slow
def in_words(which: TaskFilter) -> str:
    """The filter in an order that does not change from process to process."""
    parts = {name: sorted(value) if isinstance(value, frozenset) else value for name, value in asdict(which).items()}
    return " ".join(f"{name}={value}" for name, value in parts.items() if value) or "everything"


@pytest.mark.parametrize(
    "which",
    [
        TaskFilter(),
        TaskFilter(kinds=GOALS),
        TaskFilter(kinds=GOALS, states=DONE),
        TaskFilter(kinds=GOALS, states=READY),
        TaskFilter(states=DONE | READY),
        TaskFilter(states=frozenset({TaskState.FAILED})),
        TaskFilter(agent="triage"),
        TaskFilter(agent="nobody"),
        TaskFilter(project="web"),
        TaskFilter(kinds=frozenset({TaskKind.DELIVERY})),
        TaskFilter(kinds=frozenset({TaskKind.RUN}), states=DONE),
        TaskFilter(session="main:triage"),
        TaskFilter(parent=7),
        TaskFilter(dead=True),
    ],
    ids=in_words,
)
def test_a_page_that_an_index_gives_takes_few_steps(crowd: Path, which: TaskFilter) -> None:
    counted = Counted(crowd)
    page, _older = counted.reads.tasks_page(which, limit=50)
    assert counted.steps <= STEPS_OF_A_PAGE
    assert all(_matches(which, task.state, task.kind) for task in page)


@pytest.mark.slow
@pytest.mark.parametrize(
    "which", [TaskFilter(text="ticket 7"), TaskFilter(text="none"), TaskFilter(project="web", text="x")]
)
def test_a_search_looks_at_a_bounded_number_of_tasks_and_says_where_to_go_on(crowd: Path, which: TaskFilter) -> None:
    counted, before, pages = Counted(crowd), None, 0
    while True:
        counted.steps = 0
        page, before = counted.reads.tasks_page(which, before=before, limit=50)
        assert counted.steps <= STEPS_OF_A_PAGE + STEPS_OF_A_ROW * LOOKED_AT_MAX
        pages += 1
        if before is None:
            break
    assert pages <= 2 * MANY // LOOKED_AT_MAX + 2 * MANY // 50
    assert not page or which.text in page[-1].title


def _matches(which: TaskFilter, state: TaskState, kind: TaskKind) -> bool:
    return (not which.states or state in which.states) and (not which.kinds or kind in which.kinds)
