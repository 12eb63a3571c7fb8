"""Dead letters: failed tasks that nobody has dealt with, one by one and by what they have in common. Reading only."""

from __future__ import annotations

from ostinato.domain.task import Task
from ostinato.domain.values import SECOND, Instant
from ostinato.store.queue_port import DeadGroup
from ostinato.store.verbs import rows
from ostinato.store.verbs.database import Database

EVER: Instant = 2**62
"""Behind every id and every instant."""


class DeadReads:
    """Reads about dead letters, bound to one snapshot."""

    _db: Database

    def dead_groups(self, *, limit: int = 100) -> list[DeadGroup]:
        """Those that failed alike, the latest first."""
        found = self._db.all("dead_groups", limit=limit)
        ids = rows.list_of([row[4] for row in found])
        examples = {row[0]: rows.kept_of(row).task for row in self._db.all("tasks_by_id", ids=ids)} if found else {}
        return [
            DeadGroup(fingerprint=name, count=count, first_at=first_at, last_at=last_at, example=examples[newest])
            for name, count, first_at, last_at, newest in found
        ]

    def dead_letters(
        self, *, group: str = "", after: int = 0, until_at: Instant | None = None, limit: int = 100
    ) -> list[Task]:
        """In the order of their ids."""
        until = EVER if until_at is None else until_at
        if group:
            found = self._db.all("dead_of_group_behind", fingerprint=group, after=after, until=until, limit=limit)
        else:
            found = self._db.all("dead_behind", after=after, until=until, limit=limit)
        return [rows.kept_of(row).task for row in found]

    def recall(self, key: str, *, within_s: float, now: Instant) -> Task | None:
        """The task whose result answers this."""
        row = self._db.one("recall", key=key, now=now, since=now - round(within_s * SECOND))
        return None if row is None else rows.kept_of(row).task

    def hits(self, *, since_at: Instant, until_at: Instant | None = None) -> tuple[int, int]:
        """How many were answered so, and what they would have cost."""
        until = EVER if until_at is None else until_at
        count, saved = self._db.one("hits", since_at=since_at, until_at=until) or (0, 0)
        return count, saved or 0

    def dead_of_group(self, group: str, *, before: int | None = None, limit: int = 100) -> list[Task]:
        """Newest first."""
        found = self._db.all("dead_of_group", fingerprint=group, before=before or EVER, limit=limit)
        return [rows.kept_of(row).task for row in found]
