"""The audit's chain, checked a portion at a time from where the last look ended.

Rows are written where all events are, in the commit that made them true. Knows nothing of what they say.
"""

from __future__ import annotations

from ostinato.domain.audit import BEGINNING, first_break
from ostinato.domain.event import EventName
from ostinato.domain.values import Instant
from ostinato.store.verbs.leashes import LeashVerbs

CHECKED = "audit.checked"
"""The setting that marks the last row that was looked at: incarnation, seq and digest."""


class AuditVerbs(LeashVerbs):
    """One verb that changes: check."""

    def check_audit(self, *, now: Instant, limit: int = 500) -> tuple[int, str]:
        """Looks at the next `limit` rows; returns how many there were, and what is wrong with them."""
        incarnation, seq, digest = _mark(self.setting(CHECKED))
        wrong = ""
        if seq:
            marked = self._db.one("audit_row", incarnation=incarnation, seq=seq)
            if marked is None or marked[-1] != digest:
                wrong = f"row {seq} of incarnation {incarnation}, which was checked before, is gone or was changed"
        rows = [] if wrong else self.audit(after=(incarnation, seq), limit=limit)
        for row in rows:
            if row.incarnation != incarnation:
                incarnation, seq, digest = row.incarnation, 0, BEGINNING
            wrong = first_break([row], seq=seq, digest=digest)
            if wrong:
                break
            seq, digest = row.seq, row.digest
        if rows:
            self.set_setting(CHECKED, f"{incarnation} {seq} {digest}")
        if wrong and self.setting("audit.broken") != wrong:
            self.set_setting("audit.broken", wrong)
            self._tell(EventName.AUDIT_BROKEN, now=now, reason=wrong)
        return len(rows), wrong


def _mark(text: str | None) -> tuple[int, int, str]:
    parts = (text or "").split(" ")
    return (int(parts[0]), int(parts[1]), parts[2]) if len(parts) == 3 else (-1, 0, BEGINNING)
