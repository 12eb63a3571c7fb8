"""The clocks: the real one, and the manual one that every other test of the engine stands on."""

from __future__ import annotations

import asyncio
import threading
import time

from ostinato.engine.clock import SystemClock
from ostinato.testing.clock import ManualClock, run_virtual
from tests.conftest import run


def test_the_real_clock_tells_the_time_of_the_machine() -> None:
    clock = SystemClock()
    assert abs(clock.now() - time.time() * 1e6) < 1e6
    before_s = clock.elapsed_s()
    run(clock.sleep(0.001))
    assert clock.elapsed_s() - before_s >= 0.001


def test_a_manual_clock_stands_still_until_it_is_moved() -> None:
    async def work() -> None:
        clock = ManualClock()
        began_at = clock.now()
        sleeper = asyncio.create_task(clock.sleep(60))
        await clock.wait_sleepers(1)
        clock.advance(59.999)
        await asyncio.sleep(0)
        assert not sleeper.done()
        clock.advance(0.001)
        await sleeper
        assert clock.now() - began_at == 60_000_000
        assert clock.elapsed_s() == 60.0

    run(work())


def test_sleepers_wake_in_the_order_of_their_times() -> None:
    async def work() -> None:
        clock = ManualClock()
        woken: list[float] = []

        async def nap(seconds: float) -> None:
            await clock.sleep(seconds)
            woken.append(seconds)

        sleepers = [asyncio.create_task(nap(seconds)) for seconds in (3, 1, 2)]
        await clock.wait_sleepers(3)
        clock.advance(10)
        await asyncio.gather(*sleepers)
        assert woken == [1, 2, 3]

    run(work())


def test_a_cancelled_sleeper_is_forgotten() -> None:
    async def work() -> None:
        clock = ManualClock()
        sleeper = asyncio.create_task(clock.sleep(5))
        await clock.wait_sleepers(1)
        sleeper.cancel()
        await asyncio.wait((sleeper,))
        assert clock.sleepers == 0
        assert not clock.jump()

    run(work())


def test_setting_the_wall_clock_wakes_nobody() -> None:
    async def work() -> None:
        clock = ManualClock()
        sleeper = asyncio.create_task(clock.sleep(5))
        await clock.wait_sleepers(1)
        clock.set(clock.now() + 3_600_000_000)
        await asyncio.sleep(0)
        assert not sleeper.done()
        assert clock.elapsed_s() == 0.0
        clock.advance(5)
        await sleeper

    run(work())


def test_virtual_time_jumps_when_all_wait() -> None:
    async def work(clock: ManualClock) -> list[float]:
        woken: list[float] = []

        async def nap(seconds: float) -> None:
            for _ in range(3):
                await clock.sleep(seconds)
                woken.append(clock.elapsed_s())

        await asyncio.gather(nap(3_600), nap(5_000))
        return woken

    clock = ManualClock()
    assert run_virtual(work(clock), clock) == [3_600, 5_000, 7_200, 10_000, 10_800, 15_000]


def test_virtual_time_does_not_jump_while_a_thread_works() -> None:
    async def work(clock: ManualClock) -> float:
        go = threading.Event()
        sleeper = asyncio.create_task(clock.sleep(1_000))
        with clock.outside():
            asyncio.get_running_loop().call_later(0.02, go.set)
            await asyncio.to_thread(go.wait)
            seen_s = clock.elapsed_s()
        await sleeper
        return seen_s

    clock = ManualClock()
    assert run_virtual(work(clock), clock) == 0.0
    assert clock.elapsed_s() == 1_000.0
