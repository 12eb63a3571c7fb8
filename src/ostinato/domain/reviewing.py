"""A task under review: whose verdict it waits for, and the question that a person is asked about it.

Knows nothing of stores or of how a reviewer works; the terms of reviews are in `review`.
"""

from __future__ import annotations

from ostinato.domain.question import NewQuestion, QuestionKind
from ostinato.domain.task import Task, TaskResult, TaskState

RESULT_SHOWN = 4_000
"""Characters of a result that stand in the question whether it is accepted; all of it is in the task."""


def is_reviewed_by(task: Task, reviewer: Task) -> bool:
    """True where a task waits for the verdict of this very task."""
    waits = task.wait is not None and reviewer.name in task.wait.refs
    return task.state is TaskState.REVIEW and reviewer.spec.reviews == task.id and waits


def review_question(task: Task, result: TaskResult, *, why: str) -> NewQuestion:
    """The question whether a result is accepted. Whoever asked for the work decides only where nobody else could."""
    text = result.text if len(result.text) <= RESULT_SHOWN else f"{result.text[:RESULT_SHOWN]} [...]"
    return NewQuestion(
        kind=QuestionKind.REVIEW,
        text=f"Is the result of {task.name} ({task.title}) accepted?\n{text}",
        agent=task.agent or "runtime",
        task=task.id,
        session=task.session or "",
        reason=why,
        trust=result.trust,
        requesters=(task.spec.requester,) if task.spec.requester not in ("", "operator") else (),
    )
