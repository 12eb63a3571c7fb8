"""Who decides a question, and when it is asked again."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.errors import Denied
from ostinato.domain.person import Role
from ostinato.domain.question import (
    Action,
    Question,
    QuestionKind,
    QuestionState,
    asked_by,
    check_decider,
    next_call_at,
)
from ostinato.domain.values import SECOND

PEOPLE = {"ann": Role.ADMIN, "bob": Role.OPERATOR, "eve": Role.OPERATOR, "vic": Role.VIEWER}


def question(**more: Any) -> Question:
    """An approval of bob's task, asked at 0."""
    return Question(
        kind=QuestionKind.APPROVAL, text="?", agent="a", task=1, session="s", id=7, state=QuestionState.PENDING,
        created_at=0, **more,
    )  # fmt: skip


def may(person: str, asked: Question, *, people: dict[str, Role] | None = None, now: int = 0) -> bool:
    """Whether this person decides."""
    known = PEOPLE if people is None else people
    try:
        check_decider(asked, person, PEOPLE[person], people=known, now=now)
    except Denied:
        return False
    return True


questions = st.builds(
    question,
    ask=st.sampled_from(["operator", "admin", "ann", "eve"]),
    escalate=st.sampled_from(["", "admin", "bob"]),
    escalate_s=st.sampled_from([0.0, 10.0]),
    requesters=st.lists(st.sampled_from(list(PEOPLE)), max_size=3).map(tuple),
)
instants = st.sampled_from([0, 5 * SECOND, 20 * SECOND])


@given(questions, instants, st.sets(st.sampled_from(list(PEOPLE)), min_size=1))
def test_no_viewer_decides_and_no_asker_while_another_could(asked: Question, now: int, names: set[str]) -> None:
    people = {name: PEOPLE[name] for name in names}
    deciders = {name for name in people if may(name, asked, people=people, now=now)}
    assert "vic" not in deciders
    others = {name for name in people if may(name, replace(asked, requesters=()), people=people, now=now)}
    assert deciders <= others
    assert deciders == (others - set(asked.requesters) or others), "and somebody always can, where anybody could"


@given(questions, st.sampled_from(list(PEOPLE)))
def test_time_only_adds_deciders_whom_nobody_stands_above(asked: Question, person: str) -> None:
    alone = replace(asked, requesters=())
    assert may(person, alone, now=20 * SECOND) or not may(person, alone, now=0)


def test_one_person_alone_decides_about_their_own_task() -> None:
    asked = question(requesters=("bob",))
    assert may("bob", asked, people={"bob": Role.OPERATOR, "vic": Role.VIEWER})
    assert not may("bob", asked)
    assert may("eve", asked)
    with pytest.raises(Denied, match="about a task that bob asked for") as refused:
        check_decider(asked, "bob", Role.OPERATOR, people=PEOPLE, now=0)
    assert refused.value.cure == "Somebody else decides: ann, eve."


def test_a_gate_asks_one_person_and_somebody_else_in_the_end() -> None:
    asked = question(ask="eve", escalate="bob", escalate_s=60.0)
    assert may("eve", asked)
    assert may("ann", asked), "an admin may stand in"
    assert not may("bob", asked, now=59 * SECOND)
    assert may("bob", asked, now=60 * SECOND)
    with pytest.raises(Denied, match="Q7 asks an admin"):
        check_decider(question(ask="admin"), "bob", Role.OPERATOR, people=PEOPLE, now=0)
    late = question(ask="eve", escalate="operator", escalate_s=1.0)
    with pytest.raises(Denied, match="Q7 asks eve or an operator"):
        check_decider(late, "vic", Role.VIEWER, people=PEOPLE, now=2 * SECOND)


def test_whoever_is_called_like_a_role_does_not_hold_it() -> None:
    asked = question(ask="admin")
    with pytest.raises(Denied, match="Q7 asks an admin"):
        check_decider(asked, "admin", Role.OPERATOR, people={"admin": Role.OPERATOR}, now=0)
    check_decider(asked, "admin", Role.ADMIN, people={"admin": Role.ADMIN}, now=0)


@given(
    st.none() | st.floats(0.1, 100), st.sampled_from(["", "ann"]), st.floats(1, 100), st.none() | st.integers(1, 500),
    st.integers(0, 400),
)  # fmt: skip
def test_it_is_asked_again_later_and_never_after_its_end(
    remind_s: float | None, escalate: str, escalate_s: float, expires: int | None, after: int
) -> None:
    expires_at = None if expires is None else expires * SECOND
    asked = question(remind_s=remind_s, escalate=escalate, escalate_s=escalate_s, expires_at=expires_at)
    again_at = next_call_at(asked, created_at=0, after=after * SECOND)
    if again_at is not None:
        assert again_at > after * SECOND
        assert expires_at is None or again_at < expires_at
    elif remind_s is not None:
        assert expires_at is not None
    if not escalate:
        assert asked_by(asked, created_at=0, now=10**12) == [asked.ask]


def test_the_times_at_which_it_is_asked_again() -> None:
    asked = question(remind_s=60.0, escalate="ann", escalate_s=90.0, expires_at=200 * SECOND)
    for expires_s, expected in ((200, [67, 97, 127, 187]), (187, [67, 97, 127])):
        asked = replace(asked, expires_at=expires_s * SECOND)
        times, after = [], 7 * SECOND
        while (again_at := next_call_at(asked, created_at=7 * SECOND, after=after)) is not None:
            times.append(again_at // SECOND)
            after = again_at
        assert times == expected, "never in the moment in which it expires"
    assert next_call_at(question(), created_at=0, after=0) is None


def test_the_allowed_action_is_the_edited_one() -> None:
    action = Action(tool="t", arguments={"n": 1}, agent="a", bound={"x": 1})
    asked = question(action=action)
    assert asked.allowed_action == action
    edited = replace(asked, arguments={"n": 2}, edited_bound={"x": 2})
    assert edited.allowed_action == Action(tool="t", arguments={"n": 2}, agent="a", bound={"x": 2})
    assert edited.allowed_action is not None
    assert edited.allowed_action.digest != action.digest
    assert question().allowed_action is None
