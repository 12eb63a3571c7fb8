"""Texts with placeholders: `{name}` or `{name|helper:argument|helper}`. Pure, and nothing in it is code.

A placeholder is a name in small letters in braces; any other brace stands for itself, so that JSON can be written as it
is. `{{name}}` gives the literal text `{name}`. Knows nothing of rules or of the messages that fill it.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from email.errors import MessageError
from email.header import decode_header, make_header
from typing import Any

import msgspec

from ostinato.domain.errors import unknown_name
from ostinato.domain.values import Value

TEXT_MAX = 1_000_000
"""Characters that a filled template may have."""

_SLOT = re.compile(r"\{\{([a-z_]\w*(?:\|[^{}]*)?)\}\}|\{([a-z_]\w*)((?:\|[^{}|]*)*)\}", re.ASCII)
_PLAIN = re.compile(r"\{([a-z_]\w*(?:\|[^{}]*)?)\}", re.ASCII)
_HELPER = re.compile(r"\s*([a-z_]+)\s*(?::(.*))?", re.DOTALL)


class TemplateError(ValueError):
    """A template that cannot be read; the text says why and what is known."""


class Pipe(Value):
    """One helper and its argument."""

    helper: str
    argument: str = ""


class Slot(Value):
    """A placeholder: a name, and what is done with its text."""

    name: str
    pipes: tuple[Pipe, ...] = ()


class Template(Value):
    """A text, cut at its placeholders."""

    parts: tuple[str | Slot, ...]

    @property
    def slots(self) -> Iterator[Slot]:
        """The placeholders."""
        return (part for part in self.parts if isinstance(part, Slot))


Data = Template | dict[str, Any] | list[Any] | int | float | bool | None
"""A tree of templates: what a call's arguments look like before they are filled."""

Scope = Mapping[str, str]
"""What names stand for."""


def parse_template(text: str) -> Template:
    """Cut a text at its placeholders. Raises TemplateError for an unknown helper or a bad argument of one."""
    parts: list[str | Slot] = []
    end = 0
    for found in _SLOT.finditer(text):
        literal = text[end : found.start()] + (f"{{{found[1]}}}" if found[1] is not None else "")
        if literal:
            parts.append(literal)
        if found[2] is not None:
            parts.append(Slot(name=found[2], pipes=tuple(_pipes(found[3]))))
        end = found.end()
    if text[end:]:
        parts.append(text[end:])
    return Template(parts=tuple(parts))


def escape_template(text: str) -> str:
    """A template that gives this text as it is."""
    return _PLAIN.sub(r"{{\1}}", text)


def _pipes(text: str) -> Iterator[Pipe]:
    for piece in text.split("|")[1:]:
        found = _HELPER.fullmatch(piece)
        name = found[1] if found else piece.strip()
        if not found or name not in HELPERS:
            raise TemplateError(unknown_name("helper", name[:100], HELPERS))
        argument = (found[2] or "") if name in ("default", "join", "after", "before") else (found[2] or "").strip()
        pipe = Pipe(helper=name, argument=argument)
        if name in _NUMBERED and not re.fullmatch(r"-?\d{1,6}", pipe.argument):
            raise TemplateError(f"helper {name!r} needs a number, as in '{{text|{name}:3}}'")
        if name in _NAMED and not pipe.argument:
            raise TemplateError(f"helper {name!r} needs an argument, as in '{{text|{name}:Subject}}'")
        yield pipe


def fill(template: Template, scope: Scope) -> str:
    """The text with its placeholders filled; a value that is no text is written as JSON. Cut at TEXT_MAX characters."""
    parts = (part if isinstance(part, str) else _as_text(_filled(part, scope)) for part in template.parts)
    return "".join(parts)[:TEXT_MAX]


def fill_data(data: Data, scope: Scope) -> Any:
    """A tree with its templates filled. A template that is one placeholder keeps the type: `{n|int}` is a number."""
    match data:
        case Template(parts=(Slot() as slot,)):
            return _filled(slot, scope)
        case Template():
            return fill(data, scope)
        case dict():
            return {key: fill_data(each, scope) for key, each in data.items()}
        case list():
            return [fill_data(each, scope) for each in data]
        case _:
            return data


def _filled(slot: Slot, scope: Scope) -> Any:
    value: Any = scope.get(slot.name, "")
    for pipe in slot.pipes:
        value = HELPERS[pipe.helper](_as_text(value), pipe.argument)
    return value


def _as_text(value: Any) -> str:
    return value if isinstance(value, str) else msgspec.json.encode(value).decode()


# --- helpers: from a text and an argument to a text, or for some to any JSON value -----------------------------------


def _header(text: str, name: str) -> str:
    """The value of the first header line `name`, unfolded and decoded; headers end at the first empty line, but lines
    before the first header do not count, as runtimes put their own words there."""
    pattern = rf"^{re.escape(name)}[ \t]*:[ \t]*(.*(?:\r?\n[ \t]+.*)*)"
    found = re.search(pattern, text, re.MULTILINE | re.IGNORECASE)
    if not found:
        return ""
    value = re.sub(r"\r?\n[ \t]+", " ", found[1]).strip()
    try:
        return str(make_header(decode_header(value))) if "=?" in value else value
    except (LookupError, ValueError, MessageError):  # an unknown charset, a broken encoded word
        return value


def _body(text: str, _: str) -> str:
    """What follows the first empty line; all of it where there is none."""
    found = re.search(r"\r?\n[ \t]*\r?\n", text)
    return text[found.end() :].strip() if found else text


def _excerpt(text: str, most: str) -> str:
    """The first characters on one line, cut between words."""
    limit = max(int(most), 1)
    line = " ".join(text[: limit * 4 + 1000].split())
    if len(line) <= limit:
        return line
    cut = line[:limit].rpartition(" ")[0] if " " in line[limit // 2 : limit] else line[:limit]
    return f"{cut.rstrip('.,;: ')}…"


def _at(items: list[str], number: str) -> str:
    """The item with that number, 1 the first, -1 the last; empty where there is none."""
    index = int(number)
    index = index - 1 if index > 0 else index
    return items[index] if -len(items) <= index < len(items) else ""


def _number(text: str, argument: str) -> float | int:
    try:
        found = float(text.replace(",", "").strip())
    except ValueError:
        return _whole(argument or "0", "")
    return found if found == found and abs(found) < 1e300 else 0


def _whole(text: str, argument: str) -> int:
    found = re.search(r"-?\d{1,18}", text)
    return int(found[0]) if found else (int(argument) if re.fullmatch(r"-?\d{1,18}", argument) else 0)


def _json(text: str, _: str) -> Any:
    try:
        return msgspec.json.decode(text)
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return text


def _field(text: str, path: str) -> Any:
    """A value inside JSON: `items.0.name`; empty where there is none."""
    value = _json(text, "")
    for key in path.split("."):
        if isinstance(value, dict):
            value = value.get(key, "")
        elif isinstance(value, list) and re.fullmatch(r"\d{1,6}", key) and int(key) < len(value):
            value = value[int(key)]
        else:
            return ""
    return value


HELPERS: dict[str, Callable[[str, str], Any]] = {
    "header": _header,
    "body": _body,
    "excerpt": _excerpt,
    "line": lambda text, number: _at(text.splitlines(), number),
    "word": lambda text, number: _at(text.split(), number),
    "after": lambda text, mark: text.partition(mark)[2],
    "before": lambda text, mark: text.partition(mark)[0],
    "lower": lambda text, _: text.lower(),
    "upper": lambda text, _: text.upper(),
    "trim": lambda text, _: text.strip(),
    "slug": lambda text, _: re.sub(r"[^\w]+", "-", text.lower()).strip("-")[:60],
    "quote": lambda text, _: "\n".join(f"> {line}".rstrip() for line in text.splitlines()),
    "default": lambda text, other: text if text.strip() else other,
    "count": lambda text, mark: len(re.findall(re.escape(mark), text)) if mark else len(text.split()),
    "list": lambda text, mark: [each.strip() for each in text.split(mark or "\n") if each.strip()],
    "int": _whole,
    "number": _number,
    "json": _json,
    "field": _field,
}
"""Every helper by its name."""

_NUMBERED = {"excerpt", "line", "word"}
_NAMED = {"header", "field", "after", "before"}
