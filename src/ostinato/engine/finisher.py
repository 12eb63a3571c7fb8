"""How every attempt is ended: with what its failure is to lead to, in the commit of its outcome.

The one way to `Tx.finish` for whoever runs tasks. Knows nothing of agents' files: who knows them says what they want.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from ostinato.domain.failure import NO_PLAN, FailurePlan
from ostinato.domain.task import Fail, Outcome, Retry, Task
from ostinato.domain.values import Instant
from ostinato.store.port import Claim, Reads, Tx


class Planner(Protocol):
    """Says what is to happen when a task has failed."""

    def __call__(self, tx: Reads, task: Task, *, now: Instant) -> FailurePlan: ...


def _no_plan(tx: Reads, task: Task, *, now: Instant) -> FailurePlan:
    return NO_PLAN


class Finisher:
    """Ends attempts. `chance` places delays in their windows."""

    def __init__(self, plan: Planner = _no_plan, *, chance: Callable[[], float] = lambda: 0.5) -> None:
        self._plan = plan
        self._chance = chance

    def finish(self, tx: Tx, claim: Claim, outcome: Outcome, *, now: Instant) -> Task:
        """Ends the attempt under this claim. Raises Fenced where the claim is gone."""
        if not isinstance(outcome, Retry | Fail):
            return tx.finish(claim, outcome, now=now)
        plan = self._plan(tx, tx.task(claim.task), now=now)
        return tx.finish(claim, outcome, now=now, chance=self._chance(), plan=plan)
