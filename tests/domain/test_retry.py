"""The laws of retry: delays stay in their window, never overflow, and respect what the other side asked for."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.retry import RetryPolicy, delay_s

chances = st.floats(0, 1, exclude_max=True)
policies = st.builds(
    RetryPolicy,
    attempts_max=st.integers(1, 1_000_000),
    base_s=st.floats(0, 1e6),
    factor=st.floats(1, 1e300),
    max_s=st.floats(0, 1e6),
    jitter=st.booleans(),
)
failures_so_far = st.integers(1, 2_000_000)


@given(policies, failures_so_far, chances, st.none() | st.floats(0, 1e9))
def test_a_delay_is_finite_and_within_its_bounds_or_there_is_no_try_left(
    policy: RetryPolicy, failures: int, chance: float, asked_s: float | None
) -> None:
    wait = delay_s(policy, failures=failures, chance=chance, asked_s=asked_s)
    if failures >= policy.attempts_max:
        assert wait is None
        return
    assert wait is not None
    assert math.isfinite(wait)
    assert wait >= (asked_s or 0.0)
    assert wait <= max(policy.max_s, asked_s or 0.0)


@given(policies, failures_so_far)
def test_without_jitter_the_delays_never_shrink(policy: RetryPolicy, failures: int) -> None:
    still = RetryPolicy(
        attempts_max=failures + 2, base_s=policy.base_s, factor=policy.factor, max_s=policy.max_s, jitter=False
    )
    waits = [delay_s(still, failures=each, chance=0.0) for each in (failures, failures + 1)]
    assert waits[0] is not None
    assert waits[1] is not None
    assert waits[0] <= waits[1]


@given(policies, failures_so_far, chances, chances)
def test_a_greater_chance_never_waits_less(
    policy: RetryPolicy, failures: int, one_chance: float, other_chance: float
) -> None:
    low, high = sorted((one_chance, other_chance))
    waits = [delay_s(policy, failures=failures, chance=each) for each in (low, high)]
    assert waits[0] is None or (waits[1] is not None and waits[0] <= waits[1])


@pytest.mark.parametrize(("failures", "wait"), [(1, 2.0), (2, 4.0), (3, 8.0), (8, 256.0), (9, 300.0), (10_000, 300.0)])
def test_the_default_doubles_from_two_seconds_to_five_minutes(failures: int, wait: float) -> None:
    policy = RetryPolicy(attempts_max=1_000_000, jitter=False)
    assert delay_s(policy, failures=failures, chance=0.5) == wait


def test_jitter_spreads_over_the_whole_window() -> None:
    policy = RetryPolicy()
    assert delay_s(policy, failures=1, chance=0.0) == 0.0
    assert delay_s(policy, failures=1, chance=0.5) == 1.0


def test_by_default_the_third_failure_is_the_last() -> None:
    assert delay_s(RetryPolicy(), failures=2, chance=0.5) is not None
    assert delay_s(RetryPolicy(), failures=3, chance=0.5) is None


def test_what_a_server_asks_for_is_kept_even_beyond_the_maximum() -> None:
    assert delay_s(RetryPolicy(), failures=1, chance=0.0, asked_s=3_600.0) == 3_600.0
    assert delay_s(RetryPolicy(jitter=False), failures=1, chance=0.0, asked_s=0.5) == 2.0


def test_a_server_that_asks_for_a_wait_grants_no_further_try() -> None:
    assert delay_s(RetryPolicy(attempts_max=1), failures=1, chance=0.0, asked_s=1.0) is None
