"""Who does the work of an agent: models, a program of another make, or a function of the fleet's own.

The one place where agents' kinds part. Knows nothing of how any of them works.
"""

from __future__ import annotations

from ostinato.agents.leash import LeashMaker
from ostinato.agents.unfit import Unfit
from ostinato.domain.task import Outcome, Task
from ostinato.domain.values import Instant
from ostinato.engine.port import AttemptPort, Ending, Handler, Settled
from ostinato.store.port import Tx


class KindHandler:
    """Hands each task to the handler of its agent's kind; that of models also holds what is unfit."""

    def __init__(self, *, models: Handler, command: Handler, python: Handler, leashes: LeashMaker) -> None:
        self.kind = models.kind
        self.timeout_s = models.timeout_s
        self._models = models
        self._command = command
        self._python = python
        self._leashes = leashes

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """The first steps of whoever will perform it."""
        self._handler(task).open(tx, task, now=now)

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """As the agent's kind wants it."""
        return await self._handler(attempt.task).perform(attempt)

    def _handler(self, task: Task) -> Handler:
        try:
            settings = self._leashes.current(task.agent or "").settings
        except Unfit:
            return self._models
        if settings.command is not None:
            return self._command
        return self._python if settings.function else self._models
