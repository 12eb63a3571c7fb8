"""What makes two tasks the same work: one key for each piece of work, and how alike two pieces are.

Who asks does not count, nor how it is written: letters' case, spaces and the order of fields are the same work. Knows
nothing of where tasks are kept.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import islice

from ostinato.domain.task import NewTask, Task
from ostinato.domain.values import digest_of, to_json

LIKE_FROM = 0.75
"""From this share of common words on two proposals are called alike: one word in seven may differ."""

WORDS_MAX = 400
"""Words of a task that are compared."""

_WORD = re.compile(r"\w+")


def delegation_key(new: NewTask) -> str:
    """The key of the work that a task asks for; the one that it was given, else what it says and who is to do it."""
    if new.spec.delegation:
        return new.spec.delegation
    whom = [new.agent or ""] if not new.spec.skills else sorted(each.casefold() for each in new.spec.skills)
    said = [_plain(new.title), _plain(new.spec.goal), new.type, new.project, whom, _sorted(new.spec.input)]
    said.append([each.digest for each in new.spec.attachments])
    return f"same:{digest_of(to_json(said))[:32]}"


def likeness(new: NewTask, other: Task) -> float:
    """Words that two tasks have in common as a share of all their words: 1 for the same, 0 for nothing in common."""
    mine, others = _words(new.title, new.spec.goal), _words(other.title, other.spec.goal)
    union = mine | others
    return len(mine & others) / len(union) if union else 0.0


def is_like(new: NewTask, other: Task) -> bool:
    """True where somebody should look whether both are wanted: alike in words, and about the same data."""
    return new.project == other.project and new.spec.input == other.spec.input and likeness(new, other) >= LIKE_FROM


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


@lru_cache(maxsize=1_024)
def _words(*texts: str) -> frozenset[str]:
    found = (each.group() for text in texts for each in _WORD.finditer(text.casefold()))
    return frozenset(islice(found, WORDS_MAX))


def _sorted(value: object) -> object:
    """The same data in one order of its fields."""
    if isinstance(value, dict):
        return [[key, _sorted(value[key])] for key in sorted(value)]
    return [_sorted(each) for each in value] if isinstance(value, list | tuple) else value
