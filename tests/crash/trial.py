"""Runs nodes through a forge: once without any kill, or killed at one commit and then run to its end.

Knows nothing of what is right.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import TypeVar

import msgspec

from ostinato.domain.values import Value
from tests.crash.forge import LOG, Ended, Order
from tests.crash.outside import What, of
from tests.crash.record import Record, read_record
from tests.crash.scenario import Scenario

T = TypeVar("T")
R = TypeVar("R")

ROOT = Path(__file__).resolve().parents[2]
SIGKILLED = -9


class Trial(Value):
    """What a kill and the runs after it left behind."""

    place: str
    """Where it was killed: `before:3`; empty for the run without a kill."""
    killed: bool
    """False: there was no such commit any more."""
    record: Record | None
    """None: the node could not be brought to its end; `words` says more."""
    words: str = ""


class Forge:
    """A forge process, as its user sees it. Serves one order at a time."""

    def __init__(self) -> None:
        # In a session of its own: when the shell that a run was started from goes away, the kernel lets stopped
        # processes of its jobs go on (`setpgid(2)`, orphaned process groups), and nodes wait stopped for strace.
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.forge"],
            cwd=ROOT,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        self._pid = 0

    def begin(self, order: Order) -> int:
        """Starts a node; returns its pid. `end` follows, unless a test has failed between the two."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self.end()
        assert self._process.stdin is not None
        self._process.stdin.write(msgspec.json.encode(order) + b"\n")
        self._process.stdin.flush()
        self._pid = self._read().pid
        return self._pid

    def end(self) -> Ended:
        """Waits until that node has ended."""
        ended = self._read()
        self._pid = 0
        return ended

    def run(self, order: Order) -> Ended:
        """A node's whole life."""
        self.begin(order)
        return self.end()

    def close(self) -> None:
        """Ends the forge."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.close()
        self._process.stdout.close()
        self._process.wait(timeout=120)

    def _read(self) -> Ended:
        assert self._process.stdout is not None
        line = self._process.stdout.readline()
        assert line, "the forge has died"
        return msgspec.json.decode(line, type=Ended)


class Crew:
    """Some forges that work at the same time."""

    def __init__(self, size: int) -> None:
        self.forges = tuple(Forge() for _ in range(size))

    def close(self) -> None:
        """Ends all forges."""
        for each in self.forges:
            each.close()

    def each(self, work: Callable[[Forge, T], R], items: Iterable[T]) -> Iterator[R]:
        """`work` for each item, on whichever forge is free; results come in the order of the items."""
        free: queue.SimpleQueue[Forge] = queue.SimpleQueue()
        for forge in self.forges:
            free.put(forge)

        def once(item: T) -> R:
            forge = free.get()
            try:
                return work(forge, item)
            finally:
                free.put(forge)

        with ThreadPoolExecutor(len(self.forges)) as pool:
            yield from pool.map(once, items)

    def trials(self, scenario: Scenario, folder: Path, places: Sequence[str], *, bug: str = "") -> Iterator[Trial]:
        """A trial at each place, each in a folder of its own."""

        def once(forge: Forge, place: str) -> Trial:
            return attempt(forge, scenario, folder / (place.replace(":", "-") or "whole"), place=place, bug=bug)

        return self.each(once, places)


def attempt(forge: Forge, scenario: Scenario, folder: Path, *, place: str = "", bug: str = "") -> Trial:
    """One fresh fleet: a run that is killed at `place`, and one that is not, until all has ended."""
    folder.mkdir(parents=True)
    scenario.build(folder)
    order = Order(scenario=scenario.name, folder=str(folder), run=1, kill_at=place, bug=bug)
    ended = forge.run(order)
    killed = ended.code == SIGKILLED and not ended.hung
    if killed:
        ended = forge.run(msgspec.structs.replace(order, run=2, kill_at=""))
    if ended.code != 0:
        return Trial(place=place, killed=killed, record=None, words=words_of(folder, ended))
    return Trial(place=place, killed=killed, record=read_record(folder))


def commits_of(record: Record) -> int:
    """How many commits the longest run made."""
    return max((line.number for line in of(record.outside, What.COMMIT)), default=0)


def words_of(folder: Path, ended: Ended) -> str:
    """What a node that did not end well has said last."""
    return f"ended with {ended.code}{', hung' if ended.hung else ''}: {(folder / LOG).read_text()[-6000:]}"
