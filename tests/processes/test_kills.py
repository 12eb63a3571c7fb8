"""Processes of a real node that is killed with -9, stopped, or not there at all; watched through the command line and
from outside."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import pytest

from ostinato.cli.client import Client
from ostinato.domain.errors import Conflict
from ostinato.gateway import processes_api, sessions_api, status_api
from ostinato.gateway.operation import Nothing
from ostinato.gateway.processes_api import ProcessRow
from tests.conftest import FULL, wait_until
from tests.e2e.test_cli import document, done, node, refused
from tests.processes.test_shim import sleepers
from tests.processes.yard import folder, furnish

__all__ = ["folder"]

pytestmark = pytest.mark.slow

SECONDS = 20 if FULL else 1
TREES = 16
MARK = str(300_000 + int.from_bytes(os.urandom(3)))

TOOLS = """---
allow: [exec.start, exec.read]
exec: {commands: [python3], effects: {reversible: ["python3 cli.py", "python3 tree.py", "python3 echo.py"]}, lasts: 5m}
---
"""
CLI = f"""
import os, sys, time
assert os.isatty(0) and os.isatty(1)
for tick in range({SECONDS * 10}):
    print(f"tick {{tick:04}}", flush=True)
    time.sleep(0.1)
sys.exit(5)
"""
TREE = f"""
import os, time
for _ in range(3):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.execv("/usr/bin/sleep", ["sleep", "{MARK}"])
        os._exit(0)
time.sleep(600)
"""
ECHO = """
import os
while (said := input("> ")) != "size":
    print("you said", said)
print(os.get_terminal_size())
input()
"""
STARTS = """
rules:
  - when: {{user: 'has ended'}}
    text: "read"
  - when: {{tool: exec.start}}
    text: "it runs"
default: {{calls: [{calls}]}}
"""
CALL = "{{tool: exec.start, args: {{argv: [python3, {script}], terminal: {terminal}}}}}"


def prepared(folder: Path, *scripts: str) -> Path:
    calls = [CALL.format(script=each, terminal=str(each != "tree.py").lower()) for each in scripts]
    furnish(folder, script=STARTS.format(calls=", ".join(calls)), tools=TOOLS)
    for name, text in {"cli.py": CLI, "tree.py": TREE, "echo.py": ECHO}.items():
        (folder / "agents/helper" / name).write_text(text)
    return folder


def processes(folder: Path) -> list[ProcessRow]:
    return Client(folder).call(processes_api.list_processes, processes_api.WhichProcesses(all=True)).processes


def told(folder: Path) -> list[str]:
    """Ends of processes in the agent's main session, each as often as it was told."""
    shown = Client(folder).call(sessions_api.show, sessions_api.WhichSession(session="main:helper"))
    lines = [each.text for each in shown.transcript if each.kind == "message"]
    return [text for text in lines + [each.text for each in shown.unread] if "has ended" in text]


def pid_of(folder: Path) -> int | None:
    try:
        return Client(folder).call(status_api.status, Nothing()).node.pid
    except Conflict:  # it dies just now
        return None


def kill_node(folder: Path) -> None:
    """With -9; the supervisor starts another."""
    before = pid_of(folder)
    assert before is not None
    os.kill(before, signal.SIGKILL)
    wait_until(lambda: pid_of(folder) not in (None, before))


def test_a_program_at_a_terminal_survives_a_node_that_is_killed_and_its_end_is_told_once(folder: Path) -> None:
    with node(prepared(folder, "cli.py")):
        done(folder, "wake", "helper")
        wait_until(lambda: any(each.bytes for each in processes(folder)))
        kill_node(folder)
        waited = done(folder, "processes", "wait", "T2")
        assert "has ended: exit 5" in waited
        wait_until(lambda: told(folder))
        kill_node(folder)
        (end,) = told(folder)
        assert "exit 5" in end
        output = document(folder, "processes", "log", "T2", "--from", "0")["text"]
        assert output.splitlines() == [f"tick {tick:04}" for tick in range(SECONDS * 10)]
        (row,) = processes(folder)
        assert (row.exit, row.ended, row.runs) == (5, "exit", False)
        assert (row.seconds or 0) >= SECONDS


if FULL:

    def test_a_person_talks_to_a_process_and_ends_it_and_a_stop_that_no_node_hears_ends_the_rest(folder: Path) -> None:
        with node(prepared(folder, "echo.py", "tree.py")):
            done(folder, "wake", "helper")
            wait_until(lambda: any(each.bytes for each in processes(folder)))
            wait_until(lambda: len(sleepers(MARK)) == 3)
            assert done(folder, "processes", "write", "T2", "hello") == "T2: 6 bytes written\n"
            assert done(folder, "processes", "resize", "T2", "50", "160") == "T2: 50 rows, 160 columns\n"
            assert (
                done(folder, "processes", "keys", "T2", "s", "i", "z", "e", "enter") == "T2: pressed: s i z e enter\n"
            )
            wait_until(lambda: "lines=50" in done(folder, "processes", "log", "T2"))
            shown = done(folder, "processes", "log", "T2")
            assert "you said hello" in shown
            assert "columns=160" in shown
            assert "runs" in done(folder, "processes", "show", "T2")
            assert "is no process" in refused(folder, "processes", "show", "T1", code=3)
            assert "key" in refused(folder, "processes", "keys", "T2", "anykey", code=2)
            done(folder, "processes", "kill", "T2", "--reason", "enough")
            assert "it was ended (by ann: enough)" in done(folder, "processes", "wait", "T2")
            assert "does not run any more" in refused(folder, "processes", "write", "T2", "late", code=1)
            notes = document(folder, "tasks", "show", "T2")
            assert "it is being ended (by ann: enough)" in str(notes)
        assert len(sleepers(MARK)) == 3
        done(folder, "stop")
        assert not sleepers(MARK)

    def test_a_stop_ends_every_tree_and_a_restart_brings_none_back(folder: Path) -> None:
        with node(prepared(folder, *["tree.py"] * TREES)):
            done(folder, "wake", "helper")
            wait_until(lambda: len(sleepers(MARK)) == 3 * TREES)
            done(folder, "stop", "--reason", "enough")
            wait_until(lambda: not sleepers(MARK), timeout_s=2.0)
            kill_node(folder)
            assert not sleepers(MARK)
            assert all(each.runs for each in processes(folder))  # nobody is told while the fleet is halted
            done(folder, "start")
            wait_until(lambda: len(told(folder)) == TREES)
            assert all("it was ended (fleet is halted)" in each for each in told(folder))
            assert not sleepers(MARK)
