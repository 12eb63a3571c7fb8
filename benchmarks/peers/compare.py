"""Each peer beside Ostinato: the same work, the same machine, run in turn, compared pair by pair.

What a peer does is in `run_<peer>.py`, with its settings; what Ostinato does is what its own benchmarks measure.
"""

from __future__ import annotations

import asyncio
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from benchmarks import turn
from benchmarks.engine import Running, batched_tasks_per_s, in_file, whole_tasks_per_s
from benchmarks.peers.environment import REQUIREMENTS, NotInstalled, run, syncs
from benchmarks.places import real_directory
from benchmarks.result import Result
from ostinato.store.postgres import open_postgres
from tests.postgres.server import Server, binaries

PAIRS = 3
CALLERS = 16
AT_ONCE = 50
TRACED = 40
"""Operations of the short run in which syncs are counted."""

Figures = dict[str, Any]


class Pairs:
    """Figures of Ostinato and of a peer, taken in turn."""

    def __init__(self, peer: str) -> None:
        self.peer = peer
        self.ours: list[float] = []
        self.theirs: list[float] = []
        self.settings = ""

    def add(self, ours: float, theirs: float) -> None:
        """One pair."""
        self.ours.append(ours)
        self.theirs.append(theirs)

    def result(self, name: str, unit: str, *, smaller: bool = False, note: str = "") -> Result:
        """A row: ours, beside theirs as the bound."""
        ratios = [(b / a if smaller else a / b) for a, b in zip(self.ours, self.theirs, strict=True)]
        ratio = statistics.median(ratios)
        spread = f"{ratio:.1f} times ({min(ratios):.1f}-{max(ratios):.1f} in {len(ratios)} pairs)"
        return Result(
            name=f"peers.{self.peer}.{name}",
            value=statistics.median(self.ours),
            unit=unit,
            floor="better than the peer",
            bound=statistics.median(self.theirs),
            ok=ratio > 1,
            note=f"{spread}; {REQUIREMENTS[self.peer.split('_')[0]][0]}: {self.settings}{note}",
        )


def tasks() -> Sequence[Result]:
    """`peers.*.tasks_per_s`: Huey and DBOS on SQLite; DBOS and pgqueuer on PostgreSQL where its binaries are."""
    found = [*_guarded(_huey), *_guarded(_dbos_sqlite)]
    if binaries() is not None:
        with _server() as server:
            found += [*_guarded(lambda: _dbos_postgres(server)), *_guarded(lambda: _pgqueuer(server))]
    return found


def turns() -> Sequence[Result]:
    """`peers.*.turn_ms` and `peers.*.turns_per_s`: LangGraph and Agno, with a tool call in each turn."""
    return [*_guarded(lambda: _turns("langgraph")), *_guarded(lambda: _turns("agno"))]


def _guarded(measure: Callable[[], Sequence[Result]]) -> Sequence[Result]:
    try:
        return measure()
    except NotInstalled as error:  # no network, say: the other figures are still worth having
        print(f"no figure: {error}", file=sys.stderr)
        return ()


def _ours_on_sqlite(directory: Path, *, callers: int, tasks: int) -> float:
    value, _ = asyncio.run(whole_tasks_per_s(in_file(directory / "state"), callers=callers, tasks=tasks))
    return value


def _ours_on_postgres(server: Server, *, callers: int, tasks: int) -> float:
    url = server.make_database()
    value, _ = asyncio.run(
        whole_tasks_per_s(Running(lambda hook: open_postgres(url, hook=hook)), callers=callers, tasks=tasks)
    )
    return value


def _huey() -> Sequence[Result]:
    pairs = Pairs("huey")
    for _ in range(PAIRS):
        with real_directory() as directory:
            ours = _ours_on_sqlite(directory, callers=CALLERS, tasks=6_000)
            figures = run("huey", directory=str(directory), tasks=2_000, callers=CALLERS)
            pairs.settings = figures["settings"]
            pairs.add(ours, figures["value"])
    with real_directory() as directory:
        counted = syncs("huey", directory, directory=str(directory), tasks=TRACED, callers=CALLERS)
    return [pairs.result("tasks_per_s", "tasks/s", note=_syncs_note(counted))]


def _dbos_sqlite() -> Sequence[Result]:
    pairs = Pairs("dbos_sqlite")
    for _ in range(PAIRS):
        with real_directory() as directory:
            ours = _ours_on_sqlite(directory, callers=CALLERS, tasks=6_000)
            figures = run("dbos", url=f"sqlite:///{directory}/dbos.db", tasks=400, callers=CALLERS)
            pairs.settings = figures["settings"]
            pairs.add(ours, figures["value"])
    with real_directory() as directory:
        counted = syncs("dbos", directory, url=f"sqlite:///{directory}/dbos.db", tasks=TRACED, callers=CALLERS)
    return [pairs.result("tasks_per_s", "tasks/s", note=_syncs_note(counted))]


def _dbos_postgres(server: Server) -> Sequence[Result]:
    pairs = Pairs("dbos_postgres")
    for _ in range(PAIRS):
        ours = _ours_on_postgres(server, callers=CALLERS, tasks=3_000)
        figures = run("dbos", url=server.make_database(), tasks=1_000, callers=CALLERS)
        pairs.settings = figures["settings"]
        pairs.add(ours, figures["value"])
    return [pairs.result("tasks_per_s", "tasks/s", note="; fsync on")]


def _pgqueuer(server: Server) -> Sequence[Result]:
    pairs = Pairs("pgqueuer")
    for _ in range(PAIRS):
        url = server.make_database()
        node = Running(lambda hook, url=url: open_postgres(url, hook=hook))
        ours = asyncio.run(batched_tasks_per_s(node, tasks=10_000, batch=100))
        figures = run("pgqueuer", url=server.make_database(), tasks=10_000)
        pairs.settings = f"{figures['settings']}; ours with the full record of each task"
        pairs.add(ours, figures["value"])
    return [pairs.result("tasks_per_s", "tasks/s", note="; fsync on")]


def _turns(peer: str) -> Sequence[Result]:
    alone, at_once = Pairs(peer), Pairs(peer)
    for _ in range(PAIRS):
        with real_directory() as directory, turn.model_process(directory) as url:
            ours_ms, ours_per_s = turn.figures(directory, url, alone=200, turns=1_500, at_once=AT_ONCE)
            asked: Figures = {"directory": str(directory), "url": url, "callers": AT_ONCE}
            theirs = run(peer, **asked, tasks=250, alone=60)
            alone.settings = at_once.settings = theirs["settings"]
            alone.add(ours_ms, theirs["alone_ms"])
            at_once.add(ours_per_s, theirs["value"])
    with real_directory() as directory, turn.model_process(directory) as url:
        counted = syncs(peer, directory, directory=str(directory), url=url, callers=4, tasks=TRACED - 6, alone=1)
    note = _syncs_note(counted)
    return [
        alone.result("turn_ms", "ms", smaller=True, note=note),
        at_once.result("turns_per_s", "turns/s", note=note),
    ]


def _syncs_note(counted: int | None) -> str:
    return "" if counted is None else f"; {counted / TRACED:.1f} syncs each, traced with few at once"


@contextmanager
def _server() -> Iterator[Server]:
    server = Server.make(on_disk=True)
    server.start()
    try:
        yield server
    finally:
        server.stop()
        server.remove()
