"""Performs a graph on a store, by a node of its own, and judges what the tasks have seen.

Each task says when it begins and when it ends; order and counts are read from that alone, and compared with what the
store says. Knows nothing of where the graph is from, nor which store it is.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import time
from collections import Counter
from collections.abc import Callable, Sequence

from ostinato.domain.errors import Conflict
from ostinato.domain.event import Event
from ostinato.domain.task import Done, NewTask, Outcome, Task, TaskKind, TaskResult, TaskSpec, TaskState
from ostinato.domain.values import Instant, Value
from ostinato.engine.clock import SystemClock
from ostinato.engine.completion import ENDINGS
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.port import AttemptPort
from ostinato.store.port import Reads, ScheduleRow, Store, TaskFilter, Tx
from ostinato.testing.graphs.graph import GraphTask, TaskGraph

BATCH = 500
"""Tasks added, and looked at, in one transaction."""

QUIET_S = 60.0
"""After so long without any end, what has not ended never will."""

LIMITS = EngineLimits(tasks=512, claim=256)

Say = Callable[[str, str], None]
"""Told `begin` or `end`, and the id of the task."""


class Findings(Value):
    """What the tasks themselves have seen."""

    performed: int
    """Times that a task has begun."""
    early: tuple[str, ...]
    """Tasks that began before one of their parents had ended."""
    twice: tuple[str, ...]
    never: tuple[str, ...]


class Trial(Findings):
    """How it went. All of `early`, `twice`, `never` and `wrong` are empty where every promise was kept."""

    name: str
    tasks: int
    edges: int
    levels: int
    widest: int
    wrong: tuple[str, ...]
    """Tasks that the store does not call done."""
    added_per_s: float
    tasks_per_s: float
    """Whole tasks: from before the first is added until the last has ended."""

    @property
    def kept(self) -> bool:
        """Every task once, none before its parents, all done."""
        return not (self.early or self.twice or self.never or self.wrong)


class _NoOp:
    """A handler whose tasks do nothing but say so."""

    kind = TaskKind.GOAL
    timeout_s = 60.0

    def __init__(self, say: Say) -> None:
        self._say = say

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Nothing to prepare."""

    async def perform(self, attempt: AttemptPort) -> Outcome:
        """Done, at once."""
        name = attempt.task.spec.input["task"]
        self._say("begin", name)
        self._say("end", name)
        return Done(result=TaskResult(text=""))


async def perform_graph(store: Store, graph: TaskGraph, *, say: Say = lambda what, task: None) -> Trial:
    """Adds the graph to an empty store, performs it, and judges. Raises Conflict where the store has tasks already."""
    seen: list[tuple[str, str]] = []

    def hear(what: str, task: str) -> None:
        seen.append((what, task))
        say(what, task)

    async with contextlib.AsyncExitStack() as ends:
        if await store.read(lambda tx: tx.tasks(TaskFilter(), limit=1)):
            raise Conflict("The store has tasks already", cure="Name a place where nothing is.")
        clock = SystemClock()
        settings = NodeSettings(version="graph", limits=LIMITS)
        node = EngineNode(store, [_NoOp(hear)], clock=clock, settings=settings, fire=_no_fire, notify=print)
        all_ended = _Countdown(store, len(graph.tasks))
        ends.callback(all_ended.forget)
        await node.start()
        ends.push_async_callback(node.stop)
        began = time.perf_counter()
        numbers = await _add(store, graph, clock)
        added = time.perf_counter()
        await all_ended.wait()
        ended = time.perf_counter()
        states = await _states(store, list(numbers.values()))
    found = judge(graph, seen)
    return Trial(
        name=graph.name,
        tasks=len(graph.tasks),
        edges=graph.edges,
        levels=graph.levels,
        widest=graph.widest,
        added_per_s=round(len(graph.tasks) / (added - began), 1),
        tasks_per_s=round(len(graph.tasks) / (ended - began), 1),
        performed=found.performed,
        early=found.early,
        twice=found.twice,
        never=found.never,
        wrong=tuple(name for name, number in numbers.items() if states[number] is not TaskState.DONE),
    )


def judge(graph: TaskGraph, seen: Sequence[tuple[str, str]]) -> Findings:
    """What is wrong with what the tasks have said, in order."""
    begins = Counter(task for what, task in seen if what == "begin")
    ended: set[str] = set()
    parents = {each.id: each.parents for each in graph.tasks}
    early = []
    for what, task in seen:
        if what == "end":
            ended.add(task)
        elif not ended.issuperset(parents[task]):
            early.append(task)
    return Findings(
        performed=sum(begins.values()),
        early=tuple(early),
        twice=tuple(each for each, times in begins.items() if times > 1),
        never=tuple(each.id for each in graph.tasks if not begins[each.id]),
    )


class _Countdown:
    """Counts the ends of tasks, as commits tell of them."""

    def __init__(self, store: Store, left: int) -> None:
        self._left = left
        self._moved = asyncio.Event()
        self.forget = store.subscribe(self._hear)

    def _hear(self, events: Sequence[Event]) -> None:
        self._left -= sum(each.name in ENDINGS for each in events)
        self._moved.set()

    async def wait(self) -> None:
        """Returns once all have ended, or nothing has moved for long."""
        with contextlib.suppress(TimeoutError):
            while self._left > 0:
                self._moved.clear()
                await asyncio.wait_for(self._moved.wait(), QUIET_S)


async def _add(store: Store, graph: TaskGraph, clock: SystemClock) -> dict[str, int]:
    """Id in the graph -> number in the store."""
    numbers: dict[str, int] = {}

    def write(tx: Tx, tasks: Sequence[GraphTask]) -> dict[str, int]:
        made: dict[str, int] = {}
        for each in tasks:
            after = tuple(made.get(parent) or numbers[parent] for parent in each.parents)
            spec = TaskSpec(input={"task": each.id})
            new = NewTask(kind=TaskKind.GOAL, title=each.name[:200], spec=spec, after=after)
            made[each.id] = tx.add_task(new, now=clock.now()).id
        return made

    for first in range(0, len(graph.tasks), BATCH):
        numbers |= await store.run(functools.partial(write, tasks=graph.tasks[first : first + BATCH]))
    return numbers


async def _states(store: Store, numbers: Sequence[int]) -> dict[int, TaskState]:
    found: dict[int, TaskState] = {}

    def look(tx: Reads, some: Sequence[int]) -> dict[int, TaskState]:
        return {each: tx.task(each).state for each in some}

    for first in range(0, len(numbers), BATCH):
        found |= await store.read(functools.partial(look, some=numbers[first : first + BATCH]))
    return found


async def _no_fire(row: ScheduleRow) -> None:
    raise AssertionError(row.name)
