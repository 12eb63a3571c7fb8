"""What one task waits for in another: its success, its failure, or its end whatever it is; of all, or of any one.

Knows nothing of rows or counters: how the other task stands is handed in.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Sequence
from typing import assert_never

from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.task import After, Condition, Join, Task, TaskState

SKIPPED = "skipped"
"""Class of the result of a task that was cancelled because its branch was not taken."""

NAMED_MAX = 5
"""Missing tasks that a reason names."""

WAITS_FOR = "waits for "
OTHERS = " and others"
"""Stand at the beginning of a reason, and at its end where more is missing than it names."""

BAD_END = ", which is "
"""Stands in a reason where something has ended that was to be done."""

_BAD_ENDS = frozenset({TaskState.FAILED, TaskState.CANCELLED})


class Standing(enum.StrEnum):
    """How far a dependency is."""

    OPEN = "open"
    """It may still be met; where the other task has failed or was cancelled, a person decides."""
    MET = "met"
    VOID = "void"
    """It will never be met: the branch is not taken."""


def standing(condition: Condition, *, state: TaskState, skipped: bool = False) -> Standing:
    """How a dependency stands on a task in `state`; `skipped` says that the other was cancelled as not taken.

    A failed task may be replayed and a cancelled one replaced, so waiting for their success stays open: nothing is
    given up that a person may still bring about. Waiting for a failure is over once the task has ended otherwise.
    """
    match condition:
        case Condition.SUCCESS:
            if state is TaskState.DONE:
                return Standing.MET
            return Standing.VOID if skipped else Standing.OPEN
        case Condition.FAILURE:
            if state is TaskState.FAILED:
                return Standing.MET
            return Standing.VOID if state in (TaskState.DONE, TaskState.CANCELLED) else Standing.OPEN
        case Condition.ALWAYS:
            return Standing.MET if state is TaskState.DONE or state in _BAD_ENDS else Standing.OPEN
        case _:
            assert_never(condition)


def parted(text: str) -> tuple[str, Condition]:
    """`T12:failure` as the task's name and what is waited for in it; a name alone: its success. Raises Invalid."""
    name, colon, condition = text.strip().partition(":")
    if not colon:
        return name, Condition.SUCCESS
    try:
        return name, Condition(condition.strip())
    except ValueError:
        known = [each.value for each in Condition]
        raise Invalid(unknown_name("condition", condition.strip()[:40], known), cure="Write T12:failure.") from None


def joined(after: After) -> str:
    """The opposite: `T12`, or `T12:failure`."""
    return f"T{after.task}" if after.on is Condition.SUCCESS else f"T{after.task}:{after.on.value}"


def still_missing(join: Join, standings: Sequence[Standing]) -> int:
    """How many dependencies must yet be met before the task can run."""
    open_ = sum(each is not Standing.MET for each in standings)
    return open_ if join is Join.ALL else min(open_, int(Standing.MET not in standings))


def is_not_taken(join: Join, standings: Iterable[Standing]) -> bool:
    """True where the task can never run: one of all, or each of any, will not come."""
    void = [each is Standing.VOID for each in standings]
    return any(void) if join is Join.ALL else bool(void) and all(void)


def is_skipped(task: Task) -> bool:
    """True for a task that was cancelled because its branch was not taken."""
    return task.state is TaskState.CANCELLED and task.result is not None and task.result.error_class == SKIPPED


def waits_for(after: After, *, state: TaskState) -> str:
    """One dependency in words: `T3`, `T3 to fail`, `the end of T3`; a bad end is named."""
    name = f"T{after.task}"
    if after.on is Condition.FAILURE:
        return f"{name} to fail"
    if after.on is Condition.ALWAYS:
        return f"the end of {name}"
    return f"{name}{BAD_END}{state.value}" if state in _BAD_ENDS else name


def reason_to_wait(join: Join, missing: Sequence[str]) -> str:
    """Why a task is blocked: `waits for T3, the end of T4`, or `... and others`; empty where nothing is missing."""
    if not missing:
        return ""
    others = OTHERS if len(missing) > NAMED_MAX else ""
    named = ", ".join(missing[:NAMED_MAX])
    return f"{WAITS_FOR}{'any of ' if join is Join.ANY and len(missing) > 1 else ''}{named}{others}"


def without(reason: str, met: int) -> str:
    """`reason`, of a task that waits for all, once T`met` is met; empty where the words alone do not tell."""
    if OTHERS in reason or BAD_END in reason or not reason.startswith(WAITS_FOR):
        return ""
    named = reason.removeprefix(WAITS_FOR).split(", ")
    left = [each for each in named if f"T{met}" not in each.split()]
    return WAITS_FOR + ", ".join(left) if 0 < len(left) == len(named) - 1 else ""
