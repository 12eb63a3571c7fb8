"""What commands print on: plain lines and tables without a terminal, colours and fitting tables with one.

Everything that goes through here is foreign unless proved otherwise, and is made visible first. Knows nothing of what
the tables say.
"""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Sequence
from typing import TextIO

import msgspec

from ostinato.cli.visible import cut, visible, visible_json, visible_line, width_of

PLAIN_WIDTH = 100
"""Columns that running text is kept within where there is no terminal to ask."""

_TIME = re.compile(r"\d{4}-(\d\d-\d\d)T(\d\d:\d\d):\d\d[+-]\d\d:\d\d")
"""A time as `words.when` writes it."""

_STYLES = {"bad": "31", "warn": "33", "good": "32", "strong": "1", "faint": "2"}


class Screen:
    """Standard output of one command."""

    def __init__(self, output: TextIO | None = None, *, terminal: bool | None = None, width: int | None = None) -> None:
        self._output = output or sys.stdout
        if hasattr(self._output, "reconfigure"):
            self._output.reconfigure(errors="backslashreplace")
        self.terminal = self._output.isatty() if terminal is None else terminal
        self.colours = self.terminal and "NO_COLOR" not in os.environ and os.environ.get("TERM") != "dumb"
        self.width = width or (shutil.get_terminal_size((PLAIN_WIDTH, 24)).columns if self.terminal else PLAIN_WIDTH)

    def say(self, text: str = "", *, style: str = "") -> None:
        """A line, or several."""
        self._write(self.styled(visible(text), style) + "\n")

    def raw(self, head: str, text: str) -> None:
        """A line that begins with something styled already."""
        self._write(head + visible(text) + "\n")

    def piece(self, text: str) -> None:
        """A part of a line, shown at once."""
        self._write(visible(text))
        self._output.flush()

    def flush(self) -> None:
        """Shows what was said so far, for those who follow."""
        self._output.flush()

    def clear(self) -> None:
        """Begins a terminal's screen anew; elsewhere an empty line parts what follows."""
        self._write("\x1b[H\x1b[2J" if self.terminal else "\n")

    def json(self, value: object) -> None:
        """One JSON document."""
        self._write(visible_json(msgspec.json.format(msgspec.json.encode(value), indent=2).decode()) + "\n")

    def json_line(self, value: object) -> None:
        """One JSON document on one line, for streams."""
        self._write(visible_json(msgspec.json.encode(value).decode()) + "\n")
        self._output.flush()

    def answer(self, value: object, text: str, *, as_json: bool) -> None:
        """What came of a command: the whole as JSON, or a sentence."""
        if as_json:
            self.json(value)
        else:
            self.say(text)

    def pairs(self, rows: Iterable[tuple[str, str]], *, indent: int = 0) -> None:
        """`name  value` lines, the values one below the other; rows without a value are left out."""
        shown = [(name, value) for name, value in rows if value]
        wide = max((width_of(name) for name, _ in shown), default=0)
        for name, value in shown:
            pad = " " * (wide - width_of(name))
            lines = visible(value).split("\n")
            head = f"{' ' * indent}{self.styled(name, 'faint')}{pad}  "
            self._write(head + ("\n" + " " * (indent + wide + 2)).join(lines) + "\n")

    def table(self, heads: Sequence[str], rows: Sequence[Sequence[str]], *, grow: int = -1) -> None:
        """A table. On a terminal it fits the width: times lose their year, seconds and zone rather than their end, then
        the column `grow` is cut first. Elsewhere it alone is cut, to the width of a line: programs read --json."""
        cells = [[visible_line(cell) for cell in row] for row in rows]
        widths = _widths(heads, cells)
        if self.terminal and sum(widths) + 2 * (len(widths) - 1) > self.width:
            cells = [[_TIME.sub(r"\1 \2", cell) for cell in row] for row in cells]
            widths = _widths(heads, cells)
        if self.terminal:
            widths = _fitted(widths, self.width, grow=grow % len(heads))
        else:
            widths[grow] = min(widths[grow], self.width)
        self._write(self.styled(_line(heads, widths), "faint") + "\n")
        for row in cells:
            self._write(_line(row, widths) + "\n")

    def styled(self, text: str, style: str) -> str:
        """`text` in a style, where there are colours. It must be visible already."""
        if not style or not self.colours or not text:
            return text
        return f"\x1b[{_STYLES[style]}m{text}\x1b[0m"

    def _write(self, text: str) -> None:
        self._output.write(text)


def _widths(heads: Sequence[str], cells: Sequence[Sequence[str]]) -> list[int]:
    return [max(width_of(line[at]) for line in [heads, *cells]) for at in range(len(heads))]


def _line(cells: Sequence[str], widths: Sequence[int]) -> str:
    parts = []
    for cell, width in zip(cells, widths, strict=True):
        shown = cut(cell, width)
        parts.append(shown + " " * (width - width_of(shown)))
    return "  ".join(parts).rstrip()


def _fitted(widths: list[int], columns: int, *, grow: int) -> list[int]:
    """Narrower columns until the line fits: first `grow` down to 20, then the widest, none below 4."""
    over = sum(widths) + 2 * (len(widths) - 1) - columns
    if over > 0:
        taken = min(over, max(0, widths[grow] - 20))
        widths[grow] -= taken
        over -= taken
    while over > 0:
        widest = widths.index(max(widths))
        if widths[widest] <= 4:
            break
        widths[widest] -= 1
        over -= 1
    return widths
