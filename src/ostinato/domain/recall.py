"""Answers from what was found out before: which tasks are the same question, and whose result may answer another.

A result is kept only of a turn that has done nothing but read: whoever is answered from it has done nothing at all, and
nothing may be missing. Knows nothing of stores.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping

from ostinato.domain.message import task_session
from ostinato.domain.step import (
    Compacted,
    CompactionIntent,
    Decision,
    Effect,
    Entry,
    Input,
    Judged,
    ModelAnswer,
    ModelIntent,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.task import Task, TaskKind
from ostinato.domain.values import Value, digest_of, to_json

_HARMLESS = frozenset({ResultStatus.OK, ResultStatus.ERROR, ResultStatus.INVALID})


class Surroundings(Value):
    """What an answer depends on beside the question: who answers, by which files, model and tools."""

    agent: str
    files: Mapping[str, str]
    """Name -> digest of the agent's files; daily notes are not among them."""
    model: str
    effort: str | None = None
    tools: str = ""
    """Digest of what the model is told of its tools."""


def is_recallable(task: Task) -> bool:
    """True for a goal that is asked once, in a session of its own."""
    own = task.session == task_session(task.id)
    return task.kind is TaskKind.GOAL and own and not task.steps and task.spec.reviews is None


def recall_key(task: Task, around: Surroundings) -> str:
    """The same for tasks that ask the same in the same surroundings, on behalf of the same: what one may be told,
    another may not."""
    spec = task.spec
    asked = (
        spec.goal or task.title,
        spec.input,
        [each.digest for each in spec.attachments],
        spec.requester,
        spec.created_by,
        spec.trust,
        spec.private,
        spec.within,
        spec.tools,
    )
    return digest_of(to_json((asked, around)))


def may_answer_others(journal: Iterable[Entry], is_outward: Callable[[str], bool]) -> bool:
    """True where a turn has done nothing but think and read: nothing that reached or changed anything, no word from
    anybody on its way. `is_outward` knows tools by name."""
    for entry in journal:
        match entry:
            case Input(messages=messages) if messages:
                return False
            case ToolIntent(effect=effect, tool=tool) if effect is not Effect.READ or is_outward(tool):
                return False
            case ToolOutcome(status=status) if status not in _HARMLESS:
                return False
            case Judged(decision=decision) if decision is not Decision.ALLOW:
                return False
            case (
                Input()
                | ToolIntent()
                | ToolOutcome()
                | Judged()
                | ModelIntent()
                | ModelAnswer()
                | Compacted()
                | CompactionIntent()
            ):
                pass
            case _:
                return False
    return True
