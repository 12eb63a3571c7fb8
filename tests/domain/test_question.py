"""Questions: the first decision stands, expiry is a denial, and an approval is of the exact action."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec import structs

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.question import (
    Action,
    Answer,
    Question,
    QuestionKind,
    QuestionState,
    agent_of_answer,
    check_answer,
)

EXPECTED = {
    QuestionKind.APPROVAL: {"allowed", "denied"},
    QuestionKind.BUDGET: {"allowed", "denied"},
    QuestionKind.REVIEW: {"allowed", "denied"},
    QuestionKind.ASK: {"answered", "denied"},
    QuestionKind.UNKNOWN: {"allowed", "answered", "denied"},
    QuestionKind.FAILURE: {"allowed", "answered", "denied"},
}
"""What people can say to each kind."""

BY_ITSELF = {"expired", "withdrawn"}
"""What only the runtime says."""

AT = 1_000
"""When the questions of this room expire."""

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=2), inner, max_size=2),
    max_leaves=4,
)
actions = st.builds(
    Action,
    tool=st.sampled_from(["message.send", "files.write"]),
    arguments=st.dictionaries(st.text(max_size=2), values, max_size=3),
    agent=st.sampled_from(["billing", "sales"]),
    policy=st.sampled_from(["", "p1"]),
)


def question(kind: QuestionKind = QuestionKind.APPROVAL, **fields: Any) -> Question:
    """A pending question."""
    asked = Question(
        id=7, kind=kind, text="May it?", agent="billing", task=1, session="task:1", state=QuestionState.PENDING,
        created_at=0,
    )  # fmt: skip
    return structs.replace(asked, **fields)


@pytest.mark.parametrize("kind", QuestionKind)
@pytest.mark.parametrize("said", QuestionState)
def test_each_kind_can_be_answered_in_its_own_ways_only(kind: QuestionKind, said: QuestionState) -> None:
    asked, answer = question(kind, expires_at=AT), Answer(state=said, by="operator")
    if said.value in EXPECTED[kind] or said is QuestionState.WITHDRAWN:
        check_answer(asked, answer, now=AT - 1)
        return
    with pytest.raises(Conflict, match="Q7"):
        check_answer(asked, answer, now=AT - 1)


@pytest.mark.parametrize("state", sorted(set(QuestionState) - {QuestionState.PENDING}))
@pytest.mark.parametrize("said", QuestionState)
def test_the_first_decision_stands(state: QuestionState, said: QuestionState) -> None:
    settled = question(QuestionKind.UNKNOWN, state=state, decided_by="ann")
    with pytest.raises(Conflict, match=f"Q7 is already {state.value} by ann"):
        check_answer(settled, Answer(state=said, by="operator"), now=0)


@pytest.mark.parametrize("kind", QuestionKind)
@pytest.mark.parametrize("said", QuestionState)
def test_from_the_moment_of_expiry_no_person_can_answer_any_more(kind: QuestionKind, said: QuestionState) -> None:
    asked, answer = question(kind, expires_at=AT), Answer(state=said, by="operator")
    for now in (AT, AT + 1):
        if said.value in BY_ITSELF:
            check_answer(asked, answer, now=now)
            continue
        with pytest.raises(Conflict, match="Q7"):
            check_answer(asked, answer, now=now)


def test_a_question_does_not_expire_before_its_time_or_without_one() -> None:
    expired = Answer(state=QuestionState.EXPIRED, by="runtime")
    for asked in (question(expires_at=AT), question()):
        with pytest.raises(Conflict, match="has not expired"):
            check_answer(asked, expired, now=AT - 1)


def test_the_refusal_names_what_can_be_said() -> None:
    with pytest.raises(Conflict) as refusal:
        check_answer(question(QuestionKind.ASK), Answer(state=QuestionState.ALLOWED, by="operator"), now=0)
    assert "answered or denied" in refusal.value.cure


@pytest.mark.slow
@given(actions, actions)
def test_two_actions_share_a_digest_only_when_they_are_the_same(one: Action, other: Action) -> None:
    same = (one.tool, one.agent, one.policy) == (other.tool, other.agent, other.policy)
    same = same and repr(ordered(one.arguments)) == repr(ordered(other.arguments))
    assert (one.digest == other.digest) is same


def ordered(value: Any) -> Any:
    """A value with its keys in order; told apart by `repr`, as True == 1 in Python."""
    if isinstance(value, dict):
        return sorted((key, ordered(each)) for key, each in value.items())
    return [ordered(each) for each in value] if isinstance(value, list) else value


@pytest.mark.slow
@given(actions, st.randoms())
def test_the_order_of_arguments_does_not_change_what_is_approved(action: Action, random: Any) -> None:
    shuffled = list(action.arguments.items())
    random.shuffle(shuffled)
    assert structs.replace(action, arguments=dict(shuffled)).digest == action.digest


@pytest.mark.parametrize(
    "change",
    [
        {"tool": "files.write"},
        {"arguments": {"to": "mail:b@shop.example"}},
        {"arguments": {"to": "mail:a@shop.example", "more": None}},
        {"agent": "sales"},
        {"policy": "p2"},
    ],
)
def test_any_change_of_the_action_changes_its_digest(change: dict[str, Any]) -> None:
    action = Action(tool="message.send", arguments={"to": "mail:a@shop.example"}, agent="billing", policy="p1")
    assert structs.replace(action, **change).digest != action.digest


@pytest.mark.parametrize(
    ("said", "who"),
    [("retry", ""), ("  Retry ", ""), ("retry with billing", "billing"), ("Retry  with  Ann", "Ann"), ("give up", None),
     ("GIVE UP", None)],
)  # fmt: skip
def test_an_answer_about_a_failed_task_says_who_tries_it_again(said: str, who: str | None) -> None:
    assert agent_of_answer(said) == who


@pytest.mark.parametrize("said", ["", "no", "retry with two names", "retrying", "give it up"])
def test_an_answer_that_is_none_is_refused(said: str) -> None:
    with pytest.raises(Invalid):
        agent_of_answer(said)
