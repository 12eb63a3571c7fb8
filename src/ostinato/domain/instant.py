"""Instants as people read them: ISO 8601 with a zone, and the time on the wall of a place.

Knows nothing of schedules. A wall time that daylight saving repeats means its first occurrence; one that it skips means
the next minute that exists.
"""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError, available_timezones

from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.values import Instant

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)

GAP_MINUTES_MAX = 26 * 60
"""The longest stretch of wall time that a place ever left out was a day (Samoa, 2011)."""


@lru_cache(maxsize=256)
def zone_named(name: str) -> tzinfo:
    """The time zone of an IANA name such as `Europe/Zurich`; `UTC` works without any zone data installed.

    Raises Invalid with the nearest name for an unknown one.
    """
    if name in {"UTC", "Etc/UTC", "Z"}:
        return UTC
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # also names of folders, and names with odd characters
        known = available_timezones()
        folded = {each.casefold(): each for each in known}
        guess = folded.get(name.strip().casefold().replace(" ", "_"))
        if guess is not None:
            raise Invalid(f"Unknown time zone {name!r}. Did you mean {guess!r}?") from None
        names = known if len(name) < 64 else ()
        message = unknown_name("time zone", name[:64], names).split(" Known:")
        hint = message[-1].partition("Did you mean")
        cure = f"Did you mean{hint[2]}" if hint[1] else "Use a name such as 'UTC' or 'Europe/Zurich'."
        raise Invalid(message[0], cure=cure) from None


def local(at: Instant, zone: tzinfo) -> datetime:
    """The wall time in `zone`, with its offset. Raises Invalid outside the years 1 to 9999."""
    try:
        return (_EPOCH + timedelta(microseconds=at)).astimezone(zone)
    except OverflowError:
        raise Invalid(f"The instant {at} is outside the years that a calendar can show") from None


def instant_of(moment: datetime) -> Instant:
    """Microseconds since 1970 UTC of a datetime that has a zone."""
    return (moment - _EPOCH) // _MICROSECOND


def instant_of_wall(wall: datetime, zone: tzinfo) -> Instant:
    """The instant at which clocks in `zone` show the naive time `wall`: the first one where that time is repeated, the
    next minute that exists where it is skipped."""
    moment = wall.replace(tzinfo=zone, fold=0)
    if _exists(moment):
        return instant_of(moment)
    moment = moment.replace(second=0, microsecond=0)
    for _ in range(GAP_MINUTES_MAX):
        moment += timedelta(minutes=1)  # of wall time: Python adds to what the clock shows
        if _exists(moment):
            break
    return instant_of(moment)


def _exists(moment: datetime) -> bool:
    return moment.astimezone(UTC).astimezone(moment.tzinfo).replace(tzinfo=None) == moment.replace(tzinfo=None)


def parse_instant(text: str, *, zone: str = "UTC") -> Instant:
    """The instant of an ISO 8601 text; without an offset it is wall time in `zone`. Raises Invalid."""
    try:
        moment = datetime.fromisoformat(text.strip())
        if moment.tzinfo is None:
            return instant_of_wall(moment, zone_named(zone))
        return instant_of(moment)
    except (ValueError, OverflowError):
        cure = "Write it as ISO 8601, such as '2026-03-01T07:30' or '2026-03-01T07:30:00+01:00'."
        raise Invalid(f"{text[:64]!r} is not a time", cure=cure) from None


def format_instant(at: Instant, *, zone: str = "UTC") -> str:
    """ISO 8601 with the offset of `zone`: `2026-03-01T07:30:00+01:00`, with fractions where there are any."""
    return local(at, zone_named(zone)).isoformat()
