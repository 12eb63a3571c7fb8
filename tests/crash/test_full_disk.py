"""A disk that is full in the middle of work: nothing is half written, the node stays up and refuses, and goes on when
there is room.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash import load
from tests.crash.bugs import BUGS
from tests.crash.forge import Ended, Order
from tests.crash.judge import judge_errands
from tests.crash.outside import What, of
from tests.crash.record import Record, read_record
from tests.crash.trial import Crew, words_of

pytestmark = pytest.mark.slow

ERRANDS = 120
FULL = load.Orders(total=ERRANDS, full_from=40, full_for_s=0.6)
"""Begins with some dozens of errands done and others under way."""


def test_a_node_survives_a_full_disk(crew: Crew, tmp_path: Path, tell: Callable[[str], None]) -> None:
    ended, record = run_full(crew, tmp_path / "fleet")
    assert ended.code == 0, words_of(tmp_path / "fleet", ended)
    assert of(record.outside, What.REFUSED)
    assert len(of(record.outside, What.SENT)) == ERRANDS
    assert findings_of(record) == []
    tell(f"full disk: {len(of(record.outside, What.REFUSED))} refused, all {ERRANDS} errands done")


def test_the_harness_notices_an_outcome_that_is_forgotten(
    crew: Crew, tmp_path: Path, tell: Callable[[str], None]
) -> None:
    bug = "an outcome is forgotten on a full disk"
    for number in range(5):  # a disk that fills up between two outcomes does no harm
        _, record = run_full(crew, tmp_path / f"fleet-{number}", bug=bug)
        found = [each for each in findings_of(record) if each.startswith(BUGS[bug].finding)]
        if found:
            tell(f"{bug}: noticed: {found[0]}")
            return
    pytest.fail(f"the harness did not notice: {bug}")


def run_full(crew: Crew, folder: Path, *, bug: str = "") -> tuple[Ended, Record]:
    """One node that does its errands over a time in which the database cannot grow."""
    folder.mkdir()
    load.SCENARIO.build(folder)
    order = Order(scenario=load.NAME, folder=str(folder), run=1, real=True, load=FULL, bug=bug, timeout_s=45.0)
    ended = crew.forges[0].run(order)
    assert not ended.hung, words_of(folder, ended)
    return ended, read_record(folder)


def findings_of(record: Record) -> list[str]:
    """What the judge has to say."""
    sent = of(record.outside, What.SENT)
    return judge_errands(record, wanted=load.wanted(sent), letters=load.letters(sent))
