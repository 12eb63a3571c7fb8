"""What a journal has set aside: on the day of its call, or on that on which a person has sent it on."""

from __future__ import annotations

from ostinato.domain.ledger import held_by
from ostinato.domain.step import SENT_ON, Entry, ModelIntent, Note, Step
from ostinato.domain.values import Trust

CALLED, LATER = 1_000, 2_000


def journal(*entries: Entry) -> list[Step]:
    """One step each, the first when the model was called, the others later."""
    return [
        Step(task=1, journal=1, seq=number, at=CALLED if number == 1 else LATER, attempt=1, entry=entry)
        for number, entry in enumerate(entries, 1)
    ]


def test_a_person_who_sends_a_call_on_moves_its_money_and_an_agent_that_says_the_same_does_not() -> None:
    call = ModelIntent(call=1, model="m", reserved_usd_micros=7)
    person, agent = Note(text=f"{SENT_ON}: go", by="ann"), Note(text=f"{SENT_ON}: go", by="clerk", trust=Trust.AGENT)
    assert held_by(journal(call)).call_at == CALLED
    assert held_by(journal(call, person)).call_at == LATER
    assert held_by(journal(call, agent)).call_at == CALLED
