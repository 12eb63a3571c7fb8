"""Tries to escape: run inside a room before any agent's command is, with the standard library alone.

Each check is one way out. It returns nothing where the room holds, and says what it reached where it does not. Knows of
the outside only what it is told on standard input: baits that it must not reach. Prints one JSON object.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import json
import os
import signal
import socket
import sys
from collections.abc import Callable
from functools import partial
from typing import Any

Facts = dict[str, Any]
Check = Callable[[Facts], str]

_OWN_PIDS = 64
"""In a room of its own the numbers of processes begin at 1; a bait with so small a number could be one of ours."""

_library = ctypes.CDLL(None, use_errno=True)
CHECKS: dict[str, Check] = {}


def check(escape: Check) -> Check:
    """Registers a way out under its name."""
    CHECKS[escape.__name__.replace("_", " ")] = escape
    return escape


def _opens(*paths: str) -> str:
    for path in paths:
        try:
            if os.path.isdir(path):
                os.listdir(path)
            else:
                with open(path, "rb") as file:
                    file.read(1)
        except OSError:
            continue
        return f"reads {path}"
    return ""


def _writes(*paths: str, mode: str = "ab") -> str:
    for path in paths:
        try:
            with open(path, mode) as file:
                file.write(b"escaped\n")
        except OSError:
            continue
        return f"writes {path}"
    return ""


def _succeeds(what: str, attempt: Callable[[], object]) -> str:
    try:
        attempt()
    except OSError:
        return ""
    return what


def _call(facts: Facts, name: str, *arguments: object) -> bool:
    """True where the kernel does it."""
    number = facts["calls"].get(name)
    if number is None:
        return False
    padded = [*arguments, *(ctypes.c_long(0) for _ in range(6 - len(arguments)))]
    return int(_library.syscall(ctypes.c_long(number), *padded)) >= 0


@check
def read_secrets(facts: Facts) -> str:
    """Keys of the machine, files of the same user elsewhere, the fleet and its state."""
    state = os.path.join(facts["fleet"], ".ostinato")
    fleet = os.path.join(facts["fleet"], "ostinato.toml")
    return _opens("/etc/shadow", facts["secret"], fleet, state, "/root", "/home", "/var/lib")


@check
def read_through_proc(facts: Facts) -> str:
    """The root, the folder and the memory of whatever process can be seen."""
    for pid in ("1", "self", "thread-self", *map(str, range(2, 32)), str(facts["node"]), str(facts["bait"])):
        for way in ("root", "cwd"):
            if found := _opens(f"/proc/{pid}/{way}{facts['secret']}"):
                return found
    return _opens(f"/proc/{facts['bait']}/environ", f"/proc/{facts['node']}/environ", "/proc/kcore", "/proc/kmsg")


@check
def write_outside(facts: Facts) -> str:
    """Anywhere but the workspace and a /tmp of its own."""
    new = f"{facts['outside']}/new"
    return _writes(facts["secret"], new, "/usr/bin/new", "/etc/new", "/new", "/dev/new", "/sys/kernel/new")


@check
def change_what_is_protected(facts: Facts) -> str:
    """By writing, by replacing, by carrying the folder away, by a second name."""
    root = facts["workspace"]
    for name in facts["protected"]:
        path, aside = f"{root}/{name}", f"{root}/aside"
        ways: dict[str, Callable[[], object]] = {
            "renames": partial(os.rename, path, aside),
            "removes": partial(os.rmdir if os.path.isdir(path) else os.unlink, path),
            "links": partial(os.link, path, aside),
            "shortens": partial(os.truncate, path, 0),
            "opens": partial(os.chmod, path, 0o777),
        }
        for way, attempt in ways.items():
            if found := _succeeds(f"{way} {name}", attempt):
                return found
        if found := _writes(path, f"{path}/new") or _writes(path, mode="wb"):
            return found
    return _succeeds("carries .git away", lambda: os.rename(f"{root}/.git", f"{root}/aside"))


@check
def reach_a_network(facts: Facts) -> str:
    """The machine's own services, and the world."""
    for family, address in (
        (socket.AF_INET, ("127.0.0.1", facts["port"])),
        (socket.AF_INET, ("1.1.1.1", 53)),
        (socket.AF_UNIX, f"\0{facts['abstract']}"),
        (socket.AF_UNIX, facts["socket"]),
    ):
        try:
            with socket.socket(family, socket.SOCK_STREAM) as made:
                made.settimeout(1.0)
                made.connect(address)
        except OSError:
            continue
        return f"connects to {address}"
    return ""


@check
def reach_the_machine_below(_facts: Facts) -> str:
    """Sockets that a private network does not hold back: AF_VSOCK, AF_ALG, AF_PACKET, AF_XDP."""
    for family in (40, 38, 17, 44):
        try:
            socket.socket(family, socket.SOCK_STREAM if family == 40 else socket.SOCK_RAW).close()
        except OSError:
            continue
        return f"opens a socket of family {family}"
    return ""


@check
def make_namespaces(facts: Facts) -> str:
    """A user namespace lends every privilege."""
    if _call(facts, "unshare", ctypes.c_long(0x10000000)):
        return "unshares its user namespace"
    flags = ctypes.c_long(0x10000000 | int(signal.SIGCHLD))
    number = facts["calls"]["clone"]
    child = int(_library.syscall(ctypes.c_long(number), flags, *(ctypes.c_long(0) for _ in range(5))))
    if child == 0:
        os._exit(0)
    if child > 0:
        os.waitpid(child, 0)
        return "clones into a user namespace"
    return ""


@check
def mount(facts: Facts) -> str:
    """By the old calls and by the new ones."""
    if _library.mount(b"none", facts["workspace"].encode(), b"tmpfs", 0, None) == 0:
        return "mounts"
    if _library.umount2(facts["workspace"].encode(), 2) == 0:
        return "unmounts"
    if _call(facts, "fsopen", ctypes.c_char_p(b"tmpfs"), ctypes.c_long(0)):
        return "opens a file system"
    if _call(facts, "open_tree", ctypes.c_long(-100), ctypes.c_char_p(b"/"), ctypes.c_long(1)):
        return "clones a tree of mounts"
    return _succeeds("changes its root", lambda: os.chroot(facts["workspace"]))


@check
def meddle_with_processes(facts: Facts) -> str:
    """Signals to those outside; tracing and memory of any."""
    if not facts["signals leak"] and facts["bait"] > _OWN_PIDS:
        with contextlib.suppress(OSError):
            os.kill(facts["bait"], signal.SIGKILL)  # whoever laid it looks whether it still lives
    for pid in (facts["bait"], facts["node"], os.getppid()):
        if _call(facts, "ptrace", ctypes.c_long(16), ctypes.c_long(pid)):
            return f"traces process {pid}"
    buffer = ctypes.create_string_buffer(8)
    vector = (ctypes.c_void_p * 2)(ctypes.addressof(buffer), 8)
    own = (ctypes.c_long(os.getpid()), vector, ctypes.c_long(1), vector, ctypes.c_long(1), ctypes.c_long(0))
    return "reads memory of processes" if _call(facts, "process_vm_readv", *own) else ""


@check
def type_on_a_terminal(_facts: Facts) -> str:
    """TIOCSTI puts words into the mouth of whoever sits at the terminal."""
    try:
        control, terminal = os.openpty()
    except OSError:
        return ""
    try:
        for command in (0x5412, 0x541C):
            try:
                fcntl.ioctl(terminal, command, b"x")
            except OSError:
                continue
            return "types"
    finally:
        os.close(control)
        os.close(terminal)
    return _opens("/dev/tty")


@check
def rule_the_kernel(_facts: Facts) -> str:
    """Settings of the kernel that run programs as root, and its devices."""
    sysctl = "/proc/sys/kernel/"
    found = _writes(f"{sysctl}core_pattern", f"{sysctl}modprobe", "/proc/sysrq-trigger", "/sys/kernel/uevent_helper")
    if found:
        return found
    if found := _opens("/dev/mem", "/dev/kmsg", "/dev/vda", "/dev/sda", "/dev/nvme0n1", "/dev/kvm", "/dev/fuse"):
        return found
    return _succeeds("makes a device", lambda: os.mknod("/tmp/device", 0o600 | 0o060000, os.makedev(8, 0)))


@check
def call_what_is_refused(facts: Facts) -> str:
    """Rings, keys, loaded code and the like; with arguments that would be taken."""
    page = ctypes.create_string_buffer(4_096)
    for name, arguments in {
        "io_uring_setup": (ctypes.c_long(1), page),
        "keyctl": (ctypes.c_long(0), ctypes.c_long(-3), ctypes.c_long(1)),
        "userfaultfd": (ctypes.c_long(1),),
        "bpf": (ctypes.c_long(0), page, ctypes.c_long(72)),
        "perf_event_open": (page, ctypes.c_long(0), ctypes.c_long(-1), ctypes.c_long(-1)),
    }.items():
        if _call(facts, name, *arguments):
            return f"calls {name}"
    return ""


@check
def call_by_another_table(facts: Facts) -> str:
    """x86-64 has a second table of system calls, in which a filter by number would find nothing."""
    if facts["machine"] != "x86_64":
        return ""
    child = os.fork()
    if child == 0:
        os._exit(0 if int(_library.syscall(ctypes.c_long(0x40000000 + 39))) > 0 else 1)
    _, status = os.waitpid(child, 0)
    return "calls by the x32 table" if os.waitstatus_to_exitcode(status) == 0 else ""


@check
def have_privileges(_facts: Facts) -> str:
    """Root, capabilities, or a way to get them from a program with the set-user bit."""
    if os.geteuid() == 0 or os.getegid() == 0 or 0 in os.getgroups():
        return "is root, or of root's group"
    if _library.prctl(39, 0, 0, 0, 0) != 1:
        return "may gain privileges"
    for capability in range(41):
        if _library.prctl(23, capability, 0, 0, 0) == 1 and _library.prctl(47, 1, capability, 0, 0) == 1:
            return f"keeps capability {capability}"
    try:
        with open("/proc/self/status", encoding="ascii") as file:
            held = [line.split()[1] for line in file if line.startswith(("CapEff", "CapPrm", "CapAmb"))]
    except OSError:
        return ""
    return f"has capabilities {held}" if any(int(each, 16) for each in held) else ""


@check
def inherit(facts: Facts) -> str:
    """Variables and open files of whoever started it."""
    odd = sorted(set(os.environ) - set(facts["environment"]))
    if odd:
        return f"has the variables {', '.join(odd)}"
    for descriptor in range(3, 256):
        try:
            os.fstat(descriptor)
        except OSError:
            continue
        return f"has descriptor {descriptor}"
    return ""


def main() -> None:
    """Tries every way out that it is told of; all, unless some are named."""
    facts: Facts = json.load(sys.stdin)
    found = {}
    for name, escape in CHECKS.items():
        try:
            found[name] = escape(facts)
        except Exception as error:  # a check that cannot be made has not been passed
            found[name] = f"could not be tried: {type(error).__name__}: {error}"
    sys.stdout.write(json.dumps(found))


if __name__ == "__main__":
    main()
