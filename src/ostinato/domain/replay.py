"""Trying failed tasks anew: which ones, with what changed, how fast, and what a person must be asked about before.

Knows nothing of stores: what a replay has done so far is read from its journal.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import Any

import msgspec

from ostinato.domain.limit import Rate
from ostinato.domain.step import REPEATABLE, Effect, Entry, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import TaskSpec
from ostinato.domain.task_query import parse_query
from ostinato.domain.values import SECOND, Instant, Value, to_json

REPLAY_TOOL = "dead.replay"
"""What a step of a replay's journal is called."""

NOT_DONE = frozenset({ResultStatus.DENIED, ResultStatus.INVALID, ResultStatus.PENDING})
"""Results that say that nothing has happened."""


class Edit(Value):
    """What is asked for in other words."""

    goal: str | None = None
    input: dict[str, Any] | None = None
    """In the place of the whole input."""
    keys: dict[str, Any] = {}
    """Single keys of the input."""

    def of(self, spec: TaskSpec) -> TaskSpec:
        """What was asked, changed."""
        return msgspec.structs.replace(
            spec,
            goal=spec.goal if self.goal is None else self.goal,
            input={**(spec.input if self.input is None else self.input), **self.keys},
        )


NO_EDIT = Edit()


class Risky(enum.StrEnum):
    """What becomes of letters that have done what cannot be undone, or may have done it."""

    LEAVE = "leave"
    REPLAY = "replay"


class ReplayOrder(Value):
    """What a task of kind `replay` is to do; its `input` as JSON."""

    group: str = ""
    """A fingerprint; empty: all groups."""
    where: str = ""
    """A query that the letters answer; empty: all."""
    until_at: Instant
    """Only what had failed by then: what fails again is not tried again."""
    total: int = 0
    """Letters at the time, as far as they were counted."""
    edit: Edit = NO_EDIT
    rate: Rate | None = None
    risky: Risky = Risky.LEAVE
    actor: str = "operator"
    reason: str = ""

    def check(self) -> None:
        """Raises Invalid for a query that is not understood."""
        parse_query(self.where)


def order_of(spec: TaskSpec) -> ReplayOrder:
    """The order that a task was made with."""
    return msgspec.convert(spec.input, ReplayOrder)


def input_of(order: ReplayOrder) -> dict[str, Any]:
    """The order as a task's input."""
    found: dict[str, Any] = msgspec.json.decode(to_json(order))
    return found


class Progress(Value):
    """How far a replay has come."""

    after: int = 0
    """The last letter that was looked at: ids only grow, so that none is replayed twice."""
    replayed: int = 0
    left: int = 0
    """Letters that were not replayed: they did what cannot be undone, or something else does their work."""
    next_at: Instant = 0
    """Before this the rate lets no other be replayed."""

    def text(self, total: int) -> str:
        """In words."""
        left = f", {self.left} left as they are" if self.left else ""
        return f"replayed {self.replayed} of {max(total, self.replayed + self.left)}{left}"


def progress_of(journal: Iterable[Entry]) -> Progress:
    """How far the journal says that a replay has come."""
    found = Progress()
    for entry in journal:
        if isinstance(entry, ToolOutcome) and entry.tool == REPLAY_TOOL and entry.data is not None:
            found = msgspec.convert(entry.data, Progress)
    return found


def step_of(progress: Progress, *, total: int) -> ToolOutcome:
    """The entry that says how far it has come."""
    data: dict[str, Any] = msgspec.json.decode(to_json(progress))
    return ToolOutcome(
        call_id=f"replay:{progress.after}",
        tool=REPLAY_TOOL,
        status=ResultStatus.OK,
        text=progress.text(total),
        data=data,
    )


def spaced_at(rate: Rate, *, now: Instant) -> Instant:
    """When the next one follows: evenly, so that no span of the rate's length ever holds more than it says."""
    return now + -(-round(rate.span_s * SECOND) // rate.starts)


def beyond_recall(journal: Sequence[Entry]) -> list[ToolIntent]:
    """Calls of a journal that cannot be undone and may have happened, and those of which nobody knows."""
    outcomes = {each.call_id: each.status for each in journal if isinstance(each, ToolOutcome)}
    return [
        each
        for each in journal
        if isinstance(each, ToolIntent)
        and each.effect not in REPEATABLE
        and (outcome := outcomes.get(each.call_id, ResultStatus.UNKNOWN)) not in NOT_DONE
        and (each.effect is Effect.IRREVERSIBLE or outcome is ResultStatus.UNKNOWN)
    ]
