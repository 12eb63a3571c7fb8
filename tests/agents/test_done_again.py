"""What is performed a second time, because another of its commit failed late, has left nothing of the first behind."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from ostinato.agents.gauge import SETTING, Gauge
from ostinato.agents.turn_handler import TurnHandler
from ostinato.domain.task import Task, TaskKind
from ostinato.engine.breakers import Breakers, Trouble
from ostinato.store.port import Claim, ClaimRequest, Store, Tx
from ostinato.store.sqlite import open_store
from tests.agents.fleet import running
from tests.conftest import run

NOW = 1_000_000_000


async def done_again(store: Store, fn: Callable[[Tx], object]) -> None:
    """Has `fn` performed in one commit with a function that fails after it has written, and so a second time."""
    begun, go, times = threading.Event(), threading.Event(), 0

    def hold(tx: Tx) -> None:
        begun.set()
        go.wait(60.0)

    def counted(tx: Tx) -> None:
        nonlocal times
        times += 1
        fn(tx)

    def fails(tx: Tx) -> None:
        tx.set_setting("x", str(times))
        raise ZeroDivisionError

    held = asyncio.ensure_future(store.run(hold))
    await asyncio.to_thread(begun.wait, 60.0)
    both = [asyncio.ensure_future(store.run(each)) for each in (counted, fails)]
    await asyncio.sleep(0)  # both are handed in while the writer is busy
    go.set()
    _, kept, failed = await asyncio.gather(held, *both, return_exceptions=True)
    assert (kept, type(failed), times) == (None, ZeroDivisionError, 2)


def test_what_a_model_was_found_to_count_is_learned_once_and_written_down() -> None:
    async def story() -> None:
        store, gauge = open_store(None), Gauge()
        await store.run(lambda tx: gauge.tokens(tx, "m", 100))
        gauge.learn("m", estimated=1_000, counted=2_000)
        await done_again(store, lambda tx: gauge.keep(tx, "m"))
        assert await store.read(lambda reads: reads.setting(f"{SETTING}m")) == "1.200"
        gauge.kept("m")
        await store.run(lambda tx: tx.set_setting(f"{SETTING}m", "untouched"))
        await store.run(lambda tx: gauge.keep(tx, "m"))
        assert await store.read(lambda reads: reads.setting(f"{SETTING}m")) == "untouched"
        await store.close()

    run(story())


def test_a_breaker_is_closed_by_the_call_that_came_back() -> None:
    async def story() -> None:
        store, breakers = open_store(None), Breakers()
        trouble = Trouble(reason="it was away")
        await store.run(lambda tx: breakers.went_wrong(tx, "model:m", trouble, who="T1", now=NOW, task=1))
        await done_again(store, lambda tx: breakers.went_well(tx, ["model:m"], who="T1", now=NOW))
        assert await store.read(lambda reads: reads.breaker("model:m")) is None
        await store.close()

    run(story())


def test_a_turn_whose_claim_was_undone_does_not_go_on_with_steps_that_nobody_has_written(tmp_path: Path) -> None:
    files = {
        "agents/helper/SOUL.md": "You help.\n",
        "agents/helper/AGENTS.md": "You help.\n",
        "model.yaml": "default: {text: hello}\n",
    }

    async def story() -> None:
        async with running(tmp_path, files, start=False) as fleet:
            await fleet.tell("helper", "a word")
            handler = TurnHandler(TaskKind.TURN, leashes=fleet.leashes, models=fleet.models, live=fleet.live)

            def begin(tx: Tx) -> Task:
                (task,) = tx.claim(ClaimRequest(node=1), now=fleet.clock.now())
                handler.open(tx, task, now=fleet.clock.now())
                return task

            with pytest.raises(ZeroDivisionError):
                await fleet.store.run(lambda tx: begin(tx).id / 0)
            await fleet.store.run(lambda tx: tx.note_task(1, "a remark", by="ann", now=fleet.clock.now()))
            task = await fleet.store.run(begin)
            port: Any = SimpleNamespace(
                task=task, claim=Claim(task=1, token=task.token), store=fleet.store, clock=fleet.clock, draining=False
            )
            await handler.perform(port)
            kinds = [type(each).__name__ for each in await fleet.journal(1)]
            assert kinds == ["Note", "Input", "ModelIntent", "ModelAnswer"]

    run(story())
