"""What is sent in and what is wrong with the answer, as values.

Knows nothing of how anything is sent.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass


class Surface(enum.StrEnum):
    """Where input comes in."""

    FRONT_MATTER = "front matter"
    SCRIPT = "model script"
    INBOX = "inbox"
    COMMAND_LINE = "command line"
    API = "API"


class Kind(enum.StrEnum):
    """What lies where a file should be."""

    FILE = "file"
    FOLDER = "folder"
    LINK = "link"
    DANGLING = "link to nothing"
    LOOP = "link to itself"
    PIPE = "pipe"
    SECRET = "file without permissions"
    MOVING = "file that changes while it is read"


@dataclass(frozen=True)
class Content:
    """A file. `name` is where it lies; empty: the surface's own choice. `before` is what a moving file says first."""

    data: bytes = b""
    name: str = ""
    kind: Kind = Kind.FILE
    before: bytes = b""


@dataclass(frozen=True)
class Command:
    """A command line. `given` is what stands on standard input."""

    arguments: tuple[str, ...]
    given: bytes = b""


@dataclass(frozen=True)
class Exchange:
    """What is written to the socket, in one or several pieces. `hangs_up`: the caller goes away after it, and need not
    be answered. `title`: what the answer to an accepted request must repeat."""

    parts: tuple[bytes, ...]
    hangs_up: bool = False
    title: str | None = None


Sent = Content | Command | Exchange


@dataclass(frozen=True)
class Case:
    """One input. `hints`: it is misspelt by a letter, and the answer must say what was meant."""

    family: str
    surface: Surface
    number: int
    sent: Sent
    hints: bool = False

    @property
    def content(self) -> Content:
        """What is sent, where it is a file."""
        assert isinstance(self.sent, Content)
        return self.sent

    def __str__(self) -> str:
        return f"{self.surface}, {self.family} {self.number}: {str(self.sent)[:300]}"


@dataclass(frozen=True)
class Misspelt:
    """Marks what a form returns as misspelt by a letter."""

    sent: Sent


@dataclass(frozen=True)
class Fault:
    """Something that the judge holds against an answer."""

    case: Case | None
    words: str

    def __str__(self) -> str:
        return f"{self.words}\n    {self.case if self.case is not None else ''}"
