"""Which model a turn wants: what its task says, else the first rule of the fleet that holds, else what its agent says.

Which of the models behind a tier is asked in the end depends on who can be had, and is not decided here. Knows nothing
of models, prices or breakers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.condition import CompiledCondition
from ostinato.domain.step import Chosen
from ostinato.domain.task import Task
from ostinato.domain.task_rule import holding
from ostinato.domain.values import Value


class ModelRule(Value):
    """One rule of the fleet's file: where the condition holds, this tier or model is wanted."""

    when: CompiledCondition
    tier: str
    effort: str | None = None
    place: str = ""
    """Where it stands, for messages."""


class Wish(Value):
    """What a turn wants, and why."""

    wanted: str | None = None
    """A tier or model; None: the fleet's default."""
    effort: str | None = None
    """Reasoning effort; None: the model's own."""
    chosen: Chosen = Chosen.ASKED
    why: str = ""
    missed: tuple[str, ...] = ()
    """Rules that could not be judged, each with what went wrong."""


def wish_of(task: Task, *, model: str | None, effort: str | None, rules: Sequence[ModelRule] = ()) -> Wish:
    """What a task's turn wants. `model` and `effort` are its agent's. A rule that cannot be judged misses. Never
    raises."""
    effort = task.spec.effort or effort
    if task.spec.model is not None or not rules:
        return Wish(wanted=task.spec.model or model, effort=effort)
    missed: list[str] = []
    for rule in holding(task, rules, missed=missed):
        return Wish(
            wanted=rule.tier,
            effort=task.spec.effort or rule.effort or effort,
            chosen=Chosen.RULE,
            why=rule.when.text,
            missed=tuple(missed),
        )
    return Wish(wanted=model, effort=effort, missed=tuple(missed))
