"""A process that has imported everything, and forks a node for each order: a run costs a fork instead of a start.

Orders come as JSON lines on standard input. For each the answer is two lines: the pid as soon as there is one, and how
the node ended. What a node says goes to `LOG` in its folder. Killed nodes are killed for real: by themselves at a
commit, or from here after a time. The process has one thread, so that forking is safe; it ends with its input.
"""

from __future__ import annotations

import asyncio
import faulthandler
import gc
import os
import select
import signal
import sys
import tempfile
import threading
import time
import traceback
from pathlib import Path

import msgspec

from ostinato.config import STATE_FOLDER
from ostinato.domain.values import Value
from ostinato.engine.clock import SystemClock
from ostinato.engine.lease import LeaseTimes
from ostinato.engine.lock import FleetLock
from ostinato.engine.port import Clock
from ostinato.gateway.keyring import TOKEN_VARIABLE
from ostinato.store.sqlite import CommitHook, checkpoints, open_store
from ostinato.testing.clock import STARTS_AT, ManualClock, run_virtual
from ostinato.testing.faults import kill_at
from tests.crash import load
from tests.crash.bugs import BUGS
from tests.crash.lockstep import LockstepStore, NoThreads
from tests.crash.outside import Line, Outside, What, read_outside
from tests.crash.record import OUTSIDE
from tests.crash.scenarios import SCENARIOS, forest, zombie
from tests.crash.stage import Parts, play, serve

LOOK_S = 0.001
"""How often a node is looked at that is to be killed after a while."""

LOG = "run.log"
"""What the nodes of a folder say."""

LEASE = LeaseTimes(lease_s=5.0, renew_s=1.0, stall_s=20.0, tick_s=0.1)
"""Renewed so seldom that a node that was stopped goes on for a moment before it learns that it is not wanted any more,
and so often that nobody waits for that."""

ALL = {
    **SCENARIOS,
    zombie.SCENARIO.name: zombie.SCENARIO,
    forest.SCENARIO.name: forest.SCENARIO,
    load.NAME: load.SCENARIO,
}

TOKEN = "ost_crash"
"""Whoever shows it may do everything."""

WARM_UP = "delivery"
"""The scenario that a forge lives through itself."""

RESTART = 300_000
"""Microseconds between a death and the next node's start, as a supervisor takes them."""


class Order(Value):
    """One run of a node."""

    scenario: str
    """The name of a scenario, or `load` for the node under load."""
    folder: str
    run: int
    """1 for the first in its folder."""
    kill_at: str = ""
    """`before:3`, `after:3`, or empty."""
    kill_after_s: float | None = None
    """Seconds of the node's own processor time: a busy machine must not let it die before it has begun."""
    bug: str = ""
    """The name of a seeded bug."""
    real: bool = False
    """On the clock of the machine, with a lease."""
    renews: bool = False
    """As one of several nodes on a store, which renews its lease."""
    waits: bool = False
    """Begins stopped (SIGSTOP), until somebody lets it go on."""
    answers: bool = False
    """Listens on the fleet's socket to whoever shows TOKEN, until somebody writes a file `last`."""
    takes_over: bool = False
    """Without asking whether somebody holds the fleet: what the lock is there to prevent."""
    log_pages: int = 0
    """Pages of the store's log after which it is moved into the database; 0: as many as usual, more than a short life
    writes."""
    timeout_s: float = 300.0
    """When a node hangs: a busy machine must not look like one."""
    load: load.Orders = load.Orders()


class Ended(Value):
    """How a node ended."""

    pid: int
    code: int = 0
    """Exit code, or minus the signal."""
    seconds: float = 0.0
    hung: bool = False
    """It had to be killed because it did not end."""


def perform(order: Order) -> None:
    """In the child: the whole life of one node."""
    if order.bug:
        BUGS[order.bug].plant()
    if order.log_pages:
        vars(checkpoints)["PAGES_LARGE"] = order.log_pages
    if order.takes_over:
        FleetLock.acquire = lambda _self, **_: None  # type: ignore[method-assign]  # as if the lock had failed
    if order.real:
        asyncio.run(_really(order))
    else:
        lines = read_outside(Path(order.folder) / OUTSIDE)
        clock = ManualClock(lines[-1].at + RESTART if lines else STARTS_AT)
        run_virtual(_virtually(order, clock), clock)


async def _virtually(order: Order, clock: ManualClock) -> None:
    """In a time that jumps wherever everybody waits: hours of retries and heartbeats in milliseconds."""
    gc.disable()  # it will not live long enough
    asyncio.get_running_loop().set_default_executor(NoThreads())
    parts = _parts(order, clock)
    await play(msgspec.structs.replace(parts, store=LockstepStore(parts.store, clock)))


async def _really(order: Order) -> None:
    parts = _parts(order, SystemClock())
    if order.answers:
        await serve(parts)
        return
    await (load.work(parts, order.load) if order.scenario == load.NAME else play(parts))


def _parts(order: Order, clock: Clock) -> Parts:
    folder = Path(order.folder)
    outside = Outside(folder / OUTSIDE, run=order.run, now=clock.now)
    several = order.renews or order.takes_over
    return Parts(
        scenario=ALL[order.scenario],
        folder=folder,
        store=open_store(folder / STATE_FOLDER, hook=_hook(outside, order.kill_at), alone=not several),
        clock=clock,
        outside=outside,
        lease=LEASE if order.real else None,
        exclusive=not order.renews,
        answers=order.answers,
    )


def _hook(outside: Outside, place: str) -> CommitHook:
    """Notes each commit outside, and kills at the one that is named."""
    kill = kill_at(place) if place else None

    def hook(when: str, number: int) -> None:
        if when == "before":
            outside.say(Line(what=What.COMMIT, number=number), durable=False)
        if kill is not None:
            kill(when, number)  # type: ignore[arg-type]  # one of the two words that a store says

    return hook


def main() -> None:
    """Serves orders until standard input ends."""
    decoder = msgspec.json.Decoder(Order)
    os.environ[TOKEN_VARIABLE] = TOKEN  # nobody's own keyring is touched
    _warm_up()
    gc.collect()
    gc.freeze()
    while line := sys.stdin.buffer.readline():
        _serve(decoder.decode(line))


def _warm_up() -> None:
    """Lives the life of a node once, so that everything is there that a node loads late, compiles or remembers. No
    thread of it is left: forking would not be safe."""
    out = os.dup(1)
    os.dup2(2, 1)  # answers alone go to standard output
    try:
        with tempfile.TemporaryDirectory() as folder:
            ALL[WARM_UP].build(Path(folder))
            perform(Order(scenario=WARM_UP, folder=folder, run=1))
    finally:
        os.dup2(out, 1)
        os.close(out)
    gc.enable()
    assert threading.active_count() == 1, threading.enumerate()


def _serve(order: Order) -> None:
    began_s = time.monotonic()
    ends, end = os.pipe()  # the child alone keeps `end`: when it is gone, so is the child
    pid = os.fork()
    if pid == 0:
        os.close(ends)
        _live(order)
    os.close(end)
    _say(Ended(pid=pid))
    hung = not _wait(order, ends, pid)
    if hung:
        os.kill(pid, signal.SIGKILL)
    os.close(ends)
    _, status = os.waitpid(pid, 0)
    code = os.waitstatus_to_exitcode(status)
    hung = hung and order.kill_after_s is None
    _say(Ended(pid=pid, code=code, seconds=time.monotonic() - began_s, hung=hung))


def _wait(order: Order, ends: int, pid: int) -> bool:
    """True once the child has ended by itself; False when it is to be killed."""
    began_s = time.monotonic()
    ends_s = began_s + order.timeout_s
    while time.monotonic() < ends_s:
        if order.kill_after_s is not None and _worked_s(pid, began_s) >= order.kill_after_s:
            return False
        rest_s = ends_s - time.monotonic() if order.kill_after_s is None else LOOK_S
        ready, _, _ = select.select([ends], [], [], rest_s)
        if ready:
            return True
    return False


def _worked_s(pid: int, began_s: float) -> float:
    """Processor time of a process. Linux: the number of such a clock is made of the pid (clock_getcpuclockid).
    Elsewhere the time since it began has to do."""
    try:
        return time.clock_gettime((~pid << 3) | 2)
    except OSError:
        return time.monotonic() - began_s


def _live(order: Order) -> None:
    """In the child; never returns."""
    code = 1
    try:
        log = os.open(Path(order.folder) / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.close(0)
        faulthandler.enable()
        faulthandler.register(signal.SIGUSR1)  # says where a node hangs
        if order.waits:
            os.kill(os.getpid(), signal.SIGSTOP)
        perform(order)
        code = 0
    except BaseException:  # whatever it was: it is said, and the child ends here and not in the server's loop
        traceback.print_exc()
        sys.stderr.flush()
    finally:
        os._exit(code)


def _say(ended: Ended) -> None:
    sys.stdout.buffer.write(msgspec.json.encode(ended) + b"\n")
    sys.stdout.buffer.flush()


if __name__ == "__main__":
    main()
