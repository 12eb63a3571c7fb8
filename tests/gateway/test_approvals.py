"""Approvals from outside: what a person can decide about which kind of question."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.domain.errors import Invalid
from ostinato.domain.question import Action, NewQuestion, QuestionKind
from ostinato.domain.task import NewTask, TaskKind
from ostinato.gateway import approvals_api
from tests.conftest import run
from tests.gateway.ground import NOW, ground


def test_arguments_of_an_action_that_may_have_happened_cannot_be_changed(tmp_path: Path) -> None:
    """It would be done again as it was, and the person would believe otherwise."""
    action = Action(tool="pay", arguments={"amount": 10}, agent="clerk")

    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            task = await made.store.run(
                lambda tx: tx.add_task(NewTask(kind=TaskKind.GOAL, title="pay", agent="clerk"), now=NOW)
            )
            asked = NewQuestion(
                kind=QuestionKind.UNKNOWN, text="?", agent="clerk", task=task.id, session="task:1", action=action
            )
            await made.store.run(lambda tx: tx.ask(asked, now=NOW))
            with pytest.raises(Invalid, match="arguments"):
                await made.call(approvals_api.allow, {"question": "Q1", "arguments": {"amount": 20}})
            assert (await made.call(approvals_api.allow, {"question": "Q1"}))["state"] == "allowed"

    run(story())
