"""Which file a command's name stands for, and the digest of what that file is: so that what a person allows is what
runs.

Programs come from the machine's folders and from declared ones, never from the workspace. Knows nothing of approvals.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import pwd
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from ostinato.domain.errors import Denied, NotFound
from ostinato.domain.values import Value
from ostinato.tools.sandbox.room import SEARCH

_KNOWN_MAX = 512
_HEAD_BYTES = 256  # BINPRM_BUF_SIZE: as much of `#!` as the kernel reads
_CLOSED = ("/", "/proc", "/sys", "/dev", "/run", "/var/run", "/boot", "/root", "/home", "/etc", "/var", "/tmp")


class Program(Value):
    """A program as found. `path` is what is run; `file` is where links lead from there."""

    path: str
    file: str
    sha256: str
    interpreter: str = ""
    """For a script: the program that its first line names."""
    interpreter_sha256: str = ""

    @property
    def identity(self) -> dict[str, str]:
        """What an approval is bound to."""
        found = {"program": self.path, "file": self.file, "sha256": self.sha256}
        if self.interpreter:
            found |= {"interpreter": self.interpreter, "interpreter_sha256": self.interpreter_sha256}
        return found


_known: dict[tuple[str, int, int, int, int, int], str] = {}


def find_program(name: str, folders: Sequence[Path] = ()) -> Program:
    """The program of that name: in declared folders and their `bin` first, then in the machine's own.

    Raises NotFound where there is none.
    """
    declared = [str(each / below) for each in folders for below in ("bin", "")]
    for folder in (*declared, *SEARCH):
        path = os.path.join(folder, name)
        try:
            found = os.stat(path)
        except OSError:
            continue
        if stat.S_ISREG(found.st_mode) and found.st_mode & 0o111:
            return _program(path)
    places = ", ".join((*(str(each) for each in folders), *SEARCH))
    raise NotFound(
        f"There is no program {name!r} in {places}", cure="Install it there, or name its folder: exec.paths."
    )


def check_folders(folders: Sequence[Path], *, fleet: Path) -> None:
    """Raises Denied for a folder that a command may not be shown: of the fleet, of people, of the machine's state."""
    for each in folders:
        real = Path(os.path.realpath(each))
        if str(real) in _CLOSED or real.is_relative_to("/proc") or real.is_relative_to("/sys"):
            raise Denied(f"{each} holds more than programs", cure="Name the one folder that the command needs.")
        if real.is_relative_to(fleet) or fleet.is_relative_to(real):
            raise Denied(f"{each} holds the fleet, or is part of it", cure="Keep programs outside of the fleet.")
        if any(kept.is_relative_to(real) or real.is_relative_to(kept) for kept in _kept_apart(fleet)):
            raise Denied(f"{each} holds what people keep for themselves", cure="Name the one folder of programs in it.")
        if not real.is_dir():
            raise NotFound(f"{each} is no folder", cure="Correct exec.paths in TOOLS.md.")


def _kept_apart(fleet: Path) -> Iterator[Path]:
    """The tokens and keys of the fleet's owner, and of whoever runs the node: with them a command could decide what it
    has asked for."""
    homes = [os.environ.get("HOME", "")]
    with contextlib.suppress(KeyError, OSError):
        homes.append(pwd.getpwuid(fleet.stat().st_uid).pw_dir)
    places = [f"{home}/{each}" for home in homes if home for each in (".config/ostinato", ".ssh", ".gnupg")]
    if named := os.environ.get("XDG_CONFIG_HOME", ""):
        places.append(f"{named}/ostinato")
    yield from (Path(os.path.realpath(each)) for each in places)


def _program(path: str) -> Program:
    file = os.path.realpath(path)
    digest = digest_of_file(file)
    interpreter = _interpreter(file)
    if not interpreter:
        return Program(path=path, file=file, sha256=digest)
    try:
        return Program(
            path=path,
            file=file,
            sha256=digest,
            interpreter=interpreter,
            interpreter_sha256=digest_of_file(os.path.realpath(interpreter)),
        )
    except OSError as error:
        raise NotFound(f"{path} wants {interpreter}, which is not there") from error


def named_file(word: str, *, workspace: Path, folder: Path) -> str | None:
    """The file of a workspace that a word names from a folder, by its true path there, wherever links lead; None where
    it names none."""
    try:
        real = Path(os.path.realpath(folder / word))
        found = real.stat()
    except (OSError, ValueError):
        return None
    base = Path(os.path.realpath(workspace))
    return str(real.relative_to(base)) if stat.S_ISREG(found.st_mode) and real.is_relative_to(base) else None


def digest_of_file(path: str) -> str:
    """SHA-256 of a file, computed once for as long as it stays as it is."""
    with open(path, "rb") as file:
        found = os.fstat(file.fileno())
        key = (path, found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)
        if key not in _known:
            if len(_known) >= _KNOWN_MAX:
                _known.clear()
            _known[key] = hashlib.file_digest(file, "sha256").hexdigest()
        return _known[key]


def _interpreter(file: str) -> str:
    """The program that a script's first line names; for `#!/usr/bin/env NAME`, NAME as it would be found."""
    with open(file, "rb") as opened:
        head = opened.read(_HEAD_BYTES)
    if not head.startswith(b"#!"):
        return ""
    words = head[2:].split(b"\n", 1)[0].decode(errors="replace").split()
    if not words:
        return ""
    if words[0] == "/usr/bin/env" and len(words) == 2:
        return next((p for folder in SEARCH if os.access(p := os.path.join(folder, words[1]), os.X_OK)), words[0])
    return words[0]
