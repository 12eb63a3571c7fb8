"""The inbox folders of a fleet: which files are there whole, what they say, and how they leave once they are taken.

A file is taken in three steps: read it, commit what it says under its key, move it away. A crash between the last two
finds the file again, and the key says that it was taken. Knows nothing of stores: the commit is the caller's.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import signal
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path

from ostinato.domain.errors import Invalid, OstinatoError
from ostinato.domain.instant import format_instant
from ostinato.domain.values import SECOND, Instant, Value, digest_of, to_json
from ostinato.workspace.inbox_item import InboxItem, ItemSource, parse_items
from ostinato.workspace.inbox_table import SETTLE_S

INBOX = "inbox"
TAKEN, REFUSED = "taken", "refused"
"""Folders within an inbox, for what has left it."""

FILE_BYTES_MAX = 26_214_400
"""25 MiB, what mail servers let pass; larger files are refused."""

EMPTY_S = 60.0
"""An empty file is most often one that somebody is about to fill."""

LOOK_MAX = 500
"""Files of one look; more wait for the next."""

UNFINISHED = re.compile(r"\..*|.*~|#.*#|.*\.(?:part|partial|tmp|temp|crdownload|download|swp|swx|lock)", re.IGNORECASE)
"""Names of files that somebody is still writing."""


class InboxFile(Value):
    """A file in an inbox, as it was when somebody looked. `file` is its path from the fleet's folder."""

    file: str
    name: str
    agent: str | None
    """Whose inbox; None: the fleet's."""
    inode: int
    size_bytes: int
    changed_ns: int
    """Time of the last change of its contents."""
    placed_ns: int = 0
    """When it was put there, or touched last, by the kernel's own clock, which nobody can set back."""

    @property
    def shown(self) -> str:
        """Its name without what a screen cannot show."""
        return readable_name(self.name)


class Look(Value):
    """What lies in an inbox; folders in it are nobody's business."""

    ready: tuple[InboxFile, ...] = ()
    """Whole files, oldest first."""
    waiting: int = 0
    """Files that are still being written, or were until just now."""


def inbox_folder(fleet: Path, agent: str | None) -> Path:
    """The inbox of the fleet, or of an agent."""
    return fleet / INBOX if agent is None else fleet / "agents" / agent / INBOX


def holds_anything(fleet: Path, agent: str | None) -> bool:
    """Whether there is anything in an inbox but folders, such as those of what was taken: costs a tenth of `look` in a
    thread, and nearly always the answer is no."""
    try:
        with os.scandir(inbox_folder(fleet, agent)) as found:
            return any(not each.is_dir(follow_symlinks=False) for each in found)
    except OSError:
        return False


def look(fleet: Path, agent: str | None, *, settle_s: float = SETTLE_S, most: int = LOOK_MAX) -> Look:
    """What lies in an inbox now. A file is ready when nothing has changed it for `settle_s` seconds and no process has
    it open for writing. Reads no contents. Raises nothing: an inbox that is not there is empty."""
    ready: list[tuple[int, InboxFile]] = []
    waiting = 0
    with suppress(OSError), _inbox(fleet, agent) as folder:
        now_ns = time.time_ns()  # compared with times that the kernel gave, so it cannot be an injected clock
        for name in sorted(os.listdir(folder)):
            with suppress(FileNotFoundError):
                state = os.stat(name, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISDIR(state.st_mode):
                    continue
                if not _is_whole(folder, name, now_ns - round(settle_s * 1e9)):
                    waiting += 1
                else:
                    ready.append((state.st_ctime_ns, _found(name, agent, state)))
    ready.sort(key=lambda each: (each[0], each[1].name))
    return Look(ready=tuple(each for _, each in ready[:most]), waiting=waiting)


def read_items(fleet: Path, file: InboxFile, *, timezone: str) -> tuple[InboxItem, ...]:
    """What a ready file says; nothing where it has gone or changed since the look, so that the next look decides.

    Raises Invalid for a file that can never be taken: `refuse` it.
    """
    data = _read(fleet, file)
    if data is None:
        return ()
    source = ItemSource(
        name=file.shown, file=readable_name(file.file), key=key_of(file, data), agent=file.agent, timezone=timezone
    )
    return parse_items(data, source)


def key_of(file: InboxFile, data: bytes) -> str:
    """The idempotency key of what a file says. The device is no part of it: its number may change with a reboot."""
    return f"file:{digest_of(to_json([readable_name(file.file), file.inode, file.changed_ns, digest_of(data)]))}"


def put_away(fleet: Path, file: InboxFile, *, at: Instant) -> str | None:
    """Moves a file that was taken to `taken/` beside it; its new name, or None where it has gone or changed since.

    Call it once what the file says is committed. Raises Invalid where the folder cannot be written.
    """
    return _move(fleet, file, into=TAKEN, at=at)


def refuse(fleet: Path, file: InboxFile, error: OstinatoError, *, at: Instant) -> str | None:
    """Moves a malformed file to `refused/` beside it, with a note that says why; its new name, or None where it has
    gone or changed since. Raises Invalid where the folder cannot be written."""
    moved = _move(fleet, file, into=REFUSED, at=at)
    if moved is not None:
        why = f"{format_instant(at)} {file.shown} was not taken.\n\n{error}\n\nCorrect it and drop it again.\n"
        # The file itself is safe; the note only explains.
        with suppress(OSError), _inbox(fleet, file.agent) as folder, _below(folder, REFUSED) as inner:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            note = os.open(f"{moved}.why.txt", flags, 0o644, dir_fd=inner)
            with os.fdopen(note, "w", encoding="utf-8", errors="replace") as stream:
                stream.write(why)
    return moved


def prune(fleet: Path, agent: str | None, *, keep_s: float, most: int = LOOK_MAX) -> int:
    """Deletes files in `taken/` that were taken more than `keep_s` seconds ago, and what a death left half moved there;
    at most `most`; returns how many."""
    count = 0
    with suppress(OSError), _inbox(fleet, agent) as outer, _below(outer, TAKEN) as folder:
        oldest_ns = time.time_ns() - round(keep_s * 1e9)  # compared with times that the kernel gave
        for name in os.listdir(folder):
            if count >= most:
                break
            state = os.stat(name, dir_fd=folder, follow_symlinks=False)
            # An empty file was never taken: its name was made for one that a death kept from being moved there.
            if stat.S_ISREG(state.st_mode) and (state.st_ctime_ns < oldest_ns or not state.st_size):
                os.unlink(name, dir_fd=folder)
                count += 1
    return count


def readable_name(name: str) -> str:
    """A file's name as text: without control characters, or bytes that are no UTF-8."""
    text = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    return "".join(each if each.isprintable() else "\N{REPLACEMENT CHARACTER}" for each in text)


def _found(name: str, agent: str | None, state: os.stat_result) -> InboxFile:
    folder = INBOX if agent is None else f"agents/{agent}/{INBOX}"
    return InboxFile(
        file=f"{folder}/{name}",
        name=name,
        agent=agent,
        inode=state.st_ino,
        size_bytes=state.st_size,
        changed_ns=state.st_mtime_ns,
        placed_ns=state.st_ctime_ns,
    )


def _is_whole(folder: int, name: str, settled_ns: int) -> bool:
    """True where nothing has changed the file since `settled_ns` and nobody is about to.

    By the time of the last change of anything, which no program can set. One far in the future means that the clock was
    set back, and says nothing.
    """
    if UNFINISHED.fullmatch(name):
        return False
    state = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if not stat.S_ISREG(state.st_mode):
        return True  # never to be taken; reading it will say why
    if state.st_size == 0:
        settled_ns -= round(EMPTY_S * 1e9)
    is_settled = state.st_ctime_ns <= settled_ns or state.st_ctime_ns > settled_ns + 600_000_000_000
    return is_settled and not is_open_for_writing(folder, name)


def is_open_for_writing(folder: int, name: str) -> bool:
    """True where some process has the file open for writing, as far as the kernel tells: it grants no read lease then.

    False where it cannot tell (another's file, another kind of system): then the settle time alone decides.
    """
    if not hasattr(fcntl, "F_SETLEASE"):
        return False
    try:
        file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY, dir_fd=folder)
    except OSError:
        return False  # reading it will say what is wrong
    try:
        # Whoever opens the file in this instant breaks the lease, and the kernel tells us so by a signal: one that is
        # ignored, rather than SIGIO, which would end the process.
        fcntl.fcntl(file, fcntl.F_SETSIG, signal.SIGURG)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_RDLCK)
        fcntl.fcntl(file, fcntl.F_SETLEASE, fcntl.F_UNLCK)
    except OSError as error:
        return error.errno == errno.EAGAIN
    finally:
        os.close(file)
    return False


def _read(fleet: Path, file: InboxFile) -> bytes | None:
    cure = "Drop a plain file there."
    try:
        with _inbox(fleet, file.agent) as folder:
            flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY
            opened = os.open(file.name, flags, dir_fd=folder)
            with os.fdopen(opened, "rb") as stream:
                state = os.fstat(opened)
                if not stat.S_ISREG(state.st_mode):
                    raise Invalid("This is no file, but a device, pipe or socket", place=file.shown, cure=cure)
                if state.st_size > FILE_BYTES_MAX:
                    cure = f"At most {FILE_BYTES_MAX} bytes; put it elsewhere and name the place."
                    raise Invalid(f"{state.st_size} bytes are too many", place=file.shown, cure=cure)
                data = stream.read(state.st_size + 1)
                after = os.fstat(opened)
    except FileNotFoundError:
        return None
    except OSError as error:
        what = "This is a link" if error.errno == errno.ELOOP else f"It cannot be read: {error.strerror}"
        raise Invalid(what, place=file.shown, cure=cure) from None
    if not (_is_same(file, state) and _is_same(file, after)):
        return None
    if not data:
        raise Invalid("The file is empty", place=file.shown, cure="Write something into it.")
    return data


def _is_same(file: InboxFile, state: os.stat_result) -> bool:
    return (file.inode, file.size_bytes, file.changed_ns) == (state.st_ino, state.st_size, state.st_mtime_ns)


_NAME_BYTES_MAX = 180
"""File systems allow 255; the rest is for the time, a number and `.why.txt`."""


def _move(fleet: Path, file: InboxFile, *, into: str, at: Instant) -> str | None:
    """Renames onto an empty file that was made for it, so that nothing is ever overwritten."""
    day = datetime.fromtimestamp(at // SECOND, tz=UTC)
    stem = readable_name(file.name).lstrip(".").encode()[-_NAME_BYTES_MAX:].decode(errors="ignore") or "file"
    try:
        with _inbox(fleet, file.agent) as folder:
            if not _is_same(file, os.stat(file.name, dir_fd=folder, follow_symlinks=False)):
                return None
            with suppress(FileExistsError):
                os.mkdir(into, dir_fd=folder)
            with _below(folder, into) as inner:
                name = _reserve(inner, f"{day:%Y%m%dT%H%M%S}-{stem}")
                try:
                    os.rename(file.name, name, src_dir_fd=folder, dst_dir_fd=inner)
                except OSError:
                    os.unlink(name, dir_fd=inner)
                    raise
                if _is_same(file, os.stat(name, dir_fd=inner, follow_symlinks=False)):
                    return name
                # Another file took its place in between: it has not been taken, and goes back.
                os.rename(name, _reserve(folder, file.shown), src_dir_fd=inner, dst_dir_fd=folder)
                return None
    except FileNotFoundError:
        return None
    except OSError as error:
        cure = "Give the fleet's user the right to write there."
        raise Invalid(f"It cannot be moved to {into}/: {error.strerror}", place=file.shown, cure=cure) from None


def _reserve(folder: int, wanted: str) -> str:
    """A name that nobody has, as an empty file."""
    head, dot, suffix = wanted.rpartition(".")
    for number in range(1, 10_000):
        name = wanted if number == 1 else f"{head}-{number}.{suffix}" if dot else f"{wanted}-{number}"
        with suppress(FileExistsError):
            os.close(os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder))
            return name
    raise OSError(errno.EEXIST, "there are ten thousand files of that name")


@contextmanager
def _inbox(fleet: Path, agent: str | None) -> Iterator[int]:
    """The open inbox. The fleet's may be a link, which an operator made; an agent's may not."""
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (os.O_NOFOLLOW if agent is not None else 0)
    folder = os.open(inbox_folder(fleet, agent), flags)
    try:
        yield folder
    finally:
        os.close(folder)


@contextmanager
def _below(folder: int, name: str) -> Iterator[int]:
    inner = os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        yield inner
    finally:
        os.close(inner)
