"""What a command has changed in a workspace: every path as it was before, and as it is afterwards.

Contents are not read. The kernel's time of change is looked at, which no command can set back; what was changed so
shortly before that the clock of the files may not tell it from what follows counts as changed, too. Knows nothing of
why somebody asks.
"""

from __future__ import annotations

import os
import time
from pathlib import Path

from ostinato.domain.values import Value

ENTRIES_MAX = 20_000
"""Files and folders that are looked at, some 15 µs each on a busy machine; a workspace with more cannot be compared."""

CHANGED_MAX = 500
"""Paths that are told one by one: half of what is kept of one agent."""

YOUNG_NS = 50_000_000
"""The coarsest clock of files that Linux has ticks every 10 ms."""

Mark = tuple[int, int, int, int]
"""Inode, size, and times of modification and change; zero for a folder, of which its being there is all that counts."""


class Snapshot(Value):
    """A workspace at one time."""

    at_ns: int
    marks: dict[str, Mark]
    """Path relative to the workspace -> mark; folders end with `/`."""


def snapshot(workspace: Path) -> Snapshot | None:
    """How it is now; None where it is too large, or cannot be read whole. May take a while: not for an event loop."""
    marks: dict[str, Mark] = {}
    pending = [""]
    try:
        while pending:
            below = pending.pop()
            with os.scandir(workspace / below) as entries:
                for each in entries:
                    path = f"{below}{each.name}"
                    if each.is_dir(follow_symlinks=False):
                        path = f"{path}/"
                        pending.append(path)
                        marks[path] = (0, 0, 0, 0)
                    else:
                        found = each.stat(follow_symlinks=False)
                        marks[path] = (found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
                    if len(marks) > ENTRIES_MAX:
                        return None
    except OSError:  # somebody is at work there
        return None
    return Snapshot(at_ns=time.time_ns(), marks=marks)


def changed_since(before: Snapshot | None, workspace: Path) -> tuple[str, ...] | None:
    """Paths that are there and were not so; None where that cannot be told, or they are too many to tell."""
    after = snapshot(workspace) if before is not None else None
    if before is None or after is None:
        return None
    young_ns = before.at_ns - YOUNG_NS
    found = tuple(path for path, mark in after.marks.items() if before.marks.get(path) != mark or mark[3] >= young_ns)
    readable = tuple(os.fsencode(path).decode(errors="replace") for path in found)
    return readable if len(readable) <= CHANGED_MAX else None
