"""What has failed in a task, as people read it: each failed attempt with its class, how much of each budget is used up,
who has given up, and what comes next.

Knows nothing of screens.
"""

from __future__ import annotations

from ostinato.domain.event import EventName
from ostinato.domain.failure import Setback, Setbacks
from ostinato.domain.question import QuestionKind
from ostinato.domain.retry import FailureClass
from ostinato.domain.task import Task, TaskState
from ostinato.domain.values import SECOND
from ostinato.gateway.notation import iso
from ostinato.gateway.operation import View
from ostinato.store.port import EventFilter, QuestionFilter, Reads

EVENTS_MAX = 500
"""Retries of one task among which the last is looked for."""


class SetbackView(View):
    """One failed attempt. `failure` is its class, `kind` what it was more closely."""

    attempt: int
    agent: str
    failure: str
    kind: str
    error: str
    at: str


class FailuresView(View):
    """What has failed in a task, and what comes next."""

    setbacks: list[SetbackView]
    budgets: dict[str, str]
    """Class of failure -> `2 of 3`: failed attempts of its present agent, and how many there may be."""
    gave_up: list[str]
    """Agents that have given up, in order."""
    next: str
    """What happens now, in words; empty where nothing need."""


def failures_view(tx: Reads, task: Task) -> FailuresView | None:
    """None where nothing has failed."""
    setbacks = tx.setbacks(task.id)
    if not setbacks.told:
        return None
    return FailuresView(
        setbacks=[_setback(each) for each in setbacks.told],
        budgets={each.value: _used(setbacks, each) for each in FailureClass if setbacks.counts.get(each)},
        gave_up=list(setbacks.tried),
        next=_next(tx, task),
    )


def classes_of(tx: Reads, task: Task) -> dict[int, str]:
    """Token of each attempt that failed -> the class of its failure, and what it was more closely."""
    return {each.attempt: _class_words(each) for each in tx.setbacks(task.id).told}


def _class_words(each: Setback) -> str:
    return each.failure.value if each.kind in ("", each.failure.value) else f"{each.failure.value}, {each.kind}"


def _setback(each: Setback) -> SetbackView:
    return SetbackView(
        attempt=each.attempt, agent=each.agent, failure=each.failure.value, kind=each.kind, error=each.error,
        at=iso(each.at),
    )  # fmt: skip


def _used(setbacks: Setbacks, failure: FailureClass) -> str:
    return f"{setbacks.counts[failure]} of {setbacks.budgets.get(failure, setbacks.counts[failure])}"


def _next(tx: Reads, task: Task) -> str:
    match task.state:
        case TaskState.FAILED if not task.dismissed:
            asked = [e for e in tx.questions(QuestionFilter(task=task.id), limit=20) if e.kind is QuestionKind.FAILURE]
            if asked:
                return f"{asked[0].name} asks whether to try again, or to leave it as it is"
            return "nothing by itself: it is a dead letter until somebody retries, replays or dismisses it"
        case TaskState.WAITING if task.wait and task.wait.breakers and task.wait.until_at:
            return f"looks again {iso(task.wait.until_at)}, or once the breaker is reset"
        case TaskState.WAITING:
            asked = [e for e in tx.questions(QuestionFilter(task=task.id), limit=20) if e.kind is QuestionKind.FAILURE]
            return f"{asked[0].name} asks whether to try again, to give it to another, or to give up" if asked else ""
        case TaskState.READY if task.failures:
            which = EventFilter(task=task.id, names=frozenset({EventName.TASK_RETRIED}))
            told = tx.events(which, limit=EVENTS_MAX)
            if not told or "delay_s" not in told[-1].data:
                return "tried again"
            return f"tried again {iso(told[-1].at + round(float(told[-1].data['delay_s']) * SECOND))}"
        case TaskState.READY:
            return f"{task.agent} begins" if task.journal > 1 else "tried again"
        case _:
            return ""
