"""Agents in trouble are left alone: their tasks wait and say why, one of them looks, and what a rule refuses opens
nothing."""

from __future__ import annotations

import asyncio

from ostinato.agents.failing import guard_of
from ostinato.domain.breaker import BreakerRule, BreakerState
from ostinato.domain.message import SAVE_TOOL
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import Done, Fail, Retry, Task, TaskKind, TaskResult, TaskSpec, TaskState
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.breakers import Breakers, Trouble
from ostinato.engine.finisher import Finisher
from ostinato.engine.port import AttemptPort
from ostinato.store.port import EventFilter, Store
from ostinato.store.sqlite import open_store
from tests.conftest import run
from tests.engine.house import Deed, House, work_in

RULE = BreakerRule(failures_max=2, window_s=1_000.0, open_s=60.0, open_max_s=600.0, probe_s=300.0)
NAME = "agent:clerk"


def _finisher() -> Finisher:
    return Finisher(breakers=Breakers({"agent": RULE}), guard=lambda task: f"agent:{task.agent}" if task.agent else "")


def test_an_agent_that_keeps_failing_is_left_alone_until_one_task_has_looked() -> None:
    down = [True]

    async def perform(attempt: AttemptPort) -> Done | Fail:
        return Fail(error="the key is wrong") if down[0] else Done(result=TaskResult(text="ok"))

    async def story(house: House) -> None:
        for number in range(2):
            failed = await house.add(f"task {number}", agent="clerk")
            assert (await house.ended(failed.id)).state is TaskState.FAILED
        third = await house.add("third", agent="clerk")
        waiting = await house.reaches(third.id, TaskState.WAITING)
        assert waiting.reason.startswith("left alone for now: agent clerk is in trouble: the key is wrong")
        assert waiting.wait is not None
        assert waiting.wait.breakers == ("agent:clerk",)
        other = await house.add("of another", agent="deputy")
        down[0] = False
        assert (await house.ended(other.id)).state is TaskState.DONE
        breaker = await house.store.read(lambda reads: reads.breaker(NAME))
        assert breaker is not None
        assert breaker.state is BreakerState.OPEN
        assert (await house.ended(third.id)).state is TaskState.DONE, "it was the probe"
        assert await house.store.read(lambda reads: reads.breaker(NAME)) is None
        told = await house.store.read(lambda reads: reads.events(EventFilter(), limit=1_000))
        moved = [each.name.value for each in told if each.name.value.startswith("breaker.")]
        assert moved == ["breaker.opened", "breaker.closed"]

    work_in(story, Deed(perform=perform), finisher=_finisher())


def test_what_a_rule_refuses_and_what_is_tried_again_speaks_against_nobody() -> None:
    async def perform(attempt: AttemptPort) -> Fail | Retry | Done:
        if attempt.task.title == "forbidden":
            return Fail(error="no", error_class="denied")
        return Retry(error="flaky") if attempt.task.failures == 0 else Done(result=TaskResult(text="ok"))

    async def story(house: House) -> None:
        for number in range(4):
            task = await house.add("forbidden" if number % 2 else "flaky", agent="clerk")
            await house.ended(task.id)
        assert await house.store.read(lambda reads: reads.breaker(NAME)) is None

    work_in(story, Deed(perform=perform), finisher=_finisher())


def test_a_channel_is_left_alone_for_what_speaks_against_it_and_each_agents_folder_is_one_of_its_own() -> None:
    down = [True]

    async def perform(attempt: AttemptPort) -> Fail | Retry | Done:
        if attempt.task.title == "no letter":
            return Fail(error="This is no letter")
        return Retry(error="the disk is full") if down[0] else Done(result=TaskResult(text="ok"))

    async def story(house: House) -> None:
        async def save(agent: str, title: str = "save") -> Task:
            spec = TaskSpec(input={"tool": SAVE_TOOL}, retry=RetryPolicy(attempts_max=9, base_s=1.0, jitter=False))
            return await house.add(title, agent=agent, kind=TaskKind.DELIVERY, spec=spec)

        for _ in range(3):
            assert (await house.ended((await save("clerk", "no letter")).id)).state is TaskState.FAILED
        assert await house.store.read(lambda reads: reads.breakers()) == []
        first = await save("clerk")
        waiting = await house.reaches(first.id, TaskState.WAITING)
        assert waiting.reason.startswith("left alone for now: channel file:clerk is in trouble: the disk is full")
        assert waiting.wait is not None
        assert waiting.wait.breakers == ("channel:file:clerk",)
        down[0] = False
        other = await save("deputy")
        assert (await house.ended(other.id)).state is TaskState.DONE, "another folder"
        assert (await house.ended(first.id)).state is TaskState.DONE
        assert await house.store.read(lambda reads: reads.breakers()) == []

    finisher = Finisher(breakers=Breakers({"channel": RULE}), guard=guard_of)
    work_in(story, Deed(perform=perform, kind=TaskKind.DELIVERY), finisher=finisher)


def test_of_eight_callers_at_once_one_looks_at_an_open_breaker() -> None:
    async def story() -> None:
        store = open_store(None)
        try:
            await _race(store)
        finally:
            await store.close()

    run(story())


async def _race(store: Store) -> None:
    nodes = [Breakers({"agent": RULE}) for _ in range(8)]
    now: Instant = 1_800_000_000 * SECOND

    async def fails(number: int, at: Instant) -> None:
        trouble = Trouble(reason="no")
        await store.run(lambda tx: nodes[number].went_wrong(tx, NAME, trouble, who=f"T{number}", now=at, task=number))

    async def ask(number: int, at: Instant) -> bool:
        return await store.run(lambda tx: nodes[number].admit(tx, (NAME,), who=f"T{number}", now=at)) is None

    for number in range(RULE.failures_max):
        await fails(number, now)

    for opened in range(1, 4):
        at = now + round(1_000 * opened * SECOND)
        let = await asyncio.gather(*(ask(number, at) for number in range(8)))
        assert sum(let) == 1, "one probe at a time"
        probe = let.index(True)
        assert not any(await asyncio.gather(*(ask(number, at + 1) for number in range(8) if number != probe)))
        assert await ask(probe, at + 2), "a probe that asks again is still the probe"
        await fails(probe, at)
