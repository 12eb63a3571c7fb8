"""What must be so whatever a dispatcher does with its hints: nodes share work of every kind, and each task ends once.

Time is the case's own and jumps where everybody waits, so that the sweep which finds what no hint told costs nothing.
Knows nothing of how hints travel.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from typing import Final

from ostinato.domain.event import EventName
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import Done, NewTask, Outcome, Retry, Task, TaskKind, TaskResult, TaskSpec, TaskState
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.port import AttemptPort, Dispatcher
from ostinato.store.port import EventFilter, Reads, ScheduleRow, Store, TaskFilter, Tx
from ostinato.testing.clock import ManualClock, WatchedStore, run_virtual

MANY: Final = 10_000
PATIENCE_S: Final = 600.0
"""Of the case's own time: twenty sweeps."""
QUICKLY: Final = TaskSpec(retry=RetryPolicy(attempts_max=5, base_s=1.0, jitter=False))

MakeDispatcher = Callable[[int], Dispatcher]
"""A new dispatcher for the node of this number."""
OpenStores = Callable[[], Sequence[Store]]
"""The stores of one empty database, one for each node; the same store may stand there several times."""


class Stage:
    """Nodes over stores of one database, each with a dispatcher of its own; what they do is written down outside."""

    def __init__(self, stores: Sequence[Store], clock: ManualClock, make: MakeDispatcher) -> None:
        self.clock = clock
        self.store = stores[0]
        self.performed: Counter[tuple[int, int]] = Counter()
        """How often each claim was performed: task, token."""
        self.dispatchers = [make(number) for number in range(len(stores))]
        settings = NodeSettings(version="0", limits=EngineLimits(tasks=4), lease=None, exclusive=False)
        self.nodes = [
            EngineNode(
                store, [self], clock=clock, settings=settings, fire=_never_fire, notify=_say_nothing, dispatcher=each
            )
            for store, each in zip(stores, self.dispatchers, strict=True)
        ]

    # --- a handler: the first try of whatever is called "stumble" fails ---

    kind = TaskKind.GOAL
    timeout_s = 3_600.0

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Nothing to prepare."""

    async def perform(self, attempt: AttemptPort) -> Outcome:
        """Takes a second."""
        self.performed[attempt.task.id, attempt.claim.token] += 1
        await self.clock.sleep(1.0)
        if attempt.task.title == "stumble" and attempt.task.failures == 0:
            return Retry(error="not yet")
        return Done(result=TaskResult(text="done"))

    # --- what cases say ---

    async def start(self) -> None:
        """All nodes work."""
        for node in self.nodes:
            await node.start()

    async def add(self, title: str, **more: object) -> Task:
        """A task."""
        new = NewTask(kind=TaskKind.GOAL, title=title, spec=QUICKLY, **more)  # type: ignore[arg-type]  # passed on
        return await self.store.run(lambda tx: tx.add_task(new, now=self.clock.now()))

    async def wait_done(self) -> None:
        """Returns when everything is done; fails where it is not after PATIENCE_S."""
        until_s = self.clock.elapsed_s() + PATIENCE_S
        while left := await self._unfinished():
            assert self.clock.elapsed_s() < until_s, f"never ended: {left}"
            await self.clock.sleep(1.0)

    async def _unfinished(self) -> list[str]:
        tasks = await self.store.read(lambda reads: reads.tasks(TaskFilter(), limit=MANY))
        return [f"{task.name} {task.title}: {task.state.value}" for task in tasks if task.state is not TaskState.DONE]

    async def check(self) -> None:
        """Each claim was performed once, and each task was completed once."""

        def look(reads: Reads) -> tuple[dict[tuple[int, int], str], Counter[int]]:
            tasks = reads.tasks(TaskFilter(), limit=MANY)
            attempts = {(each.task, each.token): each.outcome for task in tasks for each in reads.attempts(task.id)}
            done = reads.events(EventFilter(names=frozenset({EventName.TASK_DONE})), limit=MANY)
            return attempts, Counter(event.task or 0 for event in done)

        attempts, done = await self.store.read(look)
        assert self.performed == Counter(attempts.keys()), "what was performed is not what was claimed"
        assert set(done.values()) == {1}, f"completed otherwise than once: {done}"
        assert await self.store.check() == "ok"


Case = Callable[[Stage], Awaitable[None]]


async def every_task_ends_exactly_once(stage: Stage) -> None:
    """Tasks of every kind, sent while nodes work."""
    await stage.start()
    for number in range(12):
        first = await stage.add("first", priority=number % 3)
        await stage.add("stumble", after=(first.id,))
        await stage.add("later", not_before_at=stage.clock.now() + 5 * SECOND)
    await stage.wait_done()


async def what_was_there_before_is_found(stage: Stage) -> None:
    """A node needs no hint for what waited when it began."""
    for _ in range(6):
        await stage.add("early")
    await stage.start()
    await stage.wait_done()


async def a_hint_for_nothing_does_no_harm(stage: Stage) -> None:
    """Hints about tasks that are done, held by others, of another pool, or that never were."""
    await stage.start()
    for _ in range(6):
        task = await stage.add("hinted")
        for dispatcher in stage.dispatchers:
            for pool in ("default", "elsewhere"):
                dispatcher.offer(task.id, pool=pool, priority=0)
                dispatcher.offer(task.id + 1_000, pool=pool, priority=9)
        await stage.clock.sleep(0.5)
    await stage.wait_done()


async def a_dispatcher_can_be_left_and_ended_at_any_time(stage: Stage) -> None:
    """Who waits for a hint may give it up; ending twice is fine, and so is an end before the work's."""
    await stage.start()
    waiting = asyncio.create_task(stage.dispatchers[0].take(("default",), 1))
    await asyncio.sleep(0)
    waiting.cancel()
    await asyncio.wait((waiting,))
    await stage.add("before")
    for dispatcher in stage.dispatchers:
        dispatcher.close()
        dispatcher.close()
    await stage.add("after")
    await stage.wait_done()


CASES: Final[tuple[Case, ...]] = (
    every_task_ends_exactly_once,
    what_was_there_before_is_found,
    a_hint_for_nothing_does_no_harm,
    a_dispatcher_can_be_left_and_ended_at_any_time,
)


def check(case: Case, make: MakeDispatcher, open_stores: OpenStores) -> None:
    """Plays one case, in virtual time."""
    clock = ManualClock()

    async def play() -> None:
        stores = open_stores()
        stage = Stage([WatchedStore(store, clock) for store in stores], clock, make)
        try:
            await case(stage)
            await stage.check()
        finally:
            for node in stage.nodes:
                await node.stop()
            for store in {id(each): each for each in stores}.values():
                await store.close()

    run_virtual(play(), clock)


async def _never_fire(row: ScheduleRow) -> None:
    raise AssertionError(row)


def _say_nothing(notice: object) -> None:
    """Surprises show in what is left behind."""
