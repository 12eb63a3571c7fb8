"""Processes under strace: every system call that changes files can be made to kill, to fail, or be written down.

Knows nothing of nodes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

from tests.conftest import wait_until

WRITES = "write,pwrite64,fsync,fdatasync,ftruncate,rename,renameat,renameat2,unlink,unlinkat,mkdir,mkdirat,link,linkat"
"""Every way in which a node changes files."""

OPENS = "open,openat,openat2,creat,close,lseek"
"""What tells where a write goes."""

BYTES_MAX = 1_000_000
"""More than any single write."""


@contextlib.contextmanager
def traced(pid: int, *options: str) -> Iterator[None]:
    """Lets a stopped process go on under strace with these options."""
    status = Path(f"/proc/{pid}/status")
    wait_until(lambda: "State:\tT (stopped)" in status.read_text())
    strace = subprocess.Popen(["strace", "-f", "-qq", "-p", str(pid), *options])
    try:
        wait_until(lambda: "TracerPid:\t0\n" not in status.read_text())
        os.kill(pid, signal.SIGCONT)
        yield
    finally:
        strace.terminate()
        strace.wait(timeout=30)


def killing(number: int) -> list[str]:
    """Each thread dies at its write number `number`."""
    return ["-o", os.devnull, "-e", f"trace={WRITES}", "-e", f"inject={WRITES}:signal=KILL:when={number}"]


def failing(calls: str, error: str, *, when: str, paths: list[Path]) -> list[str]:
    """These calls on these files fail; `when` counts them in each thread: `3`, `3..5`, `3+`."""
    only = [option for path in paths for option in ("-P", str(path))]
    return ["-o", os.devnull, "-e", f"trace={calls}", *only, "-e", f"inject={calls}:error={error}:when={when}"]


def recording(file: Path) -> list[str]:
    """Everything that is done to files, with every byte that is written."""
    return ["-xx", "-s", str(BYTES_MAX), "-o", str(file), "-e", f"trace={WRITES},{OPENS}"]
