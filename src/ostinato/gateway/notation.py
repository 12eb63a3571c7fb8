"""How values look outside: ids as `T12` and `Q7`, instants as ISO 8601, money in dollars, durations as `15m`.

Pure text; knows nothing of operations, stores or HTTP.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from difflib import get_close_matches

from ostinato.domain.dependency import parted
from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Invalid
from ostinato.domain.instant import parse_instant
from ostinato.domain.task import After
from ostinato.domain.values import SECOND, Instant

ID_MAX = 2**63 - 1
"""Largest id that a database row can have."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_LAST_AT = 253_402_300_799_000_000  # 9999-12-31T23:59:59Z: what a calendar can still show
_LOOKS_LIKE_DURATION = re.compile(r"[\d.]+ *[a-zA-Z]")
_LOOKS_LIKE_INSTANT = re.compile(r"\d{4}-?\d\d-?\d\d")
_HAS_ZONE = re.compile(r"T[\d:.,]+ *(Z|[+-]\d\d(:?\d\d)?)$", re.IGNORECASE)
_NOUNS = {"T": "task", "Q": "question", "M": "message", "E": "event", "P": "permission"}


def parse_id(text: str, letter: str) -> int:
    """The number of `T12`, `t12` or `12`; `letter` is the one that belongs there. Raises Invalid."""
    noun = _NOUNS[letter]
    match = re.fullmatch(rf"\s*{letter}?([0-9]{{1,19}})\s*", text, re.IGNORECASE | re.ASCII)
    number = int(match[1]) if match else 0
    if not 0 < number <= ID_MAX:
        raise Invalid(
            f"{text[:40]!r} is not the id of a {noun}", cure=f"Ids of {noun}s look like {letter}12; 12 is enough."
        )
    return number


def parse_after(text: str) -> After:
    """`T12`, or `T12:failure`, or `T12:always`, as a dependency. Raises Invalid."""
    name, on = parted(text)
    return After(task=parse_id(name, "T"), on=on)


def iso(at: Instant) -> str:
    """An instant with its zone, in UTC: `2025-11-21T12:10:01.5Z`; whole seconds without a fraction."""
    moment = _EPOCH + timedelta(microseconds=min(max(at, 0), _LAST_AT))
    fraction = f".{moment.microsecond:06d}".rstrip("0") if moment.microsecond else ""
    return f"{moment:%Y-%m-%dT%H:%M:%S}{fraction}Z"


def iso_or_none(at: Instant | None) -> str | None:
    """The same, for an instant that may be missing."""
    return None if at is None else iso(at)


def parse_moment(text: str, *, now: Instant, ahead: bool = False) -> Instant:
    """An instant from ISO 8601 with a zone, or from a duration counted from `now`: back, or forward with `ahead`.

    Raises Invalid, also for a time without a zone: which clock it meant cannot be known.
    """
    cleaned = text.strip()
    if _LOOKS_LIKE_DURATION.match(cleaned):
        distance = round(parse_duration(cleaned) * SECOND)
        return now + distance if ahead else max(0, now - distance)
    if not _LOOKS_LIKE_INSTANT.match(cleaned):
        raise Invalid(
            f"{text[:40]!r} is neither a time nor a duration",
            cure="Write 2025-11-21T12:10:00+01:00, or a duration such as 3d.",
        )
    if not _HAS_ZONE.search(cleaned):
        raise Invalid(f"{text[:40]!r} has no time zone", cure=f"Add one, such as {cleaned}Z or {cleaned}+01:00.")
    at = parse_instant(cleaned)
    if not 0 <= at < ID_MAX:
        raise Invalid(f"{text[:40]!r} is out of range", cure="Give a time after 1970.")
    return at


def usd(micros: int | None) -> float | None:
    """Micro-dollars as dollars; None stays None: unknown is never 0."""
    return None if micros is None else micros / 1_000_000


def closest(name: str, known: Iterable[str]) -> str:
    """` Did you mean 'limit'?`, or nothing."""
    close = get_close_matches(name, list(known), n=1)
    return f" Did you mean {close[0]!r}?" if close else ""
