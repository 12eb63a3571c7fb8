"""What happens by the clock: schedules, the ends of waits, rescue, pruning; and who waits for a task to end."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Sequence
from functools import partial
from pathlib import Path

import pytest

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import Event, EventName
from ostinato.domain.question import NewQuestion, QuestionKind, QuestionState
from ostinato.domain.step import Note
from ostinato.domain.task import NewTask, Outcome, Park, Task, TaskEvent, TaskKind, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.alarm import Alarm
from ostinato.engine.completion import REMEMBERED, Completions
from ostinato.engine.deadlines import Deadlines
from ostinato.engine.dispatcher import LocalDispatcher
from ostinato.engine.limits import TASKS_MAX, TASKS_MIN, Machine, limits_for, measure_machine
from ostinato.engine.notice import Notice, ScheduleFailed, ServiceFailed
from ostinato.engine.port import AttemptPort
from ostinato.engine.service import FAILURE_PAUSE_S, Ground, Service
from ostinato.store.port import EventFilter, ScheduleRow, StoreAway, TaskFilter
from ostinato.store.sqlite.store import open_store
from ostinato.testing.clock import ManualClock, WatchedStore, run_virtual
from tests.conftest import run
from tests.engine.house import DONE, Deed, House, work_in

EVERY_S = 60


class Fires:
    """Fires each row once a minute, from its last nominal time."""

    def __init__(self) -> None:
        self.house: House | None = None
        self.fired: list[tuple[str, Instant]] = []
        self.broken: set[str] = set()
        self.away = False
        self.slow_s: dict[str, float] = {}

    async def __call__(self, row: ScheduleRow) -> None:
        assert self.house is not None
        assert row.next_at is not None
        await self.house.clock.sleep(self.slow_s.get(row.name, 0.0))
        if self.away:
            raise StoreAway("The database cannot be reached")
        if row.name in self.broken:
            raise ValueError("a rule that nobody understands")
        nominal_at, now = row.next_at, self.house.clock.now()
        next_at = nominal_at + EVERY_S * SECOND
        await self.house.store.run(lambda tx: tx.fire(row.name, nominal_at=nominal_at, next_at=next_at, now=now))
        self.fired.append((row.name, nominal_at))


async def put(house: House, name: str, next_at: Instant) -> None:
    """Stores a schedule."""
    row = ScheduleRow(name=name, agent="triage", rule={"every": "60s"}, next_at=next_at)
    await house.do(lambda tx: tx.put_schedule(row, now=house.clock.now()))


@pytest.mark.slow
def test_a_schedule_fires_at_each_of_its_times() -> None:
    async def work(house: House) -> None:
        fires.house = house
        begins_at = house.clock.now() + 10 * SECOND
        await put(house, "a", begins_at)
        await house.clock.sleep(10 + 60 * 60 * 2)
        expected = [("a", begins_at + number * EVERY_S * SECOND) for number in range(2 * 60 + 1)]
        assert fires.fired in (expected, expected[:-1])
        tallied = await house.store.read(lambda reads: reads.schedules())
        assert tallied[0].last_at == fires.fired[-1][1]

    fires = Fires()
    work_in(work, fire=fires)


def test_more_schedules_than_fit_a_batch_all_fire_and_a_broken_one_stops_no_other() -> None:
    async def work(house: House) -> None:
        fires.house = house
        at = house.clock.now() + SECOND
        for number in range(250):
            await put(house, f"s{number:03}", at)
        fires.broken = {"s000", "s001"}
        await house.clock.sleep(3)
        assert {name for name, _ in fires.fired} == {f"s{number:03}" for number in range(2, 250)}
        assert [type(each) for each in house.notices] == [ScheduleFailed] * 2
        fires.broken = set()
        await house.clock.sleep(40)
        assert len(fires.fired) == 250

    fires = Fires()
    work_in(work, fire=fires, quiet=False)


def test_schedules_that_cannot_be_fired_keep_no_loop_busy_however_many_there_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("ostinato.engine.scheduler.BATCH", 2)
    monkeypatch.setattr("ostinato.engine.scheduler.HELD_MAX", 4)

    async def work(house: House) -> None:
        fires.house = house
        fires.broken = {f"s{number}" for number in range(7)}
        for name in sorted(fires.broken):
            await put(house, name, house.clock.now() + SECOND)
        await house.clock.sleep(5)  # it would never pass: what is held filled each look, and the next came at once
        assert len(house.notices) == 6
        fires.broken = set()
        await house.clock.sleep(40)
        assert len(fires.fired) == 7

    fires = Fires()
    work_in(work, fire=fires, quiet=False)


def test_what_is_due_together_fires_together_and_one_by_one_where_that_fails() -> None:
    together: list[list[str]] = []

    async def most(rows: Sequence[ScheduleRow]) -> Sequence[ScheduleRow]:
        together.append([row.name for row in rows])
        if fires.broken:
            raise ValueError("one of them cannot be fired")
        for row in rows[1:]:
            await fires(row)
        return rows[:1]

    async def work(house: House) -> None:
        fires.house = house
        for name in ("a", "b", "c"):
            await put(house, name, house.clock.now() + SECOND)
        await house.clock.sleep(3)
        assert together == [["a", "b", "c"]]
        assert [name for name, _ in fires.fired] == ["b", "c", "a"]
        fires.fired, fires.broken = [], {"b"}
        await house.clock.sleep(EVERY_S)
        assert together[1] == ["a", "b", "c"]
        assert {name for name, _ in fires.fired} == {"a", "c"}
        assert [each.schedule for each in house.notices if isinstance(each, ScheduleFailed)] == ["b"]

    fires = Fires()
    work_in(work, fire=fires, fire_together=most, quiet=False)


def test_the_alarm_rings_for_those_alone_for_whom_something_is_due() -> None:
    rung: list[str] = []
    clock = ManualClock()

    async def live() -> None:
        store = WatchedStore(open_store(None), clock)
        alarm = Alarm(Ground(store=store, clock=clock, notify=lambda notice: None))
        tasks, questions, schedules = ((partial(rung.append, kind),) for kind in ("tasks", "questions", "schedules"))
        alarm.ring_for(tasks=tasks, questions=questions, schedules=schedules)
        row = ScheduleRow(name="a", agent="triage", rule={"every": "60s"}, next_at=clock.now() + 5 * SECOND)
        delayed = NewTask(kind=TaskKind.GOAL, title="later", not_before_at=clock.now() + 15 * SECOND)
        await store.run(lambda tx: (tx.put_schedule(row, now=clock.now()), tx.add_task(delayed, now=clock.now())))
        alarm.start()
        await clock.sleep(6)
        assert set(rung) == {"schedules"}
        await store.run(lambda tx: tx.remove_schedule("a", actor="ann", now=clock.now()))
        rung.clear()
        await clock.sleep(10)
        assert set(rung) == {"tasks"}
        await alarm.stop()
        await store.close()

    run_virtual(live(), clock)


def test_a_schedule_that_found_no_database_fires_a_moment_later() -> None:
    async def work(house: House) -> None:
        fires.house = house
        await put(house, "a", house.clock.now() + SECOND)
        fires.away = True
        await house.clock.sleep(5)
        fires.away = False
        await house.clock.sleep(2)
        assert [name for name, _ in fires.fired] == ["a"]
        assert house.notices == []

    fires = Fires()
    work_in(work, fire=fires, quiet=False)


def test_schedules_that_found_no_database_together_are_not_tried_one_by_one() -> None:
    async def most(rows: Sequence[ScheduleRow]) -> Sequence[ScheduleRow]:
        if fires.away:
            raise StoreAway("The database cannot be reached")
        return rows

    async def work(house: House) -> None:
        fires.house = house
        await put(house, "a", house.clock.now() + SECOND)
        fires.away = True
        await house.clock.sleep(3)
        assert {type(each) for each in house.notices} == {ServiceFailed}, "the poll says so"
        assert tried == []
        fires.away = False
        await house.clock.sleep(30)
        assert [name for name, _ in fires.fired] == tried == ["a"]

    async def one(row: ScheduleRow) -> None:
        tried.append(row.name)
        await fires(row)

    fires, tried = Fires(), list[str]()
    work_in(work, fire=one, fire_together=most, quiet=False)


def test_a_check_that_takes_long_holds_up_no_other_schedule_and_is_not_begun_twice() -> None:
    async def work(house: House) -> None:
        fires.house, fires.slow_s = house, {"slow": 50.0}
        at = house.clock.now() + SECOND
        await put(house, "slow", at)
        await put(house, "quick", at + 10 * SECOND)
        await house.clock.sleep(20)
        assert [name for name, _ in fires.fired] == ["quick"]
        await house.clock.sleep(40)
        assert fires.fired == [("quick", at + 10 * SECOND), ("slow", at)]

    fires = Fires()
    work_in(work, fire=fires)


def test_a_standstill_is_told_once_and_again_after_the_next_step() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        await attempt.clock.sleep(2_000)
        await attempt.record([Note(text="a step")])
        await attempt.clock.sleep(1_500)
        return DONE

    async def work(house: House) -> None:
        task = await house.add()
        await house.ended(task.id)
        which = EventFilter(names=frozenset({EventName.TASK_STALLED}))
        told = await house.store.read(lambda reads: reads.events(which))
        assert [(each.task, each.reason.partition(" for")[0]) for each in told] == [(task.id, "makes no step")] * 2

    work_in(work, Deed(perform, timeout_s=36_000.0))


def test_a_wait_ends_when_its_time_is_over() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        if attempt.task.attempts > 1:
            return DONE
        until_at = attempt.clock.now() + 7 * SECOND
        return Park(wait=Wait(kind=WaitKind.EVENT, until_at=until_at), reason="for a message")

    async def work(house: House) -> None:
        task = await house.add()
        ended = await house.ended(task.id)
        assert ended.attempts == 2
        assert house.clock.elapsed_s() == pytest.approx(7, abs=0.2)

    work_in(work, Deed(perform))


def test_a_question_expires_when_its_time_is_over_and_its_task_goes_on() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        task = attempt.task
        if task.attempts > 1:
            return DONE
        new = NewQuestion(
            kind=QuestionKind.ASK,
            text="Which one?",
            agent="triage",
            task=task.id,
            session=task.session or "",
            expires_at=attempt.clock.now() + 5 * SECOND,
        )
        question = await attempt.store.run(lambda tx: tx.ask(new, now=attempt.clock.now()))
        return Park(wait=Wait(kind=WaitKind.QUESTION, refs=(str(question.id),)), reason="for an answer")

    async def work(house: House) -> None:
        task = await house.add(agent="triage")
        assert (await house.ended(task.id)).attempts == 2
        assert house.clock.elapsed_s() == pytest.approx(5, abs=0.2)
        question = await house.store.read(lambda reads: reads.question(1))
        assert question.state is QuestionState.EXPIRED

    work_in(work, Deed(perform))


def test_dependants_run_after_what_they_wait_for() -> None:
    async def work(house: House) -> None:
        first = await house.add()
        second = await house.add(after=(first.id,))
        third = await house.add(after=(second.id,))
        await house.ended(third.id)
        assert deed.performed == [first.id, second.id, third.id]
        assert house.clock.elapsed_s() < 0.1

    deed = Deed()
    work_in(work, deed)


def test_what_is_older_than_its_retention_is_deleted_in_batches() -> None:
    async def work(house: House) -> None:
        tasks = [await house.add() for _ in range(30)]
        for task in tasks:
            await house.ended(task.id)
        house.clock.advance(91 * 86_400)
        fresh = await house.add()
        await house.ended(fresh.id)
        await house.clock.sleep(3_600)
        left = await house.store.read(lambda reads: reads.tasks(TaskFilter()))
        assert [task.id for task in left] == [fresh.id]

    work_in(work)


# --- completions --------------------------------------------------------------------------------------------------


def test_a_task_is_waited_for_before_and_after_its_end() -> None:
    async def work(house: House) -> None:
        completions = house.node.completions
        slow = await house.add(not_before_at=house.clock.now() + SECOND)
        both = await asyncio.gather(completions.wait(slow.id), completions.wait(slow.id))
        assert [task.state for task in both] == [TaskState.DONE] * 2
        assert (await completions.wait(slow.id)).state is TaskState.DONE
        assert await completions.wait_new(slow.id) is EventName.TASK_DONE
        with pytest.raises(NotFound):
            await completions.wait(999)
        other = Completions(house.store)  # one that has heard of none of them
        assert (await other.wait(slow.id)).state is TaskState.DONE
        other.close()
        other.close()

    work_in(work)


def test_endings_are_not_remembered_for_ever() -> None:
    async def work(house: House) -> None:
        completions = Completions(house.store)
        for task in range(REMEMBERED + 10):
            completions._remember(task, EventName.TASK_DONE)
        assert len(completions._ended) == REMEMBERED
        waiting = asyncio.create_task(completions.wait_new(0))
        await asyncio.sleep(0)
        completions.close()
        with pytest.raises(Conflict, match="has stopped"):
            await waiting

    work_in(work)


def test_a_cancelled_task_is_a_completion_too() -> None:
    async def work(house: House) -> None:
        task = await house.add(draft=True)
        waiting = asyncio.create_task(house.node.completions.wait(task.id))
        await asyncio.sleep(0)
        await house.do(lambda tx: tx.move_task(task.id, TaskEvent.REJECT, actor="operator", now=house.clock.now()))
        ended: Task = await waiting
        assert ended.state is TaskState.CANCELLED

    work_in(work)


def test_a_task_that_was_brought_back_is_waited_for_once_more() -> None:
    async def work(house: House) -> None:
        wait = house.node.completions.wait
        late = await house.add(not_before_at=house.clock.now() + SECOND)
        await house.do(lambda tx: tx.move_task(late.id, TaskEvent.FAIL, actor="ann", now=house.clock.now()))
        assert (await wait(late.id)).state is TaskState.FAILED
        await house.do(lambda tx: tx.retry_task(late.id, fresh=False, actor="ann", now=house.clock.now()))
        assert (await wait(late.id)).state is TaskState.DONE

    work_in(work)


# --- the small parts ----------------------------------------------------------------------------------------------


def ground(clock: ManualClock, notices: list[Notice]) -> Ground:
    """Nothing but a clock and an ear."""
    return Ground(store=None, clock=clock, notify=notices.append)  # type: ignore[arg-type]  # it is never asked


def test_a_service_polls_again_when_its_rest_is_over_or_when_woken() -> None:
    async def work(clock: ManualClock) -> None:
        polls: list[float] = []

        async def poll() -> float:
            polls.append(clock.elapsed_s())
            return 10.0

        service = Service("test", poll, ground(clock, []))
        service.wake()
        service.start()
        service.start()
        await clock.sleep(25)
        service.wake()
        service.wake()
        await clock.sleep(6)
        await service.stop()
        await service.stop()
        await clock.sleep(100)
        assert polls == [0, 10, 20, 25]

    clock = ManualClock()
    run_virtual(work(clock), clock)


def test_a_hint_counts_that_comes_during_a_poll_or_after_failures_that_are_over() -> None:
    async def work(clock: ManualClock) -> None:
        polls: list[float] = []

        async def poll() -> float:
            polls.append(clock.elapsed_s())
            if len(polls) == 1:
                service.wake()
            if len(polls) == 2:
                raise OSError("no room")
            return 10.0

        service = Service("test", poll, ground(clock, []))
        service.start()
        await clock.sleep(5.0)
        service.wake()
        await clock.sleep(1.0)
        await service.stop()
        assert polls == [0, 0, FAILURE_PAUSE_S, 5]

    clock = ManualClock()
    run_virtual(work(clock), clock)


def test_a_service_whose_polls_fail_rests_longer_each_time_and_no_hint_shortens_it() -> None:
    async def work(clock: ManualClock) -> None:
        polls: list[float] = []

        async def poll() -> float:
            polls.append(clock.elapsed_s())
            if len(polls) <= 4:
                service.wake()
                raise OSError("no room")
            return 1_000.0

        service = Service("test", poll, ground(clock, notices))
        service.start()
        await clock.sleep(9)
        await service.stop()
        first = FAILURE_PAUSE_S
        assert polls[:5] == [0, first, 3 * first, 7 * first, 15 * first]

    clock = ManualClock()
    notices: list[Notice] = []
    run_virtual(work(clock), clock)
    assert [each.error for each in notices if isinstance(each, ServiceFailed)] == ["no room"] * 4


def test_stopping_a_service_lets_its_poll_come_to_an_end() -> None:
    async def work() -> None:
        clock, gate, done = ManualClock(), asyncio.Event(), []

        async def poll() -> float:
            await gate.wait()
            done.append(True)
            return 1.0

        service = Service("test", poll, ground(clock, []))
        service.start()
        await asyncio.sleep(0)
        stopping = asyncio.create_task(service.stop())
        await asyncio.sleep(0)
        gate.set()
        await stopping
        assert done == [True]

    run(work())


def test_a_service_listens_to_commits_while_it_runs_and_is_woken_by_those_that_concern_it() -> None:
    async def work() -> None:
        heard, polled = list[EventName](), asyncio.Event()
        store = open_store(None)

        async def poll() -> float:
            polled.set()
            return 1_000.0

        def hears(events: Sequence[Event]) -> bool:
            heard.extend(each.name for each in events)
            return EventName.FLAG_SET in heard

        async def pause(scope: str) -> None:
            await store.run(lambda tx: tx.set_flag(scope, "paused", actor="ann", reason="", now=1))

        service = Service("test", poll, Ground(store=store, clock=ManualClock(), notify=print), hears=hears)
        await pause("agent:before")
        service.start()
        await polled.wait()
        polled.clear()
        await pause("agent:now")
        await polled.wait()
        await service.stop()
        await pause("agent:after")
        await store.close()
        assert heard == [EventName.FLAG_SET]

    run(work())


class Timed:
    """Something with a deadline."""

    def __init__(self, ends_at_s: float) -> None:
        self.ends_at_s = ends_at_s


def test_deadlines_are_met_in_their_order_by_one_timer() -> None:
    async def work(clock: ManualClock) -> None:
        running = [Timed(30.0), Timed(10.0), Timed(20.0), Timed(10.0)]
        met: list[float] = []

        def expired(each: Timed) -> None:
            met.append(clock.elapsed_s())
            each.ends_at_s = math.inf

        deadlines = Deadlines(lambda: running, expired, ground(clock, []))
        deadlines.start()
        for each in running:
            deadlines.watch(each.ends_at_s)
        await clock.sleep(100)
        running.append(Timed(150.0))
        deadlines.watch(150.0)
        await clock.sleep(100)
        await deadlines.stop()
        assert met == [10, 10, 20, 30, 150]

    clock = ManualClock()
    run_virtual(work(clock), clock)


def test_a_hint_wakes_who_takes_from_its_pool_and_is_kept_for_who_comes_later() -> None:
    async def work() -> None:
        dispatcher = LocalDispatcher()
        dispatcher.offer(1, pool="gpu", priority=0)
        await dispatcher.take(("default", "gpu"), 1)
        waiting = asyncio.create_task(dispatcher.take(("gpu",), 1))
        await asyncio.sleep(0)
        dispatcher.offer(2, pool="default", priority=0)
        await asyncio.sleep(0)
        assert not waiting.done()
        dispatcher.offer(3, pool="gpu", priority=0)
        await waiting
        await dispatcher.take(("default",), 1)
        cancelled = asyncio.create_task(dispatcher.take(("gpu",), 1))
        await asyncio.sleep(0)
        cancelled.cancel()
        await asyncio.wait((cancelled,))
        dispatcher.close()

    run(work())


def test_the_limits_of_a_machine_follow_its_cores_its_memory_and_its_container(tmp_path: Path) -> None:
    assert limits_for(Machine(cpus=0.1, memory_bytes=1 << 20)).tasks == TASKS_MIN
    assert limits_for(Machine(cpus=64, memory_bytes=1 << 40)).tasks == TASKS_MAX
    assert limits_for(Machine(cpus=2, memory_bytes=8 << 30)).tasks == 128
    assert limits_for(Machine(cpus=2, memory_bytes=1 << 30)).tasks == 32
    (tmp_path / "meminfo").write_text("MemTotal:        4194304 kB\n")
    here = measure_machine(proc=tmp_path, cgroup=tmp_path)
    assert here.memory_bytes == 4 << 30
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    (tmp_path / "memory.max").write_text(f"{1 << 30}\n")
    assert measure_machine(proc=tmp_path, cgroup=tmp_path) == Machine(cpus=min(here.cpus, 0.5), memory_bytes=1 << 30)
    assert measure_machine(proc=tmp_path / "no", cgroup=tmp_path / "no").memory_bytes > 0
