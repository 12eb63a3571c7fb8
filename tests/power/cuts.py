"""A node that is recorded, and its fleet as a power cut at any point leaves it behind.

The log of the world outside is on another machine: nothing of it is lost. Knows nothing of what is right.
"""

from __future__ import annotations

import hashlib
import os
import random
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from copy import deepcopy
from pathlib import Path

from msgspec.structs import replace

from ostinato.domain.values import Value
from tests.crash.forge import Ended, Order
from tests.crash.outside import Line, read_lines
from tests.crash.record import OUTSIDE
from tests.crash.tracing import recording, traced
from tests.crash.trial import Forge
from tests.power.calls import Operation, Reader, Write
from tests.power.disk import Content, Disk

SHARED_MEMORY = "-shm"
"""SQLite's index of its log: no part of what is stored, and anything may be in it after a cut."""


class Recording(Value):
    """What a node, or several one after the other, did to a fleet's files."""

    folder: str
    operations: tuple[Operation, ...]
    disk: Disk
    """As it was before."""


class Cut(Value):
    """A fleet after a power cut. `outside`: what had happened until then."""

    at: int
    folder: Path
    outside: tuple[Line, ...]


def begin(folder: Path) -> Recording:
    """Nothing has been recorded yet."""
    return Recording(folder=str(folder), operations=(), disk=Disk(folder))


def record(forge: Forge, order: Order, before: Recording, *options: str) -> tuple[Recording, Ended]:
    """One node's whole life, behind what was recorded before. `options`: what else strace is to do to it."""
    folder = Path(order.folder)
    reader, file = Reader(folder, before.operations), folder.parent / f"{folder.name}.strace"
    pid = forge.begin(replace(order, waits=True))
    with traced(pid, *recording(file), *options):
        ended = forge.end()
    operations = tuple(reader.read(file))
    file.unlink()
    return replace(before, operations=operations), ended


def cuts(
    recorded: Recording, points: Sequence[int], folder: Path, *, seed: int, known: set[bytes] | None = None
) -> Iterator[Cut]:
    """The fleet after a cut behind so many operations, one after the other: each is gone when the next is built.
    `known`: what was cut before, by digest; a cut that leaves the same once more, and as much was said, is left out."""
    disk, said, number = deepcopy(recorded.disk), bytearray(), 0
    log = str(Path(recorded.folder) / OUTSIDE)
    for point in sorted(points):
        for operation in recorded.operations[number:point]:
            disk.take(operation)
            if isinstance(operation, Write) and operation.path == log:
                said += operation.data
        number = point
        files = disk.cut(random.Random(f"{seed}:{point}"))
        if known is not None:
            if (digest := _digest(files, said)) in known:
                continue
            known.add(digest)
        with _built(recorded, files, folder) as fleet:
            (fleet / OUTSIDE).write_bytes(said)
            yield Cut(at=point, folder=fleet, outside=read_lines(bytes(said)))


def _digest(files: dict[str, Content | None], said: bytearray) -> bytes:
    """Of everything that a cut leaves."""
    digest = hashlib.sha256(said)
    for path, content in sorted(files.items(), key=lambda each: each[0]):
        if content is None or not path.endswith(SHARED_MEMORY):
            digest.update(f"\0{path}\0{content and sorted(content.attributes.items())}\0".encode())
            digest.update(hashlib.sha256(content.data if content is not None else b"").digest())
    return digest.digest()


@contextmanager
def _built(recorded: Recording, files: dict[str, Content | None], folder: Path) -> Iterator[Path]:
    folder.mkdir()
    try:
        for path, content in sorted(files.items(), key=lambda each: each[0]):
            place = folder / Path(path).relative_to(recorded.folder)
            if content is None:
                place.mkdir(mode=0o700, exist_ok=True)
            elif not path.endswith(SHARED_MEMORY):
                place.write_bytes(content.data)
                for name, value in content.attributes.items():
                    os.setxattr(place, name, value)
        yield folder
    finally:
        shutil.rmtree(folder)
