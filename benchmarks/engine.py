"""Whole tasks a second and enqueue to start, through the public API of store and engine, with a full record.

Each caller adds a task and awaits that very task's end; the journal is on a real disk. Between add and end lie a claim,
an attempt, its events and counters: nothing is switched off.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import bound_sqlite
from benchmarks.places import real_directory
from benchmarks.result import Result, at_least, at_most, quantile
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import Done, NewTask, Outcome, Task, TaskKind, TaskResult, TaskSpec
from ostinato.domain.values import Instant
from ostinato.engine.clock import SystemClock
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.port import AttemptPort
from ostinato.store.port import ScheduleRow, Store, Tx
from ostinato.store.sqlite import CommitHook, open_store

NEW = NewTask(kind=TaskKind.GOAL, title="bench", spec=TaskSpec(goal="bench"))
RUNS = ((1, 1_500), (16, 12_000), (256, 30_000))
"""Callers, and whole tasks: some seconds each."""


class NoWork:
    """A handler that is done at once; tells when it was asked."""

    kind = TaskKind.GOAL
    timeout_s = 60.0

    def __init__(self) -> None:
        self.started: Callable[[int], None] = lambda task: None

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Nothing to prepare."""

    async def perform(self, attempt: AttemptPort) -> Outcome:
        """Done."""
        self.started(attempt.task.id)
        return Done(result=TaskResult(text="ok"))


async def _no_fire(row: ScheduleRow) -> None:
    raise AssertionError(row.name)


class Running:
    """A node on a fresh store, as a context."""

    def __init__(self, opening: Callable[[CommitHook], Store]) -> None:
        self._opening = opening
        self.handler = NoWork()
        self.limits = EngineLimits(tasks=512, claim=256)
        self.commits = 0
        self.before: Callable[[Store], object] = lambda store: None
        """Called with the store before the node starts."""

    async def __aenter__(self) -> Running:
        self.store = self._opening(self._count)
        self.clock = SystemClock()
        settings = NodeSettings(version="bench", limits=self.limits)
        self.node = EngineNode(
            self.store, [self.handler], clock=self.clock, settings=settings, fire=_no_fire, notify=print
        )
        self.before(self.store)
        await self.node.start()
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.node.stop()
        await self.store.close()

    def _count(self, moment: str, number: int) -> None:
        self.commits = number

    async def whole_task(self) -> None:
        """Adds a task and awaits its end."""
        task = await self.store.run(lambda tx: tx.add_task(NEW, now=self.clock.now()))
        await self.node.completions.wait_new(task.id)


def in_file(directory: Path) -> Running:
    """A node on a fresh SQLite file."""
    return Running(lambda hook: open_store(directory, hook=hook))


async def whole_tasks_per_s(node: Running, *, callers: int, tasks: int) -> tuple[float, int]:
    """Whole tasks a second, and commits, with so many callers that each await their own."""
    async with node as running:
        left = tasks

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await running.whole_task()

        began, commits = time.perf_counter(), running.commits
        await asyncio.gather(*(caller() for _ in range(callers)))
        return tasks / (time.perf_counter() - began), running.commits - commits


async def batched_tasks_per_s(node: Running, *, tasks: int, batch: int) -> float:
    """Whole tasks a second, added so many in one transaction; nobody waits for a single one, only for all."""
    ended = asyncio.Event()
    left = tasks

    def hear(events: Sequence[Event]) -> None:
        nonlocal left
        left -= sum(event.name is EventName.TASK_DONE for event in events)
        if left <= 0:
            ended.set()

    node.before = lambda store: store.subscribe(hear)
    async with node as running:
        began = time.perf_counter()
        for _ in range(0, tasks, batch):
            await running.store.run(lambda tx: [tx.add_task(NEW, now=running.clock.now()) for _ in range(batch)])
        await ended.wait()
        return tasks / (time.perf_counter() - began)


def tasks_per_s() -> Sequence[Result]:
    """`engine.tasks_per_s` for 1, 16 and 256 callers, each beside its bound."""
    results = []
    for callers, tasks in RUNS:
        with real_directory() as directory:
            bound, _ = asyncio.run(bound_sqlite.tasks_per_s(directory, callers=callers, tasks=tasks))
            value, commits = asyncio.run(whole_tasks_per_s(in_file(directory / "state"), callers=callers, tasks=tasks))
        name, note = f"engine.tasks_per_s.{callers}", f"{tasks} tasks, {commits} commits (fdatasync each)"
        if callers == 256:
            results.append(at_least(name, value, "tasks/s", floor=4_000, bound=bound, share=0.4, note=note))
        else:
            results.append(Result(name=name, value=value, unit="tasks/s", bound=bound, note=note))
    return results


async def _start_times_ms(directory: Path, *, tasks: int) -> list[float]:
    times: list[float] = []
    async with in_file(directory) as running:
        begun = {}
        running.handler.started = lambda task: begun.update({task: time.perf_counter()})
        for _ in range(tasks):
            asked = time.perf_counter()
            task = await running.store.run(lambda tx: tx.add_task(NEW, now=running.clock.now()))
            await running.node.completions.wait_new(task.id)
            times.append((begun[task.id] - asked) * 1_000)
            await asyncio.sleep(0.002)  # idle between two tasks: this measures waking, not queueing
    return times


def start_ms() -> Sequence[Result]:
    """`engine.start_ms`: from asking the store to the handler's first line, in an idle node."""
    with real_directory() as directory:
        times = asyncio.run(_start_times_ms(directory / "state", tasks=600))
    return (
        at_most("engine.start_ms.p50", quantile(times, 0.50), "ms", floor=2.0),
        at_most("engine.start_ms.p99", quantile(times, 0.99), "ms", floor=5.0),
    )
