"""The examinations behind `doctor`: the machine, the state directory, the keys, the sandbox, the fleet's files.

Each finding says ok, warn or bad, and what to do. Nothing is changed, beside one small file that is written and removed
to time the disk. Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import stat
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Literal

from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.errors import OstinatoError
from ostinato.domain.values import SECOND, Value
from ostinato.gateway.context import Context, Problem
from ostinato.gateway.sentences import one_line
from ostinato.store.examination import Examinable
from ostinato.tools.processes.handle import Standing, handles
from ostinato.tools.sandbox.preflight import Preflight, preflight

Level = Literal["ok", "warn", "bad"]

DISK_FREE_BAD = 100_000_000
DISK_FREE_WARN = 1_000_000_000
FSYNC_SLOW_S = 0.05
"""Each commit waits for one; above this a fleet feels slow."""

SQLITE_MIN = (3, 37, 0)
"""STRICT tables."""

CLOCK_MIN = 1_735_689_600
"""2025-01-01: an earlier clock was never set."""


class Finding(Value):
    """One examination."""

    name: str
    level: Level
    text: str
    cure: str = ""


async def examine(context: Context) -> list[Finding]:
    """All examinations, in the order in which one would cure them. Never raises."""
    machine = await asyncio.to_thread(lambda: list(_machine(context.state_dir)))
    problems = await context.problems()
    fleet = await asyncio.to_thread(lambda: [*_keys(context), *_scripts(context), *_agents(context, problems)])
    sandbox = _sandbox(await preflight(context.state_dir.parent))
    return [
        *machine,
        sandbox,
        _clock(context),
        _node(context),
        *await _store(context),
        *await _breakers(context),
        *fleet,
    ]


def _machine(state_dir: Path) -> Iterator[Finding]:
    yield _python()
    yield _sqlite()
    yield _guarded("state directory", lambda: _permissions(state_dir))
    yield _guarded("disk space", lambda: _space(state_dir))
    yield _guarded("disk speed", lambda: _fsync(state_dir))
    yield _guarded("processes", lambda: _processes(state_dir))


def _guarded(name: str, examination: Callable[[], Finding]) -> Finding:
    """A finding also where the examination itself cannot be done."""
    try:
        return examination()
    except OSError as error:
        return Finding(
            name=name, level="bad", text=f"could not be examined: {error}", cure="See that the disk is there."
        )


def _python() -> Finding:
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(name="python", level="ok", text=f"{version} ({sys.executable})")


def _sqlite() -> Finding:
    import sqlite3

    version = sqlite3.sqlite_version
    if sqlite3.sqlite_version_info < SQLITE_MIN:
        return Finding(name="sqlite", level="bad", text=version, cure="Use a Python with SQLite 3.37 or newer.")
    return Finding(name="sqlite", level="ok", text=version)


def _permissions(state_dir: Path) -> Finding:
    name, mode = "state directory", stat.S_IMODE(state_dir.stat().st_mode)
    if mode & 0o077:
        cure = f"chmod 700 {state_dir}"
        level: Level = "bad" if mode & 0o022 else "warn"
        return Finding(name=name, level=level, text=f"{state_dir} is open to others (mode {mode:o})", cure=cure)
    if not os.access(state_dir, os.W_OK):
        return Finding(name=name, level="bad", text=f"{state_dir} cannot be written", cure="Use the fleet's own user.")
    return Finding(name=name, level="ok", text=f"{state_dir} (mode {mode:o})")


def _processes(state_dir: Path) -> Finding:
    """What outlives a node, and what systemd must leave alone then."""
    runs = sum(each.look()[0] is Standing.RUNS for each in handles(state_dir))
    text = f"{runs} run that outlive the node"
    if "INVOCATION_ID" in os.environ:  # set by systemd for what it starts
        text += "; systemd must signal the supervisor alone: KillMode=process"
    return Finding(name="processes", level="ok", text=text)


def _space(state_dir: Path) -> Finding:
    free = shutil.disk_usage(state_dir).free
    text = f"{free / 1e9:.1f} GB free"
    if free < DISK_FREE_BAD:
        return Finding(name="disk space", level="bad", text=text, cure="Make room: without it new work is refused.")
    if free < DISK_FREE_WARN:
        return Finding(name="disk space", level="warn", text=text, cure="Make room before it is full.")
    return Finding(name="disk space", level="ok", text=text)


def _fsync(state_dir: Path) -> Finding:
    probe = state_dir / f".doctor-{os.getpid()}"
    descriptor = os.open(probe, os.O_CREAT | os.O_WRONLY | os.O_EXCL, 0o600)
    try:
        times = []
        for _ in range(5):
            os.write(descriptor, b"\0" * 4096)
            began = time.perf_counter()
            os.fsync(descriptor)
            times.append(time.perf_counter() - began)
    finally:
        os.close(descriptor)
        probe.unlink()
    median = sorted(times)[2]
    text = f"a write is on disk after {median * 1000:.1f} ms"
    if median > FSYNC_SLOW_S:
        return Finding(name="disk speed", level="warn", text=text, cure="Put the fleet on a faster, local disk.")
    return Finding(name="disk speed", level="ok", text=text)


def _sandbox(found: Preflight) -> Finding:
    """What holds commands of agents, and what it does not hold back; where nothing does, they are refused."""
    if found.refusal:
        text = f"commands of agents are refused: {found.refusal}; everything else works"
        return Finding(name="sandbox", level="warn", text=text, cure=found.cure)
    trial, who = found.trials[-1], found.account.name if found.account else ""
    text = f"{trial.backend.name}, as {who}: {len(trial.held)} ways to escape were tried and fail"
    failed = [f"{each.backend.name} fails ({each.why})" for each in found.trials[:-1]]
    if not trial.backend.gaps:
        return Finding(name="sandbox", level="ok", text="; ".join([text, *failed]))
    gaps = "; ".join(f"({number}) {gap}" for number, gap in enumerate(trial.backend.gaps, 1))
    cure = "Install bubblewrap (Debian: apt-get install bubblewrap), or let its users make namespaces."
    return Finding(name="sandbox", level="warn", text="; ".join([text, *failed, f"its gaps: {gaps}"]), cure=cure)


def _clock(context: Context) -> Finding:
    if context.node is not None and context.node.story_time:
        return Finding(name="clock", level="ok", text="story time: this fleet lives in a demo's clock")
    now_s = context.now / SECOND
    if now_s < CLOCK_MIN:
        return Finding(name="clock", level="bad", text="the clock was never set", cure="Set the machine's clock (NTP).")
    return Finding(name="clock", level="ok", text=time.strftime("%Y-%m-%dT%H:%M:%S%z"))


def _node(context: Context) -> Finding:
    node = context.node
    if node is None:
        return Finding(name="node", level="warn", text="not running: nothing is done", cure="ostinato up")
    return Finding(name="node", level="ok", text=f"running, pid {node.pid}, version {node.version}")


async def _store(context: Context) -> list[Finding]:
    store = context.store
    try:
        said = await store.check()
        remarks = await store.examine() if isinstance(store, Examinable) else ()
    except OstinatoError as error:
        return [Finding(name="database", level="bad", text=error.message, cure=error.cure or _RESTORE)]
    database = Finding(name="database", level="ok", text="sound")
    if said != "ok":
        database = Finding(name="database", level="bad", text=said, cure=_RESTORE)
    return [database, *(Finding(name=f"database {r.name}", level=r.level, text=r.text, cure=r.cure) for r in remarks)]


async def _breakers(context: Context) -> list[Finding]:
    """Models and hosts that failed too often in a row."""
    try:
        found = await context.store.read(lambda tx: tx.breakers())
    except OstinatoError:  # said above
        return []
    return [_breaker(each, context) for each in found if each.state is not BreakerState.CLOSED]


def _breaker(breaker: Breaker, context: Context) -> Finding:
    wait_s = max(0, breaker.until_at - context.now) / SECOND
    if breaker.state is BreakerState.HALF_OPEN:
        goes_on = f"{breaker.probe} is trying it"
    else:
        goes_on = f"tried again in {wait_s:.0f} s" if wait_s else "tried again with the next call"
    failures = "one failure" if breaker.failures == 1 else f"{breaker.failures} failures in a row"
    text = f"not asked after {failures}, {goes_on}: {one_line(breaker.reason)}"
    cure = f"Look at what it says. Once it works again: ostinato breakers reset {breaker.name}"
    return Finding(name=breaker.name.replace(":", " ", 1), level="bad", text=text, cure=cure)


_RESTORE = "Stop the node and restore a backup: ostinato restore FILE"


def _keys(context: Context) -> Iterator[Finding]:
    for need in context.definitions.key_needs():
        name = f"key {need.name}"
        if need.present:
            yield Finding(name=name, level="ok", text=f"is set, for {need.wanted_by}")
        else:
            where = "the node's environment" if context.node is not None else "this environment"
            cure = f"Set {need.name} (or {need.name}_FILE) where `ostinato up` is started."
            yield Finding(name=name, level="bad", text=f"is not in {where}; {need.wanted_by} needs it", cure=cure)


def _scripts(context: Context) -> Iterator[Finding]:
    for path in context.definitions.scripts():
        if path.is_file():
            yield Finding(name="script", level="ok", text=f"{path}")
        else:
            cure = "Correct `script` in ostinato.toml."
            yield Finding(name="script", level="bad", text=f"there is no file {path}", cure=cure)


def _agents(context: Context, problems: Sequence[Problem]) -> Iterator[Finding]:
    cards = context.definitions.agents()
    for each in problems:
        level: Level = "bad" if each.level == "error" else "warn"
        yield Finding(
            name=each.agent or "fleet file", level=level, text=f"{each.place}: {each.message}", cure=each.cure
        )
    broken = {each.agent for each in problems if each.level == "error"}
    sound = [card.id for card in cards if card.id not in broken]
    if not cards:
        yield Finding(name="agents", level="warn", text="there are none", cure="ostinato agents add NAME")
    elif sound:
        yield Finding(name="agents", level="ok", text=f"{len(sound)} of {len(cards)} can work")
