"""Where a benchmark works: a directory on a real disk, gone afterwards. Memory-backed file systems have no fsync."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).resolve().parent.parent


def _is_memory(path: Path) -> bool:
    mounts = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
    inside = [fields for fields in mounts if path.is_relative_to(fields[1])]
    return max(inside, key=lambda fields: len(fields[1]))[2] in {"tmpfs", "ramfs"}


@contextlib.contextmanager
def real_directory() -> Iterator[Path]:
    """A new directory, in OSTINATO_BENCH_DIR, the temporary directory, or beside this project: the first on a disk."""
    places = [Path(os.environ.get("OSTINATO_BENCH_DIR", tempfile.gettempdir())), HERE]
    place = next((each for each in places if not _is_memory(each.resolve())), HERE)
    directory = Path(tempfile.mkdtemp(prefix="ostinato-bench-", dir=place))
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)
