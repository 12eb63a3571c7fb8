"""Money: reserved before a call, settled after it, and one row for each try to reach a model."""

from __future__ import annotations

from msgspec.structs import asdict, replace

from ostinato.domain.budget import Account
from ostinato.domain.errors import Exhausted
from ostinato.domain.ledger import FLEET, Charge, day_of
from ostinato.domain.step import Note
from ostinato.domain.values import Instant
from ostinato.store.verbs.endings import unanswered_call
from ostinato.store.verbs.moves import SENT_ON
from ostinato.store.verbs.questions import QuestionVerbs


class LedgerVerbs(QuestionVerbs):
    """Accounts and charges."""

    def reserve(
        self,
        *,
        agent: str,
        usd_micros: int,
        limit_usd_micros: int | None,
        fleet_limit_usd_micros: int | None,
        now: Instant,
    ) -> None:
        """Sets money aside, or says which limit has no room."""
        day = day_of(now)
        for scope, limit, owner in (
            (f"agent:{agent}", limit_usd_micros, f"agent {agent!r}"),
            (FLEET, fleet_limit_usd_micros, "the fleet"),
        ):
            if limit is None:
                continue
            account = self._account(scope, day, limit)
            if not account.has_room(usd_micros):
                used = account.spent_usd_micros + account.reserved_usd_micros
                raise Exhausted(
                    f"The day's budget of {owner} has no room for {_usd(usd_micros)}: "
                    f"{_usd(used)} of {_usd(limit)} are spent or reserved",
                    cure="It begins anew at 00:00 UTC; or raise the limit.",
                )
        for scope in (f"agent:{agent}", FLEET):
            self._db.do("add_to_account", scope=scope, day=day, reserved=usd_micros, spent=0)

    def settle(
        self,
        *,
        agent: str,
        reserved_usd_micros: int,
        spent_usd_micros: int,
        now: Instant,
        task: int | None = None,
    ) -> None:
        """Turns a reservation into what was really spent."""
        day = day_of(now)
        is_older = self._account(FLEET, day - 1, None).reserved_usd_micros > 0 and self._reserved_before(task, day)
        for scope in (f"agent:{agent}", FLEET):
            today = self._account(scope, day, None).reserved_usd_micros
            here = 0 if is_older else min(today, reserved_usd_micros)
            self._db.do("add_to_account", scope=scope, day=day, reserved=-here, spent=spent_usd_micros)
            if reserved_usd_micros > here:  # set aside before midnight
                self._db.do("release_reserved", scope=scope, day=day - 1, amount=reserved_usd_micros - here)

    def _reserved_before(self, task: int | None, day: int) -> bool:
        """True where the task's open call was begun, or sent on, on an earlier day."""
        if task is None:
            return False
        journal = self.steps(task)
        intent, _ = unanswered_call(journal)
        sent_on = [each.at for each in journal if isinstance(each.entry, Note) and each.entry.text.startswith(SENT_ON)]
        return intent is not None and day_of(max(intent.at, *sent_on, 0)) < day

    def _account(self, scope: str, day: int, limit: int | None) -> Account:
        row = self._db.one("account", scope=scope, day=day)
        if row is None:
            return Account(limit_usd_micros=limit)
        return Account(reserved_usd_micros=row[0], spent_usd_micros=row[1], limit_usd_micros=limit)

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


def _usd(micros: int) -> str:
    return f"${micros / 1_000_000:.4f}".rstrip("0").rstrip(".")
