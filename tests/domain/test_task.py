"""The table of task states: every cell, what can be reached, and what a task can never do.

The expected table is written out here once more, so that a change of the real one is a decision and not a slip.
"""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Conflict
from ostinato.domain.task import (
    COMMANDS,
    ENDED,
    TRANSITIONS,
    UNFINISHED,
    Cancelled,
    Done,
    Fail,
    NewTask,
    Outcome,
    Park,
    Requeue,
    Retry,
    Review,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
    Wait,
    WaitKind,
    next_state,
)
from ostinato.domain.values import Trust, to_json

EXPECTED = {
    "draft": {"approve": "blocked", "reject": "cancelled", "cancel": "cancelled"},
    "blocked": {"release": "ready", "cancel": "cancelled", "fail": "failed"},
    "ready": {"claim": "running", "block": "blocked", "cancel": "cancelled", "fail": "failed"},
    "running": {
        "finish": "done",
        "submit": "review",
        "park": "waiting",
        "retry": "ready",
        "requeue": "ready",
        "fail": "failed",
        "cancel": "cancelled",
    },
    "waiting": {"wake": "ready", "cancel": "cancelled", "fail": "failed"},
    "review": {"accept": "done", "return": "ready", "fail": "failed", "cancel": "cancelled"},
    "done": {},
    "cancelled": {},
    "failed": {"replay": "ready", "dismiss": "failed"},
}
BIRTH = {TaskState.DRAFT, TaskState.BLOCKED, TaskState.READY}
"""States in which a task can be added."""

every_cell = pytest.mark.parametrize(("state", "event"), [(s, e) for s in TaskState for e in TaskEvent])
histories = st.lists(st.sampled_from(TaskEvent), max_size=30)


def reachable(start: set[TaskState], *, without: frozenset[TaskEvent] = frozenset()) -> set[TaskState]:
    """Every state that a task can come to from `start`, where the events `without` never happen."""
    found, waiting = set(start), list(start)
    while waiting:
        state = waiting.pop()
        ways = {to for (source, event), to in TRANSITIONS.items() if source is state and event not in without}
        waiting.extend(ways - found)
        found |= ways
    return found


@every_cell
def test_each_cell_of_the_table_leads_where_the_design_says(state: TaskState, event: TaskEvent) -> None:
    expected = EXPECTED[state.value].get(event.value)
    if expected is not None:
        assert next_state(state, event) is TaskState(expected)
        return
    before = dict(TRANSITIONS)
    with pytest.raises(Conflict) as refusal:
        next_state(state, event, task="T7")
    assert before == TRANSITIONS
    assert state.value in refusal.value.message
    assert event.value in refusal.value.message
    possible = {COMMANDS[each] for each in COMMANDS if each.value in EXPECTED[state.value]}
    assert all(f"ostinato {each} T7" in refusal.value.cure for each in possible)
    assert possible or "it has ended" in refusal.value.cure


def test_every_state_stands_in_exactly_one_half() -> None:
    assert frozenset(TaskState) == UNFINISHED | ENDED
    assert not UNFINISHED & ENDED


def test_every_event_can_happen_somewhere() -> None:
    assert {event for _, event in TRANSITIONS} == set(TaskEvent)


def test_every_state_can_be_reached_from_a_new_task() -> None:
    assert reachable({TaskState.DRAFT}) == set(TaskState)
    assert reachable({TaskState.READY}) == set(TaskState) - {TaskState.DRAFT}


@pytest.mark.parametrize("state", sorted(UNFINISHED))
def test_every_unfinished_state_can_end_well_and_can_be_cancelled_at_once(state: TaskState) -> None:
    assert TaskState.DONE in reachable({state})
    assert next_state(state, TaskEvent.CANCEL) is TaskState.CANCELLED


def test_what_is_done_or_cancelled_stays_so() -> None:
    assert reachable({TaskState.DONE}) == {TaskState.DONE}
    assert reachable({TaskState.CANCELLED}) == {TaskState.CANCELLED}


def test_a_failed_task_comes_back_only_when_somebody_replays_it() -> None:
    assert reachable({TaskState.FAILED}, without=frozenset({TaskEvent.REPLAY})) == {TaskState.FAILED}


def test_a_draft_never_runs_without_approval() -> None:
    assert TaskState.RUNNING not in reachable({TaskState.DRAFT}, without=frozenset({TaskEvent.APPROVE}))


def test_nothing_runs_without_a_claim_and_only_what_ran_can_be_done() -> None:
    never_claimed = reachable(set(BIRTH), without=frozenset({TaskEvent.CLAIM}))
    assert not never_claimed & {TaskState.RUNNING, TaskState.WAITING, TaskState.REVIEW, TaskState.DONE}


@pytest.mark.slow
@given(st.sampled_from(sorted(BIRTH)), histories)
def test_in_a_random_history_refused_events_change_nothing_and_a_task_ends_once(
    state: TaskState, history: list[TaskEvent]
) -> None:
    runs = ends = 0
    for event in history:
        before = state
        try:
            state = next_state(state, event)
        except Conflict:
            assert state is before
            continue
        runs += event is TaskEvent.CLAIM
        ends += before in UNFINISHED and state in ENDED
        ends -= before in ENDED and state in UNFINISHED
        assert ends == (state in ENDED), "an end is counted once"
        assert state is not TaskState.DONE or runs > 0


OUTCOMES: tuple[Outcome, ...] = (
    Done(result=TaskResult(text="x")),
    Review(result=TaskResult(data={"a": 1})),
    Retry(error="e", after_s=1.5),
    Park(wait=Wait(kind=WaitKind.QUESTION, refs=("Q1",)), reason="r"),
    Fail(error="e"),
    Requeue(reason="drained"),
    Cancelled(reason="r"),
)


@pytest.mark.parametrize("outcome", OUTCOMES, ids=lambda each: type(each).__name__)
def test_every_outcome_keeps_its_kind_as_json(outcome: Outcome) -> None:
    assert msgspec.json.decode(to_json(outcome), type=Outcome) == outcome


@pytest.mark.slow
@given(
    st.builds(
        NewTask,
        kind=st.sampled_from(TaskKind),
        title=st.text(max_size=20),
        priority=st.integers(-100, 100),
        after=st.lists(st.integers(1, 9), max_size=3).map(tuple),
        key=st.none() | st.text(max_size=5),
        spec=st.builds(
            TaskSpec,
            goal=st.text(max_size=20),
            input=st.dictionaries(st.text(max_size=3), st.none() | st.integers() | st.text(max_size=3), max_size=2),
            trust=st.sampled_from(Trust),
            timeout_s=st.none() | st.floats(0, 1e6),
        ),
    )
)
def test_a_new_task_comes_back_from_json_as_it_was(new: NewTask) -> None:
    assert msgspec.json.decode(to_json(new), type=NewTask) == new


def test_a_task_cannot_be_made_in_the_wrong_order_or_changed() -> None:
    new = NewTask(kind=TaskKind.GOAL, title="x")
    with pytest.raises(AttributeError):
        new.title = "y"  # type: ignore[misc]  # that it is frozen is what is tested
    with pytest.raises(TypeError):
        NewTask(TaskKind.GOAL, "x")  # type: ignore[misc]  # that it is keyword-only is what is tested
