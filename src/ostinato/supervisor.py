"""The parent of a node: starts it, starts it again when it dies, forwards signals, keeps what it says.

Standard library only, and little of that: it is the one process that must never fall over, and it is always there.
Deaths come as SIGCHLD on the same poll that reads the node's standard error, so one is noticed at once. Knows nothing
of fleets, tasks or what the node does.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import stat
import sys
import time
from collections import deque
from collections.abc import Iterator

LOG_BYTES_MAX = 10_000_000
"""Size at which a log is put aside; some days of a busy fleet."""

LOGS_KEPT = 5
"""Logs put aside, `node.log.1` being the latest."""

TAIL_LINES = 20
"""Lines of a node's last words that are shown when it is given up."""

LINE_BYTES_MAX = 65_536
"""A longer line is cut into pieces, so that a node cannot fill this process."""

ECHO_S = 0.5
"""How long this process waits for whoever reads its standard error. Afterwards what they do not take is left out."""

INSTANT_S = 5.0
"""A node that lived for less has died at its start."""

CRASHES_MAX = 6
"""Deaths at the start, one after the other and by the node's own doing, after which it is given up: with the pauses
below that takes some seconds, in which a port or a lock of the node before can become free."""

PAUSE_S = 0.05
"""Pause before the start that follows a crash at the start; others have none. Doubles with each crash in a row."""

PAUSE_MAX_S = 30.0

KILLS_MAX = 20
"""Deaths at the start by SIGKILL, in a row, before there is a pause after them as well: by then it is not a person who
tries what happens, but a machine without enough memory."""

STOP_S = 30.0
"""Seconds from the first SIGTERM until SIGKILL: a node drains for 20 s and then cancels for 5 s."""

AGAIN_CODE = 75
"""The node was told (SIGHUP) to begin anew, with the settings as they are now."""

FINAL_CODES = range(2, 64)
"""Exit codes that say that another start would end the same way: wrong use, something not found, refused. 1 is a
crash, and from 64 on (sysexits.h) they are failures that may pass."""

FORWARDED = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP)

BEGINS_ANEW = (AGAIN_CODE, -signal.SIGHUP)
"""A node dies of SIGHUP where it has only just begun, and does not listen to it yet: that is no crash."""

STOPPED = (0, -signal.SIGTERM, *BEGINS_ANEW)
"""How a node ends that was told to stop; systemd may send SIGHUP as well, and a terminal that closes does."""

_PR_SET_PDEATHSIG = 1  # linux/prctl.h


class Log:
    """`<state>/logs/node.log`: appended to, put aside at `bytes_max`, at most `kept` of those are kept. A disk without
    room loses lines, never the node."""

    def __init__(self, state: str | os.PathLike[str], *, bytes_max: int = LOG_BYTES_MAX, kept: int = LOGS_KEPT) -> None:
        self.path = os.path.join(state, "logs", "node.log")
        self._bytes_max = bytes_max
        self._kept = kept
        self._descriptor = -1
        self._size = 0

    def write(self, data: bytes) -> None:
        """Appends whole lines."""
        try:
            if self._descriptor < 0:
                self._open()
            elif self._size and self._size + len(data) > self._bytes_max:
                self._rotate()
            self._size += os.write(self._descriptor, data)
        except OSError:  # no room, no permission: people see the node's words on standard error all the same
            self.close()

    def close(self) -> None:
        """Ends writing; another `write` opens it again."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def _open(self) -> None:
        os.makedirs(os.path.dirname(self.path), mode=0o700, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._descriptor = os.open(self.path, flags, 0o600)
        self._size = os.fstat(self._descriptor).st_size

    def _rotate(self) -> None:
        self.close()
        for number in range(self._kept, 0, -1):
            older = self.path if number == 1 else f"{self.path}.{number - 1}"
            with contextlib.suppress(FileNotFoundError):
                os.replace(older, f"{self.path}.{number}")
        self._open()


class Echo:
    """This process's own standard error, as far as somebody takes what is said there. A terminal that was stopped
    (Ctrl-S), or a pipe that nobody reads, must stop neither this process nor, by its full pipe, the node: what is not
    taken in time is left out here, and stands in the log."""

    def __init__(self, descriptor: int = 2, *, wait_s: float = ECHO_S) -> None:
        self._descriptor = _opened_anew(descriptor)
        self._wait_s = wait_s
        self._left_out = 0

    def write(self, lines: bytes) -> None:
        """Shows whole lines, or says later how many it could not show."""
        note = f"\n... about {self._left_out} lines are left out here; the log has them\n" if self._left_out else ""
        data = note.encode() + lines
        if self._write(data) == len(data):
            self._left_out = 0
        else:
            self._left_out += lines.count(b"\n")

    def _write(self, data: bytes) -> int:
        """How many bytes were taken; all where nobody is left who could."""
        ready, taken = select.poll(), 0
        ready.register(self._descriptor, select.POLLOUT)
        wait_ms = 0 if self._left_out else round(self._wait_s * 1_000)
        try:
            while taken < len(data) and ready.poll(wait_ms):
                # No more than a pipe or socket that is ready takes at once.
                taken += os.write(self._descriptor, data[taken : taken + select.PIPE_BUF])
        except BlockingIOError:
            pass
        except OSError:
            return len(data)
        return taken


def _opened_anew(descriptor: int) -> int:
    """A terminal or pipe, opened once more, so that it is for this process alone not to wait there: else the shell
    would not wait either. The descriptor itself where that cannot be, or need not: then only what is ready is written
    to."""
    with contextlib.suppress(OSError):
        if os.isatty(descriptor) or stat.S_ISFIFO(os.fstat(descriptor).st_mode):
            flags = os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
            return os.open(f"/proc/self/fd/{descriptor}", flags)
    return descriptor


def supervise(
    command: list[str],
    *,
    state: str | os.PathLike[str],
    echo: bool = True,
    stop_s: float = STOP_S,
    instant_s: float = INSTANT_S,
    log: Log | None = None,
) -> int:
    """Runs `command` until it ends in order or cannot be kept running; returns the exit code for this process.

    `state` is the fleet's state directory; the node's standard error goes to `<state>/logs/node.log` and, with `echo`,
    also to this process's own. 0: it was told to stop, or ended by itself without an error; 1: given up; 2 to 63: the
    node said that another start would not help. Call it from the main thread of a process that does nothing else.
    """
    return _Supervisor(command, log or Log(state), echo=echo, stop_s=stop_s, instant_s=instant_s).run()


class _Supervisor:
    def __init__(self, command: list[str], log: Log, *, echo: bool, stop_s: float, instant_s: float) -> None:
        self._command = command
        self._log = log
        self._echo = Echo() if echo else None
        self._stop_s = stop_s
        self._instant_s = instant_s
        self._pid = 0
        self._began_s = 0.0
        self._errors = -1
        self._partial = b""
        self._tail: deque[bytes] = deque(maxlen=TAIL_LINES)
        self._stop_by_s: float | None = None
        self._instant_deaths = 0
        self._crashes = 0

    def run(self) -> int:
        with _signals() as (wakeup, seen):
            try:
                while True:
                    self._start()
                    status = self._watch(wakeup, seen)
                    code = self._code_after(status)
                    if code is not None:
                        return code
                    if self._rest(wakeup, seen):
                        return 0
            finally:
                self._kill()
                self._log.close()

    # --- one life of the node ---

    def _start(self) -> None:
        self._tail.clear()
        read, write = os.pipe()
        parent = os.getpid()
        # A signal must not reach the child while it would still be this process's handler that takes it.
        signal.pthread_sigmask(signal.SIG_BLOCK, FORWARDED)
        self._pid = os.fork()
        if self._pid == 0:
            _become(self._command, errors=write, parent=parent)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, FORWARDED)
        os.close(write)
        os.set_blocking(read, False)
        self._errors = read
        self._began_s = time.monotonic()

    def _watch(self, wakeup: int, seen: list[int]) -> int:
        """Reads and forwards until the node has died; returns its wait status."""
        poll = select.poll()
        poll.register(wakeup, select.POLLIN)
        poll.register(self._errors, select.POLLIN)
        while True:
            ready = poll.poll(self._patience_ms())
            if any(descriptor == self._errors for descriptor, _ in ready) and not self._read_errors():
                poll.unregister(self._errors)
            self._forward(wakeup, seen)
            status = self._reap()
            if status is not None:
                return status
            if self._stop_by_s is not None and time.monotonic() >= self._stop_by_s:
                self._signal(signal.SIGKILL)

    def _patience_ms(self) -> int | None:
        """Until the node must have stopped; for ever while it may run."""
        if self._stop_by_s is None:
            return None
        return max(1, int((self._stop_by_s - time.monotonic()) * 1_000) + 1)

    def _reap(self) -> int | None:
        """The node's wait status once it has died."""
        if os.getpid() == 1:
            self._bury_orphans()
        try:
            dead = os.waitid(os.P_PID, self._pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        except ChildProcessError:
            return 1 << 8
        if dead is None:
            return None
        # Its group goes with it, before its pid can become another's: no stray keeps the lock, a port or our pipe.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(self._pid, signal.SIGKILL)
        _, status = os.waitpid(self._pid, 0)
        self._pid = 0
        self._drain_errors()
        return status

    def _bury_orphans(self) -> None:
        """The first process of a container inherits the children of all that die in it."""
        with contextlib.suppress(ChildProcessError):
            while dead := os.waitid(os.P_ALL, 0, os.WEXITED | os.WNOHANG | os.WNOWAIT):
                if dead.si_pid == self._pid:
                    return
                os.waitpid(dead.si_pid, 0)

    def _forward(self, wakeup: int, seen: list[int]) -> None:
        _empty(wakeup)
        while seen:
            number = seen.pop(0)
            if number == signal.SIGHUP:
                self._signal(signal.SIGHUP)
                continue
            self._stop_by_s = self._stop_by_s or time.monotonic() + self._stop_s
            self._signal(signal.SIGTERM)

    def _signal(self, number: int) -> None:
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, number)

    def _kill(self) -> None:
        """Leaves no node behind, however this ends."""
        if self._pid:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self._pid, signal.SIGKILL)
            self._signal(signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(self._pid, 0)
            self._pid = 0

    # --- what it says ---

    def _read_errors(self) -> bool:
        """Takes what is in the pipe; False at its end."""
        try:
            data = os.read(self._errors, LINE_BYTES_MAX)
        except BlockingIOError:
            return True
        if not data:
            return False
        self._take(data)
        return True

    def _drain_errors(self) -> None:
        """The last words of a node that has died. A process that outlives it may hold the pipe open: no waiting."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._errors, LINE_BYTES_MAX):
                self._take(data)
        if self._partial:
            self._take(b"\n")
        os.close(self._errors)
        self._errors = -1

    def _take(self, data: bytes) -> None:
        whole, newline, rest = (self._partial + data).rpartition(b"\n")
        if len(rest) > LINE_BYTES_MAX:
            whole, newline, rest = whole + newline + rest, b"\n", b""
        self._partial = rest
        if whole or newline:
            self._tail.extend(whole.split(b"\n")[-TAIL_LINES:])
            self._keep(whole + b"\n")

    def _say(self, text: str) -> None:
        moment = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self._keep(f"{moment} supervisor: {text}\n".encode(errors="replace"))

    def _keep(self, lines: bytes) -> None:
        self._log.write(lines)
        if self._echo is not None:
            self._echo.write(lines)

    # --- what its death means ---

    def _code_after(self, status: int) -> int | None:
        """The exit code of this process after a death of the node; None: start it again."""
        code = os.waitstatus_to_exitcode(status)
        lived_s = time.monotonic() - self._began_s
        if self._stop_by_s is not None:
            if code not in STOPPED:
                self._say(f"the node {_ended(code)} while it stopped")
            return 0 if code in STOPPED else 1
        if code == 0:
            return 0
        if code in FINAL_CODES:
            return code
        if code in BEGINS_ANEW:
            self._say("the node was told to begin anew; starting it again")
            return None
        instant = lived_s < self._instant_s
        self._instant_deaths = self._instant_deaths + 1 if instant else 0
        # Who was killed from outside (by hand, for want of memory) did not fail by its own doing.
        self._crashes = self._crashes + 1 if instant and code != -signal.SIGKILL else 0
        if self._crashes >= CRASHES_MAX:
            self._give_up(code)
            return 1
        self._say(f"the node {_ended(code)} after {lived_s:.1f} s; starting it again")
        return None

    def _give_up(self, code: int) -> None:
        last = next((line for line in reversed(self._tail) if line.strip()), b"").decode(errors="replace").strip()
        self._say(
            f"given up: the node {_ended(code)} {CRASHES_MAX} times in a row within {self._instant_s:g} s of its start."
            f" Last error: {last or 'it said nothing'}. All it said is in {self._log.path}"
        )

    def _rest(self, wakeup: int, seen: list[int]) -> bool:
        """The pause before the next start; True when told to stop meanwhile."""
        until_s = time.monotonic() + self._pause_s()
        while (left_s := until_s - time.monotonic()) > 0:
            select.select([wakeup], [], [], left_s)
            self._forward(wakeup, seen)
            if self._stop_by_s is not None:
                return True
        return False

    def _pause_s(self) -> float:
        if self._crashes == 0 and self._instant_deaths <= KILLS_MAX:
            return 0.0
        doublings = max(self._crashes - 1, self._instant_deaths - KILLS_MAX, 0)
        return min(PAUSE_MAX_S, PAUSE_S * 2.0 ** min(doublings, 16))


def _become(command: list[str], *, errors: int, parent: int) -> None:
    """In the child, after fork: turns into the node. Never returns."""
    try:
        _die_with(parent)
        os.setpgid(0, 0)  # Ctrl-C in a terminal reaches the supervisor alone, which says it in its own way
        os.dup2(errors, 2)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        for number in (*FORWARDED, signal.SIGCHLD, signal.SIGPIPE):
            signal.signal(number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execvp(command[0], command)
    except OSError as error:
        os.write(2, f"{command[0]} cannot be started: {error.strerror}\n".encode(errors="replace"))
    finally:
        os._exit(2)


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when its parent dies, however that happens. Only Linux offers it."""
    if not sys.platform.startswith("linux"):
        return
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:  # it has died in between
        os._exit(1)


@contextlib.contextmanager
def _signals() -> Iterator[tuple[int, list[int]]]:
    """A descriptor that becomes readable with each signal, and the list of those to forward."""
    seen: list[int] = []
    read, write = os.pipe()
    for each in (read, write):
        os.set_blocking(each, False)
    before = {number: signal.getsignal(number) for number in (*FORWARDED, signal.SIGCHLD)}
    wakeup = signal.set_wakeup_fd(write, warn_on_full_buffer=False)
    for number in FORWARDED:
        signal.signal(number, lambda number, _frame: seen.append(number))
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    try:
        yield read, seen
    finally:
        signal.set_wakeup_fd(wakeup)
        for number, handler in before.items():
            signal.signal(number, handler)
        os.close(read)
        os.close(write)


def _empty(descriptor: int) -> None:
    with contextlib.suppress(BlockingIOError):
        while os.read(descriptor, 4_096):
            pass


def _ended(code: int) -> str:
    """How a process ended, in words."""
    if code >= 0:
        return f"ended with code {code}"
    try:
        return f"was killed by {signal.Signals(-code).name}"
    except ValueError:
        return f"was killed by signal {-code}"


def main(arguments: list[str]) -> int:
    """`python -m ostinato.supervisor STATE COMMAND...`."""
    if len(arguments) < 2:
        os.write(2, b"usage: python -m ostinato.supervisor STATE COMMAND...\n")
        return 2
    return supervise(arguments[1:], state=arguments[0])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
