"""Runs an agent's function in the node's own loop: what a worker says over pipes goes through queues here, so that each
run of a scenario is the same.

Knows nothing of rooms: those have tests of their own.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

from ostinato.domain.step import Effect
from ostinato.engine.port import Clock
from ostinato.tools.python.family import AgentFunction
from ostinato.tools.python.worker import Call, perform_agent
from ostinato.tools.python.workers import Sources
from tests.crash.outside import Line, Outside, What
from tests.crash.scenario import Scenario

PAUSE_S = 0.001
"""How long a step still works after its effect, so that a death finds it in between."""


class InLoop:
    """Functions without workers (see `Functions`)."""

    is_listed = True

    def __init__(self, scenario: Scenario, *, outside: Outside, clock: Clock) -> None:
        self._scenario = scenario
        self._outside = outside
        self._clock = clock

    def function(self, name: str) -> AgentFunction:
        """The scenario's, under any name."""
        return AgentFunction(name=name, sources=Sources())

    async def hire(self, function: AgentFunction, *, agent: str) -> Run:
        """A run of it."""
        return Run(partial(self._scenario.function, say=self._say))  # type: ignore[arg-type]  # only asked of such

    async def _say(self, call_id: str, name: str, effect: Effect, call: Call) -> None:
        self._outside.say(
            Line(what=What.DID, task=f"T{call.task}", call=call_id, name=name, effect=effect.value, key=call.key)
        )
        await self._clock.sleep(PAUSE_S)


class Run:
    """One run, as a worker would do it."""

    def __init__(self, function: Any) -> None:
        self._function = function
        self._heard: asyncio.Queue[Any] = asyncio.Queue()
        self._said: asyncio.Queue[Any] = asyncio.Queue()
        self._run: asyncio.Task[None] | None = None

    async def send(self, message: dict[str, Any]) -> None:
        """Begins the run, or answers what it asked."""
        if "run" in message:
            self._run = asyncio.create_task(self._perform(message["facts"]))
        else:
            self._heard.put_nowait(message)

    async def hear(self) -> Any:
        """What it says next."""
        return await self._said.get()

    async def end(self, *, fit: bool) -> None:
        """Breaks it off."""
        if self._run is not None:
            self._run.cancel()
            await asyncio.wait((self._run,))

    async def _perform(self, facts: dict[str, Any]) -> None:
        async def exchange(message: Any) -> Any:
            self._said.put_nowait(message)
            return await self._heard.get()

        self._said.put_nowait(await perform_agent(self._function, facts, exchange))
