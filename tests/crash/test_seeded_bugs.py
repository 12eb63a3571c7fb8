"""The harness notices each seeded bug: a run with one passes while nobody kills it, and some kill reveals it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.crash.bugs import BUGS
from tests.crash.judge import judge
from tests.crash.scenarios import SCENARIOS
from tests.crash.test_every_commit import findings_of, places, run_whole
from tests.crash.trial import Crew, commits_of

pytestmark = pytest.mark.slow


@pytest.mark.parametrize("name", [name for name, bug in BUGS.items() if bug.scenario in SCENARIOS])
def test_the_harness_notices_when(name: str, crew: Crew, ground: Path, tell: Callable[[str], None]) -> None:
    bug = BUGS[name]
    scenario = SCENARIOS[bug.scenario]
    whole = run_whole(crew, scenario, ground)
    (unharmed,) = crew.trials(scenario, ground / "unharmed", [""], bug=name)
    assert unharmed.record is not None, unharmed.words
    assert judge(whole, unharmed.record) == []
    for trial in crew.trials(scenario, ground / "bug", places(commits_of(whole), both=True), bug=name):
        found = [each for each in findings_of(whole, trial) if each.startswith(bug.finding)]
        if found:
            tell(f"{name}: noticed {trial.place}: {found[0]}")
            return
    pytest.fail(f"the harness did not notice: {name}")
