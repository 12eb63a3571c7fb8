"""Nothing comes through; the fall-back lets through what it says; and each guard is missed where it is taken away."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from ostinato.tools.sandbox.protected import prepare
from ostinato.tools.sandbox.room import Guard
from tests.sandbox.attacks import ATTACKS
from tests.sandbox.ground import PYTHON, Weaken, as_owner, backend, before_workspace, weakened, without, world

pytestmark = pytest.mark.slow

GAPS = {name for name, (kind, _) in ATTACKS.items() if kind == "gap"}
WAYS = ("bubblewrap", "landlock") if os.environ.get("OSTINATO_CRASH") == "full" else ("bubblewrap",)
REPOSITORY = Path(__file__).resolve().parents[2]


def test_there_are_enough_attacks_of_every_kind() -> None:
    kinds = [kind for kind, _ in ATTACKS.values()]
    assert len(ATTACKS) >= 90
    assert set(kinds) >= {"leash", "reads", "writes", "network", "processes", "filter", "inherits", "left behind"}


def test_nothing_comes_through_bubblewrap() -> None:
    with world() as here:
        assert here.storm(backend("bubblewrap")) == {}


def test_the_fall_back_lets_through_what_it_says_and_nothing_else() -> None:
    with world() as here:
        assert here.storm(backend("landlock")).keys() == GAPS


def test_without_any_guard_nearly_every_attack_comes_through() -> None:
    with world() as here:
        through = here.storm(None)
        made = {"leads git to another folder", "gives git a second config", "turns its folder into a fleet"}
        for name in ("ostinato.toml", ".git/commondir", ".git/config.worktree"):
            assert f"the world: {here.workspace / name}" in through
    came = {name for name in ATTACKS if name in through} | made
    assert not any("could not" in reached for reached in through.values())
    assert len(came) > 0.95 * len(ATTACKS), sorted(ATTACKS.keys() - came)


@pytest.mark.parametrize("way", WAYS)
def test_it_holds_for_a_runtime_of_an_ordinary_user_too(way: str) -> None:
    if os.geteuid() != 0:
        return  # then all of these tests are that one
    python = _python_of_others()
    if python is None:
        return  # this machine's Python is root's alone; the same rooms have held above
    done = subprocess.run(
        [python, "-m", "tests.sandbox.ground", way],
        capture_output=True,
        check=False,
        cwd=REPOSITORY,
        env=_environment(),
        **as_owner(),
    )
    assert done.returncode == 0, done.stderr.decode()
    assert json.loads(done.stdout).keys() == (set() if way == "bubblewrap" else GAPS)


def share_net(arguments: list[str]) -> list[str]:
    return [*arguments[:2], *arguments[2:3], "--share-net", *arguments[3:]]


def share_pids(arguments: list[str]) -> list[str]:
    at = arguments.index("--unshare-all")
    apart = ["--unshare-ipc", "--unshare-net", "--unshare-uts"]
    return without([*arguments[:at], *apart, *arguments[at + 1 :]], "--die-with-parent")


BUGS: dict[str, tuple[Weaken, Sequence[str], str]] = {
    "no filter": (lambda a: without(a, "--seccomp", values=1), ("filter",), "unshares users"),
    "the machine's network": (share_net, ("network",), "connects by tcp"),
    "the whole root, read-only": (
        lambda a: before_workspace(a, "--ro-bind", "/", "/"),
        ("reads",),
        "reads the neighbour",
    ),
    "the whole root": (
        lambda a: without(before_workspace(a, "--bind", "/", "/"), "--remount-ro", values=1),
        ("writes",),
        "writes the neighbour",
    ),
    "the machine's processes": (share_pids, ("processes",), "kills"),
    "a process that may stay": (share_pids, ("left behind",), "leaves a process behind"),
}


@pytest.mark.parametrize("bug", BUGS)
def test_a_hole_in_the_room_is_found(bug: str) -> None:
    weaken, kinds, expected = BUGS[bug]
    with world() as here, weakened(weaken):
        assert expected in here.storm(backend("bubblewrap"), kinds)


def test_a_protected_file_whose_folder_is_not_held_is_carried_away() -> None:
    with world() as here:
        whole = _guard(here.workspace)
        through = here.storm(backend("bubblewrap"), ("leash",), guard=Guard(sealed=whole.sealed))
        assert "carries the repository away" in through


def test_a_protected_file_that_is_not_sealed_is_written() -> None:
    with world() as here:
        kept = [path for path in _guard(here.workspace).sealed if path.name != "TOOLS.md"]
        through = here.storm(backend("bubblewrap"), ("leash",), guard=Guard(sealed=tuple(kept)))
        assert "writes TOOLS.md" in through


def _guard(workspace: Path) -> Guard:
    return prepare(workspace).guard


def _environment() -> dict[str, str]:
    places = [str(REPOSITORY), str(REPOSITORY / "src"), *(path for path in sys.path if "site-packages" in path)]
    return {"PATH": "/usr/bin:/bin", "PYTHONPATH": ":".join(places), "PYTHONDONTWRITEBYTECODE": "1"}


def _python_of_others() -> str | None:
    """A Python with which another user can run this project."""
    for python in (sys.executable, PYTHON):
        words = [python, "-c", "import ostinato.tools.sandbox.command"]
        try:
            done = subprocess.run(
                words, capture_output=True, check=False, cwd=REPOSITORY, env=_environment(), **as_owner()
            )
        except PermissionError:
            continue
        if done.returncode == 0:
            return python
    return None
