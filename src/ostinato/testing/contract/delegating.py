"""One live task for each piece of work: whoever proposes it again gets the first one back."""

from __future__ import annotations

import asyncio

from ostinato.domain.errors import Conflict
from ostinato.domain.task import Fail, NewTask, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.testing.contract.scene import Scene, case, refuses

_SPEC = TaskSpec(delegation="pay the bill")
_PROPOSERS = 8


@case
async def racing_proposers_get_one_task_for_the_same_work(scene: Scene) -> None:
    def propose(number: int) -> NewTask:
        return NewTask(kind=TaskKind.GOAL, title=f"by {number}", agent="ann", spec=_SPEC, key=f"call:{number}")

    made = await asyncio.gather(*(scene.change("add_task", propose(n), now=scene.now) for n in range(_PROPOSERS)))
    assert len({each.id for each in made}) == 1
    assert len(await scene.look_up("tasks_keyed", "call:")) == 1


@case
async def the_same_work_may_come_again_once_it_has_ended(scene: Scene) -> None:
    first = await scene.add(spec=_SPEC, agent="ann")
    assert (await scene.add(spec=_SPEC, agent="bob")).id == first.id
    await scene.finish(await scene.claim_one())
    second = await scene.add(spec=_SPEC, draft=True)
    assert second.id != first.id
    assert (await scene.add(spec=_SPEC)).id == second.id, "a draft is there already, too"


@case
async def failed_work_is_not_replayed_beside_the_same_work(scene: Scene) -> None:
    first = await scene.add(spec=_SPEC)
    await scene.finish(await scene.claim_one(), Fail(error="no"))
    second = await scene.add(spec=_SPEC)
    with refuses(Conflict):
        await scene.move(first, TaskEvent.REPLAY)
    with refuses(Conflict):
        await scene.change("retry_task", first.id, fresh=True, actor="ann", now=scene.now)
    await scene.move(second, TaskEvent.CANCEL)
    assert (await scene.move(first, TaskEvent.REPLAY)).state is TaskState.READY


@case
async def a_draft_is_edited_before_anybody_approves_it(scene: Scene) -> None:
    draft = await scene.add("one", spec=_SPEC, draft=True)
    long = TaskSpec(goal="x" * 20_000, delegation="another")
    edited = await scene.change("edit_draft", draft.id, title="two", spec=long, actor="ann", now=scene.now)
    assert (edited.title, edited.spec) == ("two", long)
    found = await scene.look(draft)
    assert (found.title, found.spec) == ("two", long)
    short = TaskSpec(goal="y", delegation="another")
    await scene.change("edit_draft", draft.id, title="two", spec=short, actor="ann", now=scene.now)
    assert (await scene.look(draft)).spec == short
    assert (await scene.add(spec=_SPEC)).id != draft.id, "its work is another now"
    with refuses(Conflict):
        await scene.change("edit_draft", draft.id, title="x", spec=_SPEC, actor="ann", now=scene.now)
    await scene.move(draft, TaskEvent.APPROVE)
    with refuses(Conflict):
        await scene.change("edit_draft", draft.id, title="x", spec=short, actor="ann", now=scene.now)
