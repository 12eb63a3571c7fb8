"""Front matter: the YAML between two `---` lines at the head of a Markdown file, as a tree that knows its lines.

Knows nothing of keys and their meaning. Only plain data is taken: no tags, anchors or aliases, bounded in size, depth
and number, because these files come from anywhere. Values are built from the parser's events rather than by a loader:
a loader of YAML makes dates, sets and bombs, and forgets where a key stood.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, NamedTuple

from ostinato.domain.errors import Invalid

MATTER_BYTES_MAX = 65_536
DEPTH_MAX = 20
VALUES_MAX = 5_000


class Most(NamedTuple):
    """How much one document may hold, and what it is called where it holds more."""

    what: str
    size_bytes: int
    values: int


SETTINGS = Most("settings", MATTER_BYTES_MAX, VALUES_MAX)

Plain = str | int | float | bool | None


class Node(NamedTuple):
    """A value and the line where its key, or it itself, begins; 0: unknown. Lists and mappings hold nodes."""

    value: Plain | list[Any] | dict[str, Any]
    line: int

    def plain(self) -> Any:
        """The value without lines: what JSON could say."""
        match self.value:
            case dict():
                return {key: each.plain() for key, each in self.value.items()}
            case list():
                return [each.plain() for each in self.value]
            case _:
                return self.value


class Split(NamedTuple):
    """A file in two: its settings (None: it has none) and the prose below them."""

    settings: Node | None
    prose: str


def split_front_matter(text: str, *, place: str, keys: tuple[str, ...] = ()) -> Split:
    """Parts a file's front matter from its prose. `keys` are those that the file may have.

    A first line `---` that opens no settings, but merely draws a line, leaves the whole file prose. Raises Invalid with
    file and line for settings that cannot be read.
    """
    lines = text.split("\n")
    first = next((at for at, line in enumerate(lines[:100]) if line.strip()), 0)
    if lines[first].rstrip() != "---":
        return Split(settings=None, prose=text)
    end = next((at for at in range(first + 1, len(lines)) if lines[at].rstrip() in {"---", "..."}), None)
    block = lines[first + 1 : end]
    if not _is_settings(block, keys=keys, is_closed=end is not None):
        return Split(settings=None, prose=text)
    if end is None:
        cure = "End it with a line '---'. For a line across the page write '***' instead."
        raise Invalid("The front matter has no end", place=f"{place}:{first + 1}", cure=cure)
    node = parse_yaml("\n".join(block), place=place, line=first + 2)
    if node.value is None:
        node = Node(value={}, line=first + 2)
    if not isinstance(node.value, dict):
        raise Invalid("The front matter is not 'key: value' lines", place=f"{place}:{node.line}", cure=_PROSE)
    return Split(settings=node, prose="\n".join(lines[end + 1 :]).lstrip("\n"))


_PROSE = "Settings are lines such as 'model: cheap'. For a line across the page write '***' instead of '---'."
_KEY_LINE = re.compile(r"""\s*["']?([A-Za-z_][\w-]{0,62})["']?\s*:(\s|$)""", re.ASCII)


def _is_settings(block: list[str], *, keys: tuple[str, ...], is_closed: bool) -> bool:
    """Settings, where the first line that says anything is `key:`, any line is one with a known key, or all of it is
    YAML with keys; when in doubt settings, so that a slip of the pen is told and does not silently lift a rule."""
    said = [line for line in map(_printable, block[:1_000]) if line.strip() and not line.lstrip().startswith("#")]
    if not said:
        return is_closed
    found = _KEY_LINE.match(said[0])
    if not is_closed:
        return found is not None and found[1] in keys
    if found or said[0].lstrip()[:1] in {"{", "?", "&", "!", "%"}:
        return True
    if any((each := _KEY_LINE.match(line)) and each[1] in keys for line in said):
        return True
    try:
        return isinstance(parse_yaml("\n".join(block), place="").value, dict)
    except Invalid:
        return False  # prose is seldom YAML


def _printable(line: str) -> str:
    """Without what nobody sees, such as marks that turn the direction of writing."""
    return line if line.isprintable() else "".join(each for each in line if each.isprintable() or each == "\t")


def parse_yaml(text: str, *, place: str, line: int = 1, most: Most = SETTINGS) -> Node:
    """A YAML document of plain data as nodes; `line` is the number of its first line. Raises Invalid with the line.

    Whoever gets nodes must not change them: they are kept, since settings change more seldom than memory, and many
    agents have the same.
    """
    if len(text.encode()) > most.size_bytes:
        raise Invalid(f"Over {most.size_bytes} bytes of {most.what}", place=f"{place}:{line}", cure="Say less here.")
    try:
        return _parse(text, line, most)
    except Invalid as error:
        raise Invalid(error.message, place=f"{place}:{error.place}", cure=error.cure) from None


@lru_cache(maxsize=2_048)
def _parse(text: str, line: int, most: Most) -> Node:
    """The nodes; the place of an error is its line alone."""
    _check_brackets(text, line)
    from ruamel.yaml import YAML
    from ruamel.yaml.error import YAMLError

    try:
        return _Builder(YAML(typ="safe", pure=True).parse(text), line=line, most=most).document()
    except YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        problem = str(getattr(error, "problem", "") or getattr(error, "reason", "") or "it cannot be read").strip()
        position = getattr(error, "position", None)
        at = line + (mark.line if mark else text.count("\n", 0, position) if isinstance(position, int) else 0)
        raise Invalid(f"This is not YAML: {problem[:200]}", place=str(at), cure=_cure_of(problem)) from None
    except (ValueError, RecursionError, AttributeError, IndexError, TypeError, AssertionError, OverflowError) as error:
        # The parser stumbles over some broken texts instead of refusing them.
        raise Invalid(f"This is not YAML: {type(error).__name__}", place=str(line), cure=_PROSE) from None


def _check_brackets(text: str, line: int) -> None:
    """The parser takes a time that grows with the square of the brackets that are open, before it says a word."""
    depth = 0
    for found in re.finditer(r"[\[{\]}]", text):
        depth = depth + 1 if found[0] in "[{" else max(0, depth - 1)
        if depth > 5 * DEPTH_MAX:
            raise Invalid(f"Settings nested deeper than {DEPTH_MAX}", place=str(line), cure="Say it more simply.")


def _cure_of(problem: str) -> str:
    if "special characters" in problem:
        return "There is a character that nobody can see; type the line again."
    if "\\t" in problem:
        return "Indent with spaces, not with tabs."
    if "mapping values are not allowed" in problem:
        return "Put texts with a colon in quotes."
    return "Look at the indentation, the quotes and the brackets."


class _Builder:
    """Turns the parser's events into nodes, and counts while it does."""

    def __init__(self, events: Iterator[Any], *, line: int, most: Most) -> None:
        self._events = events
        self._line = line
        self._most = most
        self._count = 0

    def document(self) -> Node:
        node: Node | None = None
        while (event := self._next()) is not None:
            match type(event).__name__:
                case "DocumentStartEvent" if node is not None:
                    raise self._wrong(event, "There is a second document here", cure="One is enough.")
                case "ScalarEvent" | "SequenceStartEvent" | "MappingStartEvent" | "AliasEvent":
                    node = self._node(event, 1)
                case _:  # where streams and documents begin and end
                    pass
        return node or Node(value=None, line=self._line)

    def _next(self) -> Any:
        self._count += 1
        return next(self._events, None)

    def _node(self, event: Any, depth: int) -> Node:
        kind = type(event).__name__
        if self._count > self._most.values:
            what = f"Over {self._most.values} values of {self._most.what}"
            raise self._wrong(event, what, cure="Say less here.")
        if depth > DEPTH_MAX:
            raise self._wrong(event, f"Settings nested deeper than {DEPTH_MAX}", cure="Say it more simply.")
        if kind == "AliasEvent" or getattr(event, "anchor", None):
            raise self._wrong(
                event, "Anchors (&) and aliases (*) are not taken here", cure="Quote it, or write it out."
            )
        if (tag := getattr(event, "tag", None)) and not _is_plain_tag(str(tag)):
            raise self._wrong(event, "Tags (!) are not taken here", cure="Put the text in quotes.")
        line = self._line_of(event)
        if kind == "ScalarEvent":
            value = _scalar(event)
            if isinstance(value, str) and not value.isascii() and (value := _joined(value)) is None:
                what = "There is half of a character (a lone surrogate)"
                raise self._wrong(event, what, cure="Write the character itself, in UTF-8.")
            return Node(value=value, line=line)
        if kind == "SequenceStartEvent":
            items: list[Node] = []
            while type(event := self._next()).__name__ != "SequenceEndEvent":
                items.append(self._node(event, depth + 1))
            return Node(value=items, line=line)
        return Node(value=self._mapping(depth), line=line)

    def _mapping(self, depth: int) -> dict[str, Node]:
        pairs: dict[str, Node] = {}
        while type(event := self._next()).__name__ != "MappingEndEvent":
            line = self._line_of(event)
            key = self._node(event, depth + 1).value
            if not isinstance(key, str | int | float | bool):
                raise self._wrong(event, "A key must be one word", cure=_PROSE)
            name = key if isinstance(key, str) else str(event.value)
            if name in pairs:
                raise Invalid(
                    f"The key {name[:64]!r} is here twice",
                    place=str(line),
                    cure=f"The first is in line {pairs[name].line}.",
                )
            pairs[name] = Node(value=self._node(self._next(), depth + 1).value, line=line)
        return pairs

    def _line_of(self, event: Any) -> int:
        mark = getattr(event, "start_mark", None)
        return self._line + (mark.line if mark is not None else 0)

    def _wrong(self, event: Any, message: str, *, cure: str) -> Invalid:
        return Invalid(message, place=str(self._line_of(event)), cure=cure)


def _is_plain_tag(tag: str) -> bool:
    return tag in {"!", "tag:yaml.org,2002:str", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq"}


def _joined(text: str) -> str | None:
    """The text with characters that were written as two escaped halves, as JSON does it, joined; None where there is
    half of one."""
    try:
        return text.encode("utf-16", "surrogatepass").decode("utf-16")
    except UnicodeDecodeError:
        return None


_INT = re.compile(r"[-+]?[0-9]{1,18}", re.ASCII)
_FLOAT = re.compile(
    r"[-+]?(?:[0-9]{1,18}\.[0-9]{0,18}|\.[0-9]{1,18}|[0-9]{1,18}(?:\.[0-9]{0,18})?[eE][-+]?[0-9]{1,3})", re.ASCII
)
_CONSTANTS: dict[str, Plain] = {"": None, "~": None, "null": None, "Null": None, "NULL": None}
_CONSTANTS |= {"true": True, "True": True, "TRUE": True, "false": False, "False": False, "FALSE": False}


def _scalar(event: Any) -> Plain:
    """The core schema of YAML 1.2 without its odd corners: dates, octal and hexadecimal numbers stay texts."""
    text = str(event.value)
    if event.style or (event.tag and not event.implicit[0]):
        return text
    if text in _CONSTANTS:
        return _CONSTANTS[text]
    if _INT.fullmatch(text):
        return int(text)
    return float(text) if _FLOAT.fullmatch(text) else text
