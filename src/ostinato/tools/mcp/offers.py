"""What a server says that it offers, as far as it can be believed: names, descriptions and schemas come from strangers.

Pure: knows nothing of connections. An offer's digest covers all that a model or a person is shown of it, as the server
said it, so that no word of it changes unseen.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Sequence
from typing import Any

import msgspec

from ostinato.domain.errors import OstinatoError
from ostinato.domain.pin import PIN_TEXT_MAX
from ostinato.domain.values import Value, digest_of
from ostinato.tools.mcp.port import Unfit
from ostinato.tools.toolbox import ARGUMENTS_DEPTH_MAX, compiled

OFFERS_MAX = 256
"""Tools of one server; whatever comes behind them is not looked at."""

SCHEMA_BYTES_MAX = 16_384
"""Bytes of one schema: it is paid for in every prompt of every agent that has the tool."""

DESCRIPTION_CHARS_MAX = 1_000
"""How much of a description a model is shown."""

NAME = re.compile(r"[A-Za-z0-9_-]{1,64}", re.ASCII)
"""Names of tools that can be granted: no dots, slashes, spaces or letters that look like others."""

_KEPT = ("name", "title", "description", "inputSchema", "annotations")


class Offer(Value):
    """A tool of a server."""

    tool: str
    """As the server calls it."""
    description: str
    schema: dict[str, Any]
    digest: str
    text: str
    """All of it as the server said it, as JSON for people; `offer_of` makes the same offer of it again."""


def offers_of(said: Sequence[dict[str, Any]]) -> tuple[tuple[Offer, ...], tuple[Unfit, ...]]:
    """What can be offered of a listing, and what cannot. May take long for hostile ones: not for an event loop."""
    taken, unfit = list[Offer](), list[Unfit]()
    names = Counter(str(each.get("name")).casefold() for each in said[:OFFERS_MAX])
    for each in said[:OFFERS_MAX]:
        name = _shown(str(each.get("name")), 80)
        try:
            if names[str(each.get("name")).casefold()] > 1:
                raise ValueError("another tool of the server has the same name")
            taken.append(offer_of(_text_of(each)))
        except (ValueError, OstinatoError, RecursionError) as error:
            unfit.append(Unfit(tool=name, why=_shown(str(error), 200)))
    if len(said) > OFFERS_MAX:
        unfit.append(Unfit(tool=f"{len(said) - OFFERS_MAX} more", why=f"only the first {OFFERS_MAX} are looked at"))
    return tuple(taken), tuple(unfit)


def offer_of(text: str) -> Offer:
    """The offer that a text describes, as it is kept. Raises ValueError where it is none that can be taken."""
    said = msgspec.json.decode(text)
    name, schema = said.get("name"), said.get("inputSchema")
    if not isinstance(name, str) or not NAME.fullmatch(name):
        raise ValueError("its name cannot be granted: letters, digits, '_' and '-' only, at most 64")
    if not isinstance(schema, dict) or schema.get("type") != "object":
        raise ValueError("its schema does not describe an object")
    if len(msgspec.json.encode(schema)) > SCHEMA_BYTES_MAX:
        raise ValueError(f"its schema has more than {SCHEMA_BYTES_MAX} bytes")
    _check_tree(schema)
    compiled(schema)
    description = said.get("description")
    return Offer(
        tool=name,
        description=_shown(description if isinstance(description, str) else "", DESCRIPTION_CHARS_MAX),
        schema=schema,
        digest=digest_of(text.encode()),
        text=text,
    )


def _text_of(said: dict[str, Any]) -> str:
    kept = {key: said[key] for key in _KEPT if said.get(key) is not None}
    text = msgspec.json.format(msgspec.json.encode(kept, order="sorted"), indent=1).decode()
    if len(text) > PIN_TEXT_MAX:
        raise ValueError(f"what the server says of it has more than {PIN_TEXT_MAX} characters")
    return text


def _check_tree(schema: dict[str, Any]) -> None:
    """Depth and references, without recursion: what is nested deeper than arguments may be describes none."""
    pending: list[tuple[Any, int]] = [(schema, 1)]
    while pending:
        value, depth = pending.pop()
        if depth > 2 * ARGUMENTS_DEPTH_MAX:
            raise ValueError("its schema is nested too deep")
        if isinstance(value, dict):
            for key, each in value.items():
                if key in ("$ref", "$dynamicRef", "$id") and isinstance(each, str) and not each.startswith("#"):
                    raise ValueError(f"its schema refers to another document: {each[:80]}")
                pending.append((each, depth + 1))
        elif isinstance(value, list):
            pending.extend((each, depth + 1) for each in value)


def _shown(text: str, most: int) -> str:
    """One line without anything that is no visible character: nothing may hide, or turn what stands beside it."""
    clean = "".join(" " if each.isspace() else each for each in text if each.isspace() or _is_visible(each))
    line = " ".join(clean.split())
    return line if len(line) <= most else f"{line[: most - 1]}…"


def _is_visible(character: str) -> bool:
    return unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn")
