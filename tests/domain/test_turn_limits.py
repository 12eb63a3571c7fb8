"""Limits of a turn: what a leave grants, calls that are too dear, and when people hear of what is nearly used up."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.chat import Usage
from ostinato.domain.step import Answered, Entry, Input, LimitReached, ModelAnswer, ModelIntent
from ostinato.domain.turn import AskLimit, TurnView, beyond_a_call, nearly_reached
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


def test_people_hear_once_that_a_limit_is_nearly_reached() -> None:
    def told(*tokens: int) -> list[str]:
        usages = [Usage(input_tokens=each) for each in tokens]
        journal = [ModelAnswer(call=at, model="m", usage=each) for at, each in enumerate(usages, 1)]
        return [each.limit for each in nearly_reached(TurnView(journal), Limits(steps=40, tokens=100))]

    assert told() == told(79) == []
    assert told(79, 2) == told(80) == ["tokens"]
    assert told(80, 5) == [], "it was told before"
