"""Forgetting: ended things that are older than what is kept go, a bounded number at a time.

A task goes with everything it owns. Blobs go once no kept task or message names them.
"""

from __future__ import annotations

from ostinato.domain.ledger import day_of
from ostinato.domain.message import OWN_KINDS, kind_of
from ostinato.domain.task import TaskKind
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import Retention
from ostinato.store.verbs.people import PeopleVerbs


class RetentionVerbs(PeopleVerbs):
    """One verb: prune."""

    def prune(self, keep: Retention, *, now: Instant, limit: int = 500) -> int:
        """One bounded portion of what is kept long enough."""
        gone = 0
        if keep.tasks_s is not None:
            until = _before(now, keep.tasks_s)
            gone += self._prune_tasks(until, limit)
            gone += self._prune("prune_messages", until, limit - gone)
            gone += self._prune("prune_nodes", until, limit - gone)
            gone += self._prune("prune_fires", until, limit - gone)
        if keep.events_s is not None:
            gone += self._prune("prune_events", _before(now, keep.events_s), limit - gone)
        if keep.skips_s is not None:
            gone += self._prune("prune_skips", _before(now, keep.skips_s), limit - gone)
        if keep.charges_s is not None:
            until = _before(now, keep.charges_s)
            gone += self._prune("prune_charges", until, limit - gone)
            gone += self._prune("prune_accounts", day_of(until), limit - gone)
        if keep.blobs_s is not None:
            gone += self._prune_blobs(_before(now, keep.blobs_s), limit - gone, now=now)
        return gone

    def _prune(self, query: str, until: Instant, limit: int) -> int:
        return self._db.do(query, until=until, limit=limit) if limit > 0 else 0

    def _prune_tasks(self, until: Instant, limit: int) -> int:
        found = self._db.all("prunable_tasks", until=until, limit=limit)
        for task, session, agent, kind, state in found:
            for query in _OWNED_BY_TASK:
                self._db.do(query, task=task)
            self._memory.tasks.pop(task, None)
            self._tally_as((agent, kind == TaskKind.GOAL.value, state), -1)
            if session and kind_of(session) in OWN_KINDS and self._db.one("session_task", session=session) is None:
                self._db.do("forget_messages", session=session)
                self._db.do("forget_session", key=session)
        return len(found)

    def _prune_blobs(self, until: Instant, limit: int, *, now: Instant) -> int:
        """Candidates are blobs that nobody has stored or used anew for long. One that is still named is looked at again
        only after as long."""
        gone = 0
        for (digest,) in self._db.all("old_blobs", until=until, limit=max(0, limit)):
            self._db.do("forget_blob_uses", digest=digest)
            if self._db.one("blob_use", digest=digest) is None:
                self._db.do("forget_blob", digest=digest)
                gone += 1
            else:
                self._db.do("touch_blob", digest=digest, now=now)
        return gone


_OWNED_BY_TASK = (
    "forget_steps",
    "forget_attempts",
    "forget_questions",
    "forget_dependencies",
    "forget_document",
    "forget_task",
)


def _before(now: Instant, seconds: float) -> Instant:
    return now - round(seconds * SECOND)
