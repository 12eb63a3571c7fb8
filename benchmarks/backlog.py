"""Whole tasks a second while very many are queued: one is added for each that ends, so that as many stay queued."""

from __future__ import annotations

import asyncio
import shutil
import statistics
import time
from collections.abc import Sequence

from benchmarks.engine import NEW, Running, in_file
from benchmarks.fill import fill
from benchmarks.places import real_directory
from benchmarks.result import Result
from ostinato.domain.event import Event, EventName

LEVELS = (1_000, 100_000, 1_000_000)
ROUNDS = 5
TASKS = 8_000
"""Tasks of one measurement: some seconds."""
FEEDERS = 256
LOSS_MAX = 0.2
"""A longer queue may cost this share of the speed of the shortest."""


def backlog() -> Sequence[Result]:
    """`engine.backlog`: at 1,000, 100,000 and 1,000,000 queued, taken in turn. The fastest round of each counts: what
    slows the others is the machine's other work."""
    speeds: dict[int, list[tuple[float, float]]] = {level: [] for level in LEVELS}
    with real_directory() as directory:
        for level in LEVELS:
            fill(directory / str(level), ready=level, agents=0)
        for _ in range(ROUNDS):
            for level in LEVELS:
                shutil.copytree(directory / str(level), directory / "state")
                speeds[level].append(asyncio.run(_drain(in_file(directory / "state"))))
                shutil.rmtree(directory / "state")
    return [_result(level, speeds[level], speeds[LEVELS[0]]) for level in LEVELS]


def _result(level: int, rounds: list[tuple[float, float]], shortest: list[tuple[float, float]]) -> Result:
    fastest, least = max(speed for speed, _ in rounds), max(speed for speed, _ in shortest)
    cpu, least_cpu = (statistics.median(ms for _, ms in each) for each in (rounds, shortest))
    return Result(
        name=f"engine.backlog.{level}",
        value=fastest,
        unit="tasks/s",
        floor=f"within {LOSS_MAX:.0%} of {LEVELS[0]:,} queued",
        bound=least,
        ok=fastest >= (1 - LOSS_MAX) * least,
        note=f"fastest of {len(rounds)}; {cpu:.3f} ms of processor a task, {cpu / least_cpu:.2f} of the shortest queue",
    )


async def _drain(node: Running) -> tuple[float, float]:
    """Tasks a second with a queue that stays as long as it is, and milliseconds of processor for each."""
    ended = asyncio.Semaphore(0)
    count, began, began_cpu = 0, 0.0, 0.0
    enough = asyncio.Event()

    def hear(events: Sequence[Event]) -> None:
        nonlocal count, began, began_cpu
        done = sum(event.name is EventName.TASK_DONE for event in events)
        count += done
        began, began_cpu = began or time.perf_counter(), began_cpu or time.process_time()
        for _ in range(done):
            ended.release()
        if count >= TASKS:
            enough.set()

    async def feed(running: Running) -> None:
        while True:
            await ended.acquire()
            await running.store.run(lambda tx: tx.add_task(NEW, now=running.clock.now()))

    node.before = lambda store: store.subscribe(hear)
    async with node as running:
        feeders = [asyncio.create_task(feed(running)) for _ in range(FEEDERS)]
        await enough.wait()
        speed = count / (time.perf_counter() - began)
        cpu_ms = (time.process_time() - began_cpu) * 1_000 / count
        for each in feeders:
            each.cancel()
        await asyncio.gather(*feeders, return_exceptions=True)
        return speed, cpu_ms
