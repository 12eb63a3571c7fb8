"""Limits of queues: by kind, project, agent and priority, how many at once and how often; nothing hides behind them."""

from __future__ import annotations

import random
from collections import Counter

from ostinato.domain.errors import Invalid
from ostinato.domain.event import EventName
from ostinato.domain.limit import QueueLimit, Rate, Strands
from ostinato.domain.task import Fail, Park, Task, TaskEvent, TaskKind, Wait, WaitKind
from ostinato.domain.values import SECOND
from ostinato.store.port import Tx
from ostinato.testing.contract.scene import Scene, case

MINUTE_S = 60.0


async def limit(scene: Scene, *limits: QueueLimit) -> bool:
    """The fleet's limits from now on."""
    return await scene.do(lambda tx: tx.set_limits(limits, now=scene.now))


async def forget(scene: Scene) -> None:
    """The store knows nothing any more but what is on disk, as after a restart."""

    def fail(tx: Tx) -> None:
        tx.set_setting("something", "changed")
        raise Invalid("undone")

    try:
        await scene.do(fail)
    except Invalid:
        return


def ids(tasks: list[Task]) -> list[int]:
    """Their ids."""
    return [task.id for task in tasks]


@case
async def a_full_project_waits_and_hides_nobody(scene: Scene) -> None:
    assert await limit(scene, QueueLimit(project="acme", concurrency=2))
    assert not await limit(scene, QueueLimit(project="acme", concurrency=2)), "they are these already"
    acme = [await scene.add(agent="a", project="acme", priority=5) for _ in range(30)]
    other = await scene.add(agent="a", project="beta")
    first = await scene.claim(most=9)
    assert ids(first) == [acme[0].id, acme[1].id, other.id]
    assert await scene.claim(most=9) == []
    await scene.finish(first[1])
    assert ids(await scene.claim(most=9)) == [acme[2].id]


@case
async def a_rate_holds_in_every_span_and_over_whatever_is_forgotten(scene: Scene) -> None:
    await limit(scene, QueueLimit(kind="run", rate=Rate(starts=3, span_s=MINUTE_S)))
    tasks = [await scene.add() for _ in range(8)]
    assert ids(await scene.claim(most=1)) == [tasks[0].id]
    scene.wait(50.0)
    assert ids(await scene.claim(most=9)) == [tasks[1].id, tasks[2].id]
    assert await scene.do(lambda tx: tx.next_start_at()) == scene.now + 10 * SECOND
    await forget(scene)
    assert await scene.claim(most=9) == []
    scene.wait(10.0)
    assert ids(await scene.claim(most=9)) == [tasks[3].id]
    await forget(scene)
    scene.wait(49.0)
    assert await scene.claim(most=9) == []
    scene.wait(1.0)
    assert ids(await scene.claim(most=9)) == [tasks[4].id, tasks[5].id]
    assert await scene.do(lambda tx: tx.next_start_at()) == scene.now + 10 * SECOND


@case
async def what_comes_back_counts_for_a_rate_again(scene: Scene) -> None:
    await limit(scene, QueueLimit(agent="a", rate=Rate(starts=2, span_s=MINUTE_S)))
    await scene.add(agent="a")
    await scene.finish(await scene.claim_one(), Park(wait=Wait(kind=WaitKind.TIME, until_at=scene.now), reason=""))
    await scene.finish(await scene.claim_one())
    await scene.add(agent="a")
    assert await scene.claim(most=9) == []


@case
async def priorities_have_limits_of_their_own(scene: Scene) -> None:
    await limit(scene, QueueLimit(priority_most=-1, concurrency=1), QueueLimit(priority_least=50, concurrency=1))
    high = [await scene.add(priority=priority) for priority in (90, 50)]
    low = [await scene.add(priority=priority) for priority in (-1, -50)]
    plain = [await scene.add(priority=priority) for priority in (49, 0)]
    first = await scene.claim(most=9)
    assert ids(first) == [high[0].id, plain[0].id, plain[1].id, low[0].id]
    await scene.finish(first[0])
    assert ids(await scene.claim(most=9)) == [high[1].id]
    await scene.finish(first[3])
    assert ids(await scene.claim(most=9)) == [low[1].id]


@case
async def each_project_has_its_own_where_the_limit_says_each(scene: Scene) -> None:
    await limit(scene, QueueLimit(project="*", concurrency=1))
    added = [await scene.add(project=project) for project in ("a", "a", "b", "", "")]
    assert ids(await scene.claim(most=9)) == [added[0].id, added[2].id, added[3].id, added[4].id]


@case
async def limits_count_at_once_for_what_waits_and_runs_already(scene: Scene) -> None:
    tasks = [await scene.add(project="acme") for _ in range(5)]
    held = await scene.claim(most=2)
    blocked = await scene.add(project="acme", blocked="wait")
    await limit(scene, QueueLimit(project="acme", concurrency=3))
    assert len(await scene.told(EventName.LIMITS_CHANGED)) == 1
    assert ids(await scene.claim(most=9)) == [tasks[2].id]
    await scene.move(blocked, TaskEvent.RELEASE)
    await scene.finish(held[0], Fail(error="no"))
    assert ids(await scene.claim(most=9)) == [tasks[3].id]
    await scene.move(held[0], TaskEvent.REPLAY)
    assert await scene.claim(most=9) == []
    await limit(scene)
    assert ids(await scene.claim(most=9)) == [held[0].id, tasks[4].id, blocked.id]


@case
async def a_task_that_changes_its_project_or_priority_changes_its_limits(scene: Scene) -> None:
    await limit(scene, QueueLimit(project="acme", concurrency=1), QueueLimit(priority_most=-1, concurrency=1))
    running = (await scene.add(project="acme")).id
    assert ids(await scene.claim(most=9)) == [running]
    waits = await scene.add(project="acme")
    assert await scene.claim(most=9) == []
    await scene.do(lambda tx: tx.change_task(running, project="other", actor="ann", now=scene.now))
    assert ids(await scene.claim(most=9)) == [waits.id]
    third = await scene.add(project="acme")
    assert await scene.claim(most=9) == []
    await scene.do(lambda tx: tx.change_task(third.id, project="free", actor="ann", now=scene.now))
    assert ids(await scene.claim(most=9)) == [third.id]
    await scene.do(lambda tx: tx.change_task(third.id, priority=-5, actor="ann", now=scene.now))
    await scene.add(priority=-9)
    assert await scene.claim(most=9) == []


@case
async def it_is_told_how_limits_stand_and_who_waits_for_them(scene: Scene) -> None:
    three = QueueLimit(project="acme", concurrency=1, rate=Rate(starts=5, span_s=MINUTE_S))
    each = QueueLimit(agent="*", rate=Rate(starts=1, span_s=MINUTE_S))
    await limit(scene, three, each)
    assert await scene.see(lambda reads: reads.limits()) == (three, each)
    await scene.add(agent="a", project="acme")
    await scene.claim_one()
    waits = await scene.add(agent="b", project="acme", priority=3)
    also = await scene.add(agent="a")
    assert await scene.claim(most=9) == []
    now = scene.now
    project, agent = await scene.see(lambda reads: reads.limits_of(waits, now=now))
    assert (project.name, project.running, project.is_full, project.opens_at) == ("project=acme", 1, True, None)
    assert (agent.name, agent.opens_at) == ("agent=b", None)
    standing = {one.name: one for one in await scene.see(lambda reads: reads.limit_states(now=now))}
    assert set(standing) == {"project=acme", "agent=a", "agent=b"}
    assert standing["project=acme"].waits == waits.id
    assert (standing["agent=a"].opens_at, standing["agent=a"].waits) == (now + 60 * SECOND, also.id)
    assert standing["agent=b"].waits is None, "not for its own rate"


@case
async def random_arrivals_never_go_beyond_a_limit_and_all_are_served(scene: Scene) -> None:
    chance = random.Random(5)
    limits = (
        QueueLimit(project="acme", concurrency=2, rate=Rate(starts=4, span_s=30.0)),
        QueueLimit(kind="turn", concurrency=3),
        QueueLimit(priority_least=1, rate=Rate(starts=3, span_s=20.0)),
    )
    await limit(scene, *limits)
    strands, left, begun = Strands(limits), 20, dict[str, list[int]]()
    running: list[Task] = []
    served: set[int] = set()
    while left or len(served) < 20:
        if left and chance.random() < 0.5:
            left -= 1
            kind = chance.choice([TaskKind.RUN, TaskKind.TURN])
            await scene.add(project=chance.choice(["acme", ""]), priority=chance.randint(-1, 2), kind=kind)
        for task in await scene.claim(most=3):
            running.append(task)
            for scope, _ in strands.of(task):
                begun.setdefault(scope, []).append(scene.now)
        counts = Counter(scope for task in running for scope, _ in strands.of(task))
        assert all(counts[scope] <= (each.concurrency or 99) for task in running for scope, each in strands.of(task))
        while running and chance.random() < 0.6:
            task = running.pop(chance.randrange(len(running)))
            await scene.finish(task)
            served.add(task.id)
        if chance.random() < 0.2:
            await forget(scene)
        scene.wait(chance.random() * 4)
    for each in limits:
        if each.rate is not None:
            at = begun[each.scope(kind=each.kind, project=each.project, agent=each.agent)]
            later = at[each.rate.starts :]
            assert all(b - a >= each.rate.span_s * SECOND for a, b in zip(at, later, strict=False))
