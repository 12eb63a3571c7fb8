"""Processes as tasks: their end wakes whoever started them, once; a stop ends them; a restart does not."""

from __future__ import annotations

import json
import os
import shutil
import signal
from functools import partial
from pathlib import Path

import pytest

from ostinato.domain.step import ResultStatus, ToolOutcome
from ostinato.domain.task import Task, TaskEvent, TaskState, WaitKind
from ostinato.tools.processes import handler
from ostinato.tools.processes.handle import Handle, Standing
from ostinato.tools.processes.shim import BEGAN
from tests.conftest import run
from tests.processes.yard import Yard, folder, yard

__all__ = ["folder"]

pytestmark = pytest.mark.slow

WAITS = """
rules:
  - when: {tool: exec.start}
    calls: [{tool: processes.wait, args: {process: "{result|word:2}"}}]
  - when: {tool: processes.wait}
    text: "it says: {user}"
default: {calls: [{tool: exec.start, args: {argv: [python3, work.py]}}]}
"""
GOES_ON = """
rules:
  - when: {tool: exec.start}
    text: "it runs"
  - when: {user: 'has ended'}
    text: "I read: {user}"
default: {calls: [{tool: exec.start, args: {argv: [python3, work.py]}}]}
"""
TALKS = """
rules:
  - when: {tool: exec.start}
    calls: [{tool: processes.keys, args: {process: "{result|word:2}", keys: [o, k, enter]}}]
  - when: {tool: processes.keys}
    text: "typed"
  - when: {user: 'has ended'}
    text: "I read: {user}"
default: {calls: [{tool: exec.start, args: {argv: [python3, talk.py], terminal: true}}]}
"""


def test_a_turn_that_waits_for_a_process_is_parked_and_reads_its_end_once(folder: Path) -> None:
    async def story() -> None:
        async with yard(folder, WAITS) as fleet:
            goal = await fleet.goal("Work.")
            process = await fleet.process()
            parked = await fleet.until_parked(goal)
            assert parked.wait is not None
            assert (parked.wait.kind, parked.wait.refs) == (WaitKind.PROCESS, (process.name,))
            (fleet.workspace / "go").write_text("")
            ended = await fleet.ended(goal)
            assert ended.result is not None
            assert "T2 (python3 work.py) has ended: exit 4, after" in ended.result.text
            assert "working\nthe work is done" in ended.result.text
            (message,) = await fleet.messages(f"task:{goal}")
            assert message.count("the work is done") == 1
            assert len(await fleet.read_by(f"task:{goal}")) == 1
            (waited,) = [e for e in await fleet.journal(goal) if isinstance(e, ToolOutcome) and "wait" in e.tool]
            assert waited.text.startswith("T2 (python3 work.py) has ended: exit 4")
            told = (await fleet.processes())[0]
            assert told.state is TaskState.DONE
            assert told.result is not None
            assert told.result.data is not None
            assert (told.result.data["exit"], told.result.data["ended"]) == (4, "exit")

    run(story())


def test_a_shared_session_is_not_frozen_and_is_woken_by_the_end(folder: Path) -> None:
    async def story() -> None:
        async with yard(folder, GOES_ON) as fleet:
            await fleet.tell("Work.")
            process = await fleet.process()
            (fleet.workspace / "go").write_text("")
            await fleet.ended(process.id)
            woken = (await fleet.store.read(lambda reads: reads.session_tasks("main:helper", limit=1)))[0]
            ended = await fleet.ended(woken.id)
            assert ended.result is not None
            assert "T2 (python3 work.py) has ended: exit 4" in ended.result.text
            assert len(await fleet.messages("main:helper")) == 2
            assert len(await fleet.read_by("main:helper")) == 2

    run(story())


def test_keys_reach_a_terminal_and_what_is_shown_has_no_escapes(folder: Path) -> None:
    async def story() -> None:
        async with yard(folder, TALKS) as fleet:
            await fleet.tell("Talk.")
            process = await fleet.until_found()
            await fleet.ended(process.id)
            message = (await fleet.messages("main:helper"))[-1]
            assert "exit 0" in message
            assert "you said ok" in message
            assert "\x1b" not in message

    run(story())


def test_a_process_goes_on_while_no_node_runs_and_its_end_is_told_by_the_next(folder: Path) -> None:
    async def story() -> None:
        async with yard(folder, WAITS) as fleet:
            goal = await fleet.goal("Work.")
            process = await fleet.process()
            await fleet.until_parked(goal)
            handle = fleet.handle(process)
            assert handle is not None
            await fleet.stop()
            assert handle.look()[0] is Standing.RUNS
            await fleet.start()
            await fleet.stop()
            (fleet.workspace / "go").write_text("")
            await handle.wait_gone()
            await fleet.start()
            await fleet.ended(goal)
            assert len(await fleet.messages(f"task:{goal}")) == 1
            assert len(await fleet.read_by(f"task:{goal}")) == 1
            await fleet.stop()
            await fleet.start()
            assert len(await fleet.messages(f"task:{goal}")) == 1

    run(story())


def test_an_end_that_nobody_saw_is_unknown_and_said_aloud(folder: Path) -> None:
    async def story() -> None:
        async with yard(folder, GOES_ON) as fleet:
            process, handle = await fleet.at_work()
            os.kill(pid_of(handle), signal.SIGKILL)
            ended = await fleet.ended(process.id)
            assert ended.state is TaskState.FAILED
            assert ended.result is not None
            assert ended.result.error_class == "unknown"
            (outcome,) = [e for e in await fleet.journal(process.id) if isinstance(e, ToolOutcome)]
            assert outcome.status is ResultStatus.UNKNOWN
            assert "how is UNKNOWN" in (await fleet.messages("main:helper"))[-1]
            assert not (fleet.workspace / "go").exists()

    run(story())


@pytest.mark.parametrize("scope", ["fleet", "agent:helper", "session:main:helper", "task:1"])
def test_a_halt_ends_what_runs_and_it_stays_ended(folder: Path, scope: str) -> None:
    async def story() -> None:
        async with yard(folder, GOES_ON) as fleet:
            process, handle = await fleet.at_work()
            await fleet.store.run(lambda tx: tx.set_flag(scope, "halted", actor="ann", reason="", now=fleet.now()))
            await handle.wait_gone()
            standing, ended = handle.look()
            assert standing is Standing.ENDED
            assert ended is not None
            assert ended.why == f"{scope} is halted"
            await fleet.stop()
            await fleet.start()
            assert handle.look()[0] is Standing.ENDED
            await fleet.store.run(lambda tx: tx.clear_flag(scope, "halted", actor="ann", now=fleet.now()))
            await fleet.ended(process.id)
            assert f"it was ended ({scope} is halted)" in (await fleet.messages("main:helper"))[-1]

    run(story())


@pytest.mark.parametrize("whose", ["process", "goal"])
def test_a_cancelled_task_takes_its_process_along(folder: Path, whose: str) -> None:
    async def story() -> None:
        async with yard(folder, WAITS) as fleet:
            goal = await fleet.goal("Work.")
            process = await fleet.process()
            await fleet.until_parked(goal)
            await fleet.until_parked(process.id)
            handle = fleet.handle(process)
            assert handle is not None
            which = process.id if whose == "process" else goal
            await fleet.store.run(
                lambda tx: tx.move_task(which, TaskEvent.CANCEL, actor="ann", reason="enough", now=fleet.now())
            )
            await handle.wait_gone()
            assert handle.look()[0] is Standing.ENDED
            assert (await fleet.ended(process.id)).state is TaskState.CANCELLED
            ended = await fleet.ended(goal)
            assert ended.state is (TaskState.DONE if whose == "process" else TaskState.CANCELLED)
            assert len(await fleet.store.read(lambda reads: reads.session_tasks(f"task:{goal}", limit=9))) == 1

    run(story())


def pid_of(handle: Handle) -> int:
    """The shim's."""
    return int(json.loads((handle.folder / BEGAN).read_text())["pid"])


def test_a_process_of_a_machine_that_is_gone_ends_as_unknown_instead_of_being_waited_for_for_ever(
    folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(handler, "ELSEWHERE_S", 0.02)

    async def story() -> None:
        with monkeypatch.context() as patch:
            patch.setattr("socket.gethostname", lambda: "elsewhere")
            async with yard(folder, GOES_ON) as fleet:
                process, handle = await fleet.at_work()
        handle.kill("the machine is gone")
        await handle.wait_gone()
        async with yard(folder, GOES_ON) as fleet:  # the store was copied; what its processes left was not
            shutil.rmtree(handle.folder, ignore_errors=True)
            waiting = await fleet.until(partial(_elsewhere, fleet, process.id))
            assert waiting.state in (TaskState.WAITING, TaskState.READY, TaskState.RUNNING)
            monkeypatch.setattr(handler, "GONE_S", 0.0)
            ended = await fleet.ended(process.id)
            assert ended.result is not None
            assert (ended.state, ended.result.error_class) == (TaskState.FAILED, "unknown")
            assert "was begun on another machine" in (await fleet.messages("main:helper"))[-1]

    run(story())


def test_a_process_whose_folder_was_deleted_is_lost_and_is_not_begun_once_more(folder: Path) -> None:
    async def story() -> None:
        async with yard(folder, GOES_ON) as fleet:
            process, handle = await fleet.at_work()
            pid = pid_of(handle)
            await fleet.stop()
            shutil.rmtree(handle.folder)
            await fleet.start()
            ended = await fleet.ended(process.id)
            assert ended.result is not None
            assert (ended.state, ended.result.error_class) == (TaskState.FAILED, "unknown")
            assert "was deleted while it ran" in ended.result.error
            assert not handle.folder.exists(), "nothing was begun"
            os.kill(pid, signal.SIGKILL)

    run(story())


async def _elsewhere(fleet: Yard, task: int) -> Task | None:
    found = await fleet.store.read(lambda reads: reads.task(task))
    return found if found.reason == "its process is on another machine" else None
