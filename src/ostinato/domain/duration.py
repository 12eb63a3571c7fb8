"""Lengths of time as people write them: `15m`, `2h`, `7d`, `1h30m`, `90s`.

Knows nothing of instants, zones or calendars: a day is 24 hours here.
"""

from __future__ import annotations

import re

from ostinato.domain.errors import Invalid

UNITS_MS: dict[str, int] = {"w": 604_800_000, "d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
"""Milliseconds of each unit, longest first: the order in which they may be written."""

DURATION_MAX_S = 100 * 366 * 86_400.0
"""A hundred years: more is a slip of the pen."""

_PART = re.compile(r"(\d{1,12}(?:\.\d{1,6})?)(ms|[wdhms])", re.ASCII)
_CURE = "Write a number with its unit, such as '90s', '15m', '2h', '7d' or '1h30m'."


def parse_duration(text: str) -> float:
    """Seconds of a text such as `15m`; units w, d, h, m, s and ms, longest first, each once; spaces are ignored.

    Raises Invalid for anything else, for a number without a unit, and for more than a hundred years.
    """
    compact = "".join(text.split()).lower() if len(text) <= 64 else ""
    total_ms, end, order = 0.0, 0, list(UNITS_MS)
    while compact and (found := _PART.match(compact, end)):
        if found[2] not in order:
            raise Invalid(f"{text!r} is not a duration: {found[2]!r} is out of order or given twice", cure=_CURE)
        order = order[order.index(found[2]) + 1 :]
        total_ms += float(found[1]) * UNITS_MS[found[2]]
        end = found.end()
    if not compact or end != len(compact):
        raise Invalid(f"{text[:64]!r} is not a duration", cure=_CURE)
    if total_ms / 1_000 > DURATION_MAX_S:
        raise Invalid(f"{text!r} is more than a hundred years", cure=_CURE)
    return round(total_ms) / 1_000 if total_ms >= 1 else total_ms / 1_000


def format_duration(seconds: float) -> str:
    """The shortest exact text for a duration of whole milliseconds, which `parse_duration` reads back; `0s` for less.

    Longer units than days are not used, as nobody says five weeks for `35d`.
    """
    left = round(abs(seconds) * 1_000)
    parts: list[str] = []
    for unit, size in UNITS_MS.items():
        if unit != "w" and left >= size:
            parts.append(f"{left // size}{unit}")
            left %= size
    return ("-" if seconds < 0 and parts else "") + ("".join(parts) or "0s")
