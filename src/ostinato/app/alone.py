"""What a command does in its own process while no node runs: one operation, or something that only then can be done.

Knows nothing of commands or screens.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from msgspec.structs import replace

from ostinato.agents.colleagues import Colleagues
from ostinato.app.parts import (
    DATABASE_NAME,
    Ground,
    definitions_of,
    driver_needed,
    make_state_folder,
    open_store_of,
    spare_imports,
    wakers_of,
)
from ostinato.config import STATE_FOLDER
from ostinato.domain.errors import Conflict, Invalid, OstinatoError
from ostinato.domain.person import NewToken, Role, Token, token_digest
from ostinato.engine.clock import SystemClock
from ostinato.engine.lock import FleetLock
from ostinato.gateway.access import caller_of, check_role, let_in, own_name
from ostinato.gateway.context import Context, FireNow
from ostinato.gateway.definitions import stand_in_settings
from ostinato.gateway.keyring import keep, new_token
from ostinato.gateway.operation import Ask, Operation, View, read_request, request_fields
from ostinato.store.port import ScheduleRow
from ostinato.tools.router import Router
from ostinato.workspace.fleet_file import FLEET_FILE, read_fleet, read_store
from ostinato.workspace.registry import Workspaces

if TYPE_CHECKING:
    from ostinato.agents.rehearsal import Rehearsal

Request = TypeVar("Request", bound=Ask)
Response = TypeVar("Response", bound=View)


class FleetHeld(Conflict):
    """Another process writes right now: a node that is starting, or another command."""


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
            if route.writes:
                await _end_processes(context)
            return response

    return asyncio.run(call())


async def _end_processes(context: Context) -> None:
    """What an earlier node has left running, and must not run any more by what has just been written."""
    if (context.state_dir / "processes").exists():
        from ostinato.tools.processes.warden import Warden

        warden = Warden(context.state_dir, store=context.store, clock=context.clock)
        await warden.poll()
        await warden.close()


@contextlib.asynccontextmanager
async def open_context(fleet: Path, *, token: str | None, writes: bool) -> AsyncIterator[Context]:
    """What operations are given while no node runs. A fleet file that is wrong is shown as a problem, and keeps nobody
    from looking."""
    spare_imports()
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
            ends.enter_context(
                _held(FleetLock(state_dir, brief=True))
            )  # where nodes share a store, its own locks part them
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
                router=Router(settings.routing),
                rehearsal=partial(_rehearsal, ground),
            )
        finally:
            await store.close()


def recover_here(fleet: Path) -> tuple[Token, Path]:
    """Makes whoever can stop the node and write the fleet's state an admin again; returns their token's record and
    where the token lies. Conflict while a node runs."""

    async def recover() -> tuple[Token, Path]:
        state_dir, clock, secret, person = fleet / STATE_FOLDER, SystemClock(), new_token(), own_name()
        make_state_folder(state_dir)
        with FleetLock(state_dir, brief=True):
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
    with FleetLock(state_dir, brief=True):
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
        from ostinato.tools.commands import CommandPlace

        place = CommandPlace(fleet=ground.fleet.resolve(), state_dir=(ground.fleet / STATE_FOLDER).resolve())
        _, fires = wakers_of(ground, Colleagues(ground.workspaces), Router(ground.settings.routing), commands=place)
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


def copy_here(fleet: Path, target: str, *, password_env: str | None) -> Mapping[str, int]:
    """Copies the fleet's store into an empty one while no node runs; returns the rows of each table. `target` is the
    URL of a PostgreSQL database, or `sqlite`: the fleet's own folder. The fleet's file stays as it is."""
    with driver_needed():
        from ostinato.store.postgres.shelf import shelf_in
    from ostinato.store import shelf
    from ostinato.store.sqlite.shelf import shelf_to_fill, shelf_to_read

    present, state_dir = read_store(fleet), fleet / STATE_FOLDER
    if (target == "sqlite") is (present.url is None):
        where = "SQLite" if present.url is None else "PostgreSQL"
        cure = "Name the other kind: a URL of PostgreSQL, or sqlite."
        raise Invalid(f"This fleet's store is in {where} already", place=f"{FLEET_FILE}, section store", cure=cure)
    with FleetLock(state_dir, brief=True):
        if present.url is None:
            with shelf_to_read(state_dir) as source, shelf_in(target, password_env=password_env) as filled:
                return shelf.copy(source, filled)
        with shelf_in(present.url, password_env=present.password_env) as source, shelf_to_fill(state_dir) as filled:
            return shelf.copy(source, filled)


def _rehearsal(ground: Ground) -> Rehearsal:
    """Judges by the tools of the runtime; those of servers and of the fleet's own are known to a node alone."""
    from ostinato.agents.rehearsal import Rehearsal
    from ostinato.tools.commands import CommandPlace
    from ostinato.tools.standard import standard_toolbox

    toolbox = standard_toolbox(CommandPlace(fleet=ground.fleet.resolve(), state_dir=ground.fleet / STATE_FOLDER))
    return Rehearsal(store=ground.store, workspaces=ground.workspaces, toolbox=toolbox)
