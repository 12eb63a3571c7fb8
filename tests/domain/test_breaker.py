"""The breaker: every cell of its table, and laws over random histories of calls that fail, succeed and get lost."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.breaker import (
    TRANSITIONS,
    Admission,
    Breaker,
    BreakerEvent,
    BreakerRule,
    BreakerState,
    admit,
    begin_probe,
    failed,
    succeeded,
)
from ostinato.domain.values import SECOND, Instant

RULE = BreakerRule(failures_max=3, window_s=60, open_s=10, open_max_s=35, probe_s=20)
NAME = "model:small"


def after(*, failures: int, now: Instant = 0) -> Breaker | None:
    breaker: Breaker | None = None
    for _ in range(failures):
        breaker = failed(breaker, NAME, who="T1", reason="503", now=now, rule=RULE)
    return breaker


def test_the_table_says_where_a_breaker_can_go() -> None:
    assert set(TRANSITIONS.values()) == set(BreakerState)
    assert {event for _, event in TRANSITIONS} == set(BreakerEvent)
    assert (BreakerState.OPEN, BreakerEvent.CLOSE) not in TRANSITIONS


def test_failures_in_a_row_open_it_and_one_fewer_do_not() -> None:
    almost, opened = after(failures=2), after(failures=3)
    assert almost is not None
    assert opened is not None
    assert (almost.state, opened.state) == (BreakerState.CLOSED, BreakerState.OPEN)
    assert succeeded(almost, who="T1") is None
    assert opened.until_at == 10 * SECOND


def test_failures_far_apart_are_not_in_a_row() -> None:
    breaker: Breaker | None = None
    for number in range(10):
        breaker = failed(breaker, NAME, who="T1", reason="503", now=number * 61 * SECOND, rule=RULE)
        assert (breaker.state, breaker.failures) == (BreakerState.CLOSED, 1)


def test_the_first_probe_alone_may_look_until_it_is_given_up() -> None:
    opened = after(failures=3)
    assert opened is not None
    assert admit(opened, who="T2", now=opened.until_at - 1, rule=RULE) is Admission.REFUSE
    at = opened.until_at
    assert admit(opened, who="T2", now=at, rule=RULE) is Admission.PROBE
    half = begin_probe(opened, who="T2", now=at, rule=RULE)
    assert [admit(half, who=who, now=at, rule=RULE) for who in ("T2", "T3")] == [Admission.PROBE, Admission.REFUSE]
    assert admit(half, who="T3", now=at + 20 * SECOND, rule=RULE) is Admission.PROBE
    other = begin_probe(half, who="T3", now=at + 20 * SECOND, rule=RULE)
    assert succeeded(other, who="T2") is other, "given up is given up"
    assert succeeded(other, who="T3") is None


@pytest.mark.parametrize("state", [BreakerState.OPEN, BreakerState.HALF_OPEN])
def test_what_a_clock_that_was_ahead_has_shut_is_tried_once_it_is_set_back(state: BreakerState) -> None:
    longest = round(max(RULE.open_max_s, RULE.asked_max_s, RULE.probe_s) * SECOND)
    shut = Breaker(name=NAME, state=state, failures=3, opened=1, until_at=longest + 5, probe="T9")
    assert admit(shut, who="T1", now=5, rule=RULE) is Admission.REFUSE
    assert admit(shut, who="T1", now=4, rule=RULE) is Admission.PROBE, "no wait is as long as that"


def test_each_probe_that_fails_doubles_the_wait_up_to_the_longest() -> None:
    breaker, now, waits = after(failures=3), 0, []
    for _ in range(4):
        assert breaker is not None
        waits.append((breaker.until_at - now) / SECOND)
        now = breaker.until_at
        breaker = begin_probe(breaker, who="T2", now=now, rule=RULE)
        breaker = failed(breaker, NAME, who="T2", reason="503", now=now, rule=RULE)
    assert waits == [10, 20, 35, 35]
    assert breaker is not None
    assert breaker.since_at == 0, "since when calls are refused"


def test_who_asks_to_be_left_alone_is_at_once_for_as_long_as_it_asks() -> None:
    for asked_s, expected in ((400.0, 400), (2.0, 2), (86_400.0, 3_600)):
        breaker = failed(None, NAME, who="T1", reason="429", now=0, rule=RULE, asked_s=asked_s)
        assert (breaker.state, breaker.until_at) == (BreakerState.OPEN, expected * SECOND)
        assert admit(breaker, who="T2", now=breaker.until_at - 1, rule=RULE) is Admission.REFUSE
        assert admit(breaker, who="T2", now=breaker.until_at, rule=RULE) is Admission.PROBE


def test_of_what_was_asked_for_the_longest_counts_and_many_failures_wait_no_less() -> None:
    told = failed(None, NAME, who="T1", reason="429", now=0, rule=RULE, asked_s=5.0)
    longer = failed(told, NAME, who="T2", reason="429", now=SECOND, rule=RULE, asked_s=9.0)
    assert (longer.until_at, longer.failures) == (10 * SECOND, 1)
    assert failed(longer, NAME, who="T3", reason="429", now=SECOND, rule=RULE, asked_s=1.0) is longer
    breaker, now, waits = told, 0, []
    for _ in range(4):
        now = breaker.until_at
        breaker = begin_probe(breaker, who="T2", now=now, rule=RULE)
        breaker = failed(breaker, NAME, who="T2", reason="429", now=now, rule=RULE, asked_s=5.0)
        waits.append((breaker.until_at - now) / SECOND)
    assert waits == [5, 10, 20, 35], "from the third on it is in trouble, whatever it asks for"


def test_what_began_before_it_opened_moves_nothing() -> None:
    opened = after(failures=3)
    assert succeeded(opened, who="T1") is opened
    assert opened is not None
    assert failed(opened, NAME, who="T1", reason="late", now=5, rule=RULE) is opened


# --- random histories -------------------------------------------------------------------------------------------------

steps = st.lists(
    st.tuples(st.sampled_from(["ask", "good", "bad", "told", "lost", "wait"]), st.integers(0, 4), st.integers(0, 40)),
    max_size=60,
)


@dataclass
class World:
    """Callers, what they are doing, and the breaker between them and whoever is in trouble."""

    now: Instant = 0
    breaker: Breaker | None = None
    asking: dict[str, Admission] = field(default_factory=dict)
    good_or_bad: list[bool] = field(default_factory=list)

    def step(self, what: str, number: int, seconds: int) -> None:
        who = f"T{number}"
        if what == "wait":
            self.now += seconds * SECOND
        elif what == "ask" and who not in self.asking:
            admission = admit(self.breaker, who=who, now=self.now, rule=RULE)
            if admission is Admission.PROBE:
                assert self.breaker is not None
                self.breaker = begin_probe(self.breaker, who=who, now=self.now, rule=RULE)
            if admission is not Admission.REFUSE:
                self.asking[who] = admission
        elif what != "ask" and who in self.asking:
            del self.asking[who]
            if what == "good":
                self.breaker = succeeded(self.breaker, who=who)
            elif what in ("bad", "told"):
                asked_s = float(seconds) if what == "told" else 0.0
                self.breaker = failed(
                    self.breaker, NAME, who=who, reason="503", now=self.now, rule=RULE, asked_s=asked_s
                )
                if asked_s and admit(self.breaker, who="X", now=self.now, rule=RULE) is not Admission.REFUSE:
                    raise AssertionError("who asks to be left alone is")


@pytest.mark.slow
@given(steps)
def test_whatever_happens_there_is_one_probe_and_a_way_back(history: list[tuple[str, int, int]]) -> None:
    world = World()
    for what, number, seconds in history:
        before = world.breaker
        world.step(what, number, seconds)
        now, breaker = world.now, world.breaker
        if breaker is None:
            continue
        callers = [f"X{n}" for n in range(3)]
        admissions = {admit(breaker, who=who, now=now, rule=RULE) for who in callers}
        assert len(admissions) == 1, "strangers are treated alike"
        if breaker.state is BreakerState.CLOSED:
            assert admissions == {Admission.PASS}
            assert 0 < breaker.failures < RULE.failures_max
            assert breaker.until_at == 0
        elif now < breaker.until_at:
            assert admissions == {Admission.REFUSE}
            assert (breaker.state is BreakerState.HALF_OPEN) == bool(breaker.probe)
        else:
            assert admissions == {Admission.PROBE}
        if before is not None and before.state is BreakerState.OPEN:
            assert breaker.state is not BreakerState.CLOSED, "an open breaker never closes without a probe"
        assert breaker.until_at - now <= max(RULE.open_max_s, RULE.probe_s, 40) * SECOND, (
            "nobody is left alone for ever"
        )


@pytest.mark.slow
@given(steps, st.integers(0, 1_000))
def test_once_the_other_side_is_well_the_next_probe_closes_it(history: list[tuple[str, int, int]], later: int) -> None:
    world = World()
    for each in history:
        world.step(*each)
    now = world.now + (later + 40) * SECOND
    if admit(world.breaker, who="new", now=now, rule=RULE) is Admission.PROBE:
        assert world.breaker is not None
        half = begin_probe(world.breaker, who="new", now=now, rule=RULE)
        assert succeeded(half, who="new") is None
        assert replace(half, probe="").state is BreakerState.HALF_OPEN
    else:
        assert succeeded(world.breaker, who="new") is None
