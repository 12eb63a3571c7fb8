"""The room of a command in the words of Landlock, for machines without bubblewrap: which paths it may use, and how.

Landlock only ever allows paths and what is below them; it cannot except one file from its folder. So a command may
write what lies in the workspace's folders and its unprotected files, but neither make, remove nor rename anything at
the top of it. What else it cannot hold back is named by `gaps`.

Knows nothing of processes: `confine.py` applies the rules. Source: linux/landlock.h.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Iterator
from pathlib import Path

from ostinato.domain.values import Value
from ostinato.tools.sandbox.protected import GIT, GIT_UNWANTED, UNWANTED
from ostinato.tools.sandbox.room import SYSTEM_FILES, Room

VERSION_MIN = 4
"""Of the kernel's interface (Linux 6.7): files, truncation, links between folders, TCP."""

SIGNALS_SINCE = 6
"""Linux 6.12: signals and abstract sockets stay inside, too."""

CREATE_RULESET = 444
_VERSION_FLAG = 1

EXECUTE, WRITE_FILE, READ_FILE, READ_FOLDER = 1 << 0, 1 << 1, 1 << 2, 1 << 3
REMOVE_FOLDER, REMOVE_FILE = 1 << 4, 1 << 5
MAKE = (1 << 7) | (1 << 8) | (1 << 9) | (1 << 10) | (1 << 12)  # folders, files, sockets, pipes, links
REFER, TRUNCATE, CONTROL_DEVICE = 1 << 13, 1 << 14, 1 << 15
READ = EXECUTE | READ_FILE | READ_FOLDER
CHANGE_FILE = WRITE_FILE | TRUNCATE
CHANGE = CHANGE_FILE | REMOVE_FOLDER | REMOVE_FILE | MAKE | REFER

TERMINAL = "/dev/tty"
_DEVICES = ("/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom")
_ROOTS = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")


class Rule(Value):
    """What may be done with a path and all below it: bits of Landlock."""

    path: str
    access: int
    follow: bool = False
    """True for the machine's own paths, which may be links; in a workspace a link leads wherever its agent likes."""


def version() -> int:
    """Which version of Landlock the kernel has; 0: none, or it is switched off."""
    library = ctypes.CDLL(None, use_errno=True)
    found = int(library.syscall(CREATE_RULESET, None, 0, _VERSION_FLAG))
    return max(found, 0)


def gaps(found: int) -> tuple[str, ...]:
    """What is not held back, in words for people."""
    always = (
        "whether a file exists anywhere, its size, its times, its attributes and where a link leads can be asked",
        "names of the machine and of its kernel are the host's",
        "processes that leave the command's parent outlive a node that was killed",
        "limits of memory and of processes hold for each process and for its user, not for the command",
    )
    return always if found >= SIGNALS_SINCE else (*always, "other processes of the same user can be sent signals")


def rules(room: Room, *, terminal: bool = False) -> list[Rule]:
    """What the command may use, and nothing else; with a `terminal`, the one that controls it."""
    machine = [(path, READ) for path in (*_ROOTS, *SYSTEM_FILES) if os.path.exists(path)]
    machine += [(path, READ_FILE | WRITE_FILE) for path in _DEVICES]
    if terminal:
        machine.append((TERMINAL, READ_FILE | WRITE_FILE | CONTROL_DEVICE))
    machine += [(str(folder), READ) for folder in (*room.reads, room.workspace)]
    if room.guard.sealed:
        own = list(_writable(room.workspace, set(room.guard.sealed), opened=set(room.guard.folders)))
    else:  # a helper's folder, in which nothing is protected
        own = [(str(room.workspace), CHANGE)]
    found = [Rule(path=path, access=access, follow=True) for path, access in machine]
    return found + [Rule(path=path, access=access) for path, access in own]


def _writable(folder: Path, sealed: set[Path], *, opened: set[Path]) -> Iterator[tuple[str, int]]:
    """What lies in a folder that holds protected things: each of the others by itself."""
    for path in sorted(folder.iterdir()):
        if path in sealed or path.is_symlink() or path.name in (*UNWANTED, *GIT_UNWANTED):
            continue
        if path in opened:
            yield from _writable(path, sealed, opened=opened)
        elif path.is_dir():
            if path.name != GIT:
                yield str(path), CHANGE
        elif path.is_file():
            yield str(path), CHANGE_FILE
