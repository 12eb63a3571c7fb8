"""Starts a process under a shim of its own, which nobody's death ends but the machine's.

Knows nothing of tasks, nor of what becomes of the process.
"""

from __future__ import annotations

import base64
import os
import select
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from ostinato.domain.errors import Exhausted
from ostinato.domain.secret import Redactor, Secret
from ostinato.domain.values import Value, to_json
from ostinato.tools.processes import shim
from ostinato.tools.processes.handle import Handle
from ostinato.tools.sandbox.launch import Backend, Launch, launched
from ostinato.tools.sandbox.protected import Watch
from ostinato.tools.sandbox.room import Account, Errand, Room

READY_S = 30.0
"""How long a shim may take to begin; 40 ms are usual."""

_PROGRAM = Path(shim.__file__)
_started: list[subprocess.Popen[bytes]] = []


class Terminal(Value):
    """The size of a terminal, in characters."""

    rows: int = 24
    columns: int = 80


class Start(Value):
    """One process, ready to begin."""

    backend: Backend
    room: Room
    errand: Errand
    account: Account
    watch: Watch
    secrets: Mapping[str, str] = {}
    terminal: Terminal | None = None
    """None: pipes."""
    input: bool = False
    """True: it can be written to later; else its input ends with what it is given."""


def start(handle: Handle, wanted: Start) -> bool:
    """Begins the process, once for ever in this folder: False where another shim was first. Blocks until it is sure.
    Raises Exhausted where no shim can be started."""
    token = handle.about().token
    with launched(wanted.backend, wanted.room, wanted.errand, account=wanted.account) as launch:
        told = _told(handle, wanted, launch, token=token)
        paper = os.memfd_create("ostinato-shim")
        hear, ready = os.pipe2(os.O_CLOEXEC)
        try:
            os.write(paper, to_json(told))
            os.lseek(paper, 0, os.SEEK_SET)
            _spawn(paper, ready, launch, errors=handle.folder / "shim.log")
        except OSError as error:
            os.close(hear)
            raise Exhausted(f"No shim could be started: {error}") from error
        finally:
            os.close(paper)
            os.close(ready)
        with open(hear, "rb") as heard:
            word = heard.read().decode() if select.select((heard,), (), (), READY_S)[0] else ""
    if word not in ("ready", "taken"):
        said = (handle.folder / "shim.log").read_text(errors="replace").strip()[-300:]
        raise Exhausted(f"The shim did not begin: {said or 'it said nothing'}")
    return word == "ready"


def reap() -> None:
    """Lets the kernel forget shims that have ended."""
    _started[:] = [each for each in _started if each.poll() is None]


def shims() -> int:
    """Those that this process has started, and that have not ended."""
    return len(_started)


def _spawn(paper: int, ready: int, launch: Launch, *, errors: Path) -> None:
    inherited = (paper, ready, launch.status, *launch.options["pass_fds"])
    with errors.open("ab") as complaints:
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_PROGRAM), str(paper), str(ready)],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=complaints,
            env={},
            pass_fds=inherited,
            cwd="/",
            start_new_session=True,
        )
    _started.append(process)


def _told(handle: Handle, wanted: Start, launch: Launch, *, token: str) -> dict[str, Any]:
    """All that a shim knows. It goes through the memory of two processes, and never lies on a disk."""
    bounds, guard, watch = wanted.room.bounds, wanted.room.guard, wanted.watch
    marks = ((path, watch.marks.get(str(path.relative_to(watch.workspace)))) for path in guard.sealed)
    size = wanted.terminal or Terminal()
    known = Redactor(Secret(name, value) for name, value in wanted.secrets.items())
    return {
        "folder": str(handle.folder),
        "token": token,
        "argv": list(launch.argv),
        "environment": launch.environment,
        "inherited": list(launch.options["pass_fds"]),
        "status": launch.status,
        "uid": launch.options.get("user"),
        "gid": launch.options.get("group"),
        "has_rooms": wanted.backend.has_rooms,
        "terminal": wanted.terminal is not None,
        "rows": size.rows,
        "columns": size.columns,
        "stdin": base64.b64encode(launch.stdin).decode(),
        "input": wanted.input or wanted.terminal is not None,
        "secrets": [base64.b64encode(form).decode() for form in known.forms],
        "sealed": [[str(path), mark.device, mark.inode] for path, mark in marks if mark is not None],
        "wall_s": bounds.wall_s,
        "silence_s": bounds.silence_s,
        "cpu_s": bounds.cpu_s,
        "memory_bytes": bounds.memory_bytes,
    }
