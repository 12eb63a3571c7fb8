"""Hostile input on every surface: a clear error with place and cure, never a traceback, nothing lost, and a valid input
works afterwards.

More than a thousand inputs follow from one seed, which is printed: OSTINATO_SEED=7 tries others. One node stands for
all of it. That the judge can say no is shown by a bug on each surface.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import pytest

from tests.security.hostile.api_siege import besiege_api
from tests.security.hostile.case import Case, Surface
from tests.security.hostile.cases import make_cases
from tests.security.hostile.command_siege import besiege_commands
from tests.security.hostile.families import FAMILIES
from tests.security.hostile.front_matter_siege import besiege_front_matter
from tests.security.hostile.inbox_siege import besiege_inbox
from tests.security.hostile.result import Result
from tests.security.hostile.script_siege import besiege_scripts
from tests.security.hostile.stand import Stand, scripts_of

SEED = int(os.environ.get("OSTINATO_SEED", "20"))
SHOWN = 12
"""Faults that a failure names."""

pytestmark = pytest.mark.slow

Say = Callable[[str], None]


@pytest.fixture(name="cases", scope="module")
def _cases() -> list[Case]:
    return make_cases(SEED)


@pytest.fixture(name="stand", scope="module")
def _stand(tmp_path_factory: pytest.TempPathFactory, cases: list[Case]) -> Iterator[Stand]:
    """One fleet with one node for all sieges."""
    with Stand(tmp_path_factory.mktemp("siege") / "fleet", scripts_of(cases)) as stand:
        yield stand


@pytest.fixture(name="say")
def _say(capsys: pytest.CaptureFixture[str]) -> Say:
    """Prints a line, whether or not the test fails."""

    def say(line: str) -> None:
        with capsys.disabled():
            print(f"\n{line}", end="", flush=True)  # noqa: T201 - the seed must be seen

    return say


def on(surface: Surface, cases: Sequence[Case]) -> list[Case]:
    """The cases of one surface."""
    return [case for case in cases if case.surface is surface]


def check(surface: Surface, result: Result, stand: Stand, *, say: Say) -> None:
    """Fails with the first faults; says what was tried."""
    say(f"{surface.value}: {result} (seed {SEED})")
    named = "\n".join(str(each) for each in result.faults[:SHOWN])
    assert not result.faults, f"OSTINATO_SEED={SEED}: {len(result.faults)} faults on {surface.value}\n{named}"
    assert stand.is_alive()
    assert not stand.surprises()


def test_there_are_enough_inputs_of_enough_families_on_every_surface(cases: list[Case]) -> None:
    assert len(FAMILIES) >= 25
    assert len(cases) >= 1_000
    assert max(Counter(case.family for case in cases).values()) <= len(cases) / 10
    for surface in Surface:
        assert {case.family for case in on(surface, cases)} == set(FAMILIES)
    assert [str(case) for case in cases] == [str(case) for case in make_cases(SEED)]


def test_any_front_matter_is_read_or_refused_with_its_place_and_cure(stand: Stand, cases: list[Case], say: Say) -> None:
    result = besiege_front_matter(stand, on(Surface.FRONT_MATTER, cases))
    check(Surface.FRONT_MATTER, result, stand, say=say)


def test_any_script_is_read_or_refused_with_its_place_and_cure(stand: Stand, cases: list[Case], say: Say) -> None:
    result = besiege_scripts(stand, on(Surface.SCRIPT, cases))
    check(Surface.SCRIPT, result, stand, say=say)


def test_no_dropped_file_is_lost(stand: Stand, cases: list[Case], say: Say) -> None:
    result = besiege_inbox(stand, on(Surface.INBOX, cases))
    check(Surface.INBOX, result, stand, say=say)
    assert result.ends["taken"] + result.ends["refused"] + result.ends["still there"] == sum(result.ends.values())


def test_any_command_line_is_done_or_refused_with_a_cure(
    stand: Stand, cases: list[Case], say: Say, tmp_path: Path
) -> None:
    here = tmp_path / "a" / "b" / "c"
    here.mkdir(parents=True)
    result = besiege_commands(stand, on(Surface.COMMAND_LINE, cases), here=here)
    check(Surface.COMMAND_LINE, result, stand, say=say)
    assert result.processes >= 60
    assert not list(tmp_path.rglob("owned"))


def test_any_request_is_answered_below_500_with_place_and_cure(stand: Stand, cases: list[Case], say: Say) -> None:
    result = besiege_api(stand, on(Surface.API, cases))
    check(Surface.API, result, stand, say=say)
    status, found = stand.call("GET", "/api/v1/status")
    assert (status, found["node"]["pid"]) == (200, stand.pid)
