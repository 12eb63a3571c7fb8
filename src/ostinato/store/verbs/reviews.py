"""Reviews: a verdict about a result that waits for one, and all that it sets off, in one commit.

A task in review always waits for something named: the task of its reviewer, or a question that a person decides. Where
the reviewer ends without a word, a person is asked. Knows nothing of how a reviewer works.
"""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.question import Question, QuestionKind, QuestionState
from ostinato.domain.review import last_submitted, rejections, verdict_in
from ostinato.domain.reviewing import is_reviewed_by, review_question
from ostinato.domain.step import Reviewed, Submitted
from ostinato.domain.task import Task, TaskEvent, TaskResult, TaskState, Wait, WaitKind, next_state
from ostinato.domain.values import Instant, Trust
from ostinato.store.verbs import rows
from ostinato.store.verbs.questions import QuestionVerbs
from ostinato.store.verbs.rows import Kept

WORDS_SHOWN = 200
"""Of what a reviewer said that gave no verdict."""

REVIEW_ERROR = "review"
"""Class of the failure of a task whose result nobody accepted."""


class ReviewVerbs(QuestionVerbs):
    """Deciding about results."""

    def move_task(self, task: int, event: TaskEvent, *, actor: str, reason: str = "", now: Instant) -> Task:
        """The same; accepting and returning are verdicts."""
        if event not in (TaskEvent.ACCEPT, TaskEvent.RETURN):
            return super().move_task(task, event, actor=actor, reason=reason, now=now)
        return self.review_task(task, Reviewed(accepted=event is TaskEvent.ACCEPT, by=actor, notes=reason), now=now)

    def review_task(self, task: int, verdict: Reviewed, *, now: Instant) -> Task:
        """Accepts a result, or returns it with notes; the last rejection fails the task."""
        kept = self._kept(task)
        next_state(kept.task.state, TaskEvent.ACCEPT if verdict.accepted else TaskEvent.RETURN, task=kept.task.name)
        kept = self._append_steps(kept, [verdict], now=now)
        self._withdraw_questions(task, now=now)
        moved = self._apply_verdict(kept, verdict, now=now)
        self._end_reviewers(moved, verdict, now=now)
        return self._kept(task).task

    def _apply_verdict(self, kept: Kept, verdict: Reviewed, *, now: Instant) -> Task:
        by, notes = verdict.by, verdict.notes if verdict.trust is Trust.OPERATOR else ""
        if verdict.accepted:
            self._release_reserved(kept.task, now=now)
            return self._move_and_end(kept, TaskEvent.ACCEPT, actor=by, reason=notes, now=now)
        journal = [step.entry for step in self.steps(kept.task.id)]
        submitted, rejected = last_submitted(journal), rejections(journal)
        if submitted is None:
            return self._move(kept, TaskEvent.RETURN, actor=by, reason=notes, now=now).task
        if rejected < submitted.rounds:
            words = f"rejected by {by}, {rejected} of {submitted.rounds}{f': {notes}' if notes else ''}"
            return self._move(kept, TaskEvent.RETURN, actor=by, reason=rows.shortened(words), now=now).task
        why = f"its result was rejected {rejected} times, the last time by {by}"
        return self._fail_review(kept, why, verdict=verdict, now=now)

    def _fail_review(self, kept: Kept, why: str, *, verdict: Reviewed, now: Instant) -> Task:
        """The result stays to be seen, with what is wrong with it; whoever reads that reads the notes."""
        result = kept.task.result or TaskResult()
        outside = Trust.EXTERNAL in (result.trust, verdict.trust)
        result = replace(
            result,
            error=f"{why}: {verdict.notes}" if verdict.notes else why,
            error_class=REVIEW_ERROR,
            trust=Trust.EXTERNAL if outside else result.trust,
            private=result.private or verdict.private,
        )
        moved = self._move(kept, TaskEvent.FAIL, actor=verdict.by, reason=why, result=result, now=now)
        self._end(moved, now=now)
        return moved.task

    def _end_reviewers(self, reviewed: Task, verdict: Reviewed, *, now: Instant) -> None:
        """Whoever else was asked need not decide any more. The task has moved on before: none of them is missed."""
        for row in self._db.all("unfinished_children", parent=reviewed.id):
            child = rows.kept_of(row)
            if child.task.spec.reviews == reviewed.id and child.task.id != verdict.task:
                why = f"{verdict.by} has decided about {reviewed.name}"
                self._move_and_end(child, TaskEvent.CANCEL, actor=verdict.by, reason=why, now=now)

    def _settle_in_journal(self, settled: Question, *, now: Instant) -> None:
        """The same; a person's word about a result is a verdict."""
        if settled.kind is not QuestionKind.REVIEW:
            super()._settle_in_journal(settled, now=now)
            return
        kept = self._kept(settled.task)
        if kept.task.state is not TaskState.REVIEW:
            return
        if settled.state is QuestionState.EXPIRED:
            verdict = Reviewed(accepted=False, by=settled.decided_by)
            self._fail_review(kept, "nobody reviewed its result in time", verdict=verdict, now=now)
            return
        accepted = settled.state is QuestionState.ALLOWED
        verdict = Reviewed(accepted=accepted, by=settled.decided_by, notes=settled.answer)
        self.review_task(settled.task, verdict, now=now)

    def _end_alone(self, kept: Kept, *, now: Instant) -> list[int]:
        """The same; a reviewer that ends leaves its verdict, or a question for a person."""
        followers = super()._end_alone(kept, now=now)
        if kept.task.spec.reviews is not None:
            self._reviewer_ended(kept.task, now=now)
        return followers

    def _reviewer_ended(self, reviewer: Task, *, now: Instant) -> None:
        reviewed = self._kept_or_none(reviewer.spec.reviews or 0)
        if reviewed is None or not is_reviewed_by(reviewed.task, reviewer):
            return
        result = reviewer.result or TaskResult()
        said = verdict_in(result.text, result.data) if reviewer.state is TaskState.DONE else None
        if said is not None and reviewer.agent != reviewed.task.agent:
            verdict = Reviewed(
                accepted=said[0],
                by=reviewer.agent or "runtime",
                notes=said[1],
                task=reviewer.id,
                trust=Trust.EXTERNAL if result.trust is Trust.EXTERNAL else Trust.AGENT,
                private=result.private,
            )
            self.review_task(reviewed.task.id, verdict, now=now)
            return
        how = f"is {reviewer.state.value}"
        if reviewer.state is TaskState.DONE:
            how = f"ended without a verdict: {result.text[:WORDS_SHOWN]}" if result.text else "ended without a verdict"
        self._ask_instead(reviewed, why=f"{reviewer.name}, which was to review it, {how}", now=now)

    def _ask_instead(self, kept: Kept, *, why: str, now: Instant) -> None:
        """A person decides where nobody else could; the task stays in review."""
        question = self.ask(review_question(kept.task, kept.task.result or TaskResult(), why=why), now=now)
        before = last_submitted([step.entry for step in self.steps(kept.task.id)])
        entry = Submitted(
            round=before.round if before else 1,
            by=question.ask,
            rounds=before.rounds if before else 1,
            question=question.id,
            why=why,
        )
        kept = self._append_steps(self._kept(kept.task.id), [entry], now=now)
        wait = Wait(kind=WaitKind.QUESTION, refs=(question.name,))
        self._db.do("await_instead", id=kept.task.id, wait=rows.to_text(wait), reason=why, now=now)
        self._memory.tasks.pop(kept.task.id, None)
