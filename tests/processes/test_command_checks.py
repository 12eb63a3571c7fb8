"""A heartbeat whose check is a command: exit 0 wakes, anything else sleeps on, and what is broken says so."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ostinato.cli.client import Client
from ostinato.domain.question import Question
from ostinato.domain.step import Reviewed
from ostinato.domain.values import Trust
from ostinato.gateway import schedules_api
from ostinato.store.port import QuestionFilter
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


TRIES = """
import pathlib, sys
tries = pathlib.Path("tries")
tries.write_text(tries.read_text() + "x" if tries.exists() else "x")
print("not good enough yet" if tries.read_text() == "x" else "fine")
sys.exit(0 if tries.read_text() == "xx" else 1)
"""


def test_a_result_is_tested_by_a_command_in_the_agents_sandbox_and_what_it_says_goes_back(folder: Path) -> None:
    async def story() -> None:
        prepared(folder, "python3, check.py")
        (folder / "agents/helper/AGENTS.md").write_text("---\nreview: {command: [python3, tries.py]}\n---\n")
        (folder / "agents/helper/tries.py").write_text(TRIES)
        async with yard(folder, SCRIPT, tools=TOOLS) as fleet:
            task = await fleet.ended(await fleet.goal("work"))
            assert task.result is not None
            assert "not good enough yet" in task.result.text
            said = [step.entry for step in await fleet.store.read(lambda reads: reads.steps(task.id))]
            verdicts = [(each.accepted, each.by) for each in said if isinstance(each, Reviewed)]
            assert verdicts == [(False, "python3 tries.py"), (True, "python3 tries.py")]
            (fleet.workspace / "AGENTS.md").write_text("---\nreview: {command: [git, status]}\n---\n")
            other = await fleet.goal("work on")

            async def asked() -> Question | None:
                found = await fleet.store.read(lambda reads: reads.questions(QuestionFilter(task=other)))
                return found[0] if found else None

            assert "is not granted" in (await fleet.until(asked)).reason

    run(story())
