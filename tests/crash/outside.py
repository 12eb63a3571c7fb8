"""The world outside: one append-only file that outlives every node, written with O_APPEND and fsync.

Tools say here what they did, models what they were asked, people what they were asked and decided. Only what stands
here counts when a run is judged. Knows nothing of stores.
"""

from __future__ import annotations

import enum
import os
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from ostinato.domain.values import Instant, Value


class What(enum.StrEnum):
    """What a line says."""

    BEGAN = "began"
    """A node has begun to run; `survey` says how it found the store."""
    ASKED = "asked"
    """A model was asked for the reply number `call` of `task`."""
    DID = "did"
    """A tool took effect: the moment of the effect itself."""
    QUESTION = "question"
    """A person saw a question."""
    DONE = "done"
    """Somebody who listens heard that a task was done."""
    SENT = "sent"
    """A sender was told that its task is safe."""
    COMMIT = "commit"
    """A commit is about to be made: number `number` of its node."""
    REFUSED = "refused"
    """A sender was told that there is no room."""
    REPAIRED = "repaired"
    """A person sent a dead letter on."""


class Survey(Value):
    """The store as a node found it after a death, before it did anything."""

    answered: dict[str, int] = {}
    """Task -> the last model call whose reply is journaled."""
    models: tuple[str, ...] = ()
    """Tasks with a model call under way."""
    tools: tuple[tuple[str, str, str], ...] = ()
    """Tool calls under way: task, call, effect."""


class Line(Value):
    """One thing that happened."""

    what: What
    at: Instant = 0
    run: int = 0
    """Which node of the same folder said it, from 1."""
    task: str = ""
    call: str = ""
    name: str = ""
    """Of a deed: what for, the same in every run of a scenario. Of a question: its kind. Of what was sent: its key."""
    effect: str = ""
    key: str = ""
    """Of a deed: its idempotency key. Of a request to a model: what the conversation looked like."""
    number: int = 0
    survey: Survey | None = None


_encoder = msgspec.json.Encoder()
_decoder = msgspec.json.Decoder(Line)


class Outside:
    """The log, as a node's tools, model and people write it. Safe from several threads: each line is one write."""

    def __init__(self, path: Path, *, run: int, now: Callable[[], Instant]) -> None:
        self.before = read_outside(path)
        """What stood there when this node began."""
        self.said: list[Line] = []
        """What this node has added."""
        self._run = run
        self._now = now
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
        self._counts: dict[tuple[What, str, str], int] = {}
        for line in self.before:
            self._count(line)

    def say(self, line: Line, *, durable: bool = True) -> None:
        """Appends one line. Killing a process loses nothing of it; `durable` also reaches the disk."""
        line = msgspec.structs.replace(line, at=self._now(), run=self._run)
        os.writev(self._file, [_encoder.encode(line), b"\n"])  # a call that a node makes nowhere else
        if durable:
            os.fsync(self._file)
        self.said.append(line)
        self._count(line)

    def count(self, what: What, task: str, call: str) -> int:
        """How often this has happened to one call, in all runs."""
        return self._counts.get((what, task, call), 0)

    def _count(self, line: Line) -> None:
        key = (line.what, line.task, line.call)
        self._counts[key] = self._counts.get(key, 0) + 1


def read_outside(path: Path) -> tuple[Line, ...]:
    """All whole lines; none where there is no file yet."""
    try:
        return read_lines(path.read_bytes())
    except FileNotFoundError:
        return ()


def read_lines(data: bytes) -> tuple[Line, ...]:
    """All whole lines."""
    return tuple(_decoder.decode(each) for each in data.split(b"\n")[:-1])


def of(lines: Iterable[Line], *what: What) -> list[Line]:
    """Only these kinds of lines, in order."""
    return [line for line in lines if line.what in what]
