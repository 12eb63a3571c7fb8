"""Crashes at a chosen commit, for harnesses that kill a process everywhere and look at what is left.

`OSTINATO_KILL_AT=before:3` kills this process (SIGKILL: nothing is cleaned up) right before its third commit that
changes something, `after:3` right after it. The store offers the hook; nothing else of this is in production code.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Literal, NoReturn

from ostinato.domain.errors import Invalid
from ostinato.store.sqlite import CommitHook, SqliteStore, open_store

KILL_AT = "OSTINATO_KILL_AT"
"""The environment variable that says where."""


def kill_at(place: str) -> CommitHook:
    """A hook that kills this process at `before:N` or `after:N`; raises Invalid for anything else."""
    side, _, number = place.partition(":")
    if side not in ("before", "after") or not number.isdecimal():
        raise Invalid(f"{place!r} names no commit", place=KILL_AT, cure="Write before:N or after:N, N from 1.")

    def hook(when: Literal["before", "after"], commit: int) -> None:
        if when == side and commit == int(number):
            die()

    return hook


def hook_from_environment() -> CommitHook | None:
    """The hook that the environment asks for, or None."""
    place = os.environ.get(KILL_AT)
    return None if place is None else kill_at(place)


def open_faulty_store(directory: Path) -> SqliteStore:
    """The store of a state directory, in a process that dies where the environment says."""
    return open_store(directory, hook=hook_from_environment())


class CommitCounter:
    """A hook that only counts: how many places a scenario has in which it can be killed."""

    def __init__(self) -> None:
        self.commits = 0

    def __call__(self, when: Literal["before", "after"], commit: int) -> None:
        """One commit begins or has been made."""
        if when == "after":
            self.commits = commit


def die() -> NoReturn:
    """Ends this process as a power cut does: at once, with nothing cleaned up."""
    os.kill(os.getpid(), signal.SIGKILL)
    raise AssertionError("unreachable: SIGKILL cannot be survived")
