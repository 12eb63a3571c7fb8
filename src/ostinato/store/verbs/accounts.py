"""Accounts: what an agent's day, the fleet's day, and a task with all that it sets off have used of their budgets.

The account of a task exists only where it has a budget of its own; whatever it sets off, through however many others,
is charged to it too. Knows nothing of models or prices.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from msgspec.structs import asdict, replace

from ostinato.domain.budget import Account, BudgetName, Ceiling, Spend, Unit, amount_words
from ostinato.domain.event import EventName
from ostinato.domain.ledger import CUT_OFF, FLEET, NO_DAY, Charge, day_of, held_by
from ostinato.domain.question import Question, QuestionState
from ostinato.domain.step import ModelIntent, Step
from ostinato.domain.task import Task, TaskEvent, TaskState
from ostinato.domain.values import Instant
from ostinato.store.verbs import rows
from ostinato.store.verbs.sessions import SessionVerbs

Place = tuple[str, int]
"""Scope and day of an account."""

NOTHING = Spend()


class AccountVerbs(SessionVerbs):
    """Rows of accounts, and the ledger's."""

    def _account(self, place: Place, most: Ceiling | None = None) -> Account:
        """As it stands; its own limits where none are named."""
        account = self.account(*place)
        return account if most is None else replace(account, most=most)

    def _trees(self, task: int | None) -> list[Place]:
        """Accounts of the task and of those that set it off, of which there are few and mostly none."""
        memory = self._memory
        if task is None or task in memory.treeless:
            return []
        kept = self._kept_or_none(task)
        found = {task} if kept is None else _above(kept.task)
        scopes = rows.to_text([f"task:{each}" for each in sorted(found)])
        places = [(scope, NO_DAY) for (scope,) in self._db.all("accounts_of_tasks", keys=scopes, day=NO_DAY)]
        if not places:
            memory.note_treeless(task)
        return places

    def _book(self, places: Iterable[Place], *, reserved: Spend = NOTHING, spent: Spend = NOTHING) -> None:
        """The same in all of them; what is set aside may be less than before."""
        sums = {
            "reserved": reserved.usd_micros, "spent": spent.usd_micros, "reserved_tokens": reserved.tokens,
            "spent_tokens": spent.tokens,
        }  # fmt: skip
        self._db.many("book_account", [{"scope": scope, "day": day, **sums} for scope, day in places])

    def _give_back(self, places: Iterable[Place], amount: Spend) -> None:
        for scope, day in places:
            self._db.do("release_reserved", scope=scope, day=day, amount=amount.usd_micros, tokens=amount.tokens)

    def _release_reserved(self, task: Task, *, now: Instant) -> None:
        """Money for a call that an ended task will not make; whoever sends a failed one on sets it aside again. A
        cancelled one may have been cut off in the middle of its call: the prompt is taken to have been paid for."""
        held = held_by(self.steps(task.id))
        shares = held.shares()
        trees = self._trees(task.id) if shares else []
        for amount, at in shares:
            self._give_back([*_days_of(task, at), *trees], amount)
        cut_off = held.under_way
        if task.state is not TaskState.CANCELLED or cut_off is None or not cut_off.prompt_usd_micros:
            return
        spent = Spend(usd_micros=cut_off.prompt_usd_micros, tokens=cut_off.prompt_tokens)
        self._book((*_days_of(task, now), *trees), spent=spent)
        self.charge(
            Charge(
                task=task.id, agent=task.agent or "", session=task.session or "", trigger=task.spec.trigger.value,
                call=cut_off.call if isinstance(cut_off, ModelIntent) else 0, provider="", model=cut_off.model,
                status=0, input_tokens=spent.tokens, usd_micros=spent.usd_micros, error=CUT_OFF,
            ),
            now=now,
        )  # fmt: skip

    def _hand_on_reserved(self, old: Task, new: Task) -> None:
        """What a task holds is its agent's: another one goes on with the call, and settles it."""
        for amount, at in held_by(self.steps(old.id)).shares() if old.steps else ():
            day = day_of(at)
            self._give_back([(f"agent:{old.agent}", day)], amount)
            self._book([(f"agent:{new.agent}", day)], reserved=amount)

    def _reserve_again(self, task: Task, journal: Sequence[Step], *, now: Instant) -> None:
        """For the call that a task goes on with: what it holds belongs to the day on which somebody sent it on."""
        for amount, _ in held_by(journal).shares():
            self._book((*_days_of(task, now), *self._trees(task.id)), reserved=amount)

    def _warn(self, account: Account, amount: Spend, *, task: int | None, agent: str, now: Instant) -> None:
        """Tells once for each limit and period that it is nearly used up."""
        unit = None if account.warned else account.is_near(amount)
        if unit is None:
            return
        self._db.do("warn_account", scope=account.scope, day=account.day)
        limit = (account.most.of(unit) or 0) + account.granted.of(unit)
        used = account.used.of(unit) + amount.of(unit)
        self._tell(
            EventName.BUDGET_WARNED,
            now=now,
            task=task,
            agent=agent,
            reason=f"{amount_words(unit, used)} of {amount_words(unit, limit)} are spent or reserved",
            data={"scope": account.scope, "unit": unit.value, "used": used, "limit": limit},
        )

    def _settle_budget(self, settled: Question, name: BudgetName, *, now: Instant) -> None:
        """More money or tokens for an account, or none; whoever waits for it looks again."""
        if settled.state is QuestionState.ALLOWED:
            more = round(float((settled.arguments or {}).get("more", name.step)))
            usd, tokens = (more, 0) if name.unit is Unit.USD else (0, more)
            self._db.do("grant_account", scope=name.scope, day=name.day, granted=usd, granted_tokens=tokens)
        reason = f"{settled.name} is {settled.state.value}"
        for row in self._db.all("waiting_for_question", text=f'%"{settled.name}"%'):
            kept = rows.kept_of(row)
            self._move(kept, TaskEvent.WAKE, actor=settled.decided_by, reason=reason, now=now)

    def charge(self, charge: Charge, *, now: Instant) -> None:
        """A ledger row; its tokens and money are added to the task's."""
        self._db.do("add_charge", at=now, **asdict(charge))
        tokens = charge.input_tokens + charge.output_tokens
        micros = charge.usd_micros or 0
        if not tokens and not micros:
            return
        self._db.do("spend_on_task", id=charge.task, tokens=tokens, usd_micros=micros)
        kept = self._memory.tasks.get(charge.task)
        if kept is not None:
            task = kept.task
            spent = replace(task, tokens=task.tokens + tokens, usd_micros=task.usd_micros + micros)
            self._memory.keep(replace(kept, task=spent))


def _above(task: Task) -> set[int]:
    """The task and everything that set it off, as far as its chain of causes tells."""
    causes = {int(each[1:]) for each in task.spec.causes if each[:1] == "T" and each[1:].isdecimal()}
    return causes | {task.id} | (set() if task.parent is None else {task.parent})


def _days_of(task: Task, at: Instant) -> tuple[Place, ...]:
    """The accounts of that day which a task counts against."""
    return (f"agent:{task.agent}", day_of(at)), (FLEET, day_of(at))
