"""A heartbeat whose check is a command: exit 0 wakes, anything else sleeps on, and what is broken says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ostinato.cli.client import Client
from ostinato.domain.values import Trust
from ostinato.gateway import schedules_api
from tests.conftest import run
from tests.processes.yard import Yard, folder, yard

__all__ = ["folder"]

pytestmark = pytest.mark.slow

TOOLS = "---\nexec: {commands: [python3]}\n---\n"
HEARTBEAT = "---\nevery: 7d\ncheck: {command: [%s], timeout: 1s}\n---\nLook at what the check found.\n"
CHECK = "import pathlib, sys\nprint('three new rows')\nsys.exit(0 if pathlib.Path('new').exists() else 1)\n"
SCRIPT = "default: {text: 'I was told: {user}'}"


async def fired(fleet: Yard) -> str:
    """Fires the heartbeat as if its time had come; why the agent was not woken."""

    async def there() -> bool | None:
        return bool(await fleet.store.read(lambda reads: reads.schedules())) or None

    await fleet.until(there)
    request = schedules_api.RunSchedule(name="heartbeat:helper:heartbeat", check=True)
    return (await asyncio.to_thread(Client(fleet.folder).call, schedules_api.run, request)).reason


def prepared(folder: Path, argv: str) -> None:
    home = folder / "agents/helper"
    home.mkdir(parents=True)
    (home / "HEARTBEAT.md").write_text(HEARTBEAT % argv)
    (home / "check.py").write_text(CHECK)


def test_exit_zero_wakes_with_what_was_said_as_data_and_another_exit_does_not(folder: Path) -> None:
    async def story() -> None:
        prepared(folder, "python3, check.py")
        async with yard(folder, SCRIPT, tools=TOOLS) as fleet:
            assert await fired(fleet) == "nothing to do: python3 check.py: exit 1"
            (fleet.workspace / "new").write_text("")
            assert await fired(fleet) == ""
            said, told = await fleet.store.read(lambda reads: reads.messages("main:helper", limit=9))
            assert (said.text, said.sender, said.trust) == ("three new rows", "heartbeat.check", Trust.AGENT)
            assert told.text == "Look at what the check found."
            turns = await fleet.store.read(lambda reads: reads.session_tasks("main:helper", limit=9))
            assert len(turns) == 1

    run(story())


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ("python3, -c, 'import time; time.sleep(60)'", "is broken: wall"),
        ("sh, check.sh", "is not granted"),
        ("python3, -c, 'raise SystemExit(127)'", "is broken: exit 127"),
    ],
)
def test_a_check_that_is_broken_wakes_and_says_so(folder: Path, argv: str, words: str) -> None:
    async def story() -> None:
        prepared(folder, argv)
        async with yard(folder, SCRIPT, tools=TOOLS) as fleet:
            assert await fired(fleet) == ""
            said, _ = await fleet.store.read(lambda reads: reads.messages("main:helper", limit=9))
            assert words in said.text

    run(story())
