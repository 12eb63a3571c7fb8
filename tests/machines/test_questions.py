"""Questions against a plain list, in random histories; and a seeded bug, which such a history must meet."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest
from msgspec.structs import replace

from ostinato.domain.question import QuestionKind, QuestionState, check_answer
from ostinato.store.verbs import questions
from tests.conftest import FULL
from tests.machines.machine import in_sqlite, meet, play
from tests.machines.questions import QuestionMachine


@pytest.mark.slow
def test_questions_are_settled_as_a_plain_list_says(count: Callable[[Mapping[str, int]], None]) -> None:
    count(play(QuestionMachine, in_sqlite(), examples=12 if FULL else 8, steps=40))


def test_a_second_decision_that_counts_is_noticed(monkeypatch: pytest.MonkeyPatch) -> None:
    def check_alone(question: Any, answer: Any, *, now: int) -> None:
        check_answer(replace(question, state=QuestionState.PENDING), answer, now=now)

    monkeypatch.setattr(questions, "check_answer", check_alone)

    def history(asked: QuestionMachine) -> None:
        asked.begin_a_task()
        asked.ask(0, QuestionKind.APPROVAL, stored=True, expires=False)
        asked.answer(0, QuestionState.DENIED, edits=False, by="ann")
        asked.answer(0, QuestionState.ALLOWED, edits=False, by="ben")

    with pytest.raises(AssertionError, match="took"):
        meet(QuestionMachine, in_sqlite(), history)
