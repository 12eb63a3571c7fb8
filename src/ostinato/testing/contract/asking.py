"""Questions: asked once, settled once, expired into a denial; and stored actions performed exactly once."""

from __future__ import annotations

import asyncio

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.question import Action, Answer, Question, QuestionKind, QuestionState
from ostinato.domain.step import Answered
from ostinato.domain.task import Park, Task, TaskKind, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND, Source
from ostinato.store.port import QuestionFilter
from ostinato.testing.contract.scene import Scene, case, done, refuses

SEND = Action(tool="message.send", arguments={"to": "c@example.org", "text": "hi"}, agent="triage")


@case
async def a_stored_question_is_settled_in_the_session_whosever_it_is(scene: Scene) -> None:
    await scene.say("main:a", "hello", agent="a")
    task = await scene.claim_one()
    question = await scene.ask(task, stored=True, agent="b", expires_at=scene.now + SECOND)
    scene.wait(2.0)
    assert await scene.do(lambda tx: tx.expire_questions(now=scene.now)) == 1, "one must not hold up the others"
    assert (await scene.see(lambda reads: reads.question(question.id))).state is QuestionState.EXPIRED
    assert len(await scene.see(lambda reads: reads.inbox("main:a"))) == 2


async def _parked(scene: Scene, **more: object) -> tuple[Task, Question]:
    """A goal that waits for its question."""
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    claimed = await scene.claim_one()
    question = await scene.ask(claimed, call_id="1.0", action=SEND, **more)
    wait = Wait(kind=WaitKind.QUESTION, refs=(question.name,))
    return await scene.finish(claimed, Park(wait=wait, reason=f"asks {question.name}")), question


@case
async def an_answer_is_a_step_and_wakes_the_task(scene: Scene) -> None:
    parked, question = await _parked(scene)
    settled = await scene.answer(question, arguments={"to": "d@example.org"}, text="but to d")
    assert (settled.state, settled.decided_by, settled.decided_at) == (QuestionState.ALLOWED, "ann", scene.now)
    assert await scene.see(lambda reads: reads.question(question.id)) == settled
    (step,) = await scene.see(lambda reads: reads.steps(parked.id))
    assert step.entry == Answered(
        question=question.id,
        decision="allow",
        by="ann",
        call_id="1.0",
        text="but to d",
        arguments={"to": "d@example.org"},
    )
    woken = await scene.look(parked)
    assert (woken.state, woken.wait, woken.steps) == (TaskState.READY, None, 1)
    (event,) = await scene.told(EventName.QUESTION_SETTLED)
    assert (event.actor, event.data["state"], event.data["edited"]) == ("ann", "allowed", True)


@case
async def each_decision_has_its_word_in_the_journal(scene: Scene) -> None:
    for kind, state, word in (
        (QuestionKind.APPROVAL, QuestionState.DENIED, "deny"),
        (QuestionKind.BUDGET, QuestionState.ALLOWED, "allow"),
        (QuestionKind.ASK, QuestionState.ANSWERED, "answered"),
        (QuestionKind.UNKNOWN, QuestionState.ANSWERED, "answered"),
    ):
        parked, question = await _parked(scene, kind=kind)
        await scene.answer(question, state)
        (step,) = await scene.look_up("steps", parked.id)
        assert isinstance(step.entry, Answered)
        assert step.entry.decision == word
        await scene.finish(await scene.claim_one())


@case
async def the_first_decision_stands(scene: Scene) -> None:
    _, question = await _parked(scene)

    async def decide(by: str, state: QuestionState) -> bool:
        try:
            await scene.do(lambda tx: tx.answer(question.id, Answer(state=state, by=by), now=scene.now))
        except Conflict:
            return False
        return True

    states = [QuestionState.ALLOWED, QuestionState.DENIED] * 8
    won = await asyncio.gather(*(decide(f"p{number}", state) for number, state in enumerate(states)))
    assert won == [True] + [False] * 15
    kept = await scene.see(lambda reads: reads.question(question.id))
    assert (kept.decided_by, kept.state) == ("p0", QuestionState.ALLOWED)
    with refuses(Conflict, "p0"):
        await scene.answer(question, QuestionState.DENIED)


@case
async def a_question_can_only_be_answered_as_its_kind_allows(scene: Scene) -> None:
    _, question = await _parked(scene)
    with refuses(Conflict, question.name):
        await scene.answer(question, QuestionState.ANSWERED)
    with refuses(NotFound, "Q99"):
        await scene.do(lambda tx: tx.answer(99, Answer(state=QuestionState.DENIED, by="ann"), now=scene.now))


@case
async def a_resumed_attempt_asks_once(scene: Scene) -> None:
    await scene.add(agent="triage")
    task = await scene.claim_one()
    first = await scene.ask(task, call_id="1.0")
    assert await scene.ask(task, call_id="1.0") == first
    assert (await scene.ask(task, call_id="1.1")).id != first.id
    assert len(await scene.told(EventName.QUESTION_ASKED)) == 2
    await scene.answer(first)
    assert (await scene.ask(task, call_id="1.0")).id != first.id, "a settled question does not answer a new doubt"


@case
async def an_answer_to_a_task_that_still_runs_waits_in_its_journal(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="triage")
    claimed = await scene.claim_one()
    question = await scene.ask(claimed, call_id="1.0")
    await scene.answer(question)
    assert (await scene.look(claimed)).state is TaskState.RUNNING
    wait = Wait(kind=WaitKind.QUESTION, refs=(question.name,))
    assert (await scene.finish(claimed, Park(wait=wait, reason="asks"))).state is TaskState.READY


@case
async def what_nobody_answers_expires_and_that_is_a_denial(scene: Scene) -> None:
    parked, question = await _parked(scene, expires_at=scene.now + 60 * SECOND)
    assert await scene.see(lambda reads: reads.next_due_at()) == scene.now + 60 * SECOND
    assert (await scene.see(lambda reads: reads.next_dues()))["questions"] == scene.now + 60 * SECOND
    assert await scene.do(lambda tx: tx.expire_questions(now=scene.now)) == 0
    scene.wait(60.0)
    with refuses(Conflict, "expired"):
        await scene.answer(question)
    assert await scene.do(lambda tx: tx.expire_questions(now=scene.now)) == 1
    assert await scene.do(lambda tx: tx.expire_questions(now=scene.now)) == 0
    assert (await scene.see(lambda reads: reads.question(question.id))).state is QuestionState.EXPIRED
    (step,) = await scene.see(lambda reads: reads.steps(parked.id))
    assert isinstance(step.entry, Answered)
    assert step.entry.decision == "expired"
    assert (await scene.look(parked)).state is TaskState.READY
    assert await scene.see(lambda reads: reads.next_due_at()) is None


@case
async def a_reminder_is_told_while_it_matters(scene: Scene) -> None:
    more = {"ask": "ann", "remind_s": 60.0, "escalate": "admin", "escalate_s": 150.0}
    _, question = await _parked(scene, expires_at=scene.now + 1_000 * SECOND, **more)

    async def told() -> list[tuple[str, str]]:
        await scene.do(lambda tx: tx.repeat_questions(now=scene.now))
        events = [each for name in (EventName.QUESTION_REMINDED, EventName.QUESTION_ESCALATED)
                  for each in await scene.told(name)]  # fmt: skip
        return [(each.name.value, each.data["to"]) for each in events]

    assert await told() == []
    assert await scene.see(lambda reads: reads.next_due_at()) == scene.now + 60 * SECOND, "an alarm rings for it"
    scene.wait(60.0)
    assert await told() == [("question.reminded", "ann")]
    assert await told() == [("question.reminded", "ann")], "once for each time"
    scene.wait(80.0)
    assert len(await told()) == 2
    scene.wait(10.0)
    assert (await told())[2:] == [("question.escalated", "admin")]
    scene.wait(500.0)
    assert len(await told()) == 4, "a node that slept does not make up for it"
    await scene.answer(question)
    scene.wait(60.0)
    assert len(await told()) == 4


async def _stored(scene: Scene, **more: object) -> Question:
    """An action that a turn of a shared session has left behind; the turn has ended."""
    await scene.say("main:triage")
    turn = await scene.claim_one()
    await scene.read_all("main:triage")
    question = await scene.ask(turn, call_id="1.0", action=SEND, stored=True, text="Send it?", **more)
    await scene.finish(turn)
    return question


@case
async def an_allowed_stored_action_is_performed_by_one_delivery(scene: Scene) -> None:
    question = await _stored(scene)
    assert (await scene.see(lambda reads: reads.question(question.id))).state is QuestionState.PENDING
    await scene.answer(question, arguments={"to": "d@example.org"})
    with refuses(Conflict):
        await scene.answer(question)
    delivery = await scene.claim_one()
    assert (delivery.kind, delivery.agent, delivery.key) == (TaskKind.DELIVERY, "triage", f"question:{question.id}")
    assert delivery.spec.input == {
        "tool": "message.send",
        "arguments": {"to": "d@example.org"},
        "question": question.id,
        "session": "main:triage",
    }
    assert await scene.claim() == []
    await scene.finish(delivery, done("sent"))
    (message,) = await scene.see(lambda reads: reads.inbox("main:triage"))
    assert (message.text, message.source) == ("sent", Source.COMPLETION)
    assert len(await scene.unfinished("main:triage")) == 1


@case
async def a_stored_action_that_is_not_allowed_is_told_to_its_session(scene: Scene) -> None:
    for state, words in ((QuestionState.DENIED, "not like this"), (QuestionState.EXPIRED, "runtime")):
        question = await _stored(scene, expires_at=scene.now + SECOND)
        if state is QuestionState.DENIED:
            await scene.answer(question, state, text=words)
        scene.wait(1.0)
        await scene.do(lambda tx: tx.expire_questions(now=scene.now))
        (message,) = await scene.see(lambda reads: reads.inbox("main:triage"))
        assert (message.source, state.value in message.text) == (Source.ANSWER, True)
        assert words in message.text
        turn = await scene.claim_one()
        assert turn.kind is TaskKind.TURN
        await scene.read_all("main:triage")
        await scene.finish(turn)


@case
async def a_stored_question_of_an_agent_is_answered_by_a_message(scene: Scene) -> None:
    await scene.say("main:triage")
    turn = await scene.claim_one()
    await scene.read_all("main:triage")
    question = await scene.ask(turn, kind=QuestionKind.ASK, stored=True, text="Which one?")
    await scene.finish(turn)
    await scene.answer(question, QuestionState.ANSWERED, text="the blue one")
    (message,) = await scene.see(lambda reads: reads.inbox("main:triage"))
    assert "the blue one" in message.text
    assert message.sender == "ann"


@case
async def questions_are_listed_and_counted(scene: Scene) -> None:
    first_task, first = await _parked(scene)
    _, second = await _parked(scene, kind=QuestionKind.ASK)
    listed = await scene.see(lambda reads: reads.questions(QuestionFilter()))
    assert [question.id for question in listed] == [second.id, first.id]
    assert (await scene.see(lambda reads: reads.tallies())).questions == 2
    await scene.answer(first)
    for which, expected in (
        (QuestionFilter(), [second.id]),
        (QuestionFilter(state=None), [second.id, first.id]),
        (QuestionFilter(state=QuestionState.ALLOWED), [first.id]),
        (QuestionFilter(kind=QuestionKind.APPROVAL), []),
        (QuestionFilter(state=None, task=first_task.id), [first.id]),
        (QuestionFilter(agent="nobody"), []),
    ):
        found = await scene.look_up("questions", which)
        assert [question.id for question in found] == expected, which
    page = await scene.see(lambda reads: reads.questions(QuestionFilter(state=None), before=second.id, limit=1))
    assert [question.id for question in page] == [first.id]
    assert (await scene.see(lambda reads: reads.tallies())).questions == 1
