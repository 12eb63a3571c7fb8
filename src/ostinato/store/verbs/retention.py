"""Forgetting: ended things that are older than what is kept go, a bounded number at a time.

A task goes with everything it owns. Blobs go once no kept task or message names them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ostinato.domain.ledger import day_of
from ostinato.domain.limit import SPAN_MAX_S
from ostinato.domain.message import OWN_KINDS, kind_of
from ostinato.domain.step import Input, entry_from_json
from ostinato.domain.task import TaskKind
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import Retention
from ostinato.store.verbs.people import PeopleVerbs
from ostinato.store.verbs.rows import list_of


class RetentionVerbs(PeopleVerbs):
    """One verb: prune."""

    def prune(self, keep: Retention, *, now: Instant, limit: int = 500) -> int:
        """One bounded portion of what is kept long enough; and as many dead letters of an earlier version are named."""
        gone = self._prune("prune_results", now, limit) + self._name_failures(limit)
        gone += self._db.do("prune_begun", until=_before(now, SPAN_MAX_S))
        if keep.tasks_s is not None:
            until = _before(now, keep.tasks_s)
            gone += self._prune_tasks(until, limit)
            gone += self._prune_by_id("prune_messages", until, limit - gone, look="messages_from", now=now)
            gone += self._prune("prune_nodes", until, limit - gone)
            gone += self._prune("prune_fires", until, limit - gone)
        if keep.events_s is not None:
            until = _before(now, keep.events_s)
            gone += self._prune_by_id("prune_events", until, limit - gone, look="events_from", now=now)
        if keep.skips_s is not None:
            gone += self._prune("prune_skips", _before(now, keep.skips_s), limit - gone)
        if keep.charges_s is not None:
            until = _before(now, keep.charges_s)
            gone += self._prune("prune_charges", until, limit - gone)
            gone += self._prune("prune_hits", until, limit - gone)
            gone += self._prune("prune_accounts", day_of(until), limit - gone)
        if keep.blobs_s is not None:
            gone += self._prune_blobs(_before(now, keep.blobs_s), limit - gone, now=now)
        return gone

    def _prune(self, query: str, until: Instant, limit: int) -> int:
        return self._db.do(query, until=until, limit=limit) if limit > 0 else 0

    def _prune_tasks(self, until: Instant, limit: int) -> int:
        found = self._db.all("prunable_tasks", until=until, limit=limit)
        if not found:
            return 0
        ids = [{"task": task} for task, *_ in found]
        self._forget_uses([task for task, *_ in found])
        for query in _OWNED_BY_TASK:
            self._db.many(query, ids)  # at once: one by one they would be some thousand statements
        self._memory.flags = None  # a stop of a task goes with it
        for task, _, agent, kind, state in found:
            self._memory.tasks.pop(task, None)
            self._tally_as((agent, kind == TaskKind.GOAL.value, state), -1)
        own = {session for _, session, *_ in found if session and kind_of(session) in OWN_KINDS}
        if own:
            keys = [{"session": session} for session in sorted(own)]
            self._db.many("forget_messages", keys)
            self._db.many("forget_session", keys)
        return len(found)

    def _forget_uses(self, tasks: Sequence[int]) -> None:
        """That these tasks name the files of their prompts. Those are named anew every day, so that they are never
        among the blobs that nobody has used for long, where other uses are looked at."""
        uses: list[dict[str, object]] = []
        for task, text in self._db.all("inputs_of", ids=list_of(tasks)):
            entry = entry_from_json(text)
            if isinstance(entry, Input):
                uses += [{"digest": each, "task": task} for each in set(entry.files.values())]
        if uses:
            self._db.many("forget_blob_use", uses)

    def _prune_by_id(self, query: str, until: Instant, limit: int, *, look: str, now: Instant) -> int:
        """Looks only at what is old enough: ids grow with time, so that the first young row is soon found. Rows of a
        time to come were written while a clock was ahead, and say nothing of those behind them: they are stepped over,
        and go when that time does."""
        if limit <= 0:
            return 0
        last = self._db.next_id(look.removesuffix("_from"), take=False)
        first = self._db.one(look, id=0)
        if first is not None and first[1] > now:
            first = self._db.one(look, id=self._first_at(look, first[0], last, until=lambda at: at <= now))
        if first is None or first[1] >= until:
            return 0
        young = self._first_at(look, first[0], last, until=lambda at: at >= until)
        return self._db.do(query, until=until, begin=first[0], end=young, limit=limit)

    def _first_at(self, look: str, low: int, high: int, *, until: Callable[[Instant], bool]) -> int:
        """The id from which on it holds, between a row for which it does not and one that may never come."""
        while high - low > 1:
            middle = (low + high) // 2
            row = self._db.one(look, id=middle)
            if row is None or until(row[1]):
                high = middle
            else:
                low = row[0]
        return high

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
    "forget_question_of",
    "forget_steps",
    "forget_attempts",
    "forget_questions",
    "forget_dependencies",
    "forget_document",
    "forget_setbacks",
    "forget_account",
    "forget_flags",
    "forget_task",
)


def _before(now: Instant, seconds: float) -> Instant:
    return now - round(seconds * SECOND)
