"""What one task waits for in another, on every state and in every mixture.

Knows nothing of stores: how the others stand is handed in.
"""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.dependency import (
    Standing,
    is_not_taken,
    joined,
    parted,
    reason_to_wait,
    standing,
    still_missing,
    waits_for,
    without,
)
from ostinato.domain.errors import Invalid
from ostinato.domain.task import ENDED, After, Condition, Join, TaskState

standings = st.lists(st.sampled_from(Standing), max_size=6)


@pytest.mark.parametrize("condition", Condition)
@pytest.mark.parametrize("state", TaskState)
def test_nothing_is_met_or_void_before_the_other_has_ended(condition: Condition, state: TaskState) -> None:
    if state not in ENDED:
        assert standing(condition, state=state) is Standing.OPEN


def test_each_condition_is_met_by_its_ends() -> None:
    met = {
        condition: {state for state in ENDED if standing(condition, state=state) is Standing.MET}
        for condition in Condition
    }
    assert met == {
        Condition.SUCCESS: {TaskState.DONE},
        Condition.FAILURE: {TaskState.FAILED},
        Condition.ALWAYS: set(ENDED),
    }


def test_only_what_cannot_come_back_is_void() -> None:
    void = {
        (condition, state)
        for condition in Condition
        for state in ENDED
        if standing(condition, state=state) is Standing.VOID
    }
    assert void == {(Condition.FAILURE, TaskState.DONE), (Condition.FAILURE, TaskState.CANCELLED)}
    assert standing(Condition.SUCCESS, state=TaskState.CANCELLED, skipped=True) is Standing.VOID
    assert standing(Condition.ALWAYS, state=TaskState.CANCELLED, skipped=True) is Standing.MET


@given(standings)
def test_a_task_that_misses_nothing_is_taken_and_one_that_is_not_taken_misses_something(stands: list[Standing]) -> None:
    for join in Join:
        missing = still_missing(join, stands)
        assert 0 <= missing <= len(stands)
        if is_not_taken(join, stands):
            assert missing > 0


@given(standings)
def test_any_needs_no_more_than_all(stands: list[Standing]) -> None:
    assert still_missing(Join.ANY, stands) <= still_missing(Join.ALL, stands)
    if is_not_taken(Join.ANY, stands):
        assert is_not_taken(Join.ALL, stands)


@given(st.integers(1, 10**12), st.sampled_from(Condition))
def test_a_dependency_reads_back_as_it_was_written(task: int, on: Condition) -> None:
    after = After(task=task, on=on)
    assert parted(joined(after)) == (f"T{task}", on)


def test_an_unknown_condition_is_named_with_those_there_are() -> None:
    with pytest.raises(Invalid, match=r"failur.*failure"):
        parted("T3:failur")


def test_a_reason_says_what_is_waited_for() -> None:
    words = [waits_for(After(task=n, on=on), state=TaskState.FAILED) for n, on in enumerate(Condition, 1)]
    assert reason_to_wait(Join.ALL, words) == "waits for T1, which is failed, T2 to fail, the end of T3"
    assert reason_to_wait(Join.ANY, words[1:]) == "waits for any of T2 to fail, the end of T3"
    assert reason_to_wait(Join.ALL, []) == ""


edges = st.dictionaries(
    st.integers(1, 30), st.tuples(st.sampled_from(Condition), st.sampled_from(TaskState)), max_size=8
)


@given(edges=edges, met=st.integers(1, 30))
def test_a_reason_without_one_task_is_the_reason_of_the_others_or_is_not_told(
    edges: dict[int, tuple[Condition, TaskState]], met: int
) -> None:
    """Also T3 beside T30, and where more is missing than is named."""
    words = {task: waits_for(After(task=task, on=on), state=state) for task, (on, state) in sorted(edges.items())}
    found = without(reason_to_wait(Join.ALL, list(words.values())), met)
    assert found in ("", reason_to_wait(Join.ALL, [each for task, each in words.items() if task != met]))
    few = len(words) <= 5 and not any("which is" in each for each in words.values())
    assert bool(found) == (few and met in words and len(words) > 1)
