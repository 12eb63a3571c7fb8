"""Questions: asked once, settled once, and what the decision sets off in the same commit."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.event import EventName
from ostinato.domain.message import NewMessage
from ostinato.domain.question import (
    Answer,
    NewQuestion,
    Question,
    QuestionState,
    check_answer,
    is_escalated,
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
    """Asking and answering."""

    def ask(self, new: NewQuestion, *, now: Instant) -> Question:
        """A new question, or the pending one about the same call."""
        kept = self._kept(new.task)
        if new.call_id:
            known = self._db.one("question_of_call", task=new.task, call_id=new.call_id)
            if known is not None:
                return rows.question_of(known)
        question_id = self._db.next_id("questions")
        self._db.do(
            "add_question",
            id=question_id,
            kind=new.kind.value,
            agent=new.agent,
            task=new.task,
            session=new.session,
            call_id=new.call_id,
            stored=new.stored,
            now=now,
            expires_at=new.expires_at,
            ask_again_at=next_call_at(new, created_at=now, after=now),
            body=rows.to_text(new),
        )
        if new.budget is not None:
            self._db.do("ask_account", scope=new.budget.scope, day=new.budget.day, question=question_id)
        if not new.stored and self._memory.asking is not None:
            self._memory.asking.add(new.task)
        self._total("questions", 1)
        self._tell_of(
            kept.task,
            EventName.QUESTION_ASKED,
            now=now,
            actor=new.agent,
            reason=new.reason,
            data={"question": question_id, "kind": new.kind.value},
        )
        return rows.question_from(new, id=question_id, state=QuestionState.PENDING, created_at=now)

    def answer(self, question: int, answer: Answer, *, now: Instant) -> Question:
        """Settles a question, once, with all that the decision sets off."""
        asked = self.question(question)
        check_answer(asked, answer, now=now)
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
            escalated = is_escalated(asked, created_at=asked.created_at, now=now)
            self._tell(
                EventName.QUESTION_ESCALATED if escalated else EventName.QUESTION_REMINDED,
                now=now,
                task=asked.task,
                agent=asked.agent,
                session=asked.session,
                data={"question": asked.id, "to": asked.escalate if escalated else asked.ask},
            )
        return len(due)
