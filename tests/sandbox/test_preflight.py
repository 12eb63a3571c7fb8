"""Before any command runs, the room is tried; what it lets through refuses all commands, with the cure."""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.domain.errors import Denied
from ostinato.gateway.doctor import _sandbox
from ostinato.tools.sandbox import landlock
from ostinato.tools.sandbox import preflight as preflights
from ostinato.tools.sandbox.preflight import Preflight, Trial, examine, preflight
from tests.conftest import run
from tests.sandbox.ground import World, backend, weakened, without, world

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def here() -> Iterator[World]:
    with world() as made:
        yield made


@pytest.mark.parametrize("way", ["bubblewrap", "landlock"])
def test_a_sound_room_holds(here: World, way: str) -> None:
    found = run(examine(here.fleet, ways=(backend(way),)))
    assert found.refusal == ""
    assert found.required() == (backend(way), here.account)
    assert len(found.trials[0].held) >= 15
    said = _sandbox(found)
    assert said.level == ("ok" if way == "bubblewrap" else "warn")
    assert all(gap in said.text for gap in backend(way).gaps)


@pytest.mark.parametrize(
    ("option", "values", "found"),
    [
        ("--seccomp", 1, "make namespaces"),
        ("--remount-ro", 1, "write outside"),
        ("--ro-bind", 2, ""),
    ],
)
def test_a_hole_refuses_commands(here: World, option: str, *, values: int, found: str) -> None:
    with weakened(lambda arguments: without(arguments, option, values=values)):
        result = run(examine(here.fleet, ways=(backend("bubblewrap"),)))
    assert found in result.refusal
    with pytest.raises(Denied, match="Commands are refused"):
        result.required()
    assert _sandbox(result).level == "warn"
    assert _sandbox(result).cure


def test_the_next_way_is_taken_where_one_fails(here: World) -> None:
    broken = replace(backend("bubblewrap"), program="/usr/bin/false")
    found = run(examine(here.fleet, ways=(broken, None, backend("landlock"))))
    assert found.backend == backend("landlock")
    assert "bubblewrap fails" in _sandbox(found).text


def test_without_any_way_commands_are_refused(here: World) -> None:
    found = run(examine(here.fleet, ways=(None, None)))
    assert "nothing here can hold them" in found.refusal
    assert "bubblewrap" in found.cure


def test_a_fleet_of_roots_is_refused_before_anything_is_tried() -> None:
    root = Path("/usr")
    assert root.stat().st_uid == 0
    found = run(examine(root))
    assert "never run as root" in found.refusal
    assert "chown" in _sandbox(found).cure
    assert found.trials == ()


def test_where_temporary_files_go_does_not_matter(here: World, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    assert run(examine(here.fleet)).refusal == ""


def test_it_is_done_once(here: World) -> None:
    preflights._known.pop(here.fleet, None)
    first = run(preflight(here.fleet))
    assert first.is_final
    assert run(preflight(here.fleet)) is first


def test_an_escape_stands_and_what_may_be_cured_is_looked_at_again(here: World) -> None:
    long_ago, way = time.monotonic() - 3_600, backend("bubblewrap")
    escaped = Preflight(refusal="x", trials=(Trial(backend=way, escaped={"mount": "mounts"}),))
    busy = Preflight(refusal="x", trials=(Trial(backend=way, problem="the checks could not be run"),))
    preflights._known[here.fleet] = (long_ago, escaped)
    assert run(preflight(here.fleet)) is escaped
    preflights._known[here.fleet] = (time.monotonic(), busy)
    assert run(preflight(here.fleet)) is busy
    preflights._known[here.fleet] = (long_ago, busy)
    assert run(preflight(here.fleet)).refusal == ""


def test_an_older_landlock_says_what_else_it_lets_through() -> None:
    assert len(landlock.gaps(landlock.SIGNALS_SINCE)) == 4
    assert any("signals" in gap for gap in landlock.gaps(landlock.VERSION_MIN))
