"""Named queries: reads `.sql` files once and prepares each query for a driver that binds by position.

A query begins with `-- name: x` and a line that says what it is for. `:name` is a parameter; `{name}` is the text of
another query (a list of columns) or of a word handed in (a list of states). Knows nothing of databases or of what the
queries mean.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from operator import itemgetter
from pathlib import Path
from typing import Any

from ostinato.domain.errors import Internal
from ostinato.domain.secret import KNOWN

Values = Mapping[str, Any]
_HEAD = re.compile(r"^-- name: ([a-z][a-z0-9_]*)$", re.MULTILINE)
PARAMETER = re.compile(r"(?<![:\w]):([a-z][a-z0-9_]*)")
"""A named parameter; `::` is none."""


class Query:
    """One query with `?` for its parameters, and the function that puts named values into their order."""

    __slots__ = ("changes", "names", "pick", "text")

    def __init__(self, text: str) -> None:
        self.names = tuple(PARAMETER.findall(text))
        self.text = PARAMETER.sub("?", text)
        self.pick: Callable[[Values], tuple[Any, ...]] = picker(self.names)
        self.changes = not text.startswith(("SELECT", "WITH"))


def picker(names: tuple[str, ...]) -> Callable[[Values], tuple[Any, ...]]:
    """Puts named values into this order, without any secret that this process knows of: whatever is stored comes
    through here. `itemgetter` is the fastest way to a tuple, but gives a bare value for one name."""
    if not names:
        return lambda _: ()
    if len(names) == 1:
        only = names[0]
        return lambda values: (KNOWN.stored(values[only]),)
    pick = itemgetter(*names)
    return lambda values: KNOWN.row(pick(values)) if KNOWN.is_armed else pick(values)


def load_queries(folder: Path, words: Mapping[str, str]) -> dict[str, Query]:
    """Every query of every `.sql` file in `folder`, by name."""
    return {name: Query(text) for name, text in query_texts((folder,), words).items()}


def query_texts(folders: Iterable[Path], words: Mapping[str, str]) -> dict[str, str]:
    """The text of every query, by name; what a later folder says takes the place of what an earlier one says."""
    texts: dict[str, str] = {}
    for folder in folders:
        texts.update(_texts_of(folder))
    known = {**texts, **words}

    def filled(text: str) -> str:
        return re.sub(r"\{([a-z_]+)\}", lambda found: filled(known[found[1]]), text)

    return {name: filled(text) for name, text in texts.items()}


def _texts_of(folder: Path) -> dict[str, str]:
    texts: dict[str, str] = {}
    for file in sorted(folder.glob("*.sql")):
        _head, *parts = _HEAD.split(file.read_text(encoding="utf-8"))
        for name, body in zip(parts[::2], parts[1::2], strict=True):
            if name in texts:
                raise Internal(f"The query {name!r} is written twice", place=str(file))
            lines = (line for line in body.splitlines() if not line.lstrip().startswith("--"))
            texts[name] = "\n".join(lines).strip().rstrip(";")
    return texts
