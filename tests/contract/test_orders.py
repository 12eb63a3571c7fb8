"""Nobody waits for ever: what goes wrong beside a function ends what it must, and no more."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from typing import Any

import pytest

from ostinato.domain.errors import Internal
from ostinato.domain.event import Event
from ostinato.domain.task import NewTask, TaskKind
from ostinato.store.orders import Batch, Orders
from ostinato.store.port import Tx
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.checkpoints import Checkpoints
from ostinato.store.sqlite.database import StoreBroken
from tests.conftest import run


def test_a_thread_that_fails_beside_all_functions_tells_who_waits_and_takes_nothing_more() -> None:
    def fails(batch: Batch) -> None:
        raise ZeroDivisionError("a mistake of ours")

    async def story() -> None:
        orders = Orders(fails)
        for _ in (1, 2):
            with pytest.raises(Internal, match="a mistake of ours"):
                await asyncio.wait_for(orders.run(lambda tx: None), 30.0)
        await orders.close()

    run(story())


def test_a_listener_that_raises_keeps_nothing_from_the_others_nor_from_what_goes_along() -> None:
    heard: list[str] = []

    def raises(events: Sequence[Event]) -> None:
        raise ZeroDivisionError("a listener's mistake")

    async def story() -> None:
        store = open_store(None)
        asyncio.get_running_loop().set_exception_handler(lambda loop, context: heard.append(str(context["exception"])))
        store.subscribe(raises)
        store.subscribe(lambda events: heard.append("event"))
        store.run_along(lambda tx: "claimed", lambda value, committed: heard.append(value))
        await store.run(lambda tx: tx.add_task(NewTask(kind=TaskKind.RUN, title="x"), now=1))
        await store.close()
        assert heard == ["a listener's mistake", "event", "claimed"]

    run(story())


def test_who_gives_up_while_a_commit_is_under_way_keeps_nobody_else_waiting() -> None:
    performing, goes_on = threading.Event(), threading.Event()

    def slow(tx: Tx) -> None:
        performing.set()
        assert goes_on.wait(30.0)

    async def story() -> None:
        store = open_store(None)
        first = asyncio.ensure_future(store.run(lambda tx: None))
        callers = [asyncio.ensure_future(store.run(fn)) for fn in (slow, lambda tx: "here")]
        await asyncio.to_thread(performing.wait, 30.0)
        callers[0].cancel()
        await asyncio.sleep(0)
        goes_on.set()
        assert await asyncio.wait_for(callers[1], 30.0) == "here"
        await first
        await store.close()

    run(story())


def test_a_file_that_is_found_damaged_while_nobody_waits_breaks_the_store() -> None:
    class Damaged:
        def execute(self, text: str) -> Any:
            error = sqlite3.DatabaseError("database disk image is malformed")
            error.sqlite_errorcode = sqlite3.SQLITE_CORRUPT
            raise error

    connection: Any = Damaged()
    with pytest.raises(StoreBroken):
        Checkpoints(connection).when_idle()
