"""Nodes: leases, losses, and what is done with the work of those that are gone."""

from __future__ import annotations

from ostinato.domain.errors import Fenced
from ostinato.domain.event import EventName
from ostinato.domain.task import Park, Requeue, Retry, TaskEvent, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND
from ostinato.store.port import POISON_LOSSES, SUSPECT_LOSSES_MAX, ClaimRequest, Node
from ostinato.testing.contract.scene import LONG_S, Scene, case, refuses


async def _start(scene: Scene, *, exclusive: bool = False, lease_s: float = LONG_S) -> Node:
    return await scene.do(
        lambda tx: tx.start_node(pid=7, host="there", version="2", lease_s=lease_s, exclusive=exclusive, now=scene.now)
    )


async def _claim_for(scene: Scene, node: Node) -> None:
    request = ClaimRequest(node=node.id)
    assert len(await scene.do(lambda tx: tx.claim(request, now=scene.now))) == 1


@case
async def each_start_is_a_new_incarnation(scene: Scene) -> None:
    first, second = await _start(scene), await _start(scene)
    assert scene.node < first.id < second.id
    nodes = await scene.see(lambda reads: reads.nodes())
    assert [node.id for node in nodes] == [second.id, first.id, scene.node]
    assert (nodes[0].pid, nodes[0].host, nodes[0].version, nodes[0].ended_at) == (7, "there", "2", None)


@case
async def an_exclusive_start_voids_every_older_claim_at_once(scene: Scene) -> None:
    task = await scene.add()
    old = await scene.claim_one()
    scene.wait(1.0)
    await _start(scene, exclusive=True)
    lost = await scene.look(task)
    assert (lost.state, lost.losses, lost.node, lost.failures) == (TaskState.READY, 1, None, 0)
    (attempt,) = await scene.see(lambda reads: reads.attempts(task.id))
    assert (attempt.outcome, attempt.ended_at) == ("lost", scene.now)
    with refuses(Fenced):
        await scene.finish(old)
    nodes = {node.id: node for node in await scene.see(lambda reads: reads.nodes())}
    assert (nodes[scene.node].clean, nodes[scene.node].ended_at) == (False, scene.now)
    assert len(await scene.told(EventName.NODE_LOST)) == 1


@case
async def another_node_beside_it_leaves_claims_alone(scene: Scene) -> None:
    await scene.add()
    old = await scene.claim_one()
    await _start(scene)
    assert await scene.look(old) == old


@case
async def a_node_that_ends_in_order_gives_back_without_a_loss(scene: Scene) -> None:
    task = await scene.add()
    await scene.claim_one()
    await scene.do(lambda tx: tx.end_node(scene.node, now=scene.now))
    back = await scene.look(task)
    assert (back.state, back.losses) == (TaskState.READY, 0)
    (attempt,) = await scene.see(lambda reads: reads.attempts(task.id))
    assert (attempt.outcome, attempt.ended_at) == ("requeue", scene.now)
    (node,) = await scene.see(lambda reads: reads.nodes())
    assert (node.clean, node.ended_at) == (True, scene.now)
    await scene.do(lambda tx: tx.end_node(scene.node, now=scene.now))
    assert len(await scene.told(EventName.NODE_STOPPED)) == 1
    await _start(scene, exclusive=True)
    assert await scene.told(EventName.NODE_LOST) == []


@case
async def what_runs_on_no_node_is_given_back_when_one_begins_alone(scene: Scene) -> None:
    task = await scene.add()
    assert await scene.claim(pools=()) == []
    await scene.do(lambda tx: tx.end_node(scene.node, now=scene.now))
    await scene.claim_one()  # by one that was stopped for long, and does not know of its end
    await _start(scene, exclusive=True)
    back = await scene.look(task)
    assert (back.state, back.losses) == (TaskState.READY, 1)


@case
async def a_lease_that_is_over_costs_the_node_its_tasks(scene: Scene) -> None:
    node = await _start(scene, lease_s=0.0)
    task = await scene.add()
    await _claim_for(scene, node)
    assert not await scene.do(lambda tx: tx.renew_node(node.id, lease_s=LONG_S))
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 1
    assert ((await scene.look(task)).state, (await scene.look(task)).losses) == (TaskState.READY, 1)
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 0
    assert not await scene.do(lambda tx: tx.renew_node(node.id, lease_s=LONG_S))


@case
async def a_renewed_lease_holds(scene: Scene) -> None:
    task = await scene.add()
    await scene.claim_one()
    assert await scene.do(lambda tx: tx.renew_node(scene.node, lease_s=LONG_S))
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 0
    assert (await scene.look(task)).state is TaskState.RUNNING


@case
async def a_task_that_kills_its_nodes_is_set_aside_as_poison(scene: Scene) -> None:
    task = await scene.add()
    dependant = await scene.add("dependant", after=(task.id,))
    for number in range(1, POISON_LOSSES + 1):
        node = await _start(scene, lease_s=0.0)
        await _claim_for(scene, node)
        await scene.do(lambda tx: tx.rescue(now=scene.now))
        assert (await scene.look(task)).losses == number
    dead = await scene.look(task)
    assert dead.state is TaskState.FAILED
    assert dead.result is not None
    assert dead.result.error_class == "poison"
    (setback,) = (await scene.look_up("setbacks", task.id)).told
    assert (setback.failure.value, setback.kind) == ("permanent", "poison")
    assert (await scene.see(lambda reads: reads.tallies())).dead == 1
    assert "failed" in (await scene.look(dependant)).reason
    replayed = await scene.move(task, TaskEvent.REPLAY)
    assert replayed.losses == 0


@case
async def of_several_tasks_that_their_nodes_died_with_the_one_that_dies_alone_is_poison(scene: Scene) -> None:
    bad, *innocent = [await scene.add(name) for name in ("bad", "one", "other")]
    for _ in range(POISON_LOSSES):
        node = await _start(scene, lease_s=0.0)
        await scene.do(lambda tx: tx.claim(ClaimRequest(node=node.id, most=9), now=scene.now))  # noqa: B023 - run at once
        await scene.do(lambda tx: tx.rescue(now=scene.now))
    for each in (bad, *innocent):
        back = await scene.look(each)
        assert (back.state, back.losses) == (TaskState.READY, POISON_LOSSES), "nobody knows which of them it was"
    request = ClaimRequest(node=(await _start(scene, lease_s=0.0)).id, most=9)
    alone = await scene.do(lambda tx: tx.claim(request, now=scene.now))
    assert [each.id for each in alone] == [bad.id], "the others begin a little later"
    await scene.do(lambda tx: tx.rescue(now=scene.now))
    assert (await scene.look(bad)).state is TaskState.FAILED
    scene.wait(10.0)
    await scene.do(lambda tx: tx.rescue(now=scene.now))
    done = [await scene.finish(each) for each in await scene.claim(most=9)]
    assert [(each.state, each.losses) for each in done] == [(TaskState.DONE, 0)] * 2


@case
async def tasks_that_always_die_together_are_set_aside_in_the_end(scene: Scene) -> None:
    tasks = [await scene.add(name) for name in ("one", "other")]
    for _ in range(SUSPECT_LOSSES_MAX):
        scene.wait(10.0)
        await scene.do(lambda tx: tx.rescue(now=scene.now))
        request = ClaimRequest(node=(await _start(scene, lease_s=0.0)).id, most=9)
        assert len(await scene.do(lambda tx: tx.claim(request, now=scene.now))) == 2  # noqa: B023 - run at once
        await scene.do(lambda tx: tx.rescue(now=scene.now))
    assert [(await scene.look(each)).state for each in tasks] == [TaskState.FAILED] * 2


@case
async def losses_count_only_in_a_row(scene: Scene) -> None:
    task = await scene.add()
    for outcome in (Requeue(reason="drained"), Retry(error="busy")):
        for _ in range(POISON_LOSSES - 1):
            await _claim_for(scene, await _start(scene, lease_s=0.0))
            await scene.do(lambda tx: tx.rescue(now=scene.now))
        await scene.finish(await scene.claim_one(), outcome)
        assert (await scene.look(task)).losses == 0


@case
async def what_a_clock_that_was_ahead_has_put_off_is_looked_at_once_it_is_set_back(scene: Scene) -> None:
    years = 10 * 365 * 86_400 * SECOND
    meant = await scene.add(not_before_at=scene.now + 2 * years)
    scene.now += years
    tasks = [await scene.add(str(number)) for number in range(3)]
    asked = await scene.add(not_before_at=scene.now + SECOND)
    held = await scene.claim(most=3)
    await scene.finish(held[0], Retry(error="away"))
    await scene.finish(held[1], Park(wait=Wait(kind=WaitKind.TIME, until_at=scene.now + 60 * SECOND), reason="later"))
    await scene.finish(held[2], Park(wait=Wait(kind=WaitKind.QUESTION), reason="a question"))
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 0
    scene.now -= years
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 2
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 0
    late = await scene.add("late")
    assert [each.id for each in await scene.claim(most=9)] == [tasks[0].id, tasks[1].id, late.id], "as of now"
    assert [(await scene.look(each)).state for each in (meant, asked)] == [TaskState.READY] * 2


@case
async def a_lost_nodes_work_is_claimed_by_another(scene: Scene) -> None:
    task = await scene.add()
    await _claim_for(scene, await _start(scene, lease_s=0.0))
    await scene.do(lambda tx: tx.rescue(now=scene.now))
    taken = await scene.claim_one()
    assert (taken.id, taken.token, taken.node) == (task.id, 2, scene.node)
    assert (await scene.finish(taken)).losses == 0
