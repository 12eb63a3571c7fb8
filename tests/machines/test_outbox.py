"""The outbox against a plain list, in random histories; and a seeded bug, which such a history must meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping

import pytest

from ostinato.domain.step import Effect
from ostinato.tools import delivery
from tests.machines.machine import in_sqlite, meet, play
from tests.machines.outbox import OutboxMachine


@pytest.mark.slow
def test_the_outbox_does_what_a_plain_list_says(count: Callable[[Mapping[str, int]], None]) -> None:
    count(play(OutboxMachine, in_sqlite(), examples=8, steps=25))


def test_an_action_that_is_repeated_by_itself_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(delivery, "REPEATABLE", frozenset(Effect))

    def history(outbox: OutboxMachine) -> None:
        outbox.allow_an_action("bell.ring", cracked=False, edits=False)
        outbox.die_while_delivering("after")
        outbox.deliver_the_next()

    with pytest.raises(AssertionError):
        meet(OutboxMachine, in_sqlite(), history)
