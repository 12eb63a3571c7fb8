"""Agents of kind `python`, in real rooms: a function does the goal, and parks, fails and is refused as a turn is."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

import pytest

from ostinato.cli.client import Client
from ostinato.domain.question import Answer, QuestionState
from ostinato.domain.step import Judged, ModelAnswer, ToolIntent, ToolOutcome
from ostinato.domain.task import NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.gateway import agents_api, fleet_api
from ostinato.gateway.operation import Nothing
from ostinato.store.port import QuestionFilter
from ostinato.tools.python.workers import Described, Sources, Workers
from tests.conftest import run, wait_until
from tests.processes.yard import Yard, folder, yard
from tests.sandbox.ground import as_owner

__all__ = ["folder"]

pytestmark = pytest.mark.slow

KEEPER = """
import asyncio, os, time
from ostinato import CallFailed, Call, Context, Refused, agent, tool

@agent()
async def keep(context: Context):
    context.log("begins with", context.goal)
    if "refuse" in context.goal:
        raise Refused("not today")
    if "odd" in context.goal:
        context.input["file"].close()
    first, second = await asyncio.gather(
        context.once("one", lambda: {"n": 1}, effect="read"), context.once("two", slow, effect="idempotent"))
    try:
        await context.call("files.write", path="SOUL.md", text="mine")
    except CallFailed as failed:
        denied = failed.status
    await context.call("files.write", path="out/a.txt", text=str(first["n"] + second))
    if "send" in context.goal:
        sent = await context.call("message.send", to="mail:a@example.com", subject="S", text="T")
        context.log("sent")
    sees = [each for each in ("/FLEET", "/FLEET/.ostinato", "/FLEET/agents/helper") if os.path.exists(each)]
    return {"sum": first["n"] + second, "denied": denied, "sees": sees}

async def slow(call: Call) -> int:
    await asyncio.sleep(0.01)
    return 41 if len(call.key) == 32 and not call.repeated else 0

@tool(effect="read")
def count(text: str) -> int:
    'Counts letters.'
    return len(text)

@agent(timeout_s=20)
def plain(context):
    n = context.once("n", (lambda: time.sleep(600)) if context.goal == "wait" else lambda: 20, timeout_s=500)
    return f"{context.agent} {n + 1}"
"""
AGENT = "---\nkind: python\nfunction: keeper.{}\n---\n"
READER = {
    "agents/reader/TOOLS.md": "---\nallow: [keeper.count]\nuses: [letters]\n---\n",
    "skills/letters/SKILL.md": "---\nname: letters\ndescription: How we write letters.\n---\nKindly.\n",
}
TOOLS = """---
allow: [files.write, message.send]
files: {write: [out/]}
recipients: ["mail:*@example.com"]
---
"""


def furnish(folder: Path, function: str = "keep", text: str = KEEPER) -> None:
    (folder / "agents/helper").mkdir(parents=True)
    (folder / "agents/helper/AGENTS.md").write_text(AGENT.format(function))
    (folder / "tools").mkdir()
    (folder / "tools/keeper.py").write_text(text.replace("/FLEET", str(folder)))
    for name, written in READER.items():
        (folder / name).parent.mkdir(parents=True)
        (folder / name).write_text(written)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, as_owner()["user"], as_owner()["group"])


async def allow(fleet: Yard) -> str:
    """Says yes to the only question; what it was about."""
    (question,) = await fleet.store.read(lambda reads: reads.questions(QuestionFilter()))
    answer = Answer(state=QuestionState.ALLOWED, by="ann")
    await fleet.store.run(lambda tx: tx.answer(question.id, answer, now=fleet.now()))
    return question.text


async def error_of(fleet: Yard, task: int) -> tuple[TaskState, str]:
    found: Task = await fleet.ended(task)
    assert found.result is not None
    return found.state, found.result.error


def test_a_function_does_goals_step_by_step_and_goes_on_after_a_person_and_a_restart(folder: Path) -> None:
    async def story() -> None:
        furnish(folder)
        async with yard(folder, "default: {text: no model is asked}", tools=TOOLS) as fleet:
            goal = await fleet.goal("send it")
            parked = await fleet.until_parked(goal)
            assert parked.reason == "waits for Q1"
            await fleet.stop()
            await fleet.start()
            assert await allow(fleet) == "May helper call message.send?"
            ended = await fleet.ended(goal)
            assert ended.state is TaskState.DONE, ended
            assert ended.result is not None
            assert ended.result.data == {"sum": 42, "denied": "denied", "sees": []}
            assert (ended.usd_micros, ended.tokens) == (0, 0)
            assert (fleet.workspace / "out/a.txt").read_text() == "42"
            journal = await fleet.journal(goal)
            assert [each.tool for each in journal if isinstance(each, ToolIntent)] == [
                "once", "once", "files.write", "message.send", "finish"
            ]  # fmt: skip
            said = [each.text for each in journal if isinstance(each, ModelAnswer)]
            assert (said[0], said[-1]) == ("begins with send it", "sent")
            assert [e.decision.value for e in journal if isinstance(e, Judged)] == [
                "allow", "allow", "deny", "allow", "ask", "allow"
            ]  # fmt: skip
            assert len([each for each in journal if isinstance(each, ToolOutcome)]) == 6

            state, error = await error_of(fleet, await fleet.goal("refuse it"))
            assert (state, error) == (TaskState.FAILED, "keeper.keep refuses: not today")

            goal = await fleet.goal("odd")
            waiting = await fleet.until(lambda: _tried(fleet, goal))
            assert "KeyError: 'file' (tools/keeper.py:11)" in waiting.reason

            goal = await fleet.goal("send another")
            await fleet.until_parked(goal)
            file = folder / "tools/keeper.py"
            file.write_text(KEEPER.replace('"one"', '"first"'))
            assert fleet.app is not None
            assert fleet.app.plugins is not None
            await fleet.app.plugins.python.look()
            await allow(fleet)
            state, error = await error_of(fleet, goal)
            assert state is TaskState.FAILED
            assert error.startswith(
                "keeper.keep now asks for once('first') where it asked for once('one') before (step"
            )

    run(story())


async def _tried(fleet: Yard, task: int) -> Task | None:
    found = await fleet.store.read(lambda reads: reads.task(task))
    return found if found.attempts and found.state is TaskState.READY else None


def test_a_broken_file_only_delays_check_names_its_line_and_a_cancelled_task_ends_its_worker(folder: Path) -> None:
    async def story() -> None:
        furnish(folder, "plain", "def x(:\n")
        async with yard(folder, "default: {text: no}", tools=TOOLS) as fleet:
            assert fleet.app is not None
            assert fleet.app.plugins is not None
            python = fleet.app.plugins.python
            parked = await fleet.until_parked(await fleet.goal("do it"))
            assert "tools/keeper.py:1" in parked.reason
            (folder / "tools/keeper.py").write_text(f"{KEEPER}\n@agent()\ndef two(one, more): ...\n")
            (folder / "agents/lost").mkdir()
            (folder / "agents/lost/AGENTS.md").write_text(AGENT.format("kept"))
            await python.look()
            found = await asyncio.to_thread(Client(folder).call, fleet_api.check, Nothing())
            places = {each.place: each.message for each in found.problems}
            assert "one parameter" in places["tools/keeper.py:39"]
            assert "Did you mean 'keeper.keep'?" in places["agents/lost/AGENTS.md, key 'function'"]
            assert await parts_of(folder, "reader") == {"skills": "", "tools of tools/*.py": "keeper.count"}
            ended = await fleet.ended(await fleet.goal("do it again"))
            assert ended.result is not None
            assert ended.result.text == "helper 21"

            before = children()  # the worker of the last task is kept, and does the next
            goal = await fleet.goal("wait")
            await fleet.until(lambda: _intended(fleet, goal))
            await fleet.store.run(
                lambda tx: tx.move_task(goal, TaskEvent.CANCEL, actor="ann", reason="no", now=fleet.now())
            )
            assert (await fleet.ended(goal)).state is TaskState.CANCELLED
            await asyncio.to_thread(wait_until, lambda: children() < before)

    run(story())


async def parts_of(folder: Path, agent: str) -> dict[str, str]:
    """What a fleet's own files add to an agent's prompt."""
    view = await asyncio.to_thread(Client(folder).call, agents_api.show_context, agents_api.WhichAgent(agent=agent))
    assert all(each.tokens > 5 for each in view.parts)
    return {each.name: each.note for each in view.parts if each.name == "skills" or each.name.startswith("tools of")}


def children() -> int:
    """Processes that this one has begun."""
    return len(Path(f"/proc/self/task/{os.getpid()}/children").read_text().split())


async def _intended(fleet: Yard, task: int) -> bool | None:
    return any(isinstance(each, ToolIntent) for each in await fleet.journal(task)) or None


ECHO = """
from ostinato import agent

@agent()
def keep(context):
    n = context.once("n", lambda: 1)
    return next((each.text for each in context.messages if each.source == "review"), f"try {n}")
"""


def test_a_function_reads_the_notes_of_a_review_and_none_of_its_steps_is_done_again(folder: Path) -> None:
    async def story() -> None:
        furnish(folder, text=ECHO)
        settings = folder / "agents/helper/AGENTS.md"
        settings.write_text(settings.read_text().removesuffix("---\n") + "review: {when: \"result != 'try 1'\"}\n---\n")
        async with yard(folder, "default: {text: no}", tools=TOOLS) as fleet:
            task = await fleet.ended(await fleet.goal("do it"))
            assert task.result is not None
            assert (task.state, task.result.text) == (TaskState.DONE, "this does not hold: result != 'try 1'")
            made = [each.tool for each in await fleet.journal(task.id) if isinstance(each, ToolIntent)]
            assert made.count("once") == 1

    run(story())


def test_a_node_starts_while_its_python_tools_are_loaded_and_only_who_needs_them_waits(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def story() -> None:
        furnish(folder)
        (folder / "agents/plain").mkdir()
        (folder / "agents/plain/SOUL.md").write_text("You answer.\n")
        asked, loaded = asyncio.Event(), asyncio.Event()

        async def describe(self: Workers, sources: Sources) -> Described:
            asked.set()
            await loaded.wait()
            return await real(self, sources)

        real = Workers.describe
        monkeypatch.setattr(Workers, "describe", describe)
        async with yard(folder, "default: {text: hello}", tools=TOOLS) as fleet:  # it has started
            await asked.wait()
            goals = {agent: await _goal_of(fleet, agent) for agent in ("helper", "reader", "plain")}
            assert (await fleet.ended(goals["plain"])).state is TaskState.DONE
            for agent in ("helper", "reader"):
                waiting = await fleet.store.read(lambda reads, each=goals[agent]: reads.task(each))  # type: ignore[misc]  # bound now
                assert waiting.steps == 0, f"{agent} began without its tools"
            loaded.set()
            assert (await fleet.ended(goals["reader"])).state is TaskState.DONE
            await fleet.until_parked(goals["helper"])

    run(story())


async def _goal_of(fleet: Yard, agent: str) -> int:
    new = NewTask(kind=TaskKind.GOAL, title="send it", agent=agent, spec=TaskSpec(goal="send it"))
    return (await fleet.store.run(lambda tx: tx.add_task(new, now=fleet.now()))).id
