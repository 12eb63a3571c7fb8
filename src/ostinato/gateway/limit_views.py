"""Limits of queues as people read them: what is full, when a rate opens, which task waits for it.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from ostinato.domain.limit import LimitState
from ostinato.domain.task import Task, TaskState
from ostinato.domain.values import Instant
from ostinato.gateway.notation import iso, iso_or_none
from ostinato.gateway.operation import View
from ostinato.store.port import Reads


class LimitView(View):
    """How one limit stands."""

    name: str
    """What it covers, such as `project=acme`."""
    running: int
    concurrency: int | None
    rate: str | None
    opens_at: str | None
    """When a rate that is used up lets the next task begin."""
    full: bool
    """Nothing that it covers may begin now."""
    waits: str | None
    """The first task that waits for it."""


def limit_views(tx: Reads, *, now: Instant) -> list[LimitView]:
    """Every limit of the fleet."""
    return [_view(each) for each in tx.limit_states(now=now)]


def limits_in_the_way(tx: Reads, task: Task, *, now: Instant) -> list[str]:
    """Which limits a task that could be claimed waits for, in words."""
    if task.state is not TaskState.READY or task.not_before_at > now:
        return []
    return [f"it waits for the limit {_words(each)}" for each in tx.limits_of(task, now=now) if _holds(each)]


def _view(state: LimitState) -> LimitView:
    return LimitView(
        name=state.name,
        running=state.running,
        concurrency=state.limit.concurrency,
        rate=state.limit.rate.text if state.limit.rate else None,
        opens_at=iso_or_none(state.opens_at),
        full=_holds(state),
        waits=None if state.waits is None else f"T{state.waits}",
    )


def _holds(state: LimitState) -> bool:
    return state.is_full or state.opens_at is not None


def _words(state: LimitState) -> str:
    parts = [f"{state.running} of {state.limit.concurrency} run"] if state.is_full else []
    if state.opens_at is not None and state.limit.rate is not None:
        parts.append(f"{state.limit.rate.text} have begun, the next may at {iso(state.opens_at)}")
    return f"{state.name}: {'; '.join(parts)}"
