"""Which failures are alike: the message without what differs from task to task, and a short name for all of it.

Knows nothing of tasks that are not handed in, nor of what failed.
"""

from __future__ import annotations

import re

from ostinato.domain.task import Task
from ostinato.domain.values import digest_of, to_json

FINGERPRINT_CHARS = 12
"""Of the digest: 48 bits, so that two of a million different failures share one with one chance in 500."""

MESSAGE_MAX = 400
"""Characters of a message that are looked at: what comes later tells failures of one kind apart, not kinds."""

_DIFFERS = (
    (re.compile(r"\b[a-z][a-z0-9+.-]*://[^\s'\"<>]+", re.IGNORECASE), "<url>"),
    (re.compile(r"\b[\w.+-]+@[\w-]+\.[\w.-]+"), "<address>"),
    (re.compile(r"(?<![\w.<])(?:~|\.{1,2}|[A-Za-z]:)?[/\\](?:[\w.@%+~-]+[/\\])*[\w.@%+~-]*"), "<path>"),
    (re.compile(r"\b(?:[\w.@+-]+/)+[\w@+-]*\.\w+\b"), "<path>"),
    (re.compile(r"\b[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}\b", re.IGNORECASE), "*"),
    (re.compile(r"\b(?:0x[0-9a-f]+|(?=[a-f]*\d)(?=[0-9a-f]*[a-f])[0-9a-f]{6,})\b", re.IGNORECASE), "*"),
    (re.compile(r"\b(?=[A-Za-z_-]*\d)[\w-]{16,}\b"), "*"),
    (re.compile(r"\b[A-Za-z]{1,3}-?\d+\b"), "*"),
    (re.compile(r"\d+(?:[.,:]\d+)*"), "*"),
)
"""In this order: what is part of something longer goes with it."""


def normalised(message: str) -> str:
    """The first line without numbers, ids, paths, addresses and hexadecimal digits, in small letters."""
    text = message.strip().split("\n", 1)[0][:MESSAGE_MAX]
    for pattern, word in _DIFFERS:
        text = pattern.sub(word, text)
    return " ".join(text.casefold().split())


def error_of(task: Task) -> tuple[str, str]:
    """How a task failed: the words, and their class."""
    if task.result is not None and task.result.error:
        return task.result.error, task.result.error_class
    return task.reason, ""


def fingerprint_of(task: Task) -> str:
    """The name of how a task failed: the same for tasks of one kind and agent that failed alike."""
    error, error_class = error_of(task)
    alike = (task.kind.value, task.agent or "", error_class, normalised(error))
    return digest_of(to_json(alike))[:FINGERPRINT_CHARS]
