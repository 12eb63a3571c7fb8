"""Bindings: the most specific one wins, in any order, and strangers read on in nobody's conversation."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.binding import Binding, BoundSession, Inbound, binding_of, session_key

MAIL = Inbound(channel="mail", accounts=("help@us.example",), peer="ann@acme.example", thread="<1@acme.example>")
LADDER = (
    Binding(agent="one", peer="ann@acme.example"),
    Binding(agent="two", peer="*@acme.example"),
    Binding(agent="three", peer="*.example"),
    Binding(agent="four", account="help@us.example"),
    Binding(agent="five", account="*@us.example"),
    Binding(agent="six", channel="mail"),
    Binding(agent="seven"),
)


@given(st.permutations(LADDER), st.integers(0, len(LADDER) - 1))
def test_of_those_that_hold_the_most_specific_counts_in_any_order(order: list[Binding], gone: int) -> None:
    left = [each for each in order if LADDER.index(each) >= gone]
    assert binding_of(MAIL, left) == LADDER[gone]


def test_of_equals_the_first_counts_and_where_none_holds_nobody_gets_it() -> None:
    assert binding_of(MAIL, [Binding(agent="a", channel="mail"), Binding(agent="b", channel="mail")]) is not None
    assert binding_of(MAIL, [Binding(agent=each, channel="mail") for each in "ab"]) == Binding(
        agent="a", channel="mail"
    )
    assert binding_of(MAIL, [Binding(agent="a", peer="bob@*"), Binding(agent="b", channel="file")]) is None
    assert binding_of(Inbound(channel="mail"), [Binding(agent="a", peer="*")]) is None, "nobody vouches for it"


@given(st.sampled_from(BoundSession), st.text(max_size=30), st.text(max_size=30))
def test_a_session_is_shared_by_one_peer_of_one_agent_alone(session: BoundSession, one: str, other: str) -> None:
    binding = Binding(agent="a", session=session)
    first, second = [Inbound(channel="mail", peer=each, thread="t") for each in (one, other)]
    if session is BoundSession.ISOLATED or not one:
        assert session_key(binding, first) == ""
        return
    assert (session_key(binding, first) == session_key(binding, second)) == (one.casefold() == other.casefold())
    apart = session_key(binding, Inbound(channel="mail", peer=one, thread="u")) != session_key(binding, first)
    assert apart is (session is BoundSession.BRANCH)
    assert session_key(Binding(agent="b", session=session), first) != session_key(binding, first)
