"""Makes a node's run the same each time: one access to the store after the other, each commit for one caller, and
threads whose work is done at once.

Without it neighbours share commits as it happens, and the same commit has another number in the next run: a kill at
each number would then miss some. What comes of sharing is for the kills at random moments. Knows nothing of kills.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any, TypeVar

from ostinato.store.port import Reads, Store, Tx
from ostinato.testing.clock import ManualClock, WatchedStore

T = TypeVar("T")


class LockstepStore(WatchedStore):
    """A store whose callers queue up."""

    def __init__(self, store: Store, clock: ManualClock) -> None:
        super().__init__(store, clock)
        self._turn = asyncio.Lock()

    async def run(self, fn: Callable[[Tx], T]) -> T:
        """When all who came earlier have been served."""
        async with self._turn:
            return await super().run(fn)

    async def read(self, fn: Callable[[Reads], T]) -> T:
        """When all who came earlier have been served."""
        async with self._turn:
            return await super().read(fn)


class NoThreads(ThreadPoolExecutor):
    """An executor for an event loop that does the work in the loop's own thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        """Does it now."""
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # it goes to whoever waits for the result
            future.set_exception(error)
        return future
