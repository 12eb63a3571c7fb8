"""Results that wait for a verdict: what accepts and returns them, and who is asked where a reviewer is silent."""

from __future__ import annotations

import random
from typing import Any

from msgspec.structs import replace

from ostinato.domain.event import EventName
from ostinato.domain.question import Question, QuestionKind, QuestionState
from ostinato.domain.review import rejections
from ostinato.domain.reviewing import review_question
from ostinato.domain.step import Reviewed, Submitted
from ostinato.domain.task import (
    UNFINISHED,
    Fail,
    NewTask,
    Outcome,
    Review,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Trust
from ostinato.store.port import QuestionFilter, TaskFilter, Tx
from ostinato.testing.contract.scene import Scene, case, claim_of, done, spec

RESULT = TaskResult(text="draft")


async def _submit(scene: Scene, *, rounds: int = 3) -> tuple[Task, Task]:
    """A goal whose result another task reviews, and that one."""
    claimed = await scene.claim_one()

    def hand_in(tx: Tx) -> tuple[Task, Task]:
        reviewer = tx.add_task(_reviewer_of(claimed), now=scene.now)
        entry = Submitted(round=1, by="checker", rounds=rounds, task=reviewer.id)
        tx.record_steps(claim_of(claimed), (entry,), now=scene.now)
        wait = Wait(kind=WaitKind.CHILD, refs=(reviewer.name,))
        return tx.finish(claim_of(claimed), Review(result=RESULT, wait=wait), now=scene.now), reviewer

    return await scene.do(hand_in)


def _reviewer_of(task: Task) -> NewTask:
    return NewTask(
        kind=TaskKind.GOAL, title="review", agent="checker", parent=task.id,
        spec=spec(reviews=task.id, deliver="parent"),
    )  # fmt: skip


async def _ask(scene: Scene, **more: Any) -> tuple[Task, Question]:
    """A goal whose result a person decides about, and the question."""
    claimed = await scene.claim_one()

    def hand_in(tx: Tx) -> tuple[Task, Question]:
        question = tx.ask(replace(review_question(claimed, RESULT, why="so it is asked"), **more), now=scene.now)
        entry = Submitted(round=1, by="operator", rounds=3, question=question.id)
        tx.record_steps(claim_of(claimed), (entry,), now=scene.now)
        wait = Wait(kind=WaitKind.QUESTION, refs=(question.name,))
        return tx.finish(claim_of(claimed), Review(result=RESULT, wait=wait), now=scene.now), question

    return await scene.do(hand_in)


async def _judge(scene: Scene, task: Task, *, accepted: bool, reviewer: Task | None = None, notes: str = "no") -> Task:
    verdict = Reviewed(
        accepted=accepted, by="checker", notes=notes, task=reviewer.id if reviewer else None, trust=Trust.AGENT
    )
    return await scene.do(lambda tx: tx.review_task(task.id, verdict, now=scene.now))


@case
async def a_review_is_accepted_or_returned_with_notes(scene: Scene) -> None:
    await scene.add()
    review = await scene.finish(await scene.claim_one(), Review(result=RESULT))
    assert (review.state, review.result) == (TaskState.REVIEW, RESULT)
    assert (await scene.move(review, TaskEvent.RETURN, "too long")).state is TaskState.READY
    (step,) = await scene.see(lambda reads: reads.steps(review.id))
    assert step.entry == Reviewed(accepted=False, by="ann", notes="too long")
    again = await scene.finish(await scene.claim_one(), Review(result=RESULT))
    accepted = await scene.move(again, TaskEvent.ACCEPT)
    assert (accepted.state, accepted.result, accepted.finished_at) == (TaskState.DONE, RESULT, scene.now)


@case
async def dependants_wait_until_a_result_is_accepted(scene: Scene) -> None:
    task = await scene.add(kind=TaskKind.GOAL, agent="triage")
    after = await scene.add("after", after=(task.id,))
    reviewed, reviewer = await _submit(scene)
    assert (reviewed.state, (await scene.look(after)).state) == (TaskState.REVIEW, TaskState.BLOCKED)
    assert (await _judge(scene, reviewed, accepted=True, reviewer=reviewer)).state is TaskState.DONE
    assert (await scene.look(after)).state is TaskState.READY


@case
async def what_is_under_review_says_what_it_waits_for_and_cannot_be_claimed(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, reviewer = await _submit(scene)
    assert reviewed.wait == Wait(kind=WaitKind.CHILD, refs=(reviewer.name,))
    assert [each.id for each in await scene.claim(most=5)] == [reviewer.id]


@case
async def the_last_rejection_makes_a_dead_letter_with_the_notes(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    for number in range(2):
        reviewed, reviewer = await _submit(scene, rounds=2)
        await _judge(scene, reviewed, accepted=False, reviewer=reviewer, notes=f"wrong {number}")
        await scene.move(reviewer, TaskEvent.CANCEL)
    failed = await scene.look(reviewed)
    assert failed.state is TaskState.FAILED
    assert failed.result is not None
    assert (failed.result.error_class, failed.result.text) == ("review", "draft")
    assert "wrong 1" in failed.result.error
    assert (await scene.see(lambda reads: reads.tallies())).dead == 1


@case
async def a_person_who_sends_it_on_gives_all_rounds_again(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, reviewer = await _submit(scene, rounds=1)
    assert (await _judge(scene, reviewed, accepted=False)).state is TaskState.FAILED
    assert (await scene.look(reviewer)).state is TaskState.CANCELLED
    await scene.do(lambda tx: tx.retry_task(reviewed.id, fresh=False, actor="ann", now=scene.now))
    again, _ = await _submit(scene, rounds=2)
    assert (await _judge(scene, again, accepted=False)).state is TaskState.READY


@case
async def a_reviewer_that_ends_without_a_word_leaves_the_result_to_a_person(scene: Scene) -> None:
    endings: tuple[Outcome, ...] = (done("looks fine"), Fail(error="broken"))
    for ending in endings:
        await scene.add(kind=TaskKind.GOAL, agent="triage")
        reviewed, _ = await _submit(scene)
        await scene.finish(await scene.claim_one(), ending)
        after = await scene.look(reviewed)
        assert after.state is TaskState.REVIEW
        assert after.wait is not None
        assert after.wait.kind is WaitKind.QUESTION
        question = await scene.look_up("question", int(after.wait.refs[0][1:]))
        assert (question.kind, question.state) == (QuestionKind.REVIEW, QuestionState.PENDING)
        await scene.answer(question, QuestionState.ALLOWED)
        assert (await scene.look(reviewed)).state is TaskState.DONE


@case
async def a_reviewers_result_can_be_its_verdict(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, _ = await _submit(scene)
    said = done('It will not do.\n{"accept": false, "notes": "no tests"}')
    await scene.finish(await scene.claim_one(), said)
    assert (await scene.look(reviewed)).state is TaskState.READY
    entry = (await scene.see(lambda reads: reads.steps(reviewed.id)))[-1].entry
    assert isinstance(entry, Reviewed)
    assert (entry.accepted, entry.notes, entry.by, entry.trust) == (False, "no tests", "checker", Trust.AGENT)


@case
async def a_verdict_of_an_earlier_reviewer_decides_nothing(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, _ = await _submit(scene)
    first = await scene.claim_one()
    await scene.move(reviewed, TaskEvent.RETURN, "I have seen it myself")
    again, _ = await _submit(scene)
    assert (await scene.look(first)).state is TaskState.CANCELLED
    assert (await scene.look(again)).state is TaskState.REVIEW


@case
async def a_cancelled_task_takes_its_reviewer_along(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, reviewer = await _submit(scene)
    await scene.move(reviewed, TaskEvent.CANCEL)
    assert (await scene.look(reviewer)).state is TaskState.CANCELLED
    assert (await scene.see(lambda reads: reads.tallies())).questions == 0, "nobody is asked about it any more"


@case
async def a_persons_denial_returns_a_result_with_the_reason(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, question = await _ask(scene)
    await scene.answer(question, QuestionState.DENIED, text="name the sources")
    assert (await scene.look(reviewed)).state is TaskState.READY
    entry = (await scene.see(lambda reads: reads.steps(reviewed.id)))[-1].entry
    assert entry == Reviewed(accepted=False, by="ann", notes="name the sources")
    assert len(await scene.told(EventName.TASK_RETURNED)) == 1


@case
async def a_result_that_nobody_reviews_in_time_is_a_dead_letter(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, _ = await _ask(scene, expires_at=scene.now + 60 * SECOND)
    scene.now += 60 * SECOND
    assert await scene.change("expire_questions", now=scene.now) == 1
    failed = await scene.look(reviewed)
    assert (failed.state, failed.result.error_class if failed.result else "") == (TaskState.FAILED, "review")


@case
async def a_verdict_by_another_way_withdraws_the_question(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    reviewed, question = await _ask(scene)
    await scene.move(reviewed, TaskEvent.ACCEPT)
    assert (await scene.see(lambda reads: reads.question(question.id))).state is QuestionState.WITHDRAWN
    assert (await scene.see(lambda reads: reads.tallies())).questions == 0


@case
async def whatever_happens_a_result_counts_only_once_accepted_and_waits_for_something_named(scene: Scene) -> None:
    """On a random history of submissions, verdicts, silent reviewers, cancellations and second tries."""
    chance, rounds = random.Random(23), 2
    goals = [await scene.add(kind=TaskKind.GOAL, agent="triage") for _ in range(3)]
    after = {each.id: await scene.add("after", after=(each.id,), kind=TaskKind.FIRE) for each in goals}
    accepted: set[int] = set()
    for _ in range(60):
        scene.now += SECOND
        await _happen(scene, await scene.look(chance.choice(goals)), chance, accepted=accepted, rounds=rounds)
        for goal in goals:
            task, follower = await scene.look(goal), await scene.look(after[goal.id])
            assert (task.state is TaskState.DONE) == (goal.id in accepted)
            assert (follower.state is TaskState.BLOCKED) == (goal.id not in accepted), "no dependant starts early"
            journal = [step.entry for step in await scene.look_up("steps", goal.id)]
            assert rejections(journal) <= rounds
            await _waits_for_something_named(scene, task)
    assert accepted, "some were accepted in the end"


async def _waits_for_something_named(scene: Scene, task: Task) -> None:
    children = await scene.look_up("tasks", TaskFilter(parent=task.id, states=UNFINISHED), limit=10)
    pending = await scene.look_up("questions", QuestionFilter(task=task.id), limit=10)
    waits = [each.name for each in children] + [each.name for each in pending]
    if task.state is not TaskState.REVIEW:
        assert waits == [], f"{task.state} and still asked: {waits}"
        return
    assert task.wait is not None
    assert list(task.wait.refs) == waits, "one reviewer or one question, and that one"


async def _happen(scene: Scene, task: Task, chance: random.Random, *, accepted: set[int], rounds: int) -> None:
    match task.state:
        case TaskState.READY:
            while (claimed := await scene.claim_one(kinds=frozenset({TaskKind.GOAL}))).agent == "checker":
                await scene.finish(claimed)
            await _hand_in(scene, claimed, by_person=chance.random() < 0.5, rounds=rounds)
        case TaskState.REVIEW if task.wait is not None and task.wait.kind is WaitKind.QUESTION:
            question = await scene.look_up("question", int(task.wait.refs[0][1:]))
            yes = chance.random() < 0.15
            await scene.answer(question, QuestionState.ALLOWED if yes else QuestionState.DENIED)
            accepted.update({task.id} if yes else ())
        case TaskState.REVIEW if chance.random() < 0.3:
            reviewer = await scene.look(int((task.wait.refs if task.wait else ("T0",))[0][1:]))
            await scene.move(reviewer, TaskEvent.CANCEL)
        case TaskState.REVIEW:
            yes = chance.random() < 0.15
            await _judge(scene, task, accepted=yes)
            accepted.update({task.id} if yes else ())
        case TaskState.FAILED:
            await scene.do(lambda tx: tx.retry_task(task.id, fresh=chance.random() < 0.5, actor="ann", now=scene.now))
        case _:
            pass


async def _hand_in(scene: Scene, claimed: Task, *, by_person: bool, rounds: int) -> None:
    def hand_in(tx: Tx) -> Task:
        if by_person:
            asked = tx.ask(review_question(claimed, RESULT, why="so it is asked"), now=scene.now)
            entry = Submitted(round=1, by="ann", rounds=rounds, question=asked.id)
            wait = Wait(kind=WaitKind.QUESTION, refs=(asked.name,))
        else:
            reviewer = tx.add_task(_reviewer_of(claimed), now=scene.now)
            entry = Submitted(round=1, by="checker", rounds=rounds, task=reviewer.id)
            wait = Wait(kind=WaitKind.CHILD, refs=(reviewer.name,))
        tx.record_steps(claim_of(claimed), (entry,), now=scene.now)
        return tx.finish(claim_of(claimed), Review(result=RESULT, wait=wait), now=scene.now)

    await scene.do(hand_in)
