"""One node on a scenario's folder: the fleet's own composition, with the world outside in place of the world.

`play` runs until the scenario is over and writes down what the store holds then. Knows nothing of kills or of what is
expected.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Coroutine, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import msgspec

from ostinato.agents.fires import Fires
from ostinato.agents.scribe import NOTED, POSITION
from ostinato.app import FleetApp
from ostinato.domain.errors import Exhausted
from ostinato.domain.event import Event
from ostinato.domain.task import ENDED, NewTask
from ostinato.domain.values import Instant, Value
from ostinato.engine.lease import LeaseTimes
from ostinato.engine.node import EngineNode
from ostinato.engine.port import Clock, Handler
from ostinato.engine.service import Ground, Service
from ostinato.gateway.log_lines import LogLines
from ostinato.store.port import EventFilter, Reads, Store, Tx
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox
from tests.crash.deeds import deeds
from tests.crash.function import InLoop
from tests.crash.outside import Line, Outside, What
from tests.crash.person import Person, poisoned
from tests.crash.record import record_of, survey_of
from tests.crash.scenario import Mail, Scenario
from tests.crash.voice import Voice

PATIENCE_S = 600.0
"""On the node's own clock: what has not ended by then has been lost, and the judge will say so."""

LAST = "last"
"""A file in the fleet's folder: nobody will ask its node for anything more."""

LOOK_S = 0.01
"""How often somebody looks who cannot be told."""


class Parts(Value):
    """What a node stands on. `lease` None: in a time that is not the machine's, and with few words."""

    scenario: Scenario
    folder: Path
    store: Store
    clock: Clock
    outside: Outside
    lease: LeaseTimes | None
    exclusive: bool
    answers: bool = False
    """Listens on the fleet's socket: a third of a short life, and nobody asks most nodes anything."""


class Stage(FleetApp):
    """A node whose tools and model are the scenario's."""

    def __init__(self, parts: Parts) -> None:
        super().__init__(parts.folder, clock=parts.clock, log=LogLines() if parts.lease else _FewWords())
        self.parts = parts

    def _open_store(self) -> Store:
        return self.parts.store

    def _toolbox(self) -> Toolbox:
        return Toolbox((*standard_toolbox(), *deeds(self.parts.outside, self.clock)))

    def _models(self) -> Any:
        scenario = self.parts.scenario
        return Voice(scenario.script, outside=self.parts.outside, clock=self.clock, faults=scenario.faults)

    def _functions(self) -> InLoop:
        return InLoop(self.parts.scenario, outside=self.parts.outside, clock=self.clock)

    def _engine(self, store: Store, handlers: Sequence[Handler], *, fires: Fires) -> EngineNode:
        node = super()._engine(store, handlers, fires=fires)
        parts = self.parts
        node.settings = msgspec.structs.replace(node.settings, lease=parts.lease, exclusive=parts.exclusive)
        return node

    def _server(self, store: Store, live: Any, *, fires: Fires) -> Any:
        return super()._server(store, live, fires=fires) if self.parts.answers else _NoServer()

    def _services(self, *stood_on: Any) -> Sequence[Service]:
        """In a time that jumps only those that the scenario is about: each rest of a service is a jump."""
        services = super()._services(*stood_on)
        if self.parts.lease:
            return services
        return [each for each in services if each.name in self.parts.scenario.services | {"scribe", "warden", "clerk"}]


class _FewWords(LogLines):
    """Only surprises: they are what a failed run is looked at for."""

    def events(self, events: Sequence[Event]) -> None:
        pass


class _NoServer:
    async def start(self) -> None:
        pass

    async def stop(self) -> None:
        pass


@contextlib.asynccontextmanager
async def running(parts: Parts) -> AsyncIterator[Stage]:
    """The node and a person, in order and back; writes the record before it stops."""
    stage = Stage(parts)
    parts.outside.say(Line(what=What.BEGAN, survey=await parts.store.read(survey_of)))
    await stage.start()
    person = Person(Ground(store=parts.store, clock=parts.clock, notify=stage.log.notice), parts.outside)
    try:
        yield stage
        while not await parts.store.read(_is_noted):
            await parts.clock.sleep(LOOK_S)
        (await parts.store.read(partial(record_of, folder=parts.folder))).write(parts.folder)
    finally:
        await person.stop()
        await stage.stop()


def _is_noted(reads: Reads) -> bool:
    """True once the scribe has seen everything that it is to note."""
    noted = [each.id for each in reads.events(EventFilter(names=NOTED), limit=1_000_000) if each.agent]
    return not noted or int(reads.setting(POSITION) or 0) >= noted[-1]


async def play(parts: Parts) -> None:
    """Sends what arrives, and waits until all of it has ended."""
    async with running(parts) as stage:
        over = Over(parts.store, parts.scenario.ends)
        for arrival in parts.scenario.arrivals:
            while await send_or_none(parts, arrival) is None:
                await parts.clock.sleep(LOOK_S)
        await first(over.wait(), stage.wait_stopped(), parts.clock.sleep(PATIENCE_S))


async def serve(parts: Parts) -> None:
    """Answers until a file says that all has been said, and then until all has ended."""
    async with running(parts) as stage:
        await first(_wait_for(parts.folder / LAST, parts.clock), stage.wait_stopped())
        await first(Over(parts.store, 0).wait(), stage.wait_stopped(), parts.clock.sleep(PATIENCE_S))


async def _wait_for(path: Path, clock: Clock) -> None:
    while not await asyncio.to_thread(path.exists):
        await clock.sleep(LOOK_S)


async def send_or_none(parts: Parts, arrival: NewTask | Mail) -> int | None:
    """Sends, and says outside that it is safe; None, and that is said, where there is no room now."""
    try:
        task = await parts.store.run(partial(send, arrival, parts.clock.now()))
    except Exhausted:
        parts.outside.say(Line(what=What.REFUSED))
        return None
    parts.outside.say(Line(what=What.SENT, name=name_of(arrival), task=f"T{task}" if task else ""))
    return task


def name_of(arrival: NewTask | Mail) -> str:
    """What makes sending it twice the same as once."""
    return (arrival.key if isinstance(arrival, NewTask) else arrival.message.client_id) or ""


def send(arrival: NewTask | Mail, now: Instant, tx: Tx) -> int:
    """What a sender sends: twice is once. The id of the task, where it is one."""
    if isinstance(arrival, NewTask):
        return tx.add_task(arrival, now=now, actor="sender").id
    tx.append_message(arrival.session, arrival.message, agent=arrival.agent, now=now)
    return 0


async def first(*work: Coroutine[Any, Any, None]) -> None:
    """Whatever ends first, well or badly; the rest is cut off."""
    under_way = [asyncio.ensure_future(each) for each in work]
    ended, _ = await asyncio.wait(under_way, return_when=asyncio.FIRST_COMPLETED)
    for each in under_way:
        each.cancel()
    await asyncio.wait(under_way)
    for each in ended:
        each.result()


class Over:
    """Waits until so many tasks have ended and none is unfinished. A dead letter that the person sends on has not
    ended: between its failure and that word nothing else may be left to do."""

    def __init__(self, store: Store, ends: int) -> None:
        self._store = store
        self._ends = ends
        self._changed = asyncio.Event()
        self._unsubscribe: Callable[[], None] = store.subscribe(lambda _events: self._changed.set())

    async def wait(self) -> None:
        """Returns when it is over."""
        while not await self._is_over():
            await self._changed.wait()
            self._changed.clear()
        self._unsubscribe()

    async def _is_over(self) -> bool:
        tallies, sent_on = await self._store.read(lambda reads: (reads.tallies().tasks, poisoned(reads)))
        ended = sum(tallies.get(state.value, 0) for state in ENDED)
        return ended >= self._ends and sum(tallies.values()) == ended and not sent_on
