"""A whole node of one fleet, put together.

Everything heavy is loaded inside. Knows nothing of commands or screens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from ostinato import __version__
from ostinato.agents.colleagues import Colleagues
from ostinato.app.attendants import Attendants
from ostinato.app.parts import Ground, definitions_of, make_state_folder, open_store_of, spare_imports, wakers_of
from ostinato.config import (
    STATE_FOLDER,
    engine_limits,
    key_names,
    model_settings,
    refuse_public_port,
    shared_lease,
)
from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import TaskKind
from ostinato.domain.values import Limits
from ostinato.engine.clock import SystemClock
from ostinato.engine.finisher import Finisher
from ostinato.engine.lock import FleetLock
from ostinato.engine.port import Clock, Handler
from ostinato.engine.vault import learn
from ostinato.gateway.access import BYSTANDER, let_in
from ostinato.gateway.context import Context, NodeFacts
from ostinato.gateway.keyring import held
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.metered import MeteredHandler, metered_models
from ostinato.gateway.metrics import CommitTimes, Meter
from ostinato.store.port import EVERY_POOL, ScheduleRow, Store
from ostinato.tools.router import Router
from ostinato.workspace.fleet_file import read_fleet
from ostinato.workspace.registry import Workspaces

if TYPE_CHECKING:
    from ostinato.agents.fires import Fires
    from ostinato.agents.inbox import InboxTaker
    from ostinato.agents.leash import LeashMaker
    from ostinato.agents.live import LiveText
    from ostinato.app.plugins import Plugins
    from ostinato.engine.node import EngineNode
    from ostinato.engine.service import Service
    from ostinato.gateway.server import LocalServer
    from ostinato.models.catalogue import FleetModels
    from ostinato.tools.commands import CommandPlace
    from ostinato.tools.python.family import PythonTools
    from ostinato.tools.toolbox import Toolbox
    from ostinato.tools.web.proxy import Ways

_LEARNED = frozenset({EventName.AGENT_LOADED, EventName.AGENT_SCALED})

MODELLED = (TaskKind.GOAL, TaskKind.TURN)
"""Kinds of tasks that are done by asking models."""

OUTBOX_FOLDER = "outbox"
PRICES_FILE = "prices.json"


class FleetApp:
    """A whole node of one fleet: store, agents, engine, and the socket on which it answers.

    `start` and `stop` may each be called twice; `stop` before `start` is fine. `clock` is the machine's unless a story
    is told. Raises Invalid for a fleet file that is wrong, Conflict where another node holds the fleet.
    """

    def __init__(
        self,
        fleet: Path,
        *,
        clock: Clock | None = None,
        story_time: bool = False,
        log: LogLines | None = None,
        pools: Sequence[str] = (),
    ) -> None:
        self.fleet = fleet
        self.state_dir = fleet / STATE_FOLDER
        self.settings = read_fleet(fleet)
        refuse_public_port(self.settings)
        self.clock: Clock = clock or SystemClock()
        self.workspaces = Workspaces(fleet, defaults=self.settings.defaults)
        self.log = log or LogLines()
        self.meter = Meter(agents=self.settings.agent_metrics)
        self.chance: Callable[[], float] = random.random
        self.router = Router(self.settings.routing, elapsed_s=self.clock.elapsed_s)
        self.lock = FleetLock(self.state_dir)
        self.store: Store | None = None
        self.toolbox: Toolbox | None = None
        self.node: EngineNode | None = None
        self.ways: Ways | None = None
        self.plugins: Plugins | None = None
        self._story_time = story_time
        self._pools = tuple(pools) or (EVERY_POOL,)
        self._closing = asyncio.Event()
        self._ends = contextlib.AsyncExitStack()
        self._at_once: dict[str, int] = {}
        self._started = False

    async def start(self) -> None:
        """Begins to work and to answer. What had been started before a failure is stopped again."""
        if self._started:
            return
        try:
            await self._start()
        except BaseException:  # also a cancelled start leaves nothing running
            await self.stop()
            raise
        self._started = True

    async def stop(self) -> None:
        """Stops answering, drains, and closes the store; returns when nothing is left."""
        self._closing.set()
        if self.node is not None:
            self.node.drain()  # at once: while the rest is closed, no turn may ask its model once more
        self._started = False
        await self._ends.aclose()

    async def wait_stopped(self) -> None:
        """Returns when the engine has stopped; raises Internal where it had to stop by itself."""
        assert self.node is not None
        await self.node.wait_stopped()

    async def _start(self) -> None:
        spare_imports()
        from ostinato.agents.live import LiveText

        learn(self._fleet_secrets())
        make_state_folder(self.state_dir)
        self.lock.acquire()
        self._ends.callback(self.lock.release)
        store = self.store = self._open_store()
        self._ends.push_async_callback(store.close)
        ground = Ground(
            fleet=self.fleet, settings=self.settings, store=store, workspaces=self.workspaces, clock=self.clock
        )
        attendants = Attendants(ground, router=self.router, notify=self.log.notice, ends=self._ends)
        attendants.begin_tracing(self._incarnation)
        ways = self.ways = self._make_ways()
        await ways.resume()
        self._ends.push_async_callback(ways.stop)
        colleagues, live = Colleagues(self.workspaces, elapsed_s=self.clock.elapsed_s), LiveText()
        inbox, fires = wakers_of(ground, colleagues, self.router, skipped=self.meter.skipped, commands=self._commands())
        toolbox = self.toolbox = self._toolbox()
        plugins = self.plugins = self._plugins(store, toolbox)
        self._ends.push_async_callback(plugins.stop)  # once the engine has stopped
        await plugins.start()
        finisher = self._make_finisher(colleagues)
        handlers = [
            MeteredHandler(each, self.meter)
            for each in self._handlers(
                toolbox, live, colleagues=colleagues, finisher=finisher, begun=attendants.look_after
            )
        ]
        await self._let_somebody_in(store)
        node = self.node = self._engine(store, handlers, fires=fires)
        node.finisher = finisher
        await node.start()
        self._ends.push_async_callback(node.stop)
        server = self._server(store, live, fires=fires)
        await server.start()
        self._ends.push_async_callback(server.stop)
        self._ends.callback(store.subscribe(self.meter.hear))
        self._ends.callback(store.subscribe(self._learn))
        self._ends.callback(store.subscribe(self.log.events))  # last: the first line loads the library that writes it
        for service in self._services(attendants, inbox, colleagues):
            service.start()
            self._ends.push_async_callback(service.stop)

    def _open_store(self) -> Store:
        return open_store_of(self.settings, self.state_dir, hook=CommitTimes(self.meter), alone=True)

    async def _let_somebody_in(self, store: Store) -> None:
        """Whoever starts a fleet that has nobody yet is its first admin."""
        try:
            await let_in(store, self.state_dir, token=held(self.state_dir), now=self.clock.now())
        except OstinatoError as error:  # it can work, and be looked at; nobody can decide
            self.log.say("error", f"nobody can decide anything here yet: {error}", event="people.missing")

    def _fleet_secrets(self) -> list[str]:
        """What the fleet's own file names; an agent's are learned with its files."""
        entries = self.settings.mcp.values()
        names = [*key_names(self.settings).values(), self.settings.store.password_env, self.settings.web.search_key_env]
        return [each for each in (*names, *(n for e in entries for n in (*e.env, e.token_env))) if each]

    def _make_ways(self) -> Ways:
        from ostinato.app.web_parts import make_ways

        return make_ways(self.settings.web, fleet=self.fleet, state_dir=self.state_dir, workspaces=self.workspaces)

    def _commands(self) -> CommandPlace:
        from ostinato.tools.commands import CommandPlace

        return CommandPlace(fleet=self.fleet.resolve(), state_dir=self.state_dir.resolve(), ways=self.ways)

    def _toolbox(self) -> Toolbox:
        from ostinato.app.web_parts import web_place
        from ostinato.tools.standard import standard_toolbox

        return standard_toolbox(
            self._commands(),
            web=web_place(self.settings.web, self.state_dir),
            router=self.router,
            models=self.settings.model_names,
        )

    def _plugins(self, store: Store, toolbox: Toolbox) -> Plugins:
        from ostinato.app.plugins import Plugins
        from ostinato.engine.service import Ground

        def say(level: str, text: str) -> None:
            self.log.say(level, text, event="plugin")

        ground = Ground(store=store, clock=self.clock, notify=self.log.notice)
        return Plugins(self.settings, self.fleet, toolbox=toolbox, ground=ground, say=say, ways=self.ways)

    def _models(self) -> FleetModels:
        from ostinato.models.catalogue import FleetModels
        from ostinato.models.prices import PriceBook

        settings = self.settings
        return FleetModels(
            model_settings(settings),
            clock=self.clock,
            tiers=settings.tiers,
            default=settings.model,
            folder=self.fleet,
            prices=PriceBook(self.state_dir / PRICES_FILE),
        )

    def _make_finisher(self, colleagues: Colleagues) -> Finisher:
        from ostinato.agents.colleagues import delegates_of
        from ostinato.agents.failing import FailurePlanner, guard_of
        from ostinato.engine.breakers import Breakers

        planner = FailurePlanner(
            workspaces=self.workspaces,
            fleet=self.settings.failures,
            router=self.router,
            colleagues=colleagues,
            delegates=lambda agent, among: delegates_of(self.workspaces, agent, among),
        )
        return Finisher(planner, chance=self.chance, breakers=Breakers(self.settings.breakers), guard=guard_of)

    def _leashes(self, toolbox: Toolbox, *, colleagues: Colleagues, finisher: Finisher) -> LeashMaker:
        from ostinato.agents.leash import LeashMaker

        return LeashMaker(
            workspaces=self.workspaces,
            toolbox=toolbox,
            fleet=self.settings.name,
            context_limits=self.settings.context,
            fleet_limits=Limits(
                per_day_usd_micros=self.settings.per_day_usd_micros, per_day_tokens=self.settings.per_day_tokens
            ),
            colleagues=colleagues,
            elapsed_s=self.clock.elapsed_s,
            skills=self._skills,
            finisher=finisher,
        )

    def _handlers(
        self,
        toolbox: Toolbox,
        live: LiveText,
        *,
        colleagues: Colleagues,
        finisher: Finisher,
        begun: Callable[[], None],
    ) -> Sequence[Handler]:
        """Goals and turns by models, deliveries by tools. `begun` hears that a process may have."""
        from ostinato.agents.coding import CodingHandler
        from ostinato.agents.command_check import CommandChecks
        from ostinato.agents.expecting import Expecting
        from ostinato.agents.kinds import KindHandler
        from ostinato.agents.model_choices import ModelChoices
        from ostinato.agents.python_agent import PythonHandler
        from ostinato.agents.reviews import CommandReviews
        from ostinato.agents.turn_handler import TurnHandler
        from ostinato.agents.unfit import Patient
        from ostinato.engine.replayer import ReplayHandler
        from ostinato.tools.delivery import DeliveryHandler
        from ostinato.tools.processes.handler import ProcessHandler

        models, outbox = self._models(), self.fleet / OUTBOX_FOLDER
        asked = metered_models(models, self.meter, self.clock, names=sorted(self.settings.models))
        self._ends.push_async_callback(models.close)
        preparing = asyncio.create_task(_prepare(toolbox, models))
        self._ends.push_async_callback(_end, preparing)
        choices = ModelChoices(
            asked,
            rules=self.settings.model_rules,
            escalates=self.settings.escalates,
            breakers=finisher.breakers,
        )
        leashes = self._leashes(toolbox, colleagues=colleagues, finisher=finisher)
        functions = self._functions()
        expecting = partial(Expecting, leashes=leashes, listing=functions)

        def turns(kind: TaskKind) -> Handler:
            kinds = KindHandler(
                models=TurnHandler(kind, leashes=leashes, models=asked, live=live, choices=choices),
                command=CodingHandler(kind, leashes=leashes, place=self._commands()),
                python=Patient(PythonHandler(kind, leashes=leashes, live=live, functions=functions)),
                leashes=leashes,
            )
            return expecting(kinds)

        reviews = CommandReviews(CommandChecks(workspaces=self.workspaces, place=self._commands()))
        contexts = leashes.delivery_context
        processes = ProcessHandler(self._commands(), contexts=contexts, begun=begun)
        deliveries = DeliveryHandler(toolbox=toolbox, contexts=contexts, outbox=outbox, reviews=reviews.perform)
        return (
            *map(turns, MODELLED),
            expecting(Patient(deliveries)),
            Patient(processes),
            ReplayHandler(),
        )

    def _skills(self, granted: Sequence[str]) -> str:
        """What prompts say of the skills among these grants."""
        return self.plugins.skills(granted) if self.plugins else ""

    def _functions(self) -> PythonTools:
        """What agents of kind `python` do."""
        assert self.plugins is not None
        return self.plugins.python

    def _engine(self, store: Store, handlers: Sequence[Handler], *, fires: Fires) -> EngineNode:
        from ostinato.engine.lease import LeaseTimes
        from ostinato.engine.node import EngineNode, NodeSettings

        async def fire(row: ScheduleRow) -> None:
            await fires.fire(row)

        shared = shared_lease(self.settings)
        return EngineNode(
            store,
            handlers,
            clock=self.clock,
            settings=NodeSettings(
                version=__version__,
                limits=engine_limits(self.settings, {}),
                retention=self.settings.retention,
                lease=shared or LeaseTimes(),
                exclusive=shared is None,
                pools=self._pools,
            ),
            fire=fire,
            fire_together=fires.fire_together,
            notify=self.log.notice,
            lock=self.lock,
        )

    def _server(self, store: Store, live: LiveText, *, fires: Fires) -> LocalServer:
        from ostinato.agents.rehearsal import Rehearsal
        from ostinato.gateway.http import HttpSettings, make_app
        from ostinato.gateway.server import LocalServer

        assert self.toolbox is not None
        context = Context(
            store=store,
            clock=self.clock,
            definitions=definitions_of(
                self.fleet, self.settings, self.workspaces, toolbox=self.toolbox, skills=self._skills
            ),
            state_dir=self.state_dir,
            caller=BYSTANDER,
            fire=lambda row, check: fires.fire_now(row, check=check),
            node=NodeFacts(
                pid=os.getpid(), version=__version__, started_at=self.clock.now(), story_time=self._story_time
            ),
            live=live,
            meter=self.meter,
            rehearsal=partial(Rehearsal, store=store, workspaces=self.workspaces, toolbox=self.toolbox),
            servers=self.plugins.servers if self.plugins else None,
            router=self.router,
        )
        http = HttpSettings(context, unready=self._unready, surprised=self.log.surprise, closing=self._closing)
        return LocalServer(make_app(http), state_dir=self.state_dir, closing=self._closing)

    def _services(self, attendants: Attendants, inbox: InboxTaker, colleagues: Colleagues) -> Sequence[Service]:
        return attendants.services(inbox, colleagues)

    def _incarnation(self) -> int | None:
        return self.node.node.id if self.node is not None and self.node.node is not None else None

    def _learn(self, events: Sequence[Event]) -> None:
        """How many tasks an agent may work on at once may have changed with its files."""
        loaded = [each for each in events if each.name in _LEARNED and each.agent]
        if not loaded or self.node is None:
            return
        known = self._at_once | {each.agent: each.data.get("concurrency", 1) for each in loaded if each.agent}
        if known != self._at_once:
            self._at_once = known
            self.node.set_limits(engine_limits(self.settings, known))

    def _unready(self) -> str:
        if self._closing.is_set():
            return "the node is stopping"
        return "" if self._started else "the node is starting"


def build(fleet: Path, *, clock: Clock | None = None, story_time: bool = False, pools: Sequence[str] = ()) -> FleetApp:
    """The node of a fleet, not started yet. `story_time` labels an injected clock on every screen; without `pools` it
    takes from all of them."""
    return FleetApp(fleet, clock=clock, story_time=story_time, pools=pools)


async def _prepare(toolbox: Toolbox, models: FleetModels) -> None:
    """What the first turn would otherwise wait for, on the store's thread: compiled checks, prices of real models."""
    await asyncio.gather(asyncio.to_thread(toolbox.prepare), models.prepare())


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
