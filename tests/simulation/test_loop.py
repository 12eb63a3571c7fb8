"""Virtual time: it passes only where everybody waits, and a process can end between any two steps."""

from __future__ import annotations

import asyncio

import pytest

from ostinato.testing.simulation.loop import Died, Loop, LoopClock, Time, die


def turn(loop: Loop, time: Time) -> None:
    """Runs one loop alone until nothing is left to do."""
    while (due := loop.due_us()) is not None:
        time.elapsed_us = due
        loop.run()


def test_hours_pass_in_no_time_and_in_order() -> None:
    time = Time(1_000)
    loop = Loop(time, delay_s=lambda: 0.5)
    clock, seen = LoopClock(time, loop), []

    async def rest(seconds: float) -> None:
        await clock.sleep(seconds)
        seen.append((clock.elapsed_s(), clock.now()))

    async def work() -> int:
        return await asyncio.to_thread(lambda: 7)

    works = [loop.create_task(rest(7_200.0)), loop.create_task(rest(0.25)), loop.create_task(work())]
    turn(loop, time)
    assert seen == [(0.25, 251_000), (7_200.0, 7_200_001_000)]
    assert works[2].result() == 7  # type: ignore[comparison-overlap]  # the third is another kind of task
    loop.bury()


def test_a_timeout_of_asyncio_is_virtual_too() -> None:
    time = Time(0)
    loop = Loop(time, delay_s=lambda: 0.0)

    async def wait() -> None:
        async with asyncio.timeout(60.0):
            await asyncio.Event().wait()

    waiting = loop.create_task(wait())
    turn(loop, time)
    assert isinstance(waiting.exception(), TimeoutError)
    assert time.elapsed_us == 60_000_000
    loop.bury()


def test_a_process_that_dies_does_nothing_more_and_its_last_words_are_not_heard() -> None:
    time = Time(0)
    loop = Loop(time, delay_s=lambda: 0.0)
    said = []

    async def speak() -> None:
        try:
            await LoopClock(time, loop).sleep(1.0)
            said.append("alive")
        finally:
            await asyncio.to_thread(lambda: None)
            said.append("never")

    loop.create_task(speak())
    loop.call_later(0.5, die)
    with pytest.raises(Died):
        turn(loop, time)
    loop.bury()
    assert said == []


def test_last_words_make_no_loop_of_their_own() -> None:
    made = []

    class Policy(asyncio.DefaultEventLoopPolicy):
        """As in a process that has had no loop yet."""

        def new_event_loop(self) -> asyncio.AbstractEventLoop:
            made.append("one")
            raise AssertionError("nobody closes it")

    time = Time(0)
    loop = Loop(time, delay_s=lambda: 0.0)

    async def speak() -> None:
        try:
            await LoopClock(time, loop).sleep(1.0)
        finally:
            await asyncio.gather(asyncio.Event().wait())

    before = asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(Policy())
    try:
        loop.create_task(speak())
        loop.call_later(0.5, die)
        with pytest.raises(Died):
            turn(loop, time)
        loop.bury()
    finally:
        asyncio.set_event_loop_policy(before)
    assert made == []


def test_a_frozen_process_goes_on_later() -> None:
    time = Time(0)
    loop = Loop(time, delay_s=lambda: 0.0)
    loop.call_later(1.0, lambda: None)
    loop.frozen_until_us = 30_000_000
    assert loop.due_us() == 30_000_000
    loop.bury()
