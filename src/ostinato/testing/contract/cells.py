"""Every cell of the table of states, through the verb that moves it; and every missing cell refused without a trace."""

from __future__ import annotations

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.task import (
    TRANSITIONS,
    Cancelled,
    Fail,
    Outcome,
    Park,
    Requeue,
    Retry,
    Review,
    Task,
    TaskEvent,
    TaskResult,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.store.port import EventFilter, Reads
from ostinato.testing.contract.scene import Scene, case, done, refuses

OUTCOMES: dict[TaskEvent, Outcome] = {
    TaskEvent.FINISH: done(),
    TaskEvent.SUBMIT: Review(result=TaskResult(text="look")),
    TaskEvent.PARK: Park(wait=Wait(kind=WaitKind.EVENT), reason="waits"),
    TaskEvent.RETRY: Retry(error="again", after_s=0.0),
    TaskEvent.REQUEUE: Requeue(reason="drained"),
    TaskEvent.FAIL: Fail(error="broken"),
    TaskEvent.CANCEL: Cancelled(reason="enough"),
}
"""What the holder of a claim returns to make these happen."""

BY_ATTEMPT_ALONE = {TaskEvent.FINISH, TaskEvent.SUBMIT, TaskEvent.PARK, TaskEvent.RETRY, TaskEvent.REQUEUE}


LEADS_TO = {
    TaskState.WAITING: TaskEvent.PARK,
    TaskState.REVIEW: TaskEvent.SUBMIT,
    TaskState.DONE: TaskEvent.FINISH,
    TaskState.FAILED: TaskEvent.FAIL,
}
"""How a running task comes into these states."""


async def _brought_to(scene: Scene, state: TaskState) -> Task:
    """A new task in this state, by verbs alone."""
    if state is TaskState.DRAFT:
        return await scene.add(draft=True, agent="a")
    if state is TaskState.BLOCKED:
        return await scene.add(blocked="nobody can", agent="a")
    added = await scene.add(agent="a")
    if state is TaskState.READY:
        return added
    if state is TaskState.CANCELLED:
        return await scene.move(added, TaskEvent.CANCEL, "enough")
    claimed = await scene.claim_one()
    return claimed if state is TaskState.RUNNING else await scene.finish(claimed, OUTCOMES[LEADS_TO[state]])


async def _drive(scene: Scene, task: Task, event: TaskEvent) -> Task:
    """The verb that makes this happen."""
    if event is TaskEvent.CLAIM:
        await scene.do(lambda tx: tx.change_task(task.id, actor="ann", priority=100, now=scene.now))
        return await scene.claim_one()
    if event in BY_ATTEMPT_ALONE:
        return await scene.finish(task, OUTCOMES[event])
    return await scene.move(task, event, "because")


@case
async def every_cell_of_the_table_leads_where_it_says(scene: Scene) -> None:
    for (state, event), then in TRANSITIONS.items():
        task = await _brought_to(scene, state)
        assert task.state is state, f"{task.state} is not {state}"
        moved = await _drive(scene, task, event)
        if (state, event) == (TaskState.DRAFT, TaskEvent.APPROVE):
            then = TaskState.READY  # nothing is missing: released in the same commit
        assert moved.state is then, f"{state} {event}: {moved.state} instead of {then}"
        assert await scene.look(task) == moved, f"{state} {event}: what was returned is not what is kept"
        await _cleared(scene)


@case
async def every_missing_cell_is_refused_and_changes_nothing(scene: Scene) -> None:
    for state in TaskState:
        task = await _brought_to(scene, state)
        for event in TaskEvent:
            if (state, event) in TRANSITIONS or event is TaskEvent.CLAIM:
                continue
            before = await _all_there_is(scene, task)
            with refuses(Conflict):
                await _drive(scene, task, event)
            assert await _all_there_is(scene, task) == before, f"{state} {event} has left a trace"
        await _cleared(scene)


@case
async def what_belongs_to_a_claim_cannot_be_done_from_outside(scene: Scene) -> None:
    await scene.add()
    task = await scene.claim_one()
    for event in (*BY_ATTEMPT_ALONE, TaskEvent.CLAIM):
        with refuses(Invalid, event.value, "claim"):
            await scene.move(task, event)
    assert await scene.look(task) == task


@case
async def every_ending_but_success_works_from_inside_and_outside(scene: Scene) -> None:
    for event, state in ((TaskEvent.FAIL, TaskState.FAILED), (TaskEvent.CANCEL, TaskState.CANCELLED)):
        inside = await scene.finish(await _brought_to(scene, TaskState.RUNNING), OUTCOMES[event])
        outside = await scene.move(await _brought_to(scene, TaskState.RUNNING), event, "because")
        assert inside.state is outside.state is state
        assert inside.finished_at == outside.finished_at == scene.now
        assert outside.token > inside.token, "a running attempt is fenced by a new token"


@case
async def every_move_is_told_with_who_and_why(scene: Scene) -> None:
    task = await scene.add(draft=True)
    await scene.move(task, TaskEvent.REJECT, "not now")
    last = (await scene.told(task=task))[-1]
    assert (last.name.value, last.actor, last.reason, last.at) == ("task.cancelled", "ann", "not now", scene.now)


async def _all_there_is(scene: Scene, task: Task) -> object:
    def look(reads: Reads) -> object:
        return (
            reads.task(task.id),
            reads.events(EventFilter(task=task.id)),
            reads.attempts(task.id),
            reads.steps(task.id),
            reads.tallies(),
        )

    return await scene.see(look)


async def _cleared(scene: Scene) -> None:
    """Takes what is claimable out of the way of the next cell."""
    for task in await scene.claim(most=100):
        await scene.finish(task)
