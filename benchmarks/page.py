"""Writes the page of figures: the latest of each benchmark, with a description of the machine that took it.

The figures lie beside it as JSON, so that a run of some benchmarks renews those and leaves the others. Knows nothing of
how any of them is taken.
"""

from __future__ import annotations

import json
import os
import platform
import sqlite3
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.places import HERE, real_directory
from benchmarks.result import Result

PAGE = HERE / "docs" / "reference" / "benchmarks.md"
FIGURES = HERE / "docs" / "reference" / "benchmarks.json"

HEAD = """# Benchmarks

Written by `python -m benchmarks --write-docs`; `make bench` prints the same for your machine. Nobody edits the tables.

*Bound* is the same work done by the bare mechanism, without a runtime, or by a peer, in the same run on the same
machine; *floor* is what this project demands of itself. "MISSED" is printed as it comes: a machine that is busy with
other things misses floors that it keeps when idle, and shares of a bound tell more than times.

Machine: {machine}.
"""

PEERS = """## Peers

Each peer works in an environment of its own that the benchmark makes, with the versions named here and settings that
keep what was acknowledged: full sync where it has the choice, its own defaults where not. Runs are taken in turn, ours
and theirs, in pairs; the ratio is the median of the pairs. *Syncs* are requests to the disk for each operation, counted
with `strace` in a short run of its own. All scripts lie in `benchmarks/peers/`, to be read and criticized.

- A **task** is added, claimed, performed (it does nothing) and recorded as done; each caller waits for its own. With
  pgqueuer both sides add a hundred at a time and wait for all.
- A **turn** asks a model, calls a tool, asks again and ends; the model answers at once from a process of its own.

**pgqueuer is faster, and keeps less.** Its tables are logged and every commit is synced, so it is no less durable. A
hundred jobs are three statements: one adds them, one picks them, one deletes them, each with a row in its log, all on
the server. Ends gather in its memory and are written when a batch is full or a moment has passed: a death in between
does these jobs again, and an end deletes its row whoever holds it by then. Not in its record: attempts with their node,
times and error, results, who waits for whom, limits per agent and kind, tallies; and nobody awaits one job's end. Here
each task is claimed under a token that fences every later write, its end is on disk before its caller goes on, and what
follows from an end (dependants, deliveries, sessions) is decided in the same commit, task by task, in Python: on SQLite
statements are a third of a task's processor time, all that is two thirds ([profile](../explanation/profile.md)). What
is decided is written many rows at a time
([decision 039](../explanation/decisions/039-changes-wait-for-others-of-their-kind.md)); deciding a hundred at a time in
SQL, too, would close the gap, and would say every rule a second time.

| What | Ostinato | peer | ratio and settings |
|---|---:|---:|---|
"""

GROUPS = (
    ("Turns and tasks", ("turn.", "message.", "engine.tasks", "engine.start", "postgres.")),
    ("Routing, graphs and sub-agents", ("routing.", "spawn.", "graph.", "preempt.")),
    (
        "Long queues and long lists",
        ("engine.backlog", "list_ms", "status_ms.1000000", "show_ms", "node.start_s.1000000", "node.rss_mb.1000000"),
    ),
    ("Idle, start and takeover", ("node.", "heartbeat.", "takeover", "cli.", "prompt.", "status_ms", "agents_")),
)  # fmt: skip


def write(results: Iterable[Result]) -> None:
    """Renews these figures, and writes the page."""
    known: dict[str, Any] = json.loads(FIGURES.read_text()) if FIGURES.exists() else {}
    known |= {each.name: json.loads(each.as_json()) for each in results}
    FIGURES.write_text(json.dumps(known, indent=1, sort_keys=True) + "\n")
    PAGE.write_text(text_of(known, machine=machine()))


def text_of(known: dict[str, Any], *, machine: str) -> str:
    """The page."""
    left = dict(known)
    parts = [HEAD.format(machine=machine)]
    for title, prefixes in GROUPS:
        mine = [left.pop(name) for name in known if name in left and name.startswith(prefixes)]
        if mine:
            rows = "\n".join(_row(each) for each in mine)
            parts.append(f"## {title}\n\n| Figure | value | floor | bound | |\n|---|---:|---|---:|---|\n{rows}\n")
    peers = [each for name, each in left.items() if name.startswith("peers.")]
    if peers:
        parts.append(PEERS + "\n".join(_peer_row(each) for each in peers) + "\n")
    return "\n".join(parts)


def _row(figure: dict[str, Any]) -> str:
    verdict = {True: "", False: "MISSED. ", None: ""}[figure["ok"]]
    value, bound = _number(figure["value"], figure["unit"]), _number(figure["bound"], figure["unit"])
    return f"| `{figure['name']}` | {value} | {figure['floor'] or ''} | {bound} | {verdict}{figure['note']} |"


def _peer_row(figure: dict[str, Any]) -> str:
    _, peer, what = figure["name"].split(".")
    value, bound = _number(figure["value"], figure["unit"]), _number(figure["bound"], figure["unit"])
    return f"| {what.replace('_', ' ')}: {peer.replace('_', ' on ')} | {value} | {bound} | {figure['note']} |"


def _number(value: float | None, unit: str) -> str:
    if value is None:
        return ""
    return f"{value:,.0f} {unit}" if value >= 100 else f"{value:.3g} {unit}"


def machine() -> str:
    """Cores, memory, kernel, disk, Python, SQLite, and how busy it is; nothing that names the machine."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    kernel = ".".join(platform.release().split(".")[:2])
    return (
        f"{os.cpu_count()} cores ({platform.machine()}), {memory:.0f} GiB of memory, {platform.system()} {kernel},"
        f" {_disk()}, Python {platform.python_version()}, SQLite {sqlite3.sqlite_version}; a load of"
        f" {os.getloadavg()[2]:.0f} when this was written"
    )


def _disk() -> str:
    """The file system and the kind of disk that the benchmarks write to."""
    with real_directory() as directory:
        mounts: Sequence[list[str]] = [line.split() for line in Path("/proc/mounts").read_text().splitlines()]
        inside = [fields for fields in mounts if directory.is_relative_to(fields[1])]
        source, _, system, *_ = max(inside, key=lambda fields: len(fields[1]))
    if Path(source).name.startswith("vd"):
        return f"{system} on a virtual disk"
    block = (Path("/sys/class/block") / Path(source).name).resolve()
    rotational = next((each for each in (block / "queue", block.parent / "queue") if each.exists()), None)
    if rotational is None:
        return system
    return (
        f"{system} on a {'rotating' if (rotational / 'rotational').read_text().strip() == '1' else 'solid-state'} disk"
    )
