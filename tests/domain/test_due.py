"""What becomes of schedules that are due, late, or were slept through."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.due import GRACE, due
from ostinato.domain.schedule import Misfire, ScheduleRule, next_fire
from ostinato.domain.values import SECOND

HOUR = 3_600 * SECOND

rules = st.builds(ScheduleRule, every_s=st.integers(60, 86_400).map(float), misfire=st.sampled_from(list(Misfire)))


@given(rules, st.integers(0, 10**15), st.integers(0, 400 * 24 * HOUR))
def test_at_most_one_fire_and_the_next_lies_ahead(rule: ScheduleRule, start: int, late: int) -> None:
    nominal = next_fire(rule, after=start)
    assert nominal is not None
    now = nominal + late
    result = due(rule, nominal_at=nominal, now=now)
    assert result.next_at is not None
    assert result.next_at > now
    if result.fire_at is not None:
        assert nominal <= result.fire_at <= now
        assert next_fire(rule, after=result.fire_at - 1) == result.fire_at
    assert (result.fire_at is None) <= (rule.misfire is Misfire.SKIP)


@given(rules, st.integers(0, 10**12))
def test_a_fire_on_time_is_never_missed(rule: ScheduleRule, start: int) -> None:
    nominal = next_fire(rule, after=start)
    assert nominal is not None
    result = due(rule, nominal_at=nominal, now=nominal)
    assert (result.fire_at, result.missed) == (nominal, 0)


def test_a_single_time_that_was_slept_through_fires_once_or_is_missed() -> None:
    late = HOUR + GRACE + 1
    once = due(ScheduleRule(at_at=HOUR, misfire=Misfire.ONCE), nominal_at=HOUR, now=late + HOUR)
    skipped = due(ScheduleRule(at_at=HOUR, misfire=Misfire.SKIP), nominal_at=HOUR, now=late + HOUR)
    assert (once.fire_at, once.next_at, once.missed) == (HOUR, None, 0)
    assert (skipped.fire_at, skipped.next_at, skipped.missed) == (None, None, 1)


def test_a_day_asleep_costs_one_fire() -> None:
    rule = ScheduleRule(every_s=900.0, misfire=Misfire.ONCE)
    result = due(rule, nominal_at=HOUR, now=25 * HOUR + 60 * SECOND)
    assert (result.fire_at, result.missed) == (25 * HOUR, 96)
