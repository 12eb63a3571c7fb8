"""Commands in real turns: what a person allowed is what runs, and what was swapped meanwhile is not."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from ostinato.domain.question import QuestionState
from ostinato.domain.step import Decision, Effect, Judged, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.taint import UNDER_WAY, touches
from ostinato.domain.task import TaskKind, TaskState
from ostinato.domain.values import Trust
from ostinato.store.port import TaskFilter
from ostinato.tools.commands import CommandPlace
from ostinato.tools.exec_tools import exec_tools
from tests.agents.fleet import PARKED, Fleet, running, write_fleet
from tests.agents.test_turns import decide, only_question
from tests.conftest import run
from tests.sandbox.ground import ORDINARY

pytestmark = pytest.mark.slow

DELIVERIES = TaskFilter(kinds=frozenset({TaskKind.DELIVERY}))
TOOLS = """---
allow: [exec.run, exec.read]
exec: {commands: [sh, cat], effects: {read: ["cat notes/today.md"]}, timeout: 20s}
---
"""
SCRIPT = """
rules:
  - when: {{tool: exec.run}}
    text: "it says {{result}}"
default: {{calls: [{{tool: exec.run, args: {{argv: {argv}}}}}]}}
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    """A fleet that belongs to an ordinary user and can be reached by one."""
    made = Path(tempfile.mkdtemp(prefix="ostinato-turns-", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        shutil.rmtree(made)


@contextlib.asynccontextmanager
async def fleet_of(folder: Path, argv: str) -> AsyncIterator[Fleet]:
    files = {
        "agents/helper/SOUL.md": "You help.\n",
        "agents/helper/TOOLS.md": TOOLS,
        "agents/helper/notes/today.md": "today\n",
        "agents/helper/notes/job.sh": "echo good > notes/done\n",
        "model.yaml": SCRIPT.format(argv=argv),
    }
    write_fleet(folder, files)
    give(folder)
    async with running(folder, {}, start=False) as fleet:
        place = CommandPlace(fleet=folder, state_dir=folder / "state")
        fleet.toolbox._tools.update({tool.name: tool for tool in exec_tools(place)})
        await fleet.node.start()
        yield fleet


def give(folder: Path) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)


async def outcome_of(fleet: Fleet, task: int) -> ToolOutcome:
    return next(each for each in await fleet.journal(task) if isinstance(each, ToolOutcome))


def test_a_command_that_only_reads_runs_at_once(folder: Path) -> None:
    async def story() -> None:
        async with fleet_of(folder, "[cat, notes/today.md]") as fleet:
            task = await fleet.goal("helper", "Read it.")
            await fleet.until(task.id)
            journal = await fleet.journal(task.id)
            intent = next(each for each in journal if isinstance(each, ToolIntent))
            assert intent.effect is Effect.READ
            assert intent.bound["program"] == "/usr/bin/cat"
            outcome = await outcome_of(fleet, task.id)
            assert outcome.status is ResultStatus.OK
            assert outcome.text.endswith("\ntoday")

    run(story())


def test_a_command_under_taint_marks_what_it_has_changed_and_nothing_else(folder: Path) -> None:
    async def story() -> None:
        async with fleet_of(folder, "[sh, notes/job.sh]") as fleet:
            task = await fleet.goal("helper", "Do it.", trust=Trust.EXTERNAL)
            await decide(fleet, await only_question(fleet), QuestionState.ALLOWED)
            await fleet.until(task.id)
            assert "notes/done" in (marked := await fleet.store.read(lambda reads: reads.tainted_files("helper")))
            assert not touches("SOUL.md", marked)
            assert not any(each.startswith(UNDER_WAY) for each in marked)

    run(story())


def test_an_allowed_command_runs_as_it_was_allowed(folder: Path) -> None:
    async def story() -> None:
        async with fleet_of(folder, "[sh, notes/job.sh]") as fleet:
            task = await fleet.goal("helper", "Do it.")
            question = await only_question(fleet)
            parked = await fleet.until(task.id, PARKED)
            assert parked.state is TaskState.WAITING
            asked = await fleet.store.read(lambda reads: reads.question(question))
            assert asked.action is not None
            assert asked.action.bound["program"] == "/usr/bin/sh"
            assert list(asked.action.bound["files"]) == ["notes/job.sh"]
            await decide(fleet, question, QuestionState.ALLOWED)
            await fleet.until(task.id)
            journal = await fleet.journal(task.id)
            intent = next(each for each in journal if isinstance(each, ToolIntent))
            judged = next(each for each in journal if isinstance(each, Judged))
            assert judged.decision is Decision.ASK
            assert intent.bound == judged.bound == asked.action.bound
            assert (folder / "agents/helper/notes/done").read_text() == "good\n"

    run(story())


@pytest.mark.parametrize("shared", [False, True])
def test_a_script_that_was_swapped_while_a_person_thought_is_not_run(folder: Path, *, shared: bool) -> None:
    async def story() -> None:
        async with fleet_of(folder, "[sh, notes/job.sh]") as fleet:
            if shared:
                await fleet.tell("helper", "Do it.")
            else:
                task = await fleet.goal("helper", "Do it.")
            question = await only_question(fleet)
            (folder / "agents/helper/notes/job.sh").write_text("echo evil > notes/done\n")
            await decide(fleet, question, QuestionState.ALLOWED)
            if shared:
                text = (await outcome_of(fleet, await _delivery_of(fleet))).text
            else:
                await fleet.until(task.id)
                text = (await outcome_of(fleet, task.id)).text
            assert "Nothing was run: since it was judged, this has changed: files" in text
            assert not (folder / "agents/helper/notes/done").exists()

    run(story())


async def _delivery_of(fleet: Fleet) -> int:
    """The delivery that performs an allowed action, once it has ended."""
    found: list[int] = []

    async def there() -> bool:
        deliveries = await fleet.store.read(lambda reads: reads.tasks(DELIVERIES))
        found[:] = [each.id for each in deliveries]
        return bool(found)

    await fleet.wait(there)
    await fleet.until(found[0])
    return found[0]
