"""What a command has changed in a workspace is told, whatever it does to hide that."""

from __future__ import annotations

import mmap
import os
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.tools.sandbox import changes
from ostinato.tools.sandbox.changes import changed_since, snapshot


def rewritten(folder: Path) -> None:
    """The same size, and the time of before."""
    path = folder / "old/file.md"
    before = path.stat()
    path.write_text("other")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def mapped(folder: Path) -> None:
    with (folder / "old/file.md").open("r+b") as file, mmap.mmap(file.fileno(), 0) as held:
        held[:5] = b"other"


def swapped(folder: Path) -> None:
    (folder / "old/file.md").unlink()
    (folder / "old/file.md").symlink_to("elsewhere")


HANDS: dict[str, tuple[Callable[[Path], object], tuple[str, ...]]] = {
    "nothing": (lambda folder: None, ()),
    "a new file": (lambda folder: (folder / "new.md").write_text("x"), ("new.md",)),
    "the same size and time": (rewritten, ("old/file.md",)),
    "by a mapping": (mapped, ("old/file.md",)),
    "a link in its place": (swapped, ("old/file.md",)),
    "a new folder": (lambda folder: (folder / "OBEY ME").mkdir(), ("OBEY ME/",)),
    "a folder by another name": (lambda folder: (folder / "old").rename(folder / "a"), ("a/", "a/file.md")),
    "a removal": (lambda folder: (folder / "old/file.md").unlink(), ()),
    "a name that is no text": (lambda folder: Path(os.fsdecode(os.fsencode(folder) + b"/\xff")).touch(), ("\ufffd",)),
}


@pytest.mark.parametrize("hand", HANDS)
def test_what_is_changed_is_told(tmp_path: Path, hand: str, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "old").mkdir()
    (tmp_path / "old/file.md").write_text("hello")
    before = snapshot(tmp_path)
    assert before is not None
    aged = {path: (*mark[:3], mark[3] - 1) if mark[3] else mark for path, mark in before.marks.items()}
    assert set(aged) == {"old/", "old/file.md"}
    act, expected = HANDS[hand]
    act(tmp_path)
    monkeypatch.setattr(changes, "YOUNG_NS", -(10**18))  # nothing is young here
    found = changed_since(before, tmp_path)
    assert found is not None
    assert tuple(sorted(found)) == expected


def test_what_was_changed_just_before_counts_and_what_cannot_be_told_is_not_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "young.md").touch()
    before = snapshot(tmp_path)
    assert changed_since(before, tmp_path) == ("young.md",)
    monkeypatch.setattr(changes, "ENTRIES_MAX", 2)
    for name in ("b", "c"):
        (tmp_path / name).touch()
    assert changed_since(before, tmp_path) is None
    assert snapshot(tmp_path) is None
    assert changed_since(None, tmp_path) is None
    monkeypatch.undo()
    monkeypatch.setattr(changes, "CHANGED_MAX", 1)
    assert changed_since(before, tmp_path) is None
