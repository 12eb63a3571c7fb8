"""The laws of retry: budgets hold for each class, delays stay in their window and use all of it, whoever is more
particular decides, and what the other side asks for is honoured within reason."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import Invalid
from ostinato.domain.retry import (
    RETRY_KEYS,
    USUAL,
    Backoff,
    FailureClass,
    RetryPolicy,
    RetryRule,
    Rule,
    class_of,
    delay_s,
    parse_retry,
    rule_of,
)

chances = st.floats(0, 1, exclude_max=True)
rules = st.builds(
    Rule,
    attempts_max=st.integers(1, 1_000_000),
    backoff=st.sampled_from(Backoff),
    base_s=st.floats(0, 1e6),
    factor=st.floats(1, 1e300),
    max_s=st.floats(0, 1e6),
    jitter=st.booleans(),
    asked_max_s=st.floats(0, 1e6),
)
particular = st.builds(
    RetryRule,
    attempts_max=st.none() | st.integers(1, 9),
    backoff=st.none() | st.sampled_from(Backoff),
    base_s=st.none() | st.floats(0.1, 9),
)
layers = st.none() | st.builds(
    RetryPolicy,
    attempts_max=st.none() | st.integers(1, 9),
    base_s=st.none() | st.floats(0.1, 9),
    classes=st.dictionaries(st.sampled_from(FailureClass), particular, max_size=3),
)
failures_so_far = st.integers(1, 2_000_000)


@given(rules, failures_so_far, chances, st.none() | st.floats(0, 1e9))
def test_a_delay_is_finite_and_within_its_bounds_or_there_is_no_try_left(
    rule: Rule, failures: int, chance: float, asked_s: float | None
) -> None:
    wait = delay_s(rule, failures=failures, chance=chance, asked_s=asked_s)
    if failures >= rule.attempts_max:
        assert wait is None
        return
    asked = min(asked_s or 0.0, rule.asked_max_s)
    assert wait is not None
    assert math.isfinite(wait)
    assert asked <= wait <= max(rule.max_s, asked)
    if rule.backoff is Backoff.IMMEDIATE:
        assert wait == asked


@given(rules, failures_so_far, chances, chances)
def test_a_greater_chance_and_a_later_try_never_wait_less(
    rule: Rule, failures: int, one_chance: float, other_chance: float
) -> None:
    low, high = sorted((one_chance, other_chance))
    waits = [delay_s(rule, failures=failures, chance=each) for each in (low, high)]
    assert waits[0] is None or (waits[1] is not None and waits[0] <= waits[1])
    later = delay_s(rule, failures=failures + 1, chance=low)
    assert waits[0] is None or later is None or waits[0] <= later


@given(st.floats(0.1, 1e3), st.integers(1, 30))
def test_jitter_is_full_it_uses_its_window_from_nought_to_its_end(base_s: float, failures: int) -> None:
    rule = rule_of(FailureClass.TRANSIENT, RetryPolicy(attempts_max=99, base_s=base_s))
    still = rule_of(FailureClass.TRANSIENT, RetryPolicy(attempts_max=99, base_s=base_s, jitter=False))
    window = delay_s(still, failures=failures, chance=0.0)
    assert window is not None
    assert delay_s(rule, failures=failures, chance=0.0) == 0.0
    assert delay_s(rule, failures=failures, chance=0.25) == pytest.approx(window / 4)
    assert delay_s(rule, failures=failures, chance=1 - 2**-53) == pytest.approx(window)


@given(layers, layers, layers, st.sampled_from(FailureClass))
def test_whoever_is_more_particular_decides(
    task: RetryPolicy | None, agent: RetryPolicy | None, fleet: RetryPolicy | None, failure: FailureClass
) -> None:
    rule = rule_of(failure, task, agent, fleet)
    said = [each for each in (task, agent, fleet, USUAL) if each is not None]
    bases = [b for p in said for b in (p.classes.get(failure, RetryRule()).base_s, p.base_s) if b is not None]
    assert rule.base_s == bases[0]
    if failure is FailureClass.POLICY:
        assert rule.attempts_max == 1, "nobody can have a refusal tried again by itself"
    elif failure in (FailureClass.PERMANENT, FailureClass.INVALID_OUTPUT):
        of_class = [n for p in said if (n := p.classes.get(failure, RetryRule()).attempts_max) is not None]
        assert rule.attempts_max == of_class[0], "attempts for all classes say nothing about these"


@pytest.mark.parametrize(("failures", "wait"), [(1, 2.0), (2, 4.0), (3, 8.0), (8, 256.0), (9, 300.0), (10_000, 300.0)])
def test_the_usual_doubles_from_two_seconds_to_five_minutes(failures: int, wait: float) -> None:
    rule = rule_of(FailureClass.TRANSIENT, RetryPolicy(attempts_max=1_000_000, jitter=False))
    assert delay_s(rule, failures=failures, chance=0.5) == wait


def test_the_usual_budgets() -> None:
    budgets = {each.value: rule_of(each).attempts_max for each in FailureClass}
    assert budgets == {
        "transient": 3, "rate_limited": 6, "permanent": 1, "policy": 1, "invalid_output": 1, "unknown": 3,
    }  # fmt: skip


def test_what_the_other_side_asks_for_is_a_lower_bound_up_to_an_hour() -> None:
    usual = rule_of(FailureClass.RATE_LIMITED)
    assert delay_s(usual, failures=1, chance=0.0, asked_s=60.0) == 60.0
    assert delay_s(usual, failures=1, chance=0.0, asked_s=90_000.0) == 3_600.0
    assert delay_s(usual, failures=1, chance=0.999, asked_s=0.5) == pytest.approx(4.995)
    at_once = rule_of(FailureClass.TRANSIENT, RetryPolicy(backoff=Backoff.IMMEDIATE))
    assert delay_s(at_once, failures=1, chance=0.5, asked_s=7.0) == 7.0
    assert delay_s(usual, failures=6, chance=0.0, asked_s=1.0) is None


@pytest.mark.parametrize(
    ("kind", "failure"),
    [
        ("transient", "transient"), ("timeout", "transient"), ("rate_limited", "rate_limited"),
        ("too_long", "permanent"), ("invalid", "permanent"), ("denied", "policy"), ("budget", "policy"),
        ("turn", "invalid_output"), ("ZeroDivisionError", "unknown"), ("", "unknown"),
    ],
)  # fmt: skip
def test_each_kind_of_error_has_a_class(kind: str, failure: str) -> None:
    assert class_of(kind) == failure


def test_a_policy_is_read_as_people_write_it() -> None:
    plain = {"attempts": 5, "backoff": "fixed", "base": "10s", "rate_limited": {"attempts": 9, "retry_after_max": "2h"}}
    policy = parse_retry(plain)
    assert policy == RetryPolicy(
        attempts_max=5,
        backoff=Backoff.FIXED,
        base_s=10.0,
        classes={FailureClass.RATE_LIMITED: RetryRule(attempts_max=9, asked_max_s=7_200.0)},
    )
    assert "rate_limited" in RETRY_KEYS


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ([], "no group of keys"),
        ({"attemps": 3}, "Did you mean 'attempts'"),
        ({"attempts": 0}, "no number of attempts"),
        ({"attempts": True}, "no number of attempts"),
        ({"backoff": "linear"}, "Unknown backoff 'linear'"),
        ({"base": 10}, "not a duration"),
        ({"max": "300d"}, "no time to wait"),
        ({"factor": 0.5}, "no factor"),
        ({"jitter": "yes"}, "neither true nor false"),
        ({"transient": {"atempts": 1}}, "Did you mean 'attempts'"),
        ({"policy": {"attempts": 2}}, "not tried again by itself"),
    ],
)
def test_what_is_wrong_is_said_with_its_place(plain: object, message: str) -> None:
    with pytest.raises(Invalid, match=message) as wrong:
        parse_retry(plain, place="retry")
    assert wrong.value.place.startswith("retry")
