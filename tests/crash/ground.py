"""Where fleets stand that are killed: in memory, if the machine has room there.

A killed process leaves the same files behind on every file system: what it wrote is the kernel's. Only a machine that
stops takes something with it, which is what `tests/power` is about. Knows nothing of fleets.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

MEMORY = Path("/dev/shm")
MEMORY_MIN = 500_000_000
"""Bytes free: more than all fleets of one test."""


@contextmanager
def in_memory(otherwise: Path) -> Iterator[Path]:
    """A folder in memory, which is gone afterwards; `otherwise` where there is no room."""
    if not (os.access(MEMORY, os.W_OK) and shutil.disk_usage(MEMORY).free > MEMORY_MIN):
        yield otherwise
        return
    folder = Path(tempfile.mkdtemp(prefix="ostinato-crash-", dir=MEMORY))
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def keep(folder: Path) -> Path:
    """Copies a fleet that somebody should look at to where it stays, and says where."""
    kept = Path(tempfile.mkdtemp(prefix="ostinato-failed-")) / folder.name
    shutil.copytree(
        folder, kept, symlinks=True, ignore=lambda at, names: [n for n in names if (Path(at) / n).is_socket()]
    )
    return kept
