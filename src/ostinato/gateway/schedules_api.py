"""Operations on schedules: list, add, remove, run now.

Heartbeats stand in the agents' files and are only listed here. Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ostinato.domain.errors import Conflict, Invalid, NotFound, unknown_name
from ostinato.domain.instant import format_instant, zone_named
from ostinato.domain.message import check_owner, parse_deliver
from ostinato.domain.person import Role
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.schedule import RULE_KEYS, next_fire, parse_rule, rule_to_texts
from ostinato.gateway.context import Context
from ostinato.gateway.notation import parse_moment
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.tasks_api import Word
from ostinato.gateway.views import ScheduleList, ScheduleView, schedule_view
from ostinato.store.port import Reads, ScheduleRow, Tx
from ostinato.workspace.agent_file import EFFORTS

OWN_SESSIONS = ("main", "isolated")
"""Words for the agent's own main session, and for a session of its own for each fire."""


class WhichSchedules(Ask):
    """Which to list."""

    agent: Word | None = None


class AddSchedule(Ask):
    """A message to an agent, at a time or again and again. One of `at`, `every` and `cron`."""

    name: Annotated[str, msgspec.Meta(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,62}\Z")]
    agent: Word
    text: Annotated[str, msgspec.Meta(min_length=1, max_length=20_000)]
    at: Word | None = None
    every: Word | None = None
    cron: Word | None = None
    timezone: Word | None = None
    active: Word | None = None
    weekdays: Word | None = None
    misfire: Word | None = None
    anchor: Word | None = None
    """A time from which `every` counts; now, unless given."""
    jitter: Word | None = None
    """A duration: each fire comes up to so much late, so that many do not come at once."""
    overlap: Word | None = None
    """`queue` or `skip`: what a fire does while the work of the one before goes on."""
    session: Word = "main"
    model: Word | None = None
    effort: Word | None = None
    attempts: Annotated[int, msgspec.Meta(ge=1, le=100)] | None = None
    """Tries in all, where models fail."""
    deliver: Word | None = None
    """Where the result goes: `operator`, `agent:NAME` or `session:KEY`."""


class WhichSchedule(Ask):
    """One schedule."""

    name: Annotated[str, msgspec.Meta(max_length=300)]


class RunSchedule(WhichSchedule):
    """One schedule, to be fired now."""

    check: bool = False
    """Only where it would fire by itself: its check, its active hours and whatever holds the agent are asked."""


class Removed(View):
    """A schedule that is gone."""

    name: str


class Ran(View):
    """A schedule that was fired beside its own times."""

    name: str
    agent: str
    woken: bool
    reason: str
    """Why the agent was not woken; empty where it was."""
    node_running: bool


@operation("schedules.list", "GET /api/v1/schedules")
async def list_schedules(context: Context, request: WhichSchedules) -> ScheduleList:
    """Heartbeats and schedules, the next one due first."""
    rows = await context.store.read(lambda tx: tx.schedules(agent=request.agent))
    rows.sort(key=lambda row: (row.next_at is None, row.next_at or 0, row.name))
    return ScheduleList(schedules=[schedule_view(each) for each in rows])


@operation("schedules.add", "POST /api/v1/schedules", role=Role.OPERATOR)
async def add(context: Context, request: AddSchedule) -> ScheduleView:
    """Add a schedule: a message to an agent, at a time or again and again."""
    now, agent = context.now, (await context.card(request.agent)).id
    if request.session not in OWN_SESSIONS:
        check_owner(request.session, agent)
    texts = {key: value for key in RULE_KEYS if key != "at" and (value := getattr(request, key)) is not None}
    if request.timezone is not None:
        zone_named(request.timezone)
    if request.effort is not None and request.effort not in EFFORTS:
        raise Invalid(unknown_name("effort", request.effort[:64], EFFORTS), place="key 'effort'")
    if request.at is not None:
        texts["at"] = request.at if request.timezone else _iso_at(request.at, now=now)
    rule = parse_rule(texts, of=request.name)
    if rule.every_s is not None and rule.anchor_at is None:  # "every hour" is said from now on
        rule = msgspec.structs.replace(rule, anchor_at=now)
    next_at = next_fire(rule, after=now)
    if next_at is None:
        raise Invalid(f"That time has passed: {request.at}", place="key 'at'", cure="Give a time to come, or 15m.")
    row = ScheduleRow(
        name=request.name,
        agent=agent,
        rule=rule_to_texts(rule),
        text=request.text,
        session=request.session,
        model=request.model,
        effort=request.effort,
        retry=RetryPolicy(attempts_max=request.attempts) if request.attempts is not None else None,
        deliver=parse_deliver(request.deliver) if request.deliver is not None else None,
        last_at=now if rule.every_s is not None else None,
        next_at=next_at,
    )

    def write(tx: Tx) -> ScheduleView:
        if any(each.name == request.name for each in tx.schedules()):
            cure = f"Remove it first: ostinato schedules remove {request.name}"
            raise Conflict(f"There is a schedule {request.name!r} already", cure=cure)
        tx.put_schedule(row, now=now, actor=context.caller.name)
        return schedule_view(row)

    return await context.store.run(write)


@operation("schedules.remove", "DELETE /api/v1/schedules/{name}", role=Role.OPERATOR)
async def remove(context: Context, request: WhichSchedule) -> Removed:
    """Remove a schedule; a heartbeat is removed in its agent's file."""
    now = context.now

    def write(tx: Tx) -> Removed:
        row = _find(tx, request.name)
        if row.source == "file":
            raise Conflict(
                f"{row.name} stands in the files of {row.agent}", cure="Remove it there: HEARTBEAT.md or heartbeats/."
            )
        tx.remove_schedule(row.name, actor=context.caller.name, now=now)
        return Removed(name=row.name)

    return await context.store.run(write)


@operation("schedules.run", "POST /api/v1/schedules/{name}/run", role=Role.OPERATOR)
async def run(context: Context, request: RunSchedule) -> Ran:
    """Fire a heartbeat or schedule now, beside its own times: whatever its check says, unless asked to heed it."""
    row = await context.store.read(lambda tx: _find(tx, request.name))
    reason = await context.fire(row, request.check)
    return Ran(name=row.name, agent=row.agent, woken=not reason, reason=reason, node_running=context.node is not None)


def _iso_at(text: str, *, now: int) -> str:
    """`15m` counted from now, or a time that names its zone, as ISO 8601."""
    return format_instant(parse_moment(text, now=now, ahead=True))


def _find(tx: Reads, name: str) -> ScheduleRow:
    rows = tx.schedules()
    found = next((row for row in rows if row.name == name), None)
    if found is None:
        raise NotFound(unknown_name("schedule", name, [row.name for row in rows]))
    return found
