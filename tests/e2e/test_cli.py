"""The command line as a person meets it: real processes, a real node, a scripted model."""

from __future__ import annotations

import json
import os
import pty
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ostinato import __version__
from tests.commands import PYTHON, run_command
from tests.conftest import wait_until

ENVIRONMENT = {
    **{key: value for key, value in os.environ.items() if key not in ("NO_COLOR", "COLUMNS", "OSTINATO_TRACEBACK")},
    "OSTINATO_PERSON": "ann",
    "TZ": "Europe/Zurich",
}
ISO = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d[+-]\d\d:\d\d")


def ostinato(folder: Path, *arguments: str, given: str = "") -> subprocess.CompletedProcess[str]:
    """Runs one command in `folder`, as a shell would without a terminal."""
    ended = run_command(arguments, folder=folder, environment=ENVIRONMENT, given=given)
    return subprocess.CompletedProcess(ended.args, ended.returncode, ended.stdout.decode(), ended.stderr.decode())


def done(folder: Path, *arguments: str, given: str = "") -> str:
    """What a command prints that must succeed."""
    found = ostinato(folder, *arguments, given=given)
    assert (found.returncode, found.stderr) == (0, ""), found
    return found.stdout


def document(folder: Path, *arguments: str) -> Any:
    """The one JSON document that a reading command prints."""
    return json.loads(ostinato(folder, *arguments, "--json").stdout)


def refused(folder: Path, *arguments: str, code: int) -> str:
    """The error of a command that must fail: one to three lines, nothing on standard output, never a traceback."""
    found = ostinato(folder, *arguments)
    assert found.returncode == code, found
    assert found.stdout == ""
    assert 1 <= len(found.stderr.splitlines()) <= 3, found.stderr
    assert "Traceback" not in found.stderr
    return found.stderr


@contextmanager
def node(folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`ostinato up`, until the block ends; then stopped in order."""
    process = subprocess.Popen(
        [*PYTHON, "up"], cwd=folder, env=ENVIRONMENT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    )
    try:
        wait_until((folder / ".ostinato" / "ostinato.sock").exists)
        wait_until(lambda: document(folder, "status")["node"]["running"])
        yield process
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(120) == 0


def new_fleet(folder: Path) -> Path:
    """A fleet of the template."""
    done(folder.parent, "init", str(folder), "--yes")
    return folder


@pytest.fixture(name="running", scope="module")
def _running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fleet whose node runs while this file's tests do."""
    folder = new_fleet(tmp_path_factory.mktemp("running") / "fleet")
    with node(folder):
        yield folder


@pytest.fixture(name="asleep", scope="module")
def _asleep(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A fleet without a node."""
    return new_fleet(tmp_path_factory.mktemp("asleep") / "fleet")


# --- without a fleet ---


def spent_on_children_s() -> float:
    """Seconds of processor time of commands that have ended, which a busy machine does not stretch."""
    spent = os.times()
    return spent.children_user + spent.children_system


@pytest.mark.slow
def test_the_version_is_told_in_no_time(tmp_path: Path) -> None:
    times = []
    for _ in range(5):
        began = spent_on_children_s()
        told = subprocess.run([*PYTHON, "--version"], cwd=tmp_path, env=ENVIRONMENT, capture_output=True, check=True)
        assert told.stdout.decode() == f"ostinato {__version__}\n"
        times.append(spent_on_children_s() - began)
    assert min(times) < 0.15


@pytest.mark.slow
def test_help_has_an_example_for_every_command(tmp_path: Path) -> None:
    names = {"tasks": "add", "agents": "show", "sessions": "send", "approvals": "allow", "dead": "replay"}
    for group, command in names.items():
        assert f"Example:\n    ostinato {group} {command}" in done(tmp_path, group, command, "--help")
    assert "ostinato init my-fleet --yes && cd my-fleet\n" in done(tmp_path, "--help")


@pytest.mark.slow
def test_wrong_use_is_told_in_one_line_with_the_way_to_help(tmp_path: Path) -> None:
    assert refused(tmp_path, "tsks", code=2) == (
        "ostinato: No such command 'tsks'. Did you mean 'tasks', 'tokens'?\n  See: ostinato --help\n"
    )
    assert "See: ostinato tasks add --help" in refused(tmp_path, "tasks", "add", code=2)
    assert "--priority" in refused(tmp_path, "tasks", "add", "x", "--priority", "much", code=2)
    assert "There is no ostinato.toml in" in refused(tmp_path, "status", code=3)
    assert "Unknown template 'circus'" in refused(tmp_path, "init", "x", "--template", "circus", code=3)
    assert "make demo" in refused(tmp_path, "demo", code=3)
    bare = ostinato(tmp_path)
    assert (bare.returncode, "\nCommands:\n  init " in bare.stderr) == (2, True)


@pytest.mark.slow
def test_init_makes_a_fleet_once_and_overwrites_nothing(tmp_path: Path) -> None:
    printed = done(tmp_path, "init", "mine", "--yes", "--name", "Mine")
    assert "agents/clerk/SOUL.md" in printed
    assert "cd mine" in printed
    assert "There is a fleet" in refused(tmp_path, "init", "mine", "--yes", code=1)
    assert document(tmp_path / "mine" / "agents", "check") == {"ok": True, "agents": 1, "problems": []}


# --- without a node ---


@pytest.mark.slow
def test_without_a_node_commands_work_in_their_own_process_and_say_who_will_do_it(asleep: Path) -> None:
    assert "No node is running" in done(asleep, "tasks", "add", "Later", "--agent", "clerk", "--key", "later")
    assert "is in main:clerk" in done(asleep, "sessions", "send", "clerk", "Hello")
    found = ostinato(asleep, "status")
    assert found.returncode == 1
    assert "! No node is running: nothing is done until one is  → ostinato up" in found.stdout
    assert "No node is running" in refused(asleep, "sessions", "send", "clerk", "Hello", "--wait", code=1)
    assert "No node is running" in refused(asleep, "events", "--follow", code=1)
    again = ostinato(asleep, "tasks", "add", "Other", "--agent", "clerk", "--key", "later")
    assert (again.returncode, "belongs to T1" in again.stderr) == (1, True)


@pytest.mark.slow
def test_a_task_that_nobody_can_do_is_ready_once_it_is_given_to_somebody(asleep: Path) -> None:
    first = document(asleep, "tasks", "add", "First", "--agent", "clerk")["id"]
    for wants, then in (((), "ready"), (("--after", first), f"waits for {first}")):
        printed = done(asleep, "tasks", "add", "Whose?", *wants)
        task = printed.split()[0]
        assert (document(asleep, "tasks", "show", task)["task"]["state"], bool(wants)) == (
            "blocked",
            "move" not in printed,
        )
        assert then in done(asleep, "tasks", "move", task, "--agent", "clerk")


@pytest.mark.slow
def test_a_branch_that_is_not_taken_is_skipped_and_says_why(asleep: Path) -> None:
    first = document(asleep, "tasks", "add", "First", "--agent", "clerk")["id"]
    other = document(asleep, "tasks", "add", "Other", "--agent", "clerk", "--draft")["id"]
    wants = ("--agent", "clerk", "--after", f"{other}:failure", "--after", f"{first}:always", "--any")
    either = document(asleep, "tasks", "add", "Either", *wants)["id"]
    rescue = document(asleep, "tasks", "add", "Rescue", "--agent", "clerk", "--after", f"{first}:failure")["id"]
    assert document(asleep, "tasks", "show", rescue)["after"] == [f"{first}:failure"]
    done(asleep, "tasks", "cancel", first, "--reason", "not today")
    gone = document(asleep, "tasks", "show", rescue)["task"]
    assert (gone["state"], gone["reason"]) == ("cancelled", f"skipped: {first} is cancelled")
    assert document(asleep, "tasks", "show", either)["task"]["state"] == "ready"
    assert "Did you mean 'failure'" in refused(asleep, "tasks", "add", "x", "--after", f"{first}:failed", code=2)


@pytest.mark.slow
def test_a_list_answers_a_query(asleep: Path) -> None:
    for title, project in (("Roses red", "garden"), ("Roses white", "garden"), ("Roses red", "shop")):
        ostinato(asleep, "tasks", "add", title, "--agent", "clerk", "--project", project)
    found = document(asleep, "tasks", "list", "project:garden", "roses", "status:ready,done", "age:<1h", "cost:0")
    assert [each["title"] for each in found["tasks"]] == ["Roses white", "Roses red"]
    assert document(asleep, "tasks", "list", "project:garden roses -white")["tasks"][0]["title"] == "Roses red"
    assert document(asleep, "tasks", "list", "roses", "--limit", "2")["next"] is not None
    assert "Did you mean 'project'" in refused(asleep, "tasks", "list", "projct:shop", code=2)


@pytest.mark.slow
def test_a_list_is_watched_until_the_reader_goes(running: Path) -> None:
    command = [*PYTHON, "tasks", "list", "watched", "--watch"]
    with subprocess.Popen(command, cwd=running, env=ENVIRONMENT, stdout=subprocess.PIPE, text=True) as watching:
        try:
            assert watching.stdout is not None
            assert "No task is like that" in watching.stdout.readline() + watching.stdout.readline()
            draft = document(running, "tasks", "add", "To be watched", "--agent", "clerk", "--draft")["id"]
            while "To be watched" not in (line := watching.stdout.readline()):
                assert line
        finally:
            watching.kill()
    done(running, "tasks", "reject", draft)  # nothing is left for a person to decide


@pytest.mark.slow
def test_each_kind_of_refusal_has_its_exit_code_and_its_cure(asleep: Path) -> None:
    assert "Did you mean 'clerk'?" in refused(asleep, "agents", "show", "clrk", code=3)
    assert "There is no task T99" in refused(asleep, "tasks", "show", "T99", code=3)
    assert "not the id of a task" in refused(asleep, "tasks", "show", "T1x", code=2)
    assert "needs a reason" in refused(asleep, "agents", "kill", "clerk", code=4)
    assert "This is not JSON" in refused(asleep, "tasks", "add", "x", "--input", "{", code=2)
    assert "The text is empty" in refused(asleep, "tasks", "add", " ", code=2)
    assert "no time zone" in refused(asleep, "events", "--since", "2026-01-05T08:00", code=2)
    assert "Did you mean 'running'?" in refused(asleep, "tasks", "list", "--state", "runing", code=2)


@pytest.mark.slow
def test_text_may_come_from_standard_input_and_bytes_that_are_no_text_are_refused(asleep: Path) -> None:
    assert "is ready" in done(asleep, "tasks", "add", "-", "--agent", "clerk", given="From a pipe")
    command = [*PYTHON, "tasks", "add", b"\xff\xfe", "--agent", "clerk"]
    found = subprocess.run(command, cwd=asleep, env=ENVIRONMENT, capture_output=True, check=False)
    assert found.returncode == 2
    assert b"Traceback" not in found.stderr


@pytest.mark.slow
def test_what_could_fool_a_terminal_is_shown_and_not_obeyed(asleep: Path) -> None:
    done(asleep, "tasks", "add", "red \x1b[31m and back\u202ewards", "--agent", "clerk")
    printed = done(asleep, "tasks", "list")
    assert "red \\x1b[31m and back\\u202ewards" in printed
    assert "\x1b" not in printed


@pytest.mark.slow
def test_a_broken_fleet_file_keeps_nobody_from_looking_but_a_node_from_starting(tmp_path: Path) -> None:
    folder = new_fleet(tmp_path / "fleet")
    (folder / "ostinato.toml").write_text("[flet]\nname = 'x'\n")
    found = ostinato(folder, "check")
    assert found.returncode == 1
    assert "ostinato.toml:1" in found.stdout
    assert "Did you mean 'fleet'?" in found.stdout
    assert ostinato(folder, "status").returncode == 1
    assert "ostinato.toml:1" in refused(folder, "up", code=2)


@pytest.mark.slow
def test_a_backup_comes_back(tmp_path: Path) -> None:
    folder = new_fleet(tmp_path / "fleet")
    done(folder, "tasks", "add", "Before", "--agent", "clerk")
    done(folder, "backup", "copy.db")
    done(folder, "tasks", "add", "After", "--agent", "clerk")
    assert "exists already" in refused(folder, "backup", "copy.db", code=1)
    assert "Give --replace" in refused(folder, "restore", "copy.db", code=1)
    assert "There is no such backup" in refused(folder, "restore", "none.db", "--replace", code=3)
    assert len(document(folder, "tasks", "list")["tasks"]) == 2
    assert "before-1.db" in done(folder, "restore", "copy.db", "--replace")
    assert [each["title"] for each in document(folder, "tasks", "list")["tasks"]] == ["Before"]


# --- with a node ---


@pytest.mark.slow
def test_a_first_conversation_is_streamed(running: Path) -> None:
    printed = done(running, "sessions", "send", "clerk", "Good morning", "--wait")
    assert "no money spent" in printed
    assert "\x1b" not in printed
    lines = [
        json.loads(line)
        for line in done(running, "sessions", "send", "clerk", "Again", "--wait", "--json").splitlines()
    ]
    assert [lines[0]["kind"], lines[-1]["kind"]] == ["sent", "end"]
    assert "Good morning" in done(running, "sessions", "show", "clerk")


@pytest.mark.slow
def test_a_task_is_followed_and_then_told_with_all_its_steps(running: Path) -> None:
    task = document(running, "tasks", "add", "Write it down", "--agent", "clerk")["id"]
    assert f"{task} is done" in done(running, "tasks", "tail", task)
    shown = done(running, "tasks", "show", task)
    for part in ("clerk was named", "attempt 1: ", "tokens, $0]", "SOUL.md ", "result", "memory.note: ok"):
        assert part in shown, part
    view = document(running, "tasks", "show", task.lower())
    assert view["task"]["state"] == "done"
    assert view["model_calls"] == 2
    assert document(running, "tasks", "explain", task)["lines"][:2] == [
        "asked for by ann through operator",
        "clerk was named",
    ]


@pytest.mark.slow
def test_the_record_tells_what_an_agent_did_in_sentences(running: Path) -> None:
    done(running, "sessions", "send", "clerk", "Remember the milk", "--wait")
    printed = done(running, "events", "--since", "3d", "--agent", "clerk")
    assert re.search(r'clerk got a message \(operator from ann\): "Remember the milk"', printed)
    assert re.search(r'clerk finished T\d+ "Remember the milk": "', printed)
    assert all(ISO.match(line) for line in printed.splitlines())
    first = document(running, "events", "--since", "3d", "--agent", "clerk")["events"][0]
    assert {"id", "at", "name", "text", "actor", "reason", "data", "task", "agent", "session"} == set(first)


@pytest.mark.slow
def test_every_reading_command_prints_one_document_with_json(running: Path) -> None:
    for command in (
        "status", "doctor", "check", "cost", "events", "agents list", "agents show clerk", "agents context clerk",
        "tasks list", "sessions list", "approvals list", "schedules list", "dead list",
    ):  # fmt: skip
        assert isinstance(document(running, *command.split()), dict), command


@pytest.mark.slow
def test_status_and_doctor_are_content_with_a_fresh_fleet_that_runs(running: Path) -> None:
    printed = done(running, "status")
    assert printed.startswith("fleet: nothing needs you (scripted model, no money spent)\n")
    for part in ("node ", "spent today", "free", ".ostinato", "clerk"):
        assert part in printed, part
    examined = done(running, "doctor")
    assert "bad" not in {line.split()[0] for line in examined.splitlines()}


@pytest.mark.slow
def test_an_agent_is_stopped_and_let_go_on(running: Path) -> None:
    assert "clerk is paused" in done(running, "agents", "pause", "clerk", "--reason", "tea")
    assert "clerk was paused by ann: tea" in done(running, "status")
    assert "clerk may work again" in done(running, "agents", "resume", "clerk")
    assert "is stopped" in done(running, "stop", "--reason", "fire")
    assert ostinato(running, "status").returncode == 1
    assert "may work again" in done(running, "start")


@pytest.mark.slow
def test_a_schedule_is_added_run_and_removed(running: Path) -> None:
    assert "next 20" in done(running, "schedules", "add", "weekly", "clerk", "Report.", "--cron", "0 16 * * FRI")
    assert "clerk is woken by weekly" in done(running, "schedules", "run", "weekly")
    assert "weekly" in done(running, "schedules", "list")
    done(running, "schedules", "remove", "weekly")
    assert "There is no" not in done(running, "schedules", "list")


@pytest.mark.slow
def test_a_second_node_of_the_same_fleet_is_refused(running: Path) -> None:
    assert "running already" in refused(running, "up", code=1)
    command = [sys.executable, "-m", "ostinato.node", str(running)]
    found = subprocess.run(command, env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=120)
    assert found.returncode == 2
    assert "already held by process" in found.stderr


@pytest.mark.slow
def test_a_reader_that_stops_reading_ends_the_command_quietly(running: Path) -> None:
    script = f"{sys.executable} -m ostinato events --since 3d | head -1"
    found = subprocess.run(["bash", "-c", script], cwd=running, env=ENVIRONMENT, capture_output=True, check=False)
    assert (found.returncode, found.stderr) == (0, b"")


def on_a_terminal(folder: Path, *arguments: str, columns: int) -> str:
    """What a command prints on a terminal of that width."""
    leader, follower = pty.openpty()
    environment = {**ENVIRONMENT, "COLUMNS": str(columns), "TERM": "xterm"}
    process = subprocess.Popen([*PYTHON, *arguments], cwd=folder, env=environment, stdout=follower, stdin=follower)
    os.close(follower)
    parts = []
    try:
        while data := os.read(leader, 65_536):
            parts.append(data)
    except OSError:  # the other end was closed
        pass
    process.wait(120)
    os.close(leader)
    return b"".join(parts).decode()


@pytest.mark.slow
def test_on_a_terminal_tables_have_colour_and_fit_its_width(running: Path) -> None:
    done(running, "tasks", "add", "A very long title " * 8, "--agent", "clerk")
    printed = on_a_terminal(running, "tasks", "list", columns=60)
    assert "\x1b[2m" in printed
    plain = re.sub(r"\x1b\[\d*m", "", printed)
    assert max(len(line) for line in plain.splitlines()) <= 60
    assert "…" in plain


@pytest.mark.slow
def test_a_node_that_is_killed_comes_back_and_finishes_its_work(tmp_path: Path) -> None:
    folder = new_fleet(tmp_path / "fleet")
    with node(folder):
        before = document(folder, "status")["node"]["pid"]
        os.kill(before, signal.SIGKILL)
        after = wait_until(lambda: other_pid(folder, before))
        assert after != before
        assert "no money spent" in done(folder, "sessions", "send", "clerk", "Still there?", "--wait")
    last = document(folder, "status")["node"]
    assert (last["running"], last["clean_end"]) == (False, True)
    assert not (folder / ".ostinato" / "ostinato.sock").exists()
    assert '"event":"node.ready"' in (folder / ".ostinato" / "logs" / "node.log").read_text()


def other_pid(folder: Path, before: int) -> int | None:
    """The pid of the node that answers, once it is another."""
    found = ostinato(folder, "status", "--json")
    pid = json.loads(found.stdout)["node"]["pid"] if found.stdout else None
    return pid if pid != before else None


@pytest.mark.slow
def test_a_command_that_finds_its_node_loads_nothing_that_a_node_stands_on() -> None:
    code = (
        "import sys; import ostinato.cli.application, ostinato.cli.setup_commands, ostinato.workspace.fleet_file;"
        "heavy = {'asyncio', 'pydantic', 'sqlite3', 'ostinato.app', 'ostinato.gateway.context'} & set(sys.modules);"
        "assert not heavy, heavy"
    )
    subprocess.run([sys.executable, "-c", code], check=True, timeout=30)
