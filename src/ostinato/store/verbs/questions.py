"""Questions: asked once, settled once, and what the decision sets off in the same commit."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.event import EventName
from ostinato.domain.message import NewMessage
from ostinato.domain.question import (
    Answer,
    Question,
    QuestionKind,
    QuestionState,
    agent_of_answer,
    asked_by,
    check_answer,
    next_call_at,
)
from ostinato.domain.step import Answered
from ostinato.domain.task import NewTask, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import Instant, Source
from ostinato.store.verbs import rows
from ostinato.store.verbs.claims import ClaimVerbs

DECISIONS = {
    QuestionState.ALLOWED: "allow",
    QuestionState.DENIED: "deny",
    QuestionState.EXPIRED: "expired",
    QuestionState.WITHDRAWN: "withdrawn",
    QuestionState.ANSWERED: "answered",
}
"""How the journal words a decision."""


class QuestionVerbs(ClaimVerbs):
    """Answering, and what no answer sets off."""

    def answer(self, question: int, answer: Answer, *, now: Instant) -> Question:
        """Settles a question, once, with all that the decision sets off."""
        asked = self.question(question)
        check_answer(asked, answer, now=now)
        if asked.kind is QuestionKind.FAILURE and answer.state is QuestionState.ANSWERED:
            agent_of_answer(answer.text)  # raises before anything is written
        settled = replace(
            asked,
            state=answer.state,
            decided_at=now,
            decided_by=answer.by,
            answer=answer.text,
            arguments=answer.arguments,
            edited_bound=answer.bound,
        )
        self._db.do(
            "settle_question",
            id=question,
            state=answer.state.value,
            by=answer.by,
            answer=answer.text,
            arguments=rows.to_text_or_none(answer.arguments),
            bound=rows.to_text_or_none(answer.bound),
            now=now,
        )
        self._total("questions", -1)
        self._tell(
            EventName.QUESTION_SETTLED,
            now=now,
            task=asked.task,
            agent=asked.agent,
            session=asked.session,
            actor=answer.by,
            reason=answer.text,
            data={"question": question, "state": answer.state.value, "edited": answer.arguments is not None},
        )
        if asked.budget is not None:
            self._settle_budget(settled, asked.budget, now=now)
        elif asked.stored:
            self._settle_stored(settled, now=now)
        else:
            self._settle_in_journal(settled, now=now)
        return settled

    def _settle_in_journal(self, settled: Question, *, now: Instant) -> None:
        kept = self._kept(settled.task)
        if settled.kind is QuestionKind.FAILURE:
            self._decide_failure(kept, settled, now=now)
            return
        entry = Answered(
            question=settled.id,
            decision=DECISIONS[settled.state],
            by=settled.decided_by,
            call_id=settled.call_id,
            text=settled.answer,
            arguments=settled.arguments,
            bound=settled.edited_bound,
        )
        kept = self._append_steps(kept, [entry], now=now)
        if kept.task.state is TaskState.WAITING:
            reason = f"{settled.name} is {settled.state.value}"
            self._move(kept, TaskEvent.WAKE, actor=settled.decided_by, reason=reason, now=now)

    def _settle_stored(self, settled: Question, *, now: Instant) -> None:
        """The turn that asked went on without an answer: the runtime acts itself, or the session is told."""
        if settled.state is QuestionState.ALLOWED and settled.action is not None:
            self.add_task(self._performance(settled), now=now, actor=settled.decided_by)
            return
        said = f": {settled.answer}" if settled.answer else ""
        what = f" ({settled.text})" if settled.text else ""
        notice = NewMessage(
            source=Source.ANSWER,
            text=f"{settled.name}{what}: {settled.state.value} by {settled.decided_by}{said}",
            sender=settled.decided_by,
            requester=settled.decided_by,
            causes=(settled.name,),
            client_id=f"question:{settled.id}",
        )
        session = self._session_row(settled.session)
        self.append_message(settled.session, notice, agent=session.agent if session else settled.agent, now=now)

    def _performance(self, settled: Question) -> NewTask:
        """The task that performs a stored action, once: its key is the question's."""
        action = settled.action
        assert action is not None
        arguments = action.arguments if settled.arguments is None else settled.arguments
        spec = TaskSpec(
            goal=settled.text,
            input={
                "tool": action.tool,
                "arguments": arguments,
                "question": settled.id,
                "session": settled.session,
            },
            requester=settled.decided_by,
            trust=settled.trust,
            trigger=Source.ANSWER,
            causes=(f"T{settled.task}", settled.name),
            deliver=f"session:{settled.session}",
        )
        title = f"{action.tool}, allowed by {settled.decided_by} ({settled.name})"
        return NewTask(kind=TaskKind.DELIVERY, title=title, spec=spec, agent=action.agent, key=f"question:{settled.id}")

    def expire_questions(self, *, now: Instant, limit: int = 100) -> int:
        """Denies what nobody has answered in time; returns how many."""
        expired = self._db.all("expired_questions", now=now, limit=limit)
        for (question,) in expired:
            self.answer(question, Answer(state=QuestionState.EXPIRED, by="runtime"), now=now)
        return len(expired)

    def repeat_questions(self, *, now: Instant, limit: int = 100) -> int:
        """Asks once more what nobody has answered, and somebody else where it is time for that; returns how many."""
        due = [rows.question_of(row) for row in self._db.all("questions_to_repeat", now=now, limit=limit)]
        for asked in due:
            again_at = next_call_at(asked, created_at=asked.created_at, after=now)
            self._db.do("remind_question", id=asked.id, now=now, ask_again_at=again_at)
            whom = asked_by(asked, created_at=asked.created_at, now=now)
            self._tell(
                EventName.QUESTION_ESCALATED if len(whom) > 1 else EventName.QUESTION_REMINDED,
                now=now,
                task=asked.task,
                agent=asked.agent,
                session=asked.session,
                data={"question": asked.id, "to": whom[-1]},
            )
        return len(due)
