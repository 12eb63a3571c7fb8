"""Zones whose clocks do what clocks can do, and when they did it; for tests of schedules and instants."""

from __future__ import annotations

from functools import cache

from ostinato.domain.instant import local, parse_instant, zone_named
from ostinato.domain.values import SECOND, Instant

ZONES = (
    "Europe/Zurich",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Antarctica/Troll",  # two hours
    "Africa/Casablanca",  # twice a year more, around Ramadan
    "Pacific/Apia",  # a day was left out in 2011
    "America/Havana",  # at midnight
    "Asia/Tehran",  # at midnight, half-hour offset
    "Pacific/Chatham",  # quarter-hour offset
    "America/St_Johns",  # a minute past midnight, until 2011
    "Asia/Kolkata",  # never
    "Africa/Monrovia",  # an offset with seconds, until 1972
)

_FIRST, _LAST = parse_instant("2005-01-01T00:00Z"), parse_instant("2030-01-01T00:00Z")
_DAY = 86_400 * SECOND


@cache
def transitions(zone: str) -> tuple[Instant, ...]:
    """The instants from 2005 to 2030 at which the zone's offset changed."""
    info, found, low = zone_named(zone), [], _FIRST
    while low < _LAST:
        high = low + _DAY
        if local(low, info).utcoffset() != local(high, info).utcoffset():
            left, right = low // SECOND, high // SECOND
            while right - left > 1:
                middle = (left + right) // 2
                same = local(middle * SECOND, info).utcoffset() == local(low, info).utcoffset()
                left, right = (middle, right) if same else (left, middle)
            found.append(right * SECOND)
        low = high
    return tuple(found)
