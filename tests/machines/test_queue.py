"""The queue against a plain list, in random histories; and a seeded bug, which such a history must meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from ostinato.store.verbs.claims import ClaimVerbs
from tests.conftest import FULL
from tests.machines.machine import in_sqlite, meet, play
from tests.machines.queue import QueueMachine


@pytest.mark.slow
def test_the_queue_does_what_a_plain_list_says(count: Callable[[Mapping[str, int]], None]) -> None:
    count(play(QueueMachine, in_sqlite(), examples=12 if FULL else 8, steps=40))


def test_a_queue_that_takes_writes_of_old_claims_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    held = ClaimVerbs._held

    def hold_any(self: Any, claim: Any) -> Any:
        return held(self, replace(claim, token=self._kept(claim.task).task.token))

    monkeypatch.setattr(ClaimVerbs, "_held", hold_any)

    def history(queue: QueueMachine) -> None:
        queue.add("a", 0, delayed=False, after=[], copies=1)
        queue.claim(1)
        queue.finish(0, "requeue")
        queue.claim(1)
        queue.write_with_an_old_claim(0, finishes=True)

    with pytest.raises(AssertionError, match="took a write of its old claim"):
        meet(QueueMachine, in_sqlite(), history)
