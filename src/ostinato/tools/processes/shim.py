"""Keeps one process: owns its terminal or pipes and the files of its output, ends it at its bounds, and writes down how
it ended. It outlives the node that started it, and the process dies with it.

Run as a program of its own, with the standard library alone; all that it is told comes through one descriptor. Its
folder is its handle: whoever holds the lock on `began` is the one shim of this process, now or never again; on the
socket it obeys who shows the token. Knows nothing of tasks, agents or how a room is made.
"""

from __future__ import annotations

import base64
import contextlib
import fcntl
import hmac
import json
import os
import re
import resource
import select
import signal
import socket
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from typing import Any

TICK_S = 0.05
"""How often its time, its silence and what is protected are looked at: as often as for a command of a turn."""

USAGE_S = 0.25
"""How often its processes are added up."""

GONE_S = 5.0
"""Far longer than the kernel takes to end a process tree."""

SEGMENT_BYTES = 524_288
"""The first so many bytes of output are kept, and at least as many of the last."""

INPUT_BYTES_MAX = 1_048_576
"""What may wait to be read by the process; more is refused."""

LINE_BYTES_MAX = 2_097_152
"""Of one request to a shim."""
CALLERS_MAX = 64
"""Callers that a shim listens to at once."""
STATUS_BYTES_MAX = 8_192
"""Of what bubblewrap says about its child."""

BEGAN, EXIT, SOCKET = "began", "exit.json", "s"

_CHUNK_BYTES = 65_536
_GAPS, _GAP = b" \t\r\n:", rb"[\s:]*"
_TICKS = os.sysconf("SC_CLK_TCK")
_PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
_PROCESSES_MAX = 4_096


class TakenError(Exception):
    """The folder has had its shim."""


class Log:
    """The output in files named by the offset at which each begins: the first, and the last two. Secrets are starred
    out before anything is written; what could be the beginning of one waits for what follows."""

    def __init__(self, forms: list[bytes]) -> None:
        self.total_bytes = 0
        self._forms = [each for each in (_squeezed(form) for form in forms) if each]
        self._patterns = [
            re.compile(_GAP.join(re.escape(each[i : i + 1]) for i in range(len(each)))) for each in self._forms
        ]
        self._longest = max((len(each) for each in self._forms), default=0)
        self._waiting = b""
        self._starts = [0]
        self._file = os.open("out.0", os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)

    def add(self, data: bytes) -> None:
        """Takes some more."""
        data = self._waiting + data
        squeezed = _squeezed(data) if self._forms else b""
        for form, pattern in zip(self._forms, self._patterns, strict=True):
            if form in squeezed:
                data = pattern.sub(lambda found: b"*" * len(found[0]), data)
        keep = self._held_back(data)
        self._waiting = data[len(data) - keep :]
        self._write(data[: len(data) - keep])

    def _held_back(self, data: bytes) -> int:
        """How many of the last bytes could be the beginning of a secret, spaces and line ends in between or not."""
        tail = data[-2 * self._longest - 64 :] if self._longest else b""
        places = [index for index, byte in enumerate(tail) if byte not in _GAPS]
        squeezed = _squeezed(tail)
        begun = max((_overlap(squeezed, form) for form in self._forms), default=0)
        return len(tail) - places[-begun] if begun else 0

    def close(self) -> None:
        """Writes what waited; all of it is on the disk when this returns."""
        self._write(self._waiting)
        self._waiting = b""
        with contextlib.suppress(OSError):
            os.fsync(self._file)

    def _write(self, data: bytes) -> None:
        while data:
            room = self._starts[-1] + SEGMENT_BYTES - self.total_bytes
            if room <= 0:
                self._next()
                continue
            with contextlib.suppress(OSError):  # a full disk: it is counted, and missing
                os.write(self._file, data[:room])
            self.total_bytes += len(data[:room])
            data = data[room:]

    def _next(self) -> None:
        os.close(self._file)
        self._starts.append(self.total_bytes)
        name = f"out.{self.total_bytes}"
        self._file = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        for start in self._starts[1:-2]:
            with contextlib.suppress(OSError):
                os.unlink(f"out.{start}")
            self._starts.remove(start)


def _squeezed(data: bytes) -> bytes:
    return data.translate(None, _GAPS)


def _overlap(data: bytes, form: bytes) -> int:
    """How many of the last bytes could begin this secret."""
    return next((size for size in range(min(len(form) - 1, len(data)), 0, -1) if data.endswith(form[:size])), 0)


class Shim:
    """One process, from its start to the record of its end."""

    def __init__(self, wanted: dict[str, Any]) -> None:
        self._wanted = wanted
        self._log = Log([base64.b64decode(each) for each in wanted["secrets"]])
        self._poll = select.poll()
        self._heard: dict[int, Callable[[int], None]] = {}
        self._callers: dict[int, tuple[socket.socket, bytearray]] = {}
        self._input = bytearray(base64.b64decode(wanted["stdin"]))
        self._input_ends = not wanted["input"]
        self._inlet = self._outlet = self._root = -1
        self._status = b""
        self._ended = self._why = ""
        self._began_at = time.time()
        self._began_s = self._heard_s = self._added_s = time.monotonic()

    def run(self, ready: int) -> None:
        """Starts the process, keeps it, and writes down its end."""
        self._listener = _listen()
        self._listen_to(self._listener.fileno(), lambda _: self._welcome())
        process: subprocess.Popen[bytes] | None = None
        try:
            process = self._start()
        except OSError as error:
            self._ended, self._why = "refused", str(error)
        _tell(ready, "ready")
        if process is not None:
            self._keep(process)
        self._close(process)

    def stop(self, why: str) -> None:
        """Ends it at the next tick."""
        self._ended, self._why = self._ended or "killed", why

    # --- start and end ---

    def _start(self) -> subprocess.Popen[bytes]:
        wanted, before = self._wanted, None
        if wanted["terminal"]:
            outer, inner = os.openpty()
            fcntl.ioctl(inner, termios.TIOCSWINSZ, struct.pack("HHHH", wanted["rows"], wanted["columns"], 0, 0))
            if wanted["uid"] is not None:
                os.fchown(inner, wanted["uid"], -1)
            streams = (inner, inner, inner)
            self._inlet = self._outlet = outer
            if not wanted["has_rooms"]:  # else the command takes it, inside of its room
                before = _take_terminal
        else:
            reading, inlet = os.pipe()
            outlet, writing = os.pipe()
            streams = (reading, writing, writing)
            self._inlet, self._outlet = inlet, outlet
        account: dict[str, Any] = {}
        if wanted["uid"] is not None:
            account = {"user": wanted["uid"], "group": wanted["gid"], "extra_groups": []}
        try:
            process = subprocess.Popen(
                wanted["argv"],
                stdin=streams[0],
                stdout=streams[1],
                stderr=streams[2],
                env=wanted["environment"],
                pass_fds=wanted["inherited"],
                cwd="/",
                start_new_session=True,
                preexec_fn=before,
                **account,
            )
        finally:
            for each in {*streams, *wanted["inherited"]}:
                os.close(each)
        for each in (self._outlet, self._inlet, wanted["status"]):
            os.set_blocking(each, False)
        self._listen_to(self._outlet, lambda _: self._read())
        self._listen_to(wanted["status"], lambda _: self._hear_status())
        self._feed()
        return process

    def _keep(self, process: subprocess.Popen[bytes]) -> None:
        """Until it has ended, or must."""
        leader = os.pidfd_open(process.pid)
        self._poll.register(leader, select.POLLIN)
        while not self._ended:
            for descriptor, events in self._poll.poll(TICK_S * 1_000):
                if descriptor == leader:
                    self._ended = self._ended or "exit"
                elif descriptor in self._heard:
                    self._heard[descriptor](events)
            self._ended = self._ended or self._beyond(process.pid)
        self._poll.unregister(leader)
        self._end_tree(process)
        os.close(leader)
        self._drain()

    def _end_tree(self, process: subprocess.Popen[bytes]) -> None:
        """All of it: the first process of a room ends after all others, and where there are no rooms, nothing may
        leave the process group."""
        self._hear_status()
        if self._root >= 0:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._root, signal.SIGKILL)
        deadline_s = time.monotonic() + GONE_S
        while time.monotonic() < deadline_s:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            if process.poll() is not None and (self._wanted["has_rooms"] or not _is_alive(process.pid)):
                break
            time.sleep(TICK_S / 10)
        if self._root >= 0:
            select.select((self._root,), (), (), max(0.0, deadline_s - time.monotonic()))

    def _drain(self) -> None:
        """What the process had still said."""
        deadline_s = time.monotonic() + 1.0
        while self._outlet >= 0 and time.monotonic() < deadline_s:
            if not select.select((self._outlet,), (), (), 0.1)[0]:
                break
            self._read()

    def _close(self, process: subprocess.Popen[bytes] | None) -> None:
        """The record is durable before anybody can see that this shim has gone."""
        self._log.close()
        record = {
            "ended": self._ended,
            "returncode": process.returncode if process is not None else None,
            "why": self._why,
            "began_at": round(self._began_at * 1_000_000),
            "ended_at": round(time.time() * 1_000_000),
            "duration_s": round(time.monotonic() - self._began_s, 3),
            "bytes": self._log.total_bytes,
            "status": self._status.decode(errors="replace"),
        }
        _write_durably(EXIT, json.dumps(record).encode())
        with contextlib.suppress(OSError):
            os.unlink(SOCKET)

    # --- streams ---

    def _listen_to(self, descriptor: int, heard: Callable[[int], None]) -> None:
        self._heard[descriptor] = heard
        self._poll.register(descriptor, select.POLLIN)

    def _forget(self, descriptor: int) -> None:
        self._poll.unregister(descriptor)
        del self._heard[descriptor]

    def _read(self) -> None:
        try:
            data = os.read(self._outlet, _CHUNK_BYTES)
        except BlockingIOError:
            data = None
        except OSError:  # a terminal that nobody has open any more
            data = b""
        if data:
            self._heard_s = time.monotonic()
            self._log.add(data)
        elif data is not None:
            self._forget(self._outlet)
            self._outlet = -1
        if self._input:
            self._feed()

    def _feed(self) -> None:
        """Hands over what the process takes now; the rest with the next tick."""
        if self._inlet < 0:
            self._input.clear()
            return
        try:
            while self._input:
                del self._input[: os.write(self._inlet, bytes(self._input[:_CHUNK_BYTES]))]
        except BlockingIOError:
            return
        except OSError:  # it need not read what it is given
            self._input.clear()
            self._input_ends = True
        if self._input_ends and not self._wanted["terminal"]:
            os.close(self._inlet)
            self._inlet = -1

    def _hear_status(self) -> None:
        """What the backend says. The first process of the room is taken hold of as soon as it is named, while it surely
        lives: its number may be another's later."""
        descriptor = self._wanted["status"]
        with contextlib.suppress(BlockingIOError, OSError):
            data = os.read(descriptor, STATUS_BYTES_MAX)
            self._status = (self._status + data)[:STATUS_BYTES_MAX]
            if not data and descriptor in self._heard:
                self._forget(descriptor)
        if self._root < 0 and (pid := self._root_pid()):
            with contextlib.suppress(OSError):
                self._root = os.pidfd_open(pid)

    def _root_pid(self) -> int:
        for line in self._status.splitlines():
            with contextlib.suppress(ValueError, KeyError, TypeError):
                return int(json.loads(line)["child-pid"])
        return 0

    # --- bounds ---

    def _beyond(self, pid: int) -> str:
        """The bound that is reached; empty while none is."""
        now_s, wanted = time.monotonic(), self._wanted
        if self._input:
            self._feed()
        if now_s - self._began_s > wanted["wall_s"]:
            return "wall"
        if wanted["silence_s"] is not None and now_s - self._heard_s > wanted["silence_s"]:
            return "silence"
        if any(_print_of(path) != [device, inode] for path, device, inode in wanted["sealed"]):
            return "replaced"
        if now_s - self._added_s > USAGE_S:
            self._added_s = now_s
            cpu_s, memory_bytes = _usage_of(pid)
            if cpu_s > wanted["cpu_s"]:
                return "cpu"
            if memory_bytes > wanted["memory_bytes"]:
                return "memory"
        return ""

    # --- callers ---

    def _welcome(self) -> None:
        with contextlib.suppress(OSError):
            caller, _ = self._listener.accept()
            if len(self._callers) >= CALLERS_MAX:
                caller.close()
                return
            caller.setblocking(False)
            number = caller.fileno()
            self._callers[number] = (caller, bytearray())
            self._listen_to(number, lambda _: self._hear(number))

    def _hear(self, number: int) -> None:
        caller, line = self._callers[number]
        try:
            data = caller.recv(_CHUNK_BYTES)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        line += data
        if not data or len(line) > LINE_BYTES_MAX:
            self._forget(number)
            del self._callers[number]
            caller.close()
            return
        while b"\n" in line:
            request, _, rest = bytes(line).partition(b"\n")
            line[:] = rest
            answer = self._answer(request)
            with contextlib.suppress(OSError):
                caller.send(json.dumps(answer).encode() + b"\n")

    def _answer(self, line: bytes) -> dict[str, Any]:
        """What one request comes to. `watch` is answered, and the connection's end is the process's."""
        try:
            request = json.loads(line)
            if not hmac.compare_digest(str(request["token"]), self._wanted["token"]):
                return {"error": "this is not the token of this process"}
            return self._do(request)
        except (ValueError, KeyError, TypeError, OSError, struct.error) as error:
            return {"error": f"{type(error).__name__}: {error}"}

    def _do(self, request: dict[str, Any]) -> dict[str, Any]:
        match request["do"]:
            case "watch" | "status":
                idle_s = round(time.monotonic() - self._heard_s, 3)
                return {"bytes": self._log.total_bytes, "idle_s": idle_s, "began_at": round(self._began_at * 1_000_000)}
            case "write":
                data = base64.b64decode(request["data"])
                if self._inlet < 0 or self._input_ends:
                    return {"error": "its input is closed"}
                if len(self._input) + len(data) > INPUT_BYTES_MAX:
                    return {"error": "it does not read: too much input waits already"}
                self._input += data
                self._input_ends = bool(request.get("end")) and not self._wanted["terminal"]
                self._feed()
                return {"waiting": len(self._input)}
            case "resize":
                if not self._wanted["terminal"]:
                    return {"error": "it has no terminal"}
                size = struct.pack("HHHH", int(request["rows"]), int(request["columns"]), 0, 0)
                fcntl.ioctl(self._outlet, termios.TIOCSWINSZ, size)
                return {}
            case "kill":
                self.stop(str(request.get("why", ""))[:500])
                return {}
            case other:
                return {"error": f"{other!r} is nothing that a shim does"}


def _listen() -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    with contextlib.suppress(FileNotFoundError):
        os.unlink(SOCKET)
    before = os.umask(0o177)  # so that it is never open to others, not for an instant
    listener.bind(SOCKET)
    os.umask(before)
    listener.listen(16)
    listener.setblocking(False)
    return listener


def _claim() -> None:
    """Takes the lock that says who keeps this process, until this program has ended. Its name appears with the lock
    held, and once: no second shim ever starts the same process."""
    temporary = f"{BEGAN}.{os.getpid()}"
    lock = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.write(lock, json.dumps({"pid": os.getpid()}).encode())
        os.fsync(lock)
        os.link(temporary, BEGAN)
    except FileExistsError:
        raise TakenError from None
    finally:
        os.unlink(temporary)
    _sync_folder()


def _write_durably(name: str, data: bytes) -> None:
    """Tries again for as long as the disk is full: the end of a process must not be lost."""
    while True:
        try:
            with open(f"{name}.tmp", "wb") as file:
                file.write(data)
                file.flush()
                os.fsync(file.fileno())
            os.rename(f"{name}.tmp", name)
            _sync_folder()
            return
        except OSError:
            if os.stat(".").st_nlink == 0:  # its folder was removed: nobody wants to know
                return
            time.sleep(1.0)


def _sync_folder() -> None:
    folder = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fsync(folder)
    os.close(folder)


def _take_terminal() -> None:
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


def _print_of(path: str) -> list[int] | None:
    try:
        found = os.lstat(path)
    except OSError:
        return None
    return [found.st_dev, found.st_ino]


def _usage_of(root: int) -> tuple[float, int]:
    """Seconds of processor time and resident bytes of a process and all its descendants."""
    cpu_s, memory_bytes, pending, seen = 0.0, 0, [root], 0
    while pending and seen < _PROCESSES_MAX:
        pid = pending.pop()
        seen += 1
        try:
            fields = _fields_of(pid)
            for thread in os.listdir(f"/proc/{pid}/task"):
                with open(f"/proc/{pid}/task/{thread}/children") as file:
                    pending += [int(each) for each in file.read().split()]
        except (OSError, ValueError):
            continue
        cpu_s += sum(int(each) for each in fields[11:15]) / _TICKS
        memory_bytes += int(fields[21]) * _PAGE_BYTES
    return cpu_s, memory_bytes


def _fields_of(pid: int) -> list[str]:
    with open(f"/proc/{pid}/stat") as file:
        return file.read().rpartition(")")[2].split()


def _is_alive(group: int) -> bool:
    """True while a process group has a member that is not merely waiting to be noticed as dead."""
    for name in os.listdir("/proc"):
        if name.isdecimal():
            with contextlib.suppress(OSError, ValueError):
                fields = _fields_of(int(name))
                if int(fields[2]) == group and fields[0] not in "ZX":
                    return True
    return False


def _tell(ready: int, word: str) -> None:
    with contextlib.suppress(OSError):
        os.write(ready, word.encode())
    os.close(ready)


def main(arguments: list[str]) -> None:
    """`arguments`: the descriptor of what is wanted, and the one on which to say that it has begun."""
    wanted_in, ready = (int(each) for each in arguments)
    with open(wanted_in, "rb") as file:
        wanted = json.load(file)
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))  # its memory holds secrets
    os.chdir(wanted["folder"])
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, lambda *_: None)  # not ignored: that the process would inherit
    try:
        _claim()
    except TakenError:
        _tell(ready, "taken")
        return
    shim = Shim(wanted)
    signal.signal(signal.SIGTERM, lambda *_: shim.stop("the machine ended its keeper"))
    shim.run(ready)


if __name__ == "__main__":
    main(sys.argv[1:])
