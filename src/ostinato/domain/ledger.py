"""What was spent: one ledger row for each try to reach a model, and the reservation it settles.

Knows nothing of prices or providers.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.budget import Spend
from ostinato.domain.compaction import unwritten_summary
from ostinato.domain.step import CompactionIntent, ModelAnswer, ModelIntent, Note, Step
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


class Held(Value):
    """What a journal has set aside and not settled: for the call that it ends in, and for a summary that was begun."""

    call: ModelIntent | None = None
    call_at: Instant = 0
    """When it was set aside: with the intent, or when the task was sent on."""
    summary: CompactionIntent | None = None
    summary_at: Instant = 0
    under_way: ModelIntent | CompactionIntent | None = None
    """What a model was about to be asked."""

    def shares(self) -> list[tuple[Spend, Instant]]:
        """Each sum, and when it was set aside."""
        both = ((self.call, self.call_at), (self.summary, self.summary_at))
        return [
            (Spend(usd_micros=each.reserved_usd_micros, tokens=each.reserved_tokens), at)
            for each, at in both
            if each is not None
        ]


NOTHING_HELD = Held()


def held_by(journal: Sequence[Step]) -> Held:
    """What is set aside, by the journal alone."""
    call = _open_call(journal)
    summary = unwritten_summary(each.entry for each in journal)
    if call is None and summary is None:
        return NOTHING_HELD
    call_step, summary_step = (
        next((each for each in reversed(journal) if each.entry is entry), None) for entry in (call, summary)
    )
    sent_on = next((each for each in reversed(journal) if isinstance(each.entry, Note) and each.entry.sends_on), None)
    is_summary = summary_step is not None and (call_step is None or call_step.seq < summary_step.seq)
    return Held(
        call=call,
        call_at=_set_aside_at(call_step, sent_on),
        summary=summary,
        summary_at=_set_aside_at(summary_step, sent_on),
        under_way=summary if is_summary else call,
    )


def _set_aside_at(step: Step | None, sent_on: Step | None) -> Instant:
    """By the order of the journal, not by the clock, which may have been set back since."""
    if step is None:
        return 0
    return step.at if sent_on is None or sent_on.seq < step.seq else sent_on.at


def _open_call(journal: Sequence[Step]) -> ModelIntent | None:
    """The model call that a journal ends in, if it has no reply."""
    for step in reversed(journal):
        if isinstance(step.entry, ModelAnswer):
            break
        if isinstance(step.entry, ModelIntent):
            return step.entry
    return None
