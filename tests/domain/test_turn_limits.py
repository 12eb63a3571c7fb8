"""Limits of a turn: what a leave grants, calls that are too dear, and when people hear of what is nearly used up."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.chat import Usage
from ostinato.domain.step import Answered, Compacted, Entry, Input, LimitReached, ModelAnswer, ModelIntent
from ostinato.domain.turn import AskLimit, TurnView, beyond_a_call, few_steps_left, nearly_reached
from ostinato.domain.values import Limits
from tests.domain.test_turn import different, end_of, story_of
from tests.domain.turn_player import played


def test_a_leave_past_a_limit_of_nothing_covers_what_was_used_and_no_more() -> None:
    world = played(story_of(*different(4), limits=Limits(tokens=0), more=("allow",) * 9))
    assert isinstance(world.journal[0], ModelIntent | Input), "nothing was used before"
    used = [each.used for each in world.journal if isinstance(each, LimitReached)]
    assert used == sorted(set(used)), "each call that used something was asked about once"
    assert len(used) == 4
    assert not end_of(world).failed


def test_a_leave_that_names_a_sum_grants_that_much() -> None:
    journal: list[Entry] = [LimitReached(limit="steps", value=2, used=2, question=1)]
    leave = Answered(question=1, decision="allow", by="ann", arguments={"more": 5})
    assert TurnView([*journal, leave]).granted("steps", 2) == 7
    assert TurnView([*journal, replace(leave, arguments=None)]).granted("steps", 2) == 4
    assert TurnView([*journal, replace(leave, decision="deny")]).granted("steps", 2) == 2


def test_a_call_that_is_too_dear_is_asked_about_and_the_same_once_more_is_granted() -> None:
    limits = Limits(per_call_usd_micros=100, per_call_tokens=50)
    assert beyond_a_call(TurnView([]), limits, usd_micros=100, tokens=50) is None
    over = beyond_a_call(TurnView([]), limits, usd_micros=150, tokens=50)
    assert over == AskLimit(limit="per_call_usd_micros", value=100, used=150)
    asked = LimitReached(limit=over.limit, value=over.value, used=over.used, question=1)
    leave = Answered(question=1, decision="allow", by="ann")
    assert beyond_a_call(TurnView([asked, leave]), limits, usd_micros=150, tokens=50) is None
    assert beyond_a_call(TurnView([asked, leave]), limits, usd_micros=250, tokens=50) is not None
    assert beyond_a_call(TurnView([]), limits, usd_micros=0, tokens=51) is not None


@given(st.integers(1, 40), st.integers(0, 2))
def test_of_each_limit_of_steps_one_hears_once_before_it_is_reached(steps: int, leaves: int) -> None:
    view, limits, told = TurnView([]), Limits(steps=steps, tokens=10**9), list[tuple[float, float]]()
    for call in range(1, steps * (leaves + 1) + 1):
        view.add(ModelIntent(call=call, model="m"))
        view.add(ModelAnswer(call=call, model="m"))
        if call == view.granted("steps", steps):
            view.add(LimitReached(limit="steps", value=steps, used=call, question=call))
            view.add(Answered(question=call, decision="allow", by="ann"))
        told += [(near.used, near.value) for near in nearly_reached(view, limits)]
    limits_met = range(steps, steps * (leaves + 1) + 1, steps)
    assert [most for _, most in told] == (list(limits_met) if steps > 1 else []), "of a single step nothing is left"
    assert all(used < most and (used >= 0.8 * most or most - used == 1) for used, most in told)


def test_the_model_is_told_how_many_steps_are_left() -> None:
    left = few_steps_left(AskLimit(limit="steps", value=40, used=32))
    assert left.text.startswith("8 steps are left of 40")
    assert few_steps_left(AskLimit(limit="steps", value=2, used=1)).text.startswith("1 step is left of 2")
    assert not left.sends_on


def test_people_hear_once_that_a_limit_is_nearly_reached() -> None:
    def told(*tokens: int) -> list[str]:
        usages = [Usage(input_tokens=each) for each in tokens]
        journal = [ModelAnswer(call=at, model="m", usage=each) for at, each in enumerate(usages, 1)]
        return [each.limit for each in nearly_reached(TurnView(journal), Limits(steps=40, tokens=100))]

    assert told() == told(79) == []
    assert told(79, 2) == told(80) == ["tokens"]
    assert told(80, 5) == [], "it was told before"


def test_a_summary_counts_for_the_limits_of_its_turn() -> None:
    view = TurnView([Compacted(text="before", usage=Usage(input_tokens=40, output_tokens=2), usd_micros=7)])
    assert (view.tokens, view.usd_micros) == (42, 7)
