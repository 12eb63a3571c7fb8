"""Helpers that stay work without bubblewrap, too, and reach nothing of the fleet there: what the fall-back cannot hide
is that a file exists, and it says so."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from ostinato.tools.mcp import sdk
from ostinato.tools.python import workers
from ostinato.tools.sandbox.account import Account, account_of
from ostinato.tools.sandbox.launch import Backend, landlock_or_none
from tests.conftest import run
from tests.mcp.bench import bench, give, own_server
from tests.python_tools.test_python_tools import _ground, fleet, hand
from tests.sandbox.ground import ORDINARY

__all__ = ["_ground", "fleet"]

pytestmark = pytest.mark.slow

READS = """
import os
from ostinato import tool

@tool(effect="read")
def reads(paths: list[str]) -> list:
    "What can be read, listed or made."
    found = []
    for path in paths:
        for attempt in (lambda: open(path), lambda: os.listdir(path), lambda: open(path + "/made", "w")):
            try:
                attempt()
                found.append(path)
            except OSError:
                continue
    with open("own", "w") as file:
        file.write("mine")
    return found
"""


@pytest.fixture(autouse=True)
def _fall_back(monkeypatch: pytest.MonkeyPatch) -> None:
    class Found:
        def __init__(self, fleet: Path) -> None:
            self._fleet = fleet

        def required(self) -> tuple[Backend, Account]:
            found = landlock_or_none()
            assert found is not None
            return found, account_of(self._fleet)

    async def preflight(fleet: Path) -> Found:
        return Found(fleet)

    for room in (workers, sdk):
        monkeypatch.setattr(room, "preflight", preflight)


def test_a_worker_and_a_server_have_their_own_folder_and_no_other(fleet: Path) -> None:
    async def story() -> None:
        (fleet / "tools/own.py").write_text(READS)
        (fleet / "shared").mkdir()
        (fleet / ".ostinato/key").write_text("key")
        give(fleet, ORDINARY)
        paths = [str(fleet), str(fleet / ".ostinato"), str(fleet / ".ostinato/key"), str(fleet / "agents"), "/root"]
        async with hand(fleet) as h:
            assert json.loads((await h.call("own.reads", paths=paths)).text) == []
        async with bench(fleet, own_server("good")) as b:
            assert (await b.call("mcp.own.echo", text="hello")).text == "hello"
            assert (fleet / "shared/calls").read_text() == "hello\n"

    run(story(), timeout_s=60)
