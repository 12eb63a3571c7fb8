"""A node under load is killed at random moments, again and again: nothing is lost, nothing done twice.

60 kills in every run of the tests, 1,000 with OSTINATO_CRASH=full, at least 300 of them while a tool's intent is open.
At full length from a seed that is drawn. A failure names its seed, and where its fleet is kept: OSTINATO_CRASH_SEED
repeats the moments, though not what the machine makes of them.
"""

from __future__ import annotations

import itertools
import tempfile
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.conftest import FULL, Count
from tests.crash import load
from tests.crash.bugs import BUGS
from tests.crash.ground import keep
from tests.crash.judge import doubts, every_doubt_is_said_aloud
from tests.crash.outside import What, of
from tests.crash.siege import Siege, besiege, first_seed
from tests.crash.trial import Crew, Forge

pytestmark = pytest.mark.slow

PARTS = 4 if FULL else 1
"""So that workers of a test run may share the kills; each must have its share of what follows."""

KILLS = (1_000 if FULL else 60) // PARTS
OPEN_KILLS = (300 if FULL else 15) // PARTS
"""Kills that must have hit an open intent of a tool; a fifth of what is usual in the short form."""

PART_SEEDS = 1_000
"""From one part's first seed to the next one's: more than it besieges fleets."""

KILLS_EACH = 50 if FULL else 30
"""On one fleet: so that no fleet grows old, and several can be besieged at the same time."""

ERRANDS_EACH = 800 if FULL else 0
"""That each fleet is sent at least, before its last node ends: 20,000 tasks in all at full length."""


@pytest.fixture(name="grounds")
def _grounds(ground: Path) -> Iterator[Sequence[Path]]:
    """A folder in memory, and one where a commit waits for a disk, wherever the other tests write."""
    with tempfile.TemporaryDirectory(prefix="ostinato-kills-", dir="/var/tmp", ignore_cleanup_errors=True) as folder:
        yield ground, Path(folder)


@pytest.mark.parametrize("part", range(PARTS))
def test_kills_at_random_moments_lose_nothing_and_do_nothing_twice(
    part: int, crew: Crew, grounds: Sequence[Path], tell: Callable[[str], None], count: Count
) -> None:
    seed = first_seed() + part * PART_SEEDS
    sieges: list[Siege] = []
    for start in itertools.count(0, KILLS // KILLS_EACH):
        seeds = range(seed + start, seed + start + KILLS // KILLS_EACH)
        sieges.extend(crew.each(lambda forge, each: one_siege(forge, grounds, each), seeds))
        tell(figures(sieges, seed=seed))
        broken = {siege.seed: found for siege in sieges if (found := findings_of(siege))}
        assert not broken, {keep(Path(siege.folder)) for siege in sieges if siege.seed in broken}
        open_kills = sum((siege.open_intents for siege in sieges), Counter())["any tool"]
        if open_kills >= OPEN_KILLS:
            break
    kills = sum(siege.kills for siege in sieges)
    tasks = sum(len(siege.record.tasks) for siege in sieges if siege.record is not None)
    count({"kills": kills, "with an intent open": open_kills, "tasks": tasks})
    assert kills >= KILLS


def test_the_random_kills_notice_a_turn_that_repeats_an_irreversible_intent(
    crew: Crew, ground: Path, tell: Callable[[str], None]
) -> None:
    bug = "a turn repeats an irreversible intent"
    seed, killed = first_seed(), 0
    for each in range(seed, seed + 10):
        siege = besiege(crew.forges[0], ground / str(each), kills=5, seed=each, bug=bug)
        killed += siege.kills
        found = [each for each in findings_of(siege) if each.startswith(BUGS[bug].finding)]
        if found:
            tell(f"{bug}: noticed after {killed} random kills: {found[0]}")
            return
    pytest.fail(f"{killed} kills did not show the bug; seed {seed}")


def one_siege(forge: Forge, grounds: Sequence[Path], seed: int) -> Siege:
    """One fleet's share of the kills, in memory or on the disk: where a commit takes long, many share it."""
    return besiege(forge, grounds[seed % len(grounds)] / str(seed), kills=KILLS_EACH, seed=seed, errands=ERRANDS_EACH)


def findings_of(siege: Siege) -> list[str]:
    """What the judge has to say, or that the fleet has not come to its end."""
    if siege.record is None:
        return [siege.words]
    return [*load.judge_load(siege.record), *every_doubt_is_said_aloud(siege.record)]


def figures(sieges: Sequence[Siege], *, seed: int) -> str:
    """What happened, in one line."""
    records = [siege.record for siege in sieges if siege.record is not None]
    open_intents = sum((siege.open_intents for siege in sieges if siege.record is not None), Counter[str]())
    histogram = ", ".join(f"{name} {times}" for name, times in open_intents.most_common())
    return (
        f"{sum(siege.kills for siege in sieges)} random kills from seed {seed} in "
        f"{sum(siege.seconds for siege in sieges):.0f} s of nodes: "
        f"{sum(len(record.tasks) for record in records)} tasks, "
        f"{sum(len(doubts(record.outside)) for record in records)} deeds in doubt, "
        f"{sum(len(of(record.outside, What.REPAIRED)) for record in records)} poisoned and sent on; "
        f"under way: {histogram}"
    )
