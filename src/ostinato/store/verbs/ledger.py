"""Budgets at work: reserved before a call in every account that it counts against, settled after it."""

from __future__ import annotations

from ostinato.domain.budget import Ceiling, Overdrawn, Spend, Unit
from ostinato.domain.ledger import FLEET, NO_DAY, day_of
from ostinato.domain.question import QuestionState
from ostinato.domain.values import Instant
from ostinato.store.money_port import NO_BUDGETS, Budgets
from ostinato.store.verbs.accounts import Place
from ostinato.store.verbs.reviews import ReviewVerbs


class LedgerVerbs(ReviewVerbs):
    """Reservations."""

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
        """Sets money and tokens aside, or says which budget has no room."""
        amount = Spend(usd_micros=usd_micros, tokens=tokens)
        if task is not None and not budgets.task.is_open:
            self._open_account(task, budgets.task)
        agents = Ceiling(usd_micros=limit_usd_micros, tokens=budgets.agent_tokens)
        fleets = Ceiling(usd_micros=fleet_limit_usd_micros, tokens=budgets.fleet_tokens)
        days = _days(agent, agents, fleets, now=now)
        trees = self._trees(task)
        accounts = [self._account(place, most) for place, most in days if not most.is_open]
        accounts += [self._account(place) for place in trees]
        for account in accounts:
            short = account.short_of(amount)
            if short is not None:
                raise Overdrawn(short, denied=self._is_denied(short.question))
        for account in accounts:
            self._warn(account, amount, task=task, agent=agent, now=now)
        self._book((*(place for place, _ in days), *trees), reserved=amount)

    def budget_left(
        self,
        *,
        agent: str,
        limit_usd_micros: int | None,
        fleet_limit_usd_micros: int | None,
        task: int,
        now: Instant,
    ) -> int | None:
        """The least that any of these budgets has left."""
        agents, fleets = Ceiling(usd_micros=limit_usd_micros), Ceiling(usd_micros=fleet_limit_usd_micros)
        accounts = [self._account(place, most) for place, most in _days(agent, agents, fleets, now=now)]
        accounts += [self._account(place) for place in self._trees(task)]
        rooms = (each.room(Unit.USD) for each in accounts)
        return min((each for each in rooms if each is not None), default=None)

    def _open_account(self, task: int, most: Ceiling) -> None:
        """The account of a task with a budget of its own, with the limits that hold now."""
        account = self._account((f"task:{task}", NO_DAY))
        if account.most != most:
            self._db.do("open_account", scope=account.scope, day=NO_DAY, most=most.usd_micros, most_tokens=most.tokens)
            self._memory.treeless.clear()

    def _is_denied(self, question: int | None) -> bool:
        """True where a person has said that there is no more."""
        if question is None:
            return False
        row = self._db.one("question_state", id=question)
        return row is not None and row[0] in (QuestionState.DENIED.value, QuestionState.EXPIRED.value)

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
        """Turns a reservation into what was really spent."""
        day, spent = day_of(now), Spend(usd_micros=spent_usd_micros, tokens=spent_tokens)
        began = day if reserved_at is None else day_of(reserved_at)
        days, trees = ((f"agent:{agent}", day), (FLEET, day)), self._trees(task)
        less = Spend(usd_micros=-reserved_usd_micros, tokens=-reserved_tokens)
        if began == day:
            self._book((*days, *trees), reserved=less, spent=spent)
        else:  # set aside before midnight
            reserved = Spend(usd_micros=reserved_usd_micros, tokens=reserved_tokens)
            self._give_back([(scope, began) for scope, _ in days], reserved)
            self._book(days, spent=spent)
            self._book(trees, reserved=less, spent=spent)


def _days(agent: str, agents: Ceiling, fleets: Ceiling, *, now: Instant) -> tuple[tuple[Place, Ceiling], ...]:
    """Today's accounts of the agent and of the fleet, with their limits."""
    day = day_of(now)
    return ((f"agent:{agent}", day), agents), ((FLEET, day), fleets)
