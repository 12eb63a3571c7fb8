"""The daily note: one line for each thing, once, in the agent's own day, whatever lies in the folder."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.domain.errors import Invalid
from ostinato.domain.instant import parse_instant
from ostinato.workspace.daily_note import NOTE_BYTES_MAX, append_note, note_path

AT = parse_instant("2026-03-01T23:30:00Z")


def note(folder: Path, line: str, *, tag: str = "T1", at: int = AT, timezone: str = "UTC") -> bool:
    """Add a line."""
    return append_note(folder, line, at=at, timezone=timezone, tag=tag)


def test_the_day_is_the_agents_own(tmp_path: Path) -> None:
    assert note_path(AT, timezone="UTC") == "memory/2026-03-01.md"
    assert note(tmp_path, "- late", timezone="Asia/Tokyo")
    assert (tmp_path / "memory" / "2026-03-02.md").read_text() == "# 2026-03-02\n\n- late (T1)\n"


def test_a_line_is_written_once_and_others_of_its_task_beside_it(tmp_path: Path) -> None:
    assert note(tmp_path, "- 10:00 an agent's own note (T1)")
    assert note(tmp_path, "- 10:01 failed: no model (T1)")
    assert not note(tmp_path, "- 10:01 failed: no model (T1)")
    assert not note(tmp_path, "- 10:01 failed: no model")
    assert note(tmp_path, "- 10:05 done (T1)")
    assert note(tmp_path, "- 10:05 done", tag="T11")
    lines = (tmp_path / "memory" / "2026-03-01.md").read_text().splitlines()
    assert lines[2:] == [
        "- 10:00 an agent's own note (T1)",
        "- 10:01 failed: no model (T1)",
        "- 10:05 done (T1)",
        "- 10:05 done (T11)",
    ]


def test_a_line_that_was_torn_or_left_open_is_ended_first(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    (tmp_path / "memory" / "2026-03-01.md").write_text("- by hand, no line end")
    note(tmp_path, "- next")
    assert (tmp_path / "memory" / "2026-03-01.md").read_text() == "- by hand, no line end\n- next (T1)\n"


def test_a_line_stays_one_line(tmp_path: Path) -> None:
    note(tmp_path, "- a\nb\r\n# c\x00\x1b[31m \ud800 \u2028d")
    text = (tmp_path / "memory" / "2026-03-01.md").read_text()
    assert text.splitlines()[2] == "- a b  # c  [31m    d (T1)"
    assert len(text.splitlines()) == 3


def test_a_note_has_an_end(tmp_path: Path) -> None:
    (tmp_path / "memory").mkdir()
    path = tmp_path / "memory" / "2026-03-01.md"
    path.write_text("x" * (NOTE_BYTES_MAX + 1) + "\n")
    for number in range(5):
        assert not note(tmp_path, f"- {number}", tag=f"T{number}")
    assert path.read_text().count("is full") == 1


@pytest.mark.parametrize(
    "put",
    [
        lambda note: note.mkdir(),
        lambda note: os.mkfifo(note),
        lambda note: note.symlink_to("../SOUL.md"),
        lambda note: note.hardlink_to(note.parent.parent / "SOUL.md"),
    ],
    ids=["folder", "pipe", "link", "hard link"],
)
def test_nothing_is_written_through_what_lies_in_the_notes_place(tmp_path: Path, put: Callable[[Path], None]) -> None:
    (tmp_path / "SOUL.md").write_text("soul")
    (tmp_path / "memory").mkdir()
    put(tmp_path / "memory" / "2026-03-01.md")
    with pytest.raises(Invalid, match=r"no plain file|cannot be written") as caught:
        note(tmp_path, "- x")
    assert caught.value.cure
    assert (tmp_path / "SOUL.md").read_text() == "soul"


def test_nothing_is_written_through_a_folder_that_leads_elsewhere(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "triage").mkdir()
    (tmp_path / "triage" / "memory").symlink_to("../elsewhere")
    with pytest.raises(Invalid):
        note(tmp_path / "triage", "- x")
    with pytest.raises(Invalid):
        note(tmp_path / "nobody", "- x")
    assert list((tmp_path / "elsewhere").iterdir()) == []


def test_lines_of_several_threads_never_mix(tmp_path: Path) -> None:
    def write(name: str) -> None:
        for number in range(50):
            note(tmp_path, f"- {name * 100}", tag=f"{name}{number}")

    threads = [threading.Thread(target=write, args=(name,)) for name in "abcd"]
    for each in threads:
        each.start()
    for each in threads:
        each.join()
    lines = [line for line in (tmp_path / "memory" / "2026-03-01.md").read_text().splitlines() if line.startswith("-")]
    assert len(lines) == 200
    assert all(len(set(line.partition(" (")[0][2:])) == 1 for line in lines)
