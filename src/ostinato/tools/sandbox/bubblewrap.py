"""The room of a command in the words of bubblewrap: which part of the machine is mounted where.

The root is an empty read-only file system; whatever is in it was named. Showing the whole root read-only was tried and
shows keys, other agents and `/proc/1/root`. Secrets never stand here: a command line is for everyone to see, so the
environment goes in as the environment.

Knows nothing of processes; where it looks at the disk, it is only at how the machine lays out its own programs.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

from ostinato.domain.values import Value
from ostinato.tools.sandbox.room import SYSTEM_FILES, Bounds, Room
from ostinato.tools.web.way import WAY_FOLDER

PROGRAM = "bwrap"
LIMITER = "/usr/bin/prlimit"
"""Sets the limits of one process inside the room, where no other process of the same user counts (util-linux)."""

SESSION_LEADER = "/usr/bin/setsid"
"""Begins a session inside the room (util-linux)."""

_LINKED = ("bin", "sbin", "lib", "lib32", "lib64", "libx32")


class Wires(Value):
    """Descriptors that bubblewrap inherits."""

    seccomp: int
    status: int
    users: int
    groups: int
    pinned: tuple[tuple[str, int], ...] = ()
    """Path, and the descriptor that its contents are read from."""


def room_arguments(program: str, room: Room, *, wires: Wires, cwd: Path, terminal: bool = False) -> list[str]:
    """The command line up to the command itself. At a `terminal` the command leads a session of its own, see `leading`:
    with one of bubblewrap's it would have no terminal that Ctrl-C and /dev/tty could mean."""
    return [
        program,
        *("--unshare-user", "--unshare-all", "--die-with-parent"),
        *(() if terminal else ("--new-session",)),
        *("--cap-drop", "ALL", "--hostname", "sandbox"),
        *_system(room.bounds),
        *("--ro-bind-data", str(wires.users), "/etc/passwd", "--ro-bind-data", str(wires.groups), "/etc/group"),
        *_folders(room),
        *(part for path, wire in wires.pinned for part in ("--ro-bind-data", str(wire), path)),
        *("--remount-ro", "/dev", "--remount-ro", "/", "--chdir", str(cwd)),
        *("--seccomp", str(wires.seccomp), "--json-status-fd", str(wires.status)),
        "--",
    ]


def leading(argv: Sequence[str]) -> list[str]:
    """A command that begins a session and takes the terminal of its standard input for it. So Ctrl-C reaches the
    command and what it started, and not bubblewrap, whose death would be theirs."""
    return [SESSION_LEADER, "--ctty", *argv]


def limited(argv: Sequence[str], bounds: Bounds) -> list[str]:
    """A command that sets its own limits before it begins; they cannot be raised again."""
    return [
        LIMITER,
        f"--cpu={max(1, round(bounds.cpu_s))}",
        f"--data={bounds.memory_bytes}",
        f"--nproc={bounds.processes}",
        f"--fsize={bounds.file_bytes}",
        "--core=0",
        "--",
        *argv,
    ]


def _system(bounds: Bounds) -> Iterator[str]:
    """The machine's programs and nothing of its state; fresh /proc, /dev and /tmp."""
    yield from ("--ro-bind", "/usr", "/usr")
    for name in _LINKED:
        if os.path.islink(f"/{name}"):
            yield from ("--symlink", os.readlink(f"/{name}"), f"/{name}")
        elif os.path.isdir(f"/{name}"):
            yield from ("--ro-bind", f"/{name}", f"/{name}")
    for path in SYSTEM_FILES:
        yield from ("--ro-bind-try", path, path)
    yield from ("--proc", "/proc", "--dev", "/dev")
    for place in ("/dev/shm", "/tmp"):
        yield from ("--size", str(bounds.scratch_bytes), "--tmpfs", place)


def _folders(room: Room) -> Iterator[str]:
    """Later mounts cover earlier ones: what is sealed comes last."""
    for path in room.reads:
        yield from ("--ro-bind", str(path), str(path))
    for path in (room.workspace, *room.guard.folders):
        yield from ("--bind", str(path), str(path))
    for path in room.guard.sealed:
        yield from ("--ro-bind", str(path), str(path))
    if room.way is not None:
        yield from ("--ro-bind", str(room.way), WAY_FOLDER)
