"""The lock of a fleet: who holds it is the only one that writes, and holding it proves that no older node runs.

An advisory lock of the kernel on `<state>/lock`; it goes with the process that holds it, however that ends. The file
names the holder, for the refusal. Knows nothing of what is done under the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from ostinato.domain.errors import Conflict

FILE_NAME = "lock"

WAIT_S = 0.25
"""A command that writes while no node runs holds the lock for one transaction; that is waited for."""

RETRY_S = 0.01
"""Between two tries: the kernel can wait by itself, but not for a limited time."""


class FleetLock:
    """The lock of the fleet whose state is in the directory `state`. Acquire twice and release twice are fine."""

    def __init__(self, state: Path) -> None:
        self.path = state / FILE_NAME
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """True where this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, *, wait_s: float = WAIT_S) -> None:
        """Takes the lock; raises `Conflict` with the pid of the holder where another process keeps it for `wait_s`
        seconds. Blocks that long at most."""
        deadline_s = time.monotonic() + wait_s
        while self._descriptor is None:
            self._descriptor = self._try()
            if self._descriptor is None:
                if time.monotonic() >= deadline_s:
                    raise self._refusal()
                time.sleep(RETRY_S)

    def _try(self) -> int | None:
        """The descriptor that holds the lock, or None where somebody else has it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()}\n".encode(), 0)
        except BlockingIOError:
            os.close(descriptor)
            return None
        except OSError:
            os.close(descriptor)
            raise
        return descriptor

    def release(self) -> None:
        """Gives the lock back. The file stays: removing it would let two processes lock two files of one name."""
        descriptor, self._descriptor = self._descriptor, None
        if descriptor is not None:
            os.ftruncate(descriptor, 0)
            os.close(descriptor)

    def holder(self) -> int | None:
        """Pid of the process that holds the lock; None where nobody does, or the holder has not said yet."""
        if self._descriptor is not None:
            return os.getpid()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # never locked, or not ours to see
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return self._written_pid()
        finally:
            os.close(descriptor)
        return None

    def _written_pid(self) -> int | None:
        text = self.path.read_text().strip()
        return int(text) if text.isdigit() else None

    def _refusal(self) -> Conflict:
        pid = self._written_pid()
        who = f"process {pid}" if pid is not None else "another process"
        return Conflict(
            f"This fleet is already held by {who}",
            place=str(self.path),
            cure="Use that node, or stop it first; two nodes on one fleet would spoil each other's work.",
        )

    def __enter__(self) -> FleetLock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
