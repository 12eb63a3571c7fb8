"""What a command says, within bounds: the beginning and the end are kept, what lies between is counted.

A result shows a little of it, with offsets; the whole of what was kept goes to a file of the task, from which it is
read on. Knows nothing of where the output comes from.
"""

from __future__ import annotations

import re
from collections import deque
from pathlib import Path

from ostinato.domain.errors import Exhausted, Invalid, NotFound
from ostinato.domain.values import Value

KEPT_BYTES = 1_048_576
"""Of one command's output: half of it from the beginning, half from the end."""

SHOWN_BYTES = 16_384
"""Of that, what a result shows at once: half from the beginning, half from the end."""

FILES_MAX = 200
"""Outputs that are kept for one agent; the oldest go first."""

OUTPUTS_FOLDER = "outputs"
"""In the fleet's state; below it, one folder for each agent."""

_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LINE_ENDS = re.compile(r"\r\n?")
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), 127))


class Output:
    """Takes what comes and holds at most `KEPT_BYTES` of it."""

    def __init__(self, kept_bytes: int = KEPT_BYTES) -> None:
        self._half = kept_bytes // 2
        self._head = bytearray()
        self._tail: deque[bytes] = deque()
        self._tail_bytes = 0
        self.total_bytes = 0

    def add(self, data: bytes) -> None:
        """Takes some more."""
        self.total_bytes += len(data)
        room = self._half - len(self._head)
        self._head += data[:room]
        rest = data[room:]
        if rest:
            self._tail.append(rest)
            self._tail_bytes += len(rest)
        while self._tail and self._tail_bytes - len(self._tail[0]) >= self._half:
            self._tail_bytes -= len(self._tail.popleft())

    def kept(self) -> Kept:
        """What there is now."""
        tail = b"".join(self._tail)[-self._half :]
        return Kept(head=bytes(self._head), tail=tail, total_bytes=self.total_bytes)


class Kept(Value):
    """An output as far as it was kept. Offsets count from its true beginning."""

    head: bytes
    tail: bytes = b""
    total_bytes: int

    @property
    def missing_bytes(self) -> int:
        """Bytes between head and tail that nobody has any more."""
        return self.total_bytes - len(self.head) - len(self.tail)

    def read(self, start: int, size: int) -> tuple[int, bytes]:
        """At most `size` bytes from `start` on, or from where there is something again; and where they begin."""
        if start < len(self.head):
            whole = self.head if self.missing_bytes else self.head + self.tail
            return start, whole[start : start + size]
        begin = self.total_bytes - len(self.tail)
        start = max(start, begin)
        return start, self.tail[start - begin : start - begin + size]


class Spill:
    """The files in which an agent's outputs are kept, in one folder of the fleet's state. The runtime names them."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def keep(self, name: str, kept: Kept) -> None:
        """Stores an output under a name of letters and digits. Raises Exhausted where the disk is full."""
        head = f"{kept.total_bytes} {len(kept.head)}\n".encode()
        try:
            self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            temporary = self._path(name).with_suffix(".tmp")
            temporary.write_bytes(head + kept.head + kept.tail)
            temporary.chmod(0o600)
            temporary.replace(self._path(name))
            self._forget_old()
        except OSError as error:
            raise Exhausted(f"The output could not be kept: {error.strerror}") from error

    def load(self, name: str) -> Kept:
        """An output by its name. Raises NotFound where there is none, or no longer."""
        if not (name.isascii() and name.isalnum() and len(name) <= 64):
            raise Invalid(f"{name[:64]!r} is not the name of an output", cure="Results of exec.run name theirs.")
        try:
            data = self._path(name).read_bytes()
        except FileNotFoundError:
            raise NotFound(f"There is no output {name}", cure=f"The last {FILES_MAX} of each agent are kept.") from None
        head, _, rest = data.partition(b"\n")
        total, first = (int(each) for each in head.split())
        return Kept(head=rest[:first], tail=rest[first:], total_bytes=total)

    def _path(self, name: str) -> Path:
        return self._folder / f"{name}.out"

    def _forget_old(self) -> None:
        found = sorted(self._folder.glob("*.out"), key=lambda path: path.stat().st_mtime_ns)
        for path in found[:-FILES_MAX]:
            path.unlink(missing_ok=True)


def plain(data: bytes) -> str:
    """Text without what would move a cursor, ring a bell or colour a letter."""
    text = _LINE_ENDS.sub("\n", data.decode(errors="replace"))
    return _ESCAPES.sub("", text).translate(_CONTROLS)
