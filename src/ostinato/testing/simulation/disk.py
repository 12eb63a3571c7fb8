"""The SQLite store in virtual time: the same code and a real file, with the writer's thread played by the loop.

Functions that come in while a commit is under way wait together and share the next, as on the thread. A process can die
before a commit, or after it and before anybody is told. Knows nothing of tasks.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any, Literal

from ostinato.store.orders import FUNCTIONS_MAX, Order
from ostinato.store.sqlite import SqliteStore, open_store
from ostinato.store.sqlite.writer import Writer
from ostinato.testing.simulation.loop import Died, Loop

Trouble = Callable[[Literal["before", "after"], int], None]
"""Told of each commit, as `CommitHook` is; raises Died where the process ends there, StoreFull where there is no
room."""


class _LoopWriter(Writer):
    """A writer whose thread is a turn of the loop, some time later."""

    delay_s: Callable[[], float]
    _orders: list[Order]
    _busy = False
    _died = False

    def _start(self) -> None:
        """There is no thread."""

    def _hand_over(self, loop: asyncio.AbstractEventLoop) -> None:
        self._orders += self._gathered.pop(loop)
        self._next()

    def _next(self) -> None:
        if self._orders and not self._busy:
            self._busy = True
            asyncio.get_running_loop().call_later(self.delay_s(), self._commit_some)

    def _commit_some(self) -> None:
        orders, self._orders = self._orders[:FUNCTIONS_MAX], self._orders[FUNCTIONS_MAX:]
        self._busy = False
        self._perform_all(orders)
        self._next()

    def _tell(self, *told: Any) -> None:
        if self._died:  # raised here, because whatever is raised around a commit goes to its callers
            raise Died
        super()._tell(*told)

    async def close(self) -> None:
        """Performs what was handed in, then closes the connection."""
        while self._orders or self._busy or any(self._gathered.values()):  # noqa: ASYNC110 - time is virtual
            await asyncio.sleep(0.001)
        await super().close()


class LoopStore(SqliteStore):
    """A store without threads."""

    writer = _LoopWriter

    @property
    def loop_writer(self) -> _LoopWriter:
        """What writes."""
        assert isinstance(self._writer, _LoopWriter)
        return self._writer

    def live(self, loop: Loop, *, delay_s: Callable[[], float], lease_now: Callable[[], int]) -> None:
        """Begins to live in `loop`. A commit takes `delay_s()`."""
        writer = self.loop_writer
        writer.delay_s = delay_s
        writer._orders = []
        writer._crowded = True  # all wait for a turn of the loop: no thread would take what is handed over at once
        writer._connection.execute("PRAGMA synchronous = OFF")  # processes die here, machines do not
        writer._database.lease_now = lease_now  # type: ignore[method-assign]  # the machine's clock, too

    def die(self) -> None:
        """Lets go of the file as a process does that ends: what is not committed is gone."""
        for connection in (*self._readers, self._writer._connection):
            connection.close()


def open_loop_store(directory: Path, trouble: Trouble) -> LoopStore:
    """The store in a state directory. `live` has to follow."""

    def hook(when: Literal["before", "after"], number: int) -> None:
        try:
            trouble(when, number)
        except Died:
            writer._died = True
            if when == "before":
                raise  # the commit is not made

    store = open_store(directory, hook=hook, kind=LoopStore)
    assert isinstance(store, LoopStore)
    writer = store.loop_writer
    return store
