"""A disk as the strictest reading of POSIX has it: nothing is there for sure but what was synced.

A file's contents are durable once the file is synced, its name once its folder is. What is not may be there or not, in
any mixture, down to single sectors. A sync that fails drops what it should have written: the kernel calls those pages
clean (https://lwn.net/Articles/752063/). Knows nothing of databases.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import assert_never

from tests.power.calls import Attribute, Link, Make, Move, Operation, Remove, Sync, Truncate, Write

SECTORS = (512, 4096)
"""What a disk writes at once, or not at all: old and new ones."""

Change = Write | Truncate | Attribute
Keep = Callable[[Sequence[Change], random.Random], Sequence[Change]]


@dataclass
class Content:
    """Of a file: its bytes, and its extended attributes by name."""

    data: bytearray = field(default_factory=bytearray)
    attributes: dict[str, bytes] = field(default_factory=dict)


@dataclass
class Node:
    """A file or folder, whatever it is called."""

    durable: Content = field(default_factory=Content)
    seen: Content = field(default_factory=Content)
    """With everything that processes have written."""
    pending: list[tuple[int, Change]] = field(default_factory=list)
    """Changes that no sync has covered, with their numbers."""
    folder: bool = False


@dataclass
class Naming:
    """A change of names that no sync has covered."""

    number: int
    folders: frozenset[str]
    gone: str = ""
    new: str = ""
    node: Node | None = None


class Disk:
    """Is told of operations one after the other."""

    def __init__(self, folder: Path) -> None:
        """Whatever is in the folder now is durable."""
        self.names: dict[str, Node] = {}
        """As processes see them."""
        for path in [folder, *folder.rglob("*")]:
            found = Content() if path.is_dir() else content_of(path)
            self.names[str(path)] = Node(found, deepcopy(found), folder=path.is_dir())
        self._durable = dict(self.names)
        self._namings: list[Naming] = []
        self._number = 0

    def take(self, operation: Operation) -> None:
        """One operation has been performed."""
        self._number += 1
        match operation:
            case Write() | Truncate() | Attribute():
                node = self.names[operation.path]
                _change(node.seen, operation)
                node.pending.append((self._number, operation))
            case Make():
                self._name(new=operation.path, node=Node(folder=operation.folder))
            case Move():
                self._name(gone=operation.path, new=operation.target, node=self.names[operation.path])
            case Link():
                self._name(new=operation.target, node=self.names[operation.path])
            case Remove():
                self._name(gone=operation.path)
            case Sync():
                self._sync(operation)
            case _:
                assert_never(operation)

    def _name(self, *, gone: str = "", new: str = "", node: Node | None = None) -> None:
        folders = frozenset(str(Path(each).parent) for each in (gone, new) if each)
        naming = Naming(number=self._number, folders=folders, gone=gone, new=new, node=node)
        _rename(self.names, naming)
        self._namings.append(naming)

    def _sync(self, sync: Sync) -> None:
        node = self.names.get(sync.path)
        if node is None:
            return
        covered = [change for number, change in node.pending if number <= sync.since]
        node.pending = [each for each in node.pending if each[0] > sync.since]
        if sync.failed:
            return
        for change in covered:
            _change(node.durable, change)
        if node.folder:
            mine = [each for each in self._namings if sync.path in each.folders and each.number <= sync.since]
            for naming in mine:
                _rename(self._durable, naming)
            self._namings = [each for each in self._namings if each not in mine]

    def cut(self, chance: random.Random) -> dict[str, Content | None]:
        """What may be there after a power cut: contents by path, None for a folder."""
        names = dict(self._durable)
        for naming in _survivors(self._namings, chance):
            _rename(names, naming)
        nodes = {path: node for path, node in names.items() if _reachable(path, names)}
        keep = chance.choice((_nothing, _everything, _whole, _torn, _beginning, _end))
        return {path: None if node.folder else _after_cut(node, keep, chance) for path, node in nodes.items()}


def content_of(path: Path) -> Content:
    """What a file of this machine holds."""
    return Content(bytearray(path.read_bytes()), {name: os.getxattr(path, name) for name in os.listxattr(path)})


def _change(content: Content, change: Change) -> None:
    data = content.data
    match change:
        case Attribute(name=name, value=value):
            content.attributes[name] = value
        case Write(offset=offset, data=new):
            if len(data) < offset:
                data.extend(bytes(offset - len(data)))
            data[offset : offset + len(new)] = new
        case Truncate(size=size):
            del data[size:]
            data.extend(bytes(size - len(data)))


def _rename(names: dict[str, Node], naming: Naming) -> None:
    """Changes names; what is not there cannot be moved."""
    if naming.gone and naming.new:
        if naming.gone not in names:
            return
        inside = {
            path: node for path, node in names.items() if path == naming.gone or path.startswith(naming.gone + "/")
        }
        for path, node in inside.items():
            del names[path]
            names[naming.new + path[len(naming.gone) :]] = node
    elif naming.gone:
        names.pop(naming.gone, None)
    else:
        assert naming.node is not None
        names[naming.new] = naming.node


def _survivors(namings: Sequence[Naming], chance: random.Random) -> Sequence[Naming]:
    """A beginning, as journals of file systems keep it, or any of them."""
    if chance.random() < 0.5:
        return namings[: chance.randint(0, len(namings))]
    return [each for each in namings if chance.random() < 0.5]


def _reachable(path: str, names: dict[str, Node]) -> bool:
    """False where a folder on the way is not there."""
    top = min(names, key=len)
    while path != top:
        path = str(Path(path).parent)
        if path not in names:
            return False
    return True


def _after_cut(node: Node, keep: Keep, chance: random.Random) -> Content:
    content = deepcopy(node.durable)
    for change in keep([change for _, change in node.pending], chance):
        _change(content, change)
    return content


# --- what is left of changes that no sync has covered -----------------------------------------------------------------


def _nothing(_changes: Sequence[Change], _chance: random.Random) -> Sequence[Change]:
    return ()


def _everything(changes: Sequence[Change], _chance: random.Random) -> Sequence[Change]:
    return changes


def _whole(changes: Sequence[Change], chance: random.Random) -> Sequence[Change]:
    """Some, as they are, whatever their order was."""
    return [each for each in changes if chance.random() < 0.5]


def _end(changes: Sequence[Change], _chance: random.Random) -> Sequence[Change]:
    """The last one only."""
    return changes[-1:]


def _beginning(changes: Sequence[Change], chance: random.Random) -> Sequence[Change]:
    """All up to one that is torn."""
    number = chance.randint(0, len(changes))
    return [*changes[:number], *_torn(changes[number : number + 1], chance)]


def _torn(changes: Sequence[Change], chance: random.Random) -> Sequence[Change]:
    """Some sectors of some."""
    size = chance.choice(SECTORS)
    found: list[Change] = []
    for change in changes:
        match change:
            case Write(path=path, offset=offset, data=data):
                edges = [offset, *range((offset // size + 1) * size, offset + len(data), size), offset + len(data)]
                for start, end in pairwise(edges):
                    if chance.random() < 0.5:
                        found.append(Write(path=path, offset=start, data=data[start - offset : end - offset]))
            case Truncate() | Attribute() if chance.random() < 0.5:
                found.append(change)
    return found
