"""What a journal has set aside: on the day of its call, or on that on which a person has sent it on."""

from __future__ import annotations

from ostinato.domain.ledger import held_by
from ostinato.domain.step import CompactionIntent, Entry, ModelIntent, Note, Step, sent_on
from ostinato.domain.values import Trust

CALLED, LATER = 1_000, 2_000


def journal(*entries: Entry) -> list[Step]:
    """One step each, the first when the model was called, the others later."""
    return [
        Step(task=1, journal=1, seq=number, at=CALLED if number == 1 else LATER, attempt=1, entry=entry)
        for number, entry in enumerate(entries, 1)
    ]


def test_a_person_who_sends_a_call_on_moves_its_money_and_a_remark_in_the_same_words_does_not() -> None:
    call = ModelIntent(call=1, model="m", reserved_usd_micros=7)
    sends = sent_on(by="ann", reason="go")
    assert held_by(journal(call)).call_at == CALLED
    assert held_by(journal(call, sends)).call_at == LATER
    for author, trust in (("ann", Trust.OPERATOR), ("clerk", Trust.AGENT)):
        assert held_by(journal(call, Note(text=sends.text, by=author, trust=trust))).call_at == CALLED


def test_what_was_about_to_be_asked_last_is_under_way() -> None:
    call, summary = ModelIntent(call=1, model="m"), CompactionIntent(model="cheap")
    assert held_by(journal(call, summary)).under_way is summary
    assert held_by(journal(summary, call)).under_way is call, "the summary was begun before a crash, and is not needed"
