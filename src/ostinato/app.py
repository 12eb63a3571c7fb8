"""The composition root: the only place where adapters are named and the rooms of a fleet are put together.

`build` makes a whole node; `call_here` performs one operation in this process while no node runs. Everything heavy is
loaded inside, so that a command that finds a node loads none of it. Knows nothing of commands or screens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
from collections.abc import AsyncIterator, Callable, Iterator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from ostinato import __version__
from ostinato.agents.colleagues import Colleagues
from ostinato.config import (
    STATE_FOLDER,
    engine_limits,
    key_names,
    model_settings,
    refuse_public_port,
    shared_lease,
)
from ostinato.domain.errors import Conflict, Invalid, OstinatoError
from ostinato.domain.event import Event, EventName
from ostinato.domain.person import NewToken, Role, Token, token_digest
from ostinato.domain.policy import Policy
from ostinato.domain.task import TaskKind
from ostinato.domain.values import Value
from ostinato.engine.clock import SystemClock
from ostinato.engine.lock import FleetLock
from ostinato.engine.port import Clock, Handler
from ostinato.gateway.access import BYSTANDER, caller_of, check_role, let_in, own_name
from ostinato.gateway.context import Context, FireNow, NodeFacts
from ostinato.gateway.definitions import FleetDefinitions, stand_in_settings
from ostinato.gateway.keyring import held, keep, new_token
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.metered import MeteredHandler, metered_models
from ostinato.gateway.metrics import CommitTimes, Meter
from ostinato.gateway.operation import Ask, Operation, View, read_request, request_fields
from ostinato.store.port import EVERY_POOL, ScheduleRow, Store
from ostinato.workspace.fleet_file import FLEET_FILE, FleetSettings, read_fleet, read_store
from ostinato.workspace.registry import Workspaces

if TYPE_CHECKING:
    from ostinato.agents.fires import Fires
    from ostinato.agents.inbox import InboxTaker
    from ostinato.agents.live import LiveText
    from ostinato.domain.chat import ToolSpec
    from ostinato.engine.node import EngineNode
    from ostinato.engine.service import Service
    from ostinato.gateway.server import LocalServer
    from ostinato.models.catalogue import FleetModels
    from ostinato.store.sqlite import CommitHook
    from ostinato.tools.toolbox import Toolbox

Request = TypeVar("Request", bound=Ask)
Response = TypeVar("Response", bound=View)

MODELLED = (TaskKind.GOAL, TaskKind.TURN)
"""Kinds of tasks that are done by asking models."""

OUTBOX_FOLDER = "outbox"
PRICES_FILE = "prices.json"
DATABASE_NAME = "ostinato.db"


class FleetHeld(Conflict):
    """Another process writes right now: a node that is starting, or another command."""


class Ground(Value):
    """What the rooms of one fleet stand on."""

    fleet: Path
    settings: FleetSettings
    store: Store
    workspaces: Workspaces
    clock: Clock


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
        self.store: Store | None = None
        self.node: EngineNode | None = None
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

        make_state_folder(self.state_dir)
        lock = FleetLock(self.state_dir)
        lock.acquire()
        self._ends.callback(lock.release)
        store = self.store = self._open_store()
        self._ends.push_async_callback(store.close)
        self._trace(store)
        ground = Ground(
            fleet=self.fleet, settings=self.settings, store=store, workspaces=self.workspaces, clock=self.clock
        )
        colleagues, live = Colleagues(self.workspaces, elapsed_s=self.clock.elapsed_s), LiveText()
        inbox, fires = _wakers(ground, colleagues, skipped=self.meter.skipped)
        handlers = [MeteredHandler(each, self.meter) for each in self._handlers(live, colleagues)]
        await self._let_somebody_in(store)
        node = self.node = self._engine(store, handlers, fires=fires, lock=lock)
        await node.start()
        self._ends.push_async_callback(node.stop)
        server = self._server(store, live, fires=fires)
        await server.start()
        self._ends.push_async_callback(server.stop)
        self._ends.callback(store.subscribe(self.meter.hear))
        self._ends.callback(store.subscribe(self._learn))
        self._ends.callback(store.subscribe(self.log.events))  # last: the first line loads the library that writes it
        for service in (*self._services(store, inbox), *self._clerks(store, colleagues)):
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

    def _toolbox(self) -> Toolbox:
        from ostinato.tools.exec_tools import CommandPlace
        from ostinato.tools.standard import standard_toolbox

        return standard_toolbox(CommandPlace(fleet=self.fleet.resolve(), state_dir=self.state_dir))

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

    def _handlers(self, live: LiveText, colleagues: Colleagues) -> Sequence[Handler]:
        """Goals and turns by models, deliveries by tools."""
        from ostinato.agents.leash import LeashMaker
        from ostinato.agents.model_choices import ModelChoices
        from ostinato.agents.turn_handler import TurnHandler
        from ostinato.agents.unfit import Patient
        from ostinato.tools.delivery import DeliveryHandler

        toolbox, models, outbox = self._toolbox(), self._models(), self.fleet / OUTBOX_FOLDER
        asked = metered_models(models, self.meter, self.clock)
        self._ends.push_async_callback(models.close)
        preparing = asyncio.create_task(_prepare(toolbox, models))
        self._ends.push_async_callback(_end, preparing)
        choices = ModelChoices(asked, rules=self.settings.model_rules, escalates=self.settings.escalates)
        leashes = LeashMaker(
            workspaces=self.workspaces,
            toolbox=toolbox,
            fleet=self.settings.name,
            fleet_per_day_usd_micros=self.settings.per_day_usd_micros,
            colleagues=colleagues,
            elapsed_s=self.clock.elapsed_s,
        )
        return (
            *(TurnHandler(each, leashes=leashes, models=asked, live=live, choices=choices) for each in MODELLED),
            Patient(DeliveryHandler(toolbox=toolbox, contexts=leashes.delivery_context, outbox=outbox)),
        )

    def _engine(self, store: Store, handlers: Sequence[Handler], *, fires: Fires, lock: FleetLock) -> EngineNode:
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
            notify=self.log.notice,
            lock=lock,
        )

    def _server(self, store: Store, live: LiveText, *, fires: Fires) -> LocalServer:
        from ostinato.gateway.http import HttpSettings, make_app
        from ostinato.gateway.server import LocalServer

        context = Context(
            store=store,
            clock=self.clock,
            definitions=definitions_of(self.fleet, self.settings, self.workspaces),
            state_dir=self.state_dir,
            caller=BYSTANDER,
            fire=lambda row, check: fires.fire_now(row, check=check),
            node=NodeFacts(
                pid=os.getpid(), version=__version__, started_at=self.clock.now(), story_time=self._story_time
            ),
            live=live,
            meter=self.meter,
        )
        http = HttpSettings(context, unready=self._unready, surprised=self.log.surprise, closing=self._closing)
        return LocalServer(make_app(http), state_dir=self.state_dir, closing=self._closing)

    def _services(self, store: Store, inbox: InboxTaker) -> Sequence[Service]:
        from ostinato.agents.calendar import Calendar
        from ostinato.agents.regulator import Regulator
        from ostinato.agents.scribe import Scribe
        from ostinato.engine.service import Ground, Service

        ground = Ground(store=store, clock=self.clock, notify=self.log.notice)
        calendar = Calendar(store=store, workspaces=self.workspaces, clock=self.clock)
        scribe = Scribe(store=store, workspaces=self.workspaces, clock=self.clock)
        writing = Service("scribe", scribe.poll, ground)

        def wake(events: Sequence[Event]) -> None:
            if Scribe.concerns(events):
                writing.wake()

        self._ends.callback(store.subscribe(wake))
        sweeping = Service("calendar", calendar.poll, ground)
        self._ends.callback(calendar.listen(sweeping.wake))
        others = {"regulator": Regulator(store=store, clock=self.clock).poll, "inbox": inbox.poll}
        return (sweeping, *(Service(name, poll, ground) for name, poll in others.items()), writing)

    def _clerks(self, store: Store, colleagues: Colleagues) -> Sequence[Service]:
        """Whoever keeps TASKS.md; nobody where the fleet's file says so."""
        from ostinato.agents.clerk import Clerk, ClerkPlace
        from ostinato.agents.intake import Intake
        from ostinato.engine.service import Ground, Service

        settings = self.settings
        if not settings.tasks_file:
            return ()
        clerk = Clerk(
            ClerkPlace(fleet=self.fleet, name=settings.name, timezone=settings.timezone),
            store=store,
            intake=Intake(colleagues=colleagues, default_agent=settings.inbox_agent),
            colleagues=colleagues,
            clock=self.clock,
        )
        self._ends.callback(store.subscribe(clerk.hear))
        return (Service("clerk", clerk.poll, Ground(store=store, clock=self.clock, notify=self.log.notice)),)

    def _trace(self, store: Store) -> None:
        """Sends traces where the fleet's file names a collector; the last ones once the engine has stopped."""
        settings = self.settings
        if not settings.otel_endpoint:
            return
        from ostinato.engine.service import Ground, Service
        from ostinato.gateway.spans import Told
        from ostinato.gateway.tracer import Tracer

        try:
            from ostinato.gateway.otel import OtelExporter
        except ModuleNotFoundError as error:
            raise Invalid(
                "OpenTelemetry is not installed",
                place=f"{FLEET_FILE}, key 'otel.endpoint'",
                cure="Install it with: pip install 'ostinato[otel]'",
            ) from error
        exporter = OtelExporter(settings.otel_endpoint, fleet=settings.name, version=__version__)
        told = Told(fleet=settings.name, contents=settings.otel_contents)
        tracer = Tracer(store=store, clock=self.clock, emit=exporter.emit, told=told)
        service = Service("tracer", tracer.poll, Ground(store=store, clock=self.clock, notify=self.log.notice))
        self._ends.push_async_callback(asyncio.to_thread, exporter.close)
        self._ends.push_async_callback(tracer.finish)
        self._ends.push_async_callback(service.stop)
        self._ends.callback(store.subscribe(lambda events: service.wake() if tracer.hear(events) else None))
        service.start()

    def _learn(self, events: Sequence[Event]) -> None:
        """How many tasks an agent may work on at once may have changed with its files."""
        loaded = [each for each in events if each.name is EventName.AGENT_LOADED and each.agent]
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


def spare_imports() -> None:
    """The library of conditions loads a command line of its own on import: 85 ms and 13 MB that no node needs. An empty
    module takes its place."""
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))


def build(fleet: Path, *, clock: Clock | None = None, story_time: bool = False, pools: Sequence[str] = ()) -> FleetApp:
    """The node of a fleet, not started yet. `story_time` labels an injected clock on every screen; without `pools` it
    takes from all of them."""
    return FleetApp(fleet, clock=clock, story_time=story_time, pools=pools)


def open_store_of(
    settings: FleetSettings, state_dir: Path, *, hook: CommitHook | None = None, alone: bool = False
) -> Store:
    """The store that the fleet's file names. Raises Invalid where PostgreSQL's driver is missing.

    SQLite's alone: `hook` is told of each commit; `alone`, the caller holds the fleet's lock.
    """
    entry = settings.store
    if entry.url is None:
        from ostinato.store.sqlite import open_store

        return open_store(state_dir, hook=hook, alone=alone)
    with _driver():
        from ostinato.store.postgres import open_postgres
    return open_postgres(entry.url, password_env=entry.password_env)


@contextlib.contextmanager
def _driver() -> Iterator[None]:
    try:
        yield
    except ModuleNotFoundError as error:
        cure = "Install it with: pip install 'ostinato[postgres]'"
        raise Invalid("PostgreSQL's driver is not installed", place=FLEET_FILE, cure=cure) from error


def copy_here(fleet: Path, target: str, *, password_env: str | None) -> Mapping[str, int]:
    """Copies the fleet's store into an empty one while no node runs; returns the rows of each table. `target` is the
    URL of a PostgreSQL database, or `sqlite`: the fleet's own folder. The fleet's file stays as it is."""
    with _driver():
        from ostinato.store.postgres.shelf import shelf_in
    from ostinato.store import shelf
    from ostinato.store.sqlite.shelf import shelf_to_fill, shelf_to_read

    present, state_dir = read_store(fleet), fleet / STATE_FOLDER
    if (target == "sqlite") is (present.url is None):
        where = "SQLite" if present.url is None else "PostgreSQL"
        cure = "Name the other kind: a URL of PostgreSQL, or sqlite."
        raise Invalid(f"This fleet's store is in {where} already", place=f"{FLEET_FILE}, section store", cure=cure)
    with FleetLock(state_dir):
        if present.url is None:
            with shelf_to_read(state_dir) as source, shelf_in(target, password_env=password_env) as filled:
                return shelf.copy(source, filled)
        with shelf_in(present.url, password_env=present.password_env) as source, shelf_to_fill(state_dir) as filled:
            return shelf.copy(source, filled)


def make_state_folder(state_dir: Path) -> None:
    """Makes the state directory with mode 0700 where it is missing; raises Conflict where it cannot be made."""
    try:
        state_dir.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Conflict(
            f"The state directory cannot be made: {error.strerror}", place=str(state_dir), cure="Can you write there?"
        ) from error


def definitions_of(
    fleet: Path, settings: FleetSettings, workspaces: Workspaces, *, broken: OstinatoError | None = None
) -> FleetDefinitions:
    """The fleet's files as the gateway shows them."""
    return FleetDefinitions(fleet, settings, workspaces, specs=_specs_of, key_names=key_names(settings), broken=broken)


async def _prepare(toolbox: Toolbox, models: FleetModels) -> None:
    """What the first turn would otherwise wait for, on the store's thread: compiled checks, prices of real models."""
    await asyncio.gather(asyncio.to_thread(toolbox.prepare), models.prepare())


async def _end(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))


def _specs_of(policy: Policy) -> Sequence[ToolSpec]:
    from ostinato.tools.standard import standard_toolbox

    return standard_toolbox().specs(policy)


def _wakers(
    ground: Ground, colleagues: Colleagues, *, skipped: Callable[[str], None] = lambda reason: None
) -> tuple[InboxTaker, Fires]:
    """Whatever takes dropped files and fires heartbeats; `skipped` is told why one was for nothing."""
    from ostinato.agents.fires import Fires
    from ostinato.agents.inbox import InboxTaker, InboxTimes
    from ostinato.agents.intake import Intake

    store, workspaces, clock, settings = ground.store, ground.workspaces, ground.clock, ground.settings
    inbox = InboxTaker(
        fleet=ground.fleet,
        store=store,
        workspaces=workspaces,
        intake=Intake(colleagues=colleagues, default_agent=settings.inbox_agent),
        clock=clock,
        timezone=settings.timezone,
        times=InboxTimes(settle_s=settings.settle_s),
    )
    return inbox, Fires(store=store, workspaces=workspaces, inbox=inbox, clock=clock, skipped=skipped)


# --- without a node ---


def call_here(
    fleet: Path, route: Operation[Request, Response], request: Request, *, token: str | None = None
) -> Response:
    """Performs one operation in this process, with the engine off. A writing one holds the fleet's lock meanwhile;
    raises FleetHeld where another process has it. Whoever writes in a fleet that has nobody yet is its first admin."""

    async def call() -> Response:
        asked = read_request(route, request_fields(request))
        async with open_context(fleet, token=token, writes=route.writes) as context:
            check_role(route, context.caller)
            response: Response = await route.handler(context, asked)
            return response

    return asyncio.run(call())


@contextlib.asynccontextmanager
async def open_context(fleet: Path, *, token: str | None, writes: bool) -> AsyncIterator[Context]:
    """What operations are given while no node runs. A fleet file that is wrong is shown as a problem, and keeps nobody
    from looking."""
    settings, broken = stand_in_settings(fleet), None
    try:
        settings = read_fleet(fleet)
    except OstinatoError as error:
        broken, settings = error, replace(settings, store=read_store(fleet))
    state_dir = fleet / STATE_FOLDER
    make_state_folder(state_dir)
    clock, workspaces = SystemClock(), Workspaces(fleet, defaults=settings.defaults)
    with contextlib.ExitStack() as ends:
        if settings.store.url is None and (writes or not (state_dir / DATABASE_NAME).exists()):
            ends.enter_context(_held(FleetLock(state_dir)))  # where nodes share a store, its own locks part them
        store = open_store_of(settings, state_dir)
        ground = Ground(fleet=fleet, settings=settings, store=store, workspaces=workspaces, clock=clock)
        try:
            if writes:
                token = await let_in(store, state_dir, token=token, now=clock.now())
            caller = await caller_of(store, token)
            yield Context(
                store=store,
                clock=clock,
                definitions=definitions_of(fleet, settings, workspaces, broken=broken),
                state_dir=state_dir,
                caller=caller,
                fire=_fire_here(ground),
            )
        finally:
            await store.close()


def recover_here(fleet: Path) -> tuple[Token, Path]:
    """Makes whoever can stop the node and write the fleet's state an admin again; returns their token's record and
    where the token lies. Conflict while a node runs."""

    async def recover() -> tuple[Token, Path]:
        state_dir, clock, secret, person = fleet / STATE_FOLDER, SystemClock(), new_token(), own_name()
        make_state_folder(state_dir)
        with FleetLock(state_dir):
            store = open_store_of(read_fleet(fleet), state_dir)
            try:
                place = keep(state_dir, person, secret)
                new = NewToken(person=person, role=Role.ADMIN, digest=token_digest(secret))
                return await store.run(lambda tx: tx.add_token(new, actor=person, now=clock.now())), place
            finally:
                await store.close()

    return asyncio.run(recover())


def restore_here(fleet: Path, file: Path, *, replace: bool) -> Path | None:
    """Makes a backup the fleet's database while no node runs; returns where the one before was put, if there was one.

    Conflict where there is one and `replace` is not given, or another process holds the fleet; Invalid for a fleet
    whose store is no file.
    """
    if read_store(fleet).url is not None:  # other parts of the fleet's file may be broken: that keeps nobody from it
        raise Invalid("This fleet's store is in PostgreSQL", cure="Restore it by PostgreSQL's own means: pg_restore.")
    from ostinato.store.sqlite import restore

    state_dir = fleet / STATE_FOLDER
    with FleetLock(state_dir):
        moved = _move_aside(state_dir) if replace else {}
        try:
            restore(file, state_dir)
        except BaseException:  # whatever it was, the fleet keeps the database that it had
            for old, new in moved.items():
                os.rename(new, old)
            raise
        return moved.get(state_dir / DATABASE_NAME)


def _move_aside(state_dir: Path) -> dict[Path, Path]:
    """The database and its log under a name of their own; nothing where there is none."""
    number = 1
    while (state_dir / f"before-{number}.db").exists():
        number += 1
    moved = {}
    for ending in ("", "-wal", "-shm"):
        old = state_dir / f"{DATABASE_NAME}{ending}"
        if old.exists():
            moved[old] = state_dir / f"before-{number}.db{ending}"
            os.rename(old, moved[old])
    return moved


def _fire_here(ground: Ground) -> FireNow:
    """Fires one schedule without an engine: whoever it wakes works when a node runs."""

    async def fire(row: ScheduleRow, check: bool) -> str:
        _, fires = _wakers(ground, Colleagues(ground.workspaces))
        return await fires.fire_now(row, check=check)

    return fire


@contextlib.contextmanager
def _held(lock: FleetLock) -> Iterator[None]:
    try:
        lock.acquire()
    except Conflict as held:
        raise FleetHeld(held.message, place=held.place, cure=held.cure) from held
    try:
        yield
    finally:
        lock.release()
