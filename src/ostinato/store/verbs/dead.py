"""Dead letters: failed tasks that nobody has dealt with, one by one and by what they have in common. Reading only."""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from ostinato.domain.fingerprint import fingerprint_of
from ostinato.domain.task import Task
from ostinato.domain.values import SECOND, Instant
from ostinato.store.queue_port import DeadGroup
from ostinato.store.verbs import rows
from ostinato.store.verbs.database import Database

NAMELESS_MAX = 10_000
"""Letters of an earlier version that are named in one go, or told apart while nobody has named them; some second."""

AHEAD: Instant = 3_600 * SECOND
"""A clock that was ahead by less puts nothing off for long; far more than clocks of several nodes differ."""

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
        groups = [
            DeadGroup(fingerprint=name, count=count, first_at=first_at, last_at=last_at, example=examples[newest])
            for name, count, first_at, last_at, newest in found
        ]
        nameless = self._nameless()
        return _joined(groups, nameless)[:limit] if nameless else groups

    def dead_letters(
        self, *, group: str = "", after: int = 0, until_at: Instant | None = None, limit: int = 100
    ) -> list[Task]:
        """In the order of their ids."""
        until = EVER if until_at is None else until_at
        if group:
            found = self._db.all("dead_of_group_behind", fingerprint=group, after=after, until=until, limit=limit)
            others = [each for each in self._nameless(group) if each.id > after and (each.finished_at or 0) <= until]
        else:
            found, others = self._db.all("dead_behind", after=after, until=until, limit=limit), []
        return sorted([*(rows.kept_of(row).task for row in found), *others], key=_by_id)[:limit]

    def recall(self, key: str, *, within_s: float, now: Instant) -> Task | None:
        """The task whose result answers this."""
        row = self._db.one("recall", key=key, now=now, since=now - round(within_s * SECOND), ahead=now + AHEAD)
        return None if row is None else rows.kept_of(row).task

    def hits(self, *, since_at: Instant, until_at: Instant | None = None) -> tuple[int, int]:
        """How many were answered so, and what they would have cost."""
        until = EVER if until_at is None else until_at
        count, saved = self._db.one("hits", since_at=since_at, until_at=until) or (0, 0)
        return count, saved or 0

    def dead_of_group(self, group: str, *, before: int | None = None, limit: int = 100) -> list[Task]:
        """Newest first."""
        found = self._db.all("dead_of_group", fingerprint=group, before=before or EVER, limit=limit)
        others = [each for each in self._nameless(group) if each.id < (before or EVER)]
        return sorted([*(rows.kept_of(row).task for row in found), *others], key=_by_id, reverse=True)[:limit]

    def _nameless(self, group: str = "") -> list[Task]:
        """Letters of an earlier version that nobody has named yet, or those that belong to one group."""
        found = [rows.kept_of(row).task for row in self._db.all("nameless_dead", limit=NAMELESS_MAX)]
        return [each for each in found if fingerprint_of(each) == group] if group else found


def _by_id(task: Task) -> int:
    return task.id


def _joined(groups: Sequence[DeadGroup], nameless: Sequence[Task]) -> list[DeadGroup]:
    """The groups with the letters that are in none, the latest first."""
    found = {each.fingerprint: each for each in groups}
    for task in nameless:
        name, at = fingerprint_of(task), task.finished_at or 0
        one = DeadGroup(fingerprint=name, count=1, first_at=at, last_at=at, example=task)
        if (known := found.get(name)) is not None:
            one = replace(
                known,
                count=known.count + 1,
                first_at=min(known.first_at, at),
                last_at=max(known.last_at, at),
                example=max(known.example, task, key=_by_id),
            )
        found[name] = one
    return sorted(found.values(), key=lambda each: (each.last_at, each.example.id), reverse=True)
