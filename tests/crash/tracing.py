"""Processes under strace: every system call that changes files can be made to kill, to fail, or be written down.

Knows nothing of nodes.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.conftest import wait_until

WRITES = (
    *("pwrite64", "fdatasync", "ftruncate", "write", "fsync", "rename", "renameat", "renameat2"),
    *("unlink", "unlinkat", "mkdir", "mkdirat", "link", "linkat", "fsetxattr"),
)
"""Every way in which a node changes files."""

OPENS = "writev,open,openat,openat2,creat,close,lseek"
"""What tells where a write goes, and the log of the world outside (`writev`)."""

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
        strace.wait(timeout=120)


def killing(call: str, number: int) -> list[str]:
    """Dies where a thread makes this call for the nth time, before it has any effect."""
    return ["-o", os.devnull, "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]


def failing(calls: str, error: str, *, when: str, paths: Sequence[Path], file: Path) -> list[str]:
    """These calls on these files fail; `when` counts them in each thread: `3`, `3..5`, `3+`. `file`: which ones did."""
    only = [option for path in paths for option in ("-P", str(path))]
    return [
        "-s",
        "0",
        "-o",
        str(file),
        "-e",
        f"trace={calls}",
        *only,
        "-e",
        f"inject={calls}:error={error}:when={when}",
    ]


def recording(file: Path) -> list[str]:
    """Everything that is done to files, with every byte that is written."""
    return ["-xx", "-s", str(BYTES_MAX), "-o", str(file), "-e", f"trace={','.join(WRITES)},{OPENS}"]
