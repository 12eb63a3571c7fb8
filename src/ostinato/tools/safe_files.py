"""The only module that opens paths which an agent names.

Everything is opened below one root descriptor, by `openat2` with the kernel's word that the path stays beneath it and
meets no link, or where there is none by a walk that follows no link. Only regular files with one name are read or
changed. A write goes to a temporary file in the same folder, is synced and renamed. Checking a path's `realpath` first
and opening it afterwards was tried and leaks under a race: what was checked is not what is opened.

Knows nothing of tools or agents: which paths are allowed is said by `FileRules`.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import os
import stat
import sys
import threading
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from ostinato.domain.errors import Conflict, Denied, Exhausted, Invalid, NotFound, OstinatoError
from ostinato.domain.file_rules import (
    OWN_PREFIX,
    FileRules,
    Parts,
    check_read,
    check_write,
    is_hidden,
    may_list,
    parts_of,
    shown,
)
from ostinato.domain.values import Instant, Value, digest_of

READ_BYTES_MAX = 8_388_608
"""Most that one read returns."""

FILE_BYTES_MAX = 33_554_432
"""Size beyond which a file does not grow by an append."""

LIST_MAX = 1_000
"""Entries of one listing."""

FOLDERS_MAX = 2_000
"""Folders that one listing or search visits."""

TRASH_MAX = 200
"""Deleted files that are kept in an agent's trash."""

MARKS_MAX = 16
"""Calls that a file remembers; far more than the parallel calls of one reply."""

DONE = -1
"""Offset of a call whose text has no place of its own any more: the file was rewritten since."""

_OPENAT2 = 437  # the same on every architecture since Linux 5.6
_RESOLVE = 0x08 | 0x04 | 0x02  # RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
_AGAIN_MAX = 64  # openat2 answers EAGAIN while something is being renamed
_FILE = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY  # a pipe or device must neither block nor act
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
_MARKS = "user.ostinato.calls"
_LOCKS = tuple(threading.Lock() for _ in range(64))

Opener = Callable[[int, Parts, int], int]
"""Opens names below a descriptor with flags; raises OSError."""


class FileEntry(Value):
    """One line of a listing. `kind`: file, folder, or other (links, pipes, devices)."""

    path: str
    kind: str
    size_bytes: int
    modified_at: Instant


class SafeFolder:
    """A folder whose contents an agent names. Use as a context manager; every method is synchronous.

    Raises Invalid, Denied, NotFound, Conflict and Exhausted with words for the model. `walk` does without openat2.
    """

    def __init__(self, root: Path, rules: FileRules, *, walk: bool = False) -> None:
        self._rules = rules
        self._open: Opener = open_by_walk if walk else (openat2_or_none() or open_by_walk)
        self._lock = _LOCKS[hash(str(root)) % len(_LOCKS)]
        try:
            self._root = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise NotFound(f"The folder of this agent cannot be opened: {error.strerror}") from error

    def __enter__(self) -> SafeFolder:
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._root)

    def settle(self) -> None:
        """The names in this folder survive a power cut from now on, whoever has made them."""
        os.fsync(self._root)

    def read(self, path: str, *, most: int = READ_BYTES_MAX) -> bytes:
        """The first `most` bytes of a file."""
        parts = parts_of(path)
        check_read(parts, self._rules)
        with _told(parts), self._file(parts, os.O_RDONLY) as descriptor:
            return _read_all(descriptor, most)

    def stat(self, path: str) -> FileEntry:
        """What is there; raises NotFound where nothing is."""
        parts = parts_of(path)
        if not may_list(parts, self._rules):
            check_read(parts, self._rules)
        with _told(parts):
            if not parts:
                return _entry(".", os.fstat(self._root))
            with self._folder(parts[:-1]) as parent:
                return _entry(shown(parts), os.stat(parts[-1], dir_fd=parent, follow_symlinks=False))

    def list(self, path: str = ".", *, recursive: bool = False, most: int = LIST_MAX) -> list[FileEntry]:
        """What a folder holds, by name; at most `most` entries, folders before what is in them."""
        parts = parts_of(path)
        if not may_list(parts, self._rules):
            check_read(parts, self._rules)
        found: list[FileEntry] = []
        with _told(parts):
            for entry in self._walk(parts, recursive=recursive):
                found.append(entry)
                if len(found) >= most:
                    break
        return found

    def write(self, path: str, data: bytes, *, key: str) -> None:
        """Replaces or makes a file. Missing folders are made."""
        parts = parts_of(path)
        check_write(parts, self._rules)
        with self._lock, _told(parts), self._folder(parts[:-1], make=True) as parent:
            before = _regular_or_none(parent, parts)
            marks: dict[str, int] = {}
            if before is not None:
                with self._file(parts, os.O_RDONLY, parent=parent) as descriptor:
                    marks = dict.fromkeys(_marks_of(descriptor), DONE)
            _replace(parent, parts[-1], data, before=before, marks=marks, key=key)

    def append(
        self, path: str, data: bytes, *, key: str, head: bytes = b"", line: bool = False, repeated: bool = False
    ) -> None:
        """Adds to the end of a file, in place so that other appenders lose nothing; a file that is missing is made, and
        begins with `head`. As a `line` it begins on a new one.

        The same `key` adds once: the file itself remembers the call. Where its file system cannot (no extended
        attributes), a call that is `repeated` adds nothing if the text is there already.
        """
        parts = parts_of(path)
        check_write(parts, self._rules)
        with self._lock, _told(parts), self._folder(parts[:-1], make=True) as parent:
            if _regular_or_none(parent, parts) is None:
                _make_empty(parent, parts[-1])
            with self._file(parts, os.O_RDWR | os.O_APPEND, parent=parent) as descriptor:
                size = os.fstat(descriptor).st_size
                if size == 0:
                    data = head + data
                elif line and os.pread(descriptor, 1, size - 1) != b"\n":
                    data = b"\n" + data
                _append(descriptor, data, key=key, repeated=repeated)

    def change(self, path: str, change: Callable[[bytes], bytes], *, key: str) -> bool:
        """Rewrites a file by a function of its contents. False: this key has changed it before, nothing was done."""
        parts = parts_of(path)
        check_read(parts, self._rules)
        check_write(parts, self._rules)
        with self._lock, _told(parts), self._folder(parts[:-1]) as parent:
            with self._file(parts, os.O_RDONLY, parent=parent) as descriptor:
                before = os.fstat(descriptor)
                marks = _marks_of(descriptor)
                if _mark(key) in marks:
                    return False
                data = _read_all(descriptor, READ_BYTES_MAX + 1)
            if len(data) > READ_BYTES_MAX:
                raise Exhausted(f"{shown(parts)} is larger than {READ_BYTES_MAX} bytes")
            _replace(
                parent,
                parts[-1],
                change(data),
                before=before,
                marks=dict.fromkeys([*marks, _mark(key)], DONE),
                key=key,
            )
            return True

    def delete(self, path: str, *, key: str) -> str:
        """Moves a file into the trash and returns its path there; the same `key` finds it there again."""
        parts = parts_of(path)
        check_write(parts, self._rules)
        name = _trash_name(key, parts)
        with self._lock, _told(parts), self._trash() as trash:
            if not _exists(trash, name):
                with self._folder(parts[:-1]) as parent:
                    if _regular_or_none(parent, parts) is None:
                        raise FileNotFoundError(errno.ENOENT, "not found")
                    os.rename(parts[-1], name, src_dir_fd=parent, dst_dir_fd=trash)
                    os.fsync(trash)
                    os.fsync(parent)
                _empty_trash(trash)
        return f"{OWN_PREFIX}/trash/{name}"

    def is_deleted(self, path: str, *, key: str) -> bool:
        """True where `delete` with this key has taken place."""
        with self._lock, self._trash() as trash:
            return _exists(trash, _trash_name(key, parts_of(path)))

    @contextlib.contextmanager
    def _folder(self, parts: Parts, *, make: bool = False) -> Iterator[int]:
        try:
            descriptor = self._open(self._root, parts, _FOLDER)
        except FileNotFoundError:
            if not make:
                raise
            descriptor = _make_folders(self._root, parts)
        try:
            yield descriptor
        finally:
            os.close(descriptor)

    @contextlib.contextmanager
    def _file(self, parts: Parts, flags: int, *, parent: int | None = None) -> Iterator[int]:
        """A regular file with one name, and nothing else; by its last name where its folder is open already."""
        if parent is None:
            descriptor = self._open(self._root, parts, flags | _FILE)
        else:
            descriptor = self._open(parent, parts[-1:], flags | _FILE)
        try:
            _check_regular(os.fstat(descriptor), parts)
            yield descriptor
        finally:
            os.close(descriptor)

    def _trash(self) -> contextlib.AbstractContextManager[int]:
        return self._folder((OWN_PREFIX, "trash"), make=True)

    def _walk(self, parts: Parts, *, recursive: bool) -> Iterator[FileEntry]:
        pending = [parts]
        for _ in range(FOLDERS_MAX):
            if not pending:
                return
            folder = pending.pop()
            try:
                with self._folder(folder) as descriptor:
                    entries = sorted(_entries(descriptor, folder), key=lambda each: each.path)
            except OSError:
                if folder == parts:
                    raise
                continue  # vanished, or became a link, since its parent was listed
            shown_entries = [each for each in entries if may_list(parts_of(each.path), self._rules)]
            yield from shown_entries
            if recursive:
                below = [parts_of(each.path) for each in shown_entries if each.kind == "folder"]
                pending.extend(reversed(below))


@cache
def openat2_or_none() -> Opener | None:
    """An opener by openat2, if this kernel (Linux 5.6 or later) and its filters offer it."""
    if not sys.platform.startswith("linux"):
        return None
    library = ctypes.CDLL(None, use_errno=True)

    def opener(root: int, parts: Parts, flags: int) -> int:
        how = (ctypes.c_uint64 * 3)(flags, 0, _RESOLVE)  # struct open_how: flags, mode, resolve
        path = shown(parts).encode()
        for _ in range(_AGAIN_MAX):
            found = int(library.syscall(_OPENAT2, root, path, how, ctypes.sizeof(how)))
            if found >= 0:
                return found
            number = ctypes.get_errno()
            if number not in (errno.EAGAIN, errno.EINTR):
                break
        raise OSError(number, os.strerror(number))

    try:
        root = os.open("/", _FOLDER)
        try:
            os.close(opener(root, (), _FOLDER))
        finally:
            os.close(root)
    except OSError:
        return None
    return opener


def make_root(root: Path) -> None:
    """Makes a folder, where it is missing, whose name survives a power cut: what is synced below it would not."""
    root.mkdir(parents=True, exist_ok=True)
    above = os.open(root.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(above)
    finally:
        os.close(above)


def open_by_walk(root: int, parts: Parts, flags: int) -> int:
    """Opens name after name, following no link. The same promise as openat2, with one system call per name."""
    here = os.open(".", _FOLDER, dir_fd=root)
    try:
        for name in parts[:-1]:
            below = os.open(name, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return os.open(parts[-1] if parts else ".", flags | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=here)
    finally:
        os.close(here)


def _make_folders(root: int, parts: Parts) -> int:
    """The folder, made name by name below descriptors that follow no link."""
    here = os.open(".", _FOLDER, dir_fd=root)
    try:
        for name in parts:
            try:
                os.mkdir(name, 0o777 if name != OWN_PREFIX else 0o700, dir_fd=here)
                made = True
            except FileExistsError:
                made = False
            above, here = here, os.open(name, _FOLDER, dir_fd=here)
            try:
                if made:
                    _give_to_owner(here, os.fstat(above))
                    os.fsync(above)
            finally:
                os.close(above)
    except BaseException:  # whatever it was: no descriptor stays open
        os.close(here)
        raise
    return here


def _give_to_owner(descriptor: int, folder: os.stat_result) -> None:
    """A runtime that runs as root leaves behind what the folder's owner can use."""
    if os.geteuid() == 0 and (folder.st_uid, folder.st_gid) != (0, 0):
        os.fchown(descriptor, folder.st_uid, folder.st_gid)


def _regular_or_none(parent: int, parts: Parts) -> os.stat_result | None:
    try:
        found = os.stat(parts[-1], dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None
    _check_regular(found, parts)
    return found


def _check_regular(found: os.stat_result, parts: Parts) -> None:
    if stat.S_ISDIR(found.st_mode):
        raise Conflict(f"{shown(parts)} is a folder")
    if not stat.S_ISREG(found.st_mode):
        raise Denied(f"{shown(parts)} is a link, pipe or device; only regular files are opened")
    if found.st_nlink != 1:
        raise Denied(f"{shown(parts)} has {found.st_nlink} names (hard links); only files with one are opened")


def _replace(  # one step of the write order each: make, fill, sync, rename, sync
    parent: int, name: str, data: bytes, *, before: os.stat_result | None, marks: dict[str, int], key: str
) -> None:
    temporary = f"{OWN_PREFIX}-{_mark(key)}.tmp"
    descriptor = _make_temporary(parent, temporary)
    try:
        try:
            if before is not None:
                os.fchmod(descriptor, stat.S_IMODE(before.st_mode) & 0o777)
            _give_to_owner(descriptor, os.fstat(parent))
            _write_all(descriptor, data)
            if marks:
                _remember(descriptor, marks)
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.replace(temporary, name, src_dir_fd=parent, dst_dir_fd=parent)
    except BaseException:  # whatever it was: no half of a file stays behind
        with contextlib.suppress(OSError):
            os.unlink(temporary, dir_fd=parent)
        raise
    os.fsync(parent)


def _make_temporary(parent: int, name: str) -> int:
    """A new file; one that a killed attempt of the same call left behind is removed."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        return os.open(name, flags, 0o666, dir_fd=parent)
    except FileExistsError:
        os.unlink(name, dir_fd=parent)
        return os.open(name, flags, 0o666, dir_fd=parent)


def _make_empty(parent: int, name: str) -> None:
    """A file of that name, unless somebody else has just made it."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        descriptor = os.open(name, flags, 0o666, dir_fd=parent)
    except FileExistsError:
        return
    try:
        _give_to_owner(descriptor, os.fstat(parent))
        os.fsync(parent)
    finally:
        os.close(descriptor)


def _append(descriptor: int, data: bytes, *, key: str, repeated: bool) -> None:
    size = os.fstat(descriptor).st_size
    if size + len(data) > FILE_BYTES_MAX:
        raise Exhausted(f"The file would grow beyond {FILE_BYTES_MAX} bytes", cure="Begin a new one.")
    marks = _marks_of(descriptor)
    start = marks.get(_mark(key))
    if start is not None:
        data = _rest_of(descriptor, data, start=start, size=size)
    else:
        if _remember(descriptor, marks | {_mark(key): size}):
            os.fsync(descriptor)  # a power cut may keep the text and lose the mark, and it would be added twice
        elif repeated and data in os.pread(descriptor, size, 0):
            data = b""
    if not data:
        return
    try:
        _write_all(descriptor, data)
        os.fsync(descriptor)
    except OSError:
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, size)  # half a line is worse than none
        raise


def _rest_of(descriptor: int, data: bytes, *, start: int, size: int) -> bytes:
    """What is missing of an append that began at `start`: nothing, the end of it, or all."""
    if start == DONE:
        return b""
    there = os.pread(descriptor, len(data), start)
    if there == data:
        return b""
    if data.startswith(there) and start + len(there) == size:
        return data[len(there) :]
    if start + len(there) == size and all(byte in (0, wanted) for byte, wanted in zip(there, data, strict=False)):
        os.ftruncate(descriptor, start)  # a power cut left holes in it
        return data
    return b"" if data in os.pread(descriptor, size, 0) else data  # others wrote in between


def _mark(key: str) -> str:
    return digest_of(key.encode())[:16]


def _marks_of(descriptor: int) -> dict[str, int]:
    """Calls that the file remembers, with the offset of what each appended; empty where it cannot remember."""
    try:
        text = os.getxattr(descriptor, _MARKS).decode()
        return {name: int(offset) for name, _, offset in (each.partition(":") for each in text.split())}
    except (OSError, AttributeError, ValueError):
        return {}


def _remember(descriptor: int, marks: dict[str, int]) -> bool:
    kept = list(marks.items())[-MARKS_MAX:]
    try:
        os.setxattr(descriptor, _MARKS, " ".join(f"{name}:{offset}" for name, offset in kept).encode())
    except (OSError, AttributeError):
        return False
    return True


def _trash_name(key: str, parts: Parts) -> str:
    name = parts[-1] if parts else ""
    return f"{_mark(key)}-{name.encode()[-200:].decode(errors='ignore')}"


def _exists(folder: int, name: str) -> bool:
    try:
        os.stat(name, dir_fd=folder, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return True


def _empty_trash(trash: int) -> None:
    """Keeps the newest; the time of change is that of the move."""
    names = os.listdir(trash)
    if len(names) <= TRASH_MAX:
        return
    moved = sorted(names, key=lambda name: os.stat(name, dir_fd=trash, follow_symlinks=False).st_ctime_ns)
    for name in moved[:-TRASH_MAX]:
        os.unlink(name, dir_fd=trash)


def _entries(descriptor: int, folder: Parts) -> Iterator[FileEntry]:
    """Names that are paths, and what they are; others cannot be asked for and are left out."""
    with os.scandir(descriptor) as found:
        for each in found:
            try:
                parts = (*folder, *parts_of(each.name))
                if not is_hidden(parts):
                    yield _entry(shown(parts), each.stat(follow_symlinks=False))
            except (Invalid, FileNotFoundError):
                continue


def _entry(path: str, found: os.stat_result) -> FileEntry:
    kind = "folder" if stat.S_ISDIR(found.st_mode) else "file" if stat.S_ISREG(found.st_mode) else "other"
    return FileEntry(path=path, kind=kind, size_bytes=found.st_size, modified_at=found.st_mtime_ns // 1_000)


def _read_all(descriptor: int, most: int) -> bytes:
    pieces = []
    while most > 0 and (piece := os.read(descriptor, min(most, 1_048_576))):
        pieces.append(piece)
        most -= len(piece)
    return b"".join(pieces)


def _write_all(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


@contextlib.contextmanager
def _told(parts: Parts) -> Iterator[None]:
    """Turns the kernel's refusals into words."""
    try:
        yield
    except OSError as error:
        raise _error_of(error.errno or 0, parts) from error


def _error_of(number: int, parts: Parts) -> OstinatoError:
    path = shown(parts)
    match number:
        case errno.ENOENT:
            return NotFound(f"{path} does not exist", cure="files.list shows what there is.")
        case errno.ELOOP | errno.EXDEV:
            return Denied(f"{path} leads through a link or out of your folder")
        case errno.ENOTDIR:
            return Conflict(f"{path} leads through something that is no folder")
        case errno.EISDIR | errno.ENOTEMPTY | errno.EEXIST:
            return Conflict(f"{path} is a folder")
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return Denied(f"{path}: the system does not permit it ({os.strerror(number)})")
        case errno.ENOSPC | errno.EDQUOT | errno.EFBIG:
            return Exhausted(f"{path}: no room on the disk")
        case errno.ENAMETOOLONG | errno.EINVAL | errno.EILSEQ:
            return Invalid(f"{path} is no name that this disk can hold")
        case errno.ENXIO | errno.ENODEV:
            return Denied(f"{path} is a pipe or device; only regular files are opened")
        case _:
            return Exhausted(f"{path}: {os.strerror(number)}")
