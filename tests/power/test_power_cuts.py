"""A power cut at any moment takes nothing that was acknowledged, and leaves a database that is whole.

What a node does to its files is recorded once; then the disk is cut off behind any of these operations, with what was
not synced dropped, kept, torn or in another order. 300 cuts in every run of the tests, all there are with
OSTINATO_CRASH=full. A failure names the cut, which the same recording would repeat.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from pathlib import Path

import pytest

from tests.conftest import FULL, Count
from tests.crash import load
from tests.crash.bugs import BUGS
from tests.crash.forge import LOG, Order
from tests.crash.judge import judge
from tests.crash.record import OUTSIDE, read_record
from tests.crash.scenario import Scenario
from tests.crash.scenarios import SCENARIOS
from tests.crash.test_every_commit import run_whole
from tests.crash.trial import Crew, words_of
from tests.power.cuts import Recording, begin, cuts, record
from tests.power.disk import content_of
from tests.power.promises import findings_of

pytestmark = pytest.mark.slow

ERRANDS = 60 if FULL else 12
LOG_PAGES = 60
"""So that the log is moved into the database again and again."""

CUTS = 300
"""In the short form."""

CUTS_FOR_BUG = 60

AFTERLIVES = 12
"""Cuts after which a node goes on, in the short form."""

UNSYNCED = "notes: missing"
"""The last lines of a daily note may be lost: they are views over the store, and not worth a sync each."""

REBUILT = [name for name, each in SCENARIOS.items() if not each.dropped]
"""Whatever a cut leaves is written anew, with other inodes; a file in an inbox is known by its own, which a real cut
leaves alone, and would seem to be another file."""

SEEDS = range(3 if FULL else 1)
"""Every point is cut once for each, as each leaves something else of what was not synced."""


def test_a_power_cut_takes_nothing_that_was_acknowledged(
    crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    recorded = faithful_record(crew, ground)
    found, known, where = {}, set[bytes](), points(recorded, most=None if FULL else CUTS)
    for seed in SEEDS:
        for cut in cuts(recorded, where, ground / "cut", seed=seed, known=known):
            if findings := findings_of(cut):
                found[cut.at, seed] = findings
    tell(
        f"{len(SEEDS) * len(where)} cuts behind {len(recorded.operations)} operations on files that left {len(known)} "
        "different fleets, nothing acknowledged lost"
    )
    count({"power cuts": len(SEEDS) * len(where), "different fleets": len(known)})
    assert not found


@pytest.mark.parametrize("name", REBUILT if FULL else ["delivery"])
def test_a_node_that_goes_on_after_a_power_cut_equals_one_that_had_none(
    name: str, crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    scenario = SCENARIOS[name]
    whole = run_whole(crew, scenario, ground)
    recorded = record_scenario(crew, scenario, ground / "fleet")
    found, known, where = {}, set[bytes](), points(recorded, most=None if FULL else AFTERLIVES)
    for cut in cuts(recorded, where, ground / "cut", seed=0, known=known):
        order = Order(scenario=name, folder=str(cut.folder), run=2)
        ended = crew.forges[0].run(order)
        findings = [words_of(cut.folder, ended)] if ended.code else judge(whole, read_record(cut.folder))
        if findings := [each for each in findings if not each.startswith(UNSYNCED)]:
            found[cut.at] = findings
    tell(f"{name}: {len(where)} cuts that left {len(known)} different fleets, in each a node comes to the same end")
    count({"power cuts": len(where), "different fleets": len(known), "nodes that went on": len(known)})
    assert not found


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.scenario == "power"])
def test_the_power_cuts_notice_when(name: str, crew: Crew, ground: Path, tell: Callable[[str], None]) -> None:
    recorded = record_scenario(crew, SCENARIOS["chain"], ground / "fleet", bug=name)
    for number, cut in enumerate(cuts(recorded, points(recorded, most=CUTS_FOR_BUG), ground / "cut", seed=0)):
        found = [each for each in findings_of(cut) if each.startswith(BUGS[name].finding)]
        if found:
            tell(f"{name}: noticed at cut {number}: {found[0]}")
            return
    pytest.fail(f"the harness did not notice: {name}")


def faithful_record(crew: Crew, ground: Path) -> Recording:
    """A record that leads to what the node has left. Where two threads ended calls on one file in another order than
    they began them, it says nothing about the disk, and another is taken."""
    for number in range(3):
        folder = ground / str(number)
        folder.mkdir()
        recorded = record_load(crew, folder)
        if is_faithful(recorded, folder / "fleet"):
            return recorded
    raise AssertionError("no record leads to what the node has left")


def record_load(crew: Crew, ground: Path) -> Recording:
    """Errands of all kinds, done at the same time, with commits that are shared and a log that is moved."""
    folder = ground / "fleet"
    folder.mkdir()
    load.SCENARIO.build(folder)
    order = Order(
        scenario=load.NAME,
        folder=str(folder),
        run=1,
        real=True,
        load=load.Orders(total=ERRANDS),
        log_pages=LOG_PAGES,
    )
    return recording_of(crew, order)


def record_scenario(crew: Crew, scenario: Scenario, folder: Path, *, bug: str = "") -> Recording:
    """A scenario in its own time."""
    folder.mkdir()
    scenario.build(folder)
    return recording_of(crew, Order(scenario=scenario.name, folder=str(folder), run=1, bug=bug))


def recording_of(crew: Crew, order: Order) -> Recording:
    """A node's whole life, which ends well."""
    folder = Path(order.folder)
    recorded, ended = record(crew.forges[0], order, begin(folder))
    assert ended.code == 0, words_of(folder, ended)
    return recorded


def is_faithful(recorded: Recording, folder: Path) -> bool:
    """True where the record leads to the very files that the node has left. Two threads may end their calls in another
    order than they appended to the log of the world outside."""
    others = (LOG, OUTSIDE)
    disk = deepcopy(recorded.disk)
    for operation in recorded.operations:
        disk.take(operation)
    told = {path: node.seen for path, node in disk.names.items() if not node.folder}
    left = {str(path): content_of(path) for path in folder.rglob("*") if path.is_file() and path.name not in others}
    return {path: content for path, content in told.items() if Path(path).name not in others} == left


def points(recorded: Recording, *, most: int | None) -> Sequence[int]:
    """Where to cut: everywhere, or at so many places by chance."""
    everywhere = range(1, len(recorded.operations) + 1)
    if most is None or most >= len(everywhere):
        return everywhere
    return random.Random(0).sample(everywhere, most)
