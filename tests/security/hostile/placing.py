"""Puts contents where a file should be, whatever they are, and keeps them moving while somebody reads.

Knows nothing of who reads.
"""

from __future__ import annotations

import os
import shutil
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import TypeVar

from tests.security.hostile.case import Content, Kind

T = TypeVar("T")

STEP_S = 0.001
"""Between two changes of a moving file."""

HANG_S = 60.0
"""What reads one small file, or answers one request, takes a thousandth of this."""


class HungError(Exception):
    """Something did not return."""


def place(path: bytes, content: Content) -> None:
    """Puts `content` at `path`, in the place of whatever is there."""
    remove(path)
    os.makedirs(os.path.dirname(path), exist_ok=True)
    match content.kind:
        case Kind.FILE | Kind.MOVING:
            _write(path, content.data)
        case Kind.SECRET:
            _write(path, content.data)
            os.chmod(path, 0)
        case Kind.FOLDER:
            os.mkdir(path)
        case Kind.LINK:
            os.symlink(b"/etc/hostname", path)
        case Kind.DANGLING:
            os.symlink(b"nowhere", path)
        case Kind.LOOP:
            os.symlink(os.path.basename(path), path)
        case Kind.PIPE:
            os.mkfifo(path)


def remove(path: bytes) -> None:
    """Takes away whatever is at `path`."""
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    elif os.path.lexists(path):
        os.unlink(path)


@contextmanager
def moving(path: bytes, content: Content) -> Iterator[None]:
    """Changes a file all the time in the ways in which editors and careless programs do; at the end it is whole."""
    if content.kind is not Kind.MOVING:
        yield
        return
    done = threading.Event()

    def change() -> None:
        ways = (
            lambda: _write(path, content.before),
            lambda: _replace(path, content.data),
            lambda: os.unlink(path),
            lambda: _write(path, content.data[: len(content.data) // 2]),
            lambda: _replace(path, content.before),
        )
        while not done.is_set():
            for way in ways:
                way()
                done.wait(STEP_S)

    changing = threading.Thread(target=change, daemon=True)
    changing.start()
    try:
        yield
    finally:
        done.set()
        changing.join(HANG_S)
        _replace(path, content.data)


def bounded(work: Callable[[], T]) -> T:
    """What `work` returns or raises; HungError where it does neither."""
    found: list[T] = []
    raised: list[BaseException] = []

    def attempt() -> None:
        try:
            found.append(work())
        except BaseException as error:  # handed on below, whatever it is
            raised.append(error)

    worker = threading.Thread(target=attempt, daemon=True)
    worker.start()
    worker.join(HANG_S)
    if raised:
        raise raised[0]
    if not found:
        raise HungError
    return found[0]


def _write(path: bytes, data: bytes) -> None:
    with open(path, "wb") as stream:
        stream.write(data)


def _replace(path: bytes, data: bytes) -> None:
    _write(path + b"~", data)
    os.replace(path + b"~", path)
