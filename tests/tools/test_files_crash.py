"""A process that dies at any system call of a file operation, and comes back with the same key, has done it once.

Death is played: from one call on, no call of the process reaches the system any more, not even those that would clean
up; a write may be cut in half on its way. The harness must catch an append that does not know whether it was made.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from ostinato.tools import safe_files
from ostinato.tools.safe_files import SafeFolder
from tests.tools.desk import RULES

CALLS = (
    "open",
    "write",
    "fsync",
    "replace",
    "rename",
    "unlink",
    "mkdir",
    "setxattr",
    "fchmod",
    "stat",
    "pread",
    "close",
)
DEATHS_MAX = 60
"""Above the number of system calls of any operation."""

Operation = Callable[[SafeFolder], object]
OPERATIONS: dict[str, Operation] = {
    "write anew": lambda folder: folder.write("notes/new.md", b"made\n", key="k"),
    "write over": lambda folder: folder.write("log.md", b"made\n", key="k"),
    "append": lambda folder: folder.append("log.md", b"tick\n", key="k"),
    "append anew": lambda folder: folder.append("notes/new.md", b"tick\n", key="k", head=b"# head\n", line=True),
    "change": lambda folder: folder.change("log.md", lambda data: data + b"tick\n", key="k"),
    "delete": lambda folder: folder.delete("log.md", key="k"),
}


class Killed(BaseException):
    """The process is dead; nobody may catch it."""


class Death:
    """Dies at the call number `at`, before it is made; with `torn`, a write gets half of its bytes out first."""

    def __init__(self, at: int, *, torn: bool) -> None:
        self.at, self.torn = at, torn
        self.calls = 0
        self.left_open: list[int] = []

    @property
    def dead(self) -> bool:
        """True from that call on."""
        return self.calls >= self.at

    def around(self, name: str, real: Callable[..., Any]) -> Callable[..., Any]:
        """A system call of a process that may die."""

        def call(*args: Any, **more: Any) -> Any:
            self.calls += 1
            if not self.dead:
                return real(*args, **more)
            if name == "close":
                self.left_open.append(args[0])
            elif name == "write" and self.torn and self.calls == self.at:
                real(args[0], bytes(args[1])[: len(args[1]) // 2])
            raise Killed

        return call


def contents(folder: Path, *, whole: bool = False) -> dict[str, bytes]:
    """Files by name; with `whole` also what a dead process left on its way."""
    files = (each for each in folder.rglob("*") if each.is_file() and (whole or not each.name.endswith(".tmp")))
    return {str(each.relative_to(folder)): each.read_bytes() for each in files}


def fresh(folder: Path) -> Path:
    """A workspace with one file."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (folder / "log.md").write_bytes(b"begin\ntick\n")
    return folder


def die(operation: Operation, folder: Path, death: Death) -> bool:
    """Performs the operation in a process that dies; False where it was done before that."""
    with pytest.MonkeyPatch.context() as patch, SafeFolder(folder, RULES) as safe:
        for name in CALLS:
            patch.setattr(os, name, death.around(name, getattr(os, name)))
        try:
            operation(safe)
        except Killed:
            return True
        finally:
            patch.undo()
            for descriptor in set(death.left_open):
                os.close(descriptor)
    return False


def deaths(operation: Operation, root: Path) -> Iterator[tuple[str, dict[str, bytes], dict[str, bytes]]]:
    """For each point of death: where it was, what the disk holds after the repetition, and what it should."""
    with SafeFolder(fresh(root / "whole"), RULES) as safe:
        operation(safe)
    right = contents(root / "whole")
    for at in range(1, DEATHS_MAX):
        for torn in (False, True):
            folder = fresh(root / "killed")
            if not die(operation, folder, Death(at, torn=torn)):
                return
            between = contents(folder)
            with SafeFolder(folder, RULES) as safe:
                operation(safe)
            yield f"call {at}{', torn' if torn else ''}, disk between: {between}", contents(folder, whole=True), right


@pytest.mark.slow
@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_that_dies_anywhere_is_done_once_when_it_is_repeated(tmp_path: Path, name: str) -> None:
    count = 0
    for where, found, right in deaths(OPERATIONS[name], tmp_path):
        assert found == right, where
        count += 1
    assert count >= 8


@pytest.mark.parametrize("name", ["write anew", "write over", "change", "delete"])
def test_a_file_is_never_seen_half_written(tmp_path: Path, name: str) -> None:
    with SafeFolder(fresh(tmp_path / "whole"), RULES) as safe:
        OPERATIONS[name](safe)
    whole = {b"begin\ntick\n", *contents(tmp_path / "whole").values()}
    for at in range(1, DEATHS_MAX):
        folder = fresh(tmp_path / "killed")
        if not die(OPERATIONS[name], folder, Death(at, torn=True)):
            break
        assert set(contents(folder).values()) <= whole


def test_the_harness_catches_an_append_that_forgets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(safe_files, "_marks_of", lambda _descriptor: {})
    wrong = [where for where, found, right in deaths(OPERATIONS["append"], tmp_path) if found != right]
    assert wrong
