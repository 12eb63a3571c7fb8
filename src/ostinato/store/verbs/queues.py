"""What can be claimed, in memory: one queue for each pool, agent and kind, so that a claim is flat.

A claim wants the most urgent task that *may* run. One index over all claimable rows does not give it cheaply: a paused
agent, or one at its limit, may own the first million rows, and each claim would walk past them. So rows are kept in
queues, the index is ordered by queue, and this module knows the head of each queue. Whatever stops a whole queue (a
flag, a limit, a rate) sets the queue aside until that changes; whatever stops one row (its session is busy)
sets the row aside. Each obstacle is met once, not by each claim. A limit of some projects or priorities stops whole
queues, too: their tasks have a strand of their own (`ostinato.domain.limit`).

Only a page of each queue is in memory. Nothing here is truth: a row is taken by an UPDATE that checks that it is still
claimable, what it finds gone is dropped, and everything can be forgotten and read again at any time. A table of queues
in the database was tried on paper and lost: three more writes for each task.

Knows nothing of SQL or tasks: rows are keys (rank, id) with a session and a priority.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Callable, Iterable, Mapping
from heapq import heappop, heappush
from typing import NamedTuple

from ostinato.domain.limit import QueueLimit, Strands
from ostinato.domain.task import URGENT_PRIORITY, TaskKind
from ostinato.domain.values import Instant
from ostinato.store.port import EVERY_POOL, ClaimRequest


class QueueKey(NamedTuple):
    """Pool, agent (empty: none), kind and strand."""

    pool: str
    agent: str
    kind: str
    strand: str = ""


class Candidate(NamedTuple):
    """A claimable row; the smallest comes first."""

    rank: int
    """Priority and waiting in one number; see `ostinato.domain.aging`."""
    id: int
    session: str
    priority: int = 0


class Queue:
    """The next rows of one queue, in order."""

    __slots__ = ("last", "more", "rows")

    def __init__(self) -> None:
        self.rows: list[Candidate] = []
        self.more = False
        """True: behind `last` there may be rows that are not in memory."""
        self.last = Candidate(-(2**62), 0, "")
        """Everything up to here is in memory."""


Page = Callable[[QueueKey, Candidate, int], list[Candidate]]
"""Reads the rows of a queue behind a candidate, at most so many."""

Begun = Callable[[str], list[Instant]]
"""Reads when the last tasks of a scope began that has a rate, in order."""

NO_STRANDS = Strands()

PAGE_MAX = 64
"""Rows of one queue in memory; enough that reading pages is no cost, little enough for 10,000 queues."""
ADDED_MAX = 512
"""Rows of one queue in memory that this node has seen come: more than it runs at once, so that none is read again."""
ROWS_MAX = 40_000
"""Rows in memory over all queues, about; 10 MB."""


class Queues:
    """Every queue, which of them are set aside, and how much runs."""

    def __init__(
        self,
        *,
        heads: Iterable[tuple[QueueKey, Candidate]],
        page: Page,
        strands: Strands = NO_STRANDS,
        begun: Begun = lambda scope: [],
    ) -> None:
        self._page = page
        self._strands = strands
        self._read_begun = begun
        self._begun: dict[str, list[Instant]] = {}
        self._covering: dict[QueueKey, tuple[tuple[str, QueueLimit], ...]] = {}
        self._opening: dict[str, Instant] = {}
        """Scopes whose rate is used up, and when each lets the next task begin."""
        self._now: Instant = 0
        """When it was asked last."""
        self._queues: dict[QueueKey, Queue] = {}
        self._order: dict[str, list[tuple[Candidate, QueueKey]]] = {}
        self._aside: dict[str, list[tuple[Candidate, QueueKey]]] = {}
        self._rows_aside: dict[str, list[tuple[Candidate, QueueKey]]] = {}
        self._limits: tuple[Mapping[str, int], int, Mapping[TaskKind, int]] = ({}, 1, {})
        self._urgent_aside: dict[str, int] = {}
        """How many of the heads that are set aside for a limit are urgent, by scope."""
        self.running: dict[str, int] = {}
        """What runs now: `agent:<id>`, `kind:<kind>`, `session:<key>` and scopes of limits, each with its number."""
        for key, head in heads:
            queue = self._queues[key] = Queue()
            queue.rows, queue.last, queue.more = [head], head, True
            self._push(key, head)

    def add(self, key: QueueKey, row: Candidate) -> bool:
        """A row has become claimable. False where it is so far behind that it will be read with its page."""
        queue = self._queues.get(key)
        if queue is None:
            queue = self._queues[key] = Queue()
        elif queue.more and row > queue.last:
            return False  # will be read with its page
        insort(queue.rows, row)
        if len(queue.rows) > max(PAGE_MAX, min(ADDED_MAX, ROWS_MAX // len(self._queues))):
            queue.rows.pop()
            queue.last, queue.more = queue.rows[-1], True
        elif row > queue.last:
            queue.last = row
        if queue.rows[0] is row:
            self._push(key, row)
        return True

    def started(self, key: QueueKey, session: str) -> None:
        """A task of this queue runs now."""
        for name in self._scopes(key, session):
            self.running[name] = self.running.get(name, 0) + 1

    def began(self, key: QueueKey, *, now: Instant) -> Mapping[str, int]:
        """A task of this queue begins now: the scopes whose rates it counts for, and how many beginnings each keeps."""
        rated: dict[str, int] = {}
        for scope, limit in self._limits_of(key):
            if limit.rate is not None:
                rated[scope] = max(limit.rate.starts, rated.get(scope, 0))
        for scope, most in rated.items():
            begun = self._begun_of(scope, now=now)
            begun.append(now)
            del begun[:-most]
        return rated

    def ended(self, key: QueueKey, session: str) -> bool:
        """A task of this queue runs no more: what waited for that may be looked at again. True where something did."""
        waited = False
        for name in self._scopes(key, session):
            left = self.running.get(name, 0) - 1
            if left > 0:
                self.running[name] = left
            else:
                self.running.pop(name, None)
            waited = self._look_again(name) or waited
            for row, queue_key in self._rows_aside.pop(name, ()):
                self.add(queue_key, row)
                waited = True
        return waited

    def opens_at(self) -> Instant | None:
        """When the first rate opens for which something waits; None: nothing waits for one."""
        return min((at for scope, at in self._opening.items() if scope in self._aside), default=None)

    def take(
        self, request: ClaimRequest, flagged: Callable[[str], bool], *, now: Instant = 0
    ) -> tuple[QueueKey, Candidate] | None:
        """The most urgent row that this request may run, out of its queue; None: there is none."""
        self._note_limits(request)
        if self._opening:  # also where the clock was set back since
            for scope in [each for each, at in self._opening.items() if at <= now or now < self._now]:
                self._look_again(scope)
        self._now = now
        not_wanted: list[tuple[Candidate, QueueKey]] = []
        try:
            while True:
                pool = self._best_pool(request.pools, flagged)
                if pool is None:
                    return None
                head, key = heappop(self._order[pool])
                queue = self._queues.get(key)
                if queue is None or not queue.rows or queue.rows[0] is not head:
                    continue  # a better head was pushed since
                if request.kinds is not None and key.kind not in request.kinds:
                    not_wanted.append((head, key))
                elif key.agent and flagged(f"agent:{key.agent}"):
                    self._set_aside("flag", head, key)
                elif (full := self._full(request, key, now=now)) is not None:
                    self._set_aside(full, head, key)
                else:
                    runs = self._may_run(head, key, flagged)
                    del queue.rows[0]
                    self._follow(queue, key)  # another queue may come before this one's next row
                    if runs:
                        return key, head
        finally:
            for head, key in not_wanted:
                heappush(self._order[key.pool], (head, key))

    def _note_limits(self, request: ClaimRequest) -> None:
        """Other limits than last time: queues that stood at theirs may move."""
        limits = (request.agent_limits, request.agent_limit_default, request.kind_limits)
        if limits != self._limits:
            self._limits = limits
            for name in [each for each in self._aside if each != "flag"]:
                self._look_again(name)

    def _best_pool(self, pools: tuple[str, ...], flagged: Callable[[str], bool]) -> str | None:
        best: str | None = None
        for pool in self._order if EVERY_POOL in pools else pools:
            order = self._order.get(pool)
            if order and (best is None or order[0] < self._order[best][0]) and not flagged(f"pool:{pool}"):
                best = pool
        return best

    def _look_again(self, name: str) -> bool:
        """Queues that were set aside for this scope may move; True where there are any."""
        self._urgent_aside.pop(name, None)
        if self._opening:
            self._opening.pop(name, None)
        aside = self._aside.pop(name, ())
        for head, key in aside:
            heappush(self._order.setdefault(key.pool, []), (head, key))
        return bool(aside)

    def _full(self, request: ClaimRequest, key: QueueKey, *, now: Instant) -> str | None:
        """The scope whose limit is reached, or None."""
        if _takes_a_place(key):
            name = f"agent:{key.agent}"
            if self.running.get(name, 0) >= request.agent_limits.get(key.agent, request.agent_limit_default):
                return name
        if request.kind_limits:
            name = f"kind:{key.kind}"
            limit = request.kind_limits.get(TaskKind(key.kind))
            if limit is not None and self.running.get(name, 0) >= limit:
                return name
        return self._limited(key, now=now) if self._strands.limits else None

    def _limited(self, key: QueueKey, *, now: Instant) -> str | None:
        """The scope of a limit of the fleet that is reached, or whose rate is used up."""
        for scope, limit in self._limits_of(key):
            if limit.concurrency is not None and self.running.get(scope, 0) >= limit.concurrency:
                return scope
            if limit.rate is not None:
                opens_at = limit.rate.opens_at(self._begun_of(scope, now=now), now=now)
                if opens_at > now:
                    self._opening[scope] = min(opens_at, self._opening.get(scope, opens_at))
                    return scope
        return None

    def _begun_of(self, scope: str, *, now: Instant) -> list[Instant]:
        """Beginnings that a rate counts. Where the clock was set back since, they count as of now: a rate holds, and
        nothing waits for a time that the clock may not reach again for long."""
        begun = self._begun.get(scope)
        if begun is None:
            begun = self._begun[scope] = sorted(self._read_begun(scope))
        if begun and begun[-1] > now:
            begun[:] = [min(each, now) for each in begun]
        return begun

    def _limits_of(self, key: QueueKey) -> tuple[tuple[str, QueueLimit], ...]:
        if not self._strands.limits:
            return ()
        found = self._covering.get(key)
        if found is None:
            if len(self._covering) > ROWS_MAX:
                self._covering.clear()
            found = self._strands.covering(kind=key.kind, agent=key.agent, strand=key.strand)
            self._covering[key] = found
        return found

    def _scopes(self, key: QueueKey, session: str) -> list[str]:
        """What a running task of this queue counts for."""
        scopes = [f"kind:{key.kind}"]
        if _takes_a_place(key):
            scopes.append(f"agent:{key.agent}")
        if session:
            scopes.append(f"session:{session}")
        if self._strands.limits:
            scopes += dict(self._limits_of(key))
        return scopes

    def _set_aside(self, name: str, head: Candidate, key: QueueKey) -> None:
        self._aside.setdefault(name, []).append((head, key))
        if name != "flag" and name not in self._opening and head.priority >= URGENT_PRIORITY:
            self._urgent_aside[name] = self._urgent_aside.get(name, 0) + 1

    def urgent(self, pools: tuple[str, ...], flagged: Callable[[str], bool]) -> Mapping[str, int]:
        """Urgent heads that only a limit keeps from running, by `agent:<id>` or `kind:<kind>`; those that nothing but a
        free place is wanting for under an empty name."""
        found = dict(self._urgent_aside)
        best = self._best_pool(pools, flagged)
        if best is not None and self._order[best][0][0].priority >= URGENT_PRIORITY:
            found[""] = 1
        return found

    def _may_run(self, row: Candidate, key: QueueKey, flagged: Callable[[str], bool]) -> bool:
        """False where something stops this very row; it leaves its queue until that has changed."""
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

    def _follow(self, queue: Queue, key: QueueKey) -> None:
        """Puts the queue back in order with its next row, or forgets it when it has none."""
        if not queue.rows and queue.more:
            most = max(2, min(PAGE_MAX, ROWS_MAX // len(self._queues)))
            queue.rows = self._page(key, queue.last, most)
            queue.more = len(queue.rows) == most
            if queue.rows:
                queue.last = queue.rows[-1]
        if queue.rows:
            self._push(key, queue.rows[0])
        else:
            del self._queues[key]

    def _push(self, key: QueueKey, head: Candidate) -> None:
        heappush(self._order.setdefault(key.pool, []), (head, key))


def _takes_a_place(key: QueueKey) -> bool:
    """True for what counts among the tasks that an agent works on at once. A process does not: it must begin while the
    turn that started it goes on."""
    return bool(key.agent) and key.kind != TaskKind.PROCESS.value
