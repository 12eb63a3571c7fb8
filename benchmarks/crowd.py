"""Ten thousand agents with a heartbeat each, beside a dozen: memory, what they cost while nothing happens, and how soon
the fleet answers.

Each agent wakes every 15 minutes and has nothing to do: eleven checks a second that must cost next to nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Sequence
from pathlib import Path

from benchmarks.node import Fleet, children, rss_of, skips_of, until
from benchmarks.places import real_directory
from benchmarks.result import Result, at_most, quantile

CROWD = 10_000
HEARTBEAT = '---\nevery: 15m\ncheck: {when: "inbox.files > 0 || tasks.pending > 0"}\n---\nLook.\n'
WATCHED_S = 60.0
SETTLED_S = 40.0
"""After the first look at all agents, until what a start brings with it is over."""


def few() -> Sequence[Result]:
    """`node.idle_cpu` and `node.rss_mb` with 12 agents."""
    return _measure(12)


def many() -> Sequence[Result]:
    """The same with 10,000, and how soon these start and answer."""
    return _measure(CROWD)


def _measure(agents: int) -> list[Result]:
    with real_directory() as directory:
        fleet = Fleet(directory, agents=agents, heartbeat=HEARTBEAT)
        with fleet.model(), fleet.up() as process:
            start_s = until(fleet.healthy)
            known_s = until(lambda: _beats(fleet) >= agents, pause_s=5.0, deadline_s=300.0)
            time.sleep(SETTLED_S)
            skips, cpu_s, began = skips_of(fleet), _cpu_s(process), time.perf_counter()
            time.sleep(WATCHED_S)
            share = (_cpu_s(process) - cpu_s) / (time.perf_counter() - began)
            memory = sum(rss_of(pid) for pid in (process.pid, *children(process.pid)))
            skipped = skips_of(fleet) - skips
            answers = _answers_ms(fleet) if agents == CROWD else {}
    limit = 250.0 if agents == CROWD else 100.0
    note = f"{agents:,} agents, supervisor included"
    found = [
        at_most(f"node.rss_mb.{agents}", memory, "MB", floor=limit, note=note),
        at_most(
            f"node.idle_cpu.{agents}",
            100 * share,
            "% of a core",
            floor=1.0,
            note=f"{note}; {skipped} heartbeats skipped",
        ),
    ]
    if agents == CROWD:
        found.append(
            Result(name=f"node.start_s.{agents}", value=start_s, unit="s", note=f"all known after {known_s:.0f} s")
        )
        found += [Result(name=f"{name}_ms.{agents}", value=ms, unit="ms") for name, ms in answers.items()]
    return found


def _beats(fleet: Fleet) -> int:
    """Heartbeats that the fleet knows."""
    status, body = fleet.get("/api/v1/schedules")
    return len(json.loads(body)["schedules"]) if status == 200 else 0


def _cpu_s(process: subprocess.Popen[bytes]) -> float:
    """Processor time of supervisor and node so far."""
    ticks = 0
    for pid in (process.pid, *children(process.pid)):
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / os.sysconf("SC_CLK_TCK")


def _answers_ms(fleet: Fleet) -> dict[str, float]:
    """How long the fleet takes to answer, median of 7."""
    found = {}
    for name, path in (
        ("status", "/api/v1/status"),
        ("agents_list", "/api/v1/agents"),
        ("agents_show", "/api/v1/agents/agent-77"),
    ):
        times = []
        for _ in range(7):
            began = time.perf_counter()
            status, _body = fleet.get(path)
            times.append((time.perf_counter() - began) * 1_000)
            assert status == 200, path
        found[name] = quantile(times, 0.5)
    return found
