"""A sync that fails ends the node: what it should have written is not on the disk, whatever the kernel shows.

The next node begins from what it finds, and the power is cut while it runs: what either of them acknowledged is there.
Two places in every run of the tests, every sync of SQLite's with OSTINATO_CRASH=full.
"""

from __future__ import annotations

import asyncio
import itertools
import random
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.config import STATE_FOLDER
from ostinato.store.sqlite import open_store
from tests.conftest import FULL, Count
from tests.crash.bugs import BUGS
from tests.crash.forge import Order
from tests.crash.outside import What
from tests.crash.scenarios import SCENARIOS
from tests.crash.trial import Crew, Forge, words_of
from tests.power.calls import Operation, Sync, Write
from tests.power.cuts import begin, cuts, record
from tests.power.promises import findings_of

pytestmark = pytest.mark.slow

SCENARIO = SCENARIOS["chain"]
LOG_PAGES = 60
"""So that the log is moved into the database, with syncs of both, once in a while."""

COMMIT, LATER = 8, 16
"""Syncs of a node whose store is there: they are counted by threads, and each migration is one more on the first."""

PLACES = (f"{COMMIT}+", f"{LATER}")
"""`9`: this sync fails; `9+`: and all that follow, as when the disk is gone for a while."""

CUTS = 60 if FULL else 15


@pytest.mark.parametrize("start", range(1, 7) if FULL else [0])
def test_a_failed_sync_ends_the_node_and_nothing_is_lost(
    start: int, crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    """At full length in six parts, each with every sixth sync."""
    found, failed = {}, 0
    numbers = (f"{number}{more}" for number in itertools.count(start, 6) for more in ("", "+")) if FULL else PLACES
    for place in numbers:
        findings = fail_at(crew.forges[0], ground / place, place, is_new=FULL)
        if findings is None:
            break
        failed += 1
        if findings:
            found[place] = findings
    tell(f"failed sync: {failed} places, {failed * CUTS} power cuts afterwards, nothing acknowledged lost")
    count({"failed syncs": failed, "power cuts": failed * CUTS})
    assert failed
    assert not found


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.scenario == "failed sync"])
def test_the_failed_syncs_notice_when(name: str, crew: Crew, ground: Path, tell: Callable[[str], None]) -> None:
    forever = BUGS[name].finding == "lost"  # a disk that is gone ends every node
    for number in range(COMMIT, LATER):
        place = f"{number}{'+' if forever else ''}"
        found = fail_at(crew.forges[0], ground / place, place, is_new=forever, bug=name) or []
        mine = [each for each in found if each.startswith(BUGS[name].finding)]
        if mine:
            tell(f"{name}: noticed at {place}: {mine[0]}")
            return
    pytest.fail(f"the harness did not notice: {name}")


def fail_at(forge: Forge, folder: Path, place: str, *, is_new: bool = False, bug: str = "") -> list[str] | None:
    """What is wrong with a node whose syncs fail there, and with the next one; None: it makes fewer. `is_new`: that
    node makes its store, too."""
    folder.mkdir()
    SCENARIO.build(folder)
    if not is_new:
        asyncio.run(open_store(folder / STATE_FOLDER).close())
    order = Order(scenario=SCENARIO.name, folder=str(folder), run=1, log_pages=LOG_PAGES, bug=bug)
    inject = f"inject=fdatasync:error=EIO:when={place}"
    recorded, ended = record(forge, order, begin(folder), "-e", inject)
    if not any(isinstance(each, Sync) and each.failed for each in recorded.operations):
        return None
    first = next(failures(recorded.operations), len(recorded.operations))
    later = recorded.operations[first:]
    found = [f"went on: {each}" for each in acknowledged(later)]
    if ended.code == 0 and any(isinstance(each, Write) and each.path.endswith("-wal") for each in later):
        found.append("went on: the node came to its end as if nothing had happened")
    start = len(recorded.operations)
    recorded, ended = record(forge, replace(order, run=2, log_pages=0), recorded)
    if ended.code != 0:
        found.append(words_of(folder, ended))
    whole = range(start, len(recorded.operations) + 1)
    for cut in cuts(recorded, random.Random(0).sample(whole, min(CUTS, len(whole))), folder / "cut", seed=0):
        found.extend(f"{each} (cut {cut.at - start} of the next node)" for each in findings_of(cut))
    return found


def failures(operations: tuple[Operation, ...]) -> Iterator[int]:
    """Where a sync failed and was not made good. SQLite syncs the folder of a new log, and does not heed the answer."""
    for number, each in enumerate(operations):
        if isinstance(each, Sync) and each.failed and not is_made_good(each.path, operations[number:]):
            yield number


def is_made_good(path: str, later: tuple[Operation, ...]) -> bool:
    """True where a folder is synced once more before anything is acknowledged."""
    for number, each in enumerate(later):
        if isinstance(each, Sync) and each.path == path and not each.failed:
            return path.endswith(STATE_FOLDER) and not acknowledged(later[:number])
    return False


def acknowledged(operations: tuple[Operation, ...]) -> list[str]:
    """What a node told the world although the disk had failed it."""
    words = [f'"what":"{each}"'.encode() for each in (What.SENT, What.DID, What.DONE)]
    return [
        each.data.decode()
        for each in operations
        if isinstance(each, Write) and any(word in each.data for word in words)
    ]
