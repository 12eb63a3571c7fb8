"""Waiting for a task to end, without asking the database again and again: commits say it.

Knows nothing of how tasks run; works on any node whose store announces the commits.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from ostinato.domain.errors import Conflict
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import ENDED, Task
from ostinato.store.port import Store

ENDINGS = frozenset({EventName.TASK_DONE, EventName.TASK_FAILED, EventName.TASK_CANCELLED})
"""Events after which a task has a result, or never will."""

REMEMBERED = 4_096
"""Endings kept for those who ask a moment later; who asks later still is answered from the database."""


class Completions:
    """Who waits for which task. One for a node is enough."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._waiting: dict[int, list[asyncio.Future[EventName]]] = {}
        self._ended: dict[int, EventName] = {}
        self._unsubscribe: Callable[[], None] | None = store.subscribe(self._heard)

    async def wait(self, task: int) -> Task:
        """The task once it has ended, as done, failed or cancelled; raises NotFound for one that does not exist."""
        if task not in self._ended:
            ended = self._expect(task)
            try:
                now = await self._store.read(lambda reads: reads.task(task))
                if now.state in ENDED:
                    return now
                await ended
            finally:
                self._forget(task, ended)
        return await self._store.read(lambda reads: reads.task(task))

    async def wait_new(self, task: int) -> EventName:
        """How a task ended that the caller has added a moment ago, on this loop: no look at the database at all."""
        ended = self._ended.get(task)
        if ended is not None:
            return ended
        waiter = self._expect(task)
        try:
            return await waiter
        finally:
            self._forget(task, waiter)

    def close(self) -> None:
        """Hears nothing more; who still waits gets a Conflict."""
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None
        for waiters in self._waiting.values():
            for each in waiters:
                if not each.done():
                    each.set_exception(Conflict("The node has stopped", cure="The task goes on when it is back."))
                    each.exception()  # who has turned away meanwhile need not hear of it

    def _expect(self, task: int) -> asyncio.Future[EventName]:
        waiter: asyncio.Future[EventName] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(task, []).append(waiter)
        return waiter

    def _forget(self, task: int, waiter: asyncio.Future[EventName]) -> None:
        waiters = self._waiting.get(task)
        if waiters is not None and waiter in waiters:
            waiters.remove(waiter)
            if not waiters:
                del self._waiting[task]

    def _heard(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.name in ENDINGS and event.task is not None:
                self._remember(event.task, event.name)
            elif event.name is EventName.TASK_REPLAYED:
                self._ended.pop(event.task or 0, None)

    def _remember(self, task: int, name: EventName) -> None:
        self._ended[task] = name
        if len(self._ended) > REMEMBERED:
            del self._ended[next(iter(self._ended))]
        for waiter in self._waiting.pop(task, ()):
            if not waiter.done():
                waiter.set_result(name)
