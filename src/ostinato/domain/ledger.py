"""What was spent: one ledger row for each try to reach a model, and the reservation it settles.

Knows nothing of prices or providers.
"""

from __future__ import annotations

from ostinato.domain.values import Instant, Value

FLEET = "fleet"
"""The account of all agents together; an agent's own is `agent:<id>`."""


NO_DAY = 1_000_000_000
"""The day of an account that no midnight begins anew: a task's."""

CUT_OFF = "cut off when its task was cancelled; an estimate of what the prompt cost"


class Charge(Value):
    """One HTTP attempt of a model call. `usd_micros` None: the price is unknown, which is never shown as 0."""

    task: int
    agent: str
    session: str
    trigger: str
    call: int
    provider: str
    model: str
    status: int
    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    usd_micros: int | None = 0
    duration_ms: float = 0.0
    error: str = ""


class Spending(Value):
    """A line of a cost table: what one agent, model, task, day or trigger used."""

    name: str
    calls: int
    input_tokens: int
    cached_tokens: int
    output_tokens: int
    usd_micros: int
    unpriced_calls: int
    """Calls whose price is unknown: the sum is at least `usd_micros`."""
    skipped: int = 0
    """Wakes that made no model call at all."""


def day_of(now: Instant) -> int:
    """Days since 1970-01-01, UTC: the budget's day."""
    return now // 86_400_000_000
