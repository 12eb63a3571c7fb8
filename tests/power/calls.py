"""What a process has done to its files, read from strace's record (`tests.crash.tracing.recording`).

Every operation stands where its call returned. A sync also says where it began: what was written meanwhile by another
thread may not be covered. Knows nothing of what the files are.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from ostinato.domain.values import Value


class Write(Value):
    """Bytes at a place in a file."""

    path: str
    offset: int
    data: bytes


class Truncate(Value):
    """A file has this length now."""

    path: str
    size: int


class Attribute(Value):
    """A file remembers something beside its contents."""

    path: str
    name: str
    value: bytes


class Make(Value):
    """A new file or folder."""

    path: str
    folder: bool = False


class Move(Value):
    """A file or folder has another name now, and what had that name is gone."""

    path: str
    target: str


class Link(Value):
    """A file has another name beside its own."""

    path: str
    target: str


class Remove(Value):
    """A name is gone."""

    path: str


class Sync(Value):
    """A file or folder was to be made durable. `since`: how many operations were complete when it was asked for."""

    path: str
    since: int
    failed: bool = False


Operation = Write | Truncate | Attribute | Make | Move | Link | Remove | Sync

NOWHERE = "/nowhere"

_CALL = re.compile(r"^(\d+) +(\w+)\((.*)\) += (-?\d+)")
_UNFINISHED = re.compile(r"^(\d+) +(\w+)\((.*) <unfinished \.\.\.>$")
_RESUMED = re.compile(r"^(\d+) +<\.\.\. (\w+) resumed>(.*)\) += (-?\d+)")
_TEXT = re.compile(r'"((?:\\x[0-9a-f]{2})*)"')


class _Call(NamedTuple):
    name: str
    rest: str
    result: int
    since: int

    @property
    def numbers(self) -> list[int]:
        """Arguments that are numbers, strings left out."""
        return [int(each) for each in re.findall(r"(?<![\w.])\d+(?![\w.])", _TEXT.sub("", self.rest))]

    @property
    def texts(self) -> list[bytes]:
        """Arguments that are strings."""
        return [bytes.fromhex(each.replace("\\x", "")) for each in _TEXT.findall(self.rest)]


class _Open:
    """A file that is open: where it goes on."""

    def __init__(self, path: str, *, appends: bool) -> None:
        self.path = path
        self.appends = appends
        self.offset = 0


class Reader:
    """Reads one record, of a process that finds the folder as it is now. `before`: what earlier ones have done."""

    def __init__(self, folder: Path, before: Sequence[Operation] = ()) -> None:
        self._folder = str(folder)
        self._files: dict[int, _Open] = {}
        self._sizes = {
            str(each): each.stat().st_size if each.is_file() else -1 for each in [folder, *folder.rglob("*")]
        }
        """Of files that exist, with their length; -1 for folders."""
        self.operations: list[Operation] = [*before]

    def read(self, file: Path) -> list[Operation]:
        """All operations below the folder, in order, behind those before."""
        with file.open(encoding="ascii", errors="replace") as lines:
            for call in _calls(lines, self.operations):
                self._take(call)
        return self.operations

    def _take(self, call: _Call) -> None:
        match call.name:
            case "fsync" | "fdatasync":
                self._sync(call)
            case _ if call.result < 0:
                pass
            case "open" | "openat" | "openat2" | "creat":
                self._open(call)
            case "close":
                self._files.pop(call.numbers[0], None)
            case "lseek":
                if call.numbers[0] in self._files:
                    self._files[call.numbers[0]].offset = call.result
            case "write" | "pwrite64" | "writev":
                self._write(call)
            case "ftruncate":
                if (file := self._files.get(call.numbers[0])) is not None:
                    self._say(Truncate(path=file.path, size=call.numbers[1]))
                    self._sizes[file.path] = call.numbers[1]
            case "fsetxattr":
                if (file := self._files.get(call.numbers[0])) is not None:
                    name, value = call.texts
                    self._say(Attribute(path=file.path, name=name.decode(), value=value))
            case "mkdir" | "mkdirat":
                self._make(self._paths(call)[0], folder=True)
            case "rename" | "renameat" | "renameat2":
                path, target = self._paths(call)
                self._say(Move(path=path, target=target))
                self._sizes = {target + n[len(path) :] if _within(n, path) else n: s for n, s in self._sizes.items()}
                for file in self._files.values():
                    if _within(file.path, path):
                        file.path = target + file.path[len(path) :]
            case "link" | "linkat":
                path, target = self._paths(call)
                self._say(Link(path=path, target=target))
                self._sizes[target] = self._sizes[path]
            case "unlink" | "unlinkat":
                (path,) = self._paths(call)
                self._say(Remove(path=path))
                self._sizes.pop(path, None)
            case other:
                raise AssertionError(f"what does {other} do to files?")

    def _sync(self, call: _Call) -> None:
        file = self._files.get(call.numbers[0])
        if file is not None:
            self._say(Sync(path=file.path, since=call.since, failed=call.result < 0))

    def _open(self, call: _Call) -> None:
        (path,) = self._paths(call)
        file = self._files[call.result] = _Open(path, appends="O_APPEND" in call.rest)
        if "O_CREAT" in call.rest and path not in self._sizes:
            self._make(path)
        if "O_TRUNC" in call.rest:
            self._say(Truncate(path=file.path, size=0))
            self._sizes[path] = 0

    def _make(self, path: str, *, folder: bool = False) -> None:
        self._say(Make(path=path, folder=folder))
        self._sizes[path] = -1 if folder else 0

    def _write(self, call: _Call) -> None:
        file = self._files.get(call.numbers[0])
        if file is None:  # standard output, a socket
            return
        size = max(0, self._sizes.get(file.path, 0))
        if call.name == "pwrite64":
            offset = call.numbers[-1]
        else:
            offset = size if file.appends else file.offset
            file.offset = offset + call.result
        self._say(Write(path=file.path, offset=offset, data=b"".join(call.texts)[: call.result]))
        self._sizes[file.path] = max(size, offset + call.result)

    def _paths(self, call: _Call) -> list[str]:
        """Absolute paths; those beside an open folder are looked up there. Where threads ended their calls in such an
        order that nobody knows which folder that was, it is `NOWHERE`: what is lost by it, the files that were left
        show."""
        found: list[str] = []
        for place, text in re.findall(r'(?:(AT_FDCWD|\d+), )?("(?:\\x[0-9a-f]{2})*")', call.rest):
            path = bytes.fromhex(text[1:-1].replace("\\x", "")).decode()
            if place.isdecimal() and not path.startswith("/"):
                opened = self._files.get(int(place))
                path = os.path.join(NOWHERE if opened is None else opened.path, path)
            found.append(os.path.normpath(path))
        return found

    def _say(self, operation: Operation) -> None:
        paths = [operation.path, operation.target] if isinstance(operation, Move | Link) else [operation.path]
        if any(_within(path, self._folder) for path in paths):
            self.operations.append(operation)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder + "/")


def _calls(lines: Iterator[str], operations: list[Operation]) -> Iterator[_Call]:
    """Calls in the order of their ends; but a descriptor is free as soon as its close has begun, and may be another
    thread's file before the close returns."""
    begun: dict[str, tuple[str, int]] = {}
    for line in lines:
        if found := _CALL.match(line):
            yield _Call(found[2], found[3], int(found[4]), len(operations))
        elif (found := _UNFINISHED.match(line)) and found[2] == "close":
            yield _Call(found[2], found[3], 0, len(operations))
        elif found:
            begun[found[1]] = (found[3], len(operations))
        elif (found := _RESUMED.match(line)) and found[1] in begun:
            rest, since = begun.pop(found[1])
            yield _Call(found[2], rest + found[3], int(found[4]), since)
