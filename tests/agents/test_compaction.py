"""Long sessions and long turns: the prompt stays bounded, the past stays in the store, and a summary is made once."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from ostinato.domain.compaction import ContextLimits
from ostinato.domain.message import NewMessage, main_session
from ostinato.domain.step import Compacted, CompactionIntent, Entry, ModelAnswer
from ostinato.domain.task import TaskState
from ostinato.domain.values import Source, Trust
from ostinato.store.port import Tx
from tests.agents.fleet import PARKED, Fleet, running, write_fleet
from tests.conftest import run

MODEL = """
price: {input: 1, output: 1}
rules:
  - when: {system: "You keep the memory"}
    text: "They spoke of NUMBERS."
default: {text: "heard: {asked}"}
"""
LONG_TURN = f"""
rules:
  - when: {{system: "You keep the memory"}}
    text: "It searched."
default: {{text: "{"x" * 900}", calls: [{{tool: memory.search, args: {{query: "needle"}}}}]}}
"""


def files(script: str) -> dict[str, str]:
    return {
        "agents/helper/SOUL.md": "You help.\n",
        "agents/helper/AGENTS.md": "---\nlimits: {identical: 50, steps: 12}\n---\n",
        "agents/helper/TOOLS.md": "---\nallow: [memory.search]\n---\n",
        "model.yaml": script,
    }


async def hear(fleet: Fleet, number: int, *, trust: Trust = Trust.OPERATOR) -> list[Entry]:
    """One message to the main session, and the journal of the turn that reads it."""
    message = NewMessage(source=Source.OPERATOR, text=f"message {number} {'y' * 150}", trust=trust)
    key = main_session("helper")
    await fleet.store.run(lambda tx: tx.append_message(key, message, agent="helper", now=fleet.clock.now()))
    (task,) = await fleet.store.read(lambda reads: reads.session_tasks(key, limit=1))
    assert (await fleet.until(task.id)).state is TaskState.DONE
    return await fleet.journal(task.id)


def prompt_of(journal: list[Entry]) -> int:
    return max(each.usage.input_tokens for each in journal if isinstance(each, ModelAnswer))


@pytest.mark.slow
@pytest.mark.parametrize("summary", ["script", "none"])
def test_a_session_of_many_turns_has_a_bounded_prompt(tmp_path: Path, summary: str) -> None:
    async def story() -> None:
        async with running(tmp_path, files(MODEL)) as fleet:
            fleet.leashes.context_limits = ContextLimits(history=800, summary=summary)
            journals = [await hear(fleet, n, trust=Trust.EXTERNAL if n == 1 else Trust.OPERATOR) for n in range(40)]
            summaries = [each for journal in journals for each in journal if isinstance(each, Compacted)]
            assert 2 <= len(summaries) <= 12, "seldom, so that prefixes stay the same"
            first_kb = prompt_of(journals[0])
            assert max(prompt_of(each) for each in journals) < first_kb + 2_500
            if summary == "none":
                assert "message 1 " in summaries[0].text
                assert all(not each.model for each in summaries)
            else:
                assert {each.text for each in summaries} == {"They spoke of NUMBERS."}
                paid = await fleet.store.read(lambda reads: reads.spending("model", since_at=0))
                assert sum(each.calls for each in paid) == 40 + len(summaries)
            last = [each for each in journals[-1] if isinstance(each, ModelAnswer)]
            assert last[0].trust is Trust.EXTERNAL, "what a stranger said is still in it: taint is sticky"
            everything = await fleet.store.read(lambda reads: reads.messages(main_session("helper")))
            assert len(everything) == 40, "nothing is forgotten"

    run(story())


@pytest.mark.slow
def test_a_long_turn_is_folded_while_it_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(LONG_TURN)) as fleet:
            fleet.leashes.context_limits = ContextLimits(turn=1_500, summary="script")
            task = await fleet.until((await fleet.goal("helper", "Find the needle.")).id, PARKED)
            journal = await fleet.journal(task.id)
            made = [each for each in journal if isinstance(each, Compacted)]
            assert made
            assert made[0].entries > 0
            asked = [each.usage.input_tokens for each in journal if isinstance(each, ModelAnswer)]
            assert len(asked) == 12
            assert max(asked) < asked[0] + 2_500
            assert len([each for each in journal if isinstance(each, CompactionIntent)]) == len(made)

    run(story())


async def begin_a_summary(fleet: Fleet) -> int:
    """Goes on until a turn waits for the model that writes its summary; the turn's task."""
    key = main_session("helper")
    for number in range(30):
        message = NewMessage(source=Source.OPERATOR, text=f"message {number} {'y' * 150}")
        await fleet.store.run(partial(_append, key, message, fleet.clock.now()))
        (task,) = await fleet.store.read(lambda reads: reads.session_tasks(key, limit=1))
        is_done = False

        async def is_begun(number: int = task.id) -> bool:
            nonlocal is_done
            is_done = (await fleet.store.read(lambda reads: reads.task(number))).state is TaskState.DONE
            return is_done or any(isinstance(each, CompactionIntent) for each in await fleet.journal(number))

        while not await is_begun():
            pass  # each look waits for the store; an intent is no event
        if not is_done:
            return task.id
    raise AssertionError("nothing was folded")


def _append(key: str, message: NewMessage, now: int, tx: Tx) -> None:
    tx.append_message(key, message, agent="helper", now=now)


@pytest.mark.slow
def test_a_summary_that_was_begun_is_finished_once_with_what_was_set_aside(tmp_path: Path) -> None:
    async def story() -> None:
        state, folder = tmp_path / "state", tmp_path / "fleet"
        slow = MODEL.replace('text: "They spoke', 'delay: 1h\n    text: "They spoke')
        first = Fleet(write_fleet(folder, files(slow)), state=state)
        first.leashes.context_limits = ContextLimits(history=300, summary="script")
        await first.node.start()
        task = await begin_a_summary(first)
        await first.store.run(lambda tx: tx.set_flag("fleet", "halted", actor="ann", reason="", now=1))
        await first.node.stop()
        await first.store.close()
        await first.models.close()
        second = Fleet(write_fleet(folder, {"model.yaml": MODEL}), state=state)
        second.leashes.context_limits = ContextLimits(history=300, summary="script")
        await second.store.run(lambda tx: tx.clear_flag("fleet", "halted", actor="ann", now=1))
        await second.node.start()
        try:
            assert (await second.until(task)).state is TaskState.DONE
            journal = await second.journal(task)
            assert len([each for each in journal if isinstance(each, CompactionIntent)]) == 1
            assert [each.text for each in journal if isinstance(each, Compacted)] == ["They spoke of NUMBERS."]
        finally:
            await second.node.stop()
            await second.store.close()
            await second.models.close()

    run(story())
