"""The laws of schedules: no drift, no fire twice, none forgotten, through every change of the clocks.

The oracle walks over the minutes of the world one by one and reads the clock on the wall.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import pairwise
from typing import NamedTuple

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from ostinato.domain.errors import Invalid
from ostinato.domain.instant import local, parse_instant, zone_named
from ostinato.domain.schedule import (
    Misfire,
    ScheduleRule,
    Window,
    is_active,
    next_fire,
    parse_rule,
    rule_to_texts,
)
from ostinato.domain.values import SECOND, Instant
from tests.domain.zones import ZONES, transitions

MINUTE = 60 * SECOND
DAY = 86_400 * SECOND


class Cron(NamedTuple):
    """A cron expression as sets, for an oracle that shares no code with what it judges."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    every_hour: bool
    step: int = 0

    @property
    def text(self) -> str:
        minutes = f"*/{self.step}" if self.step else ",".join(map(str, self.minutes))
        return f"{minutes} {'*' if self.every_hour else ','.join(map(str, self.hours))} * * *"

    def holds(self, wall: datetime) -> bool:
        minute = wall.minute % self.step == 0 if self.step else wall.minute in self.minutes
        return minute and (self.every_hour or wall.hour in self.hours)


crons = st.builds(
    Cron,
    minutes=st.lists(st.integers(0, 59), min_size=1, max_size=4, unique=True).map(tuple),
    hours=st.lists(st.integers(0, 23) | st.integers(0, 3), min_size=1, max_size=4, unique=True).map(tuple),
    every_hour=st.booleans(),
    step=st.sampled_from([0, 0, 15, 20]),
)
changes = st.sampled_from(ZONES).flatmap(
    lambda zone: st.tuples(st.just(zone), st.sampled_from(transitions(zone) or (parse_instant("2026-03-29T01:00Z"),)))
)
every_rules = st.builds(
    lambda seconds, anchor: ScheduleRule(every_s=seconds, anchor_at=anchor),
    st.floats(1, 1e8).map(lambda value: round(value, 3)),
    st.integers(0, 4_000_000_000 * SECOND),
)
instants = st.integers(0, 4_000_000_000 * SECOND)


def fires_of_the_oracle(cron: Cron, zone: str, *, start: Instant, end: Instant) -> list[Instant]:
    """Every fire in (start, end], found by looking at the clock each minute."""
    info = zone_named(zone)
    margin = 26 * 60 * MINUTE
    first, last = (start - margin) // MINUTE * MINUTE, (end + margin) // MINUTE * MINUTE
    minutes = [(at, local(at, info).replace(tzinfo=None)) for at in range(first, last, MINUTE)]
    if cron.every_hour:
        return [at for at, wall in minutes if start < at <= end and cron.holds(wall)]
    seen: dict[datetime, Instant] = {}
    for at, wall in minutes:
        seen.setdefault(wall, at)
    found: set[Instant] = set()
    wall = minutes[0][1]
    following = sorted(seen)
    while wall <= minutes[-1][1] - timedelta(hours=25):
        if cron.holds(wall):
            existing = seen.get(wall) or next(seen[each] for each in following if each > wall)
            found.add(existing)
        wall += timedelta(minutes=1)
    return sorted(at for at in found if start < at <= end)


@pytest.mark.slow
@given(crons, changes, st.integers(-26 * 60, 26 * 60))
def test_cron_fires_as_the_clock_on_the_wall_says_around_every_change(
    cron: Cron, change: tuple[str, Instant], offset: int
) -> None:
    zone, at = change
    start, end = at + offset * MINUTE - DAY, at + offset * MINUTE + DAY
    rule = parse_rule({"cron": cron.text, "timezone": zone})
    found, after = [], start
    while (following := next_fire(rule, after=after)) is not None and following <= end:
        found.append(following)
        after = following
    assert found == fires_of_the_oracle(cron, zone, start=start, end=end)


@given(crons, changes, st.integers(-2 * DAY, 2 * DAY), st.integers(0, 2 * DAY))
def test_looking_again_before_a_fire_finds_the_same_fire(
    cron: Cron, change: tuple[str, Instant], offset: int, later: int
) -> None:
    rule = parse_rule({"cron": cron.text, "timezone": change[0]})
    after = change[1] + offset
    following = next_fire(rule, after=after)
    assert following is not None
    assert following > after
    assert following % SECOND == 0
    again = next_fire(rule, after=min(after + later, following - 1))
    assert again == following


@given(every_rules, instants, st.integers(1, 50))
def test_an_interval_never_drifts_whatever_it_is_asked_after(rule: ScheduleRule, after: Instant, count: int) -> None:
    assert rule.every_s is not None
    step = round(rule.every_s * SECOND)
    first = next_fire(rule, after=after)
    assert first is not None
    assert after < first <= after + step
    assert (first - rule.anchor_at) % step == 0
    at: Instant | None = first
    for _ in range(count):
        assert at is not None
        at = next_fire(rule, after=at)
    assert at == first + count * step


@given(instants, instants)
def test_an_instant_fires_once(at: Instant, after: Instant) -> None:
    rule = ScheduleRule(at_at=at)
    assert next_fire(rule, after=after) == (at if at > after else None)
    assert next_fire(rule, after=at) is None


windows = st.tuples(st.integers(0, 1_439), st.integers(0, 1_440)).filter(lambda pair: pair[0] != pair[1])


@given(windows, changes, st.integers(-2 * DAY, 2 * DAY))
def test_a_window_and_its_rest_of_the_day_never_hold_together(
    window: tuple[int, int], change: tuple[str, Instant], offset: int
) -> None:
    start, end = window
    assume(end not in {0, 1_440} or start != 0)
    zone, at = change[0], change[1] + offset
    one = ScheduleRule(every_s=60, timezone=zone, active=(Window(start=start, end=end),))
    other = ScheduleRule(every_s=60, timezone=zone, active=(Window(start=end % 1_440, end=start or 1_440),))
    assert is_active(one, at) != is_active(other, at)


@given(changes, st.integers(-10 * DAY, 10 * DAY), st.integers(1, 7))
def test_a_window_over_midnight_belongs_to_the_day_on_which_it_opens(
    change: tuple[str, Instant], offset: int, day: int
) -> None:
    zone, at = change[0], change[1] + offset
    rule = ScheduleRule(every_s=60, timezone=zone, active=(Window(start=1_320, end=360),), weekdays=(day,))
    wall = local(at, zone_named(zone))
    opened = wall.isoweekday() if wall.hour >= 22 else (wall.isoweekday() - 2) % 7 + 1
    assert is_active(rule, at) == ((wall.hour >= 22 or wall.hour < 6) and opened == day)


texts = st.text(max_size=40)
hostile = st.dictionaries(
    st.sampled_from(["every", "cron", "at", "timezone", "active", "weekdays", "misfire", "evry"]),
    texts | st.integers() | st.none() | st.booleans() | st.lists(texts | st.integers(), max_size=3) | st.floats(),
)
cronlike = st.lists(st.text("0123456789*/,-#LWMONFRIjan", max_size=8), min_size=4, max_size=6).map(" ".join)


@given(hostile | st.fixed_dictionaries({"cron": cronlike}))
def test_anything_is_a_rule_or_refused(mapping: dict[str, object]) -> None:
    try:
        rule = parse_rule(mapping)
    except Invalid:
        return
    assert parse_rule(rule_to_texts(rule)) == rule
    following = next_fire(rule, after=parse_instant("2026-03-29T00:30Z"))
    assert following is None or following > parse_instant("2026-03-29T00:30Z")
    is_active(rule, parse_instant("2026-03-29T00:30Z"))


@pytest.mark.parametrize(
    ("mapping", "message"),
    [
        ({}, "none of them"),
        ({"every": "15m", "cron": "0 7 * * *"}, "'every' and 'cron'"),
        ({"every": 15}, "has no unit"),
        ({"every": "10ms"}, "too short"),
        ({"every": "15m", "activ": "07:00-20:00"}, "Did you mean 'active'"),
        ({"every": "15m", "active": "7-20"}, "no active hours"),
        ({"every": "15m", "active": "20:00-20:00"}, "no active hours"),
        ({"every": "15m", "active": "24:00-25:00"}, "no active hours"),
        ({"every": "15m", "weekdays": "Mondays-Fri, Xday"}, "weekday"),
        ({"every": "15m", "misfire": "twice"}, "misfire policy"),
        ({"cron": "* * * *"}, "Five fields"),
        ({"cron": "* * * * * *"}, "Five fields"),
        ({"cron": "61 * * * *"}, "bad minute"),
        ({"cron": "0 0 30 2 *"}, "day-of-month"),
        ({"at": "tomorrow"}, "is not a time"),
        ({"at": "2026-01-01T00:00", "timezone": "Mars/Olympus"}, "time zone"),
    ],
)
def test_a_wrong_rule_is_refused_with_its_key(mapping: dict[str, object], message: str) -> None:
    with pytest.raises(Invalid) as caught:
        parse_rule(mapping, where=lambda key: f"HEARTBEAT.md:2, key {key!r}")
    assert message in str(caught.value)


def test_a_rule_is_written_as_people_write_it() -> None:
    rule = parse_rule({"every": "15m", "active": "07:00-12:00, 13:00-24:00", "weekdays": "MON-WED, Sunday"})
    assert rule.weekdays == (1, 2, 3, 7)
    assert rule_to_texts(rule) == {
        "every": "15m",
        "active": "07:00-12:00, 13:00-24:00",
        "weekdays": "MON, TUE, WED, SUN",
        "timezone": "UTC",
        "misfire": "skip",
    }


@pytest.mark.parametrize(
    ("mapping", "misfire"),
    [({"every": "1h"}, Misfire.SKIP), ({"cron": "0 7 * * *"}, Misfire.ONCE), ({"at": "2026-01-01"}, Misfire.ONCE)],
)
def test_a_missed_interval_is_forgotten_and_a_missed_report_is_not(mapping: dict[str, str], misfire: Misfire) -> None:
    assert parse_rule(mapping).misfire is misfire


def zurich(text: str) -> Instant:
    return parse_instant(text, zone="Europe/Zurich")


@pytest.mark.parametrize(
    ("cron", "after", "fires"),
    [
        ("30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00", "2026-03-30T02:30"]),
        ("0,30 2 * * *", "2026-03-28T12:00", ["2026-03-29T03:00", "2026-03-30T02:00"]),
        ("30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:30+02:00", "2026-10-26T02:30"]),
        ("*/30 2 * * *", "2026-10-24T12:00", ["2026-10-25T02:00+02:00", "2026-10-25T02:30+02:00", "2026-10-26T02:00"]),
        (
            "0 * * * *",
            "2026-10-25T01:30",
            ["2026-10-25T02:00+02:00", "2026-10-25T02:00+01:00", "2026-10-25T03:00+01:00"],
        ),
        ("0 0 29 2 *", "2026-01-01T00:00", ["2028-02-29T00:00", "2032-02-29T00:00"]),
        ("0 7 * * MON-FRI", "2026-03-27T08:00", ["2026-03-30T07:00", "2026-03-31T07:00"]),
    ],
)
def test_well_known_days_fire_as_promised(cron: str, after: str, fires: list[str]) -> None:
    rule = parse_rule({"cron": cron, "timezone": "Europe/Zurich"})
    at: Instant | None = zurich(after)
    for wanted in fires:
        assert at is not None
        at = next_fire(rule, after=at)
        assert at == zurich(wanted)


def test_a_rule_ends_with_the_calendar() -> None:
    rule = parse_rule({"cron": "0 0 1 1 *", "timezone": "Europe/Zurich"})
    assert next_fire(rule, after=parse_instant("9999-12-30T00:00Z")) is None


@pytest.mark.parametrize("zone", ZONES)
def test_a_year_of_a_daily_report_has_a_report_for_each_day(zone: str) -> None:
    rule = parse_rule({"cron": "30 2 * * *", "timezone": zone})
    info = zone_named(zone)
    at: Instant | None = parse_instant("2026-01-01T00:00", zone=zone)
    days = []
    for _ in range(365):
        assert at is not None
        at = next_fire(rule, after=at)
        assert at is not None
        days.append(local(at, info).date())
    assert all(later - earlier == timedelta(days=1) for earlier, later in pairwise(days))


def test_active_hours_end_with_their_last_minute() -> None:
    rule = parse_rule({"every": "1m", "active": "09:00-17:00", "timezone": "UTC"})
    times = [parse_instant(f"2026-03-02T{each}Z") for each in ("08:59", "09:00", "16:59", "17:00")]
    assert [is_active(rule, each) for each in times] == [False, True, True, False]


@given(
    st.sampled_from([{"every": "10m"}, {"cron": "*/2 * * * *"}, {"cron": "0 3 * * *"}]),
    st.integers(0, 100 * DAY // SECOND),
    st.integers(0, 10**6),
)
def test_whenever_it_is_asked_a_schedule_with_jitter_has_the_same_times(
    texts: dict[str, str], begin_s: int, part: int
) -> None:
    rule = parse_rule({**texts, "jitter": "6m", "timezone": "UTC"}, of="heartbeat:a:b")
    first = next_fire(rule, after=parse_instant("2026-03-01T00:00Z") + begin_s * SECOND)
    assert first is not None
    second = next_fire(rule, after=first)
    assert second is not None
    assert first < second
    between = first + (second - first) * part // (10**6 + 1)
    assert next_fire(rule, after=between) == second


def test_jitter_never_reaches_the_next_time() -> None:
    rule = parse_rule({"cron": "*/2 * * * *", "jitter": "6m", "timezone": "UTC"}, of="heartbeat:a:b")
    at, slots = parse_instant("2026-03-01T00:00Z") - 1, list[int]()
    for _ in range(20):
        at = next_fire(rule, after=at) or 0
        slots.append((at - parse_instant("2026-03-01T00:00Z")) // (2 * MINUTE))
    assert slots == list(range(20))
