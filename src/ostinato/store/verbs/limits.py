"""How the fleet's limits of queues stand: what runs under each, when a rate opens, who waits. Reading only."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from ostinato.domain.limit import LimitState, QueueLimit, Strands
from ostinato.domain.task import Task
from ostinato.domain.values import Instant
from ostinato.store.verbs.database import Database

LIMITS_SETTING = "queues.limits"
"""Where the limits are kept: whoever claims and whoever looks must go by the same ones."""

HEADS_MAX = 1_000
"""Queues whose first tasks are looked at for whoever waits."""

_limits = msgspec.json.Decoder(tuple[QueueLimit, ...]).decode


class LimitReads:
    """Reads about limits, bound to one snapshot."""

    _db: Database

    def limits(self) -> tuple[QueueLimit, ...]:
        """The fleet's limits, as the last node to start was told."""
        row = self._db.one("setting", name=LIMITS_SETTING)
        return _limits(row[0]) if row is not None and row[0] else ()

    def limits_of(self, task: Task, *, now: Instant) -> list[LimitState]:
        """How the limits of one task stand."""
        strands = Strands(self.limits())
        covering = strands.of(task)
        return self._states(covering, self._running(strands), now=now) if covering else []

    def limit_states(self, *, now: Instant) -> list[LimitState]:
        """How every limit stands; one for each project or agent where something of it runs, has begun or waits."""
        strands = Strands(self.limits())
        if not strands.limits:
            return []
        running = self._running(strands)
        first = self._first_waiting(strands)
        fixed = [(each.scope(kind=each.kind, project=each.project, agent=each.agent), each) for each in strands.limits]
        found = {(scope, limit): None for scope, limit in fixed if "=*" not in scope}
        found |= dict.fromkeys((*running, *first))
        counts = {scope: count for (scope, _), count in running.items()}
        waits = {scope: task for (scope, _), task in first.items()}
        standings = self._states(found, {(s, each): counts.get(s, 0) for s, each in found}, now=now)
        return [
            msgspec.structs.replace(each, waits=waits.get(each.scope) if _holds(each) else None)
            for each in sorted(standings, key=lambda each: each.scope)
        ]

    def _states(
        self, covering: Iterable[tuple[str, QueueLimit]], running: dict[tuple[str, QueueLimit], int], *, now: Instant
    ) -> list[LimitState]:
        found = []
        for scope, limit in covering:
            opens_at = None
            if limit.rate is not None:
                at = limit.rate.opens_at(self._begun(scope), now=now)
                opens_at = at if at > now else None
            count = running.get((scope, limit), 0)
            found.append(LimitState(scope=scope, limit=limit, running=count, opens_at=opens_at))
        return found

    def _begun(self, scope: str) -> list[Instant]:
        """When the last tasks of a scope began that has a rate."""
        return sorted(at for (at,) in self._db.all("begun", scope=scope))

    def _running(self, strands: Strands) -> dict[tuple[str, QueueLimit], int]:
        counts: dict[tuple[str, QueueLimit], int] = {}
        for _pool, agent, kind, strand, _session in self._db.all("running"):
            for each in strands.covering(kind=kind, agent=agent, strand=strand):
                counts[each] = counts.get(each, 0) + 1
        return counts

    def _first_waiting(self, strands: Strands) -> dict[tuple[str, QueueLimit], int]:
        """The most urgent task under each limit, among the first of each queue."""
        best: dict[tuple[str, QueueLimit], tuple[int, int]] = {}
        place = {"pool": "", "agent": "", "kind": "", "strand": ""}
        for _ in range(HEADS_MAX):
            row = self._db.one("next_queue", **place)
            if row is None:
                break
            pool, agent, kind, strand, rank, id_, _session, _priority = row
            place = {"pool": pool, "agent": agent, "kind": kind, "strand": strand}
            for each in strands.covering(kind=kind, agent=agent, strand=strand):
                best[each] = min((rank, id_), best.get(each, (rank, id_)))
        return {each: id_ for each, (_, id_) in best.items()}


def _holds(standing: LimitState) -> bool:
    return standing.is_full or standing.opens_at is not None
