"""A process that stays in its room and is spoken to in lines: a server of tools, a worker for Python.

It belongs to this process and dies with it. What it says is hostile: a line has a most, and so has the rate of lines
and bytes. Knows nothing of what the lines mean, nor of starting it again.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator

from ostinato.domain.errors import Conflict, Exhausted
from ostinato.domain.secret import KNOWN
from ostinato.tools.sandbox.command import GONE_S, TICK_S, Status, room_gone
from ostinato.tools.sandbox.launch import Backend, launched, problem_in
from ostinato.tools.sandbox.room import Account, Bounds, Errand, Room
from ostinato.tools.sandbox.spill import plain
from ostinato.tools.sandbox.tree import is_alive, usage_of

LINE_BYTES_MAX = 4_194_304
"""Bytes of one line: sixty times what a model is shown of a result."""

LINES_AT_ONCE, LINES_PER_S = 2_000, 200.0
"""Lines that may come in a burst, and for ever: a server with 10,000 tools lists them in one line."""

BYTES_AT_ONCE, BYTES_PER_S = 33_554_432, 2_097_152.0

GRACE_S = 0.5
"""How long it may take to end by itself once its input has ended."""

WATCH_S = 1.0
"""How often its memory is looked at."""

_SAID_BYTES = 4_096


class Resident:
    """One process in a room. `start` before anything else; `end` returns when nothing of it is left, and may be called
    twice."""

    def __init__(self, process: asyncio.subprocess.Process, heard: Status, *, backend: Backend, bounds: Bounds) -> None:
        self._process = process
        self._heard = heard
        self._backend = backend
        self._bounds = bounds
        self._said = b""
        self._why = ""
        self._ended = False
        self._others = (asyncio.ensure_future(self._listen()), asyncio.ensure_future(self._watch()))

    @classmethod
    async def start(cls, backend: Backend, room: Room, errand: Errand, *, account: Account) -> Resident:
        """Starts it. Raises OSError where the backend itself cannot be started."""
        with launched(backend, room, errand, account=account) as launch:
            process = await asyncio.create_subprocess_exec(
                *launch.argv,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.PIPE,
                limit=LINE_BYTES_MAX,
                env=launch.environment,
                **launch.options,
            )
            heard = Status(os.dup(launch.status))
        return cls(process, heard, backend=backend, bounds=room.bounds)

    async def send(self, line: bytes) -> None:
        """Says one line. Raises Conflict where it has ended."""
        assert self._process.stdin is not None
        try:
            self._process.stdin.write(line + b"\n")
            await self._process.stdin.drain()
        except (ConnectionError, RuntimeError) as error:
            raise Conflict(f"It has ended: {self.last_words()}") from error

    async def lines(self) -> AsyncIterator[bytes]:
        """What it says, line by line, until it ends. Raises Exhausted where it says too much."""
        assert self._process.stdout is not None
        lines, size = _Measure(LINES_AT_ONCE, LINES_PER_S), _Measure(BYTES_AT_ONCE, BYTES_PER_S)
        while True:
            try:
                line = await self._process.stdout.readuntil(b"\n")
            except asyncio.IncompleteReadError:
                return
            except asyncio.LimitOverrunError as error:
                raise Exhausted(f"It said a line of more than {LINE_BYTES_MAX} bytes") from error
            if not (lines.take(1) and size.take(len(line))):
                raise Exhausted(f"It says more than {LINES_PER_S:g} lines or {BYTES_PER_S:g} bytes a second")
            yield line[:-1]

    def last_words(self) -> str:
        """Why it ended, as far as it is known; for people."""
        words = self._why or (plain(KNOWN.data(self._said)).strip().splitlines() or [""])[-1]
        return words[:300] or f"exit {self._process.returncode}"

    async def end(self) -> None:
        """Ends it and all that it started."""
        if self._ended:
            return
        self._ended = True
        assert self._process.stdin is not None
        self._process.stdin.close()
        waiting = asyncio.ensure_future(self._process.wait())
        try:
            await asyncio.wait((waiting,), timeout=GRACE_S)
        finally:
            await asyncio.shield(self._end_now(waiting))

    async def _end_now(self, waiting: asyncio.Future[int]) -> None:
        """Not to be broken off: nothing of it may be left."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        for each in self._others:
            each.cancel()
        draining = asyncio.ensure_future(self._drain())  # what it has said already keeps its end from being heard
        await asyncio.wait((*self._others, draining), timeout=GONE_S)
        draining.cancel()
        await asyncio.wait((waiting,), timeout=GONE_S)
        waiting.cancel()
        said = self._heard.close()
        self._why = self._why or problem_in(said, self._backend, said=self._said)
        await room_gone(self._heard.root)
        deadline_s = time.monotonic() + GONE_S
        while not self._backend.has_rooms and time.monotonic() < deadline_s and is_alive(self._process.pid):
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self._process.pid, signal.SIGKILL)
            await asyncio.sleep(TICK_S / 10)

    async def _drain(self) -> None:
        assert self._process.stdout is not None
        with contextlib.suppress(RuntimeError):  # whoever reads its lines drains it
            while await self._process.stdout.read(LINE_BYTES_MAX):
                continue

    async def _listen(self) -> None:
        """Its errors: the last of them tell why it ended."""
        assert self._process.stderr is not None
        while data := await self._process.stderr.read(_SAID_BYTES):
            self._said = (self._said + data)[-_SAID_BYTES:]

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(WATCH_S)
            if usage_of(self._process.pid).memory_bytes > self._bounds.memory_bytes:
                self._why = "ended by its limit of memory"
                with contextlib.suppress(ProcessLookupError):
                    os.killpg(self._process.pid, signal.SIGKILL)
                return


class _Measure:
    """So much at once, and so much for each second that passes."""

    def __init__(self, most: float, per_s: float) -> None:
        self._most = self._left = most
        self._per_s = per_s
        self._at_s = time.monotonic()

    def take(self, amount: float) -> bool:
        """False where there is not so much left."""
        now_s = time.monotonic()
        self._left = min(self._most, self._left + (now_s - self._at_s) * self._per_s) - amount
        self._at_s = now_s
        return self._left >= 0
