"""TASKS.md and tasks/ on the disk: read, and replaced without ever losing what somebody writes at the same moment.

The new file changes places with the old one in one step of the kernel; then the old one, now under another name, is
compared with what was read. If somebody wrote into it, or has it open for writing, the two change back. A crash in
between leaves a second file that `read_leftover` finds. Comparing first and renaming then was tried: an editor that
saves in between loses. Knows nothing of what the files say.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import stat
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

from ostinato.domain.errors import Invalid
from ostinato.domain.values import Value, digest_of
from ostinato.workspace.file_text import Signature, read_text, signature
from ostinato.workspace.inbox import is_open_for_writing
from ostinato.workspace.tasks_file import TASKS_FILE

NEW = ".TASKS.md.new"
"""The file that is about to take the place, and for an instant the one that had it."""

PROJECTS = "tasks"
PROJECTS_MAX = 200
"""Files in tasks/; projects beyond are in TASKS.md and in the store."""

_OURS = b'{\n  "written_by": "ostinato"'
"""How the files in tasks/ begin. Others are somebody else's, and are not touched."""


class Read(Value):
    """A file as it was read."""

    text: str
    seen: Signature


def look(fleet: Path) -> Signature | None:
    """What tells whether the file has changed, without reading it; None where there is none."""
    try:
        return signature(os.lstat(fleet / TASKS_FILE))
    except FileNotFoundError:
        return None


def is_settled(fleet: Path, *, settle_s: float) -> bool:
    """True where nobody has touched the file for so long, nor has it open for writing."""
    with suppress(FileNotFoundError), _folder(fleet) as folder:
        state = os.stat(TASKS_FILE, dir_fd=folder, follow_symlinks=False)
        age_s = time.time() - state.st_ctime  # both are the kernel's; one in the future means a clock that was set back
        return not 0 <= age_s < settle_s and not is_open_for_writing(folder, TASKS_FILE)
    return True


def read_tasks(fleet: Path) -> Read | None:
    """The file; None where there is none. Raises Invalid for a link or a folder in its place, or over 1 MiB."""
    with _folder(fleet) as folder:
        return _read(folder, TASKS_FILE)


def read_leftover(fleet: Path) -> str | None:
    """What a crash left beside the file: either what was about to replace it, or what it had just replaced. Raises
    Invalid where that is no text: nothing is rendered as long as it lies there."""
    with _folder(fleet) as folder, _alone(folder) as alone:
        found = _read(folder, NEW) if alone else None
        return found.text if found else None


def drop_leftover(fleet: Path) -> None:
    """Call it once all that the leftover says is safe elsewhere."""
    with _folder(fleet) as folder, suppress(FileNotFoundError):
        os.unlink(NEW, dir_fd=folder)


def replace_tasks(fleet: Path, text: str, *, before: Read | None) -> Signature | None:
    """Puts `text` in the place of what was read, and tells by what it is known; None, and nothing changed, where that
    is not there any more, or somebody is writing it. Raises Invalid where the folder cannot be written."""
    try:
        with _folder(fleet) as folder, _alone(folder) as alone:
            return _replace(folder, text, before=before) if alone else None
    except OSError as error:
        cure = "Give the fleet's user the right to write there, or write file = false in [tasks] of ostinato.toml."
        raise Invalid(f"It cannot be written: {error.strerror}", place=TASKS_FILE, cure=cure) from None


def put_aside(fleet: Path, text: str) -> str:
    """Keeps a version that somebody has changed where it would be rendered anew; its path. Once for equal texts. Raises
    Invalid where tasks/ is no folder that can be written."""
    name = f"TASKS-as-you-left-it-{digest_of(text.encode())[:8]}.md"
    with _tidy(), _folder(fleet) as folder, _tasks_folder(folder) as inner, suppress(FileExistsError):
        _write(inner, name, text.encode(), mode=0o644)
        os.fsync(inner)
    return f"{PROJECTS}/{name}"


def write_projects(fleet: Path, files: Mapping[str, bytes]) -> None:
    """Makes tasks/ hold these files and no older ones of ours; one that is the same is not written. Raises Invalid
    where that cannot be done."""
    with _tidy(), _folder(fleet) as folder:
        if not files and not _is_folder(folder, PROJECTS):
            return
        with _tasks_folder(folder) as inner:
            for name, data in files.items():
                _write_project(inner, name, data)
            for name in sorted(os.listdir(inner))[: 10 * PROJECTS_MAX]:
                if name.endswith(".json") and name not in files and (_bytes(inner, name) or b"").startswith(_OURS):
                    os.unlink(name, dir_fd=inner)


def _replace(folder: int, text: str, *, before: Read | None) -> Signature | None:
    if _exists(folder, NEW):
        return None  # the next look reads what is in it
    data = text.encode()
    written = _write(folder, NEW, data, mode=_mode(folder) if before else 0o644)
    if before is None:
        return written if _give(folder) else None
    if not _is_untouched(folder, TASKS_FILE, before):
        os.unlink(NEW, dir_fd=folder)
        return None
    _swap(folder)
    if _is_untouched(folder, NEW, before):
        os.unlink(NEW, dir_fd=folder)
        os.fsync(folder)
        return written
    _swap(folder)
    if _bytes(folder, NEW) == data:  # else somebody was quick enough to write into ours: a leftover
        os.unlink(NEW, dir_fd=folder)
    return None


def _mode(folder: int) -> int:
    """The permissions that the file has now, which a person may have chosen."""
    with suppress(FileNotFoundError):
        return stat.S_IMODE(os.stat(TASKS_FILE, dir_fd=folder, follow_symlinks=False).st_mode)
    return 0o644


def _give(folder: int) -> bool:
    """A first file: under its name, unless somebody was faster."""
    try:
        os.link(NEW, TASKS_FILE, src_dir_fd=folder, dst_dir_fd=folder)
    except FileExistsError:
        return False
    finally:
        os.unlink(NEW, dir_fd=folder)
    os.fsync(folder)
    return True


def _is_untouched(folder: int, name: str, before: Read) -> bool:
    try:
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
        if is_open_for_writing(folder, name):
            return False
        # Not by its times alone: two saves within one tick of the kernel's clock have the same.
        found = _read(folder, name)
    except (OSError, Invalid):
        return False
    return found is not None and found.text == before.text and signature(state)[:2] == before.seen[:2]


def _read(folder: int, name: str) -> Read | None:
    try:
        state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return None
    if not stat.S_ISREG(state.st_mode):
        raise Invalid("This is no plain file", place=name, cure="Put a plain file there, or remove it.")
    found = read_text(folder, name, place=name)
    return Read(text=found[0].text, seen=found[1]) if found else None


def _write(folder: int, name: str, data: bytes, *, mode: int) -> Signature:
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    file = os.open(name, flags, mode, dir_fd=folder)
    try:
        rest = memoryview(data)
        while rest:
            rest = rest[os.write(file, rest) :]
        os.fsync(file)
        return signature(os.fstat(file))
    finally:
        os.close(file)


def _write_project(inner: int, name: str, data: bytes) -> None:
    """No sync: what is lost in a power cut is written again."""
    there = _bytes(inner, name)
    if there == data or (there is not None and not there.startswith(_OURS)):
        return
    temporary = f".{name}.new"
    with suppress(FileNotFoundError):
        os.unlink(temporary, dir_fd=inner)
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    with os.fdopen(os.open(temporary, flags, 0o644, dir_fd=inner), "wb") as stream:
        stream.write(data)
    os.rename(temporary, name, src_dir_fd=inner, dst_dir_fd=inner)


def _bytes(folder: int, name: str) -> bytes | None:
    """What a plain file holds; None where there is none, and something that is nobody's for anything else."""
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=folder)
    except FileNotFoundError:
        return None
    except OSError:
        return b""
    with os.fdopen(file, "rb") as stream:
        return stream.read() if stat.S_ISREG(os.fstat(file).st_mode) else b""


_RENAME_EXCHANGE = 2


def _swap(folder: int) -> None:
    """The two files change places in one step. Where the kernel or the file system cannot, the new one simply takes the
    place: there, a person who saves in that very instant loses."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is not None:
        if renameat2(folder, NEW.encode(), folder, TASKS_FILE.encode(), _RENAME_EXCHANGE) == 0:
            return
        number = ctypes.get_errno()
        if number not in (errno.ENOSYS, errno.EINVAL):
            raise OSError(number, os.strerror(number))
    os.link(TASKS_FILE, f"{NEW}.old", src_dir_fd=folder, dst_dir_fd=folder)
    os.rename(NEW, TASKS_FILE, src_dir_fd=folder, dst_dir_fd=folder)
    os.rename(f"{NEW}.old", NEW, src_dir_fd=folder, dst_dir_fd=folder)


def _exists(folder: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        os.stat(name, dir_fd=folder, follow_symlinks=False)
        return True
    return False


def _is_folder(folder: int, name: str) -> bool:
    with suppress(FileNotFoundError):
        return stat.S_ISDIR(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode)
    return False


@contextmanager
def _folder(fleet: Path) -> Iterator[int]:
    folder = os.open(fleet, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _alone(folder: int) -> Iterator[bool]:
    """True where no other node of this folder is at it; the lock goes with the descriptor."""
    try:
        fcntl.flock(folder, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        yield False
        return
    try:
        yield True
    finally:
        fcntl.flock(folder, fcntl.LOCK_UN)


@contextmanager
def _tidy() -> Iterator[None]:
    """A link, a file or a folder in the way, or no room, is somebody's to see to."""
    try:
        yield
    except OSError as error:
        cure = "Make it a folder that the fleet's user may write, or write file = false in [tasks] of ostinato.toml."
        raise Invalid(f"It cannot be written: {error.strerror}", place=f"{PROJECTS}/", cure=cure) from None


@contextmanager
def _tasks_folder(folder: int) -> Iterator[int]:
    with suppress(FileExistsError):
        os.mkdir(PROJECTS, 0o755, dir_fd=folder)
    inner = os.open(PROJECTS, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield inner
    finally:
        os.close(inner)
