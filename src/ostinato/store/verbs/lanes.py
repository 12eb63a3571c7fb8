"""What can be claimed, in memory: one lane for each pool, agent and kind, so that a claim is flat.

A claim wants the most urgent task that *may* run. One index over all claimable rows does not give it cheaply: a paused
agent, or one at its limit, may own the first million rows, and each claim would walk past them. So rows are kept in
lanes, the index is ordered by lane, and this module knows the head of each lane. Whatever stops a whole lane (a flag, a
limit of an agent or kind) sets the lane aside until that changes; whatever stops one row (its session is busy) sets the
row aside. Each obstacle is met once, not by each claim.

Only a page of each lane is in memory. Nothing here is truth: a row is taken by an UPDATE that checks that it is still
claimable, what it finds gone is dropped, and everything can be forgotten and read again at any time. A table of lanes
in the database was tried on paper and lost: three more writes for each task.

Knows nothing of SQL or tasks: rows are keys (minus priority, id) with a session.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from ostinato.domain.task import TaskKind
from ostinato.store.port import ClaimRequest


class LaneKey(NamedTuple):
    """Pool, agent (empty: none) and kind."""

    pool: str
    agent: str
    kind: str


class Candidate(NamedTuple):
    """A claimable row; the smallest comes first."""

    urgency: int
    """Minus the priority."""
    id: int
    session: str


class Lane:
    """The next rows of one lane, in order."""

    __slots__ = ("last", "more", "rows")

    def __init__(self) -> None:
        self.rows: list[Candidate] = []
        self.more = False
        """True: behind `last` there may be rows that are not in memory."""
        self.last = Candidate(-(2**31), 0, "")
        """Everything up to here is in memory."""


Page = Callable[[LaneKey, Candidate, int], list[Candidate]]
"""Reads the rows of a lane behind a candidate, at most so many."""

PAGE_MAX = 64
"""Rows of one lane in memory; enough that reading pages is no cost, little enough for 10,000 lanes."""
ROWS_MAX = 40_000
"""Rows in memory over all lanes, about; 10 MB."""


class Lanes:
    """Every lane, which of them are set aside, and how much runs."""

    def __init__(self, *, heads: Iterable[tuple[LaneKey, Candidate]], page: Page) -> None:
        self._page = page
        self._lanes: dict[LaneKey, Lane] = {}
        self._order: dict[str, list[tuple[Candidate, LaneKey]]] = {}
        self._aside: dict[str, list[tuple[Candidate, LaneKey]]] = {}
        self._rows_aside: dict[str, list[tuple[Candidate, LaneKey]]] = {}
        self._limits: tuple[Mapping[str, int], int, Mapping[TaskKind, int]] = ({}, 1, {})
        self.running: dict[str, int] = {}
        """What runs now: `agent:<id>`, `kind:<kind>` and `session:<key>`, each with its number."""
        for key, head in heads:
            lane = self._lanes[key] = Lane()
            lane.rows, lane.last, lane.more = [head], head, True
            self._push(key, head)

    def add(self, key: LaneKey, row: Candidate) -> None:
        """A row has become claimable."""
        lane = self._lanes.get(key)
        if lane is None:
            lane = self._lanes[key] = Lane()
        elif lane.more and row > lane.last:
            return  # will be read with its page
        insort(lane.rows, row)
        if len(lane.rows) > PAGE_MAX:
            lane.rows.pop()
            lane.last, lane.more = lane.rows[-1], True
        elif row > lane.last:
            lane.last = row
        if lane.rows[0] is row:
            self._push(key, row)

    def started(self, key: LaneKey, session: str) -> None:
        """A task of this lane runs now."""
        for name in _scopes(key, session):
            self.running[name] = self.running.get(name, 0) + 1

    def ended(self, key: LaneKey, session: str) -> None:
        """A task of this lane runs no more: what waited for that may be looked at again."""
        for name in _scopes(key, session):
            left = self.running.get(name, 0) - 1
            if left > 0:
                self.running[name] = left
            else:
                self.running.pop(name, None)
            for head, lane_key in self._aside.pop(name, ()):
                heappush(self._order.setdefault(lane_key.pool, []), (head, lane_key))
            for row, lane_key in self._rows_aside.pop(name, ()):
                self.add(lane_key, row)

    def take(self, request: ClaimRequest, flagged: Callable[[str], bool]) -> tuple[LaneKey, Candidate] | None:
        """The most urgent row that this request may run, out of its lane; None: there is none."""
        self._note_limits(request)
        not_wanted: list[tuple[Candidate, LaneKey]] = []
        try:
            while True:
                pool = self._best_pool(request.pools, flagged)
                if pool is None:
                    return None
                head, key = heappop(self._order[pool])
                lane = self._lanes.get(key)
                if lane is None or not lane.rows or lane.rows[0] is not head:
                    continue  # a better head was pushed since
                if request.kinds is not None and key.kind not in request.kinds:
                    not_wanted.append((head, key))
                elif key.agent and flagged(f"agent:{key.agent}"):
                    self._set_aside("flag", head, key)
                elif (full := self._full(request, key)) is not None:
                    self._set_aside(full, head, key)
                else:
                    runs = self._may_run(head, key, flagged)
                    del lane.rows[0]
                    self._follow(lane, key)  # another lane may come before this one's next row
                    if runs:
                        return key, head
        finally:
            for head, key in not_wanted:
                heappush(self._order[key.pool], (head, key))

    def _note_limits(self, request: ClaimRequest) -> None:
        """Other limits than last time: lanes that stood at theirs may move."""
        limits = (request.agent_limits, request.agent_limit_default, request.kind_limits)
        if limits != self._limits:
            self._limits = limits
            for name in [each for each in self._aside if each != "flag"]:
                for head, key in self._aside.pop(name):
                    heappush(self._order.setdefault(key.pool, []), (head, key))

    def _best_pool(self, pools: tuple[str, ...], flagged: Callable[[str], bool]) -> str | None:
        best: str | None = None
        for pool in pools:
            order = self._order.get(pool)
            if order and (best is None or order[0] < self._order[best][0]) and not flagged(f"pool:{pool}"):
                best = pool
        return best

    def _full(self, request: ClaimRequest, key: LaneKey) -> str | None:
        """The scope whose limit is reached, or None."""
        if key.agent:
            name = f"agent:{key.agent}"
            if self.running.get(name, 0) >= request.agent_limits.get(key.agent, request.agent_limit_default):
                return name
        if request.kind_limits:
            name = f"kind:{key.kind}"
            limit = request.kind_limits.get(TaskKind(key.kind))
            if limit is not None and self.running.get(name, 0) >= limit:
                return name
        return None

    def _set_aside(self, name: str, head: Candidate, key: LaneKey) -> None:
        self._aside.setdefault(name, []).append((head, key))

    def _may_run(self, row: Candidate, key: LaneKey, flagged: Callable[[str], bool]) -> bool:
        """False where something stops this very row; it leaves its lane until that has changed."""
        if flagged(f"task:{row.id}"):
            return False  # flags change by rebuilding everything
        if row.session:
            scope = f"session:{row.session}"
            if flagged(scope):
                return False
            if scope in self.running:
                self._rows_aside.setdefault(scope, []).append((row, key))
                return False
        return True

    def _follow(self, lane: Lane, key: LaneKey) -> None:
        """Puts the lane back in order with its next row, or forgets it when it has none."""
        if not lane.rows and lane.more:
            most = max(2, min(PAGE_MAX, ROWS_MAX // len(self._lanes)))
            lane.rows = self._page(key, lane.last, most)
            lane.more = len(lane.rows) == most
            if lane.rows:
                lane.last = lane.rows[-1]
        if lane.rows:
            self._push(key, lane.rows[0])
        else:
            del self._lanes[key]

    def _push(self, key: LaneKey, head: Candidate) -> None:
        heappush(self._order.setdefault(key.pool, []), (head, key))


def _scopes(key: LaneKey, session: str) -> list[str]:
    scopes = [f"kind:{key.kind}"]
    if key.agent:
        scopes.append(f"agent:{key.agent}")
    if session:
        scopes.append(f"session:{session}")
    return scopes
