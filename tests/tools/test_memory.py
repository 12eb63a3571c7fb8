"""Notes go to the agent's own day, once for each call, and what an agent curates keeps its size.

Files are real; the daily note is shared with the runtime, which adds to it too.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ostinato.domain.file_rules import FileRules
from ostinato.domain.policy import Policy
from ostinato.domain.step import ResultStatus
from ostinato.tools.memory import MEMORY_BYTES_MAX
from tests.tools.conftest import Scene
from tests.tools.desk import BEGINS_AT, Desk

Play = Callable[[Scene], None]
NOTHING = FileRules(read=(), write=())


def test_a_note_is_a_line_of_the_agents_own_day(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.call("memory.note", {"text": "Refunded order 7.\n\nTold Ann."}, files=NOTHING)
        await desk.call("memory.note", {"text": "late"}, timezone="Pacific/Auckland", now=BEGINS_AT + 9 * 10**6)
        first = (desk.workspace / "memory" / "2027-01-15.md").read_text()
        lines = f"# 2027-01-15\n\n- 08:00 Refunded order 7.\n  Told Ann. (T{desk.task})\n- 21:00 late (T{desk.task})\n"
        assert first == lines
        await desk.call(
            "memory.note", {"text": "tomorrow"}, timezone="Pacific/Kiritimati", now=BEGINS_AT + 4 * 3_600 * 10**6
        )
        assert (desk.workspace / "memory" / "2027-01-16.md").exists()

    at_desk(scene)


def test_a_note_begins_on_a_line_of_its_own_and_is_written_once(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        (desk.workspace / "memory").mkdir()
        note = desk.workspace / "memory" / "2027-01-15.md"
        note.write_text("by hand, without an end")
        context = desk.context()
        for _ in range(2):
            assert (await desk.call("memory.note", {"text": "seen"}, context)).text == "noted in memory/2027-01-15.md"
        assert note.read_text() == f"by hand, without an end\n- 08:00 seen (T{desk.task})\n"

    at_desk(scene)


def test_memory_is_read_by_file_and_by_day(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        assert (await desk.call("memory.read", {})).text == "(nothing yet)"
        assert (await desk.call("memory.read", {"day": "2027-01-15"})).text == "(nothing yet)"
        await desk.call("memory.curate", {"text": "Ann pays by card.\n"})
        await desk.call("memory.note", {"text": "seen"})
        assert (await desk.call("memory.read", {}, files=NOTHING)).text == "Ann pays by card.\n"
        assert "seen" in (await desk.call("memory.read", {"day": "2027-01-15"})).text
        (desk.workspace / "MEMORY.md").write_text("")
        assert (await desk.call("memory.read", {})).text == "(empty)"

    at_desk(scene)


@pytest.mark.parametrize("day", ["../../x", "2027-1-5", "SOUL", "2027-01-15/../..", "2027-01-15\n"])
def test_a_day_is_a_date(at_desk: Play, day: str) -> None:
    async def scene(desk: Desk) -> None:
        tool = desk.box.get("memory.read")
        assert tool is not None
        assert "day: " in desk.box.check_arguments(tool, {"day": day})

    at_desk(scene)


def test_what_is_curated_has_a_size_and_replaces_what_was_there(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        done = await desk.call("memory.curate", {"text": "é" * (MEMORY_BYTES_MAX // 2)})
        assert done.text == f"MEMORY.md has {MEMORY_BYTES_MAX} of {MEMORY_BYTES_MAX} bytes now"
        over = await desk.call("memory.curate", {"text": "x" * (MEMORY_BYTES_MAX + 1)})
        assert over.status is ResultStatus.ERROR
        assert "daily notes" in over.text
        assert (desk.workspace / "MEMORY.md").stat().st_size == MEMORY_BYTES_MAX

    at_desk(scene)


def test_a_search_finds_lines_with_all_words_the_newest_notes_first(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        assert (await desk.call("memory.search", {"text": "refund"})).text == "nothing found"
        (desk.workspace / "memory").mkdir()
        for day in ("2027-01-13", "2027-01-14", "2027-01-12"):
            (desk.workspace / "memory" / f"{day}.md").write_text(f"# {day}\n\n- 08:00 Refund for Ann\n- 09:00 Ann\n")
        (desk.workspace / "MEMORY.md").write_text("Ann wants every REFUND at once.\n")
        (desk.workspace / "other.md").write_text("refund Ann\n")
        found = await desk.call("memory.search", {"text": "ann refund"}, policy=Policy(agent="triage"))
        assert found.text.splitlines() == [
            "MEMORY.md:1: Ann wants every REFUND at once.",
            "memory/2027-01-14.md:3: - 08:00 Refund for Ann",
            "memory/2027-01-13.md:3: - 08:00 Refund for Ann",
            "memory/2027-01-12.md:3: - 08:00 Refund for Ann",
        ]

    at_desk(scene)
