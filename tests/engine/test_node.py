"""A node: starts and stops in order, as often as it is told; drains; gives up its work when it has lost its lease."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.errors import Conflict, Internal
from ostinato.domain.event import EventName
from ostinato.domain.task import Outcome, Requeue, Task, TaskState
from ostinato.engine.clock import SystemClock
from ostinato.engine.lease import STALLED_EXIT_CODE, Lease, LeaseTimes
from ostinato.engine.limits import EngineLimits
from ostinato.engine.lock import FleetLock
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.notice import AttemptStuck, LeaseLost, LoopStalled, Notice, StoreChecked
from ostinato.engine.port import AttemptPort
from ostinato.store.port import ClaimRequest, EventFilter, Store
from ostinato.store.sqlite import open_store
from tests.conftest import run
from tests.engine.house import DONE, Deed, House, never_fire, work_in


def node_over(store: Store, *handlers: Deed, notices: list[Notice] | None = None, **more: Any) -> EngineNode:
    """A node in real time."""
    said = notices if notices is not None else []
    settings = NodeSettings(version="0", limits=EngineLimits(tasks=8), **more.pop("settings", {"lease": None}))
    return EngineNode(
        store, handlers, clock=SystemClock(), settings=settings, fire=never_fire, notify=said.append, **more
    )


async def ended(node: EngineNode, title: str = "a task") -> Task:
    """Adds a task and waits for its end."""
    house = House(node, node.store, node.clock, [])  # type: ignore[arg-type]  # the real clock will do
    task = await house.add(title)
    return await node.completions.wait(task.id)


def test_start_and_stop_may_be_called_in_any_order_and_often() -> None:
    async def work(house: House) -> None:
        node = house.node
        await node.stop()
        await node.stop()
        await asyncio.gather(node.start(), node.start())
        first = node.node
        task = await house.add()
        assert (await house.ended(task.id)).state is TaskState.DONE
        await asyncio.gather(node.stop(), node.stop())
        await node.wait_stopped()
        await node.start()
        assert node.node is not None
        assert first is not None
        assert node.node.id == first.id + 1
        assert (await house.ended((await house.add()).id)).state is TaskState.DONE
        await node.stop()
        nodes = await house.store.read(lambda reads: reads.nodes())
        assert [(each.id, each.clean) for each in nodes] == [(2, True), (1, True)]
        left = {each.get_name() for each in asyncio.all_tasks()} - {asyncio.current_task().get_name()}  # type: ignore[union-attr]  # there is one
        assert not left & {"worker", "worker hints", "alarm", "rescuer", "scheduler", "pruner", "deadlines"}

    work_in(work, started=False)


def test_a_drain_lets_attempts_come_to_a_step_boundary_and_begins_nothing() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        while not attempt.draining:
            await attempt.clock.sleep(1)
        late.append(await added[0].add())
        return Requeue(reason="the node is stopping")

    async def work(house: House) -> None:
        added.append(house)
        running = await house.add()
        await house.reaches(running.id, TaskState.RUNNING)
        await house.node.stop()
        assert [(await house.task(each.id)).state for each in (running, late[0])] == [TaskState.READY] * 2
        assert house.clock.elapsed_s() < 2
        assert deed.performed == [running.id]

    added: list[House] = []
    late: list[Task] = []
    deed = Deed(perform)
    work_in(work, deed)


def test_a_drain_waits_twenty_seconds_and_then_cancels() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        await attempt.clock.sleep(attempt.task.spec.input.get("takes_s", 3_600))
        return DONE

    async def work(house: House) -> None:
        from ostinato.domain.task import TaskSpec

        short = await house.add(spec=TaskSpec(input={"takes_s": 15}))
        long = await house.add()
        await house.reaches(long.id, TaskState.RUNNING)
        began_s = house.clock.elapsed_s()
        await house.node.stop()
        assert house.clock.elapsed_s() - began_s == pytest.approx(20, abs=0.1)
        assert (await house.task(short.id)).state is TaskState.DONE
        left = await house.task(long.id)
        assert (left.state, left.failures, left.losses) == (TaskState.READY, 0, 0)

    work_in(work, Deed(perform))


def test_what_will_not_end_is_left_to_the_next_node() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        while attempt.task.attempts == 1:
            try:
                await attempt.clock.sleep(60)
            except asyncio.CancelledError:
                if attempt.clock.elapsed_s() > 200:
                    raise
        return DONE

    async def work(house: House) -> None:
        task = await house.add()
        await house.reaches(task.id, TaskState.RUNNING)
        await house.node.stop()
        assert (await house.task(task.id)).state is TaskState.READY
        assert any(isinstance(each, AttemptStuck) for each in house.notices)
        await house.node.start()
        assert (await house.ended(task.id)).attempts == 2
        await house.clock.sleep(400)

    work_in(work, Deed(perform), quiet=False)


def test_stopping_goes_on_when_the_one_who_asked_is_cancelled() -> None:
    async def work(house: House) -> None:
        stopping = asyncio.create_task(house.node.stop())
        await asyncio.sleep(0)
        stopping.cancel()
        await asyncio.wait((stopping,))
        await house.node.wait_stopped()
        [node] = await house.store.read(lambda reads: reads.nodes())
        assert node.clean

    work_in(work)


# --- the lock -----------------------------------------------------------------------------------------------------


def test_a_second_node_is_refused_with_the_pid_of_the_first(tmp_path: Path) -> None:
    code = (
        "import sys; from pathlib import Path; from ostinato.engine.lock import FleetLock;"
        f"FleetLock(Path({str(tmp_path)!r})).acquire(); print('held', flush=True); sys.stdin.read()"
    )
    command = [sys.executable, "-c", code]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as other:
        assert other.stdout is not None
        assert other.stdout.readline() == "held\n"
        lock = FleetLock(tmp_path)
        assert lock.holder() == other.pid
        with pytest.raises(Conflict, match=f"already held by process {other.pid}"):
            lock.acquire(wait_s=0.0)
        other.kill()
        other.wait()
    assert lock.holder() is None
    lock.acquire()
    assert lock.holder() == os.getpid()
    lock.release()


def test_a_lock_is_waited_for_a_moment(tmp_path: Path) -> None:
    first, second = FleetLock(tmp_path), FleetLock(tmp_path)
    first.acquire()
    timer = threading.Timer(0.05, first.release)
    timer.start()
    second.acquire(wait_s=5.0)
    timer.join()
    assert second.held
    assert not first.held
    second.release()
    second.release()


def test_a_command_is_waited_for_longer_than_a_node(tmp_path: Path) -> None:
    tried = threading.Event()

    class Watched(FleetLock):
        def _try(self) -> int | None:
            found = super()._try()
            tried.set()
            return found

    command, node = FleetLock(tmp_path, brief=True), Watched(tmp_path)
    command.acquire()
    waiting = threading.Thread(target=node.acquire, kwargs={"wait_s": 0.0})
    waiting.start()
    assert tried.wait(5.0)
    command.release()
    waiting.join()
    assert node.held, "it did not give up with the first try"
    with pytest.raises(Conflict, match="already held"):
        command.acquire(wait_s=0.0)
    node.release()


@pytest.mark.slow
def test_a_node_that_is_refused_leaves_nothing_running(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(None)
        lock = FleetLock(tmp_path)
        with FleetLock(tmp_path):
            node = node_over(store, Deed(), lock=lock)
            with pytest.raises(Conflict):
                await node.start()
            assert await store.read(lambda reads: reads.nodes()) == []
        await node.start()
        assert lock.held
        assert (await ended(node)).state is TaskState.DONE
        await node.stop()
        assert not lock.held
        await store.close()

    run(work())


def test_a_lock_that_was_held_before_the_node_stays_held_after_it(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(None)
        with FleetLock(tmp_path) as lock:
            node = node_over(store, Deed(), lock=lock)
            await node.start()
            await node.stop()
            assert lock.held
        await store.close()

    run(work())


# --- several nodes ------------------------------------------------------------------------------------------------


def test_nodes_on_one_store_share_the_work_and_none_does_it_twice() -> None:
    async def perform(attempt: AttemptPort) -> Outcome:
        await asyncio.sleep(0)
        return DONE

    async def work() -> None:
        store = open_store(None)
        deeds = [Deed(perform), Deed(perform)]
        nodes = [node_over(store, deed, settings={"lease": None, "exclusive": False}) for deed in deeds]
        for node in nodes:
            await node.start()
        await asyncio.gather(*(ended(nodes[0]) for _ in range(100)))
        assert sorted(deeds[0].performed + deeds[1].performed) == list(range(1, 101))
        assert all(deed.performed for deed in deeds)
        for node in nodes:
            await node.stop()
        await store.close()

    run(work())


def test_what_a_lost_node_held_is_done_by_another_once_its_lease_is_over() -> None:
    async def work(house: House) -> None:
        now = house.clock.now()
        task = await house.add()
        lost = await house.do(
            lambda tx: tx.start_node(pid=1, host="x", version="0", lease_s=0.02, exclusive=False, now=now)
        )
        request = ClaimRequest(node=lost.id, most=1)
        assert [each.id for each in await house.do(lambda tx: tx.claim(request, now=now))] == [task.id]
        await house.node.start()
        ended = await house.ended(task.id)
        assert (ended.state, ended.losses, ended.attempts) == (TaskState.DONE, 0, 2)
        outcomes = [each.outcome for each in await house.store.read(lambda reads: reads.attempts(task.id))]
        assert outcomes == ["lost", "done"]

    work_in(work, started=False, exclusive=False)


# --- the lease ----------------------------------------------------------------------------------------------------

QUICK = LeaseTimes(lease_s=0.2, renew_s=0.01, stall_s=10.0, tick_s=0.005)


def test_a_node_renews_its_lease_from_a_thread_of_its_own(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path)
        renewed = asyncio.Event()
        threads: set[str] = set()

        class Watched:
            async def run(self, fn: Any) -> Any:
                if threading.current_thread() is not threading.main_thread():
                    threads.add(threading.current_thread().name)
                    loop.call_soon_threadsafe(renewed.set)
                return await store.run(fn)

            def __getattr__(self, name: str) -> Any:
                return getattr(store, name)

        loop = asyncio.get_running_loop()
        node = node_over(Watched(), Deed(), settings={"lease": QUICK, "exclusive": False})  # type: ignore[arg-type]  # by duck typing
        await node.start()
        for _ in range(3):
            await renewed.wait()
            renewed.clear()
        await node.stop()
        assert threads == {"lease"}
        await store.close()

    run(work())


def test_a_node_that_has_lost_its_lease_stops_and_says_why(tmp_path: Path) -> None:
    cancelled = asyncio.Event()

    async def perform(attempt: AttemptPort) -> Outcome:
        try:
            await asyncio.get_running_loop().create_future()
        except asyncio.CancelledError:
            cancelled.set()
            raise
        return DONE

    async def work() -> None:
        store = open_store(tmp_path)
        notices: list[Notice] = []
        node = node_over(store, Deed(perform), notices=notices, settings={"lease": QUICK, "exclusive": False})
        await node.start()
        house = House(node, store, node.clock, notices)  # type: ignore[arg-type]  # the real clock will do
        task = await house.add()
        other = await store.run(  # a second node of the same fleet, which should not be able to exist
            lambda tx: tx.start_node(pid=1, host="x", version="0", lease_s=60, exclusive=True, now=house.clock.now())
        )
        with pytest.raises(Internal, match="lost its lease"):
            await node.wait_stopped()
        assert cancelled.is_set()
        assert [type(each) for each in notices] == [LeaseLost]
        assert node.running == 0
        left = await house.task(task.id)
        assert (left.state, left.node) != (TaskState.DONE, None)
        [newest, *_] = await store.read(lambda reads: reads.nodes())
        assert newest.id == other.id
        await store.close()

    run(work())


def test_a_node_that_is_alone_keeps_its_work_however_long_the_machine_slept(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path)
        node = node_over(store, Deed(), settings={"lease": LeaseTimes(lease_s=0.0, renew_s=0.0, tick_s=0.005)})
        await node.start()
        for _ in range(3):
            await node.clock.sleep(0.01)
            await store.run(lambda tx: tx.rescue(now=node.clock.now()))
        assert (await ended(node)).attempts == 1
        await node.stop()
        [only] = await store.read(lambda reads: reads.nodes())
        assert only.clean
        await store.close()

    run(work())


def test_a_lease_that_cannot_be_renewed_is_given_up_when_it_is_over() -> None:
    async def work() -> None:
        lost = asyncio.Event()
        notices: list[Notice] = []

        def renew() -> bool:
            raise OSError("the database is away")

        times = LeaseTimes(lease_s=0.05, renew_s=0.01, stall_s=10.0, tick_s=0.005)
        lease = Lease(7, renew, lost.set, times=times, notify=notices.append)
        lease.start()
        await lost.wait()
        await lease.stop()
        await lease.stop()
        [notice] = notices
        assert isinstance(notice, LeaseLost)
        assert "the database is away" in notice.reason

    run(work())


def test_a_loop_that_no_longer_ticks_ends_the_process_with_its_stacks_shown(tmp_path: Path) -> None:
    ended_with: list[int] = []

    async def work() -> None:
        notices: list[Notice] = []
        done = threading.Event()

        def end(code: int) -> None:
            ended_with.append(code)
            done.set()

        times = LeaseTimes(lease_s=60.0, renew_s=60.0, stall_s=0.03, tick_s=0.005)
        lease = Lease(7, lambda: True, lambda: None, times=times, notify=notices.append, end=end)
        lease.start()
        done.wait(10)  # the loop stands still
        await lease.stop()
        assert [type(each) for each in notices] == [LoopStalled]

    run(work())
    assert ended_with == [STALLED_EXIT_CODE]


# --- the store ----------------------------------------------------------------------------------------------------


def test_after_an_unclean_end_the_database_is_checked_beside_the_work(tmp_path: Path) -> None:
    async def work() -> None:
        store = open_store(tmp_path)
        now = SystemClock().now()
        await store.run(
            lambda tx: tx.start_node(pid=1, host="x", version="0", lease_s=60, exclusive=True, now=now)
        )  # and it was never ended
        notices: list[Notice] = []
        node = node_over(store, Deed(), notices=notices)
        checked = asyncio.Event()
        store.subscribe(
            lambda events: checked.set() if any(e.name is EventName.STORE_CHECKED for e in events) else None
        )
        await node.start()
        await checked.wait()
        await node.stop()
        assert notices == [StoreChecked(result="ok")]
        which = EventFilter(names=frozenset({EventName.STORE_CHECKED}))
        [event] = await store.read(lambda reads: reads.events(which))
        assert event.reason == "ok"
        await node.start()  # after a clean end there is nothing to check
        await node.stop()
        assert len(await store.read(lambda reads: reads.events(which))) == 1
        await store.close()

    run(work())


def test_a_store_that_is_broken_ends_the_node() -> None:
    async def work(house: House) -> None:
        broken.append(True)
        await house.clock.sleep(60)
        with pytest.raises(Internal, match="The database cannot be trusted"):
            await house.node.wait_stopped()

    broken: list[bool] = []

    class Breaking:
        def __init__(self, store: Any) -> None:
            self._store = store

        async def run(self, fn: Any) -> Any:
            if broken:
                raise Internal("The database cannot be trusted")
            return await self._store.run(fn)

        def __getattr__(self, name: str) -> Any:
            return getattr(self._store, name)

    work_in(work, wrap=Breaking, quiet=False)  # type: ignore[arg-type]  # by duck typing
