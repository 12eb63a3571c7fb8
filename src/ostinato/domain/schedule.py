"""When to fire: heartbeats and schedules with intervals, instants, cron expressions, active hours and zones.

Pure: computed from the last nominal time, never from now, so that a late node does not drift. Knows nothing of stores
or agents. The calendar of a cron expression is cronsim's; daylight saving is settled here, so that every form of
expression keeps the same promise: a wall time that is repeated fires once, one that is skipped fires at the next minute
that exists. Only where the hour is `*` every hour that passes counts, be it called the same as the one before.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime, timedelta, tzinfo
from typing import Any, TypeVar

from ostinato.domain.duration import format_duration, parse_duration
from ostinato.domain.errors import Invalid, unknown_name
from ostinato.domain.instant import (
    format_instant,
    instant_of,
    instant_of_wall,
    local,
    parse_instant,
    zone_named,
)
from ostinato.domain.values import SECOND, Instant, Value

A = TypeVar("A")
B = TypeVar("B")

RULE_KEYS = ("every", "cron", "at", "timezone", "active", "weekdays", "misfire")
"""Keys of a rule as people write it."""

EVERY_MIN_S = 1.0
"""Shorter intervals would be a busy loop, not a schedule."""

WINDOWS_MAX = 24
CRON_LENGTH_MAX = 200

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")

_DAY_MINUTES = 24 * 60
_REPEATED_MAX = 26 * 60
"""Minutes that a place may live through twice; each could be a fire to pass over."""
_CHANGES_MAX = 300
"""Changes of offset to look past for one fire: fifty years of them, the reach of cronsim."""


class Misfire(enum.StrEnum):
    """What becomes of nominal times that passed while nobody could fire them: forget them, or make up for all of them
    with one."""

    SKIP = "skip"
    ONCE = "once"


class Window(Value):
    """Active hours, in minutes after midnight by the wall clock; from `start` up to, not including, `end`. An end
    before the start is on the next day."""

    start: int
    end: int


class ScheduleRule(Value):
    """When something fires: exactly one of `every_s`, `cron` and `at_at`."""

    every_s: float | None = None
    cron: str | None = None
    at_at: Instant | None = None
    timezone: str = "UTC"
    active: tuple[Window, ...] = ()
    """Empty: always active."""
    weekdays: tuple[int, ...] = ()
    """ISO numbers, Monday is 1; empty: every day. A window over midnight belongs to the day on which it opens."""
    misfire: Misfire = Misfire.SKIP
    anchor_at: Instant = 0
    """`every` fires at this instant plus whole multiples of itself."""


Where = Callable[[str], str]
"""Gives the place of a key, for messages."""


def parse_rule(mapping: Mapping[str, Any], *, where: Where = lambda key: f"key {key!r}") -> ScheduleRule:
    """A rule from its texts (`RULE_KEYS`); lists are taken where several make sense. Raises Invalid.

    `misfire` is `skip` for intervals, and `once` for cron and at, unless given: a report that was due while the machine
    slept is still wanted.
    """
    for key in mapping:
        if key not in RULE_KEYS:
            raise Invalid(unknown_name("key", str(key)[:64], RULE_KEYS), place=where(str(key)[:64]))
    given = [key for key in ("every", "cron", "at") if mapping.get(key) is not None]
    if len(given) != 1:
        what = " and ".join(repr(each) for each in given) or "none of them"
        place = where(given[-1]) if given else ""
        cure = "Keep one of them." if given else "Write when, such as 'every: 15m'."
        raise Invalid(f"A schedule has one of 'every', 'cron' and 'at'; here is {what}", place=place, cure=cure)
    timezone = _text(mapping, "timezone", where) or "UTC"
    zone = _placed(zone_named, timezone, where("timezone"))
    every_s = cron = at_at = None
    match given[0]:
        case "every":
            every_s = _parse_every(mapping["every"], where)
        case "cron":
            cron = _parse_cron(mapping["cron"], where)
        case _:
            text = _text(mapping, "at", where)
            at_at = _placed(lambda value: parse_instant(value, zone=timezone), text, where("at"))
            _placed(lambda at: local(at, zone), at_at, where("at"))
    misfire = _text(mapping, "misfire", where) or (Misfire.SKIP if every_s is not None else Misfire.ONCE)
    if misfire not in set(Misfire):
        raise Invalid(unknown_name("misfire policy", misfire[:64], set(Misfire)), place=where("misfire"))
    return ScheduleRule(
        every_s=every_s,
        cron=cron,
        at_at=at_at,
        timezone=timezone,
        active=_parse_windows(_texts(mapping, "active", where), where),
        weekdays=_parse_weekdays(_texts(mapping, "weekdays", where), where),
        misfire=Misfire(misfire),
    )


def rule_to_texts(rule: ScheduleRule) -> dict[str, str]:
    """The rule as texts that `parse_rule` reads back; `anchor_at` is not part of it."""
    texts: dict[str, str] = {"timezone": rule.timezone, "misfire": rule.misfire.value}
    if rule.every_s is not None:
        texts["every"] = format_duration(rule.every_s)
    if rule.cron is not None:
        texts["cron"] = rule.cron
    if rule.at_at is not None:
        texts["at"] = format_instant(rule.at_at, zone=rule.timezone)
    if rule.active:
        texts["active"] = ", ".join(f"{_clock(each.start)}-{_clock(each.end)}" for each in rule.active)
    if rule.weekdays:
        texts["weekdays"] = ", ".join(WEEKDAYS[each - 1] for each in rule.weekdays)
    return texts


def next_fire(rule: ScheduleRule, *, after: Instant) -> Instant | None:
    """The first nominal time strictly after `after`, active or not; None: never again.

    Equal arguments give equal answers, whatever fired before: intervals lie on a grid, so that nothing drifts.
    """
    if rule.at_at is not None:
        return rule.at_at if rule.at_at > after else None
    if rule.every_s is not None:
        step = round(rule.every_s * SECOND)
        return rule.anchor_at + ((after - rule.anchor_at) // step + 1) * step
    assert rule.cron is not None
    zone = zone_named(rule.timezone)
    try:
        if rule.cron.split()[1] == "*":
            return _next_passing_hour(rule.cron, zone, after=after)
        return _next_wall_time(rule.cron, zone, after=after)
    except (OverflowError, ValueError, Invalid):  # past the year 9999
        return None


def is_active(rule: ScheduleRule, at: Instant) -> bool:
    """True where active hours and weekdays include the instant, by the wall clock of the rule's zone."""
    wall = local(at, zone_named(rule.timezone))
    minute, today = wall.hour * 60 + wall.minute, wall.isoweekday()
    yesterday = (today - 2) % 7 + 1
    days = rule.weekdays or range(1, 8)
    for window in rule.active or (Window(start=0, end=_DAY_MINUTES),):
        if window.start < window.end:
            if window.start <= minute < window.end and today in days:
                return True
        elif (minute >= window.start and today in days) or (minute < window.end and yesterday in days):
            return True
    return False


def _next_wall_time(cron: str, zone: tzinfo, *, after: Instant) -> Instant | None:
    """Each time on the wall once. Later wall times never come at earlier instants, so walking on is enough."""
    times = _cron_times(cron, local(after, zone).replace(tzinfo=None))
    for _ in range(_REPEATED_MAX):
        wall = next(times, None)
        if wall is None:
            return None
        at = instant_of_wall(wall, zone)
        if at > after:
            return at
    return None


def _next_passing_hour(cron: str, zone: tzinfo, *, after: Instant) -> Instant | None:
    """Every hour that passes: go by one offset as long as it lasts, then on from its change with the next."""
    start = after
    for _ in range(_CHANGES_MAX):
        moment = local(start, zone)
        wall = next(_cron_times(cron, moment.replace(tzinfo=None)), None)
        if wall is None:
            return None
        offset = moment.utcoffset() or timedelta()
        at = instant_of(wall.replace(tzinfo=zone_named("UTC"))) - offset // timedelta(microseconds=1)
        change = _change_of_offset(zone, start, at)
        if change is None:
            return at
        if _matches(cron, wall := local(change, zone).replace(tzinfo=None)) and wall.microsecond == 0:
            return change
        start = change
    return None


def _change_of_offset(zone: tzinfo, start: Instant, end: Instant) -> Instant | None:
    """The first instant in (start, end] with another offset than `start`; to the second."""
    offset, low = local(start, zone).utcoffset(), start
    while low < end:
        high = min(low + 86_400 * SECOND, end)
        if local(high, zone).utcoffset() != offset:
            while high // SECOND - low // SECOND > 1:
                middle = (low // SECOND + high // SECOND) // 2 * SECOND
                low, high = (middle, high) if local(middle, zone).utcoffset() == offset else (low, middle)
            return high // SECOND * SECOND if high // SECOND * SECOND > low else high
        low = high
    return None


def _matches(cron: str, wall: datetime) -> bool:
    return next(_cron_times(cron, wall - timedelta(seconds=1)), None) == wall


def _cron_times(cron: str, wall: datetime) -> Iterator[datetime]:
    """Wall times after `wall`, without any zone: what to make of them is decided here and not in the library."""
    from cronsim import CronSim

    return CronSim(cron, wall)


def _parse_every(value: Any, where: Where) -> float:
    if not isinstance(value, str):
        raise Invalid(f"{value!r} has no unit", place=where("every"), cure="Write a duration such as '15m' or '2h'.")
    every_s = _placed(parse_duration, value, where("every"))
    if every_s < EVERY_MIN_S:
        raise Invalid(f"{value!r} is too short", place=where("every"), cure="The shortest interval is '1s'.")
    return every_s


def _parse_cron(value: Any, where: Where) -> str:
    from cronsim import CronSim, CronSimError

    cure = "Five fields are needed: minute, hour, day of month, month, weekday; for example '0 7 * * MON-FRI'."
    if not isinstance(value, str) or len(value) > CRON_LENGTH_MAX or len(value.split()) != 5:
        raise Invalid(f"{str(value)[:64]!r} is not a cron expression", place=where("cron"), cure=cure)
    cron = " ".join(value.upper().split())
    try:
        first = next(CronSim(cron, datetime(2000, 1, 1)), None)  # noqa: DTZ001 - a calendar without any zone
    except (CronSimError, AssertionError, ValueError, TypeError) as error:
        detail = str(error)[:1].lower() + str(error)[1:] or "a field is malformed"
        raise Invalid(f"{value!r} is not a cron expression: {detail}", place=where("cron"), cure=cure) from None
    if first is None:
        raise Invalid(f"{value!r} never comes", place=where("cron"), cure="Is there such a day in these months?")
    return cron


_WINDOW = re.compile(r"(\d{1,2}):(\d{2})\s*-\s*(\d{1,2}):(\d{2})", re.ASCII)


def _parse_windows(texts: Sequence[str], where: Where) -> tuple[Window, ...]:
    windows = []
    for text in texts:
        found = _WINDOW.fullmatch(text)
        numbers = [int(each) for each in found.groups()] if found else [99] * 4
        start, end = numbers[0] * 60 + numbers[1], numbers[2] * 60 + numbers[3]
        if start >= _DAY_MINUTES or end > _DAY_MINUTES or numbers[1] > 59 or numbers[3] > 59 or start == end:
            cure = "Write them as '07:00-20:00'; '22:00-06:00' goes over midnight, '00:00-24:00' is the whole day."
            raise Invalid(f"{text[:64]!r} are no active hours", place=where("active"), cure=cure)
        windows.append(Window(start=start, end=end))
    if len(windows) > WINDOWS_MAX:
        raise Invalid(f"{len(windows)} windows of active hours", place=where("active"), cure=f"At most {WINDOWS_MAX}.")
    return tuple(windows)


def _parse_weekdays(texts: Sequence[str], where: Where) -> tuple[int, ...]:
    days: set[int] = set()
    for text in texts:
        first, dash, last = (each.strip().upper()[:3] for each in text.partition("-"))
        for name in (first, last) if dash else (first,):
            if name not in WEEKDAYS:
                raise Invalid(unknown_name("weekday", text[:64], WEEKDAYS), place=where("weekdays"))
        start = WEEKDAYS.index(first)
        count = (WEEKDAYS.index(last) - start) % 7 + 1 if dash else 1
        days.update((start + each) % 7 + 1 for each in range(count))
    return tuple(sorted(days)) if len(days) < 7 else ()


def _text(mapping: Mapping[str, Any], key: str, where: Where) -> str:
    value = mapping.get(key)
    if value is None:
        return ""
    if not isinstance(value, str):
        raise Invalid(f"{str(value)[:64]!r} is not a text", place=where(key), cure="Put it in quotes.")
    return value.strip()


def _texts(mapping: Mapping[str, Any], key: str, where: Where) -> list[str]:
    """A text with commas, or a list of texts."""
    value = mapping.get(key)
    if value is None:
        return []
    parts = value if isinstance(value, list | tuple) else [value]
    if not all(isinstance(each, str) for each in parts):
        what = f"{str(value)[:64]!r} is neither a text nor a list of texts"
        raise Invalid(what, place=where(key), cure="Put it in quotes.")
    return [each.strip() for part in parts for each in part.split(",") if each.strip()]


def _placed(parse: Callable[[A], B], value: A, place: str) -> B:
    """`parse(value)`, its errors with their place."""
    try:
        return parse(value)
    except Invalid as error:
        raise Invalid(error.message, place=place, cure=error.cure) from None


def _clock(minutes: int) -> str:
    return f"{minutes // 60:02d}:{minutes % 60:02d}"
