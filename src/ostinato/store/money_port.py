"""The part of the seam about money: what calls may cost, what is set aside for them, and what they did cost.

`ostinato.store.port` joins it to the rest. Knows nothing of models or prices.
"""

from __future__ import annotations

from typing import Protocol

from ostinato.domain.budget import Account, Ceiling
from ostinato.domain.ledger import Charge, Spending
from ostinato.domain.values import Instant, Value


class Budgets(Value):
    """What a call must find room in, beside the day's money of its agent and its fleet."""

    agent_tokens: int | None = None  # of a UTC day, as the fleet's
    fleet_tokens: int | None = None
    task: Ceiling = Ceiling()
    """The task's, with all that it sets off."""


NO_BUDGETS = Budgets()


class MoneyReads(Protocol):
    """Verbs that change nothing."""

    def account(self, scope: str, day: int) -> Account:
        """What `agent:<id>`, `fleet` or `task:<id>` has used; all zero where there is nothing yet."""

    def spending(
        self, by: str, *, since_at: Instant, until_at: Instant | None = None, limit: int = 100
    ) -> list[Spending]:
        """`by`: agent, model, task, day or trigger. Largest first."""

    def charges(self, task: int) -> list[Charge]: ...


class MoneyTx(Protocol):
    """Verbs that change something."""

    def reserve(
        self,
        *,
        agent: str,
        usd_micros: int,
        limit_usd_micros: int | None,
        fleet_limit_usd_micros: int | None,
        now: Instant,
        task: int | None = None,
        tokens: int = 0,
        budgets: Budgets = NO_BUDGETS,
    ) -> None:
        """Sets money and tokens aside in the agent's and the fleet's day, and for the `task` and whatever set it off
        where they have a budget of their own; `Overdrawn` (with the amounts) where a budget has no room: nothing was
        set aside. Told once for each budget and period that it is nearly used up."""

    def budget_left(
        self,
        *,
        agent: str,
        limit_usd_micros: int | None,
        fleet_limit_usd_micros: int | None,
        task: int,
        now: Instant,
    ) -> int | None:
        """Micro-dollars that the agent's day, the fleet's day and the task's own budgets leave; None: no limit."""

    def settle(
        self,
        *,
        agent: str,
        reserved_usd_micros: int,
        spent_usd_micros: int,
        now: Instant,
        task: int | None = None,
        reserved_tokens: int = 0,
        spent_tokens: int = 0,
        reserved_at: Instant | None = None,
    ) -> None:
        """Turns what was set aside into what was spent. What was set aside before midnight (`reserved_at`; None: just
        now) is taken from its own day, and gives nothing back that others have set aside today."""

    def charge(self, charge: Charge, *, now: Instant) -> None:
        """A ledger row; adds to the task's tokens and money."""
