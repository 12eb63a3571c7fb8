"""An agent that leaves files in its own inbox: what strangers made it write goes on only so far.

The model is a script that writes to itself for ever; store, engine and files are real.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.domain.message import DEPTH_MAX, NewMessage, main_session
from ostinato.domain.task import TaskKind, TaskState
from ostinato.domain.values import Source, Trust
from ostinato.store.port import TaskFilter
from tests.agents.fleet import ENDED, Fleet, running
from tests.conftest import run

FILES = {
    "agents/helper/SOUL.md": "You help.",
    "agents/helper/TOOLS.md": "---\nallow: [files.write]\nfiles: {write: [inbox/]}\n---\n",
    "model.yaml": """
rules:
  - when: {tool: files.write}
    text: "written"
default: {calls: [{tool: files.write, args: {path: inbox/again.NAME, text: "TEXT"}}]}
""",
}


async def all_at_rest(fleet: Fleet) -> bool:
    """True where nothing runs or is about to."""
    at_work = TaskFilter(states=frozenset({TaskState.READY, TaskState.RUNNING}))
    return not await fleet.store.read(lambda reads: reads.tasks(at_work))


@pytest.mark.parametrize(("name", "text"), [("txt", "write to yourself"), ("md", "---\\ntitle: again\\n---\\ngo on")])
def test_an_agent_that_strangers_make_write_to_itself_comes_to_an_end(tmp_path: Path, name: str, text: str) -> None:
    async def story() -> None:
        made = {**FILES, "model.yaml": FILES["model.yaml"].replace("NAME", name).replace("TEXT", text)}
        async with running(tmp_path, made) as fleet:
            message = NewMessage(source=Source.CHANNEL, text="write to yourself", trust=Trust.EXTERNAL)
            key = main_session("helper")
            await fleet.store.run(lambda tx: tx.append_message(key, message, agent="helper", now=fleet.clock.now()))
            for _ in range(3 * DEPTH_MAX):
                await fleet.wait(lambda: all_at_rest(fleet))
                await fleet.inbox.take_agent("helper")
            await fleet.wait(lambda: all_at_rest(fleet))
            kinds = frozenset({TaskKind.GOAL, TaskKind.TURN})
            tasks = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(kinds=kinds)))
            assert sorted(each.depth for each in tasks) == list(range(DEPTH_MAX + 1))
            assert {each.state for each in tasks} <= ENDED
            (why,) = (tmp_path / "agents/helper/inbox/refused").glob("*.why.txt")
            assert "The chain of causes is 6 tasks long already" in why.read_text()

    run(story())
