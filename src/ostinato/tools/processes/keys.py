"""Names of keys, and what a terminal sends for each.

Pure. The bytes are those of xterm, which every program knows.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from ostinato.domain.errors import Invalid, unknown_name

KEYS = {
    "enter": b"\r",
    "tab": b"\t",
    "escape": b"\x1b",
    "up": b"\x1b[A",
    "down": b"\x1b[B",
    "space": b" ",
    "right": b"\x1b[C",
    "left": b"\x1b[D",
    "backspace": b"\x7f",
    "delete": b"\x1b[3~",
    "home": b"\x1b[H",
    "end": b"\x1b[F",
    "page-up": b"\x1b[5~",
    "page-down": b"\x1b[6~",
}
"""Keys with names; beside them `ctrl-a` to `ctrl-z`, `alt-` before a character, and any character itself."""

_CONTROL = re.compile(r"ctrl-([a-z@\[\\\]^_])")
_ALT = re.compile(r"alt-(.)")


def bytes_of(keys: Sequence[str]) -> bytes:
    """What these keys send, one after the other. Raises Invalid for a name that is no key."""
    return b"".join(_one(each) for each in keys)


def _one(key: str) -> bytes:
    if found := KEYS.get(key.lower()):
        return found
    if control := _CONTROL.fullmatch(key.lower()):
        return bytes([ord(control[1].upper()) & 0x1F])
    if alt := _ALT.fullmatch(key):
        return b"\x1b" + alt[1].encode()
    if len(key) == 1 and key.isprintable():
        return key.encode()
    raise Invalid(unknown_name("key", key[:20], [*KEYS, "ctrl-c"]), cure="Text goes through processes.write.")
