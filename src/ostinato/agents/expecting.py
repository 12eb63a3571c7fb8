"""Work of agents whose tools are still being loaded: it waits for them, so that a node's start need not.

Knows nothing of what is loaded, or how.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Protocol

from ostinato.agents.leash import LeashMaker
from ostinato.agents.unfit import Unfit
from ostinato.domain.task import Outcome, Requeue, Task
from ostinato.domain.values import Instant
from ostinato.engine.port import AttemptPort, Ending, Handler, Settled
from ostinato.store.port import Tx

LOOK_S = 0.2
"""How often whoever waits looks whether the node stops, or something urgent goes first."""


class Listing(Protocol):
    """Tools that are loaded beside the node's start."""

    @property
    def is_listed(self) -> bool:
        """True once all of it has been loaded, or has failed to."""

    def is_awaited_by(self, grants: Sequence[str] | None, function: str) -> bool:
        """True where these grants, or an agent's function, may mean something of it."""

    async def wait_listed(self) -> None:
        """Returns once all of it has been loaded, or has failed to."""


class Expecting:
    """A handler whose tasks begin once the tools that their agent is granted have been listed."""

    def __init__(self, handler: Handler, *, leashes: LeashMaker, listing: Listing) -> None:
        self._handler = handler
        self._leashes = leashes
        self._listing = listing
        self.kind = handler.kind
        self.timeout_s = handler.timeout_s

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """The handler's first steps; none for a task that waits, whose prompt would lack tools."""
        if not self._waits(task):
            self._handler.open(tx, task, now=now)

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """As the handler does, once there is what it needs."""
        while self._waits(attempt.task):
            if attempt.draining:
                return Requeue(reason="the node stops, or an urgent task goes first; tools were still being loaded")
            try:
                async with asyncio.timeout(LOOK_S):
                    await self._listing.wait_listed()
            except TimeoutError:
                continue
        return await self._handler.perform(attempt)

    def _waits(self, task: Task) -> bool:
        if self._listing.is_listed or task.agent is None:
            return False
        try:
            agent = self._leashes.current(task.agent)
        except Unfit:  # the handler says so
            return False
        return self._listing.is_awaited_by(agent.policy.tools, agent.settings.function)
