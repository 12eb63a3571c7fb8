"""YAML read into nodes that know their line, with errors that name file, line, key and cure.

The plain loaders lose the line of each key, and some of YAML (tags, merges, values shared by reference without end) has
no place in a file that people send each other. Knows nothing of what the keys mean.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NoReturn

from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.values import Value

FILE_MAX_BYTES = 1024 * 1024
"""Longest script; a rule for each of five thousand mails fits."""

NODES_MAX = 100_000
"""Nodes in a file, those that are shared counted each time."""

DEPTH_MAX = 40
"""Levels of nesting."""

KEY_MAX = 100
"""Characters of a key."""

_FLAT = "A script needs few levels and few references; write it flatter."

_PLAIN = {"str", "int", "float", "bool", "null", "timestamp"}


class Node(Value):
    """One value of a file. `value` is a scalar, a tuple of nodes, or a tuple of pairs (key, node)."""

    file: str
    line: int
    path: str
    """The way from the top: `rules[2].when.user`."""
    kind: str
    """`map`, `list`, `text`, `number`, `bool` or `null`."""
    value: Any

    def fail(self, words: str, *, cure: str = "") -> NoReturn:
        """Raise Invalid with this node's place."""
        place = f"{self.file}:{self.line}" + (f", key {self.path!r}" if self.path else "")
        raise Invalid(words, place=place, cure=cure)

    def mapping(self, known: Iterable[str], *, what: str = "key") -> dict[str, Node]:
        """The entries by key; another kind of value or an unknown key is an error."""
        names = set(known)
        if self.kind != "map":
            self.fail(f"expected keys and values, found {self.described()}", cure=f"Known here: {_listed(names)}.")
        found: dict[str, Node] = {}
        for key, node in self.value:
            if key not in names:
                node.fail(unknown_name(what, key, names))
            found[key] = node
        return found

    def entries(self) -> tuple[tuple[str, Node], ...]:
        """Keys and values of any names."""
        if self.kind != "map":
            self.fail(f"expected keys and values, found {self.described()}", cure="Write 'key: value' on each line.")
        entries: tuple[tuple[str, Node], ...] = self.value
        return entries

    def items(self) -> tuple[Node, ...]:
        """The entries of a list."""
        if self.kind != "list":
            self.fail(f"expected a list, found {self.described()}", cure="Begin each entry with '- '.")
        items: tuple[Node, ...] = self.value
        return items

    def text(self) -> str:
        """A text; a number or a truth value is taken as it was written."""
        if self.kind in ("map", "list", "null"):
            self.fail(f"expected a text, found {self.described()}", cure="Put it in quotes.")
        return str(self.value) if self.kind == "text" else str(self.value).lower()

    def integer(self, least: int = 0, most: int = 10**12) -> int:
        """A whole number in bounds."""
        if self.kind != "number" or not isinstance(self.value, int) or not least <= self.value <= most:
            cure = "Write it in digits, without quotes."
            self.fail(f"expected a whole number from {least} to {most}, found {self.described()}", cure=cure)
        found: int = self.value
        return found

    def described(self) -> str:
        """The value for a message: short."""
        if self.kind in ("map", "list"):
            return {"map": "keys and values", "list": "a list"}[self.kind]
        return "nothing" if self.kind == "null" else f"{str(self.value)[:60]!r}"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(repr(name) for name in sorted(names))


def read_file(path: Path) -> Node:
    """The document in a file. Raises Invalid with file, line and cure."""
    try:
        # A pipe must not make its reader wait.
        with open(os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as opened:
            if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
                raise Invalid("this is no file", place=str(path), cure="Name an existing YAML file.")
            data = opened.read(FILE_MAX_BYTES + 1)
    except OSError as error:
        words = f"cannot be read: {error.strerror or error}"
        raise Invalid(words, place=str(path), cure="Name an existing YAML file.") from error
    except ValueError as error:  # a NUL in the path
        raise Invalid(f"this is no file name: {error}", place=repr(str(path)), cure="Name a YAML file.") from error
    return read_text(data, str(path))


def read_text(data: bytes, file: str) -> Node:
    """The document in these bytes; `file` is its name for messages. Raises Invalid."""
    if len(data) > FILE_MAX_BYTES:
        raise Invalid(f"the file is longer than {FILE_MAX_BYTES} bytes", place=file, cure="Split it.")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise Invalid("this is not UTF-8", place=f"{file}:{line}", cure="Save the file as UTF-8.") from error
    root = _compose(text, file)
    if root is None:
        raise Invalid("the file is empty", place=file, cure="A script needs `rules` or a `default`.")
    return _Walk(file).node(root, "", 0)


def _compose(text: str, file: str) -> Any:
    from ruamel.yaml import YAML
    from ruamel.yaml.error import MarkedYAMLError, YAMLError

    try:
        return YAML(typ="safe", pure=True).compose(text)
    except MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        place = f"{file}:{mark.line + 1}" if mark else file
        words = " ".join(str(each) for each in (error.problem, error.context) if each)
        raise Invalid(f"this is no YAML: {words}", place=place, cure="Texts with ': ' or '#' need quotes.") from error
    except YAMLError as error:
        words = " ".join(str(error).split())[:200]
        raise Invalid(f"this is no YAML: {words}", place=file, cure="Look for odd characters.") from error
    except RecursionError as error:
        raise Invalid("this is nested too deeply", place=file, cure=_FLAT) from error
    except (ValueError, TypeError, AttributeError, LookupError, AssertionError, NotImplementedError) as error:
        # The library meets some malformed files with these instead of its own errors.
        words = " ".join(str(error).split())[:200]
        raise Invalid(f"this is no YAML: {words}", place=file, cure="Texts with ': ' or '#' need quotes.") from error


class _Walk:
    """Turns the library's nodes into ours, and counts them."""

    def __init__(self, file: str) -> None:
        self._file = file
        self._count = 0

    def node(self, found: Any, path: str, depth: int) -> Node:
        self._count += 1
        line = found.start_mark.line + 1
        kind = str(found.tag).rpartition(":")[2]
        if self._count > NODES_MAX or depth > DEPTH_MAX:
            words = f"more than {NODES_MAX} values" if self._count > NODES_MAX else f"nested deeper than {DEPTH_MAX}"
            raise Invalid(words, place=f"{self._file}:{line}", cure=_FLAT)
        if kind == "map":
            return Node(file=self._file, line=line, path=path, kind="map", value=tuple(self._pairs(found, path, depth)))
        if kind == "seq":
            items = tuple(self.node(each, f"{path}[{at}]", depth + 1) for at, each in enumerate(found.value, 1))
            return Node(file=self._file, line=line, path=path, kind="list", value=items)
        if kind not in _PLAIN:
            words = f"the YAML tag {str(found.tag)[:100]!r} has no meaning here"
            raise Invalid(words, place=f"{self._file}:{line}", cure="Leave it out.")
        return self._scalar(found, path, kind)

    def _pairs(self, found: Any, path: str, depth: int) -> Iterator[tuple[str, Node]]:
        keys: set[str] = set()
        for key, value in found.value:
            line = key.start_mark.line + 1
            _joined(str(key.value), place=f"{self._file}:{line}")
            if not isinstance(key.value, str) or len(key.value) > KEY_MAX:
                raise Invalid("a key must be a short text", place=f"{self._file}:{line}", cure="Write 'name: value'.")
            if key.value in keys:
                words = f"the key {key.value!r} is there twice"
                raise Invalid(words, place=f"{self._file}:{line}", cure="Keep one of them.")
            keys.add(key.value)
            node = self.node(value, f"{path}.{key.value}" if path else key.value, depth + 1)
            yield (
                key.value,
                node
                if node.kind in ("map", "list")
                else Node(file=node.file, line=line, path=node.path, kind=node.kind, value=node.value),
            )

    def _scalar(self, found: Any, path: str, kind: str) -> Node:
        line = found.start_mark.line + 1
        text = _joined(found.value, place=f"{self._file}:{line}")
        value: Any = text
        name = "text"
        if kind == "null":
            value, name = None, "null"
        elif kind == "bool":
            value, name = text.lower() == "true", "bool"
        elif kind in ("int", "float"):
            value = _number(text)
            name = "text" if value is None else "number"
            value = text if value is None else value
        return Node(file=self._file, line=line, path=path, kind=name, value=value)


def _joined(text: str, *, place: str) -> str:
    """The text with characters that were written as two escaped halves, as JSON does it, joined; raises Invalid for
    half of one."""
    if text.isascii():
        return text
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        cure = "Write the character itself, in UTF-8."
        raise Invalid("there is half of a character (a lone surrogate)", place=place, cure=cure) from None


def _number(text: str) -> int | float | None:
    """A number in JSON's sense; None for YAML's other spellings (octal, infinity), which stay texts."""
    plain = text.replace("_", "")
    if len(plain) > 40:
        return None
    try:
        return int(plain)
    except ValueError:
        pass
    try:
        found = float(plain)
    except ValueError:
        return None
    return found if abs(found) < 1e308 else None
