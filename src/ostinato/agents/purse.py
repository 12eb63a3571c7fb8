"""What a turn may spend: set aside in every budget that it counts against before a model is asked, given back after.

A budget without room asks a person, once for everybody who waits for it, and parks; a person who says no leaves a day's
budget until midnight, and a task's for good. Knows nothing of what is asked of the model.
"""

from __future__ import annotations

from ostinato.agents.turn_state import TurnState
from ostinato.domain.budget import BudgetName, Ceiling, Overdrawn, Short, amount_words
from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.ledger import NO_DAY
from ostinato.domain.question import NewQuestion, QuestionKind, QuestionState
from ostinato.domain.step import CompactionIntent, ModelIntent
from ostinato.domain.task import Fail, Outcome, Park, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant, Limits
from ostinato.store.money_port import Budgets
from ostinato.store.port import Tx

DAY: Instant = 86_400 * SECOND


def reserve(state: TurnState, tx: Tx, *, usd_micros: int, tokens: int, now: Instant) -> Outcome | None:
    """Sets money and tokens aside; an outcome where a budget has no room for them."""
    try:
        _reserve(state, tx, usd_micros=usd_micros, tokens=tokens, now=now)
    except Overdrawn as refusal:  # also with what a person has granted
        problem = _beyond_any_day(state, usd_micros)
        return Fail(error=problem, error_class="budget") if problem else _stand_still(state, tx, refusal, now=now)
    return None


def has_room(state: TurnState, tx: Tx, *, usd_micros: int, tokens: int, now: Instant) -> bool:
    """Sets money and tokens aside where every budget has room for them; nobody is asked where one has not."""
    try:
        _reserve(state, tx, usd_micros=usd_micros, tokens=tokens, now=now)
    except Overdrawn:
        return False
    return True


def left(state: TurnState, tx: Tx, *, now: Instant) -> int | None:
    """Micro-dollars that a call may still cost; None: no limit."""
    return tx.budget_left(
        agent=state.leash.then.id,
        limit_usd_micros=state.leash.then.limits.per_day_usd_micros,
        fleet_limit_usd_micros=state.leash.fleet_limits.per_day_usd_micros,
        task=state.task.id,
        now=now,
    )


def settle(
    state: TurnState,
    tx: Tx,
    intent: ModelIntent | CompactionIntent,
    *,
    usd_micros: int = 0,
    tokens: int = 0,
    now: Instant,
) -> None:
    """What a call had set aside becomes what it spent: nothing, where it was not made."""
    tx.settle(
        agent=state.leash.then.id,
        reserved_usd_micros=intent.reserved_usd_micros,
        spent_usd_micros=usd_micros,
        task=state.task.id,
        now=now,
        reserved_tokens=intent.reserved_tokens,
        spent_tokens=tokens,
        reserved_at=state.call_held_at if isinstance(intent, ModelIntent) else state.summary_held_at,
    )


def announce_limit(state: TurnState, tx: Tx, limit: str, *, words: str, now: Instant) -> None:
    """Tells that a turn has come to a limit."""
    tx.announce(
        NewEvent(
            name=EventName.TURN_LIMITED,
            task=state.task.id,
            agent=state.leash.then.id,
            session=state.session,
            reason=words,
            data={"limit": limit},
        ),
        now=now,
    )


def _stand_still(state: TurnState, tx: Tx, refusal: Overdrawn, *, now: Instant) -> Outcome:
    """Waits for more: for a person, and for midnight where that brings some."""
    short = refusal.short
    limit = "per_task" if short.day == NO_DAY else "per_day"
    until_at = None if short.day == NO_DAY else (short.day + 1) * DAY
    announce_limit(state, tx, limit, words=str(refusal), now=now)
    if refusal.denied:
        if until_at is None:
            return Fail(error=f"{short.words}; a person said no to more", error_class="budget")
        return Park(wait=Wait(kind=WaitKind.TIME, until_at=until_at), reason=str(refusal))
    question = _pending(tx, short.question) or _ask(state, tx, short, limit=limit, until_at=until_at, now=now)
    wait = Wait(kind=WaitKind.QUESTION, refs=(f"Q{question}",), until_at=until_at)
    return Park(wait=wait, reason=f"waits for Q{question}: {short.words}")


def _ask(state: TurnState, tx: Tx, short: Short, *, limit: str, until_at: Instant | None, now: Instant) -> int:
    what = "with all that it sets off, go on" if until_at is None else "spend more today"
    who = short.owner.removesuffix(" with all that it sets off")
    return tx.ask(
        NewQuestion(
            kind=QuestionKind.BUDGET,
            text=f"{short.words}. May {who}{', ' if until_at is None else ' '}{what}? "
            f"A leave that names no sum grants {amount_words(short.unit, short.step)} more.",
            agent=state.leash.then.id,
            task=state.task.id,
            session=state.session,
            reason=f"limit of {limit}",
            rule=f"limits.{limit}.{short.unit.value}",
            expires_at=until_at,
            trust=state.trust,
            stored=True,
            budget=BudgetName(scope=short.scope, day=short.day, unit=short.unit, step=short.step),
        ),
        now=now,
    ).id


def _reserve(state: TurnState, tx: Tx, *, usd_micros: int, tokens: int, now: Instant) -> None:
    limits, fleet = state.leash.then.limits, state.leash.fleet_limits
    tx.reserve(
        agent=state.leash.then.id,
        usd_micros=usd_micros,
        limit_usd_micros=limits.per_day_usd_micros,
        fleet_limit_usd_micros=fleet.per_day_usd_micros,
        now=now,
        task=state.task.id,
        tokens=tokens,
        budgets=Budgets(
            agent_tokens=limits.per_day_tokens,
            fleet_tokens=fleet.per_day_tokens,
            task=state.task.spec.budget or _task_ceiling(limits),
        ),
    )


def _task_ceiling(limits: Limits) -> Ceiling:
    return Ceiling(usd_micros=limits.per_task_usd_micros, tokens=limits.per_task_tokens)


def _pending(tx: Tx, question: int | None) -> int | None:
    """The question that others wait for already."""
    if question is None:
        return None
    try:
        return question if tx.question(question).state is QuestionState.PENDING else None
    except NotFound:
        return None


def _beyond_any_day(state: TurnState, usd_micros: int) -> str:
    """Why this call will have no room tomorrow either; empty where it may."""
    leash = state.leash
    for limit, whose in (
        (leash.then.limits.per_day_usd_micros, leash.then.id),
        (leash.fleet_limits.per_day_usd_micros, "the fleet"),
    ):
        if limit is not None and usd_micros > limit:
            return (
                f"One call may cost ${usd_micros / 1_000_000:.4f}, more than the whole day's budget of {whose} "
                f"(${limit / 1_000_000:.4f}): raise it, or lower what a reply may cost (output_tokens_max)"
            )
    return ""
