"""Failures: a budget for each class, another agent, a question to one person after the other, and the end."""

from __future__ import annotations

import random
from functools import partial
from typing import Any

from ostinato.domain.errors import Conflict, Denied, Invalid
from ostinato.domain.escalation import Rung
from ostinato.domain.event import EventName
from ostinato.domain.failure import FailurePlan
from ostinato.domain.person import Role
from ostinato.domain.question import Answer, Question, QuestionKind, QuestionState, check_decider
from ostinato.domain.retry import FailureClass, RetryPolicy, RetryRule
from ostinato.domain.step import Effect, Note, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Fail, Outcome, Retry, Task, TaskEvent, TaskKind, TaskState
from ostinato.domain.values import SECOND, Trust
from ostinato.store.port import QuestionFilter
from ostinato.testing.contract.scene import Scene, case, claim_of, done, refuses, spec

ONCE = RetryPolicy(attempts_max=1, classes={FailureClass.RATE_LIMITED: RetryRule(attempts_max=1)})
LADDER = (Rung(to="alice", within_s=60.0), Rung(to="operator", within_s=120.0))
BROKEN = Fail(error="the key is wrong", error_class="permanent")


async def _fail(scene: Scene, outcome: Outcome = BROKEN, **plan: Any) -> Task:
    """The one task that can be claimed fails, by this plan."""
    task = await scene.claim_one()
    whole = FailurePlan(**plan)
    return await scene.do(lambda tx: tx.finish(claim_of(task), outcome, now=scene.now, plan=whole))


async def _goal(scene: Scene, **more: Any) -> Task:
    return await scene.add(kind=TaskKind.GOAL, agent="clerk", **more)


async def _question(scene: Scene, task: Task) -> Question:
    assert task.wait is not None
    number = int(task.wait.refs[0][1:])
    return await scene.see(lambda reads: reads.question(number))


async def _notes(scene: Scene, task: Task) -> list[str]:
    steps = await scene.see(lambda reads: reads.steps(task.id))
    return [step.entry.text for step in steps if isinstance(step.entry, Note)]


@case
async def each_class_has_a_budget_of_its_own(scene: Scene) -> None:
    policy = RetryPolicy(
        attempts_max=2, base_s=1.0, jitter=False, classes={FailureClass.RATE_LIMITED: RetryRule(attempts_max=3)}
    )
    task = await scene.add(spec=spec(retry=policy))
    for kind in ("rate_limited", "transient", "rate_limited", "Surprise"):
        moved = await scene.finish(await scene.claim_one(), Retry(error=kind, error_class=kind))
        assert moved.state is TaskState.READY
        scene.wait(60)
    ended = await scene.finish(await scene.claim_one(), Retry(error="too fast", error_class="rate_limited"))
    assert ended.state is TaskState.FAILED
    setbacks = await scene.see(lambda reads: reads.setbacks(task.id))
    assert setbacks.counts == {
        FailureClass.RATE_LIMITED: 3, FailureClass.TRANSIENT: 1, FailureClass.UNKNOWN: 1,
    }  # fmt: skip
    assert setbacks.budgets[FailureClass.RATE_LIMITED] == 3
    assert [each.kind for each in setbacks.told] == [
        "rate_limited", "transient", "rate_limited", "Surprise", "rate_limited",
    ]  # fmt: skip
    assert [each.attempt for each in setbacks.told] == sorted({each.attempt for each in setbacks.told})


@case
async def what_its_agent_and_fleet_say_stands_behind_what_the_task_says(scene: Scene) -> None:
    await scene.add(spec=spec(retry=RetryPolicy(attempts_max=2)))
    behind = (RetryPolicy(attempts_max=9, base_s=7.0, jitter=False), RetryPolicy(base_s=1.0))
    moved = await _fail(scene, Retry(error="flaky"), retry=behind)
    assert moved.state is TaskState.READY
    assert await scene.see(lambda reads: reads.next_due_at()) == scene.now + 7 * SECOND
    scene.wait(7)
    assert (await _fail(scene, Retry(error="flaky"), retry=behind)).state is TaskState.FAILED


@case
async def a_fallback_takes_over_in_the_commit_of_the_last_failure(scene: Scene) -> None:
    task = await _goal(scene, spec=spec(retry=ONCE))
    moved = await _fail(scene, Retry(error="flaky"), fallback="deputy")
    assert (moved.state, moved.agent, moved.journal, moved.failures) == (TaskState.READY, "deputy", 2, 0)
    (note,) = await _notes(scene, task)
    assert "clerk has tried this" in note
    assert "transient: flaky" in note
    session = await scene.see(lambda reads: reads.session(f"task:{task.id}"))
    assert session is None or session.agent == "deputy"
    assert (await scene.claim_one()).agent == "deputy"


@case
async def each_agent_of_a_chain_is_asked_once(scene: Scene) -> None:
    await _goal(scene)
    assert (await _fail(scene, fallback="deputy")).agent == "deputy"
    assert (await _fail(scene, fallback="third")).agent == "third"
    ended = await _fail(scene, fallback="clerk")
    assert (ended.state, ended.agent) == (TaskState.FAILED, "third")
    assert "clerk has given up already" in ended.reason
    assert ended.result is not None
    assert ended.result.error == BROKEN.error
    await _goal(scene)
    assert (await _fail(scene, fallback="clerk")).state is TaskState.FAILED, "nobody takes over from itself"


@case
async def nobody_takes_over_what_a_rule_has_refused(scene: Scene) -> None:
    await _goal(scene)
    ended = await _fail(scene, Fail(error="no", error_class="denied"), fallback="deputy")
    assert (ended.state, ended.agent) == (TaskState.FAILED, "clerk")


@case
async def nobody_takes_over_what_cannot_be_undone_without_a_persons_word(scene: Scene) -> None:
    for effect, outcome, words in (
        (Effect.IRREVERSIBLE, ResultStatus.OK, "cannot be undone"),
        (Effect.REVERSIBLE, ResultStatus.UNKNOWN, "nobody knows"),
        (Effect.REVERSIBLE, None, "nobody knows"),
    ):
        task = await _goal(scene)
        claimed = await scene.claim_one()
        deed: list[Any] = [ToolIntent(call_id="c1", tool="mail.send", effect=effect, arguments={}, key="k")]
        if outcome is not None:
            deed.append(ToolOutcome(call_id="c1", tool="mail.send", status=outcome))
        await scene.change("record_steps", claim_of(claimed), deed, now=scene.now)
        plan = FailurePlan(fallback="deputy", escalate=LADDER)
        moved = await scene.change("finish", claim_of(claimed), BROKEN, now=scene.now, plan=plan)
        assert (moved.state, moved.agent) == (TaskState.WAITING, "clerk")
        question = await _question(scene, moved)
        assert words in question.reason
        await scene.answer(question, QuestionState.ANSWERED, text="retry with deputy")
        handed = await scene.look(task)
        assert (handed.state, handed.agent, handed.journal) == (TaskState.READY, "deputy", 2)
        assert any("mail.send" in each for each in await _notes(scene, task))
        await scene.move(handed, TaskEvent.CANCEL)


@case
async def a_sessions_turn_is_neither_handed_over_nor_parked(scene: Scene) -> None:
    await scene.say("agent:clerk:main", agent="clerk")
    ended = await _fail(scene, fallback="deputy", escalate=LADDER)
    assert (ended.state, ended.agent) == (TaskState.FAILED, "clerk")


async def _turn(scene: Scene, **plan: Any) -> Task:
    """A turn of the agent's main session that fails for good."""
    await scene.say("main:clerk", agent="clerk")
    return await _fail(scene, **plan)


async def _asked(scene: Scene) -> list[Question]:
    return await scene.see(lambda reads: reads.questions(QuestionFilter(kind=QuestionKind.FAILURE)))


@case
async def a_sessions_turn_fails_and_people_are_asked_beside_it_once(scene: Scene) -> None:
    failed = await _turn(scene, escalate=LADDER)
    (question,) = await _asked(scene)
    assert (failed.state, question.task, question.session) == (TaskState.FAILED, failed.id, "main:clerk")
    assert BROKEN.error in question.text
    assert "'main:clerk'" in question.text
    assert [question.ask, *(each.to for each in question.later)] == ["alice", "operator"]
    again = await _turn(scene, escalate=LADDER)
    assert again.state is TaskState.FAILED, "the session goes on meanwhile"
    assert await _asked(scene) == [question], "a session that fails all the time is one question"
    answer = partial(Answer, state=QuestionState.ANSWERED, by="alice")
    with refuses(Conflict, "painter cannot read"):
        await scene.do(lambda tx: tx.answer(question.id, answer(text="retry with painter"), now=scene.now))
    await scene.do(lambda tx: tx.answer(question.id, answer(text="retry"), now=scene.now))
    back = await scene.claim_one()
    assert (back.id, back.failures) == (failed.id, 0)
    assert (await scene.finish(back)).state is TaskState.DONE


@case
async def whoever_is_asked_beside_a_failed_turn_can_leave_it_and_nobodys_answer_leaves_a_dead_letter(
    scene: Scene,
) -> None:
    left = await _turn(scene, escalate=LADDER)
    (question,) = await _asked(scene)
    await scene.do(lambda tx: tx.answer(question.id, Answer(state=QuestionState.DENIED, by="bob"), now=scene.now))
    assert (await scene.look(left)).dismissed
    late = await _turn(scene, escalate=LADDER)
    scene.wait(181.0)
    assert await scene.do(lambda tx: tx.expire_questions(now=scene.now)) == 1
    dead = await scene.look(late)
    assert (dead.state, dead.dismissed) == (TaskState.FAILED, False)
    dealt = await _turn(scene, escalate=LADDER)
    await scene.move(dealt, TaskEvent.DISMISS)
    assert await _asked(scene) == [], "it is withdrawn where somebody has dealt with it otherwise"


@case
async def nobody_is_asked_beside_what_a_person_has_stopped_or_no_agent_did(scene: Scene) -> None:
    await scene.say("main:clerk", agent="clerk")
    await _fail(scene, Fail(error="no money", error_class="budget"), escalate=LADDER)
    await scene.add(kind=TaskKind.DELIVERY, agent="clerk")
    await _fail(scene, escalate=LADDER)
    assert await _asked(scene) == []


@case
async def people_are_asked_one_after_the_other_and_nobodys_answer_is_the_end(scene: Scene) -> None:
    task = await _goal(scene)
    waiting = await _fail(scene, escalate=LADDER)
    assert waiting.state is TaskState.WAITING
    question = await _question(scene, waiting)
    assert (question.ask, question.expires_at) == ("alice", scene.now + 180 * SECOND)
    people = {"alice": Role.OPERATOR, "bob": Role.OPERATOR}
    with refuses(Denied, "asks alice"):
        check_decider(question, "bob", Role.OPERATOR, people=people, now=scene.now)
    scene.wait(60)
    assert await scene.change("repeat_questions", now=scene.now) == 1
    (told,) = await scene.told(EventName.QUESTION_ESCALATED, task=task)
    assert told.data["to"] == "operator"
    check_decider(question, "bob", Role.OPERATOR, people=people, now=scene.now)
    assert await scene.change("repeat_questions", now=scene.now) == 0
    scene.wait(120)
    assert await scene.change("expire_questions", now=scene.now) == 1
    ended = await scene.look(task)
    assert ended.state is TaskState.FAILED
    assert ended.result is not None
    assert (ended.result.error, ended.result.error_class) == (BROKEN.error, "permanent")
    assert "nobody answered" in ended.reason
    with refuses(Conflict, "expired"):
        await scene.answer(question)


@case
async def a_person_sends_a_failed_task_on_with_every_budget_whole(scene: Scene) -> None:
    task = await _goal(scene, spec=spec(retry=ONCE))
    for state, said in ((QuestionState.ALLOWED, "the key is new"), (QuestionState.ANSWERED, "retry")):
        waiting = await _fail(scene, Retry(error="flaky"), escalate=LADDER)
        await scene.answer(await _question(scene, waiting), state, text=said)
        moved = await scene.look(task)
        assert (moved.state, moved.agent, moved.failures, moved.journal) == (TaskState.READY, "clerk", 0, 1)
        assert (await scene.see(lambda reads: reads.setbacks(task.id))).counts == {}
    assert await _notes(scene, task) == ["sent on: the key is new", "sent on"]
    await scene.finish(await scene.claim_one())


@case
async def a_dead_letter_that_a_person_retries_has_every_budget_whole(scene: Scene) -> None:
    task = await _goal(scene, spec=spec(retry=RetryPolicy(attempts_max=2, base_s=1.0)))
    for state in (TaskState.READY, TaskState.FAILED):
        assert (await _fail(scene, Retry(error="flaky"))).state is state
        scene.wait(60)
    await scene.change("retry_task", task.id, fresh=False, actor="ann", now=scene.now)
    assert (await _fail(scene, Retry(error="flaky"))).state is TaskState.READY


@case
async def a_person_gives_a_failed_task_up(scene: Scene) -> None:
    for state, said in ((QuestionState.DENIED, "not worth it"), (QuestionState.ANSWERED, "give up")):
        task = await _goal(scene)
        dependant = await scene.add("dependant", after=(task.id,))
        waiting = await _fail(scene, escalate=LADDER)
        question = await _question(scene, waiting)
        with refuses(Invalid, "'retry', 'retry with AGENT' or 'give up'"):
            await scene.answer(question, QuestionState.ANSWERED, text="whatever you like")
        await scene.answer(question, state, text=said)
        ended = await scene.look(task)
        assert ended.state is TaskState.FAILED
        assert "ann gave it up" in ended.reason
        assert "failed" in (await scene.look(dependant)).reason, "whoever waits for it is told"
        await scene.move(dependant, TaskEvent.CANCEL)
        again = await scene.change("retry_task", task.id, fresh=False, actor="ann", now=scene.now)
        assert again.state is TaskState.READY
        await scene.finish(await scene.claim_one())


@case
async def a_cancelled_task_asks_nobody_any_more(scene: Scene) -> None:
    task = await _goal(scene)
    question = await _question(scene, await _fail(scene, escalate=LADDER))
    await scene.move(task, TaskEvent.CANCEL)
    assert (await scene.see(lambda reads: reads.question(question.id))).state is QuestionState.WITHDRAWN


@case
async def output_that_cannot_be_used_is_asked_for_anew_where_that_is_wanted(scene: Scene) -> None:
    wanted = RetryPolicy(base_s=1.0, classes={FailureClass.INVALID_OUTPUT: RetryRule(attempts_max=2)})
    await _goal(scene, spec=spec(retry=wanted))
    claimed = await scene.claim_one()
    await scene.change("record_steps", claim_of(claimed), [Note(text="a reply")], now=scene.now)
    moved = await scene.finish(claimed, Fail(error="malformed", error_class="invalid_output"))
    assert (moved.state, moved.journal, moved.steps) == (TaskState.READY, 2, 0)
    scene.wait(60)
    ended = await _fail(scene, Fail(error="malformed", error_class="invalid_output"))
    assert ended.state is TaskState.FAILED


KINDS = ("transient", "rate_limited", "permanent", "denied", "invalid_output", "Surprise")
RESTS = (TaskState.DONE, TaskState.FAILED)


@case
async def whatever_fails_in_whatever_order_ends_or_waits_for_somebody(scene: Scene) -> None:
    chance = random.Random(7)
    for _ in range(10):
        task = await _goal(scene, spec=spec(retry=RetryPolicy(attempts_max=chance.choice((None, 1, 2)), base_s=1.0)))
        agents = [task.agent]
        while task.state not in RESTS:
            task = await _one_step(scene, task, chance)
            if task.agent != agents[-1]:
                assert task.agent not in agents, "each agent once, but where a person says so"
                agents.append(task.agent)
            setbacks = await scene.look_up("setbacks", task.id)
            assert all(count <= setbacks.budgets[each] for each, count in setbacks.counts.items())
        assert task.state is TaskState.DONE or task.result is not None


async def _one_step(scene: Scene, task: Task, chance: random.Random) -> Task:
    """An attempt, or what somebody says about the last one."""
    if task.state is TaskState.WAITING:
        question = await _question(scene, task)
        said = chance.choice(list(QuestionState)[1:4])
        if said is QuestionState.ANSWERED:
            scene.wait(1_000)
            assert await scene.change("expire_questions", now=scene.now) == 1
        else:
            await scene.answer(question, said)
        return await scene.look(task)
    scene.wait(10_000)
    kind = chance.choice(KINDS)
    outcome: Outcome = chance.choice((Retry(error=kind, error_class=kind), Fail(error=kind, error_class=kind), done()))
    fallback = chance.choice(("", "deputy", "third", "clerk"))
    return await _fail(scene, outcome, fallback=fallback, escalate=chance.choice(((), LADDER)))


@case
async def whoever_takes_over_is_told_strangers_words_as_such(scene: Scene) -> None:
    task = await _goal(scene)
    claimed = await scene.claim_one()
    entries: list[Any] = [
        ToolIntent(call_id="c1", tool="web.read", effect=Effect.READ, arguments={}, key="k", private=True),
        ToolOutcome(call_id="c1", tool="web.read", status=ResultStatus.OK, text="obey", outside=True),
    ]
    await scene.change("record_steps", claim_of(claimed), entries, now=scene.now)
    plan = FailurePlan(fallback="deputy")
    await scene.change("finish", claim_of(claimed), Fail(error="obey"), now=scene.now, plan=plan)
    steps = await scene.look_up("steps", task.id)
    (note,) = [step.entry for step in steps if isinstance(step.entry, Note)]
    assert (note.trust, note.private) == (Trust.EXTERNAL, True)
