"""Reviews for people: how far one has come, and their word about a result.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.person import Role, people_of
from ostinato.domain.question import Answer, Question, QuestionKind, QuestionState, check_decider
from ostinato.domain.review import review_words
from ostinato.domain.reviewing import review_question
from ostinato.domain.step import Reviewed, Step, Submitted
from ostinato.domain.task import Task, TaskResult
from ostinato.domain.values import Instant
from ostinato.gateway.context import Caller
from ostinato.gateway.notation import iso
from ostinato.gateway.operation import View
from ostinato.store.port import QuestionFilter, Tx


class VerdictView(View):
    """What came of one round."""

    at: str
    accepted: bool
    by: str
    notes: str
    trust: str
    task: str | None
    """The reviewer's own task."""


class ReviewView(View):
    """Who reviews a result, and what was said."""

    by: str
    round: int
    """From 1; 0: nothing was handed in yet."""
    rounds: int
    """The rejection with this number fails the task."""
    waits_for: str
    """The reviewer's task, or the question that a person decides."""
    why: str
    """Why a person decides where another reviewer was wanted."""
    verdicts: list[VerdictView]


def review_view(task: Task, steps: Sequence[Step]) -> ReviewView | None:
    """How far the review of a task has come; None where none is asked for."""
    handed_in = [each.entry for each in steps if isinstance(each.entry, Submitted)]
    verdicts = [
        VerdictView(
            at=iso(each.at),
            accepted=each.entry.accepted,
            by=each.entry.by,
            notes=each.entry.notes,
            trust=each.entry.trust.value,
            task=f"T{each.entry.task}" if each.entry.task else None,
        )
        for each in steps
        if isinstance(each.entry, Reviewed)
    ]
    terms, last = task.spec.review, handed_in[-1] if handed_in else None
    if terms is None and last is None and not verdicts:
        return None
    return ReviewView(
        by=last.by if last else review_words(terms) if terms else "",
        round=last.round if last else 0,
        rounds=last.rounds if last else terms.rounds if terms else 0,
        waits_for=", ".join(task.wait.refs) if task.wait and task.state.value == "review" else "",
        why=last.why if last else "",
        verdicts=verdicts,
    )


def decide_review(tx: Tx, task: Task, caller: Caller, *, accepted: bool, notes: str, now: Instant) -> Task:
    """A person's word about a result, whoever was asked. Raises Denied for one who is not to decide it."""
    pending = tx.questions(QuestionFilter(kind=QuestionKind.REVIEW, task=task.id), limit=1)
    asked = pending[0] if pending else _as_if_asked(task, now=now)
    check_decider(asked, caller.name, Role(caller.role), people=people_of(tx.tokens()), now=now)
    if pending:
        state = QuestionState.ALLOWED if accepted else QuestionState.DENIED
        tx.answer(asked.id, Answer(state=state, by=caller.name, text=notes), now=now)
        return tx.task(task.id)
    return tx.review_task(task.id, Reviewed(accepted=accepted, by=caller.name, notes=notes), now=now)


def _as_if_asked(task: Task, *, now: Instant) -> Question:
    """What a person who overrules another reviewer decides: the same holds for them as if they had been asked."""
    new = review_question(task, task.result or TaskResult(), why="")
    return Question(
        kind=new.kind,
        text=new.text,
        agent=new.agent,
        task=new.task,
        session=new.session,
        ask=new.ask,
        requesters=new.requesters,
        id=0,
        state=QuestionState.PENDING,
        created_at=now,
    )
