"""What the processes below one process use together, as /proc tells it. Knows nothing of who started them."""

from __future__ import annotations

import os
from pathlib import Path

from ostinato.domain.values import Value

PROCESSES_MAX = 4_096
"""So many are looked at: more than any command may have."""

_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROC = Path("/proc")


class Usage(Value):
    """Of a whole tree: processor time, also of those that have ended, and memory that is resident now."""

    cpu_s: float = 0.0
    memory_bytes: int = 0
    processes: int = 0


def is_alive(group: int) -> bool:
    """True while a process group has a member that is not merely waiting to be noticed as dead."""
    for path in _PROC.glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return True
    return False


def usage_of(root: int) -> Usage:
    """The use of a process and all its descendants; what ends meanwhile is left out."""
    cpu_s, memory_bytes, processes, pending = 0.0, 0, 0, [root]
    while pending and processes < PROCESSES_MAX:
        pid = pending.pop()
        try:
            fields = (_PROC / str(pid) / "stat").read_text().rpartition(")")[2].split()
            for thread in (_PROC / str(pid) / "task").iterdir():
                pending += [int(each) for each in (thread / "children").read_text().split()]
        except (OSError, ValueError):
            continue
        processes += 1
        cpu_s += sum(int(each) for each in fields[11:15]) / _TICKS  # utime, stime, and those of children waited for
        memory_bytes += int(fields[21]) * _PAGE_BYTES
    return Usage(cpu_s=cpu_s, memory_bytes=memory_bytes, processes=processes)
