"""Dead letters: grouped by what they have in common, found again, tried anew in other words."""

from __future__ import annotations

from ostinato.domain.errors import Conflict
from ostinato.domain.event import EventName
from ostinato.domain.replay import Edit
from ostinato.domain.task import Fail, Task, TaskEvent, TaskKind, TaskState
from ostinato.testing.contract.scene import Scene, case, claim_of, done, refuses, spec


async def bury(scene: Scene, error: str, **more: object) -> Task:
    """A task that has failed so."""
    await scene.add(**{"agent": "clerk", **more})  # type: ignore[arg-type]  # whatever `add` takes
    scene.wait(1.0)
    return await scene.finish(await scene.claim_one(), Fail(error=error))


@case
async def what_failed_alike_is_one_group_with_first_last_and_an_example(scene: Scene) -> None:
    begun = scene.now
    alike = [await bury(scene, f"Order {number} of /data/{number}.json: HTTP 503") for number in range(3)]
    other = await bury(scene, "Order 7 is unknown")
    elsewhere = await bury(scene, "Order 7 of /data/7.json: HTTP 503", agent="painter")
    groups = await scene.see(lambda reads: reads.dead_groups())
    assert [(each.count, each.example.id) for each in groups] == [(1, elsewhere.id), (1, other.id), (3, alike[2].id)]
    same = groups[2]
    assert (same.first_at, same.last_at) == (begun + 1_000_000, begun + 3_000_000)
    page = await scene.see(lambda reads: reads.dead_of_group(same.fingerprint, limit=2))
    assert [task.id for task in page] == [alike[2].id, alike[1].id]
    rest = await scene.see(lambda reads: reads.dead_of_group(same.fingerprint, before=page[-1].id))
    assert [task.id for task in rest] == [alike[0].id]
    assert await scene.see(lambda reads: reads.dead_groups(limit=1)) == groups[:1]


@case
async def a_letter_leaves_its_group_when_somebody_deals_with_it(scene: Scene) -> None:
    letters = [await bury(scene, "no") for _ in range(3)]
    await scene.move(letters[0], TaskEvent.DISMISS, "done by hand")
    await scene.move(letters[1], TaskEvent.REPLAY)
    (group,) = await scene.see(lambda reads: reads.dead_groups())
    assert (group.count, group.example.id) == (1, letters[2].id)
    await scene.finish(await scene.claim_one(), Fail(error="no"))
    (group,) = await scene.see(lambda reads: reads.dead_groups())
    assert group.count == 2, "it failed alike again"


@case
async def letters_are_found_in_order_behind_an_id_and_up_to_a_time(scene: Scene) -> None:
    letters = [await bury(scene, error) for error in ("a", "b", "a")]
    until = scene.now
    await bury(scene, "a")
    found = await scene.see(lambda reads: reads.dead_letters(until_at=until))
    assert [task.id for task in found] == [task.id for task in letters]
    found = await scene.see(lambda reads: reads.dead_letters(after=letters[0].id, until_at=until, limit=1))
    assert [task.id for task in found] == [letters[1].id]
    group = next(each for each in await scene.see(lambda reads: reads.dead_groups()) if each.count == 3)
    found = await scene.see(lambda reads: reads.dead_letters(group=group.fingerprint, until_at=until))
    assert [task.id for task in found] == [letters[0].id, letters[2].id]


@case
async def a_goal_is_tried_anew_in_other_words(scene: Scene) -> None:
    words = spec(goal="Pay it", input={"country": "CH", "sum": 3})
    letter = await bury(scene, "no", kind=TaskKind.GOAL, spec=words)
    edit = Edit(goal="Pay half of it", keys={"sum": 2, "note": "x" * 5_000})
    again = await scene.do(lambda tx: tx.retry_task(letter.id, fresh=True, actor="ann", edit=edit, now=scene.now))
    assert (again.state, again.journal) == (TaskState.READY, 2)
    assert again.spec.goal == "Pay half of it"
    assert again.spec.input == {"country": "CH", "sum": 2, "note": "x" * 5_000}
    (event,) = await scene.told(EventName.TASK_CHANGED, task=letter)
    assert (event.actor, event.data) == ("ann", {"edited": ["goal", "input"]})
    claimed = await scene.claim_one()
    assert claimed.spec == again.spec
    await scene.do(lambda tx: tx.finish(claim_of(claimed), done(), now=scene.now))
    assert (await scene.look(letter)).spec == again.spec


@case
async def only_goals_are_tried_in_other_words(scene: Scene) -> None:
    letter = await bury(scene, "no", kind=TaskKind.DELIVERY)
    with refuses(Conflict, "only goals"):
        await scene.change("retry_task", letter.id, fresh=True, actor="ann", edit=Edit(goal="x"), now=scene.now)
    assert (await scene.look(letter)).state is TaskState.FAILED
