"""Graphs of 10,000 tasks, performed with a full record; and an urgent task that begins while every place is taken.

A graph is written as WfFormat, read, added in topological order and performed by a node; that no task began before its
parents is checked by what the tasks have seen. Knows nothing of models or agents.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from benchmarks import bound_graph
from benchmarks.engine import NEW, NoWork, Running, in_file
from benchmarks.places import real_directory
from benchmarks.result import Result, at_least, quantile
from ostinato.domain.step import Note
from ostinato.domain.task import URGENT_PRIORITY, Done, NewTask, Outcome, Requeue, TaskResult, TaskSpec
from ostinato.engine.limits import EngineLimits
from ostinato.engine.port import AttemptPort
from ostinato.store.port import Store
from ostinato.store.postgres import open_postgres
from ostinato.store.sqlite import open_store
from ostinato.testing.graphs import TaskGraph, Trial, perform_graph, read_wfformat
from tests.postgres.server import Server, binaries

TASKS = 10_000
WIDTH = 100
PARENTS = 3

Shape = Callable[[int], list[int]]
"""The parents of the n-th task."""


def layered(number: int) -> list[int]:
    """A hundred levels of a hundred tasks, each of which waits for three of the level before."""
    level, place = divmod(number, WIDTH)
    return sorted({(level - 1) * WIDTH + (place * 7 + each * 31) % WIDTH for each in range(PARENTS)}) if level else []


def fork_join(number: int) -> list[int]:
    """One, then all others at once, then one that waits for all of them."""
    return [] if number == 0 else [0] if number < TASKS - 1 else list(range(1, TASKS - 1))


def chain(number: int) -> list[int]:
    """Each waits for the one before: nothing shares a commit."""
    return [number - 1] if number else []


def graph_of(shape: Shape, *, tasks: int = TASKS) -> TaskGraph:
    """The graph, through the format that strangers write."""
    parents = [shape(number) for number in range(tasks)]
    entries = [
        {"id": f"t{number}", "name": f"t{number}", "parents": [f"t{each}" for each in before], "children": []}
        for number, before in enumerate(parents)
    ]
    data = {"name": shape.__name__, "schemaVersion": "1.5", "workflow": {"specification": {"tasks": entries}}}
    return read_wfformat(json.dumps(data).encode(), place=shape.__name__)


def tasks_per_s() -> Sequence[Result]:
    """`graph.tasks_per_s` of three shapes on SQLite, and of one on PostgreSQL where its server is there."""
    results = []
    for shape, floor in ((layered, 2_000), (fork_join, 2_000), (chain, None)):
        graph = graph_of(shape)
        with real_directory() as directory:
            bound = bound_graph.tasks_per_s(directory, [shape(number) for number in range(TASKS)])
            trial = asyncio.run(_perform(lambda: open_store(directory / "state"), graph))  # run at once
        name = "graph.tasks_per_s" if shape is layered else f"graph.tasks_per_s.{shape.__name__}"
        results.append(_result(name, trial, floor=floor, bound=bound))
    return [*results, *_on_postgres()]


def _on_postgres() -> Sequence[Result]:
    if binaries() is None:
        return ()
    server = Server.make(on_disk=True)
    server.start()
    try:
        url = server.make_database()
        trial = asyncio.run(_perform(lambda: open_postgres(url), graph_of(layered)))
        return (_result("graph.tasks_per_s.postgres", trial, floor=None, bound=None),)
    finally:
        server.stop()
        server.remove()


async def _perform(opening: Callable[[], Store], graph: TaskGraph) -> Trial:
    store = opening()
    try:
        trial = await perform_graph(store, graph)
    finally:
        await store.close()
    assert trial.kept, trial
    return trial


def _result(name: str, trial: Trial, *, floor: int | None, bound: float | None) -> Result:
    note = f"{trial.tasks} tasks, {trial.edges} edges, {trial.levels} levels; none early, none twice"
    if floor is None:
        return Result(name=name, value=trial.tasks_per_s, unit="tasks/s", bound=bound, note=note)
    return at_least(name, trial.tasks_per_s, "tasks/s", floor=floor, bound=bound, note=note)


PLACES = 8
STEP_S = 0.005
"""A step of the lesser tasks: a boundary comes this often."""


class _Walking(NoWork):
    """A handler whose lesser tasks step until they are asked to yield, and whose urgent ones only say that they run."""

    def __init__(self) -> None:
        super().__init__()
        self.urgent: asyncio.Queue[float] = asyncio.Queue()
        self.over = False
        self._walking = 0
        self._changed = asyncio.Event()

    async def perform(self, attempt: AttemptPort) -> Outcome:
        """Walks, or is done."""
        if attempt.task.priority >= URGENT_PRIORITY:
            self.urgent.put_nowait(time.perf_counter())
            return Done(result=TaskResult(text="ok"))
        self._walking += 1
        self._changed.set()
        try:
            while not self.over:
                if attempt.draining:
                    return Requeue(reason="an urgent task goes first")
                await asyncio.sleep(STEP_S)
                await attempt.record([Note(text="a step")])
        finally:
            self._walking -= 1
        return Done(result=TaskResult(text="ok"))

    async def until(self, count: int) -> None:
        """Returns once so many walk."""
        while self._walking < count:
            self._changed.clear()
            await self._changed.wait()


def preempt_ms() -> Sequence[Result]:
    """`preempt.ms`: an urgent task is added while every place is taken, until it runs; the bound is the same with a
    place free."""
    with real_directory() as directory:
        busy = asyncio.run(_urgent_ms(directory / "busy", lesser=PLACES, times=150))
        free = asyncio.run(_urgent_ms(directory / "free", lesser=PLACES - 1, times=150))
    note = f"{PLACES} places taken, steps of {STEP_S * 1_000:.0f} ms; bound: one place free"
    return tuple(
        Result(name=f"preempt.ms.{name}", value=quantile(busy, at), unit="ms", bound=quantile(free, at), note=note)
        for name, at in (("p50", 0.50), ("p99", 0.99))
    )


async def _urgent_ms(directory: Path, *, lesser: int, times: int) -> list[float]:
    node, walking = in_file(directory), _Walking()
    node.limits, node.handler = EngineLimits(tasks=PLACES, claim=PLACES), walking
    found = []
    async with node as running:
        await _add(running, *(replace(NEW, spec=TaskSpec(goal=f"walk {each}")) for each in range(lesser)))
        await walking.until(lesser)
        for _ in range(times):
            asked = time.perf_counter()
            await _add(running, replace(NEW, priority=URGENT_PRIORITY))
            found.append((await walking.urgent.get() - asked) * 1_000)
            await walking.until(lesser)  # whoever yielded walks again
        walking.over = True
    return found


async def _add(running: Running, *new: NewTask) -> None:
    await running.store.run(lambda tx: [tx.add_task(each, now=running.clock.now()) for each in new])
