"""One attempt: what its handler returns or raises becomes one outcome, in one commit, unless it was fenced off."""

from __future__ import annotations

import asyncio
import itertools
from typing import Any, cast

import pytest
from msgspec.structs import replace

from ostinato.domain.errors import Conflict, Exhausted, Fenced
from ostinato.domain.step import Note
from ostinato.domain.task import (
    Done,
    Fail,
    Outcome,
    Park,
    Requeue,
    Retry,
    Review,
    TaskEvent,
    TaskResult,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND
from ostinato.engine.notice import AttemptCrashed, AttemptStuck, OutcomeNotRecorded
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.store.port import Claim, StoreAway, Tx
from tests.engine.house import DONE, Deed, House, retry_quickly, work_in


@pytest.mark.parametrize(
    ("outcome", "state", "written"),
    [
        (DONE, TaskState.DONE, "done"),
        (Review(result=TaskResult(text="look")), TaskState.REVIEW, "review"),
        (Park(wait=Wait(kind=WaitKind.EVENT), reason="for a message"), TaskState.WAITING, "park"),
        (Fail(error="no such customer"), TaskState.FAILED, "fail"),
    ],
)
def test_an_outcome_moves_the_task_and_ends_the_attempt(outcome: Outcome, state: TaskState, written: str) -> None:
    async def perform(_: AttemptPort) -> Outcome:
        return outcome

    async def work(house: House) -> None:
        task = await house.add()
        await house.reaches(task.id, state)
        [attempt] = await house.store.read(lambda reads: reads.attempts(task.id))
        assert attempt.outcome == written
        assert attempt.ended_at is not None

    work_in(work, Deed(perform))


def test_a_transient_error_is_tried_again_after_its_delay_until_no_try_is_left() -> None:
    times: list[float] = []

    async def work(house: House) -> None:
        async def perform(_: AttemptPort) -> Outcome:
            times.append(house.clock.elapsed_s())
            return Retry(error="503 from the provider")

        deed._perform = perform
        task = await house.add(spec=retry_quickly())
        ended = await house.ended(task.id)
        assert ended.state is TaskState.FAILED
        assert ended.result is not None
        assert ended.result.error == "503 from the provider"

    deed = Deed()
    work_in(work, deed)
    assert [later - earlier for earlier, later in itertools.pairwise(times)] == pytest.approx([1, 2], abs=0.1)


def test_an_exception_becomes_a_retry_and_its_traceback_is_said() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        if attempt.task.attempts == 1:
            raise ZeroDivisionError("by nothing")
        return DONE

    async def work(house: House) -> None:
        task = await house.add(spec=retry_quickly())
        assert (await house.ended(task.id)).state is TaskState.DONE
        first, _ = await house.store.read(lambda reads: reads.attempts(task.id))
        assert (first.outcome, first.error) == ("retry", "ZeroDivisionError: by nothing")
        [notice] = house.notices
        assert isinstance(notice, AttemptCrashed)
        assert notice.task == task.id
        assert "in perform\n" in notice.traceback

    work_in(work, Deed(perform), quiet=False)


def test_what_is_no_outcome_fails_the_task_and_says_so() -> None:
    async def perform(_: AttemptPort) -> Outcome:
        return cast(Any, "done")

    async def work(house: House) -> None:
        task = await house.add()
        ended = await house.ended(task.id)
        assert ended.state is TaskState.FAILED
        assert ended.result is not None
        assert ended.result.error == "The handler of goal tasks returned str, which is no outcome"

    work_in(work, Deed(perform))


def test_an_attempt_that_takes_too_long_is_cancelled_and_tried_again() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        if attempt.task.attempts == 1:
            await attempt.clock.sleep(3_600)
        return DONE

    async def work(house: House) -> None:
        task = await house.add(spec=retry_quickly())
        assert (await house.ended(task.id)).state is TaskState.DONE
        first, _ = await house.store.read(lambda reads: reads.attempts(task.id))
        assert (first.outcome, first.error) == ("retry", "Timed out after 20 s")
        assert first.ended_at is not None
        assert first.ended_at - first.started_at == pytest.approx(20 * SECOND, abs=0.1 * SECOND)

    work_in(work, Deed(perform, timeout_s=20.0))


def test_a_task_says_how_long_its_attempts_may_take() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        await attempt.clock.sleep(attempt.task.spec.input["takes_s"])
        return DONE

    async def work(house: House) -> None:
        spec = retry_quickly(attempts_max=1)
        slow = await house.add(spec=replace(spec, timeout_s=5.0, input={"takes_s": 6.0}))
        long = await house.add(spec=replace(spec, timeout_s=7_200.0, input={"takes_s": 7_000.0}))
        quick = await house.add(spec=replace(spec, input={"takes_s": 599.0}))
        states = [(await house.ended(task.id)).state for task in (slow, long, quick)]
        assert states == [TaskState.FAILED, TaskState.DONE, TaskState.DONE]

    work_in(work, Deed(perform))


def test_an_attempt_that_will_not_stop_is_told_again_and_people_are_told() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        for _ in range(2):
            try:
                await attempt.clock.sleep(3_600)
            except asyncio.CancelledError:
                continue
        await attempt.clock.sleep(3_600)
        return DONE

    async def work(house: House) -> None:
        task = await house.add(spec=retry_quickly(attempts_max=1))
        assert (await house.ended(task.id)).state is TaskState.FAILED
        assert [type(each) for each in house.notices] == [AttemptStuck, AttemptStuck]

    work_in(work, Deed(perform, timeout_s=20.0), quiet=False)


def test_last_entries_and_within_share_the_commit_of_the_outcome() -> None:
    def within(tx: Tx) -> None:
        tx.set_setting("seen", "yes")

    async def perform(attempt: AttemptPort) -> Ending:
        await attempt.record([Note(text="one")])
        return Ending(outcome=DONE, entries=(Note(text="two"),), within=within)

    async def work(house: House) -> None:
        task = await house.add()
        assert (await house.ended(task.id)).steps == 2
        steps = await house.store.read(lambda reads: reads.steps(task.id))
        assert [step.entry for step in steps] == [Note(text="one"), Note(text="two")]
        assert await house.store.read(lambda reads: reads.setting("seen")) == "yes"

    work_in(work, Deed(perform))


@pytest.mark.parametrize("error", [Conflict("no"), Exhausted("nothing left"), KeyError("bug")])
def test_an_ending_whose_within_fails_leaves_nothing_and_is_tried_again(error: Exception) -> None:
    def within(tx: Tx) -> None:
        tx.set_setting("seen", "yes")
        raise error

    async def perform(attempt: AttemptPort) -> Ending:
        if attempt.task.attempts == 1:
            return Ending(outcome=DONE, entries=(Note(text="never"),), within=within)
        return Ending(outcome=DONE)

    async def work(house: House) -> None:
        task = await house.add(spec=retry_quickly())
        ended = await house.ended(task.id)
        assert (ended.state, ended.failures, ended.steps) == (TaskState.DONE, 1, 0)
        assert await house.store.read(lambda reads: reads.setting("seen")) is None
        assert [type(each) for each in house.notices] == [AttemptCrashed]

    work_in(work, Deed(perform), quiet=False)


def test_a_handler_may_end_its_attempt_itself() -> None:
    async def perform(attempt: AttemptPort) -> Settled:
        task = await attempt.store.run(lambda tx: tx.finish(attempt.claim, DONE, now=attempt.clock.now()))
        return Settled(task=task)

    async def work(house: House) -> None:
        task = await house.add()
        assert (await house.ended(task.id)).state is TaskState.DONE
        assert len(await house.store.read(lambda reads: reads.attempts(task.id))) == 1

    work_in(work, Deed(perform))


def test_a_record_in_one_commit_runs_within_first_and_needs_the_claim() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        await attempt.record([Note(text="one")], within=lambda tx: tx.set_setting("seen", "yes"))
        await attempt.record([], within=lambda tx: tx.set_setting("again", "yes"))
        return DONE

    async def work(house: House) -> None:
        task = await house.add()
        assert (await house.ended(task.id)).steps == 1
        for name in ("seen", "again"):
            assert await house.store.read(lambda reads, name=name: reads.setting(name)) == "yes"

    work_in(work, Deed(perform))


def test_a_zombie_with_an_old_token_changes_nothing() -> None:
    seen: list[str] = []

    async def perform(attempt: AttemptPort) -> Outcome:
        old = Claim(task=attempt.task.id, token=attempt.task.token)
        await attempt.store.run(
            lambda tx: tx.move_task(old.task, TaskEvent.CANCEL, actor="operator", now=attempt.clock.now())
        )
        return DONE

    async def stubborn(attempt: AttemptPort) -> Outcome:
        try:
            return await perform(attempt)
        except asyncio.CancelledError:  # told to stop, but it goes on
            for write in (
                lambda: attempt.record([Note(text="late")]),
                lambda: attempt.record([], within=lambda tx: tx.set_setting("late", "yes")),
            ):
                with pytest.raises(Fenced):
                    await write()
                seen.append("fenced")
            return Done(result=TaskResult(text="late"))

    async def work(house: House) -> None:
        task = await house.add()
        ended = await house.ended(task.id)
        await house.clock.sleep(1)
        assert await house.task(task.id) == ended
        assert (ended.state, ended.result, ended.steps) == (TaskState.CANCELLED, None, 0)
        assert await house.store.read(lambda reads: reads.setting("late")) is None
        assert house.node.running == 0

    work_in(work, Deed(stubborn))
    assert seen == ["fenced", "fenced"]


def test_an_outcome_waits_for_room_on_the_disk() -> None:
    class Full:
        """A store whose disk is full for a while, for outcomes only."""

        def __init__(self, store: Any) -> None:
            self._store = store
            self.refusals = 3

        async def run(self, fn: Any) -> Any:
            if getattr(getattr(fn, "func", None), "__name__", "") == "_finish" and self.refusals:
                self.refusals -= 1
                raise Exhausted("The disk is full")
            return await self._store.run(fn)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

    async def work(house: House) -> None:
        task = await house.add()
        assert (await house.ended(task.id)).state is TaskState.DONE
        assert len(deed.performed) == 1
        assert [type(each) for each in house.notices] == [OutcomeNotRecorded] * 3
        steps = await house.do(lambda tx: tx.steps(task.id))
        assert [step.entry for step in steps] == [Note(text="what it has done")], "nothing of it is lost"

    async def tells(_: AttemptPort) -> Ending:
        return Ending(outcome=DONE, entries=[Note(text="what it has done")])

    deed = Deed(tells)
    work_in(work, deed, wrap=cast(Any, Full), quiet=False)


def test_a_database_that_is_away_again_and_again_is_no_failure_of_a_task() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        if attempt.task.attempts < 5:
            raise StoreAway("The database cannot be reached")
        return DONE

    async def work(house: House) -> None:
        task = await house.add()
        ended = await house.ended(task.id)
        assert (ended.state, ended.attempts, ended.failures) == (TaskState.DONE, 5, 0)
        assert house.notices == []

    work_in(work, Deed(perform), quiet=False)


def test_a_requeue_comes_back_at_once_without_counting_as_a_failure() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        return Requeue(reason="preempted") if attempt.task.attempts < 3 else DONE

    async def work(house: House) -> None:
        task = await house.add()
        ended = await house.ended(task.id)
        assert (ended.attempts, ended.failures) == (3, 0)
        assert house.clock.elapsed_s() < 0.1

    work_in(work, Deed(perform))


def test_a_task_fails_at_its_deadline_whether_it_runs_or_still_waits_for_its_turn() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        await attempt.clock.sleep(3_600)
        return DONE

    async def work(house: House) -> None:
        soon = house.clock.now() + 10 * SECOND
        spec = retry_quickly(attempts_max=9)
        running = await house.add(spec=replace(spec, deadline_at=soon))
        delayed = await house.add(spec=replace(spec, deadline_at=soon), not_before_at=soon + SECOND)
        for task in (running, delayed):
            ended = await house.ended(task.id)
            assert ended.state is TaskState.FAILED
            assert ended.result is not None
            assert ended.result.error_class == "deadline"
        assert len(await house.store.read(lambda reads: reads.attempts(delayed.id))) == 1
        begun = house.clock.now()
        late = await house.add(spec=replace(spec, deadline_at=begun + 10 * SECOND), not_before_at=begun + 8 * SECOND)
        assert ((await house.ended(late.id)).finished_at or 0) - begun < 12 * SECOND, "it counts while it waits, too"
        waited_s = (house.clock.now() - soon) / SECOND
        assert waited_s < 60.0

    work_in(work, Deed(perform))
