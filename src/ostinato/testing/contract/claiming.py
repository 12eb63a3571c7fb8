"""Claims: order, limits, flags, fencing of sessions, and what may not slow them down."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Mapping
from typing import Any

from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName
from ostinato.domain.message import NewMessage
from ostinato.domain.task import (
    URGENT_PRIORITY,
    NewTask,
    Park,
    Requeue,
    Task,
    TaskEvent,
    TaskKind,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Source
from ostinato.store.port import EVERY_POOL, Claim, ClaimRequest, Tx
from ostinato.testing.contract.scene import Scene, case


@case
async def a_claim_counts_the_attempt_and_raises_the_token(scene: Scene) -> None:
    task = await scene.add()
    scene.wait(3.0)
    claimed = await scene.claim_one()
    assert (claimed.state, claimed.attempts, claimed.token, claimed.node) == (TaskState.RUNNING, 1, 1, scene.node)
    assert await scene.look(task) == claimed
    (attempt,) = await scene.see(lambda reads: reads.attempts(task.id))
    assert (attempt.token, attempt.node, attempt.outcome, attempt.ended_at) == (1, scene.node, "", None)
    assert attempt.started_at - attempt.ready_at == 3 * SECOND
    assert await scene.claim() == []


@case
async def the_most_urgent_comes_first_and_the_oldest_within_it(scene: Scene) -> None:
    chance = random.Random(7)
    added = [await scene.add(agent=chance.choice("abc"), priority=chance.randint(-3, 3)) for _ in range(60)]
    expected = [task.id for task in sorted(added, key=lambda task: (-task.priority, task.id))]
    order: list[int] = []
    while claimed := await scene.claim(most=chance.randint(1, 9)):
        order += [task.id for task in claimed]
    assert order == expected


@case
async def a_claim_takes_no_more_than_there_are_places(scene: Scene) -> None:
    for _ in range(5):
        await scene.add()
    assert len(await scene.claim(most=2)) == 2
    assert await scene.claim(most=0) == []
    assert len(await scene.claim(most=9)) == 3


@case
async def only_the_pools_and_kinds_asked_for_are_claimed(scene: Scene) -> None:
    fast = await scene.add(pool="fast")
    turn = await scene.add(kind=TaskKind.TURN, pool="fast", priority=9)
    plain = await scene.add()
    assert [t.id for t in await scene.claim(most=9, pools=("fast",), kinds=(TaskKind.RUN,))] == [fast.id]
    assert [t.id for t in await scene.claim(most=9, pools=("none",))] == []
    assert [t.id for t in await scene.claim(most=9, pools=("default", "fast"))] == [turn.id, plain.id]


@case
async def an_agent_at_its_limit_waits_and_others_do_not(scene: Scene) -> None:
    busy = [await scene.add(agent="busy", priority=5) for _ in range(3)]
    other = await scene.add(agent="other")
    limits = {"agent_limits": {"busy": 2}, "agent_limit_default": 1}
    first = await scene.claim(most=9, **limits)
    assert [task.id for task in first] == [busy[0].id, busy[1].id, other.id]
    assert await scene.claim(most=9, **limits) == []
    await scene.finish(first[1])
    assert [task.id for task in await scene.claim(most=9, **limits)] == [busy[2].id]


@case
async def a_raised_limit_counts_at_once(scene: Scene) -> None:
    for _ in range(3):
        await scene.add(agent="busy")
    assert len(await scene.claim(most=9, agent_limit_default=1)) == 1
    assert await scene.claim(most=9, agent_limit_default=1) == []
    assert len(await scene.claim(most=9, agent_limit_default=3)) == 2


@case
async def tasks_without_an_agent_have_no_limit_of_one(scene: Scene) -> None:
    for _ in range(5):
        await scene.add(kind=TaskKind.FIRE)
    assert len(await scene.claim(most=9, agent_limit_default=1)) == 5


@case
async def a_kind_at_its_limit_waits_and_others_do_not(scene: Scene) -> None:
    for _ in range(3):
        await scene.add(kind=TaskKind.TURN, priority=5)
    run = await scene.add()
    first = await scene.claim(most=9, kind_limits={TaskKind.TURN: 1})
    assert [task.kind for task in first] == [TaskKind.TURN, TaskKind.RUN]
    assert first[1].id == run.id
    await scene.finish(first[0])
    assert len(await scene.claim(most=9, kind_limits={TaskKind.TURN: 1})) == 1


@case
async def one_task_at_a_time_runs_in_a_session(scene: Scene) -> None:
    first = await scene.add(kind=TaskKind.GOAL, session="main:a", agent="a")
    second = await scene.add(kind=TaskKind.GOAL, session="main:a", agent="a")
    third = await scene.add(kind=TaskKind.GOAL, agent="a")
    claimed = await scene.claim(most=9)
    assert [task.id for task in claimed] == [first.id, third.id]
    await scene.finish(claimed[0])
    assert [task.id for task in await scene.claim(most=9)] == [second.id]


@case
async def a_parked_task_leaves_its_session_to_others(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, session="main:a", agent="a")
    second = await scene.add(kind=TaskKind.GOAL, session="main:a", agent="a")
    await scene.finish(await scene.claim_one(), Park(wait=Wait(kind=WaitKind.TIME), reason="later"))
    assert (await scene.claim_one()).id == second.id


@case
async def no_flagged_scope_starts_anything(scene: Scene) -> None:
    task = await scene.add(kind=TaskKind.GOAL, agent="a", session="main:a")
    for scope in ("fleet", "agent:a", f"task:{task.id}", "session:main:a", "pool:default"):
        for flag in ("halted", "paused", "draining"):
            await scene.change("set_flag", scope, flag, actor="ann", reason="", now=scene.now)
            assert await scene.claim() == [], f"{scope} is {flag}"
            await scene.change("clear_flag", scope, flag, actor="ann", now=scene.now)
    assert (await scene.claim_one()).id == task.id


@case
async def a_flag_stops_its_own_scope_only(scene: Scene) -> None:
    await scene.add(agent="a", priority=9)
    other = await scene.add(agent="b")
    await scene.do(lambda tx: tx.set_flag("agent:a", "paused", actor="ann", reason="", now=scene.now))
    assert [task.id for task in await scene.claim(most=9)] == [other.id]


@case
async def what_comes_back_is_claimed_again_in_its_place(scene: Scene) -> None:
    first, second = await scene.add(), await scene.add()
    claimed = await scene.claim_one()
    await scene.finish(claimed, Requeue(reason="drained"))
    again = await scene.claim(most=9)
    assert [task.id for task in again] == [first.id, second.id]
    assert [task.token for task in again] == [2, 1]


@case
async def a_changed_priority_or_agent_counts_at_once(scene: Scene) -> None:
    first, second, third = [await scene.add(agent="a") for _ in range(3)]
    await scene.do(lambda tx: tx.change_task(third.id, actor="ann", priority=5, now=scene.now))
    await scene.do(lambda tx: tx.change_task(first.id, actor="ann", agent="b", now=scene.now))
    assert [task.id for task in await scene.claim(most=1)] == [third.id]
    await scene.do(lambda tx: tx.set_flag("agent:b", "paused", actor="ann", reason="", now=scene.now))
    assert [task.id for task in await scene.claim(most=9)] == [second.id]


@case
async def what_was_cancelled_or_blocked_meanwhile_is_passed_over(scene: Scene) -> None:
    tasks = [await scene.add() for _ in range(6)]
    await scene.claim_one()  # the others are noted as next
    await scene.move(tasks[1], TaskEvent.CANCEL)
    await scene.move(tasks[2], TaskEvent.BLOCK, "wait")
    await scene.move(tasks[3], TaskEvent.BLOCK, "wait")
    await scene.move(tasks[3], TaskEvent.RELEASE)
    assert [task.id for task in await scene.claim(most=9)] == [tasks[3].id, tasks[4].id, tasks[5].id]


@case
async def a_crowd_that_cannot_run_hides_nobody(scene: Scene) -> None:
    for _ in range(300):
        await scene.add(agent="paused", priority=50)
    for _ in range(300):
        await scene.add(agent="full", priority=40)
    for _ in range(100):
        await scene.add(kind=TaskKind.GOAL, agent="one-room", session="main:x", priority=30)
    last = await scene.add(agent="one-room", kind=TaskKind.GOAL)
    free = await scene.add(agent="free")
    await scene.do(lambda tx: tx.set_flag("agent:paused", "paused", actor="ann", reason="", now=scene.now))
    limits = {"agent_limits": {"full": 1, "one-room": 5}}
    claimed = await scene.claim(most=9, **limits)
    assert [task.agent for task in claimed] == ["full", "one-room", "one-room", "free"]
    assert [task.id for task in claimed[2:]] == [last.id, free.id]
    assert await scene.claim(most=9, **limits) == []


@case
async def a_long_queue_is_claimed_in_order_to_its_end(scene: Scene) -> None:
    chance = random.Random(3)
    priorities = [chance.randint(0, 2) for _ in range(400)]
    tasks = [await scene.add(agent="a", priority=priority) for priority in priorities]
    expected = [task.id for task in sorted(tasks, key=lambda task: (-task.priority, task.id))]
    order: list[int] = []
    while claimed := await scene.claim(most=7, agent_limit_default=1_000):
        order += [task.id for task in claimed]
    assert order == expected


@case
async def a_node_that_remembers_nothing_claims_a_long_queue_in_order_while_it_grows(scene: Scene) -> None:
    chance = random.Random(5)
    waiting: list[Task] = []

    def add_some(tx: Tx, count: int) -> None:
        news = (NewTask(kind=TaskKind.RUN, title=f"{n}", priority=chance.randint(0, 2)) for n in range(count))
        waiting.extend(tx.add_task(new, now=scene.now) for new in news)

    def add_in_vain(tx: Tx) -> None:
        tx.add_task(NewTask(kind=TaskKind.RUN, title="undone"), now=scene.now)
        raise NotFound("on purpose")

    await scene.do(lambda tx: add_some(tx, 300))
    with contextlib.suppress(NotFound):
        await scene.do(add_in_vain)  # a store that has undone something forgets what it knew
    while claimed := await scene.claim(most=50):
        waiting.sort(key=lambda task: (-task.priority, task.id))
        assert [(task.id, task.title) for task in claimed] == [(task.id, task.title) for task in waiting[:50]]
        del waiting[:50]
        for each in claimed[::10]:
            await scene.finish(each)
        await scene.do(lambda tx: add_some(tx, len(waiting) // 8))
    assert not waiting


@case
async def claims_are_told_with_attempt_and_node(scene: Scene) -> None:
    await scene.add()
    task = await scene.claim_one()
    (event,) = await scene.told(EventName.TASK_CLAIMED, task=task)
    assert event.data == {"attempt": 1, "node": scene.node}


@case
async def a_node_of_every_pool_takes_the_most_urgent_of_all(scene: Scene) -> None:
    fast = await scene.add(pool="fast")
    urgent = await scene.add(pool="slow", priority=9)
    plain = await scene.add()
    assert [t.id for t in await scene.claim(most=9, pools=(EVERY_POOL,))] == [urgent.id, fast.id, plain.id]


@case
async def an_agents_tasks_wait_in_its_pool_also_those_that_wait_already(scene: Scene) -> None:
    before = await scene.add(agent="painter")
    assert await scene.do(lambda tx: tx.place_agent("painter", "gpu", now=scene.now))
    assert not await scene.do(lambda tx: tx.place_agent("painter", "gpu", now=scene.now))
    assert await scene.see(lambda reads: reads.placements()) == {"painter": "gpu"}
    after, other = await scene.add(agent="painter"), await scene.add(agent="clerk")
    new = NewMessage(source=Source.OPERATOR, text="Hello")
    await scene.do(lambda tx: tx.append_message("main:painter", new, agent="painter", now=scene.now))
    assert [t.id for t in await scene.claim(most=9, agent_limit_default=9)] == [other.id]
    assert await scene.see(lambda reads: reads.unserved_pools()) == []  # the scene's node takes from all of them
    gpu = await scene.claim(most=9, pools=("gpu",), agent_limit_default=9)
    assert [t.id for t in gpu[:2]] == [before.id, after.id]
    assert [t.kind for t in gpu[2:]] == [TaskKind.TURN]
    assert len(await scene.told(EventName.AGENT_PLACED)) == 1


@case
async def a_task_follows_its_agent_and_its_agents_pool(scene: Scene) -> None:
    await scene.do(lambda tx: tx.place_agent("painter", "gpu", now=scene.now))
    task = await scene.add(agent="clerk")
    moved = await scene.do(lambda tx: tx.change_task(task.id, agent="painter", actor="ann", now=scene.now))
    assert (moved.agent, moved.pool) == ("painter", "gpu")
    assert await scene.claim(most=9) == []
    (held,) = await scene.claim(most=9, pools=("gpu",))
    await scene.do(lambda tx: tx.place_agent("painter", "default", now=scene.now))
    claim = Claim(task=held.id, token=held.token)
    await scene.do(lambda tx: tx.finish(claim, Requeue(reason="drained"), now=scene.now))
    assert [t.id for t in await scene.claim(most=9)] == [task.id]


@case
async def a_pool_that_no_node_takes_from_is_named(scene: Scene) -> None:
    await scene.do(lambda tx: tx.place_agent("painter", "gpu", now=scene.now))
    await scene.do(
        lambda tx: tx.start_node(
            pid=2, host="h", version="v", lease_s=60.0, exclusive=True, pools=("default", "cpu"), now=scene.now
        )
    )
    assert await scene.see(lambda reads: reads.unserved_pools()) == []
    await scene.add(agent="clerk")
    await scene.add(agent="painter")
    assert await scene.see(lambda reads: reads.unserved_pools()) == ["gpu"]


@case
async def urgent_tasks_that_only_a_limit_keeps_from_running_are_told(scene: Scene) -> None:
    async def waits(most: int = 0, **more: Any) -> Mapping[str, int]:
        request = ClaimRequest(node=scene.node, most=most, **more)
        return await scene.do(lambda tx: tx.urgent_waits(request))

    await scene.add("lesser", agent="a")
    running = await scene.claim_one()
    assert await waits() == {}
    await scene.add("not urgent", agent="a", priority=URGENT_PRIORITY - 1)
    await scene.claim(most=9, agent_limit_default=1)
    assert await waits() == {}
    await scene.add("urgent", agent="a", priority=URGENT_PRIORITY)
    assert await waits() == {"": 1}, "nobody has tried to claim it yet"
    assert await scene.claim(most=9, agent_limit_default=1) == []
    assert await waits() == {"agent:a": 1}
    await scene.finish(running)
    assert (await scene.claim_one(agent_limit_default=1)).priority == URGENT_PRIORITY
    assert await waits() == {}
