"""What follows a failed attempt: another try, another agent, a question to people, or the end; and what they say.

Which of these it is, `domain.failure` decides; here it is written, in the commit that ends the attempt. Knows nothing
of agents' files: what they say comes in as a plan.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

from msgspec.structs import replace

from ostinato.domain.errors import Conflict
from ostinato.domain.escalation import all_s, later_of
from ostinato.domain.failure import (
    AskPeople,
    Facts,
    FailurePlan,
    GiveUp,
    HandOver,
    Setback,
    Setbacks,
    TryAgain,
    budget_of,
    handover_note,
    next_step,
)
from ostinato.domain.message import OWN_KINDS, kind_of
from ostinato.domain.question import NewQuestion, Question, QuestionKind, QuestionState, agent_of_answer
from ostinato.domain.retry import FailureClass, class_of
from ostinato.domain.step import Effect, Entry, ResultStatus, Step, is_private, is_tainted, sent_on
from ostinato.domain.task import Fail, Retry, Task, TaskEvent, TaskKind, TaskResult, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant, Trust
from ostinato.store.port import QuestionFilter
from ostinato.store.verbs import rows
from ostinato.store.verbs.asking import AskVerbs
from ostinato.store.verbs.moves import begun_anew, effects_of, told_anew
from ostinato.store.verbs.rows import Kept

_ASKED_ABOUT = frozenset({TaskKind.GOAL, TaskKind.TURN, TaskKind.STAGE, TaskKind.RUN})
"""What a person can say something about; letters and processes are dead letters."""

ASKED_MAX = 100
"""Questions about failures of one agent that are looked at for one about the same session."""

ERROR_MAX = 300
"""Characters of an error that a question repeats."""


class FailureVerbs(AskVerbs):
    """The ends of attempts that went wrong."""

    def _fail(self, kept: Kept, outcome: Retry | Fail, *, plan: FailurePlan, now: Instant, chance: float) -> Kept:
        """Moves the task as its failure wants it, and ends the attempt."""
        task, kind = kept.task, outcome.error_class
        failure = class_of(kind)
        setback = Setback(
            attempt=task.token, agent=task.agent or "", failure=failure, kind=kind, error=outcome.error, at=now
        )
        setbacks = self.setbacks(task.id).after(setback, budget=budget_of(kind, task.spec.retry, plan))
        if task.kind not in _ASKED_ABOUT:
            plan = replace(plan, escalate=())
        journal = self.steps(task.id) if plan.fallback or failure is FailureClass.INVALID_OUTPUT else []
        facts = Facts(is_final=isinstance(outcome, Fail), is_alone=_is_alone(task), deeds=_deeds_of(journal))
        step = next_step(
            kind,
            count=setbacks.counts[failure],
            own=task.spec.retry,
            plan=plan,
            facts=facts,
            tried=(*setbacks.tried, task.agent or ""),
            chance=chance,
            asked_s=outcome.after_s if isinstance(outcome, Retry) else None,
        )
        self._end_attempt(task, "retry" if isinstance(step, TryAgain) else "fail", error=outcome.error, now=now)
        data = {"failures": task.failures + 1, "class": failure.value}
        match step:
            case TryAgain():
                self._keep_setbacks(task.id, setbacks)
                return self._try_again(kept, step, error=outcome.error, data=data, now=now)
            case HandOver(agent=agent):
                return self._hand_over(kept, TaskEvent.RETRY, agent, setbacks=setbacks, by="runtime", now=now)
            case AskPeople():
                self._keep_setbacks(task.id, setbacks)
                return self._ask_people(kept, step, setbacks, data=data, now=now)
            case GiveUp():
                self._keep_setbacks(task.id, setbacks)
                return self._give_up(kept, step, outcome, setbacks=setbacks, data=data, now=now)
            case _:
                assert_never(step)

    def _give_up(
        self, kept: Kept, step: GiveUp, outcome: Retry | Fail, *, setbacks: Setbacks, data: dict[str, Any], now: Instant
    ) -> Kept:
        """A dead letter, and all that follows; beside it somebody is asked, where its files say whom."""
        task, error = kept.task, outcome.error
        moved = self._move(
            kept, TaskEvent.FAIL, now=now, losses=0, failures=task.failures + 1, data=data,
            result=self._failure(task, error, outcome.error_class),
            reason=f"{error}; {step.why_not}" if step.why_not else error,
        )  # fmt: skip
        self._end(moved, now=now)
        if step.rungs and not self._is_asked_about(task):
            said = (
                f"A turn of the session {task.session!r} has failed, and the session goes on:",
                "Try it again, or leave it as it is?",
            )
            self.ask(self._question(moved.task, step, setbacks, said=said, now=now), now=now)
        return moved

    def _is_asked_about(self, task: Task) -> bool:
        """True where somebody is asked about another failure of the same session: a heartbeat that fails every quarter
        of an hour is one question."""
        which = QuestionFilter(kind=QuestionKind.FAILURE, agent=task.agent)
        return any(each.session == task.session for each in self.questions(which, limit=ASKED_MAX))

    def _note_setback(self, task: Task, error: str, kind: str, *, now: Instant) -> None:
        """Remembers an end that no attempt has told of."""
        setback = Setback(
            attempt=task.token, agent=task.agent or "", failure=class_of(kind), kind=kind, error=error, at=now
        )
        self._keep_setbacks(task.id, self.setbacks(task.id).after(setback, budget=1))

    def _try_again(self, kept: Kept, step: TryAgain, *, error: str, data: dict[str, Any], now: Instant) -> Kept:
        failures = kept.task.failures + 1
        due_at, data = now + round(step.delay_s * SECOND), {**data, "delay_s": round(step.delay_s, 3)}
        if not step.fresh:
            return self._move(
                kept, TaskEvent.RETRY, now=now, losses=0, failures=failures, reason=error, due_at=due_at, data=data
            )
        return self._begin_anew(
            kept, TaskEvent.RETRY, reason=error, notes=(), now=now, due_at=due_at, failures=failures, data=data
        )

    def _begin_anew(
        self, kept: Kept, event: TaskEvent, *, reason: str, notes: Sequence[Entry], now: Instant, **more: Any
    ) -> Kept:
        """The same task with a new journal, which is told what the old one did."""
        task, journal = kept.task, self.steps(kept.task.id)
        self._release_reserved(task, now=now)
        self._withdraw_questions(task.id, now=now)
        self._withdraw_stored(task.id, now=now)
        moved = self._move(
            kept, event, now=now, losses=0, journal=task.journal + 1, steps=0, reason=reason, **more
        )  # fmt: skip
        return self._append_steps(moved, [*begun_anew(journal, effects_of(journal)), *notes], now=now)

    def _hand_over(
        self, kept: Kept, event: TaskEvent, agent: str, *, setbacks: Setbacks, by: str, now: Instant
    ) -> Kept:
        """To another agent, in this commit: it begins anew, and reads what failed."""
        before = kept.task.agent or ""
        self._keep_setbacks(kept.task.id, setbacks.anew(without=before))
        note = told_anew(self.steps(kept.task.id), handover_note(setbacks, agent=before), by=by)
        last = setbacks.told[-1].error if setbacks.told else kept.task.reason
        moved = self._begin_anew(
            kept, event, reason=f"{before} gave up, {agent} takes over: {last}", notes=[note], now=now, failures=0,
            data={"from": before, "to": agent}, actor=by,
        )  # fmt: skip
        self._change(moved, {"agent": agent}, actor=by, now=now)
        return self._kept(moved.task.id)

    def _ask_people(
        self, kept: Kept, step: AskPeople, setbacks: Setbacks, *, data: dict[str, Any], now: Instant
    ) -> Kept:
        """Parks until somebody says what is to become of it."""
        task, last = kept.task, setbacks.told[-1]
        said = f"{task.title!r} has failed:", "Try again, give it to another agent, or give it up?"
        question = self.ask(self._question(task, step, setbacks, said=said, now=now), now=now)
        return self._move(
            kept, TaskEvent.PARK, now=now, losses=0, failures=task.failures + 1, data=data,
            wait=Wait(kind=WaitKind.QUESTION, refs=(question.name,)), reason=f"waits for {question.name}: {last.error}",
        )  # fmt: skip

    def _question(
        self, task: Task, step: AskPeople | GiveUp, setbacks: Setbacks, *, said: tuple[str, str], now: Instant
    ) -> NewQuestion:
        """What people are asked about a failure: its words stand between what is `said`."""
        last = setbacks.told[-1]
        error = rows.shortened(last.error, ERROR_MAX)
        tries = len([each for each in setbacks.told if each.agent == last.agent])
        return NewQuestion(
            kind=QuestionKind.FAILURE,
            text=f"{said[0]} {error} {said[1]}",
            agent=task.agent or "runtime",
            task=task.id,
            session=task.session or "",
            reason=f"{last.failure.value}, after {tries} failed {'attempt' if tries == 1 else 'attempts'}"
            + (f"; {step.why_not}" if step.why_not else ""),
            rule="escalate",
            ask=step.rungs[0].to,
            later=later_of(step.rungs),
            expires_at=now + round(all_s(step.rungs) * SECOND),
            trust=self._failure(task, error, last.kind).trust if task.steps else task.spec.trust,
        )

    def _decide_failure(self, kept: Kept, settled: Question, *, now: Instant) -> None:
        """Somebody has said what becomes of a failed task, or nobody has in time."""
        task, by = kept.task, settled.decided_by
        setbacks = self.setbacks(task.id)
        agent = agent_of_answer(settled.answer) if settled.state is QuestionState.ANSWERED else ""
        gives_up = settled.state in (QuestionState.DENIED, QuestionState.EXPIRED) or agent is None
        if task.state is TaskState.FAILED and not task.dismissed:
            self._decide_beside(task, settled, agent=agent, gives_up=gives_up, now=now)
        if task.state is not TaskState.WAITING:
            return
        if gives_up:
            last = setbacks.told[-1]
            who = "nobody answered" if settled.state is QuestionState.EXPIRED else f"{by} gave it up"
            why = f": {settled.answer}" if settled.answer and agent is not None else ""
            result = self._failure(task, last.error, last.kind)
            reason = f"{last.error}; {who} ({settled.name}){why}"
            self._end(self._move(kept, TaskEvent.FAIL, actor=by, result=result, reason=reason, now=now), now=now)
        elif agent and agent != task.agent:
            self._hand_over(kept, TaskEvent.WAKE, agent, setbacks=setbacks, by=by, now=now)
        else:
            self._keep_setbacks(task.id, setbacks.anew())
            said = settled.answer if settled.state is QuestionState.ALLOWED else ""
            reason = f"{by} sends it on ({settled.name})"
            moved = self._move(kept, TaskEvent.WAKE, actor=by, reason=reason, failures=0, now=now)
            self._release_reserved(task, now=now)  # what it has held all the time counts for the day of this decision
            self._reserve_again(task, self.steps(task.id), now=now)
            self._append_steps(moved, [sent_on(by=by, reason=said)], now=now)

    def _decide_beside(self, task: Task, settled: Question, *, agent: str | None, gives_up: bool, now: Instant) -> None:
        """The same about what has ended long since, because its session goes on. Where nobody has answered, it stays
        the dead letter that it is."""
        by = settled.decided_by
        if settled.state is QuestionState.EXPIRED:
            return
        if gives_up:
            why = f": {settled.answer}" if settled.answer and agent is not None else ""
            reason = f"{by} left it as it is ({settled.name}){why}"
            self.move_task(task.id, TaskEvent.DISMISS, actor=by, reason=reason, now=now)
        elif agent and agent != task.agent:
            raise Conflict(
                f"{task.name} belongs to the session {task.session!r} of {task.agent}, which {agent} cannot read",
                cure=f"Try it again ('retry'), leave it ('give up'), or add a task for {agent}.",
            )
        else:
            self.retry_task(task.id, fresh=False, actor=by, reason=f"sent on by {settled.name}", now=now)

    def _failure(self, task: Task, error: str, error_class: str) -> TaskResult:
        """What a task failed with; it has read no less for that."""
        entries = [step.entry for step in self.steps(task.id)] if task.steps else []
        trust = Trust.EXTERNAL if is_tainted(entries) else Trust.OPERATOR
        return TaskResult(error=error, error_class=error_class, trust=trust, private=is_private(entries))


def _is_alone(task: Task) -> bool:
    """True for a task with a session of its own, or none: neither another agent nor a wait disturbs anybody."""
    if task.session and kind_of(task.session) not in OWN_KINDS:
        return False
    return task.kind in (TaskKind.GOAL, TaskKind.STAGE, TaskKind.RUN)


def _deeds_of(journal: Sequence[Step]) -> str:
    """What a journal did that cannot be undone, or that nobody knows of, in words."""
    for intent, outcome in effects_of(list(journal)):
        if outcome is None or outcome.status is ResultStatus.UNKNOWN:
            return f"nobody knows whether {intent.tool} has happened"
        if intent.effect is Effect.IRREVERSIBLE:
            return f"{intent.tool} cannot be undone"
    return ""
