"""Agents of kind `command`: a program of another make does the work, in a folder or a worktree of its own."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from ostinato.domain.coding import read_report
from ostinato.domain.step import ResultStatus, ToolOutcome
from ostinato.domain.task import TaskEvent, TaskKind, TaskState
from ostinato.store.port import TaskFilter
from ostinato.tools.processes.handle import Standing
from ostinato.workspace.agent import FleetDefaults, make_agent
from ostinato.workspace.command_rules import CodingCommand
from ostinato.workspace.file_text import FileText
from tests.conftest import run
from tests.processes.yard import Yard, folder, yard
from tests.sandbox.ground import as_owner

__all__ = ["folder"]

CODER = """
import json, pathlib, sys, time
goal = sys.argv[1]
def say(**event): print(json.dumps(event), flush=True)
say(type="system", subtype="init", model="small-1", session_id="s-7")
say(type="assistant", message={"content": [{"type": "tool_use", "name": "Write", "input": {"path": "made.txt"}}]})
while "wait" in goal and not pathlib.Path("go").exists():
    time.sleep(0.02)
pathlib.Path("made.txt").write_text(goal + "\\n")
say(type="assistant", message={"content": [{"type": "text", "text": "I made it."}]})
say(type="result", subtype="success", is_error="fail" in goal, result="made.txt is made", total_cost_usd=0.0125,
    usage={"input_tokens": 100, "cache_read_input_tokens": 60, "output_tokens": 20})
sys.exit(3 if "break" in goal else 0)
"""
AGENT = """---
kind: command
command: {argv: [python3, -W, ignore, -W, ignore, coder.py, "{goal}"], timeout: 60s%s}
---
"""
TOOLS = "---\nallow: [exec.start]\nexec: {commands: [python3, git], lasts: 5m}\n---\n"


def furnish(folder: Path, *, more: str = "", git: bool = True) -> None:
    """Makes the yard's helper a coding agent, in a repository."""
    home = folder / "agents/helper"
    home.mkdir(parents=True)
    (home / "AGENTS.md").write_text(AGENT % more)
    (home / "coder.py").write_text(CODER)
    (home / "old.txt").write_text("old\n")
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, as_owner()["user"], as_owner()["group"])
    if git:
        environment = {"PATH": "/usr/bin:/bin", "HOME": "/tmp", **{
            f"GIT_{who}_{what}": "ann@localhost" for who in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
        }}  # fmt: skip
        for words in (("init", "-q"), ("add", "old.txt", "coder.py"), ("commit", "-qm", "First")):
            subprocess.run(["git", *words], cwd=home, env=environment, check=True, **as_owner())


async def outcome_of(fleet: Yard, task: int) -> ToolOutcome:
    return next(each for each in await fleet.journal(task) if isinstance(each, ToolOutcome))


def test_a_goal_is_no_option_of_the_program() -> None:
    command = CodingCommand(argv=("codex", "{goal}", "--goal={goal}", "-p", "{goal} now"))
    goal = "--dangerously-do-anything"
    assert command.argv_for(goal) == ["codex", f" {goal}", f"--goal={goal}", "-p", f" {goal} now"]
    assert command.argv_for("mend it")[1] == "mend it"


@pytest.mark.slow
def test_a_program_does_the_goal_and_its_words_its_diff_and_its_cost_are_kept(folder: Path) -> None:
    async def story() -> None:
        furnish(folder, more=", worktree: true")
        async with yard(folder, "default: {text: no model is asked}", tools=TOOLS) as fleet:
            goal = await fleet.goal("Make a file.")
            ended = await fleet.ended(goal)
            assert ended.state is TaskState.DONE, ended
            assert ended.result is not None
            assert ended.result.data is not None
            assert ended.result.text == "made.txt is made"
            assert "+Make a file." in ended.result.data["diff"]
            assert (ended.result.data["folder"], ended.result.data["exit"]) == (f"worktrees/T{goal}", 0)
            assert (ended.usd_micros, ended.tokens) == (12_500, 120)
            outcome = await outcome_of(fleet, goal)
            assert outcome.text.splitlines() == ['uses Write: {"path":"made.txt"}', "says: I made it."]
            assert not (fleet.workspace / "made.txt").exists()
            assert (fleet.workspace / f"worktrees/T{goal}/made.txt").read_text() == "Make a file.\n"
            assert await fleet.messages(f"task:{goal}") == []
            tasks = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(), limit=9))
            assert sorted(each.kind for each in tasks) == [TaskKind.GOAL, TaskKind.PROCESS]

    run(story())


@pytest.mark.slow
def test_a_program_that_finds_strangers_text_in_its_folder_ends_with_their_mark(folder: Path) -> None:
    """Nobody knows what it reads: what it says, what it makes and how it fails are no more trusted than its folder."""

    async def story() -> None:
        furnish(folder, more=", worktree: true")
        async with yard(folder, "default: {text: no}", tools=TOOLS) as fleet:
            before = await fleet.ended(await fleet.goal("Make a file."))
            await fleet.store.run(
                lambda tx: tx.taint_files("helper", ["old.txt"], task=before.id, now=before.created_at)
            )
            after, failed = [await fleet.ended(await fleet.goal(text)) for text in ("Make one.", "break it")]
            assert [each.is_outside for each in (before, after, failed)] == [False, True, True]
            assert after.is_private
            assert failed.is_private
            marked = await fleet.store.read(lambda reads: reads.tainted_files("helper"))
            assert f"worktrees/{after.name}/" in marked

    run(story())


@pytest.mark.slow
@pytest.mark.parametrize(("text", "error"), [("break it", "exit 3"), ("fail at it", "python3 says: made.txt is made")])
def test_a_program_that_fails_fails_its_task_and_says_why(folder: Path, text: str, error: str) -> None:
    async def story() -> None:
        furnish(folder, git=False)
        async with yard(folder, "default: {text: no}", tools=TOOLS) as fleet:
            goal = await fleet.goal(text)
            ended = await fleet.ended(goal)
            assert ended.state is TaskState.FAILED
            assert ended.result is not None
            assert error in ended.result.error
            assert (await outcome_of(fleet, goal)).status is ResultStatus.ERROR

    run(story())


@pytest.mark.slow
def test_a_program_goes_on_over_a_restart_and_its_result_comes_once(folder: Path) -> None:
    async def story() -> None:
        furnish(folder, git=False)
        async with yard(folder, "default: {text: no}", tools=TOOLS) as fleet:
            goal = await fleet.goal("wait, then make it")
            process = await fleet.process()
            parked = await fleet.until_parked(goal)
            assert parked.reason == f"waits for {process.name}"
            await fleet.stop()
            (fleet.workspace / "go").write_text("")
            handle = fleet.handle(process)
            assert handle is not None
            await handle.wait_gone()
            await fleet.start()
            ended = await fleet.ended(goal)
            assert ended.state is TaskState.DONE
            assert ended.usd_micros == 12_500
            assert len(await fleet.processes()) == 1

    run(story())


@pytest.mark.slow
def test_a_message_is_a_goal_too_and_a_cancelled_task_ends_its_program(folder: Path) -> None:
    async def story() -> None:
        furnish(folder, git=False)
        async with yard(folder, "default: {text: no}", tools=TOOLS) as fleet:
            await fleet.tell("wait for ever")
            process = await fleet.process()
            turn = (await fleet.store.read(lambda reads: reads.session_tasks("main:helper", limit=1)))[0]
            await fleet.until_parked(turn.id)
            handle = fleet.handle(process)
            assert handle is not None
            await fleet.store.run(
                lambda tx: tx.move_task(turn.id, TaskEvent.CANCEL, actor="ann", reason="", now=fleet.now())
            )
            await handle.wait_gone()
            assert handle.look()[0] is Standing.ENDED
            assert (await fleet.ended(process.id)).state is TaskState.CANCELLED
            assert len(await fleet.messages("main:helper")) == 1

    run(story())


@pytest.mark.slow
def test_without_the_grant_of_its_program_nothing_is_started(folder: Path) -> None:
    async def story() -> None:
        furnish(folder, git=False)
        async with yard(folder, "default: {text: no}", tools="---\nallow: [exec.run]\n---\n") as fleet:
            ended = await fleet.ended(await fleet.goal("Make it."))
            assert ended.state is TaskState.FAILED
            assert ended.result is not None
            assert "exec.start" in ended.result.error
            assert await fleet.processes() == []

    run(story())


def test_the_other_stream_of_events_is_read_too() -> None:
    report = read_report(
        "\n".join(
            [
                '{"type":"thread.started","thread_id":"th-1"}',
                '{"type":"item.completed","item":{"type":"reasoning","text":"hm"}}',
                '{"type":"item.completed","item":{"type":"command_execution","command":"ls","aggregated_output":"a\\nb\\n",'
                '"exit_code":0}}',
                '{"type":"item.completed","item":{"type":"agent_message","text":"Two files."}}',
                '{"type":"turn.completed","usage":{"input_tokens":50,"cached_input_tokens":10,"output_tokens":5}}',
                "not an event",
                '{"type": 7}',
                "{" * 5_000,
            ]
        )
    )
    assert report.transcript.splitlines()[:4] == ["runs ls (exit 0): a", "b", "says: Two files.", "not an event"]
    assert (report.result, report.session) == ("Two files.", "th-1")
    assert (report.input_tokens, report.cached_tokens, report.output_tokens) == (50, 10, 5)
    assert report.usd_micros is None


@pytest.mark.slow
def test_a_program_goes_on_in_its_folder_with_the_notes_of_a_review(folder: Path) -> None:
    async def story() -> None:
        furnish(folder)
        settings = folder / "agents/helper/AGENTS.md"
        rule = "review: {when: \"data.diff.matches('Put this [r]ight')\"}\n---\n"
        settings.write_text(settings.read_text().removesuffix("---\n") + rule)
        async with yard(folder, "default: {text: no model is asked}", tools=TOOLS) as fleet:
            task = await fleet.ended(await fleet.goal("make it"))
            assert task.state is TaskState.DONE, task.result
            calls = [each.call_id for each in await fleet.journal(task.id) if isinstance(each, ToolOutcome)]
            assert calls == ["command", "command.1"]
            assert len(await fleet.processes()) == 2
            assert "this does not hold" in (fleet.workspace / "made.txt").read_text()

    run(story())


@pytest.mark.slow
def test_a_program_that_is_declared_to_read_only_answers_equal_goals_and_others_say_why_not(folder: Path) -> None:
    async def story() -> None:
        furnish(folder, git=False)
        (folder / "agents/helper/AGENTS.md").write_text((AGENT % "").replace("kind:", "cache: 1h\nkind:"))
        effects = "exec: {effects: {read: [python3 -W ignore -W ignore coder.py *]}, "
        async with yard(folder, "default: {text: no}", tools=TOOLS.replace("exec: {", effects)) as fleet:

            async def ask() -> int | None:
                ended = await fleet.ended(await fleet.goal("look"))
                assert ended.result is not None
                return ended.result.source

            assert [await ask(), await ask()] == [None, 1]
            coder = fleet.workspace / "coder.py"
            coder.write_text(CODER + "# another program\n")
            assert await ask() is None

    run(story())


def test_a_cache_for_a_program_of_which_nobody_knows_what_it_does_is_found(tmp_path: Path) -> None:
    agent = (AGENT % "").replace("kind:", "cache: 1h\nkind:")
    for tools, is_found in [
        (TOOLS, True),
        (TOOLS.replace("exec: {", "exec: {effects: {read: [python3 -W ignore -W ignore coder.py *]}, "), False),
        (TOOLS.replace("exec: {", "exec: {network: [a.example], effects: {read: [python3 -W *]}, "), True),
    ]:
        files = {
            name: FileText(name=name, text=text, digest="", size_bytes=0)
            for name, text in (("AGENTS.md", agent), ("TOOLS.md", tools))
        }
        made = make_agent("x", files, folder=tmp_path, defaults=FleetDefaults(), place="agents/x")
        assert [each.code for each in made.findings if each.code == "cache"] == ["cache"] * is_found
