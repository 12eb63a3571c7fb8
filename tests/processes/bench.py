"""Processes without a fleet around them: a workspace, a folder for the handle, and commands to start there."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import Any

from ostinato.domain.step import Effect
from ostinato.tools.processes.handle import PROCESSES_FOLDER, About, Exit, Handle, Standing
from ostinato.tools.processes.start import Start, Terminal, reap, shims, start
from ostinato.tools.sandbox.launch import Backend
from ostinato.tools.sandbox.protected import prepare
from ostinato.tools.sandbox.room import Bounds, Errand, Room
from ostinato.tools.sandbox.surroundings import PLAIN
from tests.conftest import wait_until
from tests.sandbox.ground import World, backend, world

TOKEN = "a token of this process"


class Bench:
    """Starts processes and ends all of them."""

    def __init__(self, here: World, way: Backend) -> None:
        self.here = here
        self.way = way
        self.started: list[Handle] = []

    def handle(self) -> Handle:
        """A new handle, prepared."""
        made = Handle(self.here.root / "state" / PROCESSES_FOLDER / f"T{len(self.started) + 1}-1-x")
        about = About(
            task=len(self.started) + 1,
            agent="me",
            session="main:me",
            argv=("x",),
            effect=Effect.READ,
            token=TOKEN,
        )
        made.prepare(about)
        self.started.append(made)
        return made

    def wanted(self, *argv: str, bounds: Bounds | None = None, stdin: str = "", **more: Any) -> Start:
        """A start of this command."""
        watch = prepare(self.here.workspace)
        terminal: Terminal | None = more.get("terminal")
        return Start(
            backend=self.way,
            room=Room(workspace=self.here.workspace, guard=watch.guard, bounds=bounds or Bounds(wall_s=60.0)),
            errand=Errand(
                argv=argv,
                cwd=self.here.workspace,
                environment=PLAIN | more.pop("environment", {}),
                stdin=stdin.encode(),
                terminal=terminal is not None,
            ),
            account=self.here.account,
            watch=watch,
            **more,
        )

    def end_all(self) -> None:
        """Returns when nothing of it runs any more, and no shim waits to be noticed as ended."""
        for each in self.started:
            each.kill("the test is over")
        wait_until(lambda: _all_gone(self.started))

    def begin(self, *argv: str, **more: Any) -> Handle:
        """A process that has begun."""
        handle = self.handle()
        assert start(handle, self.wanted(*argv, **more))
        return handle


def _all_gone(started: list[Handle]) -> bool:
    reap()
    return all(each.look()[0] is not Standing.RUNS for each in started) and not shims()


def said(handle: Handle) -> str:
    """Its output so far."""
    kept = handle.kept()
    return (kept.head + kept.tail).decode(errors="replace")


def until(handle: Handle, holds: Callable[[str], object]) -> str:
    """Its output, once that is as wanted."""
    wait_until(lambda: holds(said(handle)))
    return said(handle)


def end_of(handle: Handle) -> Exit:
    """How it ended, once it has."""
    wait_until(lambda: handle.look()[0] is not Standing.RUNS)
    standing, ended = handle.look()
    assert standing is Standing.ENDED, standing
    assert ended is not None
    return ended


@contextlib.contextmanager
def bench(way: str = "bubblewrap") -> Iterator[Bench]:
    """A bench that leaves nothing behind."""
    with world() as here:
        made = Bench(here, backend(way))
        try:
            yield made
        finally:
            made.end_all()
