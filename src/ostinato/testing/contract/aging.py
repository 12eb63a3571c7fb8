"""Waiting counts beside priority: nothing waits for ever, and whoever waits longest of equals goes first."""

from __future__ import annotations

import random

from ostinato.domain.aging import AGING_S
from ostinato.domain.task import Requeue, Task, TaskEvent
from ostinato.domain.values import SECOND
from ostinato.testing.contract.scene import Scene, case, done

STEP_S = 60


async def _order(scene: Scene, count: int) -> list[int]:
    return [(await scene.claim_one()).id for _ in range(count)]


@case
async def a_higher_priority_goes_before_what_has_waited_less_than_it_is_worth(scene: Scene) -> None:
    low = await scene.add(priority=0)
    scene.now += round(AGING_S * SECOND) - 1
    high = await scene.add(priority=1)
    assert await _order(scene, 2) == [high.id, low.id]


@case
async def what_has_waited_longer_goes_before_a_higher_priority(scene: Scene) -> None:
    low = await scene.add(priority=0)
    scene.now += round(AGING_S * SECOND) + 1
    high = await scene.add(priority=1)
    assert await _order(scene, 2) == [low.id, high.id]


@case
async def nothing_starves_under_a_steady_load_of_higher_priorities(scene: Scene) -> None:
    await scene.do(lambda tx: tx.set_aging(STEP_S))
    chance = random.Random(7)
    low = await scene.add(priority=-3)
    bound = 0
    for number in range(1, 200):
        for _ in range(2):  # twice what is claimed
            await scene.add(priority=chance.randint(-2, 6))
        claimed = await scene.claim_one()
        await scene.finish(claimed)
        scene.now += STEP_S * SECOND
        if claimed.id == low.id:
            bound = number
            break
    assert 0 < bound <= 2 * (6 + 3) + 2, "what came within its levels' worth of waiting, and no more"


@case
async def who_waits_for_whom_does_not_depend_on_what_happens_meanwhile(scene: Scene) -> None:
    """What is claimed is always the first by priority and waiting, on any history."""
    await scene.do(lambda tx: tx.set_aging(STEP_S))
    chance, waiting, since = random.Random(11), dict[int, Task](), dict[int, int]()
    for _ in range(150):
        scene.now += chance.randint(0, 3 * STEP_S) * SECOND
        if waiting and chance.random() < 0.4:
            claimed = await scene.claim_one()
            first = min(waiting.values(), key=lambda each: (since[each.id] - each.priority * STEP_S * SECOND, each.id))
            assert claimed.id == first.id
            outcome = chance.choice((done(), Requeue(reason="gives way")))
            await scene.finish(claimed, outcome)
            if outcome == done():
                del waiting[claimed.id]
        elif waiting and chance.random() < 0.3:
            number, priority = chance.choice(list(waiting)), chance.randint(-5, 5)
            waiting[number] = await scene.change("change_task", number, actor="ann", now=scene.now, priority=priority)
        else:
            added = await scene.add(priority=chance.randint(-5, 5))
            waiting[added.id], since[added.id] = added, scene.now


@case
async def a_replayed_task_begins_to_wait_anew(scene: Scene) -> None:
    old = await scene.add()
    await scene.move(await scene.claim_one(), TaskEvent.FAIL)
    scene.now += round(50 * AGING_S * SECOND)
    urgent = await scene.add(priority=50)
    scene.now += 1
    await scene.move(old, TaskEvent.REPLAY)
    assert await _order(scene, 2) == [urgent.id, old.id]


@case
async def another_worth_of_waiting_moves_what_waits(scene: Scene) -> None:
    low = await scene.add(priority=0)
    scene.now += 100 * SECOND
    high = await scene.add(priority=1)
    assert await scene.do(lambda tx: tx.set_aging(60.0))
    assert not await scene.do(lambda tx: tx.set_aging(60.0))
    assert await _order(scene, 2) == [low.id, high.id]
