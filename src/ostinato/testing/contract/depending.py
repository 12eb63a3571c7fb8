"""Dependencies: on success, on failure, on any end; of all, or of any one; and branches that are not taken."""

from __future__ import annotations

from ostinato.domain.dependency import is_skipped
from ostinato.domain.errors import Fenced
from ostinato.domain.task import After, Condition, Fail, Join, TaskEvent, TaskSpec, TaskState
from ostinato.testing.contract.scene import Scene, case, refuses

_ANY = TaskSpec(join=Join.ANY)


@case
async def a_task_on_failure_runs_once_the_other_has_failed(scene: Scene) -> None:
    first = await scene.add("first")
    rescue = await scene.add("rescue", after=(After(task=first.id, on=Condition.FAILURE),))
    assert (rescue.state, rescue.reason) == (TaskState.BLOCKED, f"waits for {first.name} to fail")
    await scene.finish(await scene.claim_one(), Fail(error="no"))
    assert (await scene.claim_one()).id == rescue.id


@case
async def a_branch_that_is_not_taken_is_skipped_with_all_that_can_only_follow_it(scene: Scene) -> None:
    first = await scene.add("first")
    rescue = await scene.add("rescue", after=(After(task=first.id, on=Condition.FAILURE),))
    clean = await scene.add("clean", after=(rescue.id,))
    report = await scene.add("report", after=(After(task=clean.id, on=Condition.ALWAYS),))
    draft = await scene.add("draft", after=(clean.id,), draft=True)
    await scene.finish(await scene.claim_one())
    for each in (rescue, clean, draft):
        gone = await scene.look(each)
        assert is_skipped(gone), gone
        assert gone.reason.startswith("skipped: ")
    assert first.name in (await scene.look(rescue)).reason
    assert rescue.name in (await scene.look(clean)).reason
    assert (await scene.look(report)).state is TaskState.READY


@case
async def cancelling_by_hand_leaves_what_follows_to_a_person(scene: Scene) -> None:
    first = await scene.add("first")
    second = await scene.add("second", after=(first.id,))
    rescue = await scene.add("rescue", after=(After(task=first.id, on=Condition.FAILURE),))
    await scene.move(first, TaskEvent.CANCEL)
    assert (await scene.look(second)).state is TaskState.BLOCKED
    assert is_skipped(await scene.look(rescue))


@case
async def a_task_on_any_end_runs_after_each_of_them(scene: Scene) -> None:
    for end in ("done", "failed", "cancelled"):
        first = await scene.add(end)
        last = await scene.add("last", after=(After(task=first.id, on=Condition.ALWAYS),))
        if end == "cancelled":
            await scene.move(first, TaskEvent.CANCEL)
        else:
            await scene.finish(await scene.claim_one(), *([Fail(error="no")] if end == "failed" else []))
        running = await scene.claim_one()
        assert running.id == last.id
        await scene.finish(running)


@case
async def any_one_of_several_is_enough_and_the_others_change_nothing(scene: Scene) -> None:
    first, second = await scene.add("first"), await scene.add("second")
    joined = await scene.add("joined", after=(first.id, second.id), spec=_ANY)
    assert joined.reason == f"waits for any of {first.name}, {second.name}"
    assert joined.unfinished == 1
    one, other = await scene.claim(most=2)
    await scene.finish(one)
    assert (await scene.look(joined)).state is TaskState.READY
    await scene.finish(other)
    joined = await scene.look(joined)
    assert (joined.state, joined.unfinished) == (TaskState.READY, 0)
    assert (await scene.add("late", after=(first.id, second.id), spec=_ANY)).state is TaskState.READY


@case
async def any_is_skipped_only_when_none_of_them_can_come(scene: Scene) -> None:
    first, second = await scene.add("first"), await scene.add("second")
    after = tuple(After(task=each.id, on=Condition.FAILURE) for each in (first, second))
    rescue = await scene.add("rescue", after=after, spec=_ANY)
    await scene.finish(await scene.claim_one())
    assert (await scene.look(rescue)).state is TaskState.BLOCKED
    await scene.finish(await scene.claim_one())
    assert is_skipped(await scene.look(rescue))


@case
async def what_waits_for_a_failure_that_did_not_happen_is_skipped_when_it_is_added(scene: Scene) -> None:
    await scene.add("first")
    first = await scene.finish(await scene.claim_one())
    late = await scene.add("late", after=(After(task=first.id, on=Condition.FAILURE),))
    assert is_skipped(late)
    assert is_skipped(await scene.add("later", after=(late.id,)))


@case
async def a_task_that_ends_twice_is_counted_once(scene: Scene) -> None:
    first, second = await scene.add("first"), await scene.add("second")
    ends = tuple(After(task=each.id, on=Condition.ALWAYS) for each in (first, second))
    last = await scene.add("last", after=ends)
    failed = await scene.finish(await scene.claim_one(), Fail(error="no"))
    await scene.move(failed, TaskEvent.REPLAY)
    await scene.finish(await scene.claim_one())
    assert (await scene.look(last)).unfinished == 1
    await scene.finish(await scene.claim_one())
    assert (await scene.look(last)).state is TaskState.READY


@case
async def what_was_given_up_before_it_began_waits_again_when_it_is_replayed(scene: Scene) -> None:
    first, second = await scene.add("first"), await scene.add("second")
    joined = await scene.add("joined", after=(first.id, second.id))
    rescue = await scene.add("rescue", after=(After(task=second.id, on=Condition.FAILURE),))
    for each in (joined, rescue):
        await scene.move(each, TaskEvent.FAIL)
    await scene.finish(await scene.claim_one())
    joined = await scene.move(joined, TaskEvent.REPLAY)
    assert (joined.state, joined.reason) == (TaskState.BLOCKED, f"waits for {second.name}")
    assert [each.id for each in await scene.claim(most=9)] == [second.id]
    await scene.finish(await scene.look(second))
    assert is_skipped(await scene.move(rescue, TaskEvent.REPLAY))
    assert (await scene.claim_one()).id == joined.id


@case
async def a_long_branch_is_skipped_whole(scene: Scene) -> None:
    first = await scene.add("first")
    last = await scene.add("rescue", after=(After(task=first.id, on=Condition.FAILURE),))
    for number in range(300):
        last = await scene.add(f"step {number}", after=(last.id,))
    await scene.finish(await scene.claim_one())
    assert is_skipped(await scene.look(last))


@case
async def sub_agents_end_with_the_task_that_was_cancelled_and_others_live_on(scene: Scene) -> None:
    parent = await scene.add("parent")
    child = await scene.add("child", parent=parent.id, spec=TaskSpec(within=("a",)))
    grandchild = await scene.add("grandchild", parent=child.id, spec=TaskSpec(within=("a", "b")))
    given_away = await scene.add("given away", parent=parent.id)
    claimed = await scene.claim(most=2)
    await scene.move(parent, TaskEvent.CANCEL)
    for each in (child, grandchild):
        gone = await scene.look(each)
        assert (gone.state, "was cancelled" in gone.reason) == (TaskState.CANCELLED, True)
    assert (await scene.look(given_away)).state is TaskState.READY
    with refuses(Fenced, "not held"):
        await scene.finish(claimed[1])


@case
async def sub_agents_of_a_failed_task_go_on(scene: Scene) -> None:
    parent = await scene.add("parent")
    child = await scene.add("child", parent=parent.id, spec=TaskSpec(within=("a",)))
    await scene.finish(await scene.claim_one(), Fail(error="no"))
    assert (await scene.look(child)).state is TaskState.READY


@case
async def what_is_waited_for_is_shown_with_its_condition(scene: Scene) -> None:
    first, second = await scene.add("first"), await scene.add("second")
    after = (After(task=first.id, on=Condition.FAILURE), After(task=second.id))
    joined = await scene.add("joined", after=after)
    assert await scene.see(lambda reads: reads.waits_on(joined.id)) == list(after)
    assert joined.reason == f"waits for {first.name} to fail, {second.name}"


@case
async def the_reason_of_a_blocked_task_follows_what_happens_to_the_others(scene: Scene) -> None:
    first, second = await scene.add("first"), await scene.add("second")
    for draft in (False, True):
        joined = await scene.add("joined", after=(first.id, second.id), draft=draft)
        assert joined.reason == f"waits for {first.name}, {second.name}"
    failed = await scene.finish(await scene.claim_one(), Fail(error="no"))
    for each in (joined, await scene.add("late", after=(first.id, second.id))):
        assert (await scene.look(each)).reason == f"waits for {first.name}, which is failed, {second.name}"
    await scene.move(failed, TaskEvent.REPLAY)
    assert (await scene.look(joined)).reason == f"waits for {first.name}, {second.name}"
    await scene.finish(await scene.claim_one())
    assert (await scene.look(joined)).reason == f"waits for {second.name}"


@case
async def a_task_with_many_dependencies_names_a_few_of_those_that_are_missing(scene: Scene) -> None:
    others = [await scene.add(f"other {number}") for number in range(7)]
    joined = await scene.add("joined", after=tuple(each.id for each in others))
    named = ", ".join(each.name for each in others[:5])
    assert joined.reason == f"waits for {named} and others"
    for each in await scene.claim(most=2):
        await scene.finish(each)
    assert (await scene.look(joined)).reason == f"waits for {', '.join(each.name for each in others[2:])}"


@case
async def why_a_draft_was_approved_is_not_why_it_waits(scene: Scene) -> None:
    first = await scene.add("first")
    draft = await scene.add("draft", after=(first.id,), draft=True)
    held = await scene.add("held", blocked="nobody has the skill", draft=True)
    for each, reason in ((draft, f"waits for {first.name}"), (held, "nobody has the skill")):
        approved = await scene.move(each, TaskEvent.APPROVE, reason="looks good")
        assert (approved.state, approved.reason) == (TaskState.BLOCKED, reason)
