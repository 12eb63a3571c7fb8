"""Waiting for the store to change, for those who follow something: wakes on commits, and looks now and then anyway.

Knows nothing of what is followed.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

from ostinato.domain.event import Event
from ostinato.store.port import Store

LOOK_AGAIN_S = 0.5
"""Steps of a journal are no events; this is how late a follower may see one."""


class Changes:
    """Tells that something was committed since the last look."""

    def __init__(self) -> None:
        self._changed = asyncio.Event()

    def notice(self, _events: Sequence[Event] = ()) -> None:
        """The store's listener."""
        self._changed.set()

    async def wait(self) -> None:
        """Returns after the next commit with events, or after LOOK_AGAIN_S."""
        try:
            async with asyncio.timeout(LOOK_AGAIN_S):
                await self._changed.wait()
        except TimeoutError:
            pass  # looking again is all that is wanted
        self._changed.clear()


@asynccontextmanager
async def changes_of(store: Store) -> AsyncIterator[Changes]:
    """Listens as long as the block runs."""
    changes = Changes()
    leave = store.subscribe(changes.notice)
    try:
        yield changes
    finally:
        leave()
