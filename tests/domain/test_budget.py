"""Money before and after it is spent, and the rough count of tokens that it is reserved by."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.budget import Account, Ceiling, Price, Spend, Unit, cost, reservation
from ostinato.domain.chat import Usage, estimate_tokens

tokens = st.integers(0, 10**7)
rates = st.integers(0, 10**9)
prices = st.builds(
    lambda fresh, cached, output: Price(
        input_usd_micros=fresh, cached_usd_micros=min(cached, fresh), output_usd_micros=output
    ),
    rates,
    rates,
    rates,
)
MINI = Price(input_usd_micros=250_000, cached_usd_micros=25_000, output_usd_micros=2_000_000)


@pytest.mark.parametrize(
    ("read", "cached", "written", "usd_micros"),
    [
        (0, 0, 0, 0),
        (1, 0, 0, 1),  # a quarter of a micro-dollar is one, never nothing
        (4, 0, 0, 1),
        (5, 0, 0, 2),
        (1_000_000, 0, 0, 250_000),
        (1_000_000, 1_000_000, 0, 25_000),
        (1_000_000, 400_000, 1_000, 162_000),
        (10, 99, 0, 1),  # more cached than read counts as all of it cached
    ],
)
def test_a_reply_costs_its_tokens_rounded_up(read: int, cached: int, written: int, usd_micros: int) -> None:
    assert cost(MINI, input_tokens=read, cached_tokens=cached, output_tokens=written) == usd_micros


@given(prices, st.none() | rates, st.tuples(tokens, tokens, tokens, tokens), tokens)
def test_what_is_reserved_is_never_less_than_what_is_spent(
    price: Price, keeping: int | None, used: tuple[int, int, int, int], most: int
) -> None:
    """Whatever a provider says of its cache, and however dear it is to write into that."""
    price, (prompt, cached, kept, written) = replace(price, written_usd_micros=keeping), used
    reserved = reservation(price, prompt_tokens=prompt, output_tokens_max=most)
    spent = cost(
        price, input_tokens=prompt, cached_tokens=cached, written_tokens=kept, output_tokens=min(written, most)
    )
    assert 0 <= spent <= reserved


def test_no_more_is_cached_and_kept_than_was_read() -> None:
    dear = replace(MINI, written_usd_micros=1_000_000)
    assert cost(dear, input_tokens=10, cached_tokens=8, written_tokens=8, output_tokens=0) == 3
    assert reservation(dear, prompt_tokens=10, output_tokens_max=0) == 10, "all of it may be kept"


@given(prices, st.lists(st.tuples(tokens, tokens), min_size=1, max_size=20))
def test_many_small_calls_never_cost_less_than_one_large_one(price: Price, calls: list[tuple[int, int]]) -> None:
    apart = sum(cost(price, input_tokens=read, cached_tokens=0, output_tokens=written) for read, written in calls)
    together = cost(
        price,
        input_tokens=sum(each for each, _ in calls),
        cached_tokens=0,
        output_tokens=sum(each for _, each in calls),
    )
    assert together <= apart <= together + len(calls)


@given(prices, tokens, tokens, st.integers(0, 1000))
def test_more_tokens_never_cost_less(price: Price, read: int, written: int, more: int) -> None:
    less = cost(price, input_tokens=read, cached_tokens=0, output_tokens=written)
    assert less <= cost(price, input_tokens=read + more, cached_tokens=0, output_tokens=written + more)


amounts = st.integers(0, 10**12)


units = st.sampled_from(Unit)
spends = st.builds(Spend, usd_micros=amounts, tokens=amounts)
ceilings = st.builds(Ceiling, usd_micros=st.none() | amounts, tokens=st.none() | amounts)
accounts = st.builds(Account, scope=st.just("task:1"), spent=spends, reserved=spends, granted=spends, most=ceilings)


@given(accounts, spends)
def test_an_account_has_room_exactly_up_to_its_limits_and_what_was_granted(account: Account, amount: Spend) -> None:
    rooms = {unit: account.room(unit) for unit in Unit}
    short = account.short_of(amount)
    assert (short is None) == all(room is None or amount.of(unit) <= room for unit, room in rooms.items())
    for unit, room in rooms.items():
        most = account.most.of(unit)
        assert (room is None) == (most is None)
        if most is not None and room:
            assert account.used.of(unit) + room == most + account.granted.of(unit)
    if short is not None:
        assert short.wanted > max(0, short.limit - short.used)
        assert "no room" in short.words


@given(spends, spends)
def test_an_account_without_a_limit_always_has_room_and_warns_of_nothing(spent: Spend, amount: Spend) -> None:
    account = Account(spent=spent)
    assert account.short_of(amount) is None
    assert account.is_near(amount) is None


@given(accounts, spends, units)
def test_people_are_told_at_four_fifths_and_never_before(account: Account, amount: Spend, unit: Unit) -> None:
    most = account.most.of(unit)
    if most and account.is_near(amount) is None:
        assert account.used.of(unit) + amount.of(unit) < 0.8 * (most + account.granted.of(unit))


calls = st.lists(st.tuples(st.integers(0, 5), st.integers(1, 100), st.floats(0, 1)), max_size=40)


@given(st.integers(0, 500), calls)
def test_what_a_tree_of_tasks_spends_never_exceeds_what_its_root_may(
    limit: int, calls: list[tuple[int, int, float]]
) -> None:
    """Whoever below the root asks, and however late replies come: every call is set aside in the root's account."""
    root, open_calls = Account(most=Ceiling(usd_micros=limit)), list[tuple[int, int]]()
    for settles, reserved, part in calls:
        if root.short_of(Spend(usd_micros=reserved)) is None:
            root = replace(root, reserved=root.reserved + Spend(usd_micros=reserved))
            open_calls.append((reserved, round(reserved * part)))
        for was, real in [open_calls.pop(0) for _ in range(min(settles, len(open_calls)))]:
            root = replace(
                root, reserved=root.reserved + Spend(usd_micros=-was), spent=root.spent + Spend(usd_micros=real)
            )
        assert root.used.usd_micros <= limit


@given(st.text(), st.text())
def test_the_estimate_of_tokens_is_never_nothing_for_something_and_adds_up(one: str, other: str) -> None:
    assert (estimate_tokens(one) == 0) == (one == "")
    assert estimate_tokens(one + other) <= estimate_tokens(one) + estimate_tokens(other)
    assert estimate_tokens(one) <= estimate_tokens(one + other)


def test_tokens_are_counted_by_bytes_not_by_characters() -> None:
    assert estimate_tokens("a" * 40) == 10
    assert estimate_tokens("\N{GRINNING FACE}" * 10) == 10


def test_usage_sums_both_ways_and_counts_what_was_cached_once() -> None:
    assert Usage(input_tokens=10, cached_tokens=4, output_tokens=3).tokens == 13
    assert Usage().tokens == 0
