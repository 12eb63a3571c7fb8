"""What the end of a task sets off: results delivered exactly once, parents woken, questions withdrawn."""

from __future__ import annotations

from ostinato.domain.message import OPERATOR_SESSION
from ostinato.domain.question import QuestionState
from ostinato.domain.task import (
    Cancelled,
    Done,
    Fail,
    Outcome,
    Park,
    Review,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import Source, Trust
from ostinato.store.port import TaskFilter, Tx
from ostinato.testing.contract.scene import Scene, case, claim_of, done


@case
async def what_was_cancelled_is_not_taken_up_by_what_it_had_not_read(scene: Scene) -> None:
    goal = await scene.add(kind=TaskKind.GOAL, agent="triage")
    running = await scene.claim_one()
    await scene.say(f"task:{goal.id}", "hurry")
    await scene.move(running, TaskEvent.CANCEL)
    assert await scene.unfinished(f"task:{goal.id}") == []
    await scene.say(f"task:{goal.id}", "go on after all")
    assert len(await scene.unfinished(f"task:{goal.id}")) == 1, "a new word is a new matter"


async def _family(scene: Scene) -> tuple[Task, Task]:
    """A goal that has parked for its child, and the child."""
    parent = await scene.add("parent", kind=TaskKind.GOAL, agent="boss")
    running = await scene.claim_one()
    await scene.do(lambda tx: tx.open_session(parent.session or "", agent="boss", now=scene.now))
    child = await scene.add("child", kind=TaskKind.GOAL, agent="hand", parent=parent.id, depth=1)
    wait = Wait(kind=WaitKind.CHILD, refs=(child.name,))
    parked = await scene.finish(running, Park(wait=wait, reason="for the child"))
    assert parked.state is TaskState.WAITING
    return parked, child


@case
async def a_childs_result_reaches_its_parents_inbox_exactly_once_and_wakes_it(scene: Scene) -> None:
    parent, child = await _family(scene)
    await scene.finish(await scene.claim_one(), done("found it"))
    (message,) = await scene.see(lambda reads: reads.inbox(parent.session or ""))
    assert (message.source, message.text, message.sender) == (Source.COMPLETION, "found it", "hand")
    assert (message.client_id, message.trust, message.depth) == (f"completion:T{child.id}", Trust.AGENT, 1)
    assert child.name in message.causes
    assert (await scene.look(parent)).state is TaskState.READY
    assert [task.id for task in await scene.unfinished(parent.session or "")] == [parent.id]


@case
async def every_kind_of_ending_is_told_to_the_parent(scene: Scene) -> None:
    endings: tuple[tuple[Outcome, str], ...] = (
        (Fail(error="no luck"), "failed: no luck"),
        (Cancelled(reason="enough"), "was cancelled: enough"),
        (Done(result=TaskResult(data={"n": 1})), '{"n":1}'),
    )
    for outcome, words in endings:
        parent, _child = await _family(scene)
        await scene.finish(await scene.claim_one(), outcome)
        (message,) = await scene.look_up("inbox", parent.session)
        assert words in message.text
        await scene.read_all(parent.session or "")
        await scene.finish(await scene.claim_one())


@case
async def a_child_that_people_end_is_told_of_too(scene: Scene) -> None:
    parent, child = await _family(scene)
    await scene.move(child, TaskEvent.CANCEL, "not needed")
    (message,) = await scene.see(lambda reads: reads.inbox(parent.session or ""))
    assert "not needed" in message.text
    assert (await scene.look(parent)).state is TaskState.READY


@case
async def a_child_that_fails_and_is_replayed_tells_of_each_ending(scene: Scene) -> None:
    parent, child = await _family(scene)
    failed = await scene.finish(await scene.claim_one(), Fail(error="no"))
    await scene.move(failed, TaskEvent.REPLAY)
    ended = next(task for task in await scene.claim(most=5) if task.id == child.id)
    await scene.finish(ended, done("yes"))
    texts = [message.text for message in await scene.see(lambda reads: reads.inbox(parent.session or ""))]
    assert len(texts) == 2
    assert texts[1] == "yes"


@case
async def a_review_is_told_only_when_it_is_accepted(scene: Scene) -> None:
    parent, child = await _family(scene)
    await scene.finish(await scene.claim_one(), Review(result=TaskResult(text="draft")))
    assert await scene.see(lambda reads: reads.inbox(parent.session or "")) == []
    await scene.move(child, TaskEvent.ACCEPT)
    (message,) = await scene.see(lambda reads: reads.inbox(parent.session or ""))
    assert message.text == "draft"


@case
async def another_childs_end_wakes_nobody(scene: Scene) -> None:
    parent, child = await _family(scene)
    other = await scene.add("other", parent=parent.id, priority=9)
    await scene.finish(await scene.claim_one())
    assert (await scene.look(other)).state is TaskState.DONE
    assert (await scene.look(parent)).state is TaskState.WAITING
    assert child.state is TaskState.READY


@case
async def a_parent_without_a_session_is_woken_all_the_same(scene: Scene) -> None:
    parent = await scene.add("parent")
    running = await scene.claim_one()
    child = await scene.add("child", parent=parent.id)
    await scene.finish(running, Park(wait=Wait(kind=WaitKind.CHILD, refs=(child.name,)), reason="child"))
    await scene.finish(await scene.claim_one())
    assert (await scene.look(parent)).state is TaskState.READY


@case
async def a_parent_that_has_ended_gets_a_turn_for_the_late_result(scene: Scene) -> None:
    parent = await scene.add("parent", kind=TaskKind.GOAL, agent="boss")
    running = await scene.claim_one()
    await scene.add("child", agent="hand", parent=parent.id)
    await scene.finish(running)
    await scene.finish(await scene.claim_one(), done("late"))
    (turn,) = await scene.unfinished(parent.session or "")
    assert (turn.kind, turn.title, turn.agent, turn.spec.trigger) == (TaskKind.TURN, "late", "boss", Source.COMPLETION)


@case
async def the_result_of_a_child_that_lives_on_wakes_no_cancelled_parent(scene: Scene) -> None:
    parent, child = await _family(scene)
    await scene.move(parent, TaskEvent.CANCEL)
    assert (await scene.look(child)).state is TaskState.READY, "it was given away"
    await scene.finish(await scene.claim_one(), done("late"))
    assert await scene.unfinished(parent.session or "") == []


@case
async def a_child_of_a_shared_sessions_turn_wakes_that_session(scene: Scene) -> None:
    await scene.say("main:boss", agent="boss")
    turn = await scene.claim_one()
    await scene.add("child", agent="hand", parent=turn.id)
    await scene.do(lambda tx: tx.advance_cursor("main:boss", 1, now=scene.now))
    await scene.finish(turn)
    await scene.finish(await scene.claim_one(), done("here"))
    (again,) = await scene.unfinished("main:boss")
    assert (again.kind, again.title) == (TaskKind.TURN, "here")


@case
async def a_result_is_delivered_to_the_session_that_asked_for_it(scene: Scene) -> None:
    await scene.add(agent="hand", spec=TaskSpec(deliver="session:main:boss"))
    await scene.do(lambda tx: tx.open_session("main:boss", agent="boss", now=scene.now))
    await scene.finish(await scene.claim_one(), done("ready"))
    (message,) = await scene.see(lambda reads: reads.inbox("main:boss"))
    assert (message.text, message.sender) == ("ready", "hand")
    (turn,) = await scene.unfinished("main:boss")
    assert turn.agent == "boss"


@case
async def a_result_for_the_operator_lies_in_the_operators_inbox_and_wakes_nobody(scene: Scene) -> None:
    for outcome in (done("ready"), Fail(error="no luck")):
        await scene.add(agent="hand", spec=TaskSpec(deliver="operator"))
        await scene.finish(await scene.claim_one(), outcome)
    told = await scene.see(lambda reads: reads.inbox(OPERATOR_SESSION))
    assert [message.text for message in told] == ["ready", "T2 failed: no luck"]
    assert await scene.unfinished(OPERATOR_SESSION) == []


@case
async def a_result_to_be_saved_is_a_delivery_of_its_agent_once_it_is_there(scene: Scene) -> None:
    for outcome in (Fail(error="no luck"), done("ready")):
        await scene.add(agent="hand", spec=TaskSpec(deliver="file:out/{task}.md", trust=Trust.EXTERNAL))
        await scene.finish(await scene.claim_one(), outcome)
    (saving,) = [task for task in await scene.see(lambda reads: reads.tasks(TaskFilter())) if task.id > 2]
    assert (saving.kind, saving.agent, saving.spec.trust) == (TaskKind.DELIVERY, "hand", Trust.EXTERNAL)
    assert saving.spec.input["arguments"] == {"path": "out/T2.md", "text": "ready"}


@case
async def a_result_handed_on_to_a_session_that_is_new_belongs_to_whom_its_key_names(scene: Scene) -> None:
    await scene.add(agent="hand", spec=TaskSpec(deliver="session:main:boss"))
    await scene.finish(await scene.claim_one(), done("ready"))
    (turn,) = await scene.unfinished("main:boss")
    assert turn.agent == "boss"


@case
async def nothing_about_the_receiver_keeps_a_task_from_ending(scene: Scene) -> None:
    await scene.do(lambda tx: tx.open_session("main:boss", agent="boss", now=scene.now))
    parent = await scene.add("parent", agent="other", session="main:boss", blocked="later")
    for deliver in ("session:main:boss", "session:", "session:main:new", "nowhere", "operator", "file:", "file:.."):
        await scene.add(deliver, agent="hand", parent=parent.id, spec=TaskSpec(deliver=deliver), priority=9)
        ended = await scene.finish(await scene.claim_one(), done(deliver))
        assert ended.state is TaskState.DONE
    assert len(await scene.see(lambda reads: reads.inbox("main:boss"))) == 7
    assert len(await scene.see(lambda reads: reads.inbox("main:new"))) == 1


@case
async def outside_words_stay_outside_words_in_a_result(scene: Scene) -> None:
    await scene.add(agent="hand", spec=TaskSpec(deliver="session:main:boss", trust=Trust.EXTERNAL))
    await scene.finish(await scene.claim_one(), done("do as I say"))
    (message,) = await scene.see(lambda reads: reads.inbox("main:boss"))
    assert message.trust is Trust.EXTERNAL


@case
async def the_questions_of_an_ended_task_are_withdrawn(scene: Scene) -> None:
    for ending in ("finish", "cancel"):
        await scene.add(agent="a")
        task = await scene.claim_one()
        question = await scene.ask(task)
        if ending == "finish":
            await scene.finish(task)
        else:
            await scene.move(task, TaskEvent.CANCEL)
        kept = await scene.look_up("question", question.id)
        assert kept.state is QuestionState.WITHDRAWN
    assert (await scene.see(lambda reads: reads.tallies())).questions == 0


@case
async def completion_and_everything_it_sets_off_share_one_commit(scene: Scene) -> None:
    parent, _child = await _family(scene)
    claimed = await scene.claim_one()

    def fails_at_the_end(tx: Tx) -> None:
        tx.finish(claim_of(claimed), done(), now=scene.now)
        raise ZeroDivisionError

    try:
        await scene.do(fails_at_the_end)
    except ZeroDivisionError:
        pass
    assert (await scene.look(claimed)) == claimed
    assert (await scene.look(parent)) == parent
    assert await scene.see(lambda reads: reads.inbox(parent.session or "")) == []
