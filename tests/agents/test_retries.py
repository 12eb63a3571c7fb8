"""A failed turn that a person sends on with its journal does not fail again of the same."""

from __future__ import annotations

from pathlib import Path

from ostinato.domain.question import QuestionState
from ostinato.domain.step import Note
from ostinato.domain.task import TaskState
from ostinato.domain.values import Limits
from tests.agents.fleet import ENDED, PARKED, running
from tests.agents.test_turns import decide, files, only_question
from tests.conftest import run

READS = """
rules:
  - when: {tool: files.read, call: 3+}
    text: "enough"
default: {calls: [{tool: files.read, args: {path: SOUL.md}}]}
"""


def test_a_turn_that_stopped_at_a_limit_asks_again_when_it_is_sent_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(READS)) as fleet:
            goal = await fleet.goal("helper", "read", limits=Limits(steps=1))
            await fleet.until(goal.id, PARKED)
            await decide(fleet, await only_question(fleet), QuestionState.DENIED)
            failed = await fleet.until(goal.id, ENDED)
            assert failed.state is TaskState.FAILED
            now = fleet.clock.now()
            await fleet.store.run(
                lambda tx: tx.retry_task(goal.id, fresh=False, actor="ann", reason="look again", now=now)
            )
            await fleet.until(goal.id, PARKED)
            await decide(fleet, await only_question(fleet), QuestionState.ALLOWED)
            await fleet.until(goal.id, PARKED)
            notes = [each for each in await fleet.journal(goal.id) if isinstance(each, Note)]
            assert [(each.by, each.text) for each in notes] == [("ann", "sent on: look again")]

    run(story())


def test_a_turn_whose_replies_stayed_malformed_asks_the_model_again_when_it_is_sent_on(tmp_path: Path) -> None:
    script = """
rules:
  - {when: {nth: [1, 2, 3]}, calls: [{tool: files.read, raw: "{"}]}
default: {text: "better now"}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            goal = await fleet.goal("helper", "read")
            failed = await fleet.until(goal.id, ENDED)
            assert failed.state is TaskState.FAILED
            await fleet.store.run(lambda tx: tx.retry_task(goal.id, fresh=False, actor="ann", now=fleet.clock.now()))
            done = await fleet.until(goal.id, frozenset({TaskState.DONE}))
            assert done.result is not None
            assert done.result.text == "better now"

    run(story())
