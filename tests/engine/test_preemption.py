"""Urgent tasks: a lesser one yields its place at a step boundary, comes back, and has lost nothing.

A task here is a number of steps, each written down; a boundary lies between two of them.
"""

from __future__ import annotations

import random
from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.domain.step import Note
from ostinato.domain.task import URGENT_PRIORITY, Outcome, Requeue, TaskKind, TaskSpec, TaskState
from ostinato.engine.limits import EngineLimits
from ostinato.engine.port import AttemptPort
from tests.engine.house import DONE, Deed, House, work_in

URGENT = URGENT_PRIORITY


class Walker:
    """Takes the steps that a task asks for, a second each, and writes each one down; stops where it is asked to."""

    def __init__(self) -> None:
        self.order: list[int] = []
        self.most = 0
        self._now = 0

    async def perform(self, attempt: AttemptPort) -> Outcome:
        self._now += 1
        self.most = max(self.most, self._now)
        try:
            return await self._walk(attempt)
        finally:
            self._now -= 1

    async def _walk(self, attempt: AttemptPort) -> Outcome:
        taken = attempt.task.steps
        while taken < attempt.task.spec.input["steps"]:
            if attempt.draining:
                return Requeue(reason="an urgent task goes first" if attempt.preempted else "the node is stopping")
            await attempt.clock.sleep(1)
            await attempt.record([Note(text=str(taken))])
            taken += 1
        self.order.append(attempt.task.id)
        return DONE


def steps(count: int) -> TaskSpec:
    """A task of so many steps."""
    return TaskSpec(input={"steps": count})


async def notes_of(house: House, task: int) -> list[str]:
    """What a task's steps say."""
    found = await house.store.read(lambda reads: reads.steps(task))
    return [each.entry.text for each in found if isinstance(each.entry, Note)]


@pytest.mark.parametrize(
    "limits",
    [EngineLimits(tasks=1), EngineLimits(tasks=9, agent_default=1), EngineLimits(tasks=9, kinds={TaskKind.GOAL: 1})],
    ids=["a full node", "an agent at its limit", "a kind at its limit"],
)
def test_an_urgent_task_parks_a_lesser_one_that_goes_on_where_it_was(limits: EngineLimits) -> None:
    async def work(house: House) -> None:
        lesser = await house.add(agent="a", priority=URGENT - 1, spec=steps(10))
        await house.reaches(lesser.id, TaskState.RUNNING)
        await house.clock.sleep(3.5)
        began_s = house.clock.elapsed_s()
        urgent = await house.add(agent="a", priority=URGENT, spec=steps(2))
        await house.ended(urgent.id)
        assert house.clock.elapsed_s() - began_s < 3.5, "one step of the other, and its own two"
        assert (await house.task(lesser.id)).state is not TaskState.DONE
        again = await house.ended(lesser.id)
        assert (again.state, again.failures, again.attempts) == (TaskState.DONE, 0, 2)
        assert await notes_of(house, lesser.id) == [str(number) for number in range(10)]

    work_in(work, Deed(Walker().perform), limits=limits)


def test_nothing_yields_to_what_is_not_urgent_or_to_its_equal() -> None:
    async def work(house: House) -> None:
        running = await house.add(agent="a", priority=URGENT, spec=steps(5))
        await house.reaches(running.id, TaskState.RUNNING)
        for priority in (URGENT - 1, URGENT, 100):
            await house.add(agent="a", priority=priority, spec=steps(1))
        assert (await house.ended(running.id)).attempts == 1

    work_in(work, Deed(Walker().perform), limits=EngineLimits(tasks=1))


def test_as_many_yield_as_are_needed_and_the_least_of_them_first() -> None:
    async def work(house: House) -> None:
        lesser = [await house.add(agent="a", priority=priority, spec=steps(9)) for priority in (3, 1, 2)]
        await house.reaches(lesser[-1].id, TaskState.RUNNING)
        urgent = await house.add(agent="a", priority=URGENT, spec=steps(3))
        await house.ended(urgent.id)
        ended = [await house.ended(each.id) for each in lesser]
        assert {each.priority: each.attempts for each in ended} == {3: 1, 1: 2, 2: 1}

    work_in(work, Deed(Walker().perform), limits=EngineLimits(tasks=9, agent_default=3))


def test_another_agents_urgent_task_takes_nobodys_place_where_one_is_free() -> None:
    async def work(house: House) -> None:
        lesser = await house.add(agent="a", spec=steps(5))
        await house.reaches(lesser.id, TaskState.RUNNING)
        await house.add(agent="b", priority=100, spec=steps(1))
        assert (await house.ended(lesser.id)).attempts == 1

    work_in(work, Deed(Walker().perform), limits=EngineLimits(tasks=2))


@pytest.mark.slow
@settings(max_examples=20)
@given(
    st.lists(st.tuples(st.sampled_from([-5, 0, 49, 50, 90]), st.integers(1, 6), st.sampled_from("ab")), max_size=12),
    st.integers(1, 3),
)
def test_whatever_preempts_whatever_every_step_is_taken_once(asked: list[tuple[int, int, str]], places: int) -> None:
    walker, chance = Walker(), random.Random(repr(asked))

    async def work(house: House) -> None:
        added = []
        for priority, count, agent in asked:
            added.append(await house.add(agent=agent, priority=priority, spec=steps(count)))
            await house.clock.sleep(chance.choice([0, 0.5, 2]))
        for task, (_, count, _) in zip(added, asked, strict=True):
            assert (await house.ended(task.id)).failures == 0
            assert await notes_of(house, task.id) == [str(number) for number in range(count)]
        assert Counter(walker.order) == Counter(task.id for task in added)
        assert walker.most <= places

    work_in(work, Deed(walker.perform), limits=EngineLimits(tasks=places, agent_default=2))
