"""Operations on the record: what happened, in sentences.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Annotated

import msgspec

from ostinato.domain.errors import Conflict, Invalid, unknown_name
from ostinato.domain.event import EventName
from ostinato.domain.values import SECOND, Instant
from ostinato.gateway.context import Context
from ostinato.gateway.follow import changes_of
from ostinato.gateway.notation import parse_id, parse_moment
from ostinato.gateway.operation import Ask, operation, stream
from ostinato.gateway.tasks_api import Word
from ostinato.gateway.views import EventList, EventView, event_views
from ostinato.store.port import EventFilter, Reads

SINCE_DEFAULT = 86_400 * SECOND
"""How far back a list goes where nothing is said: a day."""

BATCH = 500

LATEST_OF = 5_000
"""Events among which the latest are looked for."""


class WhichEvents(Ask):
    """Which events: of the last day unless `since` says otherwise. `name` may be a whole noun: `task`. `latest` takes
    the newest of a long list; without it a list begins with the oldest."""

    since: Word | None = None
    until: Word | None = None
    agent: Word | None = None
    task: Word | None = None
    session: Word | None = None
    name: list[str] = []
    after: Annotated[int, msgspec.Meta(ge=0)] = 0
    limit: Annotated[int, msgspec.Meta(ge=1, le=5_000)] = 500
    latest: bool = False


@operation("events.list", "GET /api/v1/events")
async def list_events(context: Context, request: WhichEvents) -> EventList:
    """Events, oldest first, each with its sentence."""
    which = _filter(request, now=context.now)

    def read(tx: Reads) -> EventList:
        events = tx.events(which, after=request.after, limit=LATEST_OF if request.latest else request.limit)
        more = str(events[-1].id) if len(events) == request.limit and not request.latest else None
        return EventList(events=event_views(tx, events[-request.limit :]), next=more)

    return await context.store.read(read)


@stream("events.follow", "GET /api/v1/events/follow")
async def follow(context: Context, request: WhichEvents) -> AsyncIterator[EventView | None]:
    """Events as they happen: from now on, or from `since` or `after`."""
    if context.node is None:
        raise Conflict("No node is running, so nothing happens", cure="Start one: ostinato up")
    which = _filter(request, now=context.now, ahead=True)
    begins = request.since is not None or request.after > 0
    after = request.after if begins else await context.store.read(lambda tx: tx.latest_event())
    yield None
    async with changes_of(context.store) as changes:
        while True:
            events = await _behind(context, which, after)
            for each in events:
                yield each
                after = each.id
            if len(events) < BATCH:
                await changes.wait()
                yield None


async def _behind(context: Context, which: EventFilter, after: int) -> list[EventView]:
    return await context.store.read(lambda tx: event_views(tx, tx.events(which, after=after, limit=BATCH)))


def _filter(request: WhichEvents, *, now: Instant, ahead: bool = False) -> EventFilter:
    since_at = 0 if ahead or request.after else max(0, now - SINCE_DEFAULT)
    if request.since:
        since_at = parse_moment(request.since, now=now)
    return EventFilter(
        since_at=since_at,
        until_at=parse_moment(request.until, now=now) if request.until else None,
        agent=request.agent,
        task=parse_id(request.task, "T") if request.task else None,
        session=request.session,
        names=frozenset(name for each in request.name for name in _names(each)),
    )


def _names(text: str) -> list[EventName]:
    """One event's name, or all of a noun."""
    wanted = text.lower()
    found = [name for name in EventName if name.value == wanted or name.value.partition(".")[0] == wanted]
    if not found:
        raise Invalid(unknown_name("event", text[:60], [name.value for name in EventName]))
    return found
