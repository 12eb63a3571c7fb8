"""Rows and values: how a fact of the domain becomes columns, and columns become a fact.

The order of columns is that of the `*_columns` queries. Knows nothing of transactions. Enums are looked up in plain
dictionaries: calling an enum class costs four times as much, and a claim makes two such lookups.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from typing import Any

import msgspec

from ostinato.domain.audit import AuditRow
from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.dependency import SKIPPED
from ostinato.domain.event import Event, EventName
from ostinato.domain.failure import Setbacks
from ostinato.domain.ledger import Charge
from ostinato.domain.message import Message, NewMessage, Session, SessionKind
from ostinato.domain.permission import NewPermission, Permission
from ostinato.domain.person import Role, Token
from ostinato.domain.pin import Pin
from ostinato.domain.question import NewQuestion, Question, QuestionState
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.step import Step, entry_from_json
from ostinato.domain.task import Task, TaskKind, TaskResult, TaskSpec, TaskState, Wait
from ostinato.domain.values import Instant, Value
from ostinato.store.port import Attempt, Flag, Node, ScheduleRow, Skip
from ostinato.store.verbs.database import Row

SPEC_INLINE_MAX = 2_000
"""Longest specification (bytes) kept in the task's own row, which each change of the task writes again; half a page."""

_KINDS = {each.value: each for each in TaskKind}
_STATES = {each.value: each for each in TaskState}
_EVENTS = {each.value: each for each in EventName}
_encode = msgspec.json.Encoder().encode
_spec = msgspec.json.Decoder(TaskSpec).decode
_result = msgspec.json.Decoder(TaskResult).decode
_wait = msgspec.json.Decoder(Wait).decode
_message = msgspec.json.Decoder(NewMessage).decode
_permission = msgspec.json.Decoder(NewPermission).decode
_question = msgspec.json.Decoder(NewQuestion).decode
_object = msgspec.json.Decoder(dict[str, Any]).decode
_texts = msgspec.json.Decoder(dict[str, str]).decode
_list = msgspec.json.Decoder(tuple[str, ...]).decode
_setbacks = msgspec.json.Decoder(Setbacks).decode
_retry = msgspec.json.Decoder(RetryPolicy).decode


def to_text(value: object) -> str:
    """JSON as the text that a column holds."""
    return _encode(value).decode()


def to_text_or_none(value: object | None) -> str | None:
    """JSON, or nothing for None."""
    return None if value is None else _encode(value).decode()


class Kept(Value, gc=False):
    """A task as the store keeps it: the task, and what only the store needs to know about it."""

    task: Task
    ready_at: Instant = 0
    """Since when it can be claimed."""
    due_at: Instant | None = None
    """When time alone moves it: a delayed task becomes claimable, a wait ends."""
    held: bool = False
    """Blocked for a reason of its own, beside its dependencies."""
    awaited: bool = False
    """Other tasks depend on it, or did."""
    seen: int = 0
    """Last message of the fleet when it was claimed."""
    rank: int = 0
    """Its place among those that wait; see `ostinato.domain.aging`."""
    endings: int = 0
    """Times it came back after it had ended."""


def kept_of(row: Row) -> Kept:
    """A task from `task_columns`."""
    (
        id_, kind, state, title, agent, session, pool, project, type_, priority, not_before_at, created_at, updated_at,
        finished_at, attempts, failures, losses, token, node, journal, unfinished, parent, depth, key, wait, reason,
        dismissed, result, tokens, usd_micros, steps, ready_at, due_at, held, awaited, seen, endings, rank,
        spec,
    ) = row  # fmt: skip
    task = Task(
        id=id_,
        kind=_KINDS[kind],
        state=_STATES[state],
        title=title,
        agent=agent or None,
        session=session or None,
        pool=pool,
        project=project,
        type=type_,
        priority=priority,
        not_before_at=not_before_at,
        created_at=created_at,
        updated_at=updated_at,
        finished_at=finished_at,
        attempts=attempts,
        failures=failures,
        losses=losses,
        token=token,
        node=node,
        journal=journal,
        unfinished=unfinished,
        parent=parent,
        depth=depth,
        key=key,
        wait=None if wait is None else _wait(wait),
        reason=reason,
        dismissed=bool(dismissed),
        spec=_spec(spec),
        result=None if result is None else _result(result),
        tokens=tokens,
        usd_micros=usd_micros,
        steps=steps,
    )
    return Kept(
        task=task,
        ready_at=ready_at,
        due_at=due_at,
        held=bool(held),
        awaited=bool(awaited),
        seen=seen,
        endings=endings,
        rank=rank,
    )


def is_skipped_row(state: str, result: str | None) -> bool:
    """True for the state and result of a task that was cancelled because its branch was not taken."""
    return state == TaskState.CANCELLED.value and result is not None and _result(result).error_class == SKIPPED


def attempt_of(row: Row) -> Attempt:
    """An attempt from `attempt_columns`."""
    task, token, node, started_at, ended_at, outcome, error, ready_at = row
    return Attempt(
        task=task,
        token=token,
        node=node,
        started_at=started_at,
        ended_at=ended_at,
        outcome=outcome,
        error=error,
        ready_at=ready_at,
    )


def audit_of(row: Row) -> AuditRow:
    """A row of the audit from `audit_columns`."""
    incarnation, seq, at, body, previous, digest = row
    return AuditRow(incarnation=incarnation, seq=seq, at=at, body=body, previous=previous, digest=digest)


def step_of(row: Row) -> Step:
    """A step from `step_columns`."""
    task, journal, seq, at, attempt, entry = row
    return Step(task=task, journal=journal, seq=seq, at=at, attempt=attempt, entry=entry_from_json(entry))


def session_of(row: Row) -> Session:
    """A session from `session_columns`."""
    key, agent, kind, cursor, created_at, active_at, paused = row
    return Session(
        key=key,
        agent=agent,
        kind=SessionKind(kind),
        cursor=cursor,
        created_at=created_at,
        active_at=active_at,
        paused=bool(paused),
    )


def message_from(new: NewMessage, *, id_: int, session: str, at: Instant) -> Message:
    """The message that `new` became."""
    return Message(**_fields(new), id=id_, session=session, at=at)


def message_of(row: Row) -> Message:
    """A message from `message_columns`."""
    id_, session, at, body = row
    return message_from(_message(body), id_=id_, session=session, at=at)


def question_from(new: NewQuestion, **settled: Any) -> Question:
    """The question that `new` became."""
    return Question(**_fields(new), **settled)


def question_of(row: Row) -> Question:
    """A question from `question_columns`."""
    id_, state, created_at, decided_at, decided_by, answer, arguments, bound, body = row
    return question_from(
        _question(body),
        id=id_,
        state=QuestionState(state),
        created_at=created_at,
        decided_at=decided_at,
        decided_by=decided_by,
        answer=answer,
        arguments=None if arguments is None else _object(arguments),
        edited_bound=None if bound is None else _object(bound),
    )


def event_of(row: Row) -> Event:
    """An event from `event_columns`."""
    id_, at, name, task, agent, session, actor, reason, data = row
    return Event(
        id=id_,
        at=at,
        name=_EVENTS[name],
        task=task,
        agent=agent,
        session=session,
        actor=actor,
        reason=reason,
        data={} if data is None else _object(data),
    )


def events_of(found: Iterable[Row]) -> list[Event]:
    """The same of many, without those of a newer version, of which this one cannot tell anybody anything."""
    return [event_of(row) for row in found if row[2] in _EVENTS]


def charge_of(row: Row) -> Charge:
    """A ledger row from `charge_columns`."""
    return Charge(**dict(zip(CHARGE_FIELDS, row, strict=True)))


CHARGE_FIELDS = Charge.__struct_fields__


def schedule_of(row: Row) -> ScheduleRow:
    """A schedule from `schedule_columns`."""
    (
        name, agent, rule, text, session, model, effort, retry, deliver, source, last_at, fired_at, next_at,
        skips_in_row, _skip_run,
    ) = row  # fmt: skip
    return ScheduleRow(
        name=name,
        agent=agent,
        rule=_texts(rule),
        text=text,
        session=session,
        model=model,
        effort=effort,
        retry=None if retry is None else _retry(retry),
        deliver=deliver,
        source=source,
        last_at=last_at,
        fired_at=fired_at,
        next_at=next_at,
        skips_in_row=skips_in_row,
    )


def skip_of(row: Row) -> Skip:
    """A run of skips from `skip_columns`."""
    agent, heartbeat, reason, from_at, to_at, count = row
    return Skip(agent=agent, heartbeat=heartbeat, reason=reason, from_at=from_at, to_at=to_at, count=count)


def node_of(row: Row) -> Node:
    """A node from `node_columns`."""
    id_, pid, host, version, started_at, ended_at, clean, pools = row
    return Node(
        id=id_,
        pid=pid,
        host=host,
        version=version,
        started_at=started_at,
        ended_at=ended_at,
        clean=bool(clean),
        pools=texts_of(pools),
    )


def texts_of(text: str) -> tuple[str, ...]:
    """A list of texts, as a column holds it."""
    return _list(text)


def flag_of(row: Row) -> Flag:
    """A flag from `flag_columns`."""
    scope, name, at, actor, reason = row
    return Flag(scope=scope, name=name, at=at, actor=actor, reason=reason)


def setbacks_of(row: Row) -> Setbacks:
    """What has failed in a task, from its document."""
    return _setbacks(row[0])


def breaker_of(row: Row) -> Breaker:
    """A circuit breaker from `breaker_columns`."""
    name, state, failures, since_at, until_at, opened, probe, reason = row
    return Breaker(
        name=name,
        state=BreakerState(state),
        failures=failures,
        since_at=since_at,
        until_at=until_at,
        opened=opened,
        probe=probe,
        reason=reason,
    )


def token_of(row: Row) -> Token:
    """A token from `token_columns`."""
    id_, person, role, digest, added_at, added_by, revoked_at, revoked_by = row
    return Token(
        id=id_,
        person=person,
        role=Role(role),
        digest=digest,
        added_at=added_at,
        added_by=added_by,
        revoked_at=revoked_at,
        revoked_by=revoked_by,
    )


def permission_of(row: Row) -> Permission:
    """A permission from `permission_columns`."""
    id_, added_at, revoked_at, revoked_by, body = row
    return permission_from(_permission(body), id_=id_, added_at=added_at, revoked_at=revoked_at, revoked_by=revoked_by)


def permission_from(new: NewPermission, *, id_: int, **kept: Any) -> Permission:
    """The permission that `new` became."""
    return Permission(**_fields(new), id=id_, **kept)


def pin_of(row: Row) -> Pin:
    """A pin from `pin_columns`."""
    return Pin(**dict(zip(_PIN_FIELDS, row, strict=True)))


_PIN_FIELDS = ("name", "digest", "text", "accepted_at", "accepted_by", "seen_digest", "seen_text", "seen_at")


def list_of(values: Any) -> str:
    """Values as a JSON array, for `IN (SELECT value FROM json_each(:x))`; sorted, so equal sets give equal texts."""
    return json.dumps(sorted(values))


def _fields(value: msgspec.Struct) -> dict[str, Any]:
    return {name: getattr(value, name) for name in value.__struct_fields__}


def shortened(text: str, most: int = 500) -> str:
    """A text for an event or a note: at most so many characters."""
    return text if len(text) <= most else text[: most - 1] + "…"
