"""Operations on breakers: what is left alone because it kept failing, and an operator's word that it may be used again.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.errors import NotFound, unknown_name
from ostinato.domain.person import Role
from ostinato.domain.task import Task, TaskEvent, TaskState
from ostinato.engine.finisher import AGENT
from ostinato.gateway.context import Context
from ostinato.gateway.notation import iso, iso_or_none
from ostinato.gateway.operation import Ask, Nothing, View, operation
from ostinato.store.port import Reads, TaskFilter, Tx

_WAITING = frozenset({TaskState.WAITING})

WAITING_MAX = 5_000
"""Waiting tasks that a reset looks at, newest first: some hundredths of a second of the writer's time."""

WOKEN_MAX = 1_000
"""Of these, how many it lets go on at once; the others follow by themselves, at their time."""


class WhichBreaker(Ask):
    """A breaker by its name, such as `agent:clerk`, `model:small`, `tool:rates.fetch`, `host:api.example.com`."""

    breaker: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]


class BreakerView(View):
    """One breaker. `state`: `closed` (calls go, but some have failed), `open` (none goes), `half_open` (one looks)."""

    name: str
    state: str
    failures: int
    """In a row."""
    reason: str
    """The last failure."""
    since_at: str
    """Closed: the last failure. Else: since when it is left alone."""
    until_at: str | None
    """Open: when one call may look. Half-open: when that one is given up."""
    probe: str
    """Who looks."""
    opened: int
    """How often it has opened since it was last closed."""


class BreakerList(View):
    """Every breaker that has seen a failure since its last success, by name."""

    breakers: list[BreakerView]


@operation("breakers.list", "GET /api/v1/breakers")
async def list_breakers(context: Context, request: Nothing) -> BreakerList:
    """What has failed lately, and what is left alone because of it."""
    found = await context.store.read(lambda tx: tx.breakers())
    return BreakerList(breakers=[breaker_view(each) for each in found])


@operation("breakers.reset", "POST /api/v1/breakers/{breaker}/reset", role=Role.OPERATOR)
async def reset(context: Context, request: WhichBreaker) -> BreakerView:
    """Close it now: calls go again, and tasks that waited for it go on."""
    name, now, actor = request.breaker, context.now, context.caller.name

    def write(tx: Tx) -> BreakerView:
        before = tx.breaker(name)
        if before is None:
            raise NotFound(unknown_name("breaker", name, [each.name for each in tx.breakers()]))
        tx.put_breaker(name, None, now=now, actor=actor)
        for each in _waiting(tx, name):
            tx.move_task(each.id, TaskEvent.WAKE, actor=actor, reason=f"{name} was reset", now=now)
        return breaker_view(Breaker(name=name))

    return await context.store.run(write)


def _waiting(tx: Reads, name: str) -> list[Task]:
    """Tasks that wait until this breaker lets somebody look again, the oldest first."""
    agent = name.removeprefix(AGENT) if name.startswith(AGENT) else None  # whose breaker keeps nobody else's
    found = tx.tasks(TaskFilter(agent=agent, states=_WAITING), limit=WAITING_MAX)
    return [each for each in found if each.wait and name in each.wait.breakers][::-1][:WOKEN_MAX]


def breaker_view(breaker: Breaker) -> BreakerView:
    """A breaker, for people and programs."""
    is_closed = breaker.state is BreakerState.CLOSED
    return BreakerView(
        name=breaker.name,
        state=breaker.state.value,
        failures=breaker.failures,
        reason=breaker.reason,
        since_at=iso(breaker.since_at),
        until_at=None if is_closed else iso_or_none(breaker.until_at),
        probe=breaker.probe,
        opened=breaker.opened,
    )
