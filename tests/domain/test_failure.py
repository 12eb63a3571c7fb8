"""The laws of failure: every history of failures ends or waits for people, no class has more attempts than its budget,
no agent is asked twice, and nobody takes over what cannot be undone."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.errors import Invalid
from ostinato.domain.escalation import Rung, all_s, later_of, parse_rungs
from ostinato.domain.failure import (
    AskPeople,
    Facts,
    FailurePlan,
    GiveUp,
    HandOver,
    NextStep,
    Setback,
    Setbacks,
    TryAgain,
    budget_of,
    next_step,
)
from ostinato.domain.question import agent_of_answer
from ostinato.domain.retry import FailureClass, RetryPolicy, RetryRule, class_of

KINDS = ("transient", "timeout", "rate_limited", "permanent", "denied", "budget", "invalid_output", "Surprise")
LADDER = (Rung(to="alice", within_s=10.0), Rung(to="operator", within_s=20.0))

rules = st.builds(RetryRule, attempts_max=st.none() | st.integers(1, 4))
policies = st.builds(
    RetryPolicy,
    attempts_max=st.none() | st.integers(1, 4),
    classes=st.dictionaries(
        st.sampled_from([each for each in FailureClass if each is not FailureClass.POLICY]), rules, max_size=3
    ),
)
plans = st.builds(
    FailurePlan,
    retry=st.lists(policies, max_size=2).map(tuple),
    escalate=st.sampled_from([(), LADDER]),
)
falls = st.lists(st.sampled_from(["", "b", "c", "a"]), min_size=1, max_size=4)
facts = st.builds(
    Facts, is_final=st.booleans(), is_alone=st.booleans(), deeds=st.sampled_from(["", "a letter was sent"])
)
histories = st.lists(st.tuples(st.sampled_from(KINDS), facts, st.floats(0, 1, exclude_max=True)), max_size=60)


@given(policies, plans, falls, histories)
def test_every_history_of_failures_ends_or_waits_within_its_budgets(
    own: RetryPolicy, plan: FailurePlan, fallbacks: list[str], history: list[tuple[str, Facts, float]]
) -> None:
    agent, setbacks, asked_of = "a", Setbacks(), ["a"]
    for number, (kind, given_facts, chance) in enumerate(history):
        failure = class_of(kind)
        here = replace(plan, fallback=fallbacks[number % len(fallbacks)])
        budget = budget_of(kind, own, here)
        setback = Setback(attempt=number, agent=agent, failure=failure, kind=kind, error="no", at=number)
        setbacks = setbacks.after(setback, budget=budget)
        count = setbacks.counts[failure]
        step: NextStep = next_step(
            kind, count=count, own=own, plan=here, facts=given_facts, tried=(*setbacks.tried, agent), chance=chance
        )
        match step:
            case TryAgain(delay_s=delay_s, fresh=fresh):
                assert count < budget, "never more attempts than the budget"
                assert 0 <= delay_s <= 300.0
                assert failure is not FailureClass.POLICY
                assert not (fresh and given_facts.deeds), "what cannot be undone is not begun anew"
            case HandOver(agent=other):
                assert failure is not FailureClass.POLICY
                assert not given_facts.deeds
                assert given_facts.is_alone
                assert other not in asked_of, "each agent once"
                asked_of.append(other)
                setbacks, agent = setbacks.anew(without=agent), other
            case AskPeople(rungs=rungs):
                assert rungs == LADDER
                assert given_facts.is_alone, "a session that goes on waits for nobody"
                return
            case GiveUp(rungs=rungs):
                assert not (rungs and given_facts.is_alone), "what nobody else waits for waits for people"
                return
        assert len(setbacks.told) <= number + 1
    assert all(each <= setbacks.budgets[name] for name, each in setbacks.counts.items())


@given(policies, plans, st.sampled_from(KINDS), facts)
def test_only_so_many_failures_of_one_kind_follow_each_other(
    own: RetryPolicy, plan: FailurePlan, kind: str, given_facts: Facts
) -> None:
    tries = 0
    while tries < 100:
        tries += 1
        step = next_step(kind, count=tries, own=own, plan=plan, facts=given_facts, tried=("a",), chance=0.5)
        if not isinstance(step, TryAgain):
            break
    assert tries <= budget_of(kind, own, plan)


def test_setbacks_remember_the_latest_and_count_all() -> None:
    setbacks = Setbacks()
    for number in range(60):
        each = Setback(attempt=number, agent="a", failure=FailureClass.TRANSIENT, kind="", error="x" * 5_000, at=0)
        setbacks = setbacks.after(each, budget=99)
    assert (len(setbacks.told), setbacks.told[-1].attempt, setbacks.counts[FailureClass.TRANSIENT]) == (50, 59, 60)
    assert len(setbacks.told[0].error) == 1_000
    assert setbacks.anew(without="a").tried == ("a",)
    assert setbacks.anew().counts == {}


def test_people_are_asked_one_after_the_other() -> None:
    rungs = parse_rungs(
        [{"to": "alice", "within": "2h"}, {"to": "bob", "within": "1h"}, {"to": "admin", "within": "1d"}]
    )
    assert [(each.to, each.after_s) for each in later_of(rungs)] == [("bob", 7_200.0), ("admin", 10_800.0)]
    assert all_s(rungs) == 97_200.0


@pytest.mark.parametrize(
    ("plain", "message"),
    [
        ("alice", "no list of people"),
        ([{"to": "alice"}], "how long they have"),
        ([{"to": "a b", "within": "1h"}], "'a b' is nobody"),
        ([{"to": "alice", "within": "soon"}], "not a duration"),
        ([{"to": "alice", "within": "90d"}], "no time to answer in"),
        ([{"to": "alice", "within": "1h", "then": "bob"}], "Unknown key 'then'"),
        ([{"to": "alice", "within": "1h"}] * 9, "too many"),
    ],
)
def test_what_is_wrong_with_a_ladder_is_said(plain: object, message: str) -> None:
    with pytest.raises(Invalid, match=message):
        parse_rungs(plain, place="escalate")


def test_the_answers_to_a_failed_task() -> None:
    assert agent_of_answer("Retry") == ""
    assert agent_of_answer(" retry with  billing ") == "billing"
    assert agent_of_answer("give up") is None
    for text in ("retry with two agents", "yes", ""):
        with pytest.raises(Invalid, match="is no answer to this"):
            agent_of_answer(text)
