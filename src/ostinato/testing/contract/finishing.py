"""Finishing and fencing: outcomes, attempts, journals and tokens."""

from __future__ import annotations

from ostinato.domain.budget import BudgetName, Unit
from ostinato.domain.errors import Conflict, Fenced, Invalid, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.question import Action, QuestionKind, QuestionState
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.step import (
    WITHDRAWN,
    Answered,
    Effect,
    Input,
    Note,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
    sent_on,
)
from ostinato.domain.task import (
    Done,
    Fail,
    Park,
    Requeue,
    Retry,
    Review,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND
from ostinato.store.port import Claim, Tx
from ostinato.testing.contract.scene import Scene, case, claim_of, done, refuses


@case
async def a_done_task_keeps_its_result_and_its_attempt(scene: Scene) -> None:
    await scene.add()
    task = await scene.claim_one()
    scene.wait(2.0)
    result = TaskResult(text="42", data={"answer": [42]})
    ended = await scene.finish(task, Done(result=result))
    assert (ended.state, ended.result, ended.finished_at, ended.node) == (TaskState.DONE, result, scene.now, None)
    assert await scene.look(task) == ended
    (attempt,) = await scene.see(lambda reads: reads.attempts(task.id))
    assert (attempt.outcome, attempt.ended_at, attempt.error) == ("done", scene.now, "")


@case
async def attempts_keep_how_each_try_ended(scene: Scene) -> None:
    await scene.add()
    outcomes = (
        Retry(error="e1", after_s=0.0),
        Requeue(reason="drained"),
        Park(wait=Wait(kind=WaitKind.TIME, until_at=0), reason="nap"),
        Review(result=TaskResult(text="r")),
    )
    for outcome in outcomes:
        task = await scene.finish(await scene.claim_one(), outcome, chance=0.0)
    await scene.move(task, TaskEvent.RETURN, "more")
    await scene.finish(await scene.claim_one(), Fail(error="e2"))
    kept = await scene.see(lambda reads: reads.attempts(task.id))
    assert [each.outcome for each in kept] == ["retry", "requeue", "park", "review", "fail"]
    assert [each.error for each in kept] == ["e1", "", "", "", "e2"]
    assert [each.token for each in kept] == [1, 2, 3, 4, 5]


@case
async def only_the_newest_claim_can_write(scene: Scene) -> None:
    await scene.add()
    old = await scene.claim_one()
    await scene.finish(old, Requeue(reason="drained"))
    with refuses(Fenced, old.name):
        await scene.finish(old)
    new = await scene.claim_one()
    for claim in (claim_of(old), Claim(task=new.id, token=99)):
        with refuses(Fenced):
            await scene.change("record_steps", claim, [Note(text="x")], now=scene.now)
        with refuses(Fenced):
            await scene.change("check_claim", claim)
        with refuses(Fenced):
            await scene.change("finish", claim, done(), now=scene.now)
    assert await scene.look(new) == new
    assert await scene.do(lambda tx: tx.check_claim(claim_of(new))) == new
    with refuses(NotFound):
        await scene.do(lambda tx: tx.check_claim(Claim(task=99, token=1)))


@case
async def a_finished_task_takes_no_more_steps(scene: Scene) -> None:
    await scene.add()
    task = await scene.claim_one()
    await scene.finish(task)
    with refuses(Fenced):
        await scene.do(lambda tx: tx.record_steps(claim_of(task), [Note(text="late")], now=scene.now))
    with refuses(Fenced):
        await scene.finish(task)


@case
async def a_halted_scope_stops_every_intent(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="a")
    task = await scene.claim_one()
    claim = claim_of(task)
    for scope in ("fleet", "agent:a", f"task:{task.id}", f"session:{task.session}", f"pool:{task.pool}"):
        await scene.change("set_flag", scope, "halted", actor="ann", reason="", now=scene.now)
        with refuses(Fenced, scope):
            await scene.do(lambda tx: tx.check_claim(claim))
        await scene.change("clear_flag", scope, "halted", actor="ann", now=scene.now)
    await scene.do(lambda tx: tx.set_flag("agent:a", "paused", actor="ann", reason="", now=scene.now))
    assert (await scene.do(lambda tx: tx.check_claim(claim))).id == task.id
    assert (await scene.finish(task)).state is TaskState.DONE


@case
async def steps_are_numbered_without_gaps_over_attempts(scene: Scene) -> None:
    task = await scene.add()
    for text in ("one", "two"):
        claimed = await scene.claim_one()
        entries = [Note(text=text), Note(text=f"{text} more")]
        assert await scene.change("record_steps", claim_of(claimed), entries, now=scene.now) > 0
        await scene.finish(claimed, Requeue(reason="drained"))
    steps = await scene.see(lambda reads: reads.steps(task.id))
    assert [(step.seq, step.attempt, step.journal) for step in steps] == [(1, 1, 1), (2, 1, 1), (3, 2, 1), (4, 2, 1)]
    assert (await scene.look(task)).steps == 4


@case
async def a_retry_waits_as_its_policy_says_and_counts_failures(scene: Scene) -> None:
    policy = RetryPolicy(attempts_max=3, base_s=2.0, jitter=False)
    task = await scene.add(spec=TaskSpec(retry=policy))
    for failures, delay_s in ((1, 2.0), (2, 4.0)):
        moved = await scene.finish(await scene.claim_one(), Retry(error="flaky"))
        assert (moved.state, moved.failures, moved.reason) == (TaskState.READY, failures, "flaky")
        assert await scene.see(lambda reads: reads.next_due_at()) == scene.now + round(delay_s * SECOND)
        assert await scene.claim() == []
        scene.wait(delay_s)
    ended = await scene.finish(await scene.claim_one(), Retry(error="flaky", error_class="timeout"))
    assert (ended.state, ended.failures) == (TaskState.FAILED, 3)
    assert ended.result == TaskResult(error="flaky", error_class="timeout")
    last = (await scene.told(EventName.TASK_FAILED, task=task))[-1]
    assert (last.reason, last.data) == ("flaky", {"failures": 3, "class": "transient"})


@case
async def a_failure_tells_no_less_than_the_task_has_read(scene: Scene) -> None:
    for private in (False, True):
        await scene.add()
        task = await scene.claim_one()
        outcome = ToolOutcome(call_id="1.0", tool="x", status=ResultStatus.OK, private=private)
        await scene.change("record_steps", claim_of(task), [outcome], now=scene.now)
        ended = await scene.finish(task, Fail(error="no luck"))
        assert ended.is_private is private


@case
async def retry_after_is_a_lower_bound(scene: Scene) -> None:
    await scene.add()
    await scene.finish(await scene.claim_one(), Retry(error="busy", after_s=90.0), chance=0.0)
    scene.wait(89.0)
    assert await scene.claim() == []
    scene.wait(1.0)
    await scene.claim_one()


@case
async def parks_and_drains_do_not_count_as_failures(scene: Scene) -> None:
    await scene.add()
    for outcome in (Requeue(reason="drained"), Park(wait=Wait(kind=WaitKind.TIME, until_at=0), reason="nap")) * 4:
        await scene.finish(await scene.claim_one(), outcome)
    task = await scene.claim_one()
    assert (task.failures, task.attempts) == (0, 9)


@case
async def a_wait_ends_when_its_time_has_come(scene: Scene) -> None:
    await scene.add()
    wait = Wait(kind=WaitKind.PROCESS, refs=("p1",), until_at=scene.now + 5 * SECOND)
    parked = await scene.finish(await scene.claim_one(), Park(wait=wait, reason="for p1"))
    assert (parked.state, parked.wait, parked.reason) == (TaskState.WAITING, wait, "for p1")
    assert await scene.see(lambda reads: reads.next_due_at()) == wait.until_at
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 0
    scene.wait(5.0)
    assert await scene.do(lambda tx: tx.rescue(now=scene.now)) == 1
    woken = await scene.look(parked)
    assert (woken.state, woken.wait) == (TaskState.READY, None)
    assert await scene.see(lambda reads: reads.next_due_at()) is None


@case
async def a_child_that_ended_before_the_park_ends_the_wait_at_once(scene: Scene) -> None:
    parent = await scene.add("parent")
    running = await scene.claim_one()
    child = await scene.add("child", parent=parent.id)
    await scene.finish(await scene.claim_one())
    wait = Wait(kind=WaitKind.CHILD, refs=(child.name,))
    assert (await scene.finish(running, Park(wait=wait, reason="child"))).state is TaskState.READY


@case
async def a_failed_task_is_a_dead_letter_until_dismissed_or_replayed(scene: Scene) -> None:
    for _ in range(2):
        await scene.add()
        failed = await scene.finish(await scene.claim_one(), Fail(error="broken"))
    assert (await scene.see(lambda reads: reads.tallies())).dead == 2
    dismissed = await scene.move(failed, TaskEvent.DISMISS, "known")
    assert (dismissed.state, dismissed.dismissed) == (TaskState.FAILED, True)
    assert dismissed.result == TaskResult(error="broken", error_class="permanent")
    assert (await scene.see(lambda reads: reads.tallies())).dead == 1
    replayed = await scene.move(dismissed, TaskEvent.REPLAY)
    assert (replayed.state, replayed.dismissed, replayed.result) == (TaskState.READY, False, None)
    assert (await scene.see(lambda reads: reads.tallies())).dead == 1


@case
async def a_retried_task_goes_on_with_its_journal_and_fresh_tries(scene: Scene) -> None:
    await scene.add(spec=TaskSpec(retry=RetryPolicy(attempts_max=1)))
    claimed = await scene.claim_one()
    await scene.do(lambda tx: tx.record_steps(claim_of(claimed), [Note(text="x")], now=scene.now))
    failed = await scene.finish(claimed, Retry(error="flaky"))
    again = await scene.do(
        lambda tx: tx.retry_task(failed.id, fresh=False, actor="ann", reason="look again", now=scene.now)
    )
    assert (again.state, again.journal, again.steps, again.failures) == (TaskState.READY, 1, 2, 0)
    steps = await scene.see(lambda reads: reads.steps(failed.id))
    assert steps[-1].entry == sent_on(by="ann", reason="look again")
    with refuses(Conflict):
        await scene.do(lambda tx: tx.retry_task(failed.id, fresh=False, actor="ann", now=scene.now))


@case
async def a_retried_task_knows_which_of_its_questions_nobody_answered(scene: Scene) -> None:
    await scene.add()
    task = await scene.claim_one()
    question = await scene.ask(task, call_id="1.0")
    await scene.finish(task, Fail(error="broken"))
    for _ in range(2):  # what is known already is not said again
        again = await scene.do(lambda tx: tx.retry_task(task.id, fresh=False, actor="ann", now=scene.now))
        steps = await scene.see(lambda reads: reads.steps(task.id))
        said = [step.entry for step in steps if isinstance(step.entry, Answered)]
        assert [(each.question, each.decision, each.call_id) for each in said] == [
            (question.id, WITHDRAWN, question.call_id)
        ]
        assert again.steps == len(steps)
        await scene.finish(await scene.claim_one(), Fail(error="broken again"))


@case
async def a_fresh_retry_is_told_of_what_was_done_before(scene: Scene) -> None:
    await scene.add()
    claimed = await scene.claim_one()
    sent = ToolIntent(call_id="1.0", tool="mail.send", effect=Effect.IRREVERSIBLE, arguments={"to": "c"}, key="k")
    read = ToolIntent(call_id="1.1", tool="files.read", effect=Effect.READ, arguments={}, key="k2")
    lost = ToolIntent(call_id="1.2", tool="pay", effect=Effect.IRREVERSIBLE, arguments={}, key="k3")
    result = ToolOutcome(call_id="1.0", tool="mail.send", status=ResultStatus.OK)
    await scene.do(lambda tx: tx.record_steps(claim_of(claimed), [sent, read, lost, result], now=scene.now))
    failed = await scene.finish(claimed, Fail(error="broken"))
    fresh = await scene.do(lambda tx: tx.retry_task(failed.id, fresh=True, actor="ann", now=scene.now))
    assert (fresh.journal, fresh.steps) == (2, 1)
    (step,) = await scene.see(lambda reads: reads.steps(failed.id))
    assert isinstance(step.entry, Note)
    assert "mail.send" in step.entry.text
    assert "pay" in step.entry.text
    assert "unknown" in step.entry.text
    assert "files.read" not in step.entry.text
    assert len(await scene.see(lambda reads: reads.steps(failed.id, journal=1))) == 4


@case
async def a_fresh_retry_has_the_messages_that_were_read_before(scene: Scene) -> None:
    first, second = [await scene.say("main:a", text) for text in ("one", "two")]
    turn = await scene.claim_one()

    def read(tx: Tx) -> None:
        tx.advance_cursor("main:a", second.id, now=scene.now)
        tx.record_steps(claim_of(turn), [Input(messages=(first.id,)), Input(messages=(second.id,))], now=scene.now)

    await scene.do(read)
    await scene.finish(turn, Fail(error="broken"))
    await scene.do(lambda tx: tx.retry_task(turn.id, fresh=True, actor="ann", now=scene.now))
    (step,) = await scene.see(lambda reads: reads.steps(turn.id))
    assert step.entry == Input(messages=(first.id, second.id)), "no other turn will ever read them"


@case
async def a_fresh_retry_asks_for_actions_of_its_own(scene: Scene) -> None:
    await scene.say("main:a", "send it")
    turn = await scene.claim_one()
    wanted = Action(tool="ads.place", arguments={"budget": {"usd": 3}}, agent="a")
    asked = await scene.ask(turn, call_id="1.0", stored=True, action=wanted)
    about = BudgetName(scope="agent:a", day=1, unit=Unit.USD, step=3)
    of_all = await scene.ask(turn, stored=True, kind=QuestionKind.BUDGET, budget=about)
    await scene.finish(turn, Fail(error="broken"))
    await scene.do(lambda tx: tx.retry_task(turn.id, fresh=True, actor="ann", now=scene.now))
    assert (await scene.see(lambda reads: reads.question(of_all.id))).state is QuestionState.PENDING
    kept = await scene.see(lambda reads: reads.question(asked.id))
    assert kept.state is QuestionState.WITHDRAWN
    again = await scene.ask(await scene.claim_one(), call_id="1.0", stored=True)
    assert again.id != asked.id, "a leave for one action must not stand for another"
    assert (await scene.see(lambda reads: reads.tallies())).questions == 2


@case
async def a_note_is_a_step_and_an_event(scene: Scene) -> None:
    task = await scene.add()
    await scene.do(lambda tx: tx.note_task(task.id, "look here", by="ann", now=scene.now))
    (step,) = await scene.see(lambda reads: reads.steps(task.id))
    assert step.entry == Note(text="look here", by="ann")
    (event,) = await scene.told(EventName.TASK_NOTED, task=task)
    assert event.actor == "ann"


@case
async def a_note_to_a_running_task_disturbs_nothing(scene: Scene) -> None:
    await scene.add()
    task = await scene.claim_one()
    await scene.do(lambda tx: tx.record_steps(claim_of(task), [Note(text="1")], now=scene.now))
    await scene.do(lambda tx: tx.note_task(task.id, "2", by="ann", now=scene.now))
    assert await scene.do(lambda tx: tx.record_steps(claim_of(task), [Note(text="3")], now=scene.now)) == 3
    assert (await scene.finish(task)).steps == 3


@case
async def a_turn_stays_with_the_agent_of_its_session(scene: Scene) -> None:
    await scene.say("main:a", "hello")
    (turn,) = await scene.unfinished("main:a")
    with refuses(Conflict, "main:a"):
        await scene.do(lambda tx: tx.change_task(turn.id, actor="ann", agent="somebody", now=scene.now))
    assert await scene.look(turn) == turn


@case
async def changes_are_limited_to_what_the_state_allows(scene: Scene) -> None:
    task = await scene.add(agent="a")
    later = scene.now + 60 * SECOND
    changed = await scene.do(
        lambda tx: tx.change_task(task.id, actor="ann", not_before_at=later, project="p", agent="b", now=scene.now)
    )
    assert (changed.not_before_at, changed.project, changed.agent) == (later, "p", "b")
    assert await scene.look(task) == changed
    assert await scene.claim() == []
    scene.wait(60.0)
    running = await scene.claim_one()
    with refuses(Conflict, task.name):
        await scene.do(lambda tx: tx.change_task(task.id, actor="ann", agent="c", now=scene.now))
    with refuses(Invalid, "101"):
        await scene.do(lambda tx: tx.change_task(task.id, actor="ann", priority=101, now=scene.now))
    assert (await scene.do(lambda tx: tx.change_task(task.id, actor="ann", priority=9, now=scene.now))).priority == 9
    assert (await scene.finish(running)).priority == 9
    with refuses(Conflict, "ended"):
        await scene.do(lambda tx: tx.change_task(task.id, actor="ann", priority=1, now=scene.now))
    (event,) = [e for e in await scene.told(EventName.TASK_CHANGED, task=task) if "agent" in e.data["to"]]
    assert event.data["from"]["agent"] == "a"


@case
async def unknown_tasks_are_named(scene: Scene) -> None:
    with refuses(NotFound, "T77"):
        await scene.look(77)
    with refuses(NotFound, "T77"):
        await scene.do(lambda tx: tx.move_task(77, TaskEvent.CANCEL, actor="ann", now=scene.now))
