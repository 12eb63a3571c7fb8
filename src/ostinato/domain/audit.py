"""The audit: what people decided, changed and stopped, each row bound by its digest to the one before it.

Each incarnation of a node has a chain of its own, so that a break is confined to one; its first row is bound to the end
of the chain before it, so that none can lose its end, or be lost whole. Whoever can write the database can forge a
chain that nobody has looked at; what has been checked is kept as a mark, and a row behind it cannot change unseen.
Knows nothing of where rows are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ostinato.domain.event import EventName
from ostinato.domain.values import Instant, Value, digest_of, to_json

AUDITED = frozenset(
    {
        EventName.QUESTION_SETTLED,
        EventName.FLAG_SET,
        EventName.FLAG_CLEARED,
        EventName.BREAKER_CLOSED,
        EventName.TOKEN_ADDED,
        EventName.TOKEN_REVOKED,
        EventName.TASK_APPROVED,
        EventName.TASK_BLOCKED,
        EventName.TASK_RELEASED,
        EventName.TASK_RETURNED,
        EventName.TASK_DONE,
        EventName.TASK_FAILED,
        EventName.TASK_CANCELLED,
        EventName.TASK_REPLAYED,
        EventName.TASK_DISMISSED,
        EventName.TASK_CHANGED,
        EventName.SCHEDULE_ADDED,
        EventName.SCHEDULE_REMOVED,
        EventName.PROCESS_DIRECTED,
        EventName.TAINT_CLEARED,
        EventName.PIN_ACCEPTED,
        EventName.PERMISSION_ADDED,
        EventName.PERMISSION_REVOKED,
        EventName.AGENT_PLACED,
        EventName.AGENT_SCALED,
        EventName.AGENT_LOADED,
        EventName.LIMITS_CHANGED,
    }
)
"""Events that are kept in the audit, where somebody other than the runtime caused them, or settings changed."""

BY_ITSELF = frozenset({EventName.AGENT_LOADED, EventName.AGENT_PLACED, EventName.LIMITS_CHANGED})
"""Changes of settings, whoever the runtime noticed them for."""

BEGINNING = ""
"""What the very first row is bound to."""


class AuditRow(Value):
    """One row of a chain."""

    incarnation: int
    """The node that was the newest when it was written; 0: none had ever run."""
    seq: int
    """From 1, without gaps."""
    at: Instant
    body: str
    """What happened, as canonical JSON."""
    previous: str
    """Digest of the row before it."""
    digest: str


def is_audited(name: str, actor: str) -> bool:
    """True where an event is a person's decision, a change of settings, or a stop."""
    return name in AUDITED and (actor != "runtime" or name in BY_ITSELF)


def bound(*, incarnation: int, seq: int, at: Instant, body: str, previous: str) -> AuditRow:
    """A new row at the end of a chain; `body` as it will be kept, to the letter."""
    return AuditRow(
        incarnation=incarnation,
        seq=seq,
        at=at,
        body=body,
        previous=previous,
        digest=_digest(incarnation, seq, at, body=body, previous=previous),
    )


class Place(Value):
    """A row by its place and its digest: how far somebody has looked, or where the rows end."""

    incarnation: int = -1
    seq: int = 0
    digest: str = BEGINNING

    @property
    def text(self) -> str:
        """As it is kept."""
        return f"{self.incarnation} {self.seq} {self.digest}"


BEFORE_ALL = Place()


def place_of(row: AuditRow) -> Place:
    """The place of a row."""
    return Place(incarnation=row.incarnation, seq=row.seq, digest=row.digest)


def kept_place(text: str | None) -> Place | None:
    """A place as it was kept; None where none was."""
    parts = (text or "").split(" ")
    return Place(incarnation=int(parts[0]), seq=int(parts[1]), digest=parts[2]) if len(parts) == 3 else None


def first_break(rows: Iterable[AuditRow], *, after: Place = BEFORE_ALL) -> str:
    """What is wrong with the rows behind `after`, in order; empty: nothing."""
    incarnation, seq, digest = after.incarnation, after.seq, after.digest
    for row in rows:
        name = f"row {row.seq} of incarnation {row.incarnation}"
        if row.incarnation != incarnation:
            incarnation, seq = row.incarnation, 0
        if row.seq != seq + 1:
            return f"before {name} there are {row.seq - seq - 1} rows missing"
        is_older = row.seq == 1 and row.previous == BEGINNING  # from when chains were not bound to one another
        if row.previous != digest and not is_older:
            return f"{name} is not bound to the row before it"
        if row.digest != _digest(row.incarnation, row.seq, row.at, body=row.body, previous=row.previous):
            return f"{name} was changed"
        seq, digest = row.seq, row.digest
    return ""


def cut_off(latest: AuditRow | None, end: Place | None) -> str:
    """What is wrong with the end of all rows, where one was kept; empty: nothing."""
    if end is None or (latest is not None and place_of(latest) == end):
        return ""
    return f"row {end.seq} of incarnation {end.incarnation}, the last that was written, is gone or was changed"


def _digest(incarnation: int, seq: int, at: Instant, *, body: str, previous: str) -> str:
    parts: Sequence[object] = (incarnation, seq, at, body, previous)
    return digest_of(to_json(parts))
