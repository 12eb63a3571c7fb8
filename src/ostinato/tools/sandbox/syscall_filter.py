"""The system calls that no command may make, as a program for the kernel's own filter (seccomp BPF).

A list of what is refused, not of what is allowed: a compiler or test runner must run unchanged, and what remains has
no privileges to use. Refused is whatever opens a second way to the kernel: namespaces, mounts, other processes' memory,
loaded code, keys, rings, and addresses that a private network does not hold back (AF_VSOCK reaches the machine below a
virtual one). Assembled here because the program is 700 bytes and the usual library is a dependency in C.

Pure. Knows nothing of how the program reaches the kernel. Source: linux/seccomp.h, linux/filter.h, asm/unistd.h.
"""

from __future__ import annotations

import errno
import itertools
import struct
from collections.abc import Iterator
from typing import Literal

from ostinato.domain.errors import Denied
from ostinato.domain.values import Value

ARCHES = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
"""Machine (as uname calls it) -> AUDIT_ARCH. Elsewhere there is no filter, and commands are refused."""

X32_BIT = 0x40000000
"""Set in the numbers of x86-64's second system-call table, where a list of numbers means nothing."""

ALLOW = 0x7FFF0000
KILL = 0x80000000  # SECCOMP_RET_KILL_PROCESS
NAMESPACES = 0x7E020000  # CLONE_NEW{NS,CGROUP,UTS,IPC,USER,PID,NET}
NEW_TIME = 0x80  # CLONE_NEWTIME, for unshare only: in clone these bits are the exit signal
SOCKETS = {1: "Unix", 2: "IPv4", 10: "IPv6", 16: "netlink"}
"""Families of sockets that a command may have (AF_*), within its private network; the fall-back has none."""

FAMILIES = tuple(SOCKETS)
DEATH_SIGNAL, SIGKILL = 1, 9  # PR_SET_PDEATHSIG: who would outlive its parent keeps its room alive
SIGTERM = 15
"""What programs ask for that want to be told of their parent's death, and that give up where they cannot be."""

TERMINAL_INPUT = (0x5412, 0x541C)  # TIOCSTI, TIOCLINUX: typing on somebody else's terminal

Machine = Literal["x86_64", "aarch64"]


class Call(Value):
    """A system call by its numbers; None where a machine does not have it."""

    name: str
    x86_64: int | None
    aarch64: int | None

    def on(self, machine: str) -> int | None:
        """Its number on that machine."""
        return self.x86_64 if machine == "x86_64" else self.aarch64


def _calls(table: str) -> tuple[Call, ...]:
    """Rows of name, number on x86-64, number on aarch64."""
    rows = [row.split() for row in table.split(";")]
    return tuple(Call(name=n, x86_64=_number(x), aarch64=_number(a)) for n, x, a in rows)


def _number(text: str) -> int | None:
    return None if text == "-" else int(text)


REFUSED = _calls(
    "setns 308 268; mount 165 40; umount2 166 39; pivot_root 155 41; chroot 161 51; open_tree 428 428;"
    "move_mount 429 429; fsopen 430 430; fsconfig 431 431; fsmount 432 432; fspick 433 433; mount_setattr 442 442;"
    "open_tree_attr 467 467; ptrace 101 117; process_vm_readv 310 270; process_vm_writev 311 271; kcmp 312 272;"
    "pidfd_getfd 438 438; bpf 321 280; perf_event_open 298 241; io_uring_setup 425 425; io_uring_enter 426 426;"
    "io_uring_register 427 427; add_key 248 217; request_key 249 218; keyctl 250 219; userfaultfd 323 282;"
    "kexec_load 246 104; kexec_file_load 320 294; init_module 175 105; finit_module 313 273; delete_module 176 106;"
    "open_by_handle_at 304 265; swapon 167 224; swapoff 168 225; reboot 169 142; acct 163 89; quotactl 179 60;"
    "quotactl_fd 443 443; syslog 103 116; settimeofday 164 170; clock_settime 227 112; iopl 172 -; ioperm 173 -;"
    "modify_ldt 154 -; vhangup 153 58; fanotify_init 300 262"
)
"""Answered with EPERM, whatever their arguments."""

SPECIAL = _calls("clone 56 220; unshare 272 97; ioctl 16 29; socket 41 198; socketpair 53 199; prctl 157 167")
"""Answered by their arguments."""

UNBOUNDED = _calls(
    "setsid 112 157; setpgid 109 154; chmod 90 -; fchmod 91 52; fchmodat 268 53; fchmodat2 452 452; chown 92 -;"
    "fchown 93 55; lchown 94 -; fchownat 260 54; setxattr 188 5; lsetxattr 189 6; fsetxattr 190 7; removexattr 197 14;"
    "lremovexattr 198 15; fremovexattr 199 16; setxattrat 463 463; removexattrat 466 466; file_setattr 469 469;"
    "utime 132 -; utimes 235 -; futimesat 261 -; shmget 29 194; shmat 30 196; shmctl 31 195; msgget 68 186;"
    "msgsnd 69 189; msgrcv 70 188; msgctl 71 187; semget 64 190; semctl 66 191; semop 65 193; semtimedop 220 192;"
    "mq_open 240 180; mq_unlink 241 181; inotify_add_watch 254 27; migrate_pages 256 238; move_pages 279 239"
)
"""Also refused where no namespaces hold a command back: leaving its process group, metadata of files that it may not
write, watching folders that it may not read, and memory, messages and locks shared with strangers."""

OF_ITSELF = _calls(
    "prlimit64 302 261; sched_setaffinity 203 122; sched_setscheduler 144 119; sched_setparam 142 118;"
    "sched_setattr 314 274"
)
"""Refused there unless they name the caller itself (0): the node's own limits and turns are the same user's."""

MODES = {
    "open": _calls("open 2 -"),
    "openat": _calls("openat 257 56"),
    "mode second": _calls("chmod 90 -; fchmod 91 52; creat 85 -; mknod 133 -"),
    "mode third": _calls("fchmodat 268 53; fchmodat2 452 452; mknodat 259 33"),
}
"""Where each has the mode of a file: refused with one that lends the rights of its owner or group to all."""

SET_IDS = 0o6000  # S_ISUID, S_ISGID
"""The files of a workspace belong to the owner of the fleet: one with such a bit would lend their rights to anybody on
this machine."""

CREATES = 0o20000100  # O_CREAT, __O_TMPFILE: without them the mode may be anything

BEYOND_REACH = _calls("clone3 435 435; openat2 437 437")
"""What they are to do lies in memory, where no filter looks: there are none, and programs use the older ones."""

RANKS = {
    call.name: (call, user) for call, user in zip(_calls("setpriority 141 140; ioprio_set 251 30"), (2, 3), strict=True)
}
"""Name -> call, and what its first argument is where it means all processes of a user; its second names one."""

_LD = 0x20  # BPF_LD | BPF_W | BPF_ABS
_JEQ = 0x15  # BPF_JMP | BPF_JEQ | BPF_K
_JGE = 0x35
_JSET = 0x45
_RET = 0x06

_NUMBER, _ARCH = 0, 4  # offsets in struct seccomp_data
_ARG0, _ARG1, _ARG2, _ARG3 = 16, 24, 32, 40  # the low words of little-endian machines

Line = tuple[int, int, str, str]
"""Code, operand, and the labels to go to if true and if false; empty: the next line."""


def program(machine: str, *, namespaces: bool = True) -> bytes:
    """The filter for a machine; `namespaces`: False where none hold the command back, and the filter must do more.

    Raises Denied for a machine whose system calls are not known here.
    """
    if machine not in ARCHES:
        known = " and ".join(ARCHES)
        raise Denied(f"No system-call filter for {machine}", cure=f"Commands run on {known} only.")
    return _assembled(_lines(machine, namespaces=namespaces))


def _refuse(number: int) -> int:
    return 0x00050000 | number  # SECCOMP_RET_ERRNO


def _lines(machine: str, *, namespaces: bool) -> list[tuple[str, Line]]:
    """The program with its labels, in order."""
    refused = REFUSED if namespaces else (*REFUSED, *UNBOUNDED)
    lines: list[tuple[str, Line]] = [
        ("", (_LD, _ARCH, "", "")),
        ("", (_JEQ, ARCHES[machine], "", "kill")),
        ("", (_LD, _NUMBER, "", "")),
    ]
    if machine == "x86_64":
        lines.append(("", (_JGE, X32_BIT, "kill", "")))
    lines += [("", (_JEQ, _known(call.on(machine)), call.name, "")) for call in SPECIAL]
    lines += [("", (_JEQ, _known(call.on(machine)), "enosys", "")) for call in BEYOND_REACH]
    also = {call.on(machine) for call in refused}
    for label, calls in MODES.items():
        numbers = [number for call in calls if (number := call.on(machine)) is not None and number not in also]
        lines += [("", (_JEQ, number, label, "")) for number in numbers]
    if not namespaces:
        lines += [("", (_JEQ, _known(call.on(machine)), "itself", "")) for call in OF_ITSELF]
        lines += [("", (_JEQ, _known(call.on(machine)), name, "")) for name, (call, _) in RANKS.items()]
    lines += _by_numbers({number for call in refused if (number := call.on(machine)) is not None})
    lines.append(("beyond", (_RET, ALLOW, "", "")))
    lines += _by_arguments(namespaces=namespaces)
    lines += [
        ("enosys", (_RET, _refuse(errno.ENOSYS), "", "")),
        ("family", (_RET, _refuse(errno.EAFNOSUPPORT), "", "")),
        ("pretend", (_RET, _refuse(0), "", "")),  # not done, and not refused: it dies with its parent all the same
        ("eperm", (_RET, _refuse(errno.EPERM), "", "")),
        ("kill", (_RET, KILL, "", "")),
        ("allow", (_RET, ALLOW, "", "")),  # once more: jumps go forward
    ]
    return lines


def _by_numbers(numbers: set[int]) -> Iterator[tuple[str, Line]]:
    """Each alone, or three and more that follow one another by their bounds, in their order: so it stays below 1 kB."""
    first = ""
    for low in sorted(each for each in numbers if each - 1 not in numbers):
        above = next(each for each in itertools.count(low) if each not in numbers)
        if above - low < 3:
            for each in range(low, above):
                yield first, (_JEQ, each, "eperm", "")
                first = ""
            continue
        yield first, (_JGE, low, "", "beyond")  # all that follow are larger
        first = f"from {above}"
        yield "", (_JGE, above, first, "eperm")
    if first:
        yield first, (_JEQ, max(numbers), "eperm", "")


def _by_arguments(*, namespaces: bool) -> list[tuple[str, Line]]:
    """Calls that are fine with some arguments; each ends at `allow` or at a refusal."""
    lines: list[tuple[str, Line]] = [
        ("clone", (_LD, _ARG0, "", "")),
        ("", (_JSET, NAMESPACES, "eperm", "allow")),
        ("unshare", (_LD, _ARG0, "", "")),
        ("", (_JSET, NAMESPACES | NEW_TIME, "eperm", "allow")),
        ("ioctl", (_LD, _ARG1, "", "")),
        ("", (_JEQ, TERMINAL_INPUT[0], "eperm", "")),
        ("", (_JEQ, TERMINAL_INPUT[1], "eperm", "allow")),
        ("open", (_LD, _ARG1, "", "")),
        ("", (_JSET, CREATES, "mode third", "allow")),
        ("openat", (_LD, _ARG2, "", "")),
        ("", (_JSET, CREATES, "", "allow")),
        ("", (_LD, _ARG3, "", "")),
        ("", (_JSET, SET_IDS, "eperm", "allow")),
        ("mode second", (_LD, _ARG1, "", "")),
        ("", (_JSET, SET_IDS, "eperm", "allow")),
        ("mode third", (_LD, _ARG2, "", "")),
        ("", (_JSET, SET_IDS, "eperm", "allow")),
        ("prctl", (_LD, _ARG0, "", "")),
        ("", (_JEQ, DEATH_SIGNAL, "", "allow")),
        ("", (_LD, _ARG1, "", "")),
        ("", (_JEQ, SIGKILL, "allow", "")),
        ("", (_JEQ, SIGTERM, "pretend", "eperm")),
        ("socketpair", (_LD, _ARG0, "", "")),
        ("", (_JEQ, FAMILIES[0], "allow", "family")),
    ]
    if namespaces:
        lines.append(("socket", (_LD, _ARG0, "", "")))
        lines += [("", (_JEQ, family, "allow", "")) for family in FAMILIES[:-1]]
        lines.append(("", (_JEQ, FAMILIES[-1], "allow", "family")))
    else:  # nothing else keeps it from the machine's network and from sockets in the file system
        lines += [("socket", (_RET, _refuse(errno.EAFNOSUPPORT), "", "")), ("itself", (_LD, _ARG0, "", ""))]
        lines.append(("", (_JEQ, 0, "allow", "eperm")))
        for name, (_, user) in RANKS.items():
            lines += [(name, (_LD, _ARG0, "", "")), ("", (_JEQ, user, "eperm", "rank"))]
        lines += [("rank", (_LD, _ARG1, "", "")), ("", (_JEQ, 0, "allow", "eperm"))]
    return lines


def _known(number: int | None) -> int:
    assert number is not None
    return number


def _assembled(lines: list[tuple[str, Line]]) -> bytes:
    places = {label: at for at, (label, _) in enumerate(lines) if label}
    instructions = []
    for at, (_, (code, operand, if_true, if_false)) in enumerate(lines):
        true, false = (places[each] - at - 1 if each else 0 for each in (if_true, if_false))
        assert min(true, false) >= 0, "jumps go forward"
        assert max(true, false) < 256, "and at most 255 lines"
        instructions.append(struct.pack("<HBBI", code, true, false, operand))
    return b"".join(instructions)
