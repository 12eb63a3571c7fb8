"""What a process takes of its machine, read from outside, and whether it takes more and more.

Linux. Knows nothing of nodes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from statistics import mean

from ostinato.domain.values import Value

_PAGE = os.sysconf("SC_PAGE_SIZE")

SHARE = 4
"""The first and the last quarter are compared: what goes up and down in between does not matter."""


class Sample(Value):
    """One look."""

    at_s: float
    rss_bytes: int
    descriptors: int
    log_bytes: int
    """The write-ahead log of its database; 0 where there is none now."""
    database_bytes: int = 0


class Growth(Value):
    """What there is more of in the last quarter than in the first, on average, and the most there ever was."""

    rss_bytes: float
    descriptors: float
    log_bytes: float
    log_bytes_max: int
    database_bytes: float


def look(pid: int, *, database: Path, at_s: float) -> Sample | None:
    """None where there is no such process any more."""
    try:
        rss = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * _PAGE
        descriptors = len(os.listdir(f"/proc/{pid}/fd"))
    except (FileNotFoundError, ProcessLookupError, IndexError):
        return None
    log = database.with_name(f"{database.name}-wal")
    return Sample(
        at_s=at_s, rss_bytes=rss, descriptors=descriptors, log_bytes=_size(log), database_bytes=_size(database)
    )


def _size(path: Path) -> int:
    """By `stat` alone."""
    try:
        return path.stat().st_size
    except FileNotFoundError:
        return 0


def growth(samples: Sequence[Sample]) -> Growth:
    """From the first quarter of these samples to the last one."""
    some = max(1, len(samples) // SHARE)
    first, last = samples[:some], samples[-some:]
    return Growth(
        rss_bytes=mean(each.rss_bytes for each in last) - mean(each.rss_bytes for each in first),
        descriptors=mean(each.descriptors for each in last) - mean(each.descriptors for each in first),
        log_bytes=mean(each.log_bytes for each in last) - mean(each.log_bytes for each in first),
        log_bytes_max=max(each.log_bytes for each in samples),
        database_bytes=mean(each.database_bytes for each in last) - mean(each.database_bytes for each in first),
    )


def children(pid: int) -> list[int]:
    """Direct children of a process."""
    found: list[int] = []
    for each in Path(f"/proc/{pid}/task").glob("*/children"):
        found.extend(int(child) for child in each.read_text().split())
    return found
