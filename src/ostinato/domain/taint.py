"""Taint: what strangers wrote stays marked, also where an agent has written it into a file and reads it again.

Knows nothing of disks or stores: paths are texts as tools name them.
"""

from __future__ import annotations

from collections.abc import Iterable

EVERYTHING = "./"
"""The path that stands for a whole workspace."""

INBOX = "inbox/"
"""Where an agent's files become tasks and messages of its own."""

TAINTED_MAX = 1_000
"""Paths that are kept of one agent; beyond, all of its workspace counts."""


UNDER_WAY = "/"
"""How a mark begins that stands for a whole workspace while one call is under way that will say what it has changed: no
path of a file begins so. The call's name follows."""


def normal(path: str) -> str:
    """One spelling for each path: without `.` and empty names; a folder keeps its `/` at the end."""
    names = [each for each in path.split("/") if each not in ("", ".")]
    if not names:
        return EVERYTHING
    return "/".join(names) + ("/" if path.endswith("/") else "")


def touches(path: str, tainted: Iterable[str]) -> bool:
    """True where reading `path` may read one of these: the same, a folder above it, or one below it."""
    wanted = normal(path)
    return any(_overlap(wanted, EVERYTHING if each.startswith(UNDER_WAY) else normal(each)) for each in tainted)


def _overlap(one: str, other: str) -> bool:
    if EVERYTHING in (one, other) or one == other:
        return True
    return _is_above(one, other) or _is_above(other, one)


def _is_above(folder: str, path: str) -> bool:
    return path.startswith(folder if folder.endswith("/") else f"{folder}/")
