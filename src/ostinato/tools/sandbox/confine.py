"""Forbids itself what its rules do not allow, and becomes the command: how a command is held without bubblewrap.

Run as a program of its own, with the standard library alone: three descriptors (rules, filter, complaints), then the
command. A thread of the node that confines itself and starts the command would save the start of this program, and
lose the command's death with its node: the kernel counts the thread as its parent. Knows nothing of rooms.
"""

from __future__ import annotations

import ctypes
import errno
import json
import os
import signal
import stat
import struct
import sys

_SET_DEATH_SIGNAL, _NO_NEW_PRIVILEGES, _SET_SECCOMP, _FILTER = 1, 38, 22, 2
_CREATE, _ADD_RULE, _RESTRICT, _VERSION = 444, 445, 446, 1
_ALL_FILES, _TCP, _SCOPES = (1 << 15) - 1, 3, 3
_DEVICE_CONTROL = 1 << 15
_FILE_ONLY = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 14) | (1 << 15)

_library = ctypes.CDLL(None, use_errno=True)


def main(arguments: list[str]) -> None:
    """Confines this process and executes the command; never returns unless that fails."""
    rules, seccomp, complaints = (int(each) for each in arguments[:3])
    try:
        wanted = json.loads(os.read(rules, 1 << 24))
        _checked("PR_SET_PDEATHSIG", _library.prctl(_SET_DEATH_SIGNAL, int(signal.SIGKILL), 0, 0, 0))
        _checked("PR_SET_NO_NEW_PRIVS", _library.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0))
        os.chdir(wanted["cwd"])
        _restrict([(each["path"], each["access"], each.get("follow", False)) for each in wanted["rules"]])
        _filter(os.read(seccomp, 4_096))
        os.set_inheritable(complaints, False)
        for descriptor in (rules, seccomp):
            os.close(descriptor)
        os.execv(arguments[3], arguments[3:])
    except OSError as error:
        os.write(complaints, f"{error}\n".encode())
        os._exit(126)


def _restrict(rules: list[tuple[str, int, bool]]) -> None:
    version = int(_library.syscall(_CREATE, None, 0, _VERSION))
    handled = _ALL_FILES | (_DEVICE_CONTROL if version >= 5 else 0)
    attributes = struct.pack("=QQQ", handled, _TCP, _SCOPES)[: 24 if version >= 6 else 16]
    ruleset = _checked("landlock", _library.syscall(_CREATE, attributes, len(attributes), 0))
    for path, access, follow in rules:
        descriptor = os.open(path, os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
        mode = os.fstat(descriptor).st_mode
        if stat.S_ISLNK(mode):  # it was none a moment ago
            raise OSError(errno.ELOOP, f"{path} has become a link")
        mask = access if stat.S_ISDIR(mode) else access & _FILE_ONLY
        rule = struct.pack("=Qi", mask & handled, descriptor)
        _checked(path, _library.syscall(_ADD_RULE, ruleset, 1, rule, 0))
        os.close(descriptor)
    _checked("landlock", _library.syscall(_RESTRICT, ruleset, 0))
    os.close(ruleset)


def _filter(program: bytes) -> None:
    lines = ctypes.create_string_buffer(program, len(program))
    head = struct.pack("@HP", len(program) // 8, ctypes.addressof(lines))
    _checked("seccomp", _library.prctl(_SET_SECCOMP, _FILTER, head, 0, 0))


def _checked(what: str, returned: int) -> int:
    if returned < 0:
        number = ctypes.get_errno()
        raise OSError(number, f"{what}: {os.strerror(number)}")
    return returned


if __name__ == "__main__":
    main(sys.argv[1:])
