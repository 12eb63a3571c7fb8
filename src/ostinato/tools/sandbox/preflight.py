"""Whether commands can be held on this machine: finds a way, and tries to escape from it before anybody else does.

Each way is tried with real baits: a file of the same user, a process, a port, sockets. What the room did is judged from
outside, too: a bait that is gone was reached, whatever the room says. The answer holds for as long as this process
lives, which is one incarnation of a node. Knows nothing of agents.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ostinato.domain.errors import Denied, OstinatoError
from ostinato.domain.values import Value, to_json
from ostinato.tools.sandbox import syscall_filter
from ostinato.tools.sandbox.account import account_of
from ostinato.tools.sandbox.command import Finished, run_command
from ostinato.tools.sandbox.launch import Backend, bubblewrap_or_none, landlock_or_none
from ostinato.tools.sandbox.protected import Watch, prepare
from ostinato.tools.sandbox.room import Account, Bounds, Errand, Room
from ostinato.tools.sandbox.surroundings import PLAIN

AGAIN_S = 30.0
"""How long a refusal stands that may be cured."""

TIMEOUT_S = 20.0
"""All checks together take a tenth of a second."""

_PYTHON = Path("/usr/bin/python3")
_CORE_PATTERN = Path("/proc/sys/kernel/core_pattern")
_INSTALL = "Install bubblewrap (Debian: apt-get install bubblewrap), or use Linux 6.7 or later with Landlock."


class Trial(Value):
    """One way, tried."""

    backend: Backend
    held: tuple[str, ...] = ()
    """Names of the escapes that failed, as they must."""
    escaped: dict[str, str] = {}
    """Name of an escape -> what it reached."""
    problem: str = ""
    """Why nothing could be tried at all."""

    @property
    def is_good(self) -> bool:
        """True where everything was tried and nothing got out."""
        return bool(self.held) and not self.escaped and not self.problem

    @property
    def why(self) -> str:
        """Why it is not good."""
        return self.problem or ", ".join(f"{name} ({reached})" for name, reached in self.escaped.items())


class Preflight(Value):
    """What this machine offers to the commands of one fleet."""

    account: Account | None = None
    trials: tuple[Trial, ...] = ()
    refusal: str = ""
    """Why there are no commands; empty where there are."""
    cure: str = ""

    @property
    def backend(self) -> Backend | None:
        """The way by which commands are held; None: they are refused."""
        return next((each.backend for each in self.trials if each.is_good), None)

    def required(self) -> tuple[Backend, Account]:
        """The way and the user; raises Denied with the cure where commands are refused."""
        backend = self.backend
        if self.refusal or backend is None or self.account is None:
            raise Denied(f"Commands are refused: {self.refusal}", cure=self.cure)
        return backend, self.account

    @property
    def is_final(self) -> bool:
        """True where this process need not look again: something holds, or something got out. A busy machine, a missing
        program and a wrong owner may be cured meanwhile."""
        return not self.refusal or any(trial.escaped for trial in self.trials)


_known: dict[Path, tuple[float, Preflight]] = {}


async def preflight(fleet: Path) -> Preflight:
    """What is found once for a fleet; later calls are answered from memory. Never raises."""
    true = _true_path(fleet)
    looked_s, found = _known.get(true, (0.0, None))
    if found is None or not (found.is_final or time.monotonic() - looked_s < AGAIN_S):
        found = await examine(true)
        _known[true] = (time.monotonic(), found)
    return found


def _true_path(fleet: Path) -> Path:
    return fleet.resolve()


async def examine(fleet: Path, *, ways: tuple[Backend | None, ...] | None = None) -> Preflight:
    """Tries the ways in order until one holds. `ways`: others than this machine's, for tests."""
    try:
        account = account_of(fleet)
    except (OstinatoError, OSError) as error:
        return Preflight(refusal=getattr(error, "message", str(error)), cure=getattr(error, "cure", ""))
    trials: list[Trial] = []
    for backend in ways if ways is not None else (bubblewrap_or_none(), landlock_or_none()):
        if backend is None:
            continue
        trials.append(await _tried(backend, fleet, account))
        if trials[-1].is_good:
            return Preflight(account=account, trials=tuple(trials))
    refusal = "; ".join(f"{each.backend.name}: {each.why}" for each in trials)
    return Preflight(
        account=account, trials=tuple(trials), refusal=refusal or "nothing here can hold them", cure=_INSTALL
    )


async def _tried(backend: Backend, fleet: Path, account: Account) -> Trial:
    try:
        with _baits(account) as baits:
            finished = await _escape(backend, fleet, account=account, baits=baits)
            found = _found(finished)
            found |= baits.reached()
            found["change what is protected"] = found.get("change what is protected") or ", ".join(finished.changed)
    except (OSError, ValueError, OstinatoError) as error:
        return Trial(backend=backend, problem=str(error))
    return Trial(
        backend=backend,
        held=tuple(name for name, reached in found.items() if not reached),
        escaped={name: reached for name, reached in found.items() if reached},
    )


def _found(finished: Finished) -> dict[str, str]:
    """What the room says of itself; raises ValueError where it says nothing."""
    said = finished.output.head.decode(errors="replace")
    try:
        found = msgspec.json.decode(said[said.index("{") :], type=dict[str, str])
    except ValueError:
        words = finished.problem or said.strip()[-300:] or finished.ended.value
        raise ValueError(f"the escape checks could not be run: {words}") from None
    return found


async def _escape(backend: Backend, fleet: Path, *, account: Account, baits: _Baits) -> Finished:
    python, prefix = _python()
    room = Room(
        workspace=baits.workspace,
        guard=baits.watch.guard,
        reads=() if prefix is None else (prefix,),
        bounds=Bounds(wall_s=TIMEOUT_S),
    )
    errand = Errand(
        argv=(str(python), "-I", "-S", "-c", _probe()),
        cwd=baits.workspace,
        environment=PLAIN,
        stdin=to_json(_facts(backend, fleet, baits)),
    )
    return await run_command(backend, room, errand, account=account, watch=baits.watch)


def _facts(backend: Backend, fleet: Path, baits: _Baits) -> dict[str, Any]:
    """What the checks are told."""
    machine = platform.machine()
    calls = {each.name: each.on(machine) for each in (*syscall_filter.REFUSED, *syscall_filter.SPECIAL)}
    return {
        "fleet": os.path.realpath(fleet),
        "workspace": str(baits.workspace),
        "protected": list(baits.watch.marks),
        "secret": str(baits.secret),
        "outside": str(baits.outside),
        "socket": str(baits.outside / "socket"),
        "abstract": baits.outside.parent.name,
        "port": baits.port,
        "bait": baits.process.pid,
        "node": os.getpid(),
        "signals leak": any("signals" in each for each in backend.gaps),
        "calls": {name: number for name, number in calls.items() if number is not None},
        "machine": machine,
        "environment": [*PLAIN, "LC_CTYPE", "PWD"],
    }


def _python() -> tuple[Path, Path | None]:
    """A Python for the checks, and a folder to show if it lies beyond the machine's own."""
    if _PYTHON.exists():
        return _PYTHON, None
    return Path(sys.executable).resolve(), Path(sys.base_prefix)


@cache
def _probe() -> str:
    return Path(__file__).with_name("probe.py").read_text(encoding="utf-8")


class _Baits:
    """What must not be reached, outside of the room."""

    def __init__(self, folder: Path, watch: Watch, *, process: subprocess.Popen[bytes], server: socket.socket) -> None:
        self.workspace = watch.workspace
        self.watch = watch
        self.outside = folder / "outside"
        self.secret = self.outside / "secret"
        self.process = process
        self.port: int = server.getsockname()[1]
        self._server = server
        self._core_pattern = _core_pattern()

    def reached(self) -> dict[str, str]:
        """What has been reached as it looks from outside."""
        found = {}
        if self.process.poll() is not None:
            found["meddle with processes"] = "a process outside is gone"
        if self.secret.read_bytes() != b"secret\n" or sorted(each.name for each in self.outside.iterdir()) != [
            "secret",
            "socket",
        ]:
            found["write outside"] = "a folder outside is not as it was"
        with contextlib.suppress(BlockingIOError):
            self._server.accept()[0].close()
            found["reach a network"] = "a server outside was connected to"
        if _core_pattern() != self._core_pattern:
            found["rule the kernel"] = "the kernel's core_pattern has changed"
        return found


def _core_pattern() -> bytes:
    try:
        return _CORE_PATTERN.read_bytes()
    except OSError:
        return b""


@contextlib.contextmanager
def _baits(account: Account) -> Iterator[_Baits]:
    """A workspace to be locked in, and things beside it that the same user could reach from anywhere else."""
    with contextlib.ExitStack() as ends:
        # Not where TMPDIR says: below /home, the way to it would look like the homes that must not be seen.
        folder = Path(tempfile.mkdtemp(prefix="ostinato-preflight-", dir="/tmp")).resolve()
        ends.callback(shutil.rmtree, folder, ignore_errors=True)
        folder.chmod(0o755)
        for name in ("workspace", "outside"):
            (folder / name).mkdir(mode=0o755)
        (folder / "outside/secret").write_bytes(b"secret\n")
        (folder / "outside/secret").chmod(0o600)
        git = folder / "workspace/.git"
        git.mkdir()
        (git / "HEAD").write_text("ref: refs/heads/main\n")
        for address in (str(folder / "outside/socket"), f"\0{folder.name}"):
            listener = ends.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen(4)
        (folder / "outside/socket").chmod(0o777)
        server = ends.enter_context(socket.create_server(("127.0.0.1", 0)))
        server.setblocking(False)
        _give(folder, account)
        process = subprocess.Popen(["/usr/bin/sleep", "60"], **_as(account))
        ends.callback(process.wait)
        ends.callback(process.send_signal, signal.SIGKILL)
        yield _Baits(folder, prepare(folder / "workspace"), process=process, server=server)


def _give(folder: Path, account: Account) -> None:
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, account.uid, account.gid, follow_symlinks=False)


def _as(account: Account) -> dict[str, Any]:
    plain: dict[str, Any] = {"cwd": "/", "env": {}, "stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL}
    if os.geteuid() != 0:
        return plain
    return plain | {"user": account.uid, "group": account.gid, "extra_groups": []}
