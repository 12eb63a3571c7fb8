"""What a room is furnished with: the protected names, the program, the user, the variables, the output that is kept."""

from __future__ import annotations

import base64
import os
from pathlib import Path
from urllib.parse import quote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.command import RUNNERS, covers, effect_of, is_runner, problem_of, runs_files
from ostinato.domain.errors import Denied, Invalid, NotFound, OstinatoError
from ostinato.domain.step import Effect
from ostinato.tools.sandbox.account import account_of
from ostinato.tools.sandbox.program import check_folders, digest_of_file, find_program
from ostinato.tools.sandbox.protected import FILES, prepare
from ostinato.tools.sandbox.spill import FILES_MAX, Kept, Output, Spill
from ostinato.tools.sandbox.surroundings import environment, names, values_of, without


def a_repository(folder: Path) -> Path:
    (folder / ".git").mkdir()
    (folder / ".git/HEAD").write_text("ref: refs/heads/main\n")
    return folder


def test_what_is_missing_is_made_once_and_says_nothing(tmp_path: Path) -> None:
    watch = prepare(a_repository(tmp_path))
    assert {each.name for each in tmp_path.iterdir()} == {*FILES, "heartbeats", ".git"}
    assert (tmp_path / "SOUL.md").read_bytes() == b""
    assert (tmp_path / ".git/hooks").is_dir()
    assert prepare(tmp_path) == watch
    assert watch.changed() == ()
    assert not watch.is_broken()


def test_a_folder_without_a_repository_gets_a_place_where_none_can_be_made(tmp_path: Path) -> None:
    watch = prepare(tmp_path)
    assert tmp_path / ".git" in watch.guard.sealed
    assert watch.guard.folders == ()


def test_what_a_person_wrote_stays(tmp_path: Path) -> None:
    (tmp_path / "SOUL.md").write_text("me")
    prepare(a_repository(tmp_path))
    assert (tmp_path / "SOUL.md").read_text() == "me"


@pytest.mark.parametrize("name", ["SOUL.md", ".git", "heartbeats", ".env", ".git/config", ".git/hooks"])
def test_a_link_cannot_be_protected(tmp_path: Path, name: str) -> None:
    if name.startswith(".git/"):
        a_repository(tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / name).symlink_to(tmp_path / "elsewhere")
    with pytest.raises(Denied, match="link"):
        prepare(tmp_path)


def test_a_second_name_or_another_kind_cannot_be_protected(tmp_path: Path) -> None:
    (tmp_path / "SOUL.md").write_text("me")
    os.link(tmp_path / "SOUL.md", tmp_path / "other")
    with pytest.raises(Denied, match="hard links"):
        prepare(tmp_path)
    (tmp_path / "SOUL.md").unlink()
    (tmp_path / "AGENTS.md").mkdir()
    with pytest.raises(Denied, match="is a folder"):
        prepare(tmp_path)


@pytest.mark.parametrize("name", ["SOUL.md", ".git/config", ".git/hooks/pre-commit", "heartbeats/hourly.md"])
def test_every_change_is_seen(tmp_path: Path, name: str) -> None:
    a_repository(tmp_path)
    for folder in (".git/hooks", "heartbeats"):
        (tmp_path / folder).mkdir()
    (tmp_path / name).write_text("before")
    watch = prepare(tmp_path)
    (tmp_path / name).write_text("behind")
    assert watch.changed() == (name,)
    assert not watch.is_broken()


def test_a_worktree_that_was_led_to_another_repository_is_told(tmp_path: Path) -> None:
    a_repository(tmp_path)
    pointers = {"worktrees/T1/.git": "gitdir: ../../.git/worktrees/T1\n", ".git/worktrees/T1/commondir": "../..\n"}
    for name, text in pointers.items():
        (tmp_path / name).parent.mkdir(parents=True)
        (tmp_path / name).write_text(text)
    watch = prepare(tmp_path)
    (tmp_path / "worktrees/T1/work.txt").write_text("done\n")
    (tmp_path / "worktrees/T2").mkdir()
    assert watch.changed() == ()
    for name in pointers:
        (tmp_path / name).write_text("elsewhere\n")
    assert watch.changed() == tuple(pointers)
    assert not watch.is_broken(), "it is told, and ends nothing"


def test_a_replaced_file_is_more_than_a_changed_one(tmp_path: Path) -> None:
    watch = prepare(tmp_path)
    (tmp_path / "new").write_text("new")
    (tmp_path / "new").rename(tmp_path / "TOOLS.md")
    assert watch.is_broken()


def test_what_leads_git_astray_is_moved_aside_unless_it_was_there(tmp_path: Path) -> None:
    a_repository(tmp_path)
    (tmp_path / ".git/modules").mkdir()
    watch = prepare(tmp_path)
    assert tmp_path / ".git/modules" in watch.guard.sealed
    for name in (".git/commondir", "ostinato.toml"):
        (tmp_path / name).write_text("evil")
    assert set(watch.put_aside()) == {".git/commondir", "ostinato.toml"}
    assert (tmp_path / ".git/commondir.refused-1").exists()
    assert watch.put_aside() == ()


def test_what_makes_other_programs_run_something_is_kept_as_it_is_unless_it_is_granted(tmp_path: Path) -> None:
    for name in (".vscode", ".claude"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "settings.json").write_text("{}")
    watch = prepare(tmp_path, granted=frozenset({".claude", ".envrc"}))
    assert tmp_path / ".vscode" in watch.guard.sealed
    assert tmp_path / ".claude" not in watch.guard.sealed
    for name in (".vscode/settings.json", ".claude/settings.json", ".envrc", ".husky"):
        (tmp_path / name).write_text("evil")
    assert watch.changed() == (".vscode/settings.json",)
    assert watch.put_aside() == (".husky",)
    assert (tmp_path / ".envrc").exists()
    assert (tmp_path / ".husky.refused-1").read_text() == "evil"


def test_what_a_command_left_that_died_with_its_node_is_moved_aside_before_the_next(tmp_path: Path) -> None:
    a_repository(tmp_path)
    for name in (".git/commondir", "ostinato.toml"):
        (tmp_path / name).write_text("evil")
    prepare(tmp_path)
    assert not (tmp_path / ".git/commondir").exists()
    assert not (tmp_path / "ostinato.toml").exists()


def test_a_program_is_the_machines_or_a_declared_one(tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    script = tmp_path / "bin/greet"
    script.write_text("#!/usr/bin/env sh\necho hello\n")
    script.chmod(0o755)
    found = find_program("greet", (tmp_path,))
    assert (found.path, found.file) == (str(script), str(script))
    assert found.interpreter.endswith("/sh")
    assert find_program("true").path == "/usr/bin/true"
    with pytest.raises(NotFound, match=r"exec\.paths"):
        find_program("greet")


def test_another_program_of_the_same_name_is_another(tmp_path: Path) -> None:
    script = tmp_path / "greet"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    before = find_program("greet", (tmp_path,)).identity
    script.write_text("#!/bin/sh\necho evil\n")
    assert find_program("greet", (tmp_path,)).identity != before
    assert digest_of_file(str(script)) == digest_of_file(str(script))


@pytest.mark.parametrize("folder", ["/", "/proc/self", "/etc", "/root", "/home", "/var", "/sys/kernel"])
def test_folders_that_hold_more_than_programs_are_not_shown(tmp_path: Path, folder: str) -> None:
    with pytest.raises(OstinatoError):
        check_folders((Path(folder),), fleet=tmp_path)


def test_neither_the_fleet_nor_what_it_lies_in_is_shown(tmp_path: Path) -> None:
    fleet = tmp_path / "fleet"
    (fleet / "agents").mkdir(parents=True)
    (tmp_path / "link").symlink_to(fleet / "agents")
    for folder in (fleet, fleet / "agents", tmp_path, tmp_path / "link"):
        with pytest.raises(Denied, match="fleet"):
            check_folders((folder,), fleet=fleet)


def test_a_fleet_of_roots_or_of_strangers_has_no_commands(tmp_path: Path) -> None:
    owner = tmp_path.stat().st_uid
    if owner == 0:
        with pytest.raises(Denied, match="never run as root") as refused:
            account_of(tmp_path)
        assert "chown" in refused.value.cure
        os.chown(tmp_path, 12_345, 12_345)
        assert account_of(tmp_path).uid == 12_345
    else:
        assert account_of(tmp_path).uid == owner
    with pytest.raises(Denied, match="this process runs as"):
        account_of(tmp_path, running_as=54_321)


def test_nothing_is_inherited_and_secrets_come_by_name(tmp_path: Path) -> None:
    (tmp_path / "token").write_text("from a file\n")
    source = {"KEY": "value", "TOKEN_FILE": str(tmp_path / "token"), "OTHER": "x"}
    secrets = values_of(("KEY", "TOKEN"), source)
    found = environment(agent="triage", folders=("/opt/tools",), secrets=secrets)
    assert found["KEY"] == "value"
    assert found["TOKEN"] == "from a file"
    assert found["PATH"].startswith("/opt/tools/bin:/opt/tools:/usr/local/bin")
    assert tuple(sorted(found)) == names(agent="triage", secrets=("KEY", "TOKEN"))
    assert "OTHER" not in found
    with pytest.raises(NotFound, match="MISSING"):
        values_of(("MISSING",), source)


@given(st.binary(max_size=60), st.binary(max_size=60), st.integers(0, 80), st.sampled_from(range(3)))
def test_no_form_of_a_secret_is_left_in_an_output(before: bytes, after: bytes, cut: int, form: int) -> None:
    secret = "hunter2&/ü=="
    values_of(("KEY",), {"KEY": secret})
    forms = (secret.encode(), quote(secret, safe="").encode(), base64.b64encode(secret.encode()))
    data = before + forms[form] + after
    for kept in (
        Kept(head=data[:cut], tail=data[cut:], total_bytes=len(data)),
        Kept(head=data[:cut], tail=data[cut:], total_bytes=len(data) + 100),
    ):
        hidden = without(kept)
        assert len(hidden.head) + len(hidden.tail) == len(data)
        assert forms[form] not in hidden.head + hidden.tail
        assert not hidden.head.endswith(forms[form][:4])


@given(st.lists(st.binary(max_size=50), max_size=40), st.integers(0, 1_500))
def test_what_is_kept_of_an_output_is_its_beginning_and_its_end(pieces: list[bytes], start: int) -> None:
    output, whole = Output(kept_bytes=100), b"".join(pieces)
    for piece in pieces:
        output.add(piece)
    kept = output.kept()
    assert kept.total_bytes == len(whole)
    assert whole.startswith(kept.head)
    assert whole.endswith(kept.tail)
    assert len(kept.head) + len(kept.tail) == min(100, len(whole))
    begin, data = kept.read(start, 10)
    assert data == whole[begin : begin + len(data)]
    assert begin >= start
    assert data or begin >= len(whole)


def test_an_output_is_read_on_by_its_name_and_old_ones_are_forgotten(tmp_path: Path) -> None:
    spill = Spill(tmp_path / "outputs")
    kept = Kept(head=b"head", tail=b"tail", total_bytes=100)
    spill.keep("abc", kept)
    assert spill.load("abc") == kept
    for name in ("../abc", "", "a/b", "é", "a" * 65):
        with pytest.raises(Invalid):
            spill.load(name)
    with pytest.raises(NotFound):
        spill.load("abd")
    os.utime(tmp_path / "outputs/abc.out", ns=(0, 0))
    for number in range(FILES_MAX):
        spill.keep(f"n{number}", kept)
    with pytest.raises(NotFound):
        spill.load("abc")


@pytest.mark.parametrize(
    "name",
    [
        "sh",
        "bash",
        "env",
        "busybox",
        "find",
        "git",
        "python3",
        "python3.11",
        "/usr/bin/python",
        "perl5.36",
        "x86_64-linux-gnu-gcc-12",
        "/lib64/ld-linux-x86-64.so.2",
        "less",
        "psql",
        "split",
        "g++",
        "runuser",
    ],
)
def test_whatever_runs_other_programs_is_known(name: str) -> None:
    assert is_runner(name)


def test_other_programs_are_not_taken_for_one() -> None:
    assert not any(is_runner(name) for name in ("ls", "pytest", "cat", "grep", "jq", "convert"))
    assert {"sh", "sudo", "xargs", "ssh"} <= RUNNERS
    assert runs_files("/usr/bin/python3.11")
    assert not runs_files("zip"), "its files are what it writes"


@pytest.mark.parametrize(
    ("pattern", "argv", "covered"),
    [
        ("git status", "git status", True),
        ("git status", "git status -s", False),
        ("git status", "git -c core.pager=evil status", False),
        ("git status", "git", False),
        ("git log *", "git log --oneline", True),
        ("git log *", "git log", True),
        ("git log *", "git --no-pager log", False),
        ("*", "anything at all", True),
    ],
)
def test_a_declared_command_is_covered_word_by_word(pattern: str, argv: str, *, covered: bool) -> None:
    assert covers(pattern.split(), argv.split()) is covered


def test_the_gravest_effect_counts_and_what_is_not_declared_is_irreversible() -> None:
    effects = {"ls *": Effect.READ, "ls secret": Effect.REVERSIBLE}
    assert effect_of(["ls"], effects) is Effect.READ
    assert effect_of(["ls", "secret"], effects) is Effect.REVERSIBLE
    assert effect_of(["lsof"], effects) is Effect.IRREVERSIBLE


@pytest.mark.parametrize(
    ("pattern", "problem"),
    [
        ("", "not a command"),
        ("rm *", "not among the commands"),
        ("git * push", "last word"),
        ("git *", "everything that git can start"),
        ("sh *", "everything that sh can start"),
        ("git log *", ""),
        ("ls *", ""),
    ],
)
def test_effects_are_declared_for_commands_that_say_what_they_do(pattern: str, problem: str) -> None:
    found = problem_of(pattern, commands=("git", "sh", "ls"))
    assert problem in found
    assert bool(found) is bool(problem)


def test_no_command_is_shown_a_folder_that_holds_a_persons_tokens_or_keys(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the owner's token a command would allow what it has asked for."""
    home, fleet = tmp_path / "home", tmp_path / "fleet"
    for each in (home / ".config/ostinato/tokens", home / ".ssh", home / "bin", home / "named/ostinato", fleet):
        each.mkdir(parents=True)
    (tmp_path / "shortcut").symlink_to(home)
    monkeypatch.setenv("HOME", str(home))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(home / "named"))
    for shown in ("home", "home/.config", "home/.config/ostinato", "home/.ssh", "home/named", "shortcut"):
        with pytest.raises(Denied, match="people keep for themselves"):
            check_folders((tmp_path / shown,), fleet=fleet)
    check_folders((home / "bin",), fleet=fleet)
