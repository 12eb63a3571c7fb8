"""`exec.run` as an agent meets it: what is granted, what an approval is bound to, what comes back."""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ostinato.domain.policy import Policy, judge
from ostinato.domain.question import Action
from ostinato.domain.step import Decision, Effect, ResultStatus
from ostinato.tools.commands import COMMAND_BYTES_MAX, CommandPlace
from ostinato.tools.port import CommandRules, OutsideTool, ToolContext, ToolResult
from ostinato.tools.sandbox import preflight as preflights
from ostinato.tools.sandbox.spill import plain
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import perform, report_of
from tests.conftest import run
from tests.sandbox.ground import ORDINARY, World, world

RULES = CommandRules(
    commands=("sh", "cat", "git", "true", "env", "python3", "ls"),
    effects={"git status": Effect.READ, "ls *": Effect.READ},
    timeout_s=20.0,
)


class Desk:
    """One agent with commands; `run` is the way of a call from judgement to result."""

    def __init__(self, here: World) -> None:
        self.here = here
        self.box = standard_toolbox(CommandPlace(fleet=here.fleet, state_dir=here.root / "state"))
        self.policy = Policy(agent="me", tools=("exec.run", "exec.read"))
        self.calls = 0

    def context(self, **more: Any) -> ToolContext:
        self.calls += 1
        given: dict[str, Any] = {
            "task": 1,
            "call_id": f"{self.calls}.0",
            "key": f"{self.calls:032x}",
            "agent": "me",
            "session": "main",
            "workspace": self.here.workspace,
            "now": 1_800_000_000_000_000,
            "policy": self.policy,
            "commands": RULES,
        }
        return ToolContext(**{**given, **more})

    def tool(self, name: str = "exec.run") -> OutsideTool:
        found = self.box.get(name)
        assert isinstance(found, OutsideTool)
        return found

    def judged(self, *argv: str, **more: Any) -> tuple[Decision, str, dict[str, Any]]:
        """The decision, its reason, and what an approval would be bound to."""
        arguments = {"argv": list(argv), **more.pop("arguments", {})}
        assert self.box.check_arguments(self.tool(), arguments) == ""
        context = self.context(**more)
        verdict = judge(self.box.facts(self.tool(), arguments, context), self.policy)
        return verdict.decision, verdict.reason, report_of(self.tool(), arguments, context).bound

    def run(self, *argv: str, bound: dict[str, Any] | None = None, **more: Any) -> ToolResult:
        """Performs a call; bound to what is there now, unless to something else."""
        arguments = {"argv": list(argv), **more.pop("arguments", {})}
        context = self.context(**more)
        found = report_of(self.tool(), arguments, context)
        assert found.refusal == "", found.refusal
        return run(perform(self.tool(), replace(context, bound=found.bound if bound is None else bound), arguments))


@pytest.fixture(scope="module")
def desk() -> Iterator[Desk]:
    with world() as made:
        yield Desk(made)


def test_a_command_that_is_granted_asks_unless_its_effect_is_declared(desk: Desk) -> None:
    assert desk.judged("git", "commit", "-m", "x")[0] is Decision.ASK
    assert desk.judged("git", "status")[0] is Decision.ALLOW
    assert desk.judged("ls", "-la", "notes")[0] is Decision.ALLOW


@pytest.mark.parametrize(
    "argv",
    [
        ("rm", "-rf", "."),
        ("bash", "-c", "git status"),
        ("/usr/bin/git", "status"),
        ("./git",),
        ("busybox", "sh"),
        ("find", ".", "-exec", "sh", ";"),
        ("xargs", "git"),
        ("",),
        (" git",),
        ("git ",),
        ("GIT",),
        ("git\u202e",),
    ],
)
def test_a_command_that_is_not_granted_by_its_own_name_is_denied(desk: Desk, argv: tuple[str, ...]) -> None:
    decision, reason, _ = desk.judged(*argv)
    assert decision is Decision.DENY
    assert "not granted" in reason


def test_a_wrapper_that_is_granted_is_what_it_is(desk: Desk) -> None:
    for argv in (("env", "-S", "git status"), ("sh", "-c", "git status"), ("git", "-c", "core.pager=evil", "status")):
        assert desk.judged(*argv)[0] is Decision.ASK


def test_nothing_is_granted_without_rules_or_program(desk: Desk) -> None:
    assert desk.judged("git", commands=None)[0] is Decision.DENY
    decision, reason, _ = desk.judged("nosuch", commands=CommandRules(commands=("nosuch",)))
    assert (decision, "no program" in reason) == (Decision.DENY, True)


@pytest.mark.parametrize(
    ("arguments", "reason"),
    [
        ({"cwd": "../neighbour"}, "leads upwards"),
        ({"cwd": "/tmp"}, "not relative"),
        ({"cwd": "SOUL.md"}, "is no folder"),
        ({"cwd": "nowhere"}, "does not exist"),
        ({"secrets": ["OTHER"]}, "not declared"),
        ({"argv": ["cat", "a\0b"]}, "zero byte"),
        ({"argv": ["cat", "é" * 100_000]}, "too long"),
        ({"argv": ["cat", *["a" * 100_000] * 6]}, str(COMMAND_BYTES_MAX)),
    ],
)
def test_what_cannot_be_run_is_denied_with_words(desk: Desk, *, arguments: dict[str, Any], reason: str) -> None:
    decision, said, _ = desk.judged("cat", arguments=arguments, secrets=("KEY",))
    assert decision is Decision.DENY
    assert reason in said


def test_an_approval_is_bound_to_program_folder_variables_and_files(desk: Desk) -> None:
    _, _, bound = desk.judged("cat", "notes/today.md", arguments={"secrets": ["KEY"]}, secrets=("KEY",))
    assert (bound["program"], len(bound["sha256"])) == ("/usr/bin/cat", 64)
    assert bound["folder"] == str(desk.here.workspace)
    assert "KEY" in bound["environment"]
    assert list(bound["files"]) == ["notes/today.md"]
    one = Action(tool="exec.run", arguments={"argv": ["cat"]}, agent="me", bound=bound)
    assert replace(one, bound={**bound, "sha256": "0"}).digest != one.digest


@pytest.mark.slow
@pytest.mark.parametrize("name", ["program", "sha256", "folder", "environment", "files"])
def test_whatever_has_changed_since_nothing_is_run(desk: Desk, name: str) -> None:
    script = desk.here.workspace / "notes/script.sh"
    script.write_text("touch notes/ran\n")
    _, _, bound = desk.judged("sh", "notes/script.sh")
    result = desk.run("sh", "notes/script.sh", bound={**bound, name: "other"})
    assert result.status is ResultStatus.ERROR
    assert f"this has changed: {name}" in result.text
    assert not (desk.here.workspace / "notes/ran").exists()


@pytest.mark.slow
@pytest.mark.parametrize(
    "word", ["notes/swapped.sh", "./notes/../notes/swapped.sh", "notes//swapped.sh", "notes/by-link", "absolute", "-x="]
)
def test_a_script_that_is_swapped_after_its_approval_is_not_run(desk: Desk, word: str) -> None:
    script = desk.here.workspace / "notes/swapped.sh"
    script.write_text("echo good\n")
    if word == "notes/by-link":
        (desk.here.workspace / word).symlink_to("swapped.sh")
    words = {"absolute": [str(script)], "-x=": ["-c", f"file={script}"]}.get(word, [word])
    _, _, bound = desk.judged("sh", *words)
    script.write_text("echo evil\n")
    result = desk.run("sh", *words, bound=bound)
    assert "Nothing was run" in result.text


@pytest.mark.slow
def test_what_an_interpreter_runs_cannot_change_under_its_hands(desk: Desk) -> None:
    script = desk.here.workspace / "notes/self.sh"
    script.write_text("echo before\necho 'echo evil' >> notes/self.sh || echo held\n")
    _give(script)
    result = desk.run("sh", "notes/self.sh")
    assert "held" in result.text
    assert "evil" not in script.read_text().replace("'echo evil'", "")


@pytest.mark.slow
def test_the_result_says_how_it_ended_and_what_it_said(desk: Desk) -> None:
    good = desk.run("sh", "-c", "cat; pwd", arguments={"stdin": "given\n", "cwd": "notes"})
    assert good.status is ResultStatus.OK
    assert good.text.splitlines()[1:] == ["given", str(desk.here.workspace / "notes")]
    bad = desk.run("sh", "-c", "exit 7")
    assert (bad.status, bad.data and bad.data["exit"]) == (ResultStatus.ERROR, 7)
    late = desk.run("sh", "-c", "sleep 60", commands=replace(RULES, timeout_s=0.2))
    assert "ended by its time limit" in late.text
    less = desk.run("sh", "-c", "sleep 60", arguments={"timeout_s": 1})
    assert "ended by its time limit" in less.text


@pytest.mark.slow
def test_long_output_is_shown_in_part_and_read_on(desk: Desk) -> None:
    context = desk.context()
    arguments = {"argv": ["python3", "-c", "for i in range(20000): print(i)"]}
    bound = report_of(desk.tool(), arguments, context).bound
    result = run(perform(desk.tool(), replace(context, bound=bound), arguments))
    assert result.data is not None
    whole = "".join(f"{number}\n" for number in range(20_000))
    assert result.data["bytes"] == len(whole)
    assert len(result.text) < 17_000
    assert "0\n1\n2\n" in result.text
    assert result.text.endswith("19999")
    offset, pieces = 0, []
    while offset < len(whole):
        more = run(perform(desk.tool("exec.read"), desk.context(), {"output": result.data["output"], "from": offset}))
        assert more.data is not None
        pieces.append(more.text.partition("\n")[2])
        offset = more.data["to"]
    assert "".join(pieces) == whole
    beyond = run(perform(desk.tool("exec.read"), desk.context(agent="other"), {"output": result.data["output"]}))
    assert "There is no output" in beyond.text


@pytest.mark.slow
def test_a_secret_reaches_the_command_and_nobody_else(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("KEY", "hunter2-and-more")
    text = 'printf "%s" "$KEY" | sha256sum; echo "$KEY"; printf "%s" "$KEY" | base64; cat /proc/*/cmdline'
    result = desk.run("sh", "-c", text, arguments={"secrets": ["KEY"]}, secrets=("KEY",))
    assert hashlib.sha256(b"hunter2-and-more").hexdigest() in result.text
    assert "hunter2" not in result.text
    assert "KEY" not in desk.run("env", secrets=("KEY",)).text


@pytest.mark.slow
def test_what_a_command_must_not_make_is_moved_aside_and_said(desk: Desk) -> None:
    result = desk.run("sh", "-c", "echo x > ostinato.toml; echo ../notes > .git/commondir")
    assert "moved aside" in result.text
    assert not (desk.here.workspace / "ostinato.toml").exists()
    assert not (desk.here.workspace / ".git/commondir").exists()


@pytest.mark.slow
def test_an_agent_can_commit_its_work_but_not_rule_its_repository(desk: Desk) -> None:
    assert desk.run("git", "add", "notes").status is ResultStatus.OK
    assert desk.run("git", "commit", "-qm", "notes").status is ResultStatus.OK
    assert desk.run("git", "config", "core.pager", "evil").status is ResultStatus.ERROR


def test_escape_sequences_are_taken_out_of_what_is_shown() -> None:
    assert plain(b"\x1b[31mred\x1b[0m \x1b]0;title\x07bell\x07\r\nnext\rover\x00\tend") == "red bell\nnext\nover\tend"


def test_commands_are_refused_where_nothing_can_hold_them(desk: Desk, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    mine = replace(CommandPlace(fleet=desk.here.fleet, state_dir=tmp_path), fleet=tmp_path)
    refused = preflights.Preflight(refusal="nothing here can hold them", cure="Do something.")
    preflights._known[tmp_path] = (time.monotonic(), refused)
    box = standard_toolbox(mine)
    tool = box.get("exec.run")
    assert isinstance(tool, OutsideTool)
    context = desk.context()
    arguments = {"argv": ["true"]}
    result = run(perform(tool, replace(context, bound=report_of(tool, arguments, context).bound), arguments))
    assert result.text == "Commands are refused: nothing here can hold them. Do something."


def _give(path: Path) -> None:
    if os.geteuid() == 0:
        os.chown(path, ORDINARY, ORDINARY)
