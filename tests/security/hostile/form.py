"""What every surface can be asked to write down, whatever the family: the vocabulary between families and surfaces.

A form is made for one case, with its own source of chance for what a family leaves open: which file, key or command.
Knows nothing of families.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from random import Random
from typing import Protocol

from tests.security.hostile.case import Kind, Sent


class Form(Protocol):
    """One surface's way to write things down. `source` stands as it is, `text` and `name` are quoted as is usual."""

    def whole(self) -> bytes:
        """Something valid, whole; the same each time."""

    def keys(self) -> Sequence[str]:
        """Keys that belong where `key` puts one."""

    def raw(self, data: bytes) -> Sent:
        """These bytes in the place of something whole."""

    def body(self, source: str) -> Sent:
        """This between the outermost marks, in the place of all keys."""

    def text(self, text: str) -> Sent:
        """Where people write what they like."""

    def named(self, name: str) -> Sent:
        """Where something has its name, or is called by it."""

    def path(self, path: str) -> Sent:
        """Where a file is named."""

    def moment(self, text: str) -> Sent:
        """Where a time or a duration belongs."""

    def expression(self, text: str) -> Sent:
        """Where a condition, a pattern or a rule of times belongs."""

    def number(self, source: str) -> Sent:
        """Where a number belongs."""

    def literal(self, source: str) -> Sent:
        """Where a value of any kind may stand."""

    def key(self, name: str) -> Sent:
        """A key that does not belong there."""

    def nested(self, depth: int) -> Sent:
        """A value within a value, so many times."""

    def sized(self, size: int) -> Sent:
        """So many bytes."""

    def twice(self, times: int) -> Sent:
        """The same key several times."""

    def other_kind(self, kind: Kind, random: Random) -> Sent:
        """Something else than a file, or the wrong kind of request."""

    def moving(self, random: Random) -> Sent:
        """What changes, or ends, while it is read."""


def quoted(text: str, random: Random) -> str:
    """The text in double quotes, as JSON and YAML read it: with escapes, without those that are not needed, or, what
    only careless programs do, as it is."""
    match random.randrange(3):
        case 0:
            return json.dumps(text)
        case 1:
            return json.dumps(text, ensure_ascii=False)
        case _:
            inner = text.replace("\\", "\\\\").replace('"', '\\"')
            return f'"{inner}"'


def encoded(text: str) -> bytes:
    """The text as bytes; half characters as careless programs write them."""
    return text.encode("utf-8", "surrogatepass")


def brackets(depth: int, random: Random) -> str:
    """A value within a value, closed or cut off."""
    head, tail = random.choice([("[", "]"), ('{"a": ', "}"), ('[{"a": ', "}]")])
    return head * depth + "1" + tail * random.choice([depth, depth, depth - 1, 0])
