"""A process that runs in a room, with its pipes on the event loop and its end heard through a descriptor.

The standard library's `asyncio.subprocess` would watch its end with a thread of its own, and tell of it only after the
last holder of its output has gone. Knows nothing of rooms, bounds or what is said.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import subprocess
from typing import IO, TYPE_CHECKING

if TYPE_CHECKING:
    from ostinato.tools.sandbox.launch import Launch

LINE_BYTES = 64 * 1024
"""Of a line at most, where lines are read and nobody says otherwise: asyncio's own limit."""


class Child:
    """A process that was started, and leads a session of its own."""

    def __init__(self, process: subprocess.Popen[bytes], *, limit: int) -> None:
        self._process = process
        self._transports: list[asyncio.BaseTransport] = []
        self._ended = asyncio.Event()
        self.pid = process.pid
        self.stdin: asyncio.StreamWriter | None = None
        self.stdout = asyncio.StreamReader(limit=limit)
        self.stderr = asyncio.StreamReader(limit=limit)
        """Empty where it goes the way of `stdout`."""
        self._end = os.pidfd_open(self.pid)
        asyncio.get_running_loop().add_reader(self._end, self._hear_end)

    @classmethod
    async def start(cls, launch: Launch, *, fed: bool, errors_apart: bool = False, limit: int = LINE_BYTES) -> Child:
        """Starts it. `fed`: its input is written to `stdin`, else there is none; `errors_apart`: what it says on its
        second output goes to `stderr`. Raises OSError where there is no such program, or it may not be run."""
        child = cls(_started(launch, fed=fed, errors_apart=errors_apart), limit=limit)
        try:
            await child._connect()
        except BaseException:  # nobody would know of it
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
            child.close()
            raise
        return child

    @property
    def returncode(self) -> int | None:
        """Its exit code, a signal's number below zero; None while it runs."""
        return self._process.returncode

    async def wait(self) -> int:
        """Its exit code, once it has ended; its output may be held open by others."""
        await self._ended.wait()
        assert self._process.returncode is not None
        return self._process.returncode

    def close(self) -> None:
        """Lets go of its pipes, whoever else holds them. Twice is fine."""
        for each in self._transports:
            each.close()

    async def _connect(self) -> None:
        loop, process = asyncio.get_running_loop(), self._process
        await self._read(process.stdout, self.stdout)
        if process.stderr is not None:
            await self._read(process.stderr, self.stderr)
        else:
            self.stderr.feed_eof()
        if process.stdin is not None:
            unread = asyncio.StreamReader()
            transport, protocol = await loop.connect_write_pipe(
                lambda: asyncio.StreamReaderProtocol(unread), process.stdin
            )
            self._transports.append(transport)
            self.stdin = asyncio.StreamWriter(transport, protocol, None, loop)

    async def _read(self, pipe: IO[bytes] | None, into: asyncio.StreamReader) -> None:
        assert pipe is not None
        loop = asyncio.get_running_loop()
        transport, _ = await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(into), pipe)
        self._transports.append(transport)

    def _hear_end(self) -> None:
        if self._process.poll() is not None:
            asyncio.get_running_loop().remove_reader(self._end)
            os.close(self._end)
            self._ended.set()


def _started(launch: Launch, *, fed: bool, errors_apart: bool) -> subprocess.Popen[bytes]:
    """On the loop's own thread: a room dies with the thread that has started it."""
    return subprocess.Popen(
        launch.argv,
        bufsize=0,
        stdin=subprocess.PIPE if fed else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE if errors_apart else subprocess.STDOUT,
        env=launch.environment,
        **launch.options,
    )
