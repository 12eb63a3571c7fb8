"""What of a workspace no command may change: who the agent is, what it may do, and what would run when a person next
uses Git, an editor or a coding agent in that folder.

`prepare` finds it, makes what is missing (what is not there could otherwise be created), and remembers how it is;
`Watch.changed` says afterwards what is different. Names are fixed and opened below the workspace without following a
link. Knows nothing of mounts.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from ostinato.domain.errors import Denied
from ostinato.domain.file_rules import AUTORUN
from ostinato.domain.values import Value
from ostinato.tools.sandbox.room import Guard

FILES = {
    **dict.fromkeys(("SOUL.md", "AGENTS.md", "HEARTBEAT.md", "TOOLS.md", "USER.md", "IDENTITY.md", ".env"), b""),
    ".mcp.json": b"{}\n",
}
"""Name -> what one that is missing begins with: as good as none to whoever reads it."""

FOLDERS = ("heartbeats",)
GIT = ".git"
GIT_FILES, GIT_FOLDERS = ("config",), ("hooks",)

GIT_UNWANTED = ("commondir", "config.worktree", "modules")
"""Names below `.git` that lead Git to other settings and hooks than the protected ones. Where they are there they are
protected; where a command makes one, it is moved aside afterwards. None can be made first: an empty one leads astray.
"""

UNWANTED = ("ostinato.toml",)
"""Names that would turn the workspace into something else: a fleet."""

NEVER = ("commondir",)
"""Of these Git itself never makes one in a repository: like `UNWANTED`, one that is there was left by a command that
died with its node."""

WORKTREES = "worktrees"
"""Where an agent's worktrees lie in its folder, and Git's notes of them below `.git`."""

_ENTRIES_MAX = 256
_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW


def is_protected(path: str) -> bool:
    """True for what no command can change, by its path in the workspace: the runtime's own hand has made it."""
    folders = (*(f"{each}/" for each in FOLDERS), *(f"{GIT}/{each}/" for each in GIT_FOLDERS))
    names = (*FILES, f"{GIT}/", *(f"{GIT}/{each}" for each in GIT_FILES))
    return path in names or path.startswith(folders)


class Mark(Value):
    """A file or folder as it was; two are equal only where nothing has been written."""

    device: int
    inode: int
    mode: int
    size_bytes: int
    modified_ns: int
    changed_ns: int


class Watch(Value):
    """What is protected in one workspace, and how it was when a command began."""

    workspace: Path
    guard: Guard
    marks: dict[str, Mark]
    """Path relative to the workspace -> how it was."""
    granted: frozenset[str] = frozenset()
    """Of `AUTORUN`, what may be made and changed."""

    def changed(self) -> tuple[str, ...]:
        """Names of what is no longer as it was: a person has changed it meanwhile, or a command got through."""
        return tuple(name for name, mark in self.marks.items() if _mark_or_none(self.workspace / name) != mark)

    def is_broken(self) -> bool:
        """True where a protected name stands for another file than before: whatever is mounted on the old one has gone
        with it."""
        found = ((_mark_or_none(path), self.marks[str(path.relative_to(self.workspace))]) for path in self.guard.sealed)
        return any(now is None or (now.device, now.inode) != (then.device, then.inode) for now, then in found)

    def put_aside(self) -> tuple[str, ...]:
        """Moves what a command has made that would lead people's tools astray; returns the names."""
        moved = []
        with _opened(self.workspace) as root:
            unwanted = (*UNWANTED, *sorted(AUTORUN - self.granted - self.marks.keys()))
            moved += [name for name in unwanted if _put_aside(root, name)]
            with contextlib.suppress(OSError, Denied), _below(root, GIT) as git:
                for name in GIT_UNWANTED:
                    if f"{GIT}/{name}" not in self.marks and _put_aside(git, name):
                        moved.append(f"{GIT}/{name}")
        return tuple(moved)


def prepare(workspace: Path, *, granted: frozenset[str] = frozenset()) -> Watch:
    """Makes what is missing and remembers what is there. Of `AUTORUN` nothing is made: what is there is protected but
    for what is `granted`, and what a command makes is moved aside afterwards.

    Raises Denied where something protected is a link or of another kind, for then nothing could hold it.
    """
    sealed: list[Path] = []
    folders: list[Path] = []
    with _opened(workspace) as root:
        owner = os.fstat(root)
        for name, content in FILES.items():
            _ensure(root, name, content=content, owner=owner)
            sealed.append(workspace / name)
        for name in FOLDERS:
            _ensure(root, name, content=None, owner=owner)
            sealed.append(workspace / name)
        for name in UNWANTED:
            _put_aside(root, name)
        for name in sorted(AUTORUN - granted):
            if (found := _stat_or_none(root, name)) is not None:
                _check_plain(found, name)
                sealed.append(workspace / name)
        inside = _prepare_git(root, workspace, owner=owner)
        if inside is None:
            sealed.append(workspace / GIT)
        else:
            folders.append(workspace / GIT)
            sealed += inside
    marks = {str(path.relative_to(workspace)): _mark(path) for each in sealed for path in (each, *_entries(each))}
    pointers = {str(path.relative_to(workspace)): _mark_or_none(path) for path in _pointers(workspace)}
    marks |= {name: mark for name, mark in pointers.items() if mark is not None}
    return Watch(
        workspace=workspace, guard=Guard(folders=tuple(folders), sealed=tuple(sealed)), marks=marks, granted=granted
    )


def _pointers(workspace: Path) -> Iterator[Path]:
    """What says where the repository of a worktree is, and where that has its settings. They lie where programs work,
    and are not sealed: that one was changed is told, before a person uses Git there."""
    for folder, name in ((workspace / WORKTREES, GIT), (workspace / GIT / WORKTREES, "commondir")):
        for each in _entries(folder):
            yield each / name


def _prepare_git(root: int, workspace: Path, *, owner: os.stat_result) -> list[Path] | None:
    """What is sealed below `.git`; None where there is no repository, and the whole of it is."""
    found = _stat_or_none(root, GIT)
    if found is not None and stat.S_ISREG(found.st_mode):
        _check_plain(found, GIT)
        return None  # a worktree: the file says where the repository is, and that is not in this room
    _ensure(root, GIT, content=None, owner=owner)
    with _below(root, GIT) as git:
        if not _exists(git, "HEAD"):
            return None
        for name in NEVER:
            _put_aside(git, name)
        for name in GIT_FILES:
            _ensure(git, name, content=b"", owner=owner)
        for name in GIT_FOLDERS:
            _ensure(git, name, content=None, owner=owner)
        names = (*GIT_FILES, *GIT_FOLDERS, *(each for each in GIT_UNWANTED if _exists(git, each)))
        for name in names:
            _check_plain(os.stat(name, dir_fd=git, follow_symlinks=False), f"{GIT}/{name}")
        return [workspace / GIT / name for name in names]


def _ensure(parent: int, name: str, *, content: bytes | None, owner: os.stat_result) -> None:
    """Makes one where none is; `content` None: a folder."""
    found = _stat_or_none(parent, name)
    if found is None:
        _make(parent, name, content=content, owner=owner)
        return
    _check_plain(found, name)
    if stat.S_ISDIR(found.st_mode) is not (content is None):
        kind = "folder" if content is not None else "file"
        raise Denied(f"{name} is a {kind}", cure="Remove it: it cannot be protected so.")


def _make(parent: int, name: str, *, content: bytes | None, owner: os.stat_result) -> None:
    with contextlib.suppress(FileExistsError):  # another command of the same agent was first
        if content is None:
            os.mkdir(name, 0o755, dir_fd=parent)
        else:
            descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644, dir_fd=parent)
            os.write(descriptor, content)
            os.close(descriptor)
    if os.geteuid() == 0:
        os.chown(name, owner.st_uid, owner.st_gid, dir_fd=parent, follow_symlinks=False)


def _put_aside(parent: int, name: str) -> bool:
    if not _exists(parent, name):
        return False
    os.rename(name, _free_name(parent, f"{name}.refused"), src_dir_fd=parent, dst_dir_fd=parent)
    return True


def _entries(path: Path) -> list[Path]:
    """What lies in a protected folder: a hook, a heartbeat."""
    return sorted(path.iterdir())[:_ENTRIES_MAX] if path.is_dir() else []


def _check_plain(found: os.stat_result, name: str) -> None:
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        kind = "link" if stat.S_ISLNK(found.st_mode) else "pipe or device"
        raise Denied(f"{name} is a {kind}, which cannot be protected", cure="Put the file itself in its place.")
    if stat.S_ISREG(found.st_mode) and found.st_nlink != 1:
        raise Denied(f"{name} has {found.st_nlink} names (hard links), so that it cannot be protected", cure="Copy it.")


@contextlib.contextmanager
def _opened(folder: Path) -> Iterator[int]:
    descriptor = os.open(folder, _FOLDER & ~os.O_NOFOLLOW)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _below(parent: int, name: str) -> Iterator[int]:
    try:
        descriptor = os.open(name, _FOLDER, dir_fd=parent)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise Denied(f"{name} is a link, which cannot be protected", cure="Put the folder in its place.") from error
        raise
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def _stat_or_none(parent: int, name: str) -> os.stat_result | None:
    try:
        return os.stat(name, dir_fd=parent, follow_symlinks=False)
    except FileNotFoundError:
        return None


def _exists(parent: int, name: str) -> bool:
    return _stat_or_none(parent, name) is not None


def _free_name(parent: int, name: str) -> str:
    number = 1
    while _exists(parent, f"{name}-{number}"):
        number += 1
    return f"{name}-{number}"


def _mark_or_none(path: Path) -> Mark | None:
    try:
        return _mark(path)
    except OSError:
        return None


def _mark(path: Path) -> Mark:
    found = os.stat(path, follow_symlinks=False)
    return Mark(
        device=found.st_dev,
        inode=found.st_ino,
        mode=found.st_mode,
        size_bytes=found.st_size,
        modified_ns=found.st_mtime_ns,
        changed_ns=found.st_ctime_ns,
    )
