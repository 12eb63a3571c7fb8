"""Tool names as providers allow them: ours have dots (`files.read`), theirs only letters, digits, `_` and `-`.

The mapping is made per request, so that it can be undone without doubt. Knows nothing of what the tools do.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from functools import lru_cache

NAME_LENGTH_MAX = 64
"""Longest function name of the OpenAI dialect."""

_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")


@lru_cache(maxsize=4096)
def wire_name(name: str) -> str:
    """A name as it goes over the wire, where nothing else claims it: `files.read` -> `files__read`."""
    plain = _FOREIGN.sub("_", name.replace(".", "__"))
    return plain if plain and len(plain) <= NAME_LENGTH_MAX else marked_name(name, 0)


def marked_name(name: str, tries: int) -> str:
    """A wire name with a digest of the true name at its end, for names that are too long, empty or claimed twice."""
    mark = hashlib.sha256(f"{tries}:{name}".encode(errors="replace")).hexdigest()[:8]
    return f"{_FOREIGN.sub('_', name.replace('.', '__'))[: NAME_LENGTH_MAX - 9]}_{mark}"


class ToolNames:
    """The names of one request, in both directions. Names claim their wire name in the order given."""

    __slots__ = ("_ours", "_theirs")

    def __init__(self, names: Iterable[str]) -> None:
        self._theirs: dict[str, str] = {}
        self._ours: dict[str, str] = {}
        for name in names:
            self.to_wire(name)

    def to_wire(self, name: str) -> str:
        """The wire name of one of ours; a name not seen before gets one."""
        known = self._theirs.get(name)
        if known is not None:
            return known
        theirs, tries = wire_name(name), 0
        while theirs in self._ours:
            tries += 1
            theirs = marked_name(name, tries)
        self._theirs[name], self._ours[theirs] = theirs, name
        return theirs

    def from_wire(self, theirs: str) -> str:
        """Our name; a name that we never sent comes back as it is, so that the gate sees what was asked for."""
        return self._ours.get(theirs, theirs)
