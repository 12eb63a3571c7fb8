"""A node's own memory does not grow with the tasks it has done: every object that Python holds is counted.

What the process takes of its machine also holds SQLite's pages, up to their bound, and what the allocator keeps for
later; a leak of a kilobyte a task would be lost in them for an hour. What Python has allocated and not given back is
exact. Caches that are bounded by a number are made small here, so that they are full before the counting begins.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import tracemalloc
from collections.abc import AsyncIterator, Callable
from functools import partial
from pathlib import Path

import pytest

from ostinato.agents import leash, turn_handler
from ostinato.app import FleetApp
from ostinato.domain.task import NewTask, TaskState
from ostinato.domain.values import Instant
from ostinato.engine import completion
from ostinato.gateway.log_lines import LogLines
from ostinato.models.scripted import player
from ostinato.store.port import Tx
from ostinato.store.verbs import memory
from tests.conftest import FULL, run
from tests.crash.scenario import goal
from tests.soak.client import AGENTS
from tests.soak.test_soak import build

pytestmark = pytest.mark.slow

SMALL = 16
"""What a cache may hold here."""

WARM, TASKS = (400, 4_000) if FULL else (30, 120)
AT_ONCE = 4

BYTES_MAX = 150.0 if FULL else 800.0
"""For each task. Nothing of one is kept but a line of the daily note; the rest is what connections vary by."""

LEAK = 1_000
"""Bytes for each task, that must be noticed."""


def test_a_node_keeps_nothing_of_the_tasks_it_has_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    grown = grown_by(tmp_path, monkeypatch)
    tell(f"memory: {grown:.0f} bytes for each of {TASKS:,} tasks")
    assert grown < BYTES_MAX


def test_a_leak_of_a_kilobyte_a_task_is_noticed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, tell: Callable[[str], None]
) -> None:
    kept: list[bytearray] = []
    perform = turn_handler.TurnHandler.perform

    async def perform_and_keep(self: turn_handler.TurnHandler, attempt: object) -> object:
        kept.append(bytearray(LEAK))
        return await perform(self, attempt)  # type: ignore[arg-type]  # handed through

    monkeypatch.setattr(turn_handler.TurnHandler, "perform", perform_and_keep)
    grown = grown_by(tmp_path, monkeypatch)
    tell(f"a leak of {LEAK} bytes a task: noticed as {grown:.0f}")
    assert grown > BYTES_MAX


def grown_by(folder: Path, monkeypatch: pytest.MonkeyPatch) -> float:
    """Bytes that a whole node holds more, for each task that it has done."""
    for module, name in (
        (completion, "REMEMBERED"),
        (memory, "TASKS_MAX"),
        (player, "REMEMBERED_MAX"),
        (leash, "_KEPT_MAX"),
    ):
        monkeypatch.setattr(module, name, SMALL)
    build(folder / "fleet")
    return run(_measure(folder / "fleet"), timeout_s=900.0)


async def _measure(folder: Path) -> float:
    async with _working(folder) as app:
        await _work(app, range(WARM))
        tracemalloc.start(1)
        try:
            await _work(app, range(WARM, WARM + WARM))  # so that what was there before is exchanged for what is counted
            before = _held()
            await _work(app, range(2 * WARM, 2 * WARM + TASKS))
            return (_held() - before) / TASKS
        finally:
            tracemalloc.stop()


def _held() -> int:
    gc.collect()
    return tracemalloc.get_traced_memory()[0]


@contextlib.asynccontextmanager
async def _working(folder: Path) -> AsyncIterator[FleetApp]:
    app = FleetApp(folder, log=_Silent())
    await app.start()
    try:
        yield app
    finally:
        await app.stop()


class _Silent(LogLines):
    """Builds each line, and writes none."""

    def say(self, level: str, text: str, **facts: object) -> None:
        pass


async def _work(app: FleetApp, numbers: range) -> None:
    left = iter(numbers)

    async def caller() -> None:
        for number in left:
            new = goal(f"client-0-{number}", f"free-{number % AGENTS}", key=str(number))
            assert app.store is not None
            assert app.node is not None
            task = await app.store.run(partial(_add, new, app.clock.now()))
            assert (await app.node.completions.wait(task)).state is TaskState.DONE

    await asyncio.gather(*(caller() for _ in range(AT_ONCE)))


def _add(new: NewTask, now: Instant, tx: Tx) -> int:
    return tx.add_task(new, now=now).id
