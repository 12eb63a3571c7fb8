"""Foreign text on a terminal: whatever could move the cursor, hide letters or turn their order is shown, not obeyed.

Also how wide a text stands. Knows nothing of commands or tables.
"""

from __future__ import annotations

import unicodedata

_JOINERS = "\u200c\u200d"
"""Needed to write Persian and to show some emoji; they hide nothing."""

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Zl", "Zp"})
"""Controls, formats (bidi among them), surrogates, private use, line and paragraph separators."""


def visible(text: str) -> str:
    """`text` with control and bidi characters spelled out, such as `\\x1b` and `\\u202e`; line ends stay."""
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    return "".join(each if each == "\n" else _shown(each) for each in text.replace("\r\n", "\n"))


def visible_line(text: str) -> str:
    """The same on one line."""
    return visible(" ".join(text.split()))


def visible_json(document: str) -> str:
    """A JSON document that says the same with such characters escaped; they can only stand in its texts."""
    if document.isascii() and "\x7f" not in document:
        return document
    return "".join(each if each == "\n" or not _is_hidden(each) else _escaped(each) for each in document)


def _escaped(letter: str) -> str:
    units = letter.encode("utf-16-be")
    return "".join(f"\\u{units[at]:02x}{units[at + 1]:02x}" for at in range(0, len(units), 2))


def _is_hidden(letter: str) -> bool:
    return unicodedata.category(letter) in _HIDDEN and letter not in _JOINERS


def _shown(letter: str) -> str:
    if letter == "\t":
        return "    "
    if not _is_hidden(letter):
        return letter
    code = ord(letter)
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def width_of(text: str) -> int:
    """Columns that a text takes: wide characters take two, combining ones none."""
    if text.isascii():
        return len(text)
    return sum(_width(each) for each in text)


def _width(letter: str) -> int:
    if unicodedata.combining(letter) or letter in _JOINERS or "\ufe00" <= letter <= "\ufe0f":
        return 0
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1


def cut(text: str, columns: int) -> str:
    """At most so many columns, with `…` where something is missing."""
    if width_of(text) <= columns:
        return text
    taken, used = [], 0
    for each in text:
        used += _width(each)
        if used > columns - 1:
            break
        taken.append(each)
    return "".join(taken) + "…"
