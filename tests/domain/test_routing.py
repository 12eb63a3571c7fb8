"""The choice of an agent: skills decide, then who has least to do; the same fleet gives the same choice.

Load is handed in as numbers.
"""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import NotFound
from ostinato.domain.routing import EXPLAINED_MAX, Candidate, missing, route

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
