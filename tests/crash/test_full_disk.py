"""A disk that is full in the middle of work: nothing is half written, the node stays up and refuses, and goes on when
there is room.

Once under load, where the database may not grow for a time; and at any write to the database, which then fails as on a
full disk, with some more: six such places in every run of the tests, all with OSTINATO_CRASH=full.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.config import STATE_FOLDER
from ostinato.store.sqlite.directory import FILE_NAME
from tests.conftest import FULL, Count
from tests.crash import load
from tests.crash.bugs import BUGS
from tests.crash.forge import Order
from tests.crash.judge import judge_refused
from tests.crash.outside import What, of
from tests.crash.record import Record, read_record
from tests.crash.scenarios import SCENARIOS
from tests.crash.siege import SHORT_SEED
from tests.crash.test_every_commit import run_whole
from tests.crash.tracing import failing, traced
from tests.crash.trial import Crew, Forge, words_of

pytestmark = pytest.mark.slow

ERRANDS = 60
FULL_DISK = load.Orders(total=ERRANDS, full_from=20, full_for_s=0.3)
"""Begins with some errands done and others under way."""

SCENARIO = SCENARIOS["chain"]
WRITES = 5
"""How many in a row find no room."""

FIRST, LAST = 256, 345
"""Writes of a node that has begun, and before it has come to its end: from there the short form takes its places. The
first 250 make the store; each migration adds some 10."""

PLACES = 6


def test_a_node_survives_a_full_disk(crew: Crew, ground: Path, tell: Callable[[str], None]) -> None:
    folder = ground / "fleet"
    folder.mkdir()
    load.SCENARIO.build(folder)
    order = Order(scenario=load.NAME, folder=str(folder), run=1, real=True, load=FULL_DISK, timeout_s=300.0)
    ended = crew.forges[0].run(order)
    assert ended.code == 0, words_of(folder, ended)
    record = read_record(folder)
    sent = of(record.outside, What.SENT)
    assert of(record.outside, What.REFUSED)
    assert len(sent) == ERRANDS
    assert load.judge_load(record) == []
    tell(f"full disk: {len(of(record.outside, What.REFUSED))} refused, all {ERRANDS} errands done")


def test_a_disk_that_is_full_at_any_write_loses_nothing(
    crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    whole = run_whole(crew, SCENARIO, ground)
    numbers = itertools.count(1) if FULL else sorted(random.Random(SHORT_SEED).sample(range(FIRST, LAST), PLACES))
    found, ups = {}, list[bool]()
    for number in numbers:
        findings, up = fail_from(crew.forges[0], ground / str(number), number, whole=whole)
        if findings is None:
            break
        ups.append(up)
        if findings:
            found[number] = findings
    tell(f"full disk: {len(ups)} places, at {sum(ups)} of them the node stayed up, nothing lost")
    count({"full disks": len(ups), "survived by the node": sum(ups)})
    assert not found
    assert ups[-1]
    assert ups == sorted(ups), "only a node that has not yet begun may give up"


def test_the_harness_notices_an_outcome_that_is_forgotten(
    crew: Crew, ground: Path, tell: Callable[[str], None]
) -> None:
    bug = "an outcome is forgotten on a full disk"
    whole = run_whole(crew, SCENARIO, ground)
    for number in range(FIRST, LAST, WRITES - 1):
        found, _ = fail_from(crew.forges[0], ground / str(number), number, whole=whole, bug=bug)
        mine = [each for each in found or () if each.startswith(BUGS[bug].finding)]
        if mine:
            tell(f"{bug}: noticed at write {number}: {mine[0]}")
            return
    pytest.fail(f"the harness did not notice: {bug}")


def fail_from(
    forge: Forge, folder: Path, number: int, *, whole: Record, bug: str = ""
) -> tuple[list[str] | None, bool]:
    """What is wrong with a run some of whose writes to the database find no room, None where it makes fewer; and
    whether its node stayed up. One that did not is followed by another."""
    folder.mkdir()
    SCENARIO.build(folder)
    order = Order(scenario=SCENARIO.name, folder=str(folder), run=1, waits=True, bug=bug)
    database = folder / STATE_FOLDER / FILE_NAME
    paths, file = [database, database.with_name(f"{FILE_NAME}-wal")], folder.parent / f"{number}.strace"
    when = f"{number}..{number + WRITES - 1}"
    with traced(forge.begin(order), *failing("pwrite64", "ENOSPC", when=when, paths=paths, file=file)):
        ended = forge.end()
    if "(INJECTED)" not in file.read_text():
        return None, True
    stayed_up = ended.code == 0
    if not stayed_up and not bug:
        ended = forge.run(replace(order, run=2, waits=False))
    if ended.code != 0:
        return [words_of(folder, ended)], stayed_up
    return judge_refused(whole, read_record(folder)), stayed_up
