"""When to fire: heartbeats and schedules with intervals, instants, cron expressions, active hours and zones.

Pure: computed from the last nominal time, never from now, so that a late node does not drift. Knows nothing of stores
or agents. The calendar of a cron expression is cronsim's; daylight saving is settled here, so that every form of
expression keeps the same promise: a wall time that is repeated fires once, one that is skipped fires at the next minute
that exists. Only where the hour is `*` every hour that passes counts, be it called the same as the one before.

What spreads fires is no dice but a digest of the schedule's name, so that each node computes the same times: the phase
of an interval, and jitter. A time with its jitter is the nominal time; what was written is never fired beside it.
"""

from __future__ import annotations

import enum
import hashlib
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

RULE_KEYS = ("every", "cron", "at", "anchor", "timezone", "active", "weekdays", "jitter", "misfire", "overlap")
"""Keys of a rule as people write it."""

EVERY_MIN_S = 1.0
"""Shorter intervals would be a busy loop, not a schedule."""

JITTER_MAX_S = 3_600.0
"""More would be another schedule; and so many seconds are looked through for each fire."""

WINDOWS_MAX = 24
CRON_LENGTH_MAX = 200

WEEKDAYS = ("MON", "TUE", "WED", "THU", "FRI", "SAT", "SUN")

_DAY_MINUTES = 24 * 60
_MONDAY = datetime(2024, 1, 1)  # noqa: DTZ001 - a time on the wall of whatever zone
_OPENINGS_DAYS = 400
_MARGIN_MINUTES = 60
"""By how much daylight saving may move an interval against the active hours it is to meet."""
_REPEATED_MAX = 26 * 60
"""Minutes that a place may live through twice; each could be a fire to pass over."""
_CHANGES_MAX = 300
"""Changes of offset to look past for one fire: fifty years of them, the reach of cronsim."""


class Misfire(enum.StrEnum):
    """What becomes of nominal times that passed while nobody could fire them: forget them, or make up for all of them
    with one."""

    SKIP = "skip"
    ONCE = "once"


class Overlap(enum.StrEnum):
    """What a fire does while the work of the one before goes on: wait for its turn, or not happen."""

    QUEUE = "queue"
    SKIP = "skip"


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
    overlap: Overlap | None = None
    """None: heartbeats skip, schedules queue."""
    anchor_at: Instant | None = None
    """`every` fires at this instant plus whole multiples of itself; None: where the name's digest puts it."""
    jitter_s: float = 0.0
    """Each fire comes up to so many seconds late, by a digest of name and time; never as late as the next."""
    of: str = ""
    """Whose rule it is: unique names spread what would otherwise fire at once. Not part of the texts."""


Where = Callable[[str], str]
"""Gives the place of a key, for messages."""


def parse_rule(mapping: Mapping[str, Any], *, of: str = "", where: Where = lambda key: f"key {key!r}") -> ScheduleRule:
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
    _placed(zone_named, timezone, where("timezone"))
    every_s = cron = at_at = anchor_at = None
    match given[0]:
        case "every":
            every_s = _parse_every(mapping["every"], where)
        case "cron":
            cron = _parse_cron(mapping["cron"], where)
        case _:
            at_at = _parse_time(mapping, "at", zone=timezone, where=where)
    if mapping.get("anchor") is not None:
        if every_s is None:
            raise Invalid("Only 'every' counts from an anchor", place=where("anchor"), cure="Remove it.")
        anchor_at = _parse_time(mapping, "anchor", zone=timezone, where=where)
    misfire = _text(mapping, "misfire", where) or (Misfire.SKIP if every_s is not None else Misfire.ONCE)
    if misfire not in set(Misfire):
        raise Invalid(unknown_name("misfire policy", misfire[:64], set(Misfire)), place=where("misfire"))
    overlap = _text(mapping, "overlap", where)
    if overlap and overlap not in set(Overlap):
        raise Invalid(unknown_name("overlap policy", overlap[:64], set(Overlap)), place=where("overlap"))
    return ScheduleRule(
        every_s=every_s,
        cron=cron,
        at_at=at_at,
        timezone=timezone,
        active=_parse_windows(_texts(mapping, "active", where), where),
        weekdays=_parse_weekdays(_texts(mapping, "weekdays", where), where),
        misfire=Misfire(misfire),
        overlap=Overlap(overlap) if overlap else None,
        anchor_at=anchor_at,
        jitter_s=_parse_jitter(mapping, where),
        of=of,
    )


def rule_to_texts(rule: ScheduleRule) -> dict[str, str]:
    """The rule as texts that `parse_rule` reads back."""
    texts: dict[str, str] = {"timezone": rule.timezone, "misfire": rule.misfire.value}
    if rule.every_s is not None:
        texts["every"] = format_duration(rule.every_s)
    if rule.anchor_at is not None:
        texts["anchor"] = format_instant(rule.anchor_at, zone=rule.timezone)
    if rule.jitter_s:
        texts["jitter"] = format_duration(rule.jitter_s)
    if rule.overlap is not None:
        texts["overlap"] = rule.overlap.value
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
    if not rule.jitter_s:
        return _next_written(rule, after=after)
    reach = round(rule.jitter_s * SECOND)
    at = _next_written(rule, after=after - min(reach, _step(rule) or reach))
    while at is not None:  # at most one each minute of JITTER_MAX_S
        following = _next_written(rule, after=at)
        room = reach if following is None else min(reach, following - at)
        late = at + _part(room, f"{rule.of}@{at}")
        if late > after:
            return late
        at = following
    return None


def fires_between(rule: ScheduleRule, first: Instant, last: Instant, *, most: int) -> int:
    """How many nominal times lie after `first`, up to and with `last`, both being such: exact for intervals, else at
    most `most`."""
    step = _step(rule)
    if step:  # jitter never reaches the next one
        begin = _grid(rule)
        return (last - begin) // step - (first - begin) // step
    count, at = 0, first
    while count < most and (following := next_fire(rule, after=at)) is not None and following <= last:
        count, at = count + 1, following
    return count


def latest_fire(rule: ScheduleRule, *, start: Instant, now: Instant) -> Instant:
    """The last nominal time up to and with `now`; `start` is one itself. Halves the time in between, so that a jump of
    years costs some 30 looks and not one for each second."""
    latest, high = start, now
    while high - latest >= SECOND:  # no two are closer
        middle = (latest + high) // 2
        following = next_fire(rule, after=middle)
        if following is not None and following <= now:
            latest = following
        else:
            high = middle
    following = next_fire(rule, after=latest)
    return following if following is not None and following <= now else latest


def _next_written(rule: ScheduleRule, *, after: Instant) -> Instant | None:
    """As it is written, without jitter."""
    if rule.at_at is not None:
        return rule.at_at if rule.at_at > after else None
    step = _step(rule)
    if step:
        begin = _grid(rule)
        return begin + ((after - begin) // step + 1) * step
    assert rule.cron is not None
    zone = zone_named(rule.timezone)
    try:
        if rule.cron.split()[1] == "*":
            return _next_passing_hour(rule.cron, zone, after=after)
        return _next_wall_time(rule.cron, zone, after=after)
    except (OverflowError, ValueError, Invalid):  # past the year 9999
        return None


def _step(rule: ScheduleRule) -> Instant:
    """Microseconds of an interval; 0 where it is none."""
    return round(rule.every_s * SECOND) if rule.every_s is not None else 0


def _grid(rule: ScheduleRule) -> Instant:
    """An instant at which an interval fires. Without an anchor each name has its own, so that equal intervals do not
    fire together; and one that meets the active hours, where an interval of a day would otherwise pass them by."""
    if rule.anchor_at is not None:
        return rule.anchor_at
    begin, room = 0, _step(rule)
    if rule.active or rule.weekdays:
        window = rule.active[0] if rule.active else Window(start=0, end=_DAY_MINUTES)
        length = (window.end - window.start) % _DAY_MINUTES or _DAY_MINUTES
        margin = _MARGIN_MINUTES if length >= 3 * _MARGIN_MINUTES else 0
        day = _MONDAY + timedelta(days=rule.weekdays[0] - 1 if rule.weekdays else 0, minutes=window.start + margin)
        begin = instant_of_wall(day, zone_named(rule.timezone))
        room = min(room, (length - 2 * margin) * 60 * SECOND)
    return begin + (_part(room, rule.of) if rule.of else 0)


def _part(room: Instant, key: str) -> Instant:
    """A part of `room` in whole seconds, always the same one for a key; less than `room`."""
    share = int.from_bytes(hashlib.blake2b(key.encode(errors="surrogatepass"), digest_size=8).digest())
    return (room * share >> 64) // SECOND * SECOND


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


def is_ever_active(rule: ScheduleRule) -> bool:
    """False where all its times lie outside its active hours, so that it would be skipped for ever. Looks at each
    opening of a year and a bit; exact but for what comes less often than that."""
    if not rule.active and not rule.weekdays:
        return True
    if rule.at_at is not None:
        at = next_fire(rule, after=rule.at_at - 1)
        return at is not None and is_active(rule, at)
    zone = zone_named(rule.timezone)
    windows = rule.active or (Window(start=0, end=_DAY_MINUTES),)
    for day in range(-1, _OPENINGS_DAYS):
        for window in windows:
            opens_at = instant_of_wall(_MONDAY + timedelta(days=day, minutes=window.start), zone)
            at = next_fire(rule, after=opens_at - 1)
            if at is not None and at - opens_at <= 86_400 * SECOND and is_active(rule, at):
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


def _parse_jitter(mapping: Mapping[str, Any], where: Where) -> float:
    text = _text(mapping, "jitter", where)
    if not text:
        return 0.0
    jitter_s = _placed(parse_duration, text, where("jitter"))
    if not 1.0 <= jitter_s <= JITTER_MAX_S:
        raise Invalid(f"{text[:64]!r} is out of range", place=where("jitter"), cure="It can be '1s' to '1h'.")
    return jitter_s


def _parse_time(mapping: Mapping[str, Any], key: str, *, zone: str, where: Where) -> Instant:
    at = _placed(lambda value: parse_instant(value, zone=zone), _text(mapping, key, where), where(key))
    _placed(lambda value: local(value, zone_named(zone)), at, where(key))
    return at


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
