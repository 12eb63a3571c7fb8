"""A TOML document as nodes that know their lines, which the standard parser forgets.

Knows nothing of keys and their meaning. Lines are found by a scan for headers and keys; a key inside an inline table
has the line on which the table begins.
"""

from __future__ import annotations

import re
import tomllib
from typing import Any

from ostinato.domain.errors import Invalid
from ostinato.workspace.front_matter import DEPTH_MAX, VALUES_MAX, Node

TOML_CHARACTERS_MAX = 262_144

Path = tuple[str, ...]


def parse_toml(text: str, *, place: str) -> Node:
    """The document as a node. Raises Invalid with file and line."""
    if len(text) > TOML_CHARACTERS_MAX:
        raise Invalid(f"Over {TOML_CHARACTERS_MAX} characters", place=place, cure="Say less here.")
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+), column \d+\)", str(error))
        line = int(found[1]) if found else text.count("\n") + 1
        problem = re.sub(r" \(at .*\)$", "", str(error), flags=re.DOTALL)[:200]
        cure = "Texts are in quotes, lists in [ ], and each key is there once."
        raise Invalid(f"This is not TOML: {problem}", place=f"{place}:{line}", cure=cure) from None
    except (RecursionError, ValueError, OverflowError):  # brackets without end, numbers with thousands of digits
        raise Invalid("This is not TOML that can be read", place=f"{place}:1", cure="Say it more simply.") from None
    return _Builder(_lines(text), place=place).node(document, (), 1)


class _Builder:
    """Turns plain values into nodes, and counts while it does."""

    def __init__(self, lines: dict[Path, int], *, place: str) -> None:
        self._lines = lines
        self._place = place
        self._count = 0

    def node(self, value: Any, path: Path, line: int) -> Node:
        line = self._lines.get(path, line)
        self._count += 1
        if self._count > VALUES_MAX or len(path) > DEPTH_MAX:
            raise Invalid("Too many values, or nested too deep", place=f"{self._place}:{line}", cure="Say less here.")
        match value:
            case dict():
                return Node({key: self.node(each, (*path, key), line) for key, each in value.items()}, line)
            case list():
                return Node([self.node(each, path, line) for each in value], line)
            case str() | int() | float():
                return Node(value, line)
            case _:  # dates and times: nothing here wants one that is not a text
                return Node(str(value), line)


_HEADER = re.compile(r"\s*\[\[?\s*([^\]]+?)\s*\]\]?\s*(#.*)?$")
_KEY = re.compile(r"""\s*((?:[\w-]+|"[^"]*"|'[^']*')(?:\s*\.\s*(?:[\w-]+|"[^"]*"|'[^']*'))*)\s*=""")


def _lines(text: str) -> dict[Path, int]:
    """Where each table and key is first written."""
    table: Path = ()
    found: dict[Path, int] = {}
    for number, line in enumerate(text.split("\n"), 1):
        if header := _HEADER.match(line):
            table = _parts(header[1])
            found.setdefault(table, number)
        elif key := _KEY.match(line):
            found.setdefault((*table, *_parts(key[1])), number)
    return found


def _parts(dotted: str) -> Path:
    parts = re.findall(r"""[\w-]+|"[^"]*"|'[^']*'""", dotted)
    return tuple(part.strip("\"'") for part in parts)
