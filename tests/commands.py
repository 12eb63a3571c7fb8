"""Runs commands of `ostinato` in processes that cost a fork: one process has imported the command line, and forks.

Each command has a process of its own, with its folder, environment, arguments and streams, and ends as one does that
was started by a shell; what is not tried is its own start, which the examples of the docs try for nearly all commands.
The server comes with the first command and goes with the tests. It has one thread, so that forking
is safe. Knows nothing of what commands do.
"""

from __future__ import annotations

import contextlib
import gc
import json
import os
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Mapping, Sequence
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NoReturn

ROOT = Path(__file__).resolve().parents[1]
STREAMS = 3
REQUEST_BYTES_MAX = 8 * 1024**2
PYTHON = [sys.executable, "-m", "ostinato"]

Words = Sequence[str | bytes]


def run_command(
    arguments: Words,
    *,
    folder: Path,
    environment: Mapping[str, str],
    given: str | bytes = b"",
    timeout_s: float = 120.0,
) -> subprocess.CompletedProcess[bytes]:
    """Runs `ostinato` with these arguments to its end, as a shell would without a terminal. What does not end in time
    is ended by SIGALRM."""
    streams = [os.memfd_create(name) for name in ("given", "said", "refused")]
    try:
        os.write(streams[0], given.encode() if isinstance(given, str) else given)
        os.lseek(streams[0], 0, os.SEEK_SET)
        request = {
            "arguments": [os.fsdecode(each) for each in arguments],
            "folder": str(folder),
            "environment": dict(environment),
            "timeout_s": timeout_s,
        }
        code = _server().run(json.dumps(request).encode(), streams)
        said, refused = (os.pread(stream, os.fstat(stream).st_size, 0) for stream in streams[1:])
        return subprocess.CompletedProcess([*PYTHON, *arguments], code, said, refused)
    finally:
        for stream in streams:
            os.close(stream)


class _Server:
    """The process that forks, as its user sees it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        command = [sys.executable, "-m", "tests.commands", str(theirs.fileno())]
        self._process = subprocess.Popen(command, cwd=ROOT, pass_fds=[theirs.fileno()])
        theirs.close()
        self.pid = self._process.pid
        self._turn = threading.Lock()

    def run(self, request: bytes, streams: Sequence[int]) -> int:
        """The exit code of a command, or minus the signal."""
        with self._turn:
            socket.send_fds(self._ours, [len(request).to_bytes(4, "big")], list(streams))
            self._ours.sendall(request)
            answer = self._ours.recv(4, socket.MSG_WAITALL)
        assert len(answer) == 4, "the server of commands has died"
        return int.from_bytes(answer, "big", signed=True)

    def close(self) -> None:
        """Ends it."""
        self._ours.close()
        self._process.wait(timeout=30)


_SERVERS: list[_Server] = []
"""The one that there is, or none yet."""


def _server() -> _Server:
    if not _SERVERS:
        _SERVERS.append(_Server())
    return _SERVERS[0]


def pids() -> set[int]:
    """The server, which belongs to no test."""
    return {each.pid for each in _SERVERS}


def end() -> None:
    """Ends the server, where there is one."""
    while _SERVERS:
        _SERVERS.pop().close()


# --- in the server ------------------------------------------------------------------------------------------------


def main() -> None:
    """Serves requests until whoever asks has gone."""
    asks = socket.socket(fileno=int(sys.argv[1]))
    for name in _modules_of_commands():
        with contextlib.suppress(ImportError):  # such as `__main__`
            import_module(name)
    gc.collect()
    gc.freeze()
    while True:
        size, streams, _, _ = socket.recv_fds(asks, 4, STREAMS)
        if not size:
            return
        request = json.loads(asks.recv(int.from_bytes(size, "big"), socket.MSG_WAITALL))
        pid = os.fork()
        if pid == 0:
            asks.close()
            _live(request, streams)
        for stream in streams:
            os.close(stream)
        _, status = os.waitpid(pid, 0)
        asks.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))


WARM_UP = (("init", ".", "--yes"), ("tasks", "add", "x", "--agent", "clerk"), ("tasks", "list"), ("status",))


def _modules_of_commands() -> list[str]:
    """What a few commands load, late or not. They run in a child, so that no thread of them is left here."""
    import ostinato.cli

    with tempfile.TemporaryDirectory() as folder, tempfile.TemporaryFile() as said:
        pid = os.fork()
        if pid == 0:
            try:
                os.chdir(folder)
                os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
                for words in WARM_UP:
                    sys.argv = ["ostinato", *words]
                    _exit_code()
                said.write(json.dumps(list(sys.modules)).encode())
                said.flush()
            finally:
                os._exit(0)
        os.waitpid(pid, 0)
        said.seek(0)
        loaded: list[str] = json.load(said)
    return loaded + [each.name for each in iter_modules(ostinato.cli.__path__, "ostinato.cli.")]


def _live(request: dict[str, Any], streams: Sequence[int]) -> NoReturn:
    """In the child: one command, with everything round it that a fresh interpreter would have made."""
    code = 1
    try:
        for number, stream in enumerate(streams):
            os.dup2(stream, number)
            os.close(stream)
        sys.stdin = os.fdopen(0, encoding="utf-8", closefd=False)
        sys.stdout = os.fdopen(1, "w", encoding="utf-8", closefd=False)
        sys.stderr = os.fdopen(2, "w", encoding="utf-8", errors="backslashreplace", buffering=1, closefd=False)
        signal.setitimer(signal.ITIMER_REAL, request["timeout_s"])
        os.environ.clear()
        os.environ.update(request["environment"])
        time.tzset()
        os.chdir(request["folder"])
        sys.argv = ["ostinato", *request["arguments"]]
        sys.path[0] = request["folder"]  # as `python -m` has it
        code = _exit_code()
        sys.stdout.flush()
    except BaseException:  # as an interpreter does at its top
        traceback.print_exc()
        code = 1
    finally:
        os._exit(code)


def _exit_code() -> int:
    from ostinato.__main__ import main as command

    try:
        return command()
    except SystemExit as ended:
        if isinstance(ended.code, int | None):
            return ended.code or 0
        sys.stderr.write(f"{ended.code}\n")
        return 1


if __name__ == "__main__":
    main()
