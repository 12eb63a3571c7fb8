"""Adding tasks: keys, drafts, delays and dependencies."""

from __future__ import annotations

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import Fail, NewTask, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import SECOND, Attachment, Limits, Origin, Source, Trust
from ostinato.testing.contract.scene import Scene, case, refuses

RICH = NewTask(
    kind=TaskKind.GOAL,
    title="Sort the post",
    spec=TaskSpec(
        goal="Sort it. ⏱ Straße",
        input={"mail": {"id": 7, "list": [1.5, None, True]}},
        skills=("triage",),
        requester="bob",
        trust=Trust.EXTERNAL,
        trigger=Source.CHANNEL,
        origin=Origin(channel="mail", peer="c@example.org", thread="t1"),
        attachments=(Attachment(name="a.pdf", digest="0" * 64, size_bytes=3),),
        causes=("M1",),
        retry=RetryPolicy(attempts_max=5),
        timeout_s=60.0,
        limits=Limits(steps=3),
        model="cheap",
    ),
    agent="triage",
    pool="fast",
    project="inbox",
    type="mail",
    priority=7,
    depth=2,
)
"""A task that uses every part."""


@case
async def a_task_is_kept_as_it_was_added(scene: Scene) -> None:
    added = await scene.do(lambda tx: tx.add_task(RICH, now=scene.now, actor="bob"))
    assert added.state is TaskState.READY
    assert (added.title, added.spec, added.agent, added.pool) == (RICH.title, RICH.spec, "triage", "fast")
    assert (added.project, added.type, added.priority, added.depth) == ("inbox", "mail", 7, 2)
    assert (added.created_at, added.attempts, added.token, added.journal) == (scene.now, 0, 0, 1)
    assert await scene.look(added) == added
    (event,) = await scene.told(task=added)
    assert (event.name, event.actor, event.agent) == (EventName.TASK_ADDED, "bob", "triage")


@case
async def a_long_specification_survives_every_change_of_the_task(scene: Scene) -> None:
    long = TaskSpec(goal="x" * 100_000)
    task = await scene.add(spec=long)
    claimed = await scene.claim_one()
    assert claimed.spec == long
    ended = await scene.finish(claimed)
    assert ended.spec == (await scene.look(task)).spec == long


@case
async def only_a_goal_gets_a_session_of_its_own(scene: Scene) -> None:
    goal = await scene.add(kind=TaskKind.GOAL)
    assert goal.session == f"task:{goal.id}"
    assert (await scene.add(kind=TaskKind.GOAL, session="main:triage")).session == "main:triage"
    assert (await scene.add(kind=TaskKind.DELIVERY)).session is None


@case
async def the_same_key_and_body_give_the_same_task(scene: Scene) -> None:
    first = await scene.add(key="k", spec=TaskSpec(goal="g"))
    scene.wait(60.0)
    again = await scene.add(key="k", spec=TaskSpec(goal="g"))
    assert again == first
    assert len(await scene.told(EventName.TASK_ADDED)) == 1


@case
async def the_same_key_with_another_body_is_a_conflict(scene: Scene) -> None:
    first = await scene.add(key="k", spec=TaskSpec(goal="g"))
    with refuses(Conflict, "'k'", first.name):
        await scene.add(key="k", spec=TaskSpec(goal="h"))


@case
async def a_key_compares_by_the_body_where_one_is_given(scene: Scene) -> None:
    first = await scene.add("one", key="k", body="digest", not_before_at=1)
    assert await scene.add("one", key="k", body="digest", not_before_at=2) == first
    with refuses(Conflict):
        await scene.add("one", key="k", body="other", not_before_at=1)


@case
async def a_key_lasts_as_long_as_its_task_whatever_became_of_it(scene: Scene) -> None:
    await scene.add(key="k")
    ended = await scene.finish(await scene.claim_one())
    assert await scene.add(key="k") == ended


@case
async def a_draft_never_runs_until_it_is_approved(scene: Scene) -> None:
    draft = await scene.add(draft=True)
    assert draft.state is TaskState.DRAFT
    assert await scene.claim() == []
    assert (await scene.move(draft, TaskEvent.APPROVE)).state is TaskState.READY
    assert (await scene.claim_one()).id == draft.id


@case
async def an_approved_draft_still_waits_for_what_it_depends_on(scene: Scene) -> None:
    first = await scene.add("first")
    draft = await scene.add(draft=True, after=(first.id,))
    assert (await scene.move(draft, TaskEvent.APPROVE)).state is TaskState.BLOCKED
    await scene.finish(await scene.claim_one())
    assert (await scene.look(draft)).state is TaskState.READY


@case
async def a_draft_whose_dependencies_are_done_is_ready_once_approved(scene: Scene) -> None:
    first = await scene.add("first")
    draft = await scene.add(draft=True, after=(first.id,))
    await scene.finish(await scene.claim_one())
    assert (await scene.look(draft)).state is TaskState.DRAFT
    assert (await scene.move(draft, TaskEvent.APPROVE)).state is TaskState.READY


@case
async def a_delayed_task_is_claimed_when_its_time_has_come_and_not_before(scene: Scene) -> None:
    task = await scene.add(not_before_at=scene.now + 10 * SECOND)
    assert task.state is TaskState.READY
    assert await scene.see(lambda reads: reads.next_due_at()) == scene.now + 10 * SECOND
    assert await scene.see(lambda reads: reads.next_dues()) == {"tasks": scene.now + 10 * SECOND}
    assert await scene.claim() == []
    scene.wait(9.999)
    assert await scene.claim() == []
    scene.wait(0.001)
    assert (await scene.claim_one()).id == task.id
    assert await scene.see(lambda reads: reads.next_due_at()) is None


@case
async def delayed_tasks_are_released_by_the_sweep_too(scene: Scene) -> None:
    for number in range(5):
        await scene.add(not_before_at=scene.now + (number + 1) * SECOND)
    scene.wait(3.0)
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 3
    assert len(await scene.claim(most=9)) == 3


@case
async def a_delay_counts_from_when_the_task_could_have_run(scene: Scene) -> None:
    await scene.add(not_before_at=scene.now + 10 * SECOND)
    scene.wait(12.0)
    task = await scene.claim_one()
    (attempt,) = await scene.see(lambda reads: reads.attempts(task.id))
    assert attempt.started_at - attempt.ready_at == 2 * SECOND


@case
async def a_task_waits_for_every_task_it_depends_on(scene: Scene) -> None:
    first, second = await scene.add("first"), await scene.add("second")
    third = await scene.add("third", after=(first.id, second.id, first.id))
    assert (third.state, third.unfinished) == (TaskState.BLOCKED, 2)
    assert "T1" in third.reason
    for left in (1, 0):
        await scene.finish(await scene.claim_one())
        assert (await scene.look(third)).unfinished == left
    assert (await scene.look(third)).state is TaskState.READY
    assert [t.id for t in await scene.see(lambda r: r.dependencies(third.id))] == [first.id, second.id]
    assert [t.id for t in await scene.see(lambda r: r.dependants(first.id))] == [third.id]


@case
async def what_depends_on_done_tasks_is_ready_at_once(scene: Scene) -> None:
    await scene.add("first")
    first = await scene.finish(await scene.claim_one())
    assert (await scene.add("second", after=(first.id,))).state is TaskState.READY


@case
async def unknown_dependencies_and_parents_are_named(scene: Scene) -> None:
    with refuses(NotFound, "T99"):
        await scene.add(after=(99,))
    with refuses(NotFound, "T98"):
        await scene.add(parent=98)
    assert await scene.told(EventName.TASK_ADDED) == []


@case
async def a_failed_dependency_leaves_dependants_blocked_and_says_which(scene: Scene) -> None:
    first = await scene.add("first")
    second = await scene.add("second", after=(first.id,))
    await scene.finish(await scene.claim_one(), Fail(error="no"))
    stuck = await scene.look(second)
    assert (stuck.state, stuck.unfinished) == (TaskState.BLOCKED, 1)
    assert first.name in stuck.reason
    assert "failed" in stuck.reason


@case
async def a_cancelled_or_dismissed_dependency_never_counts_as_done(scene: Scene) -> None:
    first = await scene.add("first")
    second = await scene.add("second", after=(first.id,))
    await scene.move(first, TaskEvent.CANCEL)
    third = await scene.add("third")
    await scene.finish(await scene.claim_one(), Fail(error="no"))
    await scene.move(third, TaskEvent.DISMISS)
    late = await scene.add("late", after=(third.id,))
    assert (await scene.look(second)).state is late.state is TaskState.BLOCKED
    assert "cancelled" in (await scene.look(second)).reason
    assert "failed" in late.reason


@case
async def a_failed_dependency_that_is_replayed_and_done_releases(scene: Scene) -> None:
    first = await scene.add("first")
    second = await scene.add("second", after=(first.id,))
    failed = await scene.finish(await scene.claim_one(), Fail(error="no"))
    await scene.move(failed, TaskEvent.REPLAY)
    await scene.finish(await scene.claim_one())
    assert (await scene.look(second)).state is TaskState.READY


@case
async def a_hold_and_dependencies_are_both_needed_away(scene: Scene) -> None:
    first = await scene.add("first")
    second = await scene.add("second", after=(first.id,), blocked="nobody has the skill")
    assert second.reason == "nobody has the skill"
    await scene.finish(await scene.claim_one())
    assert (await scene.look(second)).state is TaskState.BLOCKED
    assert (await scene.move(second, TaskEvent.RELEASE)).state is TaskState.READY


@case
async def releasing_a_hold_still_waits_for_dependencies(scene: Scene) -> None:
    first = await scene.add("first")
    second = await scene.add("second", after=(first.id,), blocked="nobody has the skill")
    released = await scene.move(second, TaskEvent.RELEASE)
    assert (released.state, released.reason) == (TaskState.BLOCKED, f"waits for {first.name}")
    with refuses(Conflict, first.name):
        await scene.move(second, TaskEvent.RELEASE)
    await scene.finish(await scene.claim_one())
    assert (await scene.look(second)).state is TaskState.READY


@case
async def a_person_can_go_on_without_a_dependency_that_will_not_come(scene: Scene) -> None:
    first = await scene.add("first")
    second = await scene.add("second", after=(first.id,))
    await scene.move(first, TaskEvent.CANCEL)
    assert (await scene.move(second, TaskEvent.RELEASE)).state is TaskState.READY
