"""When a task has come to a standstill."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.stalled import MAY_STALL, why_stalled
from ostinato.domain.task import TaskKind, TaskSpec, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND
from tests.domain.test_task_query import NOW, TASK

TASK = replace(TASK, spec=TaskSpec())
states, spans = st.sampled_from(TaskState), st.integers(0, 10_000)


@given(states, spans, spans)
def test_a_running_task_stalls_once_its_last_step_is_old_enough_and_stays_so(
    state: TaskState, still_s: int, after_s: int
) -> None:
    task = replace(TASK, state=state, updated_at=NOW - still_s * SECOND)
    stalled = bool(why_stalled(task, now=NOW, after_s=after_s))
    assert stalled == (state is TaskState.RUNNING and still_s >= after_s)
    assert not stalled or why_stalled(task, now=NOW + SECOND, after_s=after_s)


@given(states, st.integers(-5_000, 5_000))
def test_what_waits_stalls_when_its_deadline_is_over(state: TaskState, left_s: int) -> None:
    task = replace(TASK, state=state, updated_at=NOW, spec=TaskSpec(deadline_at=NOW + left_s * SECOND))
    waits = state in MAY_STALL - {TaskState.RUNNING}
    assert bool(why_stalled(task, now=NOW)) == (waits and left_s <= 0)


def test_a_wait_that_nothing_ended_stalls_and_a_process_never_does() -> None:
    wait = Wait(kind=WaitKind.TIME, until_at=NOW)
    task = replace(TASK, state=TaskState.WAITING, wait=wait)
    assert not why_stalled(task, now=NOW, after_s=60.0)
    assert why_stalled(task, now=NOW + 60 * SECOND, after_s=60.0)
    assert not why_stalled(replace(TASK, kind=TaskKind.PROCESS, state=TaskState.RUNNING), now=NOW)
