"""How a process is found again: a folder of the fleet's state, in which its shim holds a lock, listens on a socket, and
leaves the record of its end.

A process is adopted by this handle and never by a number: numbers are given out again. Knows nothing of tasks' states
or of how a process is started.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import enum
import fcntl
import json
import os
import shutil
import signal
import socket
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import msgspec

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.step import Effect
from ostinato.domain.values import Instant, Value, to_json
from ostinato.tools.processes.shim import BEGAN, EXIT, SOCKET
from ostinato.tools.sandbox.protected import Mark, Watch
from ostinato.tools.sandbox.room import Guard
from ostinato.tools.sandbox.spill import Kept

PROCESSES_FOLDER = "processes"
ABOUT, SURROUNDINGS = "about.json", "surroundings.json"

ANSWER_S = 2.0
"""How long a shim may take to answer: it does nothing that waits."""

KEPT_MAX = 200
"""Folders of processes whose end has been told; the oldest go first."""

_AGAIN_MAX = 8
_ENDING_S, _ENDING_MAX = 0.005, 200


class About(Value):
    """What is known of a process before it begins; never secret, but for the token."""

    task: int
    agent: str
    session: str
    argv: tuple[str, ...]
    effect: Effect = Effect.IRREVERSIBLE
    """What is typed into a process does what the process does."""
    terminal: bool = False
    token: str
    """Opens its socket, and its way to the network."""


class Surroundings(Value):
    """How it was when it began."""

    backend: str
    workspace: str
    marks: dict[str, Mark]
    """What no command may change in the workspace."""
    granted: frozenset[str] = frozenset()
    """Of what makes other programs run something, what it may."""
    way: str = ""
    """The token of its way to the network; empty: it has none."""

    @property
    def watch(self) -> Watch:
        """What is protected in its workspace."""
        return Watch(workspace=Path(self.workspace), guard=Guard(), marks=self.marks, granted=self.granted)


def surroundings_of(watch: Watch, *, backend: str, way: str) -> Surroundings:
    """How it is as it begins."""
    folder = str(watch.workspace)
    return Surroundings(backend=backend, workspace=folder, marks=watch.marks, granted=watch.granted, way=way)


class Standing(enum.StrEnum):
    """How a process stands."""

    NEVER = "never"
    """Nothing has begun."""
    RUNS = "runs"
    ENDED = "ended"
    LOST = "lost"
    """Its shim has gone without a word: the process has ended with it, and nobody knows how."""


class Exit(Value):
    """How a process ended, as its shim wrote it down."""

    ended: str
    """`exit`, `killed`, `refused`, or the bound that ended it."""
    returncode: int | None = None
    why: str = ""
    began_at: Instant = 0
    ended_at: Instant = 0
    duration_s: float = 0.0
    bytes: int = 0
    status: str = ""


class Handle:
    """One process's folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    @property
    def name(self) -> str:
        """The folder's name: what a parked task waits for."""
        return self.folder.name

    def about(self) -> About:
        """What is known of it; raises NotFound where nobody has prepared it."""
        try:
            return msgspec.json.decode((self.folder / ABOUT).read_bytes(), type=About)
        except (OSError, msgspec.MsgspecError) as error:
            raise NotFound(f"There is no process {self.name}") from error

    def surroundings(self) -> Surroundings:
        """How it was when it began; raises NotFound where it never did."""
        try:
            return msgspec.json.decode((self.folder / SURROUNDINGS).read_bytes(), type=Surroundings)
        except (OSError, msgspec.MsgspecError) as error:
            raise NotFound(f"{self.name} has not begun") from error

    def look(self) -> tuple[Standing, Exit | None]:
        """How it stands, whoever runs or does not."""
        try:
            lock = os.open(self.folder / BEGAN, os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError:
            return Standing.NEVER, None
        try:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)
        except BlockingIOError:
            return Standing.RUNS, None
        finally:
            os.close(lock)
        try:
            return Standing.ENDED, msgspec.json.decode((self.folder / EXIT).read_bytes(), type=Exit)
        except (OSError, msgspec.MsgspecError):
            return Standing.LOST, None

    def ask(self, do: str, **more: Any) -> dict[str, Any]:
        """What its shim answers. Raises Conflict where it runs no more, does not answer, or refuses."""
        request = json.dumps({"token": self.about().token, "do": do, **more}).encode() + b"\n"
        with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection, self._address() as address:
            connection.settimeout(ANSWER_S)
            try:
                self._connect(connection, address)
                connection.sendall(request)
                line = b""
                while not line.endswith(b"\n") and (data := connection.recv(65_536)):
                    line += data
            except OSError as error:
                raise Conflict(f"The process does not run any more ({type(error).__name__})") from error
        if not line:
            raise Conflict("The process has just ended")
        answer: dict[str, Any] = json.loads(line)
        if "error" in answer:
            raise Conflict(f"Nothing was done: {answer['error']}")
        return answer

    def _connect(self, connection: socket.socket, address: str) -> None:
        """A shim that has just taken its lock listens a moment later."""
        for _ in range(_ENDING_MAX):
            try:
                connection.connect(address)
            except (FileNotFoundError, ConnectionRefusedError):
                if self.look()[0] is not Standing.RUNS:
                    raise
                time.sleep(_ENDING_S)
            else:
                return
        raise TimeoutError

    def write(self, data: bytes, *, end: bool = False) -> None:
        """Types into it; `end`: and nothing more. Raises Conflict."""
        self.ask("write", data=base64.b64encode(data).decode(), end=end)

    def kill(self, why: str) -> bool:
        """Ends the whole tree; False where nothing runs. A shim that does not answer is ended itself, and the process
        with it."""
        if self.look()[0] is not Standing.RUNS:
            return False
        try:
            self.ask("kill", why=why)
        except (Conflict, NotFound):
            self._end_shim()
        return True

    def _end_shim(self) -> None:
        """Only while its lock is held is the number in it its own."""
        with contextlib.suppress(OSError, ValueError, KeyError):
            pid = int(json.loads((self.folder / BEGAN).read_bytes())["pid"])
            descriptor = os.pidfd_open(pid)
            try:
                if self.look()[0] is Standing.RUNS:
                    signal.pidfd_send_signal(descriptor, signal.SIGKILL)
            finally:
                os.close(descriptor)

    async def wait_gone(self) -> None:
        """Returns when its shim has gone. Costs one connection while it waits."""
        try:
            with self._address() as address:
                reader, writer = await asyncio.open_unix_connection(address)
        except OSError:
            await self._wait_unlocked()
            return
        try:
            writer.write(json.dumps({"token": self.about().token, "do": "watch"}).encode() + b"\n")
            while await reader.read(4_096):
                pass
        except (OSError, NotFound):
            pass
        finally:
            writer.close()
        await self._wait_unlocked()

    async def _wait_unlocked(self) -> None:
        """A program that has ended lets go of one thing after the other."""
        for _ in range(_ENDING_MAX):
            if self.look()[0] is not Standing.RUNS:
                return
            await asyncio.sleep(_ENDING_S)

    def kept(self) -> Kept:
        """Its output as far as it is kept, now."""
        for _ in range(_AGAIN_MAX):  # what lies between may be removed while this reads
            with contextlib.suppress(FileNotFoundError):
                return self._kept()
        return Kept(head=b"", total_bytes=0)

    def _kept(self) -> Kept:
        starts = sorted(int(each.name[4:]) for each in self.folder.glob("out.*"))
        pieces = {start: (self.folder / f"out.{start}").read_bytes() for start in starts}
        head = pieces.pop(0, b"")
        total, tail = len(head), b""
        for start in sorted(pieces):
            tail = tail + pieces[start] if tail and start == total else pieces[start]
            total = start + len(pieces[start])
        return Kept(head=head, tail=tail, total_bytes=total)

    @contextlib.contextmanager
    def _address(self) -> Iterator[str]:
        """Short enough for a socket, however deep the fleet lies."""
        descriptor = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            yield f"/proc/self/fd/{descriptor}/{SOCKET}"
        finally:
            os.close(descriptor)

    def forget(self) -> None:
        """Removes all that is known of it."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def prepare(self, about: About) -> None:
        """Makes the folder. Twice is fine: the first token stands."""
        self.folder.parent.mkdir(mode=0o700, exist_ok=True, parents=True)
        self.folder.mkdir(mode=0o700, exist_ok=True)
        temporary = self._written(ABOUT, about)
        with contextlib.suppress(FileExistsError):
            os.link(temporary, self.folder / ABOUT)
        temporary.unlink()

    def furnish(self, surroundings: Surroundings) -> None:
        """Keeps how it is before it begins."""
        self._written(SURROUNDINGS, surroundings).rename(self.folder / SURROUNDINGS)

    def _written(self, name: str, value: Value) -> Path:
        temporary = self.folder / f"{name}.tmp"
        descriptor = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with open(descriptor, "wb") as file:
            file.write(to_json(value))
        return temporary


def handles(state_dir: Path) -> list[Handle]:
    """All there are, those that ended long ago aside."""
    folder = state_dir / PROCESSES_FOLDER
    try:
        return [Handle(each) for each in folder.iterdir() if (each / ABOUT).exists()]
    except FileNotFoundError:
        return []


def handle_of(state_dir: Path, task: int) -> Handle:
    """The latest handle of a process task; raises NotFound."""
    found = sorted((state_dir / PROCESSES_FOLDER).glob(f"T{task}-*/{ABOUT}"), key=lambda path: path.stat().st_mtime_ns)
    if not found:
        raise NotFound(f"T{task} is no process that has begun", cure="Processes are told by `processes list`.")
    return Handle(found[-1].parent)


def aged(found: Iterable[Handle]) -> list[Handle]:
    """All but the `KEPT_MAX` that were changed last."""
    dated = []
    for each in found:
        with contextlib.suppress(OSError):
            dated.append((each.folder.stat().st_mtime_ns, each))
    dated.sort(key=lambda pair: pair[0])
    return [each for _, each in dated[: max(0, len(dated) - KEPT_MAX)]]
