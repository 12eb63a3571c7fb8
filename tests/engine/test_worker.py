"""The worker: takes what may run, as much at once as the limits allow, and stops what somebody else has stopped."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections import Counter
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.domain.errors import Conflict, Denied, Exhausted
from ostinato.domain.limit import QueueLimit, Rate
from ostinato.domain.step import Note
from ostinato.domain.task import (
    ENDED,
    URGENT_PRIORITY,
    Fail,
    Outcome,
    Requeue,
    Retry,
    Task,
    TaskEvent,
    TaskKind,
    TaskSpec,
    TaskState,
)
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.limits import EngineLimits
from ostinato.engine.notice import AttemptCrashed
from ostinato.engine.port import AttemptPort
from ostinato.engine.worker import is_in_scope
from ostinato.store.port import Claim, Store, Tx
from ostinato.testing.clock import STARTS_AT
from tests.engine.house import DONE, Deed, House, retry_quickly, work_in

FEW = EngineLimits(tasks=5, claim=3, agent_default=1, agents={"big": 3}, kinds={TaskKind.DELIVERY: 2, TaskKind.RUN: 1})


class Meter:
    """How much runs at once: in all, of each agent and kind."""

    def __init__(self) -> None:
        self.now: Counter[str] = Counter()
        self.most: Counter[str] = Counter()
        self.done: Counter[int] = Counter()

    async def perform(self, attempt: AttemptPort) -> Outcome:
        task = attempt.task
        names = ["all", f"agent:{task.agent}", f"kind:{task.kind.value}"]
        self.now.update(names)
        self.most |= self.now
        try:
            await attempt.clock.sleep(task.spec.input["takes_s"])
        finally:
            self.now.subtract(names)
        ends = task.spec.input["ends"]
        if task.attempts <= len(ends):
            match ends[task.attempts - 1]:
                case "retry":
                    return Retry(error="again")
                case "requeue":
                    return Requeue(reason="again")
                case "raise":
                    raise RuntimeError("again")
                case "fail":
                    return Fail(error="never")
        self.done[task.id] += 1
        return DONE


tasks = st.lists(
    st.fixed_dictionaries(
        {
            "agent": st.sampled_from([None, "big", "small"]),
            "kind": st.sampled_from([TaskKind.GOAL, TaskKind.DELIVERY, TaskKind.RUN]),
            "priority": st.integers(-2, 2),
            "delay_s": st.sampled_from([0, 0, 0, 3, 10]),
            "takes_s": st.sampled_from([0.0, 0.0, 0.5, 2.0, 30.0]),
            "ends": st.lists(st.sampled_from(["retry", "requeue", "raise", "fail"]), max_size=2),
        }
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.slow
@settings(max_examples=30)
@given(tasks)
def test_whatever_happens_no_task_is_lost_none_ends_twice_and_no_limit_is_passed(wanted: list[dict[str, Any]]) -> None:
    async def work(house: House) -> None:
        added = []
        for each in wanted:
            spec = TaskSpec(
                input={"takes_s": each["takes_s"], "ends": each["ends"]}, retry=retry_quickly(attempts_max=2).retry
            )
            not_before_at = house.clock.now() + each["delay_s"] * SECOND
            task = await house.add(
                kind=each["kind"],
                agent=each["agent"],
                priority=each["priority"],
                spec=spec,
                not_before_at=not_before_at,
            )
            added.append(task.id)
        for task_id in added:
            ended = await house.ended(task_id)
            assert ended.state in ENDED
            assert meter.done[task_id] == (ended.state is TaskState.DONE)
            attempts = await house.store.read(lambda reads, id_=task_id: reads.attempts(id_))
            assert [each.token for each in attempts] == list(range(1, ended.attempts + 1))
            assert all(each.outcome for each in attempts)
        tallies = await house.store.read(lambda reads: reads.tallies())
        assert sum(tallies.tasks.get(state.value, 0) for state in ENDED) == len(added)
        assert house.node.running == 0

    meter = Meter()
    deeds = [Deed(meter.perform, kind=kind) for kind in (TaskKind.GOAL, TaskKind.DELIVERY, TaskKind.RUN)]
    work_in(work, *deeds, limits=FEW, quiet=False)
    assert meter.most["all"] <= 5
    assert meter.most["agent:big"] <= 3
    assert meter.most["agent:small"] <= 1
    assert meter.most["kind:delivery"] <= 2
    assert meter.most["kind:run"] <= 1


def test_places_are_used_up_to_each_limit() -> None:
    async def work(house: House) -> None:
        for agent, kind in itertools.product([None, "big", "small"], [TaskKind.GOAL, TaskKind.RUN]):
            for _ in range(4):
                await house.add(kind=kind, agent=agent, spec=TaskSpec(input={"takes_s": 100.0, "ends": []}))
        await house.clock.sleep(1)
        assert meter.most == {
            "all": 5, "agent:None": 4, "agent:big": 1, "kind:goal": 4, "kind:run": 1, "agent:small": 0
        } or meter.most["all"] == 5  # fmt: skip

    meter = Meter()
    deeds = [Deed(meter.perform, kind=kind) for kind in (TaskKind.GOAL, TaskKind.RUN)]
    work_in(work, *deeds, limits=FEW)


def test_the_most_urgent_goes_first_and_the_oldest_among_equals() -> None:
    async def work(house: House) -> None:
        added = [await house.add(priority=priority) for priority in (0, 5, -5, 5, 0)]
        await house.node.start()
        for task in added:
            await house.ended(task.id)
        first = added[0].id
        assert [task - first for task in deed.performed] == [1, 3, 0, 4, 2]

    deed = Deed()
    work_in(work, deed, limits=EngineLimits(tasks=1), started=False)


def test_a_delayed_task_starts_when_its_time_comes() -> None:
    async def work(house: House) -> None:
        at = house.clock.now() + 90 * SECOND
        task = await house.add(not_before_at=at)
        ended = await house.ended(task.id)
        assert ended.finished_at is not None
        assert at <= ended.finished_at <= at + SECOND // 10

    work_in(work)


def test_a_task_of_a_kind_that_nobody_performs_stays_where_it_is() -> None:
    async def work(house: House) -> None:
        other = await house.add(kind=TaskKind.PROCESS)
        mine = await house.add()
        await house.ended(mine.id)
        await house.clock.sleep(120)
        assert (await house.task(other.id)).state is TaskState.READY

    work_in(work)


def test_other_limits_hold_from_the_next_claim_on() -> None:
    async def work(house: House) -> None:
        tasks = [await house.add(spec=TaskSpec(input={"takes_s": 10.0, "ends": []})) for _ in range(6)]
        await house.clock.sleep(1)
        house.node.set_limits(EngineLimits(tasks=4))
        await house.clock.sleep(1)
        assert meter.now["all"] == 4
        for task in tasks:
            await house.ended(task.id)

    meter = Meter()
    work_in(work, Deed(meter.perform), limits=EngineLimits(tasks=2))


# --- open ---------------------------------------------------------------------------------------------------------


def test_the_first_steps_of_a_handler_share_the_commit_of_the_claim() -> None:
    def opening(tx: Tx, task: Task, now: Instant) -> None:
        tx.record_steps(Claim(task=task.id, token=task.token), [Note(text="opened")], now=now)

    async def perform(attempt: AttemptPort) -> Outcome:
        steps = await attempt.store.read(lambda reads: reads.steps(attempt.task.id))
        assert [step.entry for step in steps] == [Note(text="opened")]
        return DONE

    async def work(house: House) -> None:
        task = await house.add()
        assert (await house.ended(task.id)).state is TaskState.DONE

    work_in(work, Deed(perform, opening=opening))


@pytest.mark.parametrize(
    ("error", "state"),
    [
        (Denied("not this one"), TaskState.FAILED),
        (Exhausted("no money left today"), TaskState.READY),
        (KeyError("bug"), TaskState.READY),
    ],
)
def test_a_task_that_cannot_be_opened_fails_alone(error: Exception, state: TaskState) -> None:
    def opening(tx: Tx, task: Task, now: Instant) -> None:
        if task.title == "bad":
            raise error

    async def work(house: House) -> None:
        added = [await house.add(title, spec=TaskSpec()) for title in ("good", "bad", "good")]
        await house.node.start()
        assert [(await house.ended(added[number].id)).state for number in (0, 2)] == [TaskState.DONE] * 2
        assert (await house.task(added[1].id)).state is state
        assert [each.task for each in house.notices if isinstance(each, AttemptCrashed)] == [added[1].id]

    work_in(work, Deed(opening=opening), started=False, quiet=False)


def test_a_task_that_cannot_be_opened_lets_the_next_one_of_its_agent_begin_at_once() -> None:
    def opening(tx: Tx, task: Task, now: Instant) -> None:
        if task.title == "bad":
            raise Denied("not this one")

    async def work(house: House) -> None:
        added = [await house.add(title, agent="small") for title in ("bad", "good")]
        began_s = house.clock.elapsed_s()
        await house.node.start()
        assert (await house.ended(added[1].id)).state is TaskState.DONE
        assert house.clock.elapsed_s() - began_s < 1.0

    work_in(work, Deed(opening=opening), started=False, quiet=False, limits=FEW)


# --- what others decide -------------------------------------------------------------------------------------------


class Long:
    """Runs for an hour, and notes how it was ended."""

    def __init__(self) -> None:
        self.cancelled_s: list[float] = []

    async def perform(self, attempt: AttemptPort) -> Outcome:
        try:
            await attempt.clock.sleep(3_600)
        except asyncio.CancelledError:
            self.cancelled_s.append(attempt.clock.elapsed_s())
            raise
        return DONE


@pytest.mark.parametrize("event", [TaskEvent.CANCEL, TaskEvent.FAIL])
def test_a_task_that_is_cancelled_while_it_runs_stops_at_once(event: TaskEvent) -> None:
    async def work(house: House) -> None:
        task = await house.add()
        await house.reaches(task.id, TaskState.RUNNING)
        before_s = house.clock.elapsed_s()
        await house.do(lambda tx: tx.move_task(task.id, event, actor="operator", now=house.clock.now()))
        await house.clock.sleep(0.01)
        assert long.cancelled_s == [pytest.approx(before_s, abs=0.02)]
        assert (await house.task(task.id)).state in ENDED
        assert house.node.running == 0

    long = Long()
    work_in(work, Deed(long.perform))


SCOPES = ["fleet", "agent:triage", "session:main:triage", "task:{task}", "pool:default"]


@pytest.mark.parametrize("scope", SCOPES)
def test_what_is_halted_stops_at_once_and_goes_on_when_it_may(scope: str) -> None:
    async def work(house: House) -> None:
        task = await house.add(agent="triage", session="main:triage")
        await house.reaches(task.id, TaskState.RUNNING)
        before_s, where = house.clock.elapsed_s(), scope.format(task=task.id)
        now = house.clock.now()
        await house.do(lambda tx: tx.set_flag(where, "halted", actor="operator", reason="enough", now=now))
        assert (await house.reaches(task.id, TaskState.READY)).failures == 0
        assert long.cancelled_s == [pytest.approx(before_s, abs=0.02)]
        await house.clock.sleep(300)
        assert (await house.task(task.id)).state is TaskState.READY
        await house.do(lambda tx: tx.clear_flag(where, "halted", actor="operator", now=house.clock.now()))
        await house.reaches(task.id, TaskState.RUNNING)

    long = Long()
    work_in(work, Deed(long.perform))


@pytest.mark.parametrize("scope", ["agent:billing", "session:main:billing", "task:0", "pool:other"])
def test_a_halt_elsewhere_and_a_pause_stop_nothing_that_runs(scope: str) -> None:
    async def work(house: House) -> None:
        task = await house.add(agent="triage", session="main:triage")
        await house.reaches(task.id, TaskState.RUNNING)
        for where, name in ((scope, "halted"), ("fleet", "paused")):
            await house.do(lambda tx, w=where, n=name: tx.set_flag(w, n, actor="x", reason="", now=house.clock.now()))
        await house.clock.sleep(10)
        assert long.cancelled_s == []
        assert (await house.task(task.id)).state is TaskState.RUNNING

    long = Long()
    work_in(work, Deed(long.perform))


class Slow:
    """A store whose answer to the first claim comes later than the news of what happened after it."""

    def __init__(self, store: Any, meanwhile: Callable[[Tx, Task], object]) -> None:
        self._store = store
        self._meanwhile = meanwhile

    async def run(self, fn: Any) -> Any:
        answer = await self._store.run(fn)
        if getattr(fn, "__name__", "") == "_claim_asked" and answer.tasks and self._meanwhile:
            meanwhile, self._meanwhile = self._meanwhile, None  # type: ignore[assignment]  # it happens once
            await self._store.run(lambda tx: meanwhile(tx, answer.tasks[0]))
        return answer

    def run_along(self, fn: Any, then: Any) -> Any:
        return lambda: None

    def __getattr__(self, name: str) -> Any:
        return getattr(self._store, name)


def cancel(tx: Tx, task: Task) -> None:
    """Somebody cancels it."""
    tx.move_task(task.id, TaskEvent.CANCEL, actor="operator", now=STARTS_AT)


def halt(tx: Tx, task: Task) -> None:
    """Somebody halts its agent."""
    tx.set_flag(f"agent:{task.agent}", "halted", actor="operator", reason="enough", now=STARTS_AT)


def halt_and_clear(tx: Tx, task: Task) -> None:
    """Somebody thinks twice."""
    halt(tx, task)
    tx.clear_flag(f"agent:{task.agent}", "halted", actor="operator", now=STARTS_AT)


@pytest.mark.parametrize(
    ("meanwhile", "state", "performed"),
    [(cancel, TaskState.CANCELLED, 0), (halt, TaskState.READY, 0), (halt_and_clear, TaskState.DONE, 1)],
)
def test_what_was_decided_before_the_claim_came_back_stops_the_attempt_before_it_begins(
    meanwhile: Callable[[Tx, Task], None], state: TaskState, performed: int
) -> None:
    async def work(house: House) -> None:
        task = await house.add(agent="triage")
        await house.clock.sleep(1)
        assert (await house.task(task.id)).state is state
        assert len(deed.performed) == performed
        assert house.node.running == 0

    deed = Deed()
    work_in(work, deed, wrap=lambda store: Slow(store, meanwhile))  # type: ignore[arg-type,return-value]  # duck typing


def test_scopes_say_which_tasks_they_are_about() -> None:
    async def work(house: House) -> None:
        task = await house.add(agent="triage", session="main:triage", pool="default")
        assert is_in_scope(task, "fleet")
        assert not is_in_scope(task, "weather")
        assert not is_in_scope(task, "agent:")

    work_in(work)


# --- hints --------------------------------------------------------------------------------------------------------


class Forgetful:
    """A dispatcher that loses every hint."""

    def listen(self, store: Store) -> None: ...

    def offer(self, task: int, *, pool: str, priority: int) -> None: ...

    async def take(self, pools: Any, free: int) -> None:
        await asyncio.get_running_loop().create_future()

    def close(self) -> None: ...


class Talkative:
    """A dispatcher that gives ten hints where one was due."""

    def __init__(self) -> None:
        self._left = 10_000

    def listen(self, store: Store) -> None: ...

    def offer(self, task: int, *, pool: str, priority: int) -> None: ...

    async def take(self, pools: Any, free: int) -> None:
        await asyncio.sleep(0)
        self._left -= 1
        if self._left < 0:
            await asyncio.get_running_loop().create_future()

    def close(self) -> None: ...


class Broken(Forgetful):
    """A dispatcher whose other side is away."""

    async def take(self, pools: Any, free: int) -> None:
        raise ConnectionError("nobody there")


@pytest.mark.parametrize("dispatcher", [Forgetful, Talkative, Broken])
def test_hints_decide_nothing_but_the_time(dispatcher: Any) -> None:
    async def work(house: House) -> None:
        tasks = [await house.add() for _ in range(5)]
        for task in tasks:
            assert (await house.ended(task.id)).state is TaskState.DONE
        assert sorted(deed.performed) == sorted(task.id for task in tasks)

    deed = Deed()
    work_in(work, deed, dispatcher=dispatcher(), quiet=dispatcher is not Broken)


# --- everything at once -------------------------------------------------------------------------------------------

deeds = st.lists(
    st.tuples(
        st.sampled_from([0.0, 0.3, 1.0, 5.0]),
        st.sampled_from(["cancel", "halt fleet", "halt small", "clear", "restart", "urgent", "fail"]),
        st.integers(0, 9),
    ),
    max_size=12,
)


async def meddle(house: House, deed: str, task: int) -> None:
    """What people do while a fleet works."""
    now = house.clock.now()
    match deed:
        case "cancel" | "fail":
            event = TaskEvent.CANCEL if deed == "cancel" else TaskEvent.FAIL
            with contextlib.suppress(Conflict):  # it has ended
                await house.do(lambda tx: tx.move_task(task, event, actor="operator", now=now))
        case "halt fleet" | "halt small":
            scope = "fleet" if deed == "halt fleet" else "agent:small"
            await house.do(lambda tx: tx.set_flag(scope, "halted", actor="operator", reason="", now=now))
        case "clear":
            for scope in ("fleet", "agent:small"):
                await house.do(lambda tx, s=scope: tx.clear_flag(s, "halted", actor="operator", now=now))
        case "restart":
            await house.node.stop()
            await house.node.start()
        case "urgent":
            with contextlib.suppress(Conflict):
                await house.do(lambda tx: tx.change_task(task, actor="operator", priority=9, now=now))


@pytest.mark.slow
@settings(max_examples=30)
@given(tasks, deeds)
def test_whatever_people_do_meanwhile_each_task_ends_once(
    wanted: list[dict[str, Any]], meddling: list[tuple[float, str, int]]
) -> None:
    async def work(house: House) -> None:
        added = []
        for each in wanted:
            spec = TaskSpec(input={"takes_s": each["takes_s"], "ends": each["ends"]}, retry=retry_quickly(2).retry)
            added.append((await house.add(agent=each["agent"], priority=each["priority"], spec=spec)).id)
        for after_s, deed, which in meddling:
            await house.clock.sleep(after_s)
            await meddle(house, deed, added[which % len(added)])
        await meddle(house, "clear", 0)
        for task_id in added:
            ended = await house.ended(task_id)
            assert meter.done[task_id] >= (ended.state is TaskState.DONE)
            attempts = await house.store.read(lambda reads, id_=task_id: reads.attempts(id_))
            outcomes = [each.outcome for each in attempts]
            assert all(outcomes)
            assert outcomes.count("done") == (ended.state is TaskState.DONE)
        await house.clock.sleep(60)
        assert house.node.running == 0
        assert +meter.now == Counter()

    meter = Meter()
    work_in(work, Deed(meter.perform), limits=FEW, quiet=False)
    assert meter.most["all"] <= 5
    assert meter.most["agent:big"] <= 3
    assert meter.most["agent:small"] <= 1


def test_a_rate_lets_the_next_begin_in_time_without_a_hint_and_an_urgent_one_makes_room_in_a_limit() -> None:
    begun: list[float] = []
    limits = EngineLimits(
        tasks=64,
        agent_default=64,
        queues=(
            QueueLimit(kind="goal", rate=Rate(starts=2, span_s=60.0)),
            QueueLimit(project="acme", concurrency=1),
        ),
    )

    async def begin(attempt: AttemptPort) -> Outcome:
        begun.append(attempt.clock.elapsed_s())
        return DONE

    async def work_on(attempt: AttemptPort) -> Outcome:
        while not attempt.draining:
            await attempt.clock.sleep(1.0)
            if attempt.task.priority:
                return DONE
        return Requeue(reason="an urgent task goes first")

    async def work(house: House) -> None:
        tasks = [await house.add() for _ in range(5)]
        for task in tasks:
            await house.ended(task.id)
        assert [round(at - begun[0]) for at in begun] == [0, 0, 60, 60, 120]
        lesser = await house.add(kind=TaskKind.RUN, project="acme")
        await house.reaches(lesser.id, TaskState.RUNNING)
        urgent = await house.add(kind=TaskKind.RUN, project="acme", priority=URGENT_PRIORITY)
        await house.ended(urgent.id)
        await house.do(lambda tx: tx.move_task(lesser.id, TaskEvent.CANCEL, actor="ann", now=house.clock.now()))
        more = [await house.add() for _ in range(2)]
        await house.ended(more[0].id)
        opened_s = house.clock.elapsed_s()
        await house.do(lambda tx: tx.set_limits((), now=house.clock.now()))  # another node's file says so
        await house.ended(more[1].id)
        assert begun[-1] == opened_s

    work_in(work, Deed(begin), Deed(work_on, kind=TaskKind.RUN), limits=limits)
