"""An engine for tests: the real SQLite store in memory, a clock that jumps by itself, handlers made of functions.

`work_in(work)` runs `work(house)` in virtual time, with the house built around it and taken down after it.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import Done, NewTask, Outcome, Task, TaskKind, TaskResult, TaskSpec, TaskState
from ostinato.domain.values import Instant
from ostinato.engine.finisher import Finisher
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.notice import Notice
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.engine.scheduler import Fire, FireTogether
from ostinato.store.port import EVERY_POOL, ScheduleRow, Store, Tx
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.writer import CommitHook
from ostinato.testing.clock import ManualClock, WatchedStore, run_virtual

T = TypeVar("T")

Perform = Callable[[AttemptPort], Awaitable[Outcome | Ending | Settled]]
Open = Callable[[Tx, Task, Instant], None]

DONE = Done(result=TaskResult(text="done"))


async def succeed(_: AttemptPort) -> Outcome:
    """Ends well, at once."""
    return DONE


class Deed:
    """A handler made of functions."""

    def __init__(
        self,
        perform: Perform = succeed,
        *,
        kind: TaskKind = TaskKind.GOAL,
        timeout_s: float = 600.0,
        opening: Open | None = None,
    ) -> None:
        self.kind = kind
        self.timeout_s = timeout_s
        self._perform = perform
        self._opening = opening
        self.performed: list[int] = []
        """Ids of the tasks, in the order of their attempts."""

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        if self._opening is not None:
            self._opening(tx, task, now)

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        self.performed.append(attempt.task.id)
        return await self._perform(attempt)


class House:
    """A node, its store and its clock, with the few verbs that tests need all the time."""

    def __init__(self, node: EngineNode, store: Store, clock: ManualClock, notices: list[Notice]) -> None:
        self.node = node
        self.store = store
        self.clock = clock
        self.notices = notices

    async def add(self, title: str = "a task", *, kind: TaskKind = TaskKind.GOAL, **more: Any) -> Task:
        """Adds a task."""
        new = NewTask(kind=kind, title=title, **more)
        return await self.store.run(lambda tx: tx.add_task(new, now=self.clock.now()))

    async def task(self, task: int) -> Task:
        """The task as it stands."""
        return await self.store.read(lambda reads: reads.task(task))

    async def ended(self, task: int) -> Task:
        """The task once it has ended."""
        return await self.node.completions.wait(task)

    async def reaches(self, task: int, state: TaskState) -> Task:
        """The task once it has reached `state`; in virtual time, a minute at most."""
        until_s = self.clock.elapsed_s() + 60.0
        while (now := await self.task(task)).state is not state:
            assert self.clock.elapsed_s() < until_s, f"T{task} is {now.state.value}: {now.reason}"
            await self.clock.sleep(0.01)
        return now

    async def do(self, fn: Callable[[Tx], T]) -> T:
        """Runs `fn` in a transaction."""
        return await self.store.run(fn)


async def never_fire(row: ScheduleRow) -> None:
    """Where a test has no schedules."""
    raise AssertionError(row)


def work_in(
    work: Callable[[House], Awaitable[T]],
    *handlers: Deed,
    limits: EngineLimits | None = None,
    fire: Fire = never_fire,
    fire_together: FireTogether | None = None,
    dispatcher: Any = None,
    wrap: Callable[[Store], Store] = lambda store: store,
    quiet: bool = True,
    started: bool = True,
    exclusive: bool = True,
    finisher: Finisher | None = None,
    hook: CommitHook | None = None,
    pools: tuple[str, ...] = (EVERY_POOL,),
) -> T:
    """Runs `work` in a house with these handlers; with `quiet`, fails where the engine had anything to say."""
    clock = ManualClock()
    notices: list[Notice] = []

    async def live() -> T:
        store = wrap(WatchedStore(open_store(None, hook=hook), clock))
        room = limits or EngineLimits(tasks=64)
        settings = NodeSettings(version="0", limits=room, lease=None, exclusive=exclusive, pools=pools)
        node = EngineNode(
            store,
            handlers or (Deed(),),
            clock=clock,
            settings=settings,
            fire=fire,
            fire_together=fire_together,
            notify=notices.append,
            dispatcher=dispatcher,
            finisher=finisher or Finisher(),
        )
        try:
            if started:
                await node.start()
            return await work(House(node, store, clock, notices))
        finally:
            await node.stop()
            await store.close()

    result = run_virtual(live(), clock)
    assert not quiet or not notices, notices
    return result


def retry_quickly(attempts_max: int = 3) -> TaskSpec:
    """A task that is tried again after one second, and then two."""
    return TaskSpec(retry=RetryPolicy(attempts_max=attempts_max, base_s=1.0, factor=2.0, jitter=False))
