"""A scenario that is killed before or after any of its commits, and run on, equals one that nobody killed.

Every commit is tried, before one and after the next in turn; both sides of each with OSTINATO_CRASH=full. The world
outside and the journals are compared with those of a whole run.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.conftest import FULL, Count
from tests.crash.judge import doubts, judge, names
from tests.crash.record import Record
from tests.crash.scenario import Scenario
from tests.crash.scenarios import SCENARIOS
from tests.crash.trial import Crew, Trial, commits_of

pytestmark = pytest.mark.slow

SIDES = ("before", "after")


@pytest.mark.parametrize("name", SCENARIOS)
def test_a_run_that_is_killed_at_any_commit_equals_one_that_is_not(
    name: str, crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    scenario = SCENARIOS[name]
    whole = run_whole(crew, scenario, ground)
    commits = commits_of(whole)
    trials = list(crew.trials(scenario, ground, [*places(commits), f"before:{commits + 1}"]))
    findings = {trial.place: found for trial in trials if (found := findings_of(whole, trial))}
    killed = [trial for trial in trials if trial.killed]
    doubtful = sum(len(doubts(trial.record.outside)) for trial in trials if trial.record)
    tell(f"{name}: {commits} commits, {len(killed)} kills, {doubtful} deeds in doubt, each said aloud")
    count({"kills": len(killed), "commits": commits, "deeds in doubt": doubtful})
    assert not findings
    assert len(killed) == len(places(commits))  # each run made the same commits, so that none has been missed


def run_whole(crew: Crew, scenario: Scenario, folder: Path) -> Record:
    """The run that the others are compared with; it does what the scenario says, and the judge has nothing to say."""
    (trial,) = crew.trials(scenario, folder, [""])
    assert trial.record is not None, trial.words
    assert names(trial.record.outside) == Counter(scenario.deeds)
    assert trial.record.work == scenario.work
    assert judge(trial.record, trial.record) == []
    return trial.record


def places(commits: int, *, both: bool = FULL) -> list[str]:
    """Each commit, from one side or from both."""
    sides = (SIDES, SIDES) if both else (SIDES[:1], SIDES[1:])
    return [f"{side}:{number}" for number in range(1, commits + 1) for side in sides[number % 2]]


def findings_of(whole: Record, trial: Trial) -> list[str]:
    """What the judge has to say, or that the run has not come to its end."""
    return [trial.words] if trial.record is None else judge(whole, trial.record)
