"""Whole tasks a second while very many are queued: one is added for each that ends, so that as many stay queued.

The queues stand side by side, a node on each, and work in turn: each is let end some thousand tasks, then the next.
What counts is how fast one was beside the shortest in the same round. Measured one after the other, each from its
start, the ratio told more about the machine, whose speed changes by a third within a minute. The files are brought to
the disk before: the first checkpoint of a queue of a million otherwise waits for the 400 MB that were written there,
and not for its own.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import statistics
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from benchmarks.engine import NEW, NoWork, Running, in_file
from benchmarks.fill import fill
from benchmarks.places import real_directory
from benchmarks.result import Result
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import Outcome
from ostinato.engine.port import AttemptPort

LEVELS = (1_000, 100_000, 1_000_000)
ROUNDS = 11
TASKS = 4_000
"""Tasks of one queue in a round: about a second, with some checkpoints in it."""
FEEDERS = 256
LOSS_MAX = 0.2
"""A longer queue may cost this share of the speed of the shortest."""
COUNTED = (EventName.TASK_DONE, EventName.TASK_ADDED, EventName.TASK_CLAIMED)


class Speed(NamedTuple):
    """Of one queue in one round."""

    tasks_per_s: float
    cpu_ms: float
    """Milliseconds of processor for each task."""


def backlog() -> Sequence[Result]:
    """`engine.backlog`: at 1,000, 100,000 and 1,000,000 queued."""
    with real_directory() as directory:
        for level in LEVELS:
            fill(directory / str(level), ready=level, agents=0)
        os.sync()
        speeds = asyncio.run(_speeds(directory))
    return [_result(level, each, speeds[0]) for level, each in zip(LEVELS, speeds, strict=True)]


def _result(level: int, rounds: Sequence[Speed], shortest: Sequence[Speed]) -> Result:
    pairs = list(zip(rounds, shortest, strict=True))
    low, ratio, high = statistics.quantiles((own.tasks_per_s / other.tasks_per_s for own, other in pairs), n=4)
    cpu_ratio = statistics.median(own.cpu_ms / other.cpu_ms for own, other in pairs)
    cpu_ms = statistics.median(each.cpu_ms for each in rounds)
    return Result(
        name=f"engine.backlog.{level}",
        value=statistics.median(each.tasks_per_s for each in rounds),
        unit="tasks/s",
        floor=f"within {LOSS_MAX:.0%} of {LEVELS[0]:,} queued",
        bound=statistics.median(each.tasks_per_s for each in shortest),
        ok=ratio >= 1 - LOSS_MAX,
        note=f"{ratio:.2f} of the shortest queue's speed (half of {ROUNDS} rounds: {low:.2f} to {high:.2f}); "
        f"{cpu_ms:.3f} ms of processor a task, {cpu_ratio:.2f} of the shortest",
    )


async def _speeds(directory: Path) -> list[list[Speed]]:
    """Of each queue, by rounds; the first one warms them up and counts for nothing."""
    async with contextlib.AsyncExitStack() as stack:
        queues = [await stack.enter_async_context(_Queue(directory / str(level))) for level in LEVELS]
        speeds: list[list[Speed]] = [[] for _ in queues]
        for number in range(ROUNDS + 1):
            order = list(zip(queues, speeds, strict=True))
            for queue, its_speeds in order if number % 2 else reversed(order):
                speed = await queue.work()
                if number:
                    its_speeds.append(speed)
        return speeds


class _Held(NoWork):
    """Done as soon as it may be."""

    def __init__(self) -> None:
        super().__init__()
        self.leave = asyncio.Semaphore(0)

    async def perform(self, attempt: AttemptPort) -> Outcome:
        await self.leave.acquire()
        return await super().perform(attempt)


class _Queue:
    """A node whose tasks run until they are let end, and whose queue stays as long as it is; a context."""

    def __init__(self, directory: Path) -> None:
        self._node = in_file(directory)
        self._handler = self._node.handler = _Held()
        self._node.before = lambda store: store.subscribe(self._hear)
        self._ended = asyncio.Semaphore(0)
        self._counts: Counter[EventName] = Counter()
        self._heard = asyncio.Event()
        self._feeders: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> _Queue:
        node = await self._node.__aenter__()
        self._feeders = [asyncio.create_task(self._feed(node)) for _ in range(FEEDERS)]
        await self._wait_for(EventName.TASK_CLAIMED, count=node.limits.tasks)
        return self

    async def __aexit__(self, *error: object) -> None:
        for _ in range(self._node.limits.tasks):
            self._handler.leave.release()
        for each in self._feeders:
            each.cancel()
        await asyncio.gather(*self._feeders, return_exceptions=True)
        await self._node.__aexit__(*error)

    async def work(self) -> Speed:
        """So many tasks end, and as many are added and claimed in their places."""
        self._counts.clear()
        began, began_cpu = time.perf_counter(), time.process_time()
        for _ in range(TASKS):
            self._handler.leave.release()
        for name in COUNTED:
            await self._wait_for(name, count=TASKS)
        seconds, cpu_s = time.perf_counter() - began, time.process_time() - began_cpu
        return Speed(TASKS / seconds, cpu_s * 1_000 / TASKS)

    async def _feed(self, node: Running) -> None:
        while True:
            await self._ended.acquire()
            await node.store.run(lambda tx: tx.add_task(NEW, now=node.clock.now()))

    def _hear(self, events: Sequence[Event]) -> None:
        for event in events:
            self._counts[event.name] += 1
            if event.name is EventName.TASK_DONE:
                self._ended.release()
        self._heard.set()

    async def _wait_for(self, name: EventName, *, count: int) -> None:
        while self._counts[name] < count:
            self._heard.clear()
            await self._heard.wait()
