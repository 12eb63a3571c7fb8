"""Work that agents give away or propose: once, however many ask for it, and with a word where much the same is there.

The store keeps one live task for each key; here it is made. Knows nothing of how agents are chosen.
"""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.delegation import delegation_key, is_like
from ostinato.domain.task import UNFINISHED, NewTask, TaskKind
from ostinato.store.port import Reads, TaskFilter

COMPARED_MAX = 200
"""Newest unfinished tasks of a project that a proposal is compared with: some 2 ms."""

LIKE_MAX = 5
"""Tasks that a proposal is said to be like."""


def once(tx: Reads, new: NewTask, *, like: bool = True) -> NewTask:
    """The task with the key of its work, and the names of unfinished tasks that are much `like` it. Called before
    anybody is chosen: who has least to do is not part of the work."""
    keyed = replace(new, spec=replace(new.spec, delegation=delegation_key(new)))
    return compared(tx, keyed) if like else keyed


def compared(tx: Reads, new: NewTask) -> NewTask:
    """Only the names of those that are much like it: a line that a person writes again is a wish of its own."""
    which = TaskFilter(states=UNFINISHED, kinds=frozenset({TaskKind.GOAL}), project=new.project or None)
    key = new.spec.delegation
    others = [each for each in tx.tasks(which, limit=COMPARED_MAX) if not key or each.spec.delegation != key]
    like = tuple(each.name for each in others if is_like(new, each))
    return replace(new, spec=replace(new.spec, like=like[:LIKE_MAX]))
