"""The laws of fires through clocks that jump and places that change theirs.

A small machine keeps what a store keeps (what fired, what was passed last, what is next), reads a clock that goes on,
stops, and is set ahead and back, and does at each reading what a node does: fire what is due, and repair what a clock
set back has left too far ahead. What people were promised is then counted outside of it.
"""

from __future__ import annotations

from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import structs

from ostinato.domain import schedule
from ostinato.domain.due import GRACE, due, repaired
from ostinato.domain.instant import parse_instant
from ostinato.domain.schedule import Misfire, ScheduleRule, is_active, next_fire, parse_rule
from ostinato.domain.values import SECOND, Instant
from tests.domain.zones import transitions

MINUTE = 60 * SECOND
HOUR = 60 * MINUTE
DAY = 24 * HOUR
YEARS = 3_653 * DAY

PLACES = (
    "Europe/Zurich",
    "America/New_York",
    "Australia/Lord_Howe",  # half an hour
    "Africa/Casablanca",  # back for Ramadan
    "America/Sao_Paulo",  # at midnight, until 2019
    "Asia/Kathmandu",  # never, and a quarter of an hour off
    "Pacific/Apia",  # a day was left out
    "Africa/Cairo",  # given up, and taken up again
    "Pacific/Chatham",
    "America/St_Johns",
)
moments = st.sampled_from(PLACES).flatmap(
    lambda place: st.tuples(
        st.just(place),
        st.sampled_from(transitions(place) or (parse_instant("2026-03-29T01:00Z"),)),
        st.integers(-2 * DAY, 2 * DAY),
    )
)
expressions = st.sampled_from(
    ["*/5 * * * *", "30 2 * * *", "0 */6 * * *", "15 0 * * *", "0 7 * * MON-FRI", "59 23 * * *", "0,30 1-3 * * *"]
)
texts = st.one_of(
    st.fixed_dictionaries({"cron": expressions}),
    st.fixed_dictionaries({"every": st.sampled_from(["1s", "7s", "5m", "15m", "45m", "6h", "1d"])}),
)
rules = st.builds(
    lambda text, jitter, misfire, name: parse_rule(
        {**text, "misfire": misfire, **({"jitter": jitter} if jitter else {})}, of=name
    ),
    texts,
    st.sampled_from(["", "", "30s", "10m"]),
    st.sampled_from(list(Misfire)),
    st.sampled_from(["a", "b", "weekly"]),
)


class Fired(NamedTuple):
    nominal_at: Instant
    now: Instant


class Node:
    """What a store and a node make of a schedule, without either."""

    def __init__(self, rule: ScheduleRule, now: Instant) -> None:
        self.rule = rule
        self.next_at = next_fire(rule, after=now)
        self.last_at = now
        self.fires: set[Instant] = set()
        self.log: list[Fired] = []
        self.missed = 0

    def look(self, now: Instant) -> None:
        """Once at each reading of the clock."""
        mended = repaired(self.rule, next_at=self.next_at, now=now)
        if mended is not None:
            self.next_at, self.last_at = mended, min(self.last_at, now)
        if self.next_at is None or self.next_at > now:
            return
        plan = due(self.rule, nominal_at=self.next_at, now=now)
        at = plan.fire_at if plan.fire_at is not None else self.next_at
        assert plan.next_at is None or plan.next_at > now, "or it would be looked at for ever"
        self.next_at = plan.next_at
        self.missed += plan.missed
        if at > self.last_at and plan.fire_at is not None and at not in self.fires:
            self.fires.add(at)
            self.log.append(Fired(at, now))
        self.last_at = max(self.last_at, at)


steps = st.lists(
    st.one_of(
        st.integers(1, 20 * MINUTE),  # the machine runs
        st.integers(20 * MINUTE, 40 * DAY),  # it slept
        st.sampled_from([HOUR, -HOUR, YEARS, -YEARS]),
    ),
    min_size=1,
    max_size=25,
)


@pytest.mark.slow
@given(rules, moments, steps)
def test_no_nominal_time_fires_twice_and_none_early_whatever_the_clock_does(
    rule: ScheduleRule, moment: tuple[str, Instant, Instant], steps: list[int]
) -> None:
    place, change, offset = moment
    now = change + offset
    fires_once(Node(structs.replace(rule, timezone=place), now), now, steps)


def fires_once(node: Node, now: Instant, steps: list[int]) -> None:
    """Whatever the clock does."""
    for step in steps:
        now += step
        node.look(now)
    assert len({each.nominal_at for each in node.log}) == len(node.log), "twice"
    for each in node.log:
        assert each.nominal_at <= each.now
        assert next_fire(node.rule, after=each.nominal_at - 1) == each.nominal_at, "it is a time of the rule"


def test_a_node_that_forgets_what_it_has_fired_is_noticed_when_its_clock_is_set_back() -> None:
    class Forgetful(Node):
        def look(self, now: Instant) -> None:
            super().look(now)
            self.fires.clear()

    rule, now = parse_rule({"every": "5m"}, of="a"), parse_instant("2026-03-28T12:00Z")
    steps = [*([5 * MINUTE] * 6), -HOUR, *([5 * MINUTE] * 20)]
    fires_once(Node(rule, now), now, steps)
    with pytest.raises(AssertionError, match="twice"):
        fires_once(Forgetful(rule, now), now, steps)


@pytest.mark.slow
@given(rules, moments, st.sampled_from([HOUR, YEARS]), st.integers(1, 30))
def test_a_clock_that_was_ahead_and_is_right_again_loses_no_time_that_is_still_to_come(
    rule: ScheduleRule, moment: tuple[str, Instant, Instant], jump: int, looks: int
) -> None:
    place, change, offset = moment
    start = change + offset
    node = Node(structs.replace(rule, timezone=place), start)
    node.look(start + jump)
    ahead = {each.nominal_at for each in node.log}
    at: Instant | None = start
    node.look(start)
    for _ in range(looks):  # a node that is never late
        at = next_fire(node.rule, after=at if at is not None else start)
        assert at is not None
        node.look(at)
        assert at in node.fires, "it fires, unless it did while the clock was ahead"
    assert len(node.log) - len(ahead) == len(node.fires - ahead)


@pytest.mark.slow
@given(rules, moments, st.lists(st.integers(1, 40 * DAY), min_size=1, max_size=15))
def test_what_passed_unseen_is_lost_only_as_the_misfire_policy_says(
    rule: ScheduleRule, moment: tuple[str, Instant, Instant], steps: list[int]
) -> None:
    place, change, offset = moment
    now = change + offset
    node = Node(structs.replace(rule, timezone=place), now)
    for step in steps:
        first, before = node.next_at, len(node.log)
        now += step
        node.look(now)
        if first is None or first > now:
            assert len(node.log) == before
            continue
        recent = next_fire(node.rule, after=max(first - 1, now - GRACE - 1))
        if node.rule.misfire is Misfire.ONCE or (recent is not None and recent <= now):
            assert len(node.log) == before + 1, "one makes up for all"
            following = next_fire(node.rule, after=node.log[-1].nominal_at)
            assert following is None or following > now, "it is the latest"
        else:
            assert len(node.log) == before


@pytest.mark.parametrize("text", [{"every": "1s"}, {"cron": "* * * * *"}, {"cron": "* 0-22 * * *"}])
@pytest.mark.parametrize("jitter", ["", "30s"])
def test_ten_years_in_one_step_cost_a_bounded_number_of_looks(
    text: dict[str, str], jitter: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    looks = 0
    written = schedule._next_written

    def counted(rule: ScheduleRule, *, after: Instant) -> Instant | None:
        nonlocal looks
        looks += 1
        return written(rule, after=after)

    monkeypatch.setattr(schedule, "_next_written", counted)
    rule = parse_rule({**text, "timezone": "Europe/Zurich", **({"jitter": jitter} if jitter else {})}, of="x")
    start = parse_instant("2026-01-05T08:00Z")
    nominal_at = next_fire(rule, after=start)
    assert nominal_at is not None
    plan = due(rule, nominal_at=nominal_at, now=start + YEARS)
    assert plan.fire_at is not None
    assert start + YEARS - plan.fire_at <= 2 * HOUR
    assert plan.missed >= 100
    assert looks <= 600


@pytest.mark.slow
@given(rules, moments, st.integers(1, 60))
def test_jitter_delays_each_time_once_by_less_than_it_says_and_never_past_the_next(
    rule: ScheduleRule, moment: tuple[str, Instant, Instant], count: int
) -> None:
    place, change, offset = moment
    spread = structs.replace(rule, timezone=place, jitter_s=600.0)
    plain = structs.replace(spread, jitter_s=0.0)
    at, late_at = next_fire(plain, after=change + offset), None
    for _ in range(count):
        assert at is not None
        following = next_fire(plain, after=at)
        late_at = next_fire(spread, after=at - 1 if late_at is None else late_at)
        assert late_at is not None
        assert at <= late_at < at + 600 * SECOND
        assert following is None or late_at < following
        at = following


def test_every_node_computes_the_same_spread_and_names_differ() -> None:
    start = parse_instant("2026-01-05T08:00Z")
    names = [f"heartbeat:agent-{number}:heartbeat" for number in range(1_000)]
    first = [next_fire(parse_rule({"every": "15m"}, of=name), after=start) for name in names]
    assert first == [next_fire(parse_rule({"every": "15m"}, of=name), after=start) for name in names]
    minutes = [(at - start) // MINUTE for at in first if at is not None]
    assert set(minutes) <= set(range(15)) | {15}
    assert max(minutes.count(minute) for minute in range(15)) < 120, "a thousand do not fire together"


@pytest.mark.slow
@given(
    st.sampled_from(PLACES),
    st.tuples(st.integers(0, 23), st.integers(1, 23)),
    st.sampled_from([(), (1,), (3,), (1, 2, 3, 4, 5)]),
    st.text("abcdef", min_size=1, max_size=4),
    st.integers(2020, 2029),
)
def test_an_interval_of_a_day_meets_its_active_hours(
    place: str, window: tuple[int, int], weekdays: tuple[int, ...], name: str, year: int
) -> None:
    begin, length = window
    active = f"{begin:02}:00-{(begin + length) % 24:02}:00"
    rule = parse_rule({"every": "1d", "timezone": place, "active": active, "weekdays": []}, of=name)
    rule = structs.replace(rule, weekdays=weekdays)
    at: Instant | None = parse_instant(f"{year}-01-05T00:00", zone=place)
    awake = 0
    for _ in range(370):
        at = next_fire(rule, after=at)  # type: ignore[arg-type]  # such rules never end
        assert at is not None
        awake += is_active(rule, at)
    days = 370 * (len(weekdays) or 7) // 7
    assert awake >= days - 4 if length >= 3 else awake > 0


def test_an_interval_with_an_anchor_counts_from_it() -> None:
    rule = parse_rule({"every": "14d", "anchor": "2026-01-05T07:00", "timezone": "Europe/Zurich"}, of="x")
    found = next_fire(rule, after=parse_instant("2026-02-01T00:00Z"))
    assert found == parse_instant("2026-02-02T06:00Z")
    assert parse_rule(schedule.rule_to_texts(rule), of="x") == rule


@pytest.mark.slow
@settings(max_examples=15)
@given(
    st.sampled_from(PLACES),
    st.one_of(
        st.sampled_from([{"every": each} for each in ("7m", "1h", "1d", "7d")]),
        st.sampled_from([{"cron": each} for each in ("0 7 * * *", "30 2 * * SUN", "*/45 * * * *", "0 0 1 * *")]),
    ),
    st.tuples(st.integers(0, 1_439), st.integers(1, 1_439)),
    st.sampled_from([(), (7,), (2, 3)]),
)
def test_a_rule_that_is_said_to_be_never_active_is_not_active_in_a_year(
    place: str, text: dict[str, str], window: tuple[int, int], weekdays: tuple[int, ...]
) -> None:
    begin, length = window
    hours = (schedule.Window(start=begin, end=(begin + length) % 1_440),)
    rule = structs.replace(parse_rule({**text, "timezone": place}, of="x"), active=hours, weekdays=weekdays)
    at: Instant | None = parse_instant("2024-01-01T00:00", zone=place)
    seen = False
    for _ in range(150):
        at = next_fire(rule, after=at)  # type: ignore[arg-type]  # such rules never end
        assert at is not None
        if at < parse_instant("2025-01-01T00:00Z"):
            seen = seen or is_active(rule, at)
    assert schedule.is_ever_active(rule) >= seen


@pytest.mark.parametrize(
    ("text", "ever"),
    [
        ({"every": "15m", "active": "07:00-20:00"}, True),
        ({"every": "1d", "active": "07:00-20:00"}, True),
        ({"every": "1d", "anchor": "2026-01-01T03:00", "active": "07:00-20:00"}, False),
        ({"cron": "0 3 * * *", "active": "07:00-20:00"}, False),
        ({"cron": "0 3 * * *", "active": "22:00-06:00", "weekdays": "SAT"}, True),
        ({"cron": "0 9 * * MON", "weekdays": "TUE"}, False),
        ({"cron": "0 12 29 2 *", "active": "07:00-20:00"}, True),
        ({"at": "2026-03-29T03:00", "active": "07:00-20:00"}, False),
        ({"at": "2026-03-29T08:00", "active": "07:00-20:00"}, True),
        ({"at": "9999-12-31T08:00", "active": "07:00-20:00"}, True),
        ({"at": "0001-01-02T03:00", "active": "07:00-20:00"}, False),
        ({"cron": "0 3 * * *"}, True),
    ],
)
def test_a_rule_whose_times_all_lie_outside_its_hours_is_known(text: dict[str, str], ever: bool) -> None:
    assert schedule.is_ever_active(parse_rule({**text, "timezone": "Europe/Zurich"}, of="x")) is ever
