"""Durations and instants as people write them: what is written is read back, and what is no time is refused."""

from __future__ import annotations

import re
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, tzinfo
from typing import TypeVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.duration import DURATION_MAX_S, UNITS_MS, format_duration, parse_duration
from ostinato.domain.errors import Invalid
from ostinato.domain.instant import format_instant, instant_of_wall, local, parse_instant, zone_named
from ostinato.domain.values import SECOND
from tests.domain.zones import ZONES, transitions

T = TypeVar("T")


def or_refusal(work: Callable[[], T]) -> T | Invalid:
    """What `work` returns, or the refusal that it raises."""
    try:
        return work()
    except Invalid as error:
        return error


milliseconds = st.integers(0, int(DURATION_MAX_S) * 1_000)
instants = st.integers(-60_000_000_000 * SECOND, 200_000_000_000 * SECOND)


@given(milliseconds)
def test_a_duration_is_read_back_as_it_was_written(value: int) -> None:
    assert parse_duration(format_duration(value / 1_000)) == value / 1_000


@given(st.lists(st.sampled_from(list(UNITS_MS)), unique=True, min_size=1), st.data())
def test_parts_add_up_where_the_longest_unit_comes_first(units: list[str], data: st.DataObject) -> None:
    ordered = sorted(units, key=list(UNITS_MS).index)
    numbers = [data.draw(st.integers(0, 99)) for _ in ordered]
    text = " ".join(f"{number}{unit}" for number, unit in zip(numbers, ordered, strict=True))
    wanted = sum(number * UNITS_MS[unit] for number, unit in zip(numbers, ordered, strict=True)) / 1_000
    assert parse_duration(text) == wanted


@given(st.text(max_size=80))
def test_any_text_is_a_duration_or_refused_with_a_cure(text: str) -> None:
    found = or_refusal(lambda: parse_duration(text))
    assert found.cure if isinstance(found, Invalid) else 0 <= found <= DURATION_MAX_S


@pytest.mark.parametrize(
    ("text", "seconds"),
    [("15m", 900), ("2h", 7_200), ("7d", 604_800), ("1h30m", 5_400), ("90s", 90), ("1.5h", 5_400), ("250ms", 0.25)],
)
def test_the_usual_durations_are_understood(text: str, seconds: float) -> None:
    assert parse_duration(text) == seconds
    assert parse_duration(text.upper()) == seconds


@pytest.mark.parametrize("text", ["", "15", "m", "-5m", "5 minutes", "30m1h", "1h1h", "1e9d", "9999999w", "٣m"])
def test_what_has_no_unit_or_another_order_is_no_duration(text: str) -> None:
    with pytest.raises(Invalid):
        parse_duration(text)


@pytest.mark.parametrize(("seconds", "text"), [(0, "0s"), (5_400, "1h30m"), (3_024_000, "35d"), (-90, "-1m30s")])
def test_a_duration_is_written_in_days_and_shorter(seconds: float, text: str) -> None:
    assert format_duration(seconds) == text


@given(instants, st.sampled_from(ZONES))
def test_an_instant_is_read_back_in_any_zone(at: int, zone: str) -> None:
    assert parse_instant(format_instant(at, zone=zone)) == at
    assert parse_instant(format_instant(at, zone=zone), zone="Asia/Tokyo") == at


@given(instants, st.sampled_from(ZONES))
def test_an_instant_is_the_first_that_its_wall_time_names(at: int, zone: str) -> None:
    wall = local(at, zone_named(zone))
    again = instant_of_wall(wall.replace(tzinfo=None), zone_named(zone))
    assert again == at if wall.fold == 0 else again < at


@pytest.mark.slow
@pytest.mark.parametrize("zone", ZONES)
def test_a_wall_time_that_is_skipped_means_the_next_minute_that_exists(zone: str) -> None:
    for change in transitions(zone):
        before = local(change - SECOND, zone_named(zone)).replace(tzinfo=None)
        after = local(change, zone_named(zone)).replace(tzinfo=None)
        if after - before > timedelta(seconds=1):
            middle = before + (after - before) / 2
            assert instant_of_wall(middle.replace(microsecond=0), zone_named(zone)) == change


@given(st.text(max_size=80))
def test_any_text_is_an_instant_or_refused(text: str) -> None:
    found = or_refusal(lambda: parse_instant(text, zone="Europe/Zurich"))
    assert "2026-03-01" in found.cure if isinstance(found, Invalid) else isinstance(found, int)


@pytest.mark.slow
@given(st.text(max_size=80))
def test_any_text_is_a_zone_or_refused(text: str) -> None:
    found = or_refusal(lambda: zone_named(text))
    assert "time zone" in found.message if isinstance(found, Invalid) else isinstance(found, tzinfo)


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("Europe/Zurick", "'Europe/Zurich'"),
        ("europe/zurich", "'Europe/Zurich'"),
        ("America/New York", "'America/New_York'"),
        ("Europe", "Did you mean"),
        ("../../etc/passwd", "such as 'UTC'"),
        ("UTC\0", "Unknown time zone"),
    ],
)
def test_an_unknown_zone_is_answered_with_the_nearest(name: str, hint: str) -> None:
    with pytest.raises(Invalid, match=re.escape(hint)):
        zone_named(name)


def test_a_time_without_an_offset_is_wall_time_of_the_zone() -> None:
    at = parse_instant("2026-07-01 07:30", zone="Europe/Zurich")
    assert at == parse_instant("2026-07-01T05:30:00Z")
    assert datetime.fromtimestamp(at / SECOND, tz=UTC).hour == 5
    assert format_instant(at, zone="Europe/Zurich") == "2026-07-01T07:30:00+02:00"
