"""A node that dies at any system call that writes: between two halves of a commit, between a letter and its name.

Runs with OSTINATO_CRASH=full alone: each death takes a run of its own under strace, and there are hundreds.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import pytest

from tests.crash.forge import Order
from tests.crash.record import read_record
from tests.crash.scenario import Scenario
from tests.crash.scenarios import SCENARIOS
from tests.crash.test_every_commit import findings_of, run_whole
from tests.crash.tracing import killing, traced
from tests.crash.trial import SIGKILLED, Crew, Forge, Trial, words_of

pytestmark = pytest.mark.slow

TOGETHER = 40
"""Deaths between two looks at whether there are more calls to die at."""


@pytest.mark.parametrize("name", ["delivery", "inbox file", "own files", "waiting mail"])
def test_a_run_that_dies_at_any_write_equals_one_that_does_not(
    name: str, crew: Crew, ground: Path, tell: Callable[[str], None]
) -> None:
    scenario = SCENARIOS[name]
    whole = run_whole(crew, scenario, ground)
    killed = 0
    for start in count(1, TOGETHER):
        numbers = range(start, start + TOGETHER)
        trials = list(crew.each(lambda forge, number: die_at(forge, scenario, ground / str(number), number), numbers))
        findings = {trial.place: found for trial in trials if (found := findings_of(whole, trial))}
        assert not findings
        killed += sum(trial.killed for trial in trials)
        if not any(trial.killed for trial in trials):
            break
    tell(f"{name}: {killed} deaths at system calls that write")
    assert killed > TOGETHER


def die_at(forge: Forge, scenario: Scenario, folder: Path, number: int) -> Trial:
    """A run whose every thread dies at its write number `number`, and one that does not."""
    folder.mkdir()
    scenario.build(folder)
    order = Order(scenario=scenario.name, folder=str(folder), run=1, waits=True)
    with traced(forge.begin(order), *killing(number)):
        ended = forge.end()
    killed = ended.code == SIGKILLED and not ended.hung
    if killed:
        ended = forge.run(Order(scenario=scenario.name, folder=str(folder), run=2))
    record, words = (read_record(folder), "") if ended.code == 0 else (None, words_of(folder, ended))
    shutil.rmtree(folder, ignore_errors=record is not None)
    return Trial(place=f"write {number}", killed=killed, record=record, words=words)
