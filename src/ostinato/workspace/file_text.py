"""One text file of a workspace, read safely: regular files only, no way out of the folder, any encoding people use.

Knows nothing of front matter or of what a file is for. Agents can write in these folders, so that a name may turn into
a link, a pipe or a device between two reads; nothing is opened that was not looked at through its own descriptor.
"""

from __future__ import annotations

import codecs
import errno
import os
import stat

from ostinato.domain.errors import Invalid
from ostinato.domain.values import Value, digest_of

FILE_BYTES_MAX = 1_048_576
"""Five times the largest file that is worth showing to a model."""

Signature = tuple[int, int, int, int]
"""Device, inode, size and time of change in nanoseconds: equal for equal contents, as far as a file system tells."""


class Finding(Value):
    """Something about a file that works, but not as its author may think. `place` is file, or file and line."""

    code: str
    place: str
    message: str
    cure: str = ""


class FileText(Value):
    """What a file says. Line ends are `\\n`, a byte order mark is gone; `digest` is that of `text` in UTF-8."""

    name: str
    """Relative to the agent's folder: `TOOLS.md`, `heartbeats/daily.md`."""
    text: str
    digest: str
    size_bytes: int
    """As it lies on the disk."""
    findings: tuple[Finding, ...] = ()


class IsFolder(Invalid):
    """A folder lies where a file should be."""


def text_of(data: bytes, *, name: str, place: str) -> FileText:
    """Decodes a file's bytes: UTF-8, UTF-16 or UTF-32 with a mark, else Latin-1 with a finding. Raises Invalid for what
    is no text."""
    findings: tuple[Finding, ...] = ()
    try:
        text = _decode(data)
    except UnicodeDecodeError:
        if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE, codecs.BOM_UTF8)):
            raise Invalid("The file is cut off or broken in the middle", place=place, cure=_SAVE) from None
        text = data.decode("latin-1")
        findings = (
            Finding(code="encoding", place=place, message="The file is not UTF-8; it was read as Latin-1", cure=_SAVE),
        )
    if "\0" in text:
        raise Invalid("The file is not text: it contains NUL characters", place=place, cure=_SAVE)
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        digest = digest_of(text.encode())
    except UnicodeEncodeError:
        raise Invalid("The file contains half of a character (a lone surrogate)", place=place, cure=_SAVE) from None
    return FileText(name=name, text=text, digest=digest, size_bytes=len(data), findings=findings)


_SAVE = "Save it as UTF-8."


def _decode(data: bytes) -> str:
    if data.startswith((codecs.BOM_UTF32_LE, codecs.BOM_UTF32_BE)):
        return data.decode("utf-32")
    if data.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return data.decode("utf-16")
    return data.decode("utf-8-sig")


def read_text(folder: int, name: str, *, place: str) -> tuple[FileText, Signature] | None:
    """The file `name` in the open directory `folder`; None where there is none. Raises Invalid for whatever cannot be
    read as a text: folders, pipes, files without permission, links elsewhere, over 1 MiB.

    A link to another name in the same folder is followed once, so that one file can have two names.
    """
    opened = _open(folder, name, place=place)
    if opened is None:
        return None
    try:
        state = os.fstat(opened)
        cure = "Put a text file there, or remove it."
        if stat.S_ISDIR(state.st_mode):
            raise IsFolder("This is a folder, not a file", place=place, cure=cure)
        if not stat.S_ISREG(state.st_mode):
            raise Invalid("This is a device, pipe or socket, not a file", place=place, cure=cure)
        if state.st_size > FILE_BYTES_MAX:
            raise Invalid(f"{state.st_size} bytes are too many", place=place, cure=f"At most {FILE_BYTES_MAX} bytes.")
        with os.fdopen(os.dup(opened), "rb") as stream:
            data = stream.read(state.st_size + 1)
            if len(data) > state.st_size:  # it grows right now
                data += stream.read(FILE_BYTES_MAX)
    except OSError as error:
        raise Invalid(f"It cannot be read: {error.strerror}", place=place, cure="Is the disk in order?") from None
    finally:
        os.close(opened)
    if len(data) > FILE_BYTES_MAX:
        raise Invalid("The file grew while it was read", place=place, cure=f"At most {FILE_BYTES_MAX} bytes.")
    return text_of(data, name=name, place=place), signature(state)


def signature(state: os.stat_result) -> Signature:
    """What tells two versions of a file apart without reading them."""
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)


_FLAGS = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOCTTY


def _open(folder: int, name: str, *, place: str, follow: bool = True) -> int | None:
    try:
        return os.open(name, _FLAGS, dir_fd=folder)
    except FileNotFoundError:
        if follow:
            return None
        raise Invalid("This is a link to nothing", place=place, cure="Remove it, or put the file there.") from None
    except OSError as error:
        if error.errno != errno.ELOOP:
            cure = "Give the fleet's user the right to read it." if error.errno == errno.EACCES else "Put a file there."
            raise Invalid(f"It cannot be read: {error.strerror}", place=place, cure=cure) from None
    target = os.readlink(name, dir_fd=folder)
    if not follow or "/" in target or target in {"", ".", ".."}:
        shown = target[:100]
        raise Invalid(f"This is a link to {shown!r}, elsewhere", place=place, cure="Put a copy of the file there.")
    return _open(folder, target, place=place, follow=False)
