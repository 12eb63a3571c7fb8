"""TASKS.md as the runtime keeps it: a picture of the tasks, and a place where wishes are taken exactly once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from ostinato.agents.clerk import POLL_S, Clerk, ClerkPlace
from ostinato.agents.intake import Intake
from ostinato.domain.event import EventName
from ostinato.domain.task import NewTask, Task, TaskEvent, TaskKind, TaskSpec
from ostinato.domain.values import Trust
from ostinato.store.port import EventFilter, Store, TaskFilter
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from ostinato.tools.port import Colleague
from ostinato.workspace import tasks_place
from ostinato.workspace.tasks_file import REFUSED_SETTING
from tests.conftest import run

HELPERS = (Colleague(id="clerk", skills=("mail",)), Colleague(id="mate", skills=("Billing",)))


class Desk:
    """A clerk at work, whose looks a test decides."""

    def __init__(self, fleet: Path, store: Store) -> None:
        self.store, self.clock = store, ManualClock()
        self.file = fleet / "TASKS.md"
        self.clerk = Clerk(
            ClerkPlace(fleet=fleet, name="shop", settle_s=0.0),
            store=store,
            intake=Intake(colleagues=lambda: HELPERS),
            colleagues=lambda: HELPERS,
            clock=self.clock,
        )

    async def look(self) -> str:
        """One look, after the rest; what the file says then."""
        self.clock.advance(60.0)
        await self.clerk.poll()
        return self.file.read_text() if self.file.exists() else ""

    async def write(self, text: str) -> str:
        """A person adds to the file; what it says after the next look."""
        with self.file.open("a") as stream:
            stream.write(text)
        return await self.look()

    async def add(self, title: str, **more: object) -> Task:
        """A goal."""
        new = NewTask(kind=TaskKind.GOAL, title=title, spec=TaskSpec(goal=title), **more)  # type: ignore[arg-type]  # a test's own keywords
        return await self.store.run(lambda tx: tx.add_task(new, now=self.clock.now()))

    async def goals(self) -> list[Task]:
        """All of them, oldest first."""
        which = TaskFilter(kinds=frozenset({TaskKind.GOAL}))
        return (await self.store.read(lambda reads: reads.tasks(which)))[::-1]


@asynccontextmanager
async def desk(fleet: Path) -> AsyncIterator[Desk]:
    store = open_store(None)
    made = Desk(fleet, store)
    store.subscribe(made.clerk.hear)
    try:
        yield made
    finally:
        await store.close()


def test_the_file_shows_the_tasks_and_is_written_only_when_they_have_changed(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            assert "There are none yet." in await it.look()
            task = await it.add("Call <!-- Bob", agent="mate", project="my shop", priority=5)
            text = await it.look()
            assert '## Ready\n\n- [ ] T1 Call \\<!-- Bob @mate project:"my shop" priority:5\n' in text
            written = it.file.stat()
            await it.look()
            assert it.file.stat() == written
            await it.store.run(lambda tx: tx.move_task(task.id, TaskEvent.CANCEL, actor="ann", now=it.clock.now()))
            assert "[ ] T1" not in await it.look()

    run(story())


def test_a_line_below_proposed_becomes_a_draft_once_and_leaves(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            await it.look()
            text = await it.write("- Call Bob @mate #billing project:shop priority:7\n  He has\n  called.\n")
            (task,) = await it.goals()
            assert (task.state, task.title, task.agent, task.project, task.priority) == (
                "draft",
                "Call Bob",
                "mate",
                "shop",
                7,
            )
            assert (task.spec.goal, task.spec.skills, task.spec.trust) == ("He has\ncalled.", ("billing",), Trust.AGENT)
            assert "## To approve\n\n- [ ] T1 Call Bob @mate" in text
            assert "Call Bob" not in text.partition("## Proposed")[2]
            await it.write("- Call Bob @mate #billing project:shop priority:7\n  He has\n  called.\n")
            assert len(await it.goals()) == 2  # the same words in today's file are a new wish

    run(story())


def test_an_editor_that_saves_what_it_read_long_ago_proposes_nothing_twice(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            buffer = await it.look() + "- Call Bob\n- Fix it @matte\n"
            it.file.write_text(buffer)
            await it.look()
            it.file.write_text(buffer.replace("@matte", "@mate"))
            await it.look()
            it.file.write_text(buffer)
            text = await it.look()
            assert [each.title for each in await it.goals()] == ["Call Bob", "Fix it"]
            assert text.count("- Fix it @matte\n  <!-- not taken") == 1
            assert "Did you mean 'mate'?" in text

    run(story())


def test_what_cannot_be_taken_stays_with_the_reason_until_it_can(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            await it.look()
            text = await it.write("- Fix issue #12\nplain words\n")
            assert "If it belongs to the words, write a \\ before the #." in text
            assert "plain words\n  <!-- not taken (" in text
            assert await it.goals() == []
            it.file.write_text(text.replace("#12", "\\#12").replace("plain words", "- plain words"))
            text = await it.look()
            assert [each.title for each in await it.goals()] == ["Fix issue #12", "plain words"]
            assert "not taken" not in text

    run(story())


def test_a_new_file_with_a_section_for_proposals_gets_its_mark_before_anything_is_taken(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            it.file.write_text("my own words\n\n## Proposed\n- Call Bob\n")
            assert "- Call Bob" in await it.look()
            text = await it.look()
            assert [each.title for each in await it.goals()] == ["Call Bob"]
            (aside,) = (tmp_path / "tasks").glob("*.md")
            assert aside.read_text().startswith("my own words")
            assert f"tasks/{aside.name}" in text

    run(story())


def test_somebodys_own_file_of_that_name_is_left_alone_and_said_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            it.file.write_text("# Shopping\n- milk\n")
            for _ in range(3):
                await it.add("anything")
                assert await it.look() == "# Shopping\n- milk\n"
            which = EventFilter(names=frozenset({EventName.FILE_REFUSED}))
            (event,) = await it.store.read(lambda reads: reads.events(which))
            assert "is left alone" in event.reason
            assert "file = false" in event.reason

    run(story())


IN_THE_WAY = {
    "tasks is a file": ("tasks", lambda path, _: path.write_text("mine")),
    "tasks is a link out of the fleet": ("tasks", lambda path, outside: path.symlink_to(outside)),
    "a project's file is a folder": ("tasks/shop.json", lambda path, _: path.mkdir(parents=True)),
    "its next version is a folder": ("tasks/.shop.json.new", lambda path, _: path.mkdir(parents=True)),
    "the next file is a folder": (tasks_place.NEW, lambda path, _: path.mkdir()),
    "the next file is no text": (tasks_place.NEW, lambda path, _: path.write_bytes(b"\0" * 40)),
}
"""Where something lies that should not, and how it comes there."""


@pytest.mark.parametrize("name", IN_THE_WAY)
def test_what_lies_in_the_way_of_a_file_is_told_once_with_its_place_and_does_no_harm(tmp_path: Path, name: str) -> None:
    async def story() -> None:
        fleet, outside = tmp_path / "fleet", tmp_path / "outside"
        fleet.mkdir()
        outside.mkdir()
        path = fleet / IN_THE_WAY[name][0]
        IN_THE_WAY[name][1](path, outside)
        async with desk(fleet) as it:
            for number in range(3):
                await it.add(f"work {number}", project="shop")
                await it.look()
            said = await it.store.read(
                lambda reads: reads.events(EventFilter(names=frozenset({EventName.FILE_REFUSED})))
            )
            (one,) = said
            assert one.reason.startswith(path.relative_to(fleet).parts[0])
            assert await it.store.read(lambda reads: reads.setting(REFUSED_SETTING)) == one.reason
            assert list(outside.iterdir()) == []
            path.unlink() if path.is_symlink() or path.is_file() else path.rmdir()
            await it.add("the way is free", project="shop")
            assert "the way is free" in await it.look()
            assert "the way is free" in (fleet / "tasks/shop.json").read_text()
            assert not await it.store.read(lambda reads: reads.setting(REFUSED_SETTING))

    run(story())


@pytest.mark.slow
def test_a_thousand_tasks_are_counted_and_the_rest_named_by_their_command(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            new = [NewTask(kind=TaskKind.GOAL, title=f"task {n}", project=f"p/{n % 3}") for n in range(600)]
            await it.store.run(lambda tx: [tx.add_task(each, now=it.clock.now()) for each in new])
            text = await it.look()
            assert "600 ready." in text
            assert text.count("\n- [ ]") == 50
            assert "- and 550 more: `ostinato tasks list --state ready`" in text
            files = sorted((tmp_path / "tasks").iterdir())
            assert [each.name for each in files] == ["p%2F0.json", "p%2F1.json", "p%2F2.json"]
            project = json.loads(files[0].read_text())
            assert (project["project"], project["complete"], project["tasks"][0]["state"]) == ("p/0", False, "ready")

    run(story())


def test_the_file_of_a_project_without_tasks_goes_and_files_of_others_stay(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            task = await it.add("Call Bob", project="shop")
            await it.look()
            (tmp_path / "tasks" / "mine.json").write_text("{}")
            assert (tmp_path / "tasks" / "shop.json").exists()
            await it.store.run(lambda tx: tx.move_task(task.id, TaskEvent.CANCEL, actor="ann", now=it.clock.now()))
            await it.look()
            assert [each.name for each in (tmp_path / "tasks").iterdir()] == ["mine.json"]

    run(story())


def test_it_rests_between_renderings_and_looks_again_when_the_rest_is_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with desk(tmp_path) as it:
            await it.look()
            await it.add("Call Bob")
            assert 0.0 < await it.clerk.poll() <= POLL_S
            assert "Call Bob" not in it.file.read_text()
            assert "Call Bob" in await it.look()

    run(story())


RACED = 60


def raced(folder: Path) -> list[str]:
    """What becomes of RACED wishes that are written while a clerk renders as fast as it can: every other is appended
    in place, the rest are saved as editors do, a whole new file."""

    def write(file: Path, over: threading.Event) -> None:
        try:
            for number in range(RACED):
                line = f"- wish {number}\n"
                if number % 2:
                    with file.open("a") as stream:
                        stream.write(line)
                else:
                    _save(file, line)
        finally:
            over.set()

    async def story() -> list[str]:
        async with desk(folder) as it:
            await it.look()
            over = threading.Event()
            writer = threading.Thread(target=write, args=(it.file, over))
            writer.start()
            looks = 0
            while not over.is_set() or looks < 3:
                looks = looks + 1 if over.is_set() else 0
                await it.add("something else")  # so that there is always something to render
                await it.look()
            writer.join()
            return sorted(each.title for each in await it.goals() if each.title != "something else")

    return run(story())


@pytest.mark.slow
def test_whoever_writes_while_it_renders_loses_nothing_and_gets_nothing_twice(tmp_path: Path) -> None:
    assert raced(tmp_path) == sorted(f"wish {number}" for number in range(RACED))


@pytest.mark.slow
def test_a_clerk_that_does_not_look_at_what_it_replaced_is_noticed(tmp_path: Path) -> None:
    sound = tasks_place._is_untouched
    tasks_place._is_untouched = lambda folder, name, before: True
    try:
        rounds = (raced(tmp_path / str(number)) for number in range(10) if (tmp_path / str(number)).mkdir() is None)
        assert any(found != sorted(f"wish {number}" for number in range(RACED)) for found in rounds)
    finally:
        tasks_place._is_untouched = sound


def _save(file: Path, line: str) -> None:
    """Reads, adds a line, and saves; again where somebody else has saved meanwhile, as an editor asks its user."""
    for _ in range(1_000):
        before, text = file.stat(), file.read_text()
        copy = file.with_name(".editor")
        copy.write_text(text + line)
        if file.stat() == before:
            os.replace(copy, file)
            return
    raise AssertionError("the file never held still")


# --- death ---


def forge(folder: Path, *more: str) -> list[dict[str, object]]:
    command = [sys.executable, "-m", "tests.agents.clerk_forge", str(folder), *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def findings(deaths: list[dict[str, object]]) -> list[str]:
    """Where lines were lost, taken twice, or left behind."""
    good = {"left": ["- Three @nobody"], "leftover": False}
    return [
        str(each["place"])
        for each in deaths
        if each["titles"] != each["expected"] or {name: each[name] for name in good} != good
    ]


@pytest.mark.slow
def test_a_death_at_any_step_neither_loses_a_line_nor_takes_it_twice(tmp_path: Path) -> None:
    deaths = forge(tmp_path)
    assert {str(each["place"]).partition(":")[0] for each in deaths} == {"step", "before", "after"}
    assert any("Quick" in str(each["expected"]) for each in deaths), "no death came right after the exchange"
    assert len(deaths) >= 12
    assert findings(deaths) == []


@pytest.mark.slow
@pytest.mark.parametrize(("bug", "place"), [("forgetful keys", "after:1"), ("dropped leftover", "step:8")])
def test_a_planted_mistake_is_noticed(tmp_path: Path, bug: str, place: str) -> None:
    assert findings(forge(tmp_path, bug, place)) == [place]
