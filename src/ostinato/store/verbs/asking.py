"""Asking: a question is kept once for each call that it is about.

Knows nothing of answers.
"""

from __future__ import annotations

from ostinato.domain.event import EventName
from ostinato.domain.question import NewQuestion, Question, QuestionState, next_call_at
from ostinato.domain.values import Instant
from ostinato.store.verbs import rows
from ostinato.store.verbs.moves import MoveVerbs


class AskVerbs(MoveVerbs):
    """One verb: ask."""

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
