"""What every way into a fleet is built from: its state directory, its store, its files, and what wakes its agents.

Everything heavy is loaded inside. Knows nothing of commands or screens.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING

from ostinato.agents.colleagues import Colleagues
from ostinato.config import key_names
from ostinato.domain.errors import Conflict, Invalid, OstinatoError
from ostinato.domain.values import Value
from ostinato.engine.port import Clock
from ostinato.gateway.definitions import FleetDefinitions
from ostinato.store.port import Store
from ostinato.tools.router import Router
from ostinato.workspace.fleet_file import FLEET_FILE, FleetSettings
from ostinato.workspace.registry import Workspaces

if TYPE_CHECKING:
    from ostinato.agents.fires import Fires
    from ostinato.agents.inbox import InboxTaker
    from ostinato.store.sqlite import CommitHook
    from ostinato.tools.commands import CommandPlace
    from ostinato.tools.toolbox import Toolbox

DATABASE_NAME = "ostinato.db"


class Ground(Value):
    """What the rooms of one fleet stand on."""

    fleet: Path
    settings: FleetSettings
    store: Store
    workspaces: Workspaces
    clock: Clock


def spare_imports() -> None:
    """The library of conditions loads a command line of its own on import: 85 ms and 13 MB that no node needs. An empty
    module takes its place."""
    sys.modules.setdefault("cel.cli", ModuleType("cel.cli"))


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
    with driver_needed():
        from ostinato.store.postgres import open_postgres
    return open_postgres(entry.url, password_env=entry.password_env)


@contextlib.contextmanager
def driver_needed() -> Iterator[None]:
    """Where PostgreSQL's driver is missing, says how to get it."""
    try:
        yield
    except ModuleNotFoundError as error:
        cure = "Install it with: pip install 'ostinato[postgres]'"
        raise Invalid("PostgreSQL's driver is not installed", place=FLEET_FILE, cure=cure) from error


def make_state_folder(state_dir: Path) -> None:
    """Makes the state directory with mode 0700 where it is missing; raises Conflict where it cannot be made."""
    try:
        state_dir.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise Conflict(
            f"The state directory cannot be made: {error.strerror}", place=str(state_dir), cure="Can you write there?"
        ) from error


def definitions_of(
    fleet: Path,
    settings: FleetSettings,
    workspaces: Workspaces,
    *,
    broken: OstinatoError | None = None,
    toolbox: Toolbox | None = None,
    skills: Callable[[Sequence[str]], str] = lambda granted: "",
) -> FleetDefinitions:
    """The fleet's files as the gateway shows them. `toolbox` and `skills`: what a running node offers."""
    return FleetDefinitions(
        fleet,
        settings,
        workspaces,
        toolbox=lambda: toolbox or _standard_toolbox(),
        skills=skills,
        key_names=key_names(settings),
        broken=broken,
    )


def _standard_toolbox() -> Toolbox:
    from ostinato.tools.standard import standard_toolbox

    return standard_toolbox()


def wakers_of(
    ground: Ground,
    colleagues: Colleagues,
    router: Router,
    *,
    skipped: Callable[[str], None] = lambda reason: None,
    commands: CommandPlace | None = None,
) -> tuple[InboxTaker, Fires]:
    """Whatever takes dropped files and fires heartbeats; `skipped` is told why one was for nothing. `commands`: where
    checks are run that are commands."""
    from ostinato.agents.command_check import CommandChecks
    from ostinato.agents.fires import Fires
    from ostinato.agents.inbox import InboxTaker, InboxTimes
    from ostinato.agents.intake import Intake

    store, workspaces, clock, settings = ground.store, ground.workspaces, ground.clock, ground.settings
    inbox = InboxTaker(
        fleet=ground.fleet,
        store=store,
        workspaces=workspaces,
        intake=Intake(colleagues=colleagues, settings=settings.inbox, router=router),
        clock=clock,
        timezone=settings.timezone,
        times=InboxTimes(settle_s=settings.inbox.settle_s),
    )
    checks = CommandChecks(workspaces=workspaces, place=commands) if commands is not None else None
    fires = Fires(
        store=store,
        workspaces=workspaces,
        inbox=inbox,
        clock=clock,
        checks=checks,
        skipped=skipped,
        stalled_s=settings.stalled_s,
    )
    return inbox, fires
