"""How every attempt begins and ends beside its work: whether what it would use is in trouble, and what its failure is
to lead to, in the commits of its claim and of its outcome.

The one way to `Tx.finish` for whoever runs tasks. Knows nothing of agents' files: who knows them says what they want.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ostinato.domain.failure import NO_PLAN, FailurePlan
from ostinato.domain.retry import FailureClass, class_of
from ostinato.domain.task import Done, Fail, Outcome, Park, Retry, Review, Task, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.breakers import Breakers, Trouble
from ostinato.store.port import Claim, Reads, Tx

REASON_MAX = 200
"""Characters of a failure that a breaker keeps."""

AGENT = "agent:"

OF_CHANNELS = frozenset({FailureClass.TRANSIENT, FailureClass.RATE_LIMITED, FailureClass.UNKNOWN})
"""Failures that speak against a channel. A delivery that is wrong in itself says nothing of its way."""


class Planner(Protocol):
    """Says what is to happen when a task has failed."""

    def __call__(self, tx: Reads, task: Task, *, now: Instant) -> FailurePlan: ...


def _no_plan(tx: Reads, task: Task, *, now: Instant) -> FailurePlan:
    return NO_PLAN


def _no_guard(task: Task) -> str:
    return ""


class Finisher:
    """Ends attempts. `chance` places delays in their windows; `guard` names the breaker that a task must pass as a
    whole (`agent:clerk`, `channel:mail`), or none."""

    def __init__(
        self,
        plan: Planner = _no_plan,
        *,
        chance: Callable[[], float] = lambda: 0.5,
        breakers: Breakers | None = None,
        guard: Callable[[Task], str] = _no_guard,
    ) -> None:
        self._plan = plan
        self._chance = chance
        self._guard = guard
        self.breakers = breakers if breakers is not None else Breakers()

    def wait(self, tx: Tx, task: Task, *, now: Instant) -> Park | None:
        """What a task that was just claimed waits for where its agent or channel is in trouble; None: it may begin, as
        the one probe where that is needed."""
        guard = self._guard(task)
        if not guard:
            return None
        refusal = self.breakers.admit(tx, (guard,), who=task.name, now=now)
        if refusal is None:
            return None
        until_at = max(refusal.until_at, now + SECOND)
        wait = Wait(kind=WaitKind.TIME, refs=refusal.breakers, until_at=until_at)
        return Park(wait=wait, reason=f"left alone for now: {refusal.reason}")

    def finish(self, tx: Tx, claim: Claim, outcome: Outcome, *, now: Instant) -> Task:
        """Ends the attempt under this claim. Raises Fenced where the claim is gone."""
        match outcome:
            case Retry() | Fail():
                return self._fail(tx, claim, outcome, now=now)
            case Done() | Review() | Park():
                task = tx.finish(claim, outcome, now=now)
                if _is_well(outcome) and (guard := self._guard(task)):
                    self.breakers.went_well(tx, (guard,), who=task.name, now=now)
                return task
            case _:
                return tx.finish(claim, outcome, now=now)

    def _fail(self, tx: Tx, claim: Claim, outcome: Retry | Fail, *, now: Instant) -> Task:
        before = tx.task(claim.task)
        plan = self._plan(tx, before, now=now)
        after = tx.finish(claim, outcome, now=now, chance=self._chance(), plan=plan)
        guard, failure = self._guard(before), class_of(outcome.error_class)
        gave_up = after.state in (TaskState.FAILED, TaskState.WAITING) or after.agent != before.agent
        is_agent = guard.startswith(AGENT)
        speaks = gave_up and failure is not FailureClass.POLICY if is_agent else failure in OF_CHANNELS
        if guard and speaks:
            # It is its model that asks to be left alone, and that has a breaker of its own.
            asked_s = outcome.after_s if isinstance(outcome, Retry) and not is_agent else None
            trouble = Trouble(reason=outcome.error[:REASON_MAX], asked_s=asked_s or 0.0)
            self.breakers.went_wrong(tx, guard, trouble, who=before.name, now=now, task=before.id)
        return after


def _is_well(outcome: Done | Review | Park) -> bool:
    """True also for whoever waits for a person or a child; not where the turn waits for a model to be had."""
    return not isinstance(outcome, Park) or outcome.wait.kind is not WaitKind.TIME
