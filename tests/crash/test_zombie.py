"""A node that was stopped in the middle of a deed and taken over by another changes nothing when it comes back."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import msgspec
import pytest

from ostinato.config import STATE_FOLDER
from ostinato.store.sqlite.directory import FILE_NAME
from tests.conftest import wait_until
from tests.crash.forge import Ended, Order
from tests.crash.judge import judge, names
from tests.crash.outside import What, of, read_outside
from tests.crash.record import OUTSIDE, Record, read_record
from tests.crash.scenarios import zombie
from tests.crash.trial import Crew, attempt, words_of

pytestmark = pytest.mark.slow

LEASE_IS_LOST = "lost its lease"


def test_a_zombie_changes_nothing(crew: Crew, second: Crew, ground: Path) -> None:
    whole = run_whole(crew, ground)
    ended, words, left = wake_the_dead(crew, second, ground / "zombie")
    assert judge(whole, left) == []
    assert names(left.outside) == Counter(zombie.SCENARIO.deeds)
    assert ended.code != 0
    assert LEASE_IS_LOST in words


def test_a_node_that_is_stopped_still_holds_the_fleet(crew: Crew, second: Crew, ground: Path) -> None:
    folder = ground / "fleet"
    folder.mkdir()
    zombie.SCENARIO.build(folder)
    order = Order(scenario=zombie.SCENARIO.name, folder=str(folder), run=1, real=True)
    pid = crew.forges[0].begin(order)
    wait_until(lambda: of(read_outside(folder / OUTSIDE), What.DID))
    os.kill(pid, signal.SIGSTOP)
    try:
        refused = second.forges[0].run(msgspec.structs.replace(order, run=2))
    finally:
        os.kill(pid, signal.SIGCONT)
    ended = crew.forges[0].end()
    assert ended.code == 0, words_of(folder, ended)
    assert refused.code == 1
    assert f"held by process {pid}" in words_of(folder, refused)
    assert names(read_outside(folder / OUTSIDE)) == Counter(zombie.SCENARIO.deeds)


def test_the_harness_notices_a_claim_that_ignores_its_token(
    crew: Crew, second: Crew, ground: Path, tell: Callable[[str], None]
) -> None:
    bug = "a claim ignores its token"
    whole = run_whole(crew, ground)
    _, _, left = wake_the_dead(crew, second, ground / "zombie", bug=bug)
    found = judge(whole, left)
    assert found
    tell(f"{bug}: noticed: {found[0]}")


def run_whole(crew: Crew, folder: Path) -> Record:
    """What two nodes must come to together, as one does it alone."""
    trial = attempt(crew.forges[0], zombie.SCENARIO, folder / "whole")
    assert trial.record is not None, trial.words
    return trial.record


def wake_the_dead(crew: Crew, second: Crew, folder: Path, *, bug: str = "") -> tuple[Ended, str, Record]:
    """Stops a node in its first deed, lets another take over and come to the second, and lets the first go on.

    Returns how the first ended, what it said, and what a third node finds.
    """
    folder.mkdir()
    zombie.SCENARIO.build(folder)
    order = Order(
        scenario=zombie.SCENARIO.name, folder=str(folder), run=1, real=True, bug=bug, timeout_s=15.0 if bug else 300.0
    )
    pid = crew.forges[0].begin(msgspec.structs.replace(order, renews=True))
    wait_until(lambda: of(read_outside(folder / OUTSIDE), What.DID))
    wait_until(lambda: stops_between_commits(pid, folder))
    try:
        stopped_s = time.monotonic()
        second.forges[0].begin(msgspec.structs.replace(order, run=2, takes_over=True))
        wait_until(lambda: len(of(read_outside(folder / OUTSIDE), What.DID)) == len(zombie.SCENARIO.deeds))
        wait_until(lambda: time.monotonic() > stopped_s + zombie.AFTER_S)  # its result is there when it comes back
    finally:
        os.kill(pid, signal.SIGCONT)
    heir, ended = second.forges[0].end(), crew.forges[0].end()
    assert bug or (heir.code == 0 and not ended.hung), words_of(folder, heir)
    last = crew.forges[0].run(msgspec.structs.replace(order, run=3, bug=""))
    assert last.code == 0, words_of(folder, last)
    return ended, words_of(folder, ended), read_record(folder)


def stops_between_commits(pid: int, folder: Path) -> bool:
    """Stops a node; False, and it goes on, where that has caught it with the database's lock, which nobody can take."""
    os.kill(pid, signal.SIGSTOP)
    with contextlib.closing(sqlite3.connect(folder / STATE_FOLDER / FILE_NAME, timeout=0.0)) as connection:
        try:
            connection.execute("BEGIN IMMEDIATE")
        except sqlite3.OperationalError:
            os.kill(pid, signal.SIGCONT)
            return False
    return True
