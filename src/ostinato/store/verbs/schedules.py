"""Heartbeats and schedules: each nominal time fires or is skipped once; skips are kept as runs."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName
from ostinato.domain.values import Instant
from ostinato.store.port import ScheduleRow
from ostinato.store.verbs import rows
from ostinato.store.verbs.database import Row
from ostinato.store.verbs.ledger import LedgerVerbs

HEARTBEAT = "heartbeat:"


class ScheduleVerbs(LedgerVerbs):
    """What fires by the clock."""

    def put_schedule(self, row: ScheduleRow, *, now: Instant, actor: str = "runtime") -> None:
        """A schedule as it should be; what has been (last time, skips) stays unless it is given, and when it fired
        last in any case."""
        found = self._db.one("schedule", name=row.name)
        known = None if found is None else rows.schedule_of(found)
        if known is not None and row.last_at is None:  # a file says what should be, not what has been
            row = replace(row, last_at=known.last_at, skips_in_row=known.skips_in_row)
        if known is not None:
            row = replace(row, fired_at=known.fired_at)
        if row == known:
            return
        self._db.do(
            "put_schedule",
            name=row.name,
            agent=row.agent,
            rule=rows.to_text(row.rule),
            text=row.text,
            session=row.session,
            model=row.model,
            effort=row.effort,
            retry=rows.to_text_or_none(row.retry),
            deliver=row.deliver,
            source=row.source,
            last_at=row.last_at,
            next_at=row.next_at,
            skips_in_row=row.skips_in_row,
        )
        if known is not None and _says(known) == _says(row):
            return
        self._tell(
            EventName.SCHEDULE_ADDED,
            now=now,
            agent=row.agent,
            actor=actor,
            data={"schedule": row.name, "rule": row.rule, "changed": known is not None},
        )

    def bring_forward(self, name: str, *, next_at: Instant, now: Instant) -> bool:
        """Due earlier than it was."""
        return bool(self._db.do("bring_forward", name=name, next_at=next_at, now=now))

    def remove_schedule(self, name: str, *, actor: str, now: Instant) -> None:
        """It fires no more."""
        row = rows.schedule_of(self._schedule(name))
        self._db.do("remove_schedule", name=name)
        self._db.do("forget_fires", name=name)
        self._tell(EventName.SCHEDULE_REMOVED, now=now, agent=row.agent, actor=actor, data={"schedule": name})

    def _schedule(self, name: str) -> Row:
        row = self._db.one("schedule", name=name)
        if row is None:
            raise NotFound(f"There is no schedule {name!r}", cure="`ostinato schedules list` shows those there are.")
        return row

    def due_schedules(self, *, now: Instant, limit: int = 100) -> list[ScheduleRow]:
        """Those whose time has come, earliest first."""
        return [rows.schedule_of(row) for row in self._db.all("due_schedules", now=now, limit=limit)]

    def fire(self, name: str, *, nominal_at: Instant, next_at: Instant | None, now: Instant) -> bool:
        """One nominal time fires, once."""
        row = rows.schedule_of(self._schedule(name))
        if not self._db.do("fire_schedule", name=name, nominal_at=nominal_at, next_at=next_at):
            self._db.do("pass_schedule", name=name, nominal_at=nominal_at, next_at=next_at)
            return False
        self._db.do("add_fire", name=name, nominal_at=nominal_at)
        event = EventName.HEARTBEAT_FIRED if name.startswith(HEARTBEAT) else EventName.SCHEDULE_FIRED
        self._tell(event, now=now, agent=row.agent, data={"schedule": name, "nominal_at": nominal_at})
        return True

    def skip(
        self,
        name: str,
        *,
        heartbeat: str,
        agent: str,
        reason: str,
        nominal_at: Instant,
        next_at: Instant | None,
        now: Instant,
        in_row: bool = True,
    ) -> int:
        """One nominal time is skipped, once; returns the skips in a row."""
        *_, before, run = found = self._schedule(name)
        last_at = rows.schedule_of(found).last_at
        if last_at is not None and last_at >= nominal_at:
            self._db.do("pass_schedule", name=name, nominal_at=nominal_at, next_at=next_at)
            return int(before)
        longer = run is not None and self._db.do("lengthen_skip", id=run, reason=reason, at=nominal_at)
        if not longer:
            run = self._db.next_id("skips")
            self._db.do("add_skip", id=run, agent=agent, heartbeat=heartbeat, reason=reason, at=nominal_at)
            self._tell(  # once for a run, or 10,000 idle agents would fill the table
                EventName.HEARTBEAT_SKIPPED,
                now=now,
                agent=agent,
                reason=reason,
                data={"schedule": name, "heartbeat": heartbeat, "nominal_at": nominal_at},
            )
        count = int(before) + in_row
        self._db.do("skip_schedule", name=name, nominal_at=nominal_at, next_at=next_at, skips_in_row=count, run=run)
        return count


def _says(row: ScheduleRow) -> ScheduleRow:
    """What people wrote, without what has become of it."""
    return replace(row, last_at=None, fired_at=None, next_at=None, skips_in_row=0)
