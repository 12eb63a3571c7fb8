"""Placement by the store's own commits: one that makes a task claimable is the hint that wakes the worker.

Hints only: the row and its token alone decide who runs a task, so a lost hint costs time and a doubled one a look. A
store that several nodes share brings the commits of all of them (PostgreSQL by NOTIFY, in the commit itself), so this
is the dispatcher of one node and of many. Knows nothing of what the hinted task is.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ostinato.domain.event import Event, EventName
from ostinato.store.port import EVERY_POOL, Store

ANY_POOL = EVERY_POOL
"""A hint whose pool is not known: it concerns every pool."""

CLAIMABLE = frozenset(
    {
        EventName.TASK_ADDED,
        EventName.TASK_APPROVED,
        EventName.TASK_RELEASED,
        EventName.TASK_RETURNED,
        EventName.TASK_WOKEN,
        EventName.TASK_RETRIED,
        EventName.TASK_REQUEUED,
        EventName.TASK_REPLAYED,
        EventName.TASK_CHANGED,
        EventName.AGENT_PLACED,
        EventName.FLAG_CLEARED,
        EventName.LIMITS_CHANGED,
    }
)
"""Events after which there may be something to claim that was not there before."""


class LocalDispatcher:
    """One flag for each pool, and whoever waits for it in this process."""

    def __init__(self) -> None:
        self._hinted: set[str] = set()
        self._waiting: list[tuple[frozenset[str], asyncio.Future[None]]] = []
        self._unsubscribe: Callable[[], None] | None = None

    def listen(self, store: Store) -> None:
        """Takes every commit of `store` from now on as a hint."""
        if self._unsubscribe is None:
            self._unsubscribe = store.subscribe(self._heard)

    def offer(self, task: int, *, pool: str, priority: int) -> None:
        """Wakes all who take from `pool`. One flag a pool is enough: a claim looks at everything that is there."""
        called = [each for each in self._waiting if pool == ANY_POOL or {pool, ANY_POOL} & each[0]]
        if not called:
            self._hinted.add(pool)
        for each in called:
            self._waiting.remove(each)
            if not each[1].done():
                each[1].set_result(None)

    async def take(self, pools: Sequence[str], free: int) -> None:
        """Returns when there may be something to claim in one of `pools`; at once where a hint is left over."""
        del free  # a flag says nothing of how much there is
        wanted = frozenset(pools)
        met = set(self._hinted) if ANY_POOL in wanted else self._hinted & (wanted | {ANY_POOL})
        if met:
            self._hinted -= met
            return
        waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (wanted, waiter)
        self._waiting.append(entry)
        try:
            await waiter
        finally:
            if entry in self._waiting:
                self._waiting.remove(entry)

    def close(self) -> None:
        """Hears nothing more."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def _heard(self, events: Sequence[Event]) -> None:
        """A task that the same commit has claimed already needs no hint."""
        waiting: set[int] = set()
        for event in events:
            if event.name in CLAIMABLE:
                waiting.add(event.task or 0)
            elif event.name is EventName.TASK_CLAIMED:
                waiting.discard(event.task or 0)
        if waiting:
            self.offer(0, pool=ANY_POOL, priority=0)
