"""What the rules of a fleet's file can ask of a task, and which of them holds first.

Knows nothing of what a rule decides: a model (`domain.model_choice`) or an agent (`domain.routing_rule`).
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

from ostinato.domain.condition import CompiledCondition, Kind
from ostinato.domain.errors import Invalid
from ostinato.domain.task import NewTask, Task

RULE_VARIABLES: dict[str, Kind] = {
    "agent": str,
    "task": {
        "kind": str,
        "title": str,
        "goal": str,
        "type": str,
        "project": str,
        "skills": list,
        "priority": int,
        "depth": int,
        "failures": int,
    },
    "created_by": str,
    "trigger": str,
    "requester": str,
    "trust": str,
}
"""What a rule can ask about. A task that nobody has yet has the agent ''."""


class TaskRule(Protocol):
    """A rule with a condition and a place."""

    @property
    def when(self) -> CompiledCondition:
        """Over `RULE_VARIABLES`."""

    @property
    def place(self) -> str:
        """Where it stands, for messages."""


_Rule = TypeVar("_Rule", bound=TaskRule)


def holding(task: NewTask | Task, rules: Sequence[_Rule], *, missed: list[str]) -> Iterator[_Rule]:
    """The rules that hold, in their order, judged one by one as they are asked for. One that cannot be judged misses,
    and is told in `missed`. Never raises."""
    facts = _facts_of(task) if rules else {}
    for rule in rules:
        try:
            holds = rule.when(facts)
        except Invalid as error:
            missed.append(f"{rule.place}: {error.message}")
            continue
        if holds:
            yield rule


def _facts_of(task: NewTask | Task) -> Mapping[str, Any]:
    spec = task.spec
    return {
        "agent": task.agent or "",
        "task": {
            "kind": task.kind.value,
            "title": task.title,
            "goal": spec.goal,
            "type": task.type,
            "project": task.project,
            "skills": list(spec.skills),
            "priority": task.priority,
            "depth": task.depth,
            "failures": task.failures if isinstance(task, Task) else 0,
        },
        "created_by": spec.created_by,
        "trigger": spec.trigger.value,
        "requester": spec.requester,
        "trust": spec.trust.value,
    }
