"""The audit's chain, checked a portion at a time from where the last look ended.

Rows are written where all events are, in the commit that made them true. Knows nothing of what they say.
"""

from __future__ import annotations

from ostinato.domain.audit import BEFORE_ALL, cut_off, first_break, kept_place, place_of
from ostinato.domain.event import EventName
from ostinato.domain.values import Instant
from ostinato.store.verbs.leashes import LeashVerbs
from ostinato.store.verbs.work import AUDIT_END

CHECKED = "audit.checked"
"""The setting that marks the last row that was looked at: incarnation, seq and digest."""


class AuditVerbs(LeashVerbs):
    """One verb that changes: check."""

    def check_audit(self, *, now: Instant, limit: int = 500) -> tuple[int, str]:
        """Looks at the next `limit` rows; returns how many there were, and what is wrong with them."""
        marked, wrong = kept_place(self.setting(CHECKED)), ""
        if marked is not None:
            found = self._db.one("audit_row", incarnation=marked.incarnation, seq=marked.seq)
            if found is None or found[-1] != marked.digest:
                name = f"row {marked.seq} of incarnation {marked.incarnation}"
                wrong = f"{name}, which was checked before, is gone or was changed"
        after = marked or BEFORE_ALL
        rows = [] if wrong else self.audit(after=(after.incarnation, after.seq), limit=limit)
        for row in rows:
            wrong = first_break([row], after=after)
            if wrong:
                break
            after = place_of(row)
        if rows:
            self.set_setting(CHECKED, after.text)
        if not wrong and len(rows) < limit:
            wrong = cut_off(next(iter(self.audit_latest(limit=1)), None), kept_place(self.setting(AUDIT_END)))
        if wrong and self.setting("audit.broken") != wrong:
            self.set_setting("audit.broken", wrong)
            self._tell(EventName.AUDIT_BROKEN, now=now, reason=wrong)
        return len(rows), wrong
