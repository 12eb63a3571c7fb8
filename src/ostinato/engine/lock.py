"""The lock of a fleet: who holds it is the only one that writes, and holding it proves that no older node runs.

An advisory lock of the kernel on `<state>/lock`; it goes with the process that holds it, however that ends. The file
names the holder, for the refusal, and says of a command that it is one: its end is near, and is waited for; that of a
node is not. Knows nothing of what is done under the lock.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path

from ostinato.domain.errors import Conflict

FILE_NAME = "lock"

WAIT_S = 0.25
"""How long a node is waited for: it may just be at its end."""

BRIEF_WAIT_S = 30.0
"""How long a command is waited for: most take one transaction, but the first one in a fleet makes the database, and
disks can be slow. A node that gave up at once would not be started again."""

BRIEF = "command"
"""Stands behind the pid of a command."""

RETRY_S = 0.01
"""Between two tries: the kernel can wait by itself, but not for a limited time."""


class FleetLock:
    """The lock of the fleet whose state is in the directory `state`. Acquire twice and release twice are fine. `brief`:
    it is for a command, and given back soon."""

    def __init__(self, state: Path, *, brief: bool = False) -> None:
        self.path = state / FILE_NAME
        self._brief = brief
        self._descriptor: int | None = None

    @property
    def held(self) -> bool:
        """True where this object holds the lock."""
        return self._descriptor is not None

    def acquire(self, *, wait_s: float = WAIT_S) -> None:
        """Takes the lock; raises `Conflict` with the pid of the holder where a node keeps it for `wait_s` seconds, or
        commands for `BRIEF_WAIT_S`. Blocks that long at most."""
        began_s = time.monotonic()
        while self._descriptor is None:
            self._descriptor = self._try()
            if self._descriptor is None:
                _, brief = self._written()
                if time.monotonic() - began_s >= (max(wait_s, BRIEF_WAIT_S) if brief else wait_s):
                    raise self._refusal()
                time.sleep(RETRY_S)

    def _try(self) -> int | None:
        """The descriptor that holds the lock, or None where somebody else has it."""
        descriptor = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, f"{os.getpid()} {BRIEF if self._brief else ''}\n".encode(), 0)
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
            try:
                os.ftruncate(descriptor, 0)
            finally:  # also on a disk that fails: it is the open descriptor that holds the lock
                os.close(descriptor)

    def holder(self) -> int | None:
        """Pid of the process that keeps the lock; None where nobody does, or only for one command, or has not said."""
        if self._descriptor is not None:
            return os.getpid()
        try:
            descriptor = os.open(self.path, os.O_RDWR | os.O_CLOEXEC)
        except OSError:  # never locked, or not ours to see
            return None
        try:
            fcntl.flock(descriptor, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            pid, brief = self._written()
            return None if brief else pid
        finally:
            os.close(descriptor)
        return None

    def _written(self) -> tuple[int | None, bool]:
        """The pid that the holder has written, and whether it is a command. Who has written nothing has just come, or
        goes, and may be one."""
        pid, _, kind = self.path.read_text().strip().partition(" ")
        return (int(pid) if pid.isdigit() else None), kind == BRIEF or not pid

    def _refusal(self) -> Conflict:
        pid, _ = self._written()
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
