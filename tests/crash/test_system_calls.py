"""A node that dies at any system call that writes: between two halves of a commit, between a letter and its name.

Ten deaths in every run of the tests, all there are with OSTINATO_CRASH=full: each takes a run under strace. strace
counts a call by its name, in each thread: one name after the other, so that none hides behind a more frequent one.
"""

from __future__ import annotations

import asyncio
import itertools
import random
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ostinato.config import STATE_FOLDER
from ostinato.store.sqlite import open_store
from tests.conftest import FULL, Count
from tests.crash.bugs import BUGS
from tests.crash.forge import Order
from tests.crash.outside import What, of
from tests.crash.record import Record, read_record
from tests.crash.scenario import Scenario
from tests.crash.scenarios import SCENARIOS
from tests.crash.siege import SHORT_SEED
from tests.crash.test_every_commit import findings_of, run_whole
from tests.crash.tracing import WRITES, killing, traced
from tests.crash.trial import SIGKILLED, Crew, Forge, Trial, words_of

pytestmark = pytest.mark.slow

SOME = {
    "pwrite64": (range(12, 200), 3),
    "fdatasync": (range(2, 12), 2),
    "fsync": (range(2, 6), 1),
    **{call: (range(1, 2), 1) for call in ("write", "mkdirat", "renameat", "unlink")},
}
"""The short form: from which calls, and how many of them."""

PLACES_MAX = 10_000

Place = tuple[str, int]
"""A call, and which one of a thread's."""


@pytest.mark.parametrize("name", ["delivery", "inbox file", "own files", "waiting mail"] if FULL else ["delivery"])
def test_a_run_that_dies_at_any_write_equals_one_that_does_not(
    name: str, crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    scenario = SCENARIOS[name]
    whole = run_whole(crew, scenario, ground)
    deaths: Counter[str] = Counter()
    for places in every_place() if FULL else some_places():
        for trial in crew.each(lambda forge, place: die_at(forge, scenario, ground, place), places):
            assert findings_of(whole, trial) == [], trial.place
            if not trial.killed:
                break
            deaths[trial.place.partition(":")[0]] += 1
    tell(f"{name}: {deaths.total()} deaths: {', '.join(f'{call} {times}' for call, times in deaths.most_common())}")
    count({"deaths": deaths.total(), **{f"at {call}": times for call, times in deaths.most_common()}})
    assert deaths.total() >= 10


def some_places() -> list[list[Place]]:
    """A few by chance, the same ones each time."""
    chance = random.Random(SHORT_SEED)
    return [[(call, number) for number in chance.sample(numbers, times)] for call, (numbers, times) in SOME.items()]


def every_place() -> Iterator[Iterator[Place]]:
    """Until there is no such call any more."""
    for call in WRITES:
        yield ((call, number) for number in range(1, PLACES_MAX))


@pytest.mark.parametrize("step", [1 if FULL else 40])
def test_a_store_that_dies_while_it_is_made_is_made_by_the_next(
    step: int, crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    scenario = SCENARIOS["delivery"]
    whole = run_whole(crew, scenario, ground)
    for number in itertools.count(1, step):
        trial = die_at(crew.forges[0], scenario, ground, ("pwrite64", number), fresh=True)
        assert findings_of(whole, trial) == []
        if trial.record is None or has_begun(trial.record):
            break
    count({"deaths": number // step})
    tell(f"{number // step} deaths while a store is made")


def test_the_system_calls_notice_a_letter_that_is_written_in_place(
    crew: Crew, ground: Path, tell: Callable[[str], None]
) -> None:
    bug = "a letter is written in place"
    scenario = SCENARIOS["delivery"]
    whole = run_whole(crew, scenario, ground)
    for number in range(1, 4):
        trial = die_at(crew.forges[0], scenario, ground, ("write", number), bug=bug)
        found = [each for each in findings_of(whole, trial) if each.startswith(BUGS[bug].finding)]
        if found:
            tell(f"{bug}: noticed at {trial.place}: {found[0]}")
            return
    pytest.fail(f"the harness did not notice: {bug}")


def has_begun(record: Record) -> bool:
    """True where the first node had opened its store before it died."""
    return any(line.run == 1 for line in of(record.outside, What.BEGAN))


def die_at(
    forge: Forge, scenario: Scenario, ground: Path, place: Place, *, fresh: bool = False, bug: str = ""
) -> Trial:
    """A run that dies where a thread makes a call of that kind for the nth time, and one that does not.
    `fresh`: the first one has to make the store."""
    folder = ground / "-".join(map(str, place))
    folder.mkdir()
    scenario.build(folder)
    if not fresh:
        asyncio.run(open_store(folder / STATE_FOLDER).close())
    order = Order(scenario=scenario.name, folder=str(folder), run=1, waits=True, bug=bug)
    with traced(forge.begin(order), *killing(*place)):
        ended = forge.end()
    killed = ended.code == SIGKILLED and not ended.hung
    if killed:
        ended = forge.run(Order(scenario=scenario.name, folder=str(folder), run=2, bug=bug))
    record, words = (read_record(folder), "") if ended.code == 0 else (None, words_of(folder, ended))
    shutil.rmtree(folder, ignore_errors=record is not None)
    return Trial(place="{}:{}".format(*place), killed=killed, record=record, words=words)
