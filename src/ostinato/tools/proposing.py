"""Work that agents give away or propose: once, however many ask for it, and with a word where much the same is there.

The store keeps one live task for each key; here it is made. Knows nothing of how agents are chosen.
"""

from __future__ import annotations

from collections.abc import Sequence
from itertools import islice

from msgspec.structs import replace

from ostinato.domain.delegation import delegation_key, is_like
from ostinato.domain.task import UNFINISHED, NewTask, Task, TaskKind
from ostinato.store.port import Reads, TaskFilter

COMPARED_MAX = 200
"""Newest unfinished tasks of a project that a proposal is compared with: some 2 ms."""

LIKE_MAX = 5
"""Tasks that a proposal is said to be like."""


def neighbours(tx: Reads, project: str) -> list[Task]:
    """The tasks that a new one of this project is compared with."""
    which = TaskFilter(states=UNFINISHED, kinds=frozenset({TaskKind.GOAL}), project=project or None)
    return tx.tasks(which, limit=COMPARED_MAX)


def once(tx: Reads, new: NewTask, *, others: Sequence[Task] | None = None) -> NewTask:
    """The task with the key of its work, and the names of unfinished tasks that are much like it. Called before anybody
    is chosen: who has least to do is not part of the work. `others`: its neighbours, where they are known."""
    return compared(tx, replace(new, spec=replace(new.spec, delegation=delegation_key(new))), others=others)


def compared(tx: Reads, new: NewTask, *, others: Sequence[Task] | None = None) -> NewTask:
    """Only the names of those that are much like it: a line that a person writes again is a wish of its own."""
    near = neighbours(tx, new.project) if others is None else others
    key = new.spec.delegation
    like = (each.name for each in near if not (key and each.spec.delegation == key) and is_like(new, each))
    return replace(new, spec=replace(new.spec, like=tuple(islice(like, LIKE_MAX))))
