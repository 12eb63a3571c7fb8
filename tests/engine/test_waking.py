"""Nothing waits for a sweep: whatever frees a place, a limit or a time wakes whoever waits for it, on any store."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from functools import partial
from typing import Any, Literal, cast

import pytest

from ostinato.domain.errors import Denied, Exhausted
from ostinato.domain.limit import QueueLimit, Rate
from ostinato.domain.task import (
    NewTask,
    Outcome,
    Review,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.limits import EngineLimits
from ostinato.engine.port import AttemptPort
from ostinato.store.port import Claim, ClaimRequest, Store, Tx
from ostinato.store.sqlite.database import StoreFull
from tests.engine.house import DONE, Deed, House, work_in

DAY: Instant = 86_400 * SECOND
LIMITS = EngineLimits(
    tasks=64,
    agent_default=1,
    queues=(QueueLimit(project="acme", concurrency=1), QueueLimit(project="slow", rate=Rate(starts=1, span_s=7.0))),
)


class Apart:
    """A store such as that of many nodes, with whose commits no claim goes along."""

    def __init__(self, store: Any) -> None:
        self._store = store

    def run_along(self, fn: Any, then: Any) -> Callable[[], None]:
        return lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


async def brief(attempt: AttemptPort) -> Outcome:
    await attempt.clock.sleep(0.5)
    return DONE


def apart(store: Store) -> Store:
    return cast(Store, Apart(store))


def opening(tx: Tx, task: Task, now: Instant) -> None:
    if task.title == "bad":
        raise Denied("not this one")


async def finished_s(house: House, *tasks: Task) -> list[float]:
    """When these have ended, in seconds since the first began."""
    ended = [await house.ended(each.id) for each in tasks]
    return [round(((each.finished_at or 0) - tasks[0].created_at) / SECOND, 1) for each in ended]


def test_whoever_ends_a_task_looks_at_once_for_what_waited_for_it() -> None:
    async def work(house: House) -> None:
        def add(tx: Tx, **more: Any) -> list[Task]:
            new = [NewTask(kind=TaskKind.GOAL, title=each, **more) for each in ("first", "second")]
            return [tx.add_task(each, now=house.clock.now()) for each in new]

        for more in ({"agent": "one"}, {"session": "main:shared"}):
            assert await finished_s(house, *await house.do(partial(add, **more))) == [0.5, 1.0]
        later = await house.add(not_before_at=house.clock.now() + 5 * SECOND)
        assert await finished_s(house, later) == [5.5]

    work_in(work, Deed(brief), limits=EngineLimits(tasks=64), wrap=apart)


def test_whatever_makes_a_task_claimable_is_a_hint() -> None:
    def move(task: Task, event: TaskEvent) -> Callable[[Tx], Any]:
        return lambda tx: tx.move_task(task.id, event, actor="ann", now=task.created_at)

    async def work(house: House) -> None:
        now, add = house.clock.now(), house.add
        placed, paused = await add(agent="elsewhere"), await add(agent="paused")
        late, draft, held = await add(not_before_at=now + DAY), await add(draft=True), await add(blocked="for ann")
        bad, reviewed = await add("bad", agent="one"), await add("reviewed", kind=TaskKind.STAGE)
        await house.ended(bad.id)
        await house.reaches(reviewed.id, TaskState.REVIEW)
        changes: list[tuple[Task, Callable[[Tx], Any]]] = [
            (placed, lambda tx: tx.place_agent("elsewhere", "default", now=now)),
            (paused, lambda tx: tx.clear_flag("agent:paused", "paused", actor="ann", now=now)),
            (late, lambda tx: tx.change_task(late.id, not_before_at=now, actor="ann", now=now)),
            (draft, move(draft, TaskEvent.APPROVE)),
            (held, move(held, TaskEvent.RELEASE)),
            (reviewed, move(reviewed, TaskEvent.RETURN)),
            (bad, lambda tx: tx.retry_task(bad.id, fresh=True, actor="ann", now=now)),
        ]
        for task, change in changes:
            before, begun_s = len(deed.performed) + len(stage.performed), house.clock.elapsed_s()
            titles.append(task.title)
            await house.do(change)
            while len(deed.performed) + len(stage.performed) == before:
                assert house.clock.elapsed_s() - begun_s < 1.0, task
                await house.clock.sleep(0.1)

    def begins(tx: Tx, task: Task, now: Instant) -> None:
        if task.title == "bad" and "bad" not in titles:
            raise Denied("not yet")

    def prepare(tx: Tx) -> None:
        tx.place_agent("elsewhere", "far away", now=1)
        tx.set_flag("agent:paused", "paused", actor="ann", reason="", now=1)

    async def submits(_: AttemptPort) -> Outcome:
        return Review(result=TaskResult(), wait=Wait(kind=WaitKind.QUESTION), reason="look at it")

    async def story(house: House) -> None:
        await house.do(prepare)
        await work(house)

    titles: list[str] = []
    deed, stage = Deed(opening=begins), Deed(submits, kind=TaskKind.STAGE)
    work_in(story, deed, stage, limits=EngineLimits(tasks=64), wrap=apart, quiet=False, pools=("default",))


def test_what_cannot_be_opened_gives_its_place_back_at_once() -> None:
    async def work(house: House) -> None:
        tasks = [await house.add(title, agent="one") for title in ("bad", "good")]
        await house.node.start()
        assert await finished_s(house, *tasks) == [0.0, 0.5]

    limits = EngineLimits(tasks=64)
    work_in(work, Deed(brief, opening=opening), limits=limits, wrap=apart, started=False, quiet=False)


def test_a_limit_of_the_fleet_lets_the_next_begin_as_soon_as_it_may() -> None:
    async def work(house: House) -> None:
        acme = [await house.add(project="acme") for _ in range(2)]
        slow = [await house.add(project="slow") for _ in range(3)]
        await house.node.start()
        assert await finished_s(house, *acme) == [0.5, 1.0]
        assert await finished_s(house, *slow) == [0.5, 7.5, 14.5]

    work_in(work, Deed(brief), limits=LIMITS, wrap=apart, started=False)


def test_a_node_without_a_free_place_knows_that_more_may_wait() -> None:
    async def work(house: House) -> None:
        assert await finished_s(house, *[await house.add() for _ in range(3)]) == [0.5, 1.0, 1.5]

    work_in(work, Deed(brief), limits=EngineLimits(tasks=1), wrap=apart)


async def _other_node(house: House, *, runs: int) -> list[Task]:
    """Another node, which runs so many tasks."""
    now = house.clock.now()

    def begin(tx: Tx) -> list[Task]:
        node = tx.start_node(pid=2, host="there", version="0", lease_s=1e6, exclusive=False, now=now)
        return tx.claim(ClaimRequest(node=node.id, most=runs, agent_limit_default=2), now=now)

    return await house.do(begin)


def test_a_place_that_several_nodes_share_is_taken_by_whoever_has_freed_it() -> None:
    async def work(house: House) -> None:
        tasks = [await house.add(agent="pair") for _ in range(3)]
        await _other_node(house, runs=1)
        await house.node.start()
        assert await finished_s(house, *tasks[1:]) == [0.5, 1.0]

    work_in(
        work, Deed(brief), limits=EngineLimits(tasks=64, agents={"pair": 2}), wrap=apart, started=False, exclusive=False
    )


def test_a_limit_of_the_fleet_that_another_node_has_freed_is_used_at_once() -> None:
    async def work(house: House) -> None:
        acme = [await house.add(project="acme") for _ in range(2)]
        (taken,) = await _other_node(house, runs=1)
        await house.node.start()
        await house.clock.sleep(1.0)
        claim = Claim(task=taken.id, token=taken.token)
        await house.do(lambda tx: tx.finish(claim, DONE, now=house.clock.now()))
        assert await finished_s(house, *acme) == [1.0, 1.5]

    work_in(work, Deed(brief), limits=LIMITS, wrap=apart, started=False, exclusive=False)


def test_claims_whose_commit_has_failed_are_not_begun_and_give_their_places_back() -> None:
    is_full = False

    def hook(moment: Literal["before", "after"], number: int) -> None:
        if is_full and moment == "before":
            raise StoreFull("no room", cure="make some")

    async def work(house: House) -> None:
        nonlocal is_full
        is_full = True
        for _ in range(5):
            with pytest.raises(Exhausted):
                await house.add("lost")
        is_full = False
        await asyncio.sleep(0)
        kept = [await house.add("kept") for _ in range(2)]
        for each in kept:
            await house.reaches(each.id, TaskState.DONE)
        assert deed.performed == [each.id for each in kept]

    deed = Deed(brief)
    work_in(work, deed, limits=EngineLimits(tasks=2), hook=hook, quiet=False)
