"""All agents as routing and tools see them, looked at again now and then.

Knows nothing of stores: how busy somebody is, whoever routes looks up.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase

from ostinato.domain.errors import OstinatoError
from ostinato.tools.port import Colleague
from ostinato.workspace.registry import EXACT_MAX, Brief, Workspaces

COLLEAGUES_S = 1.0
"""How old the list of agents may be that tools and routing are shown."""


class Colleagues:
    """All agents as routing and tools see them, looked at again after COLLEAGUES_S. Asked on the event loop: a large
    fleet is not looked at here, but taken as its sweep saw it last. Safe in several threads."""

    def __init__(self, workspaces: Workspaces, *, elapsed_s: Callable[[], float] = time.monotonic) -> None:
        self._workspaces = workspaces
        self._elapsed_s = elapsed_s
        self._good_until_s = float("-inf")
        self._briefs: tuple[Brief, ...] = ()
        self._found: tuple[Colleague, ...] = ()

    def __call__(self) -> tuple[Colleague, ...]:
        """Every agent whose files are in order."""
        if self._elapsed_s() > self._good_until_s:
            briefs = self._workspaces.briefs(look=len(self._briefs) <= EXACT_MAX)
            if briefs is not self._briefs:
                self._briefs = briefs
                self._found = tuple(colleague_of(each) for each in briefs if not each.is_broken)
            self._good_until_s = self._elapsed_s() + COLLEAGUES_S
        return self._found


def colleague_of(brief: Brief) -> Colleague:
    """An agent as routing sees it."""
    return Colleague(
        id=brief.id,
        skills=brief.skills,
        concurrency=brief.concurrency,
        per_day_usd_micros=brief.per_day_usd_micros,
        per_day_tokens=brief.per_day_tokens,
    )


def delegates_of(workspaces: Workspaces, agent: str, among: Sequence[Colleague]) -> Sequence[Colleague]:
    """Those of them to whom an agent may give tasks; none where it is gone or its files are broken."""
    try:
        delegates = workspaces.current(agent).delegates
    except OstinatoError:
        return ()
    if delegates is None:
        return among
    return [each for each in among if each.id == agent or any(fnmatchcase(each.id, one) for one in delegates)]
