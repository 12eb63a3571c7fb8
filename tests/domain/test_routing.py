"""The laws of routing: skills first, then who is free, then who has least to do; and always a reason."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.errors import NotFound
from ostinato.domain.routing import EXPLAINED_MAX, Candidate, missing, route

SKILLS = ("billing", "Triage", "sales", "späti")
skills = st.lists(st.sampled_from(SKILLS), max_size=3, unique=True).map(tuple)
candidates = st.lists(
    st.builds(
        Candidate,
        id=st.sampled_from([f"agent-{number:02d}" for number in range(30)]),
        skills=skills,
        paused=st.booleans(),
        unfinished=st.integers(0, 5),
    ),
    max_size=20,
    unique_by=lambda each: each.id,
)


@pytest.mark.slow
@given(candidates, skills, st.randoms(use_true_random=False))
def test_the_order_in_which_candidates_are_given_changes_nothing(
    given_: list[Candidate], wanted: tuple[str, ...], random: object
) -> None:
    shuffled = list(given_)
    random.shuffle(shuffled)
    assert route(shuffled, skills=wanted) == route(given_, skills=wanted)


@given(candidates, skills)
def test_who_gets_a_task_has_every_skill_and_nobody_able_is_better(
    given_: list[Candidate], wanted: tuple[str, ...]
) -> None:
    found = route(given_, skills=wanted)
    able = [each for each in given_ if not missing(each, wanted)] if wanted else []
    assert (found.agent is None) == (not able) == bool(found.blocked)
    if found.agent is not None:
        chosen = next(each for each in able if each.id == found.agent)
        rank = (chosen.paused, chosen.unfinished, chosen.id)
        assert all(rank <= (each.paused, each.unfinished, each.id) for each in able)
        assert len(found.why) == min(len(able), EXPLAINED_MAX)
        assert found.why[0].startswith(chosen.id)


@given(candidates, skills)
def test_a_skill_counts_whatever_its_case(given_: list[Candidate], wanted: tuple[str, ...]) -> None:
    upper = tuple(each.upper() for each in wanted)
    assert route(given_, skills=upper).agent == route(given_, skills=wanted).agent


@given(candidates, skills)
def test_more_agents_never_make_a_task_unroutable(given_: list[Candidate], wanted: tuple[str, ...]) -> None:
    if route(given_, skills=wanted).agent is not None:
        more = [*given_, Candidate(id="one-more", skills=wanted)]
        assert route(more, skills=wanted).agent is not None


def test_what_nobody_can_do_says_which_skill_is_missing_and_who_comes_close() -> None:
    have = [Candidate(id="a", skills=("billing",)), Candidate(id="b", skills=("sales",))]
    nobody = route(have, skills=("billing", "law"))
    assert nobody.blocked == "no agent has the skill law"
    assert nobody.why == ("a: lacks law",)
    assert route(have, skills=("billing", "sales")).blocked == "no one agent has all of billing, sales"
    assert route(have).blocked


def test_an_agent_that_is_named_gets_it_or_is_unknown() -> None:
    have = [Candidate(id="billing", paused=True, pool="heavy")]
    assert route(have, agent="billing", skills=("law",)).pool == "heavy"
    with pytest.raises(NotFound, match="Did you mean 'billing'"):
        route(have, agent="biling")
