"""Events: frozen facts with ids, announced after the commit that made them true.

Log lines, the live stream, counters and the daily note are made from these; nothing decides by them. Knows nothing of
who listens.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from ostinato.domain.values import Instant, Value


class EventName(enum.StrEnum):
    """Every event there is. The part before the dot is the noun it is about."""

    TASK_ADDED = "task.added"
    TASK_APPROVED = "task.approved"
    TASK_RELEASED = "task.released"
    TASK_BLOCKED = "task.blocked"
    TASK_CLAIMED = "task.claimed"
    TASK_DONE = "task.done"
    TASK_ANSWERED = "task.answered"
    TASK_REVIEW = "task.review"
    TASK_RETURNED = "task.returned"
    TASK_PARKED = "task.parked"
    TASK_WOKEN = "task.woken"
    TASK_RETRIED = "task.retried"
    TASK_REQUEUED = "task.requeued"
    TASK_FAILED = "task.failed"
    TASK_CANCELLED = "task.cancelled"
    TASK_REPLAYED = "task.replayed"
    TASK_DISMISSED = "task.dismissed"
    TASK_CHANGED = "task.changed"
    TASK_NOTED = "task.noted"
    TASK_LATE = "task.late"
    TASK_STALLED = "task.stalled"
    MESSAGE_APPENDED = "message.appended"
    QUESTION_ASKED = "question.asked"
    QUESTION_SETTLED = "question.settled"
    QUESTION_REMINDED = "question.reminded"
    QUESTION_ESCALATED = "question.escalated"
    PERMISSION_ADDED = "permission.added"
    PERMISSION_REVOKED = "permission.revoked"
    PROCESS_DIRECTED = "process.directed"
    TAINT_CLEARED = "taint.cleared"
    HEARTBEAT_SKIPPED = "heartbeat.skipped"
    HEARTBEAT_FIRED = "heartbeat.fired"
    SCHEDULE_FIRED = "schedule.fired"
    SCHEDULE_MISSED = "schedule.missed"
    SCHEDULE_CORRECTED = "schedule.corrected"
    SCHEDULE_ADDED = "schedule.added"
    SCHEDULE_REMOVED = "schedule.removed"
    FILE_TAKEN = "file.taken"
    FILE_REFUSED = "file.refused"
    DELIVERY_SENT = "delivery.sent"
    FLAG_SET = "flag.set"
    FLAG_CLEARED = "flag.cleared"
    LIMITS_CHANGED = "limits.changed"
    TOKEN_ADDED = "token.added"
    TOKEN_REVOKED = "token.revoked"
    BREAKER_OPENED = "breaker.opened"
    BREAKER_CLOSED = "breaker.closed"
    PIN_CHANGED = "pin.changed"
    PIN_ACCEPTED = "pin.accepted"
    RULE_MISSED = "rule.missed"
    NODE_STARTED = "node.started"
    NODE_STOPPED = "node.stopped"
    NODE_LOST = "node.lost"
    AGENT_LOADED = "agent.loaded"
    AGENT_PLACED = "agent.placed"
    AGENT_SCALED = "agent.scaled"
    AGENT_INVALID = "agent.invalid"
    STORE_CHECKED = "store.checked"
    DISK_FULL = "disk.full"
    TURN_LIMITED = "turn.limited"
    BUDGET_WARNED = "budget.warned"
    AUDIT_BROKEN = "audit.broken"


class NewEvent(Value):
    """An event to be appended. `actor` is who did it: a person's name, an agent's, or `runtime`."""

    name: EventName
    task: int | None = None
    agent: str | None = None
    session: str | None = None
    actor: str = "runtime"
    reason: str = ""
    data: dict[str, Any] = msgspec.field(default_factory=dict)


class Event(NewEvent):
    """An event as it was written. Ids grow in the order of commits."""

    id: int
    at: Instant
