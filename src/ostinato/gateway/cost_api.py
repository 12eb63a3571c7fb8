"""What was spent, by whom and on what; wakes that did nothing are counted too.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec

from ostinato.domain.errors import Invalid, NotFound
from ostinato.domain.values import SECOND
from ostinato.gateway.context import Context
from ostinato.gateway.notation import iso, iso_or_none, parse_id, parse_moment, usd
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.tasks_api import Word
from ostinato.gateway.views import SpendingView, spending_view
from ostinato.store.port import Reads

WEEK = 7 * 86_400 * SECOND


class WhichCost(Ask):
    """What to sum: the last seven days unless `since` says otherwise."""

    by: Literal["agent", "model", "task", "day", "trigger"] = "agent"
    since: Word | None = None
    until: Word | None = None
    limit: Annotated[int, msgspec.Meta(ge=1, le=1_000)] = 100


class CostView(View):
    """A cost table, largest first. `usd` counts what has a known price: with `unpriced_calls` it was at least that, and
    null where no call has one."""

    by: str
    since: str
    until: str | None
    lines: list[SpendingView]
    calls: int
    tokens: int
    usd: float | None
    unpriced_calls: int
    skipped: int
    """Wakes that made no model call at all."""
    answered: int
    """Tasks that were answered from an equal one's result, and cost nothing."""
    saved_usd: float
    """What those results have cost the first time, as far as prices are known."""
    note: str
    """A sentence that belongs beside every sum, such as that no money is spent."""


@operation("cost.show", "GET /api/v1/cost")
async def show(context: Context, request: WhichCost) -> CostView:
    """What was spent by agent, model, task, day or trigger."""
    now = context.now
    since_at = parse_moment(request.since, now=now) if request.since else max(0, now - WEEK)
    until_at = parse_moment(request.until, now=now) if request.until else None

    def read(tx: Reads) -> CostView:
        # The total is over every day in between, whatever the table is by and however many lines it shows.
        days = tx.spending("day", since_at=since_at, until_at=until_at, limit=10_000)
        lines = tx.spending(request.by, since_at=since_at, until_at=until_at, limit=request.limit)
        calls = sum(each.calls for each in days)
        answered, saved = tx.hits(since_at=since_at, until_at=until_at)
        unpriced = sum(each.unpriced_calls for each in days)
        return CostView(
            by=request.by,
            since=iso(since_at),
            until=iso_or_none(until_at),
            lines=[spending_view(each, title=_title(tx, each.name) if request.by == "task" else "") for each in lines],
            calls=calls,
            tokens=sum(each.input_tokens + each.output_tokens for each in days),
            usd=None if calls and unpriced == calls else usd(sum(each.usd_micros for each in days)),
            unpriced_calls=unpriced,
            skipped=sum(each.skipped for each in days),
            answered=answered,
            saved_usd=saved / 1_000_000,
            note=context.definitions.money_note(),
        )

    return await context.store.read(read)


def _title(tx: Reads, name: str) -> str:
    """What a task of the ledger is called; it may be gone, as the ledger is kept longer."""
    try:
        return tx.task(parse_id(name, "T")).title
    except (Invalid, NotFound):
        return ""
