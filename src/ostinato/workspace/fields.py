"""Typed reading of settings: every error names file, line, key and cure; unknown keys are errors.

Knows nothing of YAML or TOML, nor of what the keys mean.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from typing import Any, TypeVar

from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.workspace.front_matter import Node

T = TypeVar("T")

ID = re.compile(r"[a-z0-9][a-z0-9-]{0,62}", re.ASCII)
"""Names of agents, models, skills and heartbeats."""

TEXT_MAX = 10_000
LIST_MAX = 1_000
USD_MAX = 1_000_000
"""A million dollars a turn or a day: more is a slip of the pen."""

_SCALE = {"": 1, "k": 1_000, "m": 1_000_000}


class Fields:
    """One mapping of settings. `known` are the keys it may have; `path` leads to it, as `limits.per_day`."""

    def __init__(self, node: Node, *, file: str, known: Sequence[str], path: str = "") -> None:
        self._file = file
        self._path = path
        self._line = node.line
        self._known = tuple(known)
        if not isinstance(node.value, dict):
            cure = f"Its keys are: {', '.join(known)}." if known else ""
            raise Invalid(f"{_shown(node)} has no keys of its own", place=self.place(), cure=cure)
        self._pairs: dict[str, Node] = node.value
        for key, each in node.value.items():
            if known and key not in known:
                place = _place(file, line=each.line, key=self._key(key[:64]))
                raise Invalid(unknown_name("key", key[:64], known), place=place)

    def _key(self, key: str) -> str:
        return f"{self._path}.{key}" if self._path and key else self._path or key

    def place(self, key: str = "") -> str:
        """Where a key stands: `TOOLS.md:3, key 'files.read'`; without one, where these settings begin."""
        line = self._pairs[key].line if key and key in self._pairs else self._line
        return _place(self._file, line=line, key=self._key(key))

    def has(self, key: str) -> bool:
        """True where the key is there and not empty."""
        return key in self._pairs and self._pairs[key].value is not None

    def names(self) -> list[str]:
        """The keys that are there, in order."""
        return list(self._pairs)

    def node(self, key: str) -> Node:
        """The raw node of a key that is there."""
        return self._pairs[key]

    def plain(self, key: str) -> Any:
        """The value as JSON could say it; None where it is missing."""
        return self._pairs[key].plain() if key in self._pairs else None

    def wrong(self, key: str, message: str, *, cure: str = "") -> Invalid:
        """An error about a key."""
        return Invalid(message, place=self.place(key), cure=cure)

    def read(self, key: str, parse: Callable[[str], T]) -> T | None:
        """The key's text through `parse`, whose errors get their place; None where it is missing."""
        text = self.text(key)
        if not text:
            return None
        try:
            return parse(text)
        except Invalid as error:
            raise Invalid(error.message, place=self.place(key), cure=error.cure) from None

    def text(self, key: str, default: str = "", *, limit: int = TEXT_MAX) -> str:
        """A text of at most `limit` characters; numbers and such must be in quotes to be one."""
        if not self.has(key):
            return default
        return self._checked_text(key, self._pairs[key], limit=limit)

    def _checked_text(self, key: str, node: Node, *, limit: int = TEXT_MAX) -> str:
        value = node.value
        place = _place(self._file, line=node.line, key=self._key(key))
        if not isinstance(value, str):
            raise Invalid(f"{_shown(node)} is not a text", place=place, cure="Put it in quotes.")
        if len(value) > limit:
            raise Invalid(f"The text is longer than {limit} characters", place=place, cure="Shorten it.")
        if any(ord(each) < 32 and each not in "\n\t" for each in value):
            raise Invalid("The text contains control characters", place=place, cure="Type it again.")
        return value.strip()

    def texts(self, key: str) -> tuple[str, ...]:
        """A list of texts, or one text alone."""
        if not self.has(key):
            return ()
        node = self._pairs[key]
        nodes = node.value if isinstance(node.value, list) else [node]
        if len(nodes) > LIST_MAX:
            raise self.wrong(key, f"The list has more than {LIST_MAX} entries", cure="Shorten it.")
        found = tuple(self._checked_text(key, each) for each in nodes)
        if not all(found):
            raise self.wrong(key, "An entry of the list is empty", cure="Remove it.")
        return tuple(dict.fromkeys(found))

    def ids(self, key: str, *, also: Sequence[str] = ()) -> tuple[str, ...]:
        """A list of names of agents, skills and the like; `also` are words that need not look like one."""
        found = self.texts(key)
        for each in found:
            if not ID.fullmatch(each) and each not in also:
                raise self.wrong(key, f"{each[:64]!r} is not a name", cure=ID_CURE)
        return found

    def choice(self, key: str, known: Sequence[str], default: str) -> str:
        """One of a few words."""
        text = self.text(key, default)
        if text not in known:
            raise self.wrong(key, unknown_name("value", text[:64], known))
        return text

    def flag(self, key: str, *, default: bool) -> bool:
        """`true` or `false`."""
        value = self._pairs[key].value if self.has(key) else default
        if not isinstance(value, bool):
            raise self.wrong(key, f"{_shown(self._pairs[key])} is neither true nor false", cure="Write true or false.")
        return value

    def integer(self, key: str, default: int, *, least: int, most: int) -> int:
        """A whole number from `least` to `most`; `200k` and `1.5M` are understood."""
        if not self.has(key):
            return default
        value = self._pairs[key].value
        if isinstance(value, str) and (found := re.fullmatch(r"(\d{1,12}(?:\.\d{1,6})?)\s*([kKmM]?)", value.strip())):
            value = float(found[1]) * _SCALE[found[2].lower()]
        if isinstance(value, bool) or not isinstance(value, int | float) or value != value // 1:
            cure = "Write it as 200, 200k or 1.5M." if most >= 1_000 else "Write it without quotes or unit."
            raise self.wrong(key, f"{_shown(self._pairs[key])} is not a whole number", cure=cure)
        if not least <= value <= most:
            raise self.wrong(key, f"{value:g} is out of range", cure=f"It can be {least} to {most}.")
        return int(value)

    def number(self, key: str, *, least: float, most: float) -> float | None:
        """A number; None where it is missing."""
        if not self.has(key):
            return None
        value = self._pairs[key].value
        if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
            raise self.wrong(key, f"{_shown(self._pairs[key])} is not a number", cure="Write it as 2 or 0.5.")
        if not least <= value <= most:
            raise self.wrong(key, f"{value:g} is out of range", cure=f"It can be {least:g} to {most:g}.")
        return float(value)

    def usd_micros(self, key: str) -> int | None:
        """Micro-dollars of an amount in dollars; None where it is missing."""
        value = self.number(key, least=0, most=USD_MAX)
        return None if value is None else round(value * 1_000_000)

    def duration_s(self, key: str, default: float, *, least: float = 0.0) -> float:
        """Seconds of a duration such as `15m`."""
        if not self.has(key):
            return default
        if isinstance(value := self._pairs[key].value, int | float) and not isinstance(value, bool):
            raise self.wrong(key, f"{value:g} has no unit", cure=f"Write '{value:g}s', '{value:g}m' or '{value:g}h'.")
        seconds = self.read(key, parse_duration)
        if seconds is None:
            raise self.wrong(key, "The duration is empty", cure="Write '15m' or '2h', or leave the key out.")
        if seconds < least:
            raise self.wrong(key, f"{self.text(key)!r} is too short", cure=f"It can be {least:g}s or more.")
        return seconds

    def nothing(self, key: str) -> Fields:
        """Settings below a key that is missing: all of them have their defaults."""
        return Fields(Node(value={}, line=self._line), file=self._file, known=(), path=self._key(key))

    def group(self, key: str, known: Sequence[str]) -> Fields | None:
        """The settings below a key; None where it is missing."""
        if not self.has(key):
            return None
        return Fields(self._pairs[key], file=self._file, known=known, path=self._key(key))

    def groups(self, key: str, known: Sequence[str]) -> list[Fields]:
        """The settings in a list below a key."""
        if not self.has(key):
            return []
        value = self._pairs[key].value
        if not isinstance(value, list):
            toml = self._file.endswith(".toml")
            cure = f"Write [[{self._key(key)}]] before each entry." if toml else "Begin each entry with '- '."
            raise self.wrong(key, f"{_shown(self._pairs[key])} is not a list", cure=cure)
        if len(value) > LIST_MAX:
            raise self.wrong(key, f"The list has more than {LIST_MAX} entries", cure="Shorten it.")
        return [
            Fields(each, file=self._file, known=known, path=f"{self._key(key)}[{number}]")
            for number, each in enumerate(value, 1)
        ]


ID_CURE = "Use small letters, digits and '-', at most 63, such as 'billing' or 'first-line'."


def _place(file: str, *, line: int, key: str) -> str:
    where = f"{file}:{line}" if line else file  # what was JSON knows no lines
    return f"{where}, key {key!r}" if key else where


def _shown(node: Node) -> str:
    """A value in a message, whatever its size."""
    match node.value:
        case dict():
            return "A group of keys"
        case list():
            return "A list"
        case None:
            return "An empty value"
        case _:
            text = repr(node.value)
            return text if len(text) <= 60 else f"{text[:60]}..."
