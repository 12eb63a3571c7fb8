"""The daily note of an agent: one line at the end of the day's file in memory/, by the agent's own time zone.

Knows nothing of tasks: what the line says is the caller's. The folder is one that an agent may write in, so nothing is
followed that leads elsewhere, and nothing grows without bound.
"""

from __future__ import annotations

import os
import stat
from pathlib import Path

from ostinato.domain.errors import Invalid
from ostinato.domain.instant import local, zone_named
from ostinato.domain.values import Instant

NOTE_BYTES_MAX = 262_144
"""A day's note ends here: some thousand lines, more than anybody reads."""

TAIL_BYTES = 131_072
"""How far back a line is looked for: a repeated line comes soon after the first, within one batch."""

_FULL = "- (this note is full; the rest is in `ostinato events`)"


def note_path(at: Instant, *, timezone: str) -> str:
    """The note of the day that it is in that zone: `memory/2026-03-01.md`."""
    return f"memory/{local(at, zone_named(timezone)):%Y-%m-%d}.md"


def append_note(folder: Path, line: str, *, at: Instant, timezone: str, tag: str) -> bool:
    """Adds a line to the day's note of the agent in `folder`; makes the note and memory/ where they are missing.

    The line ends in `(tag)`, and is written once: where one of the last lines is the same, nothing is, and the answer
    is False. So it is once the note is full. The tag alone would not do to tell: an agent's own notes end in it too,
    and a task that failed may still be done. Raises Invalid where something else lies in the note's place.
    """
    name = note_path(at, timezone=timezone).removeprefix("memory/")
    text = "".join(each if each.isprintable() else " " for each in line).strip()
    if not text.endswith(f"({tag})"):
        text = f"{text} ({tag})"
    place = f"{folder.name}/memory/{name}"
    try:
        memory = _open_memory(folder)
        try:
            return _append(memory, name, text=text, place=place)
        finally:
            os.close(memory)
    except OSError as error:
        cure = "Make it a plain file in a plain folder that the fleet's user can write."
        raise Invalid(f"The note cannot be written: {error.strerror}", place=place, cure=cure) from None


_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def _open_memory(folder: Path) -> int:
    outer = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        try:
            os.mkdir("memory", dir_fd=outer)
        except FileExistsError:
            pass  # as it nearly always does
        return os.open("memory", _FOLDER, dir_fd=outer)
    finally:
        os.close(outer)


def _append(memory: int, name: str, *, text: str, place: str) -> bool:
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
    note = os.open(name, flags, 0o644, dir_fd=memory)
    try:
        state = os.fstat(note)
        if not stat.S_ISREG(state.st_mode) or state.st_nlink != 1:
            raise Invalid("The note is no plain file", place=place, cure="Remove what lies there.")
        tail = os.pread(note, TAIL_BYTES, max(0, state.st_size - TAIL_BYTES))
        lines = tail.decode("utf-8", "replace").splitlines()
        if text in lines or _FULL in lines:
            return False
        is_full = state.st_size > NOTE_BYTES_MAX
        head = f"# {name.removesuffix('.md')}\n\n" if not state.st_size else "" if tail.endswith(b"\n") else "\n"
        data = f"{head}{_FULL if is_full else text}\n".encode("utf-8", "replace")
        while data:  # a short write is possible, though hardly for a line
            data = data[os.write(note, data) :]
        return not is_full
    finally:
        os.close(note)
