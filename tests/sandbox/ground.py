"""A fleet with a neighbour, secrets, servers and other processes: what a hostile command must not reach, and a look at
all of it from outside afterwards.

Run as a program it storms one backend as whoever runs it, and prints what came through.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ostinato.tools.sandbox import bubblewrap
from ostinato.tools.sandbox.account import account_of
from ostinato.tools.sandbox.command import Finished, run_command
from ostinato.tools.sandbox.launch import Backend, bubblewrap_or_none, landlock_or_none
from ostinato.tools.sandbox.protected import Watch, prepare
from ostinato.tools.sandbox.room import Account, Bounds, Errand, Guard, Room
from ostinato.tools.sandbox.surroundings import PLAIN

Weaken = Callable[[list[str]], list[str]]

PYTHON = "/usr/bin/python3"
ORDINARY = 12_345
"""A user that no machine has, as whom commands run where the tests run as root."""

SOURCE = Path(__file__).with_name("attacks.py")
FILES = {
    "ostinato.toml": "[fleet]\nname = 'storm'\n",
    ".ostinato/ostinato.db": "state\n",
    "inbox/.keep": "",
    "agents/neighbour/SOUL.md": "I am next door.\n",
    "agents/neighbour/AGENTS.md": "Do.\n",
    "agents/me/SOUL.md": "I am an agent.\n",
    "agents/me/TOOLS.md": "---\nallow: [exec.run]\n---\n",
    "agents/me/.vscode/tasks.json": "{}",
    "agents/me/.envrc": "",
    "agents/me/notes/today.md": "today\n",
    "outside/secret": "secret\n",
}


def owner() -> int:
    """As whom commands run in these tests."""
    return ORDINARY if os.geteuid() == 0 else os.geteuid()


_SHARING = """
import ctypes, json
library = ctypes.CDLL(None)
library.shmat.restype = ctypes.c_void_p
segments = [library.shmget(0, 4096, 0o1600) for _ in range(2)]
queue, lock = library.msgget(0, 0o1600), library.semget(0, 1, 0o1600)
ctypes.memmove(library.shmat(segments[0], None, 0), b"secret", 6)
library.msgsnd(queue, (ctypes.c_long * 2)(1, 0), 8, 0)
print(json.dumps({"segment": segments[0], "spare segment": segments[1], "queue": queue, "lock": lock}))
"""
_UNSHARING = """
import ctypes, json, sys
library, found = ctypes.CDLL(None), json.loads(sys.argv[1])
for name in ("segment", "spare segment"):
    library.shmctl(found[name], 0, None)
library.msgctl(found["queue"], 0, None)
library.semctl(found["lock"], 0, 0)
"""


class World:
    """The fleet, and everything beside it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.fleet = root / "fleet"
        self.workspace = self.fleet / "agents/me"
        self.outside = root / "outside"
        self.account: Account = account_of(self.fleet)
        self.ends = contextlib.ExitStack()
        self.mark = str(100_000 + int.from_bytes(os.urandom(3)))  # seconds that nothing else sleeps
        self.bait, self.victim, self.second = (self._process() for _ in range(3))
        self._tcp = self._server(socket.SOCK_STREAM)
        self._udp = self._server(socket.SOCK_DGRAM)
        for address in (f"\0{root.name}", str(self.outside / "socket")):
            listener = self.ends.enter_context(socket.socket(socket.AF_UNIX))
            listener.bind(address)
            listener.listen(8)
        (self.outside / "socket").chmod(0o777)
        (self.outside / "link").symlink_to("secret")
        self._shared = self._share()

    def facts(self, kinds: Sequence[str]) -> dict[str, Any]:
        """What the attacks are told."""
        return {
            "kinds": list(kinds),
            "workspace": str(self.workspace),
            "outside": str(self.outside),
            "home": str(self.outside),
            "secret": str(self.outside / "secret"),
            "socket": str(self.outside / "socket"),
            "fleet file": str(self.fleet / "ostinato.toml"),
            "state": str(self.fleet / ".ostinato"),
            "database": str(self.fleet / ".ostinato/ostinato.db"),
            "inbox": str(self.fleet / "inbox"),
            "neighbour": str(self.fleet / "agents/neighbour/SOUL.md"),
            "abstract": self.root.name,
            "port": self._tcp.getsockname()[1],
            "udp": self._udp.getsockname()[1],
            "bait": self.bait.pid,
            "victim": self.victim.pid,
            "second victim": self.second.pid,
            "variable": "NODE_SECRET",
            "machine": os.uname().nodename,
            "mark": self.mark,
            "link": str(self.outside / "link"),
            **self._shared,
        }

    def storm(
        self, backend: Backend | None, kinds: Sequence[str] = (), *, guard: Guard | None = None
    ) -> dict[str, str]:
        """Everything that came through: attack -> what it reached, and what the world shows. None: nothing holds."""
        watch = prepare(self.workspace)
        before = self.fingerprint(watch)
        errand = Errand(
            argv=(PYTHON, "-I", "-S", "-c", SOURCE.read_text()),
            cwd=self.workspace,
            environment=dict(PLAIN),
            stdin=json.dumps(self.facts(kinds)).encode(),
        )
        room = Room(workspace=self.workspace, guard=watch.guard if guard is None else guard, bounds=Bounds(wall_s=60))
        if backend is None:
            said = self._bare(errand)
        else:
            finished = asyncio.run(run_command(backend, room, errand, account=self.account, watch=None))
            said = _said(finished)
        if backend is not None:
            watch.put_aside()
        through = {name: reached for name, reached in json.loads(said).items() if reached}
        return through | self._reached(before, watch)

    def fingerprint(self, watch: Watch) -> dict[str, str]:
        """Path -> what is there, for all that no command may change."""
        kept = [self.outside, self.fleet / "ostinato.toml", self.fleet / ".ostinato", self.fleet / "inbox"]
        kept += [self.fleet / "agents/neighbour", *(self.workspace / name for name in watch.marks)]
        kept += [self.workspace / name for name in ("ostinato.toml", ".git/commondir", ".git/config.worktree")]
        return {str(path): _print_of(path) for top in kept for path in (top, *_below(top))}

    def _reached(self, before: dict[str, str], watch: Watch) -> dict[str, str]:
        """What a look from outside says."""
        after = self.fingerprint(watch)
        changed = sorted(path for path in before.keys() | after.keys() if before.get(path) != after.get(path))
        found = {f"the world: {path}": "is not as it was" for path in changed}
        for name, victim in (("kills", self.victim), ("kills by descriptor", self.second), ("the bait", self.bait)):
            if victim.poll() is not None:
                found[name] = "a process outside is gone"
        with contextlib.suppress(BlockingIOError):
            self._tcp.accept()[0].close()
            found["the world: a server"] = "was connected to"
        with contextlib.suppress(BlockingIOError):
            self._udp.recv(100)
            found["sends by udp"] = "arrived"
        left = [int(each) for each in _pids_of(("sleep", self.mark))]
        for pid in left:
            os.kill(pid, signal.SIGKILL)
        return found | ({"leaves a process behind": str(left)} if left else {})

    def _bare(self, errand: Errand) -> str:
        """The same command as if there were no sandbox: the same user, and nothing else."""
        spare = os.open("/dev/null", os.O_RDONLY)
        os.set_inheritable(spare, True)
        try:
            done = subprocess.run(
                errand.argv,
                input=errand.stdin,
                stdout=subprocess.PIPE,
                cwd=errand.cwd,
                env={**errand.environment, "NODE_SECRET": "x"},
                pass_fds=(spare,),
                check=True,
                **as_owner(),
            )
        finally:
            os.close(spare)
        return done.stdout.decode()

    def _process(self) -> subprocess.Popen[bytes]:
        process = subprocess.Popen(["/usr/bin/sleep", "600"], env={"BAIT": "1"}, cwd="/", **as_owner())
        self.ends.callback(process.wait)
        self.ends.callback(process.kill)
        return process

    def _share(self) -> dict[str, int]:
        """What processes of the same user share by number: memory, a queue with a message in it, a lock."""
        done = subprocess.run([PYTHON, "-I", "-c", _SHARING], stdout=subprocess.PIPE, check=True, **as_owner())
        found: dict[str, int] = json.loads(done.stdout)
        words = [PYTHON, "-I", "-c", _UNSHARING, json.dumps(found)]
        self.ends.callback(lambda: subprocess.run(words, check=True, **as_owner()))
        return found

    def _server(self, kind: socket.SocketKind) -> socket.socket:
        made = self.ends.enter_context(socket.socket(socket.AF_INET, kind))
        made.bind(("127.0.0.1", 0))
        if kind is socket.SOCK_STREAM:
            made.listen(8)
        made.setblocking(False)
        return made


@contextlib.contextmanager
def world() -> Iterator[World]:
    """A new world, which is gone afterwards."""
    root = Path(tempfile.mkdtemp(prefix="ostinato-storm-", dir="/tmp"))
    try:
        root.chmod(0o755)
        furnish(root)
        made = World(root)
        with made.ends:
            yield made
    finally:
        shutil.rmtree(root)


def furnish(root: Path) -> None:
    """Writes the files, and gives all of it to the user as whom commands run."""
    for name, text in FILES.items():
        path = root / name if name.startswith("outside") else root / "fleet" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    subprocess.run(["git", "init", "-q", str(root / "fleet/agents/me")], check=True, env={"PATH": PLAIN["PATH"]})
    (root / "fleet/.ostinato").chmod(0o700)
    (root / "outside/secret").chmod(0o600)
    if os.geteuid() == 0:
        for path in (root, *root.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY, follow_symlinks=False)


def as_owner() -> dict[str, Any]:
    """How a process is started as that user."""
    return {"user": ORDINARY, "group": ORDINARY, "extra_groups": []} if os.geteuid() == 0 else {}


@contextlib.contextmanager
def weakened(weaken: Weaken) -> Iterator[None]:
    """A room with a hole: its command line is changed on the way to bubblewrap."""
    sound = bubblewrap.room_arguments

    def arguments(*given: Any, **named: Any) -> list[str]:
        return weaken(sound(*given, **named))

    bubblewrap.room_arguments = arguments  # type: ignore[assignment]  # a seeded bug
    try:
        yield
    finally:
        bubblewrap.room_arguments = sound  # type: ignore[assignment]  # put back


def without(arguments: list[str], *names: str, values: int = 0) -> list[str]:
    """`arguments` without these options and so many values behind each."""
    found, skip = [], 0
    for each in arguments:
        if skip:
            skip -= 1
        elif each in names:
            skip = values
        else:
            found.append(each)
    return found


def before_workspace(arguments: list[str], *more: str) -> list[str]:
    """`arguments` with more mounts in front of the first that is writable."""
    at = arguments.index("--bind")
    return [*arguments[:at], *more, *arguments[at:]]


def backend(name: str) -> Backend:
    """That way of holding commands; both are there wherever these tests run."""
    found = bubblewrap_or_none() if name == "bubblewrap" else landlock_or_none()
    assert found is not None, f"{name} is missing here: make system"
    return found


def _said(finished: Finished) -> str:
    text = finished.output.head.decode()
    assert text.startswith("{"), (finished.ended, finished.problem, text)
    return text


def _print_of(path: Path) -> str:
    try:
        found = path.lstat()
    except OSError:
        return "nothing"
    if path.is_symlink():
        return f"link to {os.readlink(path)}"
    text = hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else ""
    return f"{found.st_mode:o} {found.st_nlink if text else ''} {found.st_uid} {text}"


def _below(top: Path) -> list[Path]:
    return sorted(top.rglob("*")) if top.is_dir() and not top.is_symlink() else []


def _pids_of(argv: Sequence[str]) -> Iterator[str]:
    wanted = b"".join(os.fsencode(each) + b"\0" for each in argv)
    for each in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if each.read_bytes() == wanted:
                yield each.parent.name


if __name__ == "__main__":
    with world() as here:
        sys.stdout.write(json.dumps(here.storm(backend(sys.argv[1]))))
