"""Whom to ask about what went wrong, one after the other, and how long each has. Pure.

Knows nothing of questions, tasks or stores.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.person import PERSON
from ostinato.domain.values import Value

RUNG_KEYS = ("to", "within")

RUNGS_MAX = 8
"""People that are asked one after the other; a longer list is a mailing list."""

WITHIN_LEAST_S, WITHIN_MAX_S = 1.0, 30 * 86_400.0


class Rung(Value):
    """Somebody to ask: `operator`, `admin`, or a person's name; and how many seconds they have."""

    to: str
    within_s: float


class Later(Value):
    """Somebody who is asked, too, `after_s` seconds after a question was asked first."""

    to: str
    after_s: float


def later_of(rungs: Sequence[Rung]) -> tuple[Later, ...]:
    """Whom a question asks beside its first one, and when."""
    found: list[Later] = []
    after_s = 0.0
    for before, rung in pairwise(rungs):
        after_s += before.within_s
        found.append(Later(to=rung.to, after_s=after_s))
    return tuple(found)


def all_s(rungs: Sequence[Rung]) -> float:
    """How long all of them have, in seconds."""
    return sum(each.within_s for each in rungs)


def parse_rungs(plain: Any, *, place: str = "") -> tuple[Rung, ...]:
    """The rungs that people write as `[{to: alice, within: 2h}, {to: operator, within: 1d}]`. Raises Invalid."""
    if not isinstance(plain, list):
        raise Invalid("This is no list of people to ask", place=place, cure=_CURE)
    if len(plain) > RUNGS_MAX:
        raise Invalid(f"{len(plain)} people are too many to ask", place=place, cure=f"At most {RUNGS_MAX}.")
    return tuple(_rung(each, place=place) for each in plain)


_CURE = "For example [{to: alice, within: 2h}, {to: operator, within: 1d}]."


def _rung(plain: Any, *, place: str) -> Rung:
    if not isinstance(plain, dict) or not {"to", "within"} <= plain.keys():
        raise Invalid("It does not say whom to ask, and how long they have", place=place, cure=_CURE)
    for key in plain:
        if key not in RUNG_KEYS:
            raise Invalid(unknown_name("key", str(key)[:64], RUNG_KEYS), place=place)
    to, within = plain["to"], plain["within"]
    if not isinstance(to, str) or not PERSON.fullmatch(to):
        cure = "Write operator, admin, or a person's name."
        raise Invalid(f"{str(to)[:64]!r} is nobody", place=place, cure=cure)
    try:
        within_s = parse_duration(str(within))
    except Invalid as error:
        raise Invalid(error.message, place=place, cure=error.cure) from None
    if not WITHIN_LEAST_S <= within_s <= WITHIN_MAX_S:
        raise Invalid(f"{str(within)[:64]!r} is no time to answer in", place=place, cure="One second to 30 days.")
    return Rung(to=to, within_s=within_s)
