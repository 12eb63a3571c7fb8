"""The choice of an agent: skills decide, then who has least to do; the same fleet gives the same choice.

Load is handed in as numbers.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.errors import NotFound
from ostinato.domain.routing import (
    EXPLAINED_MAX,
    POLICIES,
    Candidate,
    Record,
    RoutingPolicy,
    Weights,
    missing,
    route,
)

SKILLS = ("billing", "Refunds", "sales", "triage")
candidates = st.lists(
    st.builds(
        Candidate,
        id=st.sampled_from([f"agent-{number}" for number in range(8)]),
        skills=st.lists(st.sampled_from(SKILLS), max_size=3).map(tuple),
        paused=st.booleans(),
        unfinished=st.integers(0, 3),
    ),
    unique_by=lambda each: each.id,
    max_size=8,
)
records = st.builds(
    Record,
    done=st.integers(0, 50),
    failed=st.integers(0, 50),
    usd_micros=st.none() | st.integers(0, 5_000_000),
    seconds=st.none() | st.floats(0, 3_600),
)
able = st.lists(
    st.builds(
        Candidate,
        id=st.sampled_from([f"agent-{number}" for number in range(8)]),
        skills=st.just(("sales",)),
        paused=st.booleans(),
        hindered=st.sampled_from(["", "no money left today"]),
        unfinished=st.integers(0, 30),
        concurrency=st.integers(1, 8),
        record=records,
        is_known=st.booleans(),
    ),
    unique_by=lambda each: each.id,
    min_size=1,
    max_size=8,
)
weights = st.builds(Weights, **{name: st.sampled_from([0.0, 0.25, 1.0]) for name in Weights.__struct_fields__})
wanted = st.lists(st.sampled_from([*SKILLS, "BILLING", "dancing"]), min_size=1, max_size=3, unique=True)


@given(candidates, wanted, st.randoms(use_true_random=False))
def test_the_choice_has_every_skill_and_nobody_able_is_better(
    fleet: list[Candidate], skills: list[str], chance: random.Random
) -> None:
    chosen = route(fleet, skills=skills)
    able = [each for each in fleet if not missing(each, skills)]
    if not able:
        assert chosen.agent is None
        assert chosen.blocked
    else:
        best = min(able, key=lambda each: (each.paused, each.unfinished, each.id))
        assert (chosen.agent, chosen.blocked) == (best.id, "")
        assert chosen.why[0].startswith(f"{best.id}: has ")
    chance.shuffle(fleet)
    assert route(fleet, skills=skills) == chosen


def test_an_agent_that_is_named_gets_it_whatever_its_skills() -> None:
    fleet = [Candidate(id="billing", paused=True, unfinished=99)]
    chosen = route(fleet, agent="billing", skills=["sales"])
    assert (chosen.agent, chosen.why) == ("billing", ("billing: asked for by name",))


def test_an_unknown_agent_is_told_with_the_known_ones() -> None:
    with pytest.raises(NotFound, match=r"Unknown agent 'biling'\. Known: 'billing'\. Did you mean 'billing'\?"):
        route([Candidate(id="billing")], agent="biling")


def test_without_agent_and_skills_nobody_is_chosen() -> None:
    assert route([Candidate(id="billing")]).blocked == "neither an agent nor skills are named"


def test_an_unroutable_task_is_told_why_and_who_comes_closest() -> None:
    fleet = [Candidate(id="a", skills=("billing",)), Candidate(id="b", skills=("sales", "triage")), Candidate(id="c")]
    unknown = route(fleet, skills=["dancing"])
    assert (unknown.blocked, unknown.why) == ("no agent has the skill dancing", ())
    spread = route(fleet, skills=["billing", "sales", "triage"])
    assert spread.blocked == "no one agent has all of billing, sales, triage"
    assert spread.why == ("b: lacks billing", "a: lacks sales, triage")


def test_an_explanation_names_only_so_many() -> None:
    fleet = [Candidate(id=f"agent-{number:03}", skills=("x",), paused=number > 5) for number in range(40)]
    chosen = route(fleet, skills=["x"])
    assert len(chosen.why) == EXPLAINED_MAX
    assert chosen.why[0] == "agent-000: has x; 0 unfinished"
    assert chosen.why[6] == "agent-006: has x; 0 unfinished; paused"


@given(able, weights, st.randoms(use_true_random=False))
def test_the_order_of_candidates_and_those_who_are_not_able_change_nothing(
    fleet: list[Candidate], given_weights: Weights, chance: random.Random
) -> None:
    chosen = route(fleet, skills=["sales"], weights=given_weights)
    others = [replace(each, id=f"other-{each.id}", skills=("billing",), unfinished=0) for each in fleet]
    mixed = [*fleet, *others]
    chance.shuffle(mixed)
    assert route(mixed, skills=["sales"], weights=given_weights) == chosen


@given(able, weights)
def test_who_is_chosen_stays_so_when_it_becomes_better(fleet: list[Candidate], given_weights: Weights) -> None:
    chosen = route(fleet, skills=["sales"], weights=given_weights).agent
    better = [
        replace(
            each,
            unfinished=each.unfinished // 2,
            is_known=True,
            record=replace(each.record, failed=each.record.failed // 2, usd_micros=0, seconds=0.0),
        )
        if each.id == chosen
        else each
        for each in fleet
    ]
    assert route(better, skills=["sales"], weights=given_weights).agent == chosen


@given(able, weights)
def test_nobody_waits_for_one_who_cannot_work_while_another_can(fleet: list[Candidate], given_weights: Weights) -> None:
    chosen = route(fleet, skills=["sales"], weights=given_weights).agent
    free = {each.id for each in fleet if not each.paused and not each.hindered}
    assert not free or chosen in free


@pytest.mark.parametrize(
    ("policy", "best"),
    [
        (RoutingPolicy.LEAST_LOADED, "idle"),
        (RoutingPolicy.CHEAPEST, "cheap"),
        (RoutingPolicy.FASTEST, "quick"),
        (RoutingPolicy.BEST, "sure"),
        (RoutingPolicy.BALANCED, "idle"),
    ],
)
def test_each_policy_looks_at_what_it_is_named_after(policy: RoutingPolicy, best: str) -> None:
    usual = Record(done=8, failed=2, usd_micros=40_000, seconds=60.0)
    fleet = [
        Candidate(id="idle", skills=("x",), unfinished=0, record=usual),
        Candidate(id="cheap", skills=("x",), unfinished=4, record=replace(usual, usd_micros=1_000)),
        Candidate(id="quick", skills=("x",), unfinished=4, record=replace(usual, seconds=2.0)),
        Candidate(id="sure", skills=("x",), unfinished=4, record=replace(usual, done=10, failed=0)),
    ]
    assert route(fleet, skills=["x"], weights=POLICIES[policy]).agent == best


def test_a_new_agent_is_not_held_to_be_worse_than_one_with_a_record() -> None:
    old = Candidate(id="a-old", skills=("x",), record=Record(done=90, failed=10, usd_micros=5_000, seconds=3.0))
    chosen = route([old, Candidate(id="new", skills=("x",))], skills=["x"], weights=POLICIES[RoutingPolicy.BALANCED])
    assert chosen.agent == "new"
    assert chosen.why[1] == (
        "a-old: has x; 0 unfinished; $0.0050 a task; 3.0 s a task; 10 of its last 100 failed; score 1.10"
    )


@pytest.mark.parametrize("policy", [RoutingPolicy.CHEAPEST, RoutingPolicy.FASTEST, RoutingPolicy.BEST])
def test_one_who_has_only_failed_is_neither_cheap_nor_fast(policy: RoutingPolicy) -> None:
    broken = Candidate(id="a-broken", skills=("x",), record=Record(failed=2))
    works = Candidate(id="works", skills=("x",), record=Record(done=3, failed=1, usd_micros=5_000, seconds=60.0))
    found = route([broken, works], skills=("x",), weights=POLICIES[policy])
    assert found.agent == "works"
    assert "2 of its last 2 failed" in found.why[1]


def test_several_instances_share_a_queue() -> None:
    one = Candidate(id="one", skills=("x",), unfinished=3)
    many = Candidate(id="many", skills=("x",), unfinished=6, concurrency=4)
    assert route([one, many], skills=["x"]).agent == "many"
