"""Runs one command in its room and waits for its end, which comes by itself or at a bound.

When this returns, be it by a result, a cancellation or an error, no process of the command is left: its first process
is the root of a process namespace (or of a process group that nothing may leave), and dies with this process. Knows
nothing of tools, agents or policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import enum
import os
import signal
import time

from ostinato.domain.values import Value
from ostinato.tools.sandbox.launch import Backend, launched, problem_in, root_in
from ostinato.tools.sandbox.protected import Watch
from ostinato.tools.sandbox.room import Account, Bounds, Errand, Room
from ostinato.tools.sandbox.spill import Kept, Output
from ostinato.tools.sandbox.tree import is_alive, usage_of

TICK_S = 0.05
"""How often a running command is looked at: its time, its silence, and whether what is protected still is."""

USAGE_S = 0.25
"""How often its processes are added up."""

GONE_S = 5.0
"""Far longer than the kernel takes to end a process tree."""

_CHUNK_BYTES = 65_536
_STATUS_BYTES = 65_536


class Ended(enum.StrEnum):
    """What ended a command."""

    EXIT = "exit"
    WALL = "wall"
    SILENCE = "silence"
    CPU = "cpu"
    MEMORY = "memory"
    REPLACED = "replaced"
    """Something protected was replaced while it ran: from that moment its seal does not hold any more."""
    REFUSED = "refused"
    """It never began."""


class Finished(Value):
    """How a command ended."""

    ended: Ended
    code: int | None
    """Its exit code; 128 and the signal's number where a signal ended it; None where it was ended from outside."""
    output: Kept
    duration_s: float
    changed: tuple[str, ...] = ()
    """Protected names that are no longer as they were."""
    put_aside: tuple[str, ...] = ()
    problem: str = ""


async def run_command(
    backend: Backend, room: Room, errand: Errand, *, account: Account, watch: Watch | None = None
) -> Finished:
    """Runs an errand to its end. Raises OSError where the backend itself cannot be started."""
    output, began_s = Output(), time.monotonic()
    with launched(backend, room, errand, account=account) as launch:
        process = await asyncio.create_subprocess_exec(
            *launch.argv,
            stdin=asyncio.subprocess.PIPE if launch.stdin else asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.STDOUT,
            env=launch.environment,
            **launch.options,
        )
        heard = Status(os.dup(launch.status))
    said, aside = b"", tuple[str, ...]()
    try:
        run = _Run(process, output, backend=backend, bounds=room.bounds, watch=watch)
        ended = await run.until_ended(launch.stdin)
    finally:  # also where nobody waits any more
        said = heard.close()
        await room_gone(heard.root)
        aside = watch.put_aside() if watch else ()
    kept = output.kept()
    problem = problem_in(said, backend, said=kept.tail or kept.head) if ended is Ended.EXIT else ""
    return Finished(
        ended=Ended.REFUSED if problem else ended,
        code=_code(process.returncode) if ended is Ended.EXIT and not problem else None,
        output=kept,
        duration_s=time.monotonic() - began_s,
        changed=watch.changed() if watch else (),
        put_aside=aside,
        problem=problem,
    )


class _Run:
    """One process, its output and its bounds."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        output: Output,
        *,
        backend: Backend,
        bounds: Bounds,
        watch: Watch | None,
    ) -> None:
        self._process = process
        self._backend = backend
        self._output = output
        self._bounds = bounds
        self._watch = watch
        self._began_s = self._heard_s = self._added_s = time.monotonic()

    async def until_ended(self, stdin: bytes) -> Ended:
        """Waits; ends it where it goes beyond a bound, or where nobody waits any more."""
        reading = asyncio.ensure_future(self._read())
        ending = asyncio.ensure_future(self._process.wait())
        feeding = asyncio.ensure_future(self._feed(stdin))
        try:
            while True:
                await asyncio.wait((reading, ending), timeout=TICK_S, return_when=asyncio.ALL_COMPLETED)
                if self._process.returncode is not None:  # `wait` waits for the output's end, too: others may hold it
                    return Ended.EXIT
                beyond = self._beyond()
                if beyond is not None:
                    return beyond
        finally:
            feeding.cancel()
            if self._process.returncode is None or not self._backend.has_rooms:
                self._kill()
            await asyncio.wait((reading, ending, feeding), timeout=GONE_S)
            reading.cancel()
            if not self._backend.has_rooms:
                await self._group_gone()

    async def _read(self) -> None:
        assert self._process.stdout is not None
        while data := await self._process.stdout.read(_CHUNK_BYTES):
            self._output.add(data)
            self._heard_s = time.monotonic()

    async def _feed(self, stdin: bytes) -> None:
        if self._process.stdin is None:
            return
        with contextlib.suppress(ConnectionError):  # it need not read what it is given
            self._process.stdin.write(stdin)
            await self._process.stdin.drain()
            self._process.stdin.close()

    def _beyond(self) -> Ended | None:
        """The bound that is reached, if one is."""
        now_s, bounds = time.monotonic(), self._bounds
        if now_s - self._began_s > bounds.wall_s:
            return Ended.WALL
        if bounds.silence_s is not None and now_s - self._heard_s > bounds.silence_s:
            return Ended.SILENCE
        if self._watch is not None and self._watch.is_broken():
            return Ended.REPLACED
        if now_s - self._added_s > USAGE_S:
            self._added_s = now_s
            usage = usage_of(self._process.pid)
            if usage.cpu_s > bounds.cpu_s:
                return Ended.CPU
            if usage.memory_bytes > bounds.memory_bytes:
                return Ended.MEMORY
        return None

    async def _group_gone(self) -> None:
        """Waits until nothing of the process group is left: without a room, its end has no end that could be heard."""
        deadline_s = time.monotonic() + GONE_S
        with contextlib.suppress(ProcessLookupError):
            while time.monotonic() < deadline_s and is_alive(self._process.pid):
                os.killpg(self._process.pid, signal.SIGKILL)
                await asyncio.sleep(TICK_S / 10)

    def _kill(self) -> None:
        """All of it, by the process group that its first process leads. Not by asyncio's own means: those look first
        whether it has ended, and so take its end away from whoever waits for it."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)


class Status:
    """What the backend says on its descriptor. The first process of the room is taken hold of as soon as it is named,
    while it surely lives: its number may be another's later."""

    def __init__(self, descriptor: int) -> None:
        self._descriptor = descriptor
        self._said = b""
        self.root: int | None = None
        """A descriptor of that process."""
        os.set_blocking(descriptor, False)
        asyncio.get_running_loop().add_reader(descriptor, self._hear)

    def close(self) -> bytes:
        """All that was said."""
        asyncio.get_running_loop().remove_reader(self._descriptor)
        self._hear()
        os.close(self._descriptor)
        return self._said

    def _hear(self) -> None:
        with contextlib.suppress(BlockingIOError):
            data = os.read(self._descriptor, _STATUS_BYTES)
            if not data:
                asyncio.get_running_loop().remove_reader(self._descriptor)
            self._said = (self._said + data)[:_STATUS_BYTES]
        if self.root is None and (pid := root_in(self._said)) is not None:
            with contextlib.suppress(OSError):
                self.root = os.pidfd_open(pid)


async def room_gone(root: int | None) -> None:
    """Ends the first process of a room and waits for it: the kernel lets it end after all others. Bubblewrap itself
    ends as soon as the command has, a moment before what the command left behind, and whether or not that ends."""
    if root is None:
        return
    loop, gone = asyncio.get_running_loop(), asyncio.Event()
    loop.add_reader(root, gone.set)
    try:
        with contextlib.suppress(ProcessLookupError):
            signal.pidfd_send_signal(root, signal.SIGKILL)
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(GONE_S):
                await gone.wait()
    finally:
        loop.remove_reader(root)
        os.close(root)


def _code(returncode: int | None) -> int | None:
    return 128 - returncode if returncode is not None and returncode < 0 else returncode
