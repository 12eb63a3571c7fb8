"""How much a node does at once: limits that are on by default, derived from the machine it stands on.

Tasks mostly wait for models, so there are many more places than cores; memory is what runs out first. Knows nothing of
agents' files: what they say about concurrency is handed in as `agents`.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from ostinato.domain.aging import AGING_S
from ostinato.domain.limit import QueueLimit
from ostinato.domain.stalled import STALLED_S
from ostinato.domain.task import TaskKind
from ostinato.domain.values import Value

TASKS_PER_CPU = 64
"""Places a core can serve: a turn costs it some milliseconds of work and waits seconds for its model."""

BYTES_PER_TASK = 8 << 20
"""Memory set aside for one running task: a full context of 200,000 tokens as text, its parse and its reply."""

TASKS_MIN, TASKS_MAX = 8, 512
"""The smallest machine still works on several tasks; above the largest, one writer is the limit, not places."""

SHARE = 0.25
"""Part of the machine's memory that running tasks may use."""


class Machine(Value):
    """What this process may use of the machine."""

    cpus: float
    memory_bytes: int


class EngineLimits(Value):
    """What one node runs at once. Agents and kinds without an entry have `agent_default`, or no limit of their own."""

    tasks: int
    claim: int = 64
    """Most tasks in one claim: bounds the transaction that holds the writer."""
    agent_default: int = 1
    agents: Mapping[str, int] = {}
    kinds: Mapping[TaskKind, int] = {}
    stalled_s: float = STALLED_S
    """Seconds without a step after which a running task is stalled."""
    aging_s: float = AGING_S
    """Seconds of waiting that a level of priority is worth."""
    queues: tuple[QueueLimit, ...] = ()
    """Limits of the whole fleet, on all of its nodes: the store keeps and enforces them."""
    fires: int = 32
    """Schedules fired at the same time."""


def measure_machine(*, proc: Path = Path("/proc"), cgroup: Path = Path("/sys/fs/cgroup")) -> Machine:
    """What the kernel and the container, if there is one, let this process use."""
    cpus = float(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1)
    memory = _meminfo_bytes(proc / "meminfo")
    quota = _read(cgroup / "cpu.max").split()
    if len(quota) == 2 and quota[0].isdigit() and int(quota[1]) > 0:
        cpus = min(cpus, int(quota[0]) / int(quota[1]))
    ceiling = _read(cgroup / "memory.max").strip()
    if ceiling.isdigit():
        memory = min(memory, int(ceiling))
    return Machine(cpus=cpus, memory_bytes=memory)


def limits_for(machine: Machine) -> EngineLimits:
    """The limits that are on unless the fleet's file says otherwise."""
    by_memory = int(machine.memory_bytes * SHARE) // BYTES_PER_TASK
    by_cpu = int(machine.cpus * TASKS_PER_CPU)
    return EngineLimits(tasks=max(TASKS_MIN, min(TASKS_MAX, by_cpu, by_memory)))


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:  # another kind of system, or an older one
        return ""


def _meminfo_bytes(path: Path) -> int:
    for line in _read(path).splitlines():
        if line.startswith("MemTotal:"):
            return int(line.split()[1]) * 1024
    return 2 << 30  # a small machine, where nothing is known
