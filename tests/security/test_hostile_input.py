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

from tests.security.hostile import bugs
from tests.security.hostile.api_siege import besiege_api
from tests.security.hostile.case import Case, Surface
from tests.security.hostile.cases import make_cases
from tests.security.hostile.command_siege import EACH, PROCESSES, Run, besiege_commands
from tests.security.hostile.families import FAMILIES
from tests.security.hostile.found import FAMILY, FOUND
from tests.security.hostile.front_matter_siege import Load, besiege_front_matter
from tests.security.hostile.inbox_siege import besiege_inbox
from tests.security.hostile.result import Result
from tests.security.hostile.script_siege import Read, besiege_scripts
from tests.security.hostile.stand import Stand, scripts_of

SEED = int(os.environ.get("OSTINATO_SEED", "20"))
SHOWN = 12
"""Faults that a failure names."""

pytestmark = pytest.mark.slow

Say = Callable[[str], None]


@pytest.fixture(name="cases", scope="module")
def _cases() -> list[Case]:
    return [*make_cases(SEED), *FOUND]


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
    assert len(cases) >= 1_050
    assert max(Counter(case.family for case in cases).values()) <= len(cases) / 10
    for surface in Surface:
        assert {case.family for case in on(surface, cases)} == {*FAMILIES, FAMILY}
    assert make_cases(SEED) == make_cases(SEED)


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
    assert result.processes >= PROCESSES // EACH
    assert not list(tmp_path.rglob("owned"))


def test_any_request_is_answered_below_500_with_place_and_cure(stand: Stand, cases: list[Case], say: Say) -> None:
    result = besiege_api(stand, on(Surface.API, cases))
    check(Surface.API, result, stand, say=say)
    status, found = stand.call("GET", "/api/v1/status")
    assert (status, found["node"]["pid"]) == (200, stand.pid)


# --- the judge can say no -----------------------------------------------------------------------------------------

TELLING = {"misspelt keys", "odd keys"}
"""Families that every one of these bugs must fall for."""


def telling(surface: Surface) -> list[Case]:
    """A few cases."""
    return [case for case in make_cases(SEED, each=2) if case.surface is surface and case.family in TELLING]


@pytest.mark.parametrize(
    ("load", "said"),
    [
        (bugs.lets_a_key_error_through(), "raises KeyError"),
        (bugs.forgets_the_place(), "has no cure"),
        (bugs.keeps_the_last_good_one(), "a misspelt key is accepted"),
    ],
)
def test_a_careless_loader_is_noticed(stand: Stand, load: Load, said: str) -> None:
    load(stand.folder)
    found = besiege_front_matter(stand, telling(Surface.FRONT_MATTER), load=load)
    assert any(said in fault.words for fault in found.faults), found.faults


@pytest.mark.parametrize(
    ("read", "said"),
    [(bugs.reads_what_it_can, "a misspelt key is accepted"), (bugs.raises_what_it_meets, "raises ValueError")],
)
def test_a_careless_reader_of_scripts_is_noticed(stand: Stand, read: Read, said: str) -> None:
    found = besiege_scripts(stand, telling(Surface.SCRIPT), read=read)
    assert any(said in fault.words for fault in found.faults), found.faults


@pytest.mark.parametrize(
    ("run", "said"), [(bugs.prints_a_traceback, "shows its insides"), (bugs.does_nothing, "takes a misspelt option")]
)
def test_a_careless_command_line_is_noticed(stand: Stand, tmp_path: Path, run: Run, said: str) -> None:
    found = besiege_commands(stand, telling(Surface.COMMAND_LINE), here=tmp_path, run=run)
    assert any(said in fault.words for fault in found.faults), found.faults


def test_a_node_that_loses_files_and_breaks_promises_is_noticed(tmp_path: Path) -> None:
    with Stand(tmp_path / "fleet", [], node=bugs.NODE) as stand:
        lost = besiege_inbox(stand, telling(Surface.INBOX))
        assert lost.ends["lost"] > 0
        assert any("is lost" in fault.words for fault in lost.faults)
        broken = besiege_api(stand, telling(Surface.API))
        assert any("status 500" in fault.words for fault in broken.faults)
        assert stand.surprises()
