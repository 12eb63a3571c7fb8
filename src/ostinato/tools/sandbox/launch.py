"""One errand in one room, as a process that can be started: its command line, its environment, its descriptors.

There are two ways to hold a command. `BUBBLEWRAP` builds a room of its own for it; `LANDLOCK` only forbids, in the
machine as it is, and leaves the gaps that it names. Knows nothing of waiting for what was started.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import sys
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ostinato.domain.errors import Denied
from ostinato.domain.values import Value, to_json
from ostinato.tools.sandbox import bubblewrap, landlock, syscall_filter
from ostinato.tools.sandbox.room import Account, Errand, Room
from ostinato.tools.web.way import PORT, SOCKET_NAME, WAY_FOLDER

_SYSTEM_PYTHON = "/usr/bin/python3"


@cache
def _confiner() -> str:
    """Handed over as text: the fleet's owner need not be able to read where this package lies."""
    return Path(__file__).with_name("confine.py").read_text(encoding="utf-8")


class Backend(Value):
    """A way to hold commands. `gaps`: what it does not hold back, in words for people."""

    name: str
    program: str
    gaps: tuple[str, ...] = ()

    @property
    def has_rooms(self) -> bool:
        """True where each command gets namespaces of its own."""
        return self.name == "bubblewrap"


class Launch(Value):
    """What to start. `options` go to the call that starts it."""

    argv: tuple[str, ...]
    environment: dict[str, str]
    stdin: bytes
    options: dict[str, Any]
    status: int
    """The descriptor on which the backend says how it went; to be read when the process has ended."""


def bubblewrap_or_none() -> Backend | None:
    """Bubblewrap, where it is installed."""
    found = shutil.which(bubblewrap.PROGRAM, path="/usr/local/bin:/usr/bin:/bin")
    return Backend(name="bubblewrap", program=found) if found else None


def landlock_or_none() -> Backend | None:
    """Landlock, where this kernel has enough of it."""
    version = landlock.version()
    if version < landlock.VERSION_MIN:
        return None
    python = _SYSTEM_PYTHON if os.access(_SYSTEM_PYTHON, os.X_OK) else sys.executable
    return Backend(name="landlock", program=python, gaps=landlock.gaps(version))


@cache
def _forwarder() -> str:
    return Path(__file__).with_name("forward.py").read_text(encoding="utf-8")


def _forwarded(argv: list[str]) -> list[str]:
    """A command behind a loopback port that leads to its way. Raises Denied where there is nothing to do that with."""
    found = (_SYSTEM_PYTHON, os.path.realpath(sys.executable))
    python = next((each for each in found if each.startswith("/usr/") and os.access(each, os.X_OK)), None)
    if python is None:
        raise Denied("Commands with a network need a Python below /usr", cure="Install python3, or declare no network.")
    return [python, "-I", "-S", "-c", _forwarder(), f"{WAY_FOLDER}/{SOCKET_NAME}", str(PORT), *argv]


def _check(backend: Backend, room: Room, errand: Errand, *, account: Account) -> None:
    """The last look before a process is started."""
    if room.way is not None and not backend.has_rooms:
        raise Denied("Commands have no network without bubblewrap", cure="Install bubblewrap.")
    if account.uid == 0 or account.gid == 0:
        raise Denied("Commands never run as root", cure="Give the fleet a user of its own.")
    if any("\0" in each for each in errand.argv):
        raise Denied("A command holds a zero byte", cure="Leave it out.")


@contextlib.contextmanager
def launched(backend: Backend, room: Room, errand: Errand, *, account: Account) -> Iterator[Launch]:
    """The launch, with its descriptors open; all are closed again when the block is left. Raises Denied for root."""
    _check(backend, room, errand, account=account)
    with contextlib.ExitStack() as ends:
        read, write = os.pipe2(os.O_CLOEXEC)
        ends.callback(os.close, read)
        ends.callback(os.close, write)
        filter_ = syscall_filter.program(platform.machine(), namespaces=backend.has_rooms)

        def wire(data: bytes) -> int:
            descriptor = os.memfd_create("ostinato")
            ends.callback(os.close, descriptor)
            os.write(descriptor, data)
            os.lseek(descriptor, 0, os.SEEK_SET)
            return descriptor

        seccomp = wire(filter_)
        limited = bubblewrap.limited(errand.argv, room.bounds)
        if backend.has_rooms:
            wires = bubblewrap.Wires(
                seccomp=seccomp,
                status=write,
                users=wire(f"{account.name}:x:{account.uid}:{account.gid}::/tmp:/bin/sh\n".encode()),
                groups=wire(f"{account.name}:x:{account.gid}:\n".encode()),
                pinned=tuple((path, wire(data)) for path, data in room.pinned.items()),
            )
            arguments = bubblewrap.room_arguments(
                backend.program, room, wires=wires, cwd=errand.cwd, terminal=errand.terminal
            )
            led = bubblewrap.leading(limited) if errand.terminal else limited
            argv = [*arguments, *(_forwarded(led) if room.way is not None else led)]
            inherited = (write, seccomp, wires.users, wires.groups, *(each for _, each in wires.pinned))
        else:
            rules = wire(to_json({"rules": landlock.rules(room, terminal=errand.terminal), "cwd": str(errand.cwd)}))
            argv = [backend.program, "-I", "-S", "-c", _confiner(), str(rules), str(seccomp), str(write), *limited]
            inherited = (write, seccomp, rules)
        options: dict[str, Any] = {"pass_fds": inherited, "cwd": "/", "start_new_session": True}
        if os.geteuid() == 0:
            options |= {"user": account.uid, "group": account.gid, "extra_groups": []}
        yield Launch(argv=tuple(argv), environment=errand.environment, stdin=errand.stdin, options=options, status=read)


def problem_in(status: bytes, backend: Backend, *, said: bytes) -> str:
    """Why the command never began; empty where it did."""
    if backend.has_rooms:
        begun = any("exit-code" in each for each in _objects(status))
        return "" if begun else _last_line(said) or "bubblewrap gave up without a word"
    return status.decode(errors="replace").strip()


def root_in(status: bytes) -> int | None:
    """The first process of the room, as the machine counts; None where there is none."""
    return next((each["child-pid"] for each in _objects(status) if isinstance(each.get("child-pid"), int)), None)


def _objects(status: bytes) -> Iterator[Mapping[str, Any]]:
    for line in status.splitlines():
        with contextlib.suppress(msgspec.DecodeError):
            yield msgspec.json.decode(line, type=dict[str, Any])


def _last_line(said: bytes) -> str:
    lines = said.decode(errors="replace").strip().splitlines()
    return lines[-1][:300] if lines else ""
