"""A fleet that works for half an hour as people run it: `ostinato up`, clients over the socket, a reader of its files.

In the first half the node is killed again and again. In the second it is watched: memory, descriptors and the log of
its database must not grow. What clients were told is safe is there once, and done.

Runs with OSTINATO_CRASH=full, or where OSTINATO_SOAK_S says how many seconds it is to take.
"""

from __future__ import annotations

import contextlib
import os
import random
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import msgspec
import pytest

from ostinato.config import STATE_FOLDER
from ostinato.gateway.server import SOCKET_NAME
from ostinato.store.sqlite.database import CACHE_KB
from ostinato.store.sqlite.directory import FILE_NAME
from tests.conftest import Count, wait_until
from tests.crash.scenario import FREE, TOOLS, write
from tests.crash.siege import first_seed
from tests.soak.client import AGENTS
from tests.soak.gauges import Growth, Sample, children, growth, look

pytestmark = pytest.mark.slow

SOAK_S = float(os.environ.get("OSTINATO_SOAK_S") or 1_800.0)
SAMPLE_S = min(2.0, SOAK_S / 100)
KILLS = 20
"""In the first half."""

CLIENTS = 2
PAUSE_S = 0.3
"""Between two tasks of one client: a modest rate, so that a leak is one of hours and not of load."""

WARM = 0.25
"""How much of the second half a new node may take until it has loaded what it needs."""

RSS_MAX, DESCRIPTORS_MAX = 8_000_000, 5
"""How much more there may be at the end of the second half than at its beginning. What the process takes moves by
pages of SQLite and by what the allocator keeps: a leak of a kilobyte a task is for `test_memory.py` to see."""

CACHES = 3 * CACHE_KB * 1024
"""What SQLite keeps of a database that grows, for the writer and two readers: about as much as it grows, up to this."""

LOG_MAX = 24_000_000
"""Three times the length at which the log is moved into the database (`store/sqlite/checkpoints.py`)."""

STOP_S = 180.0
"""Far above what the supervisor gives a node to stop."""

SAMPLES = "samples.jsonl"
"""Kept for whoever looks at a run that failed."""

TOKEN = "ost_soak"
SCRIPT = """\
rules:
  - when: {user: '(?P<key>client-\\d+-\\d+)', call: 1}
    calls:
      - {tool: files.write, args: {path: out/last.md, text: "{key}"}}
default: {text: all done}
"""


def test_a_fleet_that_works_for_long_takes_no_more_and_loses_nothing(
    tmp_path: Path, tell: Callable[[str], None], count: Count
) -> None:
    folder = tmp_path / "fleet"
    build(folder)
    database = folder / STATE_FOLDER / FILE_NAME
    chance, began_s = random.Random(first_seed()), time.monotonic()
    samples: list[Sample] = []
    with up(folder) as supervisor, clients(folder) as books:
        for number in range(KILLS):
            pause(began_s + SOAK_S / 2 * (number + chance.random()) / KILLS)
            os.kill(node_of(supervisor), signal.SIGKILL)
            wait_until(lambda: children(supervisor))
        pause(began_s + SOAK_S * (1 + WARM) / 2)
        pid = node_of(supervisor)
        while time.monotonic() < began_s + SOAK_S:
            sample = look(pid, database=database, at_s=time.monotonic() - began_s)
            assert sample is not None, "the node has ended by itself"
            samples.append(sample)
            with (tmp_path / SAMPLES).open("ab") as lines:
                lines.write(msgspec.json.encode(sample) + b"\n")
            pause(time.monotonic() + SAMPLE_S)
    told = [line.split() for book in books for line in book.read_text().splitlines()]
    grown = growth(samples)
    tell(figures(samples, grown, told=len(told), steps=rows(folder, "steps")))
    count({"seconds": round(SOAK_S), "kills": KILLS, "tasks acknowledged": len(told)})
    assert missing(folder, told) == []
    assert grown.rss_bytes <= RSS_MAX + min(CACHES, 2 * grown.database_bytes)
    assert grown.descriptors <= DESCRIPTORS_MAX
    assert grown.log_bytes_max <= LOG_MAX


def build(folder: Path) -> None:
    """A fleet whose agents write a file for each task."""
    write(
        folder / "ostinato.toml",
        '[fleet]\nname = "soak"\n[models.scripted]\nprovider = "scripted"\nscript = "model.yaml"\n'
        '[tiers]\ncheap = "scripted"\nstandard = "scripted"\n',
    )
    write(folder / "model.yaml", SCRIPT)
    for number in range(AGENTS):
        write(folder / "agents" / f"free-{number}" / "TOOLS.md", TOOLS)
        write(folder / "agents" / f"free-{number}" / "AGENTS.md", FREE)


@contextlib.contextmanager
def up(folder: Path) -> Iterator[int]:
    """`ostinato up`, until the block ends and all work has ended; then stopped in order. The supervisor's pid."""
    output = (folder.parent / "up.log").open("wb")
    process = subprocess.Popen(
        [sys.executable, "-m", "ostinato", "up"], cwd=folder, env=environment(), stdout=output, stderr=output
    )
    try:
        wait_until(lambda: (folder / STATE_FOLDER / SOCKET_NAME).exists())
        yield process.pid
        wait_until(lambda: not unfinished(folder), timeout_s=120.0)
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(STOP_S)
        output.close()


@contextlib.contextmanager
def clients(folder: Path) -> Iterator[list[Path]]:
    """Those who add tasks, and a reader; killed in the end. What they were told stands in the files that this gives."""
    script, state = str(Path(__file__).with_name("client.py")), folder / STATE_FOLDER
    books = [folder.parent / f"client-{number}" for number in range(CLIENTS)]
    commands = [["add", str(state / SOCKET_NAME), str(book), book.name, "1000000", str(PAUSE_S)] for book in books]
    commands.append(["look", str(state / FILE_NAME)])
    started = [subprocess.Popen([sys.executable, "-I", script, *each], env=environment()) for each in commands]
    try:
        yield books
    finally:
        for each in started:
            each.kill()
            each.wait(120)


def environment() -> dict[str, str]:
    """Nobody's own keyring is touched."""
    return {**os.environ, "OSTINATO_TOKEN": TOKEN, "OSTINATO_PERSON": "ann"}


def pause(until_s: float) -> None:
    """Rests until then, on the machine's clock."""
    wait_until(lambda: time.monotonic() >= until_s, timeout_s=max(1.0, until_s - time.monotonic() + 60.0))


def node_of(supervisor: int) -> int:
    """The pid of the node that runs now."""
    return wait_until(lambda: children(supervisor))[0]


def unfinished(folder: Path) -> int:
    """Tasks that have not ended."""
    return ask(folder, "SELECT count(*) FROM tasks WHERE state NOT IN ('done', 'failed', 'cancelled')")


def rows(folder: Path, table: str) -> int:
    """Rows of a table."""
    return ask(folder, f"SELECT count(*) FROM {table}")


def ask(folder: Path, query: str) -> int:
    """One number out of the store, by SQLite itself."""
    with contextlib.closing(connect(folder)) as connection:
        return int(connection.execute(query).fetchone()[0])


def missing(folder: Path, told: list[list[str]]) -> list[str]:
    """What clients were told is safe, and is not there once and done."""
    with contextlib.closing(connect(folder)) as connection:
        rows = connection.execute("SELECT key, id, state FROM tasks WHERE key IS NOT NULL").fetchall()
    there = {(key, f"T{task}"): state for key, task, state in rows}
    assert len(there) == len({key for key, _, _ in rows})
    return [f"{key} {task}" for key, task in told if there.get((key, task)) != "done"]


def connect(folder: Path) -> sqlite3.Connection:
    """As a reader."""
    return sqlite3.connect(f"file:{folder / STATE_FOLDER / FILE_NAME}?mode=ro", uri=True, timeout=120)


def figures(samples: list[Sample], grown: Growth, *, told: int, steps: int) -> str:
    """What happened, in one line."""
    last, watched_s = samples[-1], samples[-1].at_s - samples[0].at_s
    return (
        f"{SOAK_S:.0f} s, {KILLS} kills, {told} tasks acknowledged, {steps} steps; over the last {watched_s:.0f} s "
        f"({len(samples)} samples): memory {last.rss_bytes / 1e6:.1f} MB ({grown.rss_bytes / 1e6:+.2f}, the database "
        f"{grown.database_bytes / 1e6:+.2f}), descriptors {last.descriptors} ({grown.descriptors:+.1f}), log "
        f"{last.log_bytes / 1e6:.1f} MB ({grown.log_bytes / 1e6:+.2f}, at most {grown.log_bytes_max / 1e6:.1f})"
    )
