"""The turn and the models it asks: who takes over from whom, read from the journal alone."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.step import Chosen, Entry, ModelAnswer, ModelIntent
from ostinato.domain.turn import REPAIRS_MAX, CallModel, Finish, next_action
from ostinato.domain.values import Limits


def test_a_stronger_model_is_asked_once_before_malformed_replies_end_the_turn() -> None:
    bad = ModelAnswer(call=3, model="small", problem="torn")
    journal: list[Entry] = []
    for call in range(1, 2 + REPAIRS_MAX):
        assert next_action(journal, Limits(identical=2), can_escalate=True) == CallModel(call=call, resumed=False)
        journal += [ModelIntent(call=call, model="small"), replace(bad, call=call)]
    call = 2 + REPAIRS_MAX
    assert next_action(journal, Limits(), can_escalate=True) == CallModel(call=call, resumed=False, escalated=True)
    assert isinstance(next_action(journal, Limits()), Finish)
    journal.append(ModelIntent(call=call, model="large", chosen=Chosen.ESCALATION))
    for number in range(call, call + REPAIRS_MAX):
        journal.append(replace(bad, call=number))
        assert next_action(journal, Limits(), can_escalate=True) == CallModel(call=number + 1, resumed=False)
        journal.append(ModelIntent(call=number + 1, model="large"))
    journal.append(replace(bad, call=call + REPAIRS_MAX))
    ended = next_action(journal, Limits(), can_escalate=True)
    assert isinstance(ended, Finish)
    assert "malformed" in ended.failed


def test_another_intent_of_the_same_call_takes_the_place_of_the_first() -> None:
    journal: list[Entry] = [ModelIntent(call=1, model="small"), ModelIntent(call=1, model="other")]
    assert next_action(journal, Limits()) == CallModel(call=1, resumed=True)
    journal.append(ModelAnswer(call=1, model="other", text="Here."))
    assert next_action(journal, Limits()) == Finish(text="Here.")
    journal[-1] = ModelAnswer(call=1, model="other", problem="torn")
    assert next_action(journal, Limits(steps=2)) == CallModel(call=2, resumed=False), "one step, whoever was asked"
