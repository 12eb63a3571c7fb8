"""A whole fleet in virtual time: one seed is one run, every law holds in each, and each seeded bug is noticed.

`OSTINATO_CRASH=full` runs 10,000 seeds, each some 0.2 s of a processor. A broken law is repeated, and told line by
line, by `python -m ostinato.testing.simulation --seed N`.
"""

from __future__ import annotations

import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from ostinato.gateway.access import PERSON_VARIABLE
from ostinato.testing.simulation.bugs import BUGS, planted
from ostinato.testing.simulation.laws import LAWS, judge
from ostinato.testing.simulation.run import Run, simulate
from tests.conftest import FULL, Count

SEEDS = 10_000 if FULL else 32
PARTS = 10 if FULL else 4
"""So that workers of a test run may share the seeds."""

TRIED = {"killed", "deploy", "approval", "unknown"}
"""What each part must have met; a few seeds more are tried where one has not."""

TRACES = """
import sys
from ostinato.testing.simulation.run import simulate
print(*(simulate(int(seed)).trace for seed in sys.argv[1:]))
"""


def traces(*seeds: int, hash_seed: str, person: str, home: Path) -> str:
    """The traces of these seeds in a process of their own, with somebody else at the keyboard."""
    command = [sys.executable, "-c", TRACES, *map(str, seeds)]
    environment = {
        **os.environ, "PYTHONHASHSEED": hash_seed, PERSON_VARIABLE: person, "XDG_CONFIG_HOME": str(home)
    }  # fmt: skip
    return subprocess.run(command, env=environment, check=True, capture_output=True, text=True).stdout


@pytest.mark.slow
def test_any_seed_repeats_bit_for_bit_in_another_process(tmp_path: Path) -> None:
    seeds = range(100) if FULL else range(1, 4)
    first = traces(*seeds, hash_seed="1", person="ann", home=tmp_path)
    assert first == traces(*seeds, hash_seed="2", person="bob", home=tmp_path / "another")
    assert not list(tmp_path.iterdir()), "nobody's own keyring is touched"


@pytest.mark.slow
@pytest.mark.parametrize("part", range(PARTS))
def test_every_law_holds_whatever_goes_wrong(part: int, count: Count) -> None:
    happened, broken = Counter[str](), list[str]()
    for seed in range(part, 3 * SEEDS, PARTS):
        if seed >= SEEDS and not TRIED - happened.keys():
            break
        run = simulate(seed)
        if found := judge(run):
            broken.append(f"seed {seed} (python -m ostinato.testing.simulation --seed {seed}): {found}")
        happened += Counter(seeds=1, tasks=len(run.left.tasks)) + what_happened(run)
    count({name: happened[name] for name in ("seeds", "tasks", "killed", "unknown", "clock", *happened)})
    assert not broken, "\n".join(broken)
    missing = TRIED - happened.keys()
    assert not missing, f"these seeds try nothing of: {missing}"


def what_happened(run: Run) -> Counter[str]:
    """Kinds of trouble, deaths and decisions of a run."""
    return Counter(each for line in run.lines for each in (line.name, line.effect) if line.what in _TOLD and each)


_TOLD = ("trouble", "died", "decided")


@pytest.mark.slow
@pytest.mark.parametrize("seed", [1874, 6822, 9638])
def test_no_law_is_broken_by_what_broke_one_once(seed: int) -> None:
    """1874: the clock is set back between the ends of two turns of a session. 6822: the node is killed while it starts,
    and nobody else may hold its fleet. 9638: what is left of a dead node fails once more when it is taken apart."""
    assert judge(simulate(seed)) == []


SLOW_TO_SHOW = 40
"""Bugs that need more seeds than this are looked for in the full run only."""


@pytest.mark.slow
@pytest.mark.parametrize("bug", [name for name, bug in BUGS.items() if FULL or bug.seeds <= SLOW_TO_SHOW])
def test_the_laws_notice_when(bug: str) -> None:
    with planted(bug):
        for seed in range(BUGS[bug].seeds):
            found = judge(simulate(seed))
            if any(each.startswith(BUGS[bug].finding) for each in found):
                return
    pytest.fail(f"{BUGS[bug].seeds} seeds have noticed nothing")


def test_every_law_says_what_it_is_about() -> None:
    assert len({law.__doc__ for law in LAWS}) == len(LAWS)
