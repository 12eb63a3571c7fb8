"""Seeded bugs: what an innocent change could do, planted for some runs, to show that the laws can say no.

Each is noticed by one of a few seeds; how many is in its own line, measured. Knows nothing of how it is noticed.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.agents.calendar import Calendar
from ostinato.domain import question, turn
from ostinato.domain.step import Effect, Entry, ModelAnswer, ToolIntent, ToolOutcome
from ostinato.domain.values import Value
from ostinato.engine.worker import Worker
from ostinato.store.verbs import questions
from ostinato.store.verbs.claims import ClaimVerbs
from ostinato.store.verbs.endings import EndingVerbs
from ostinato.store.verbs.ledger import LedgerVerbs
from ostinato.store.verbs.sessions import SessionVerbs

Plant = tuple[Any, str, Any]
"""Where, which name, and what in its place."""


def _intent_after_effect() -> list[Plant]:
    """Intents wait in memory until their result is there."""
    record = ClaimVerbs.record_steps
    held: dict[tuple[int, int], list[ToolIntent]] = {}

    def record_late(self: ClaimVerbs, claim: Any, entries: Sequence[Entry], *, now: int) -> int:
        written: list[Entry] = []
        waiting = held.setdefault((claim.task, claim.token), [])
        for entry in entries:
            if isinstance(entry, ToolIntent) and entry.effect is Effect.IRREVERSIBLE:
                waiting.append(entry)
                continue
            if isinstance(entry, ToolOutcome):
                written.extend(each for each in waiting if each.call_id == entry.call_id)
                waiting[:] = [each for each in waiting if each.call_id != entry.call_id]
            written.append(entry)
        return record(self, claim, written, now=now)

    return [(ClaimVerbs, "record_steps", record_late)]


def _message_left_behind() -> list[Plant]:
    """The commit that ends a turn does not look again into its inbox."""

    def read_on(self: Any, kept: Any, *, now: int) -> None:
        pass

    return [(EndingVerbs, "_read_on", read_on)]


def _irreversible_again() -> list[Plant]:
    """A turn takes every intent without a result for one that may run again."""
    return [(turn, "REPEATABLE", frozenset(Effect))]


def _halt_unread() -> list[Plant]:
    """The flag is stored, and nobody who works looks at it."""
    return [
        (ClaimVerbs, "check_claim", lambda self, claim: self._held(claim).task),
        (Worker, "_halt", lambda self, scope: None),
    ]


def _budget_unread() -> list[Plant]:
    """Money is set aside, whatever the limits are."""
    reserve = LedgerVerbs.reserve

    def reserve_any(self: Any, **facts: Any) -> None:
        reserve(self, **{**facts, "limit_usd_micros": None, "fleet_limit_usd_micros": None})

    return [(LedgerVerbs, "reserve", reserve_any)]


def _answered_twice() -> list[Plant]:
    """A second decision counts as the first does."""

    def check(asked: Any, answer: Any, *, now: int) -> None:
        question.check_answer(replace(asked, state=question.QuestionState.PENDING), answer, now=now)

    return [(questions, "check_answer", check)]


def _message_twice() -> list[Plant]:
    """A message that is sent again is another one."""
    append = SessionVerbs._append

    def append_anew(self: Any, key: str, new: Any, **more: Any) -> Any:
        again = f"{new.client_id}#{self._db.next_id('messages', take=False)}"
        return append(self, key, replace(new, client_id=again) if new.client_id else new, **more)

    return [(SessionVerbs, "_append", append_anew)]


def _reply_forgotten() -> list[Plant]:
    """A reply with calls is journaled with the first result, and not before it is used."""
    record = ClaimVerbs.record_steps
    held: dict[tuple[int, int], list[Entry]] = {}

    def record_late(self: ClaimVerbs, claim: Any, entries: Sequence[Entry], *, now: int) -> int:
        key = (claim.task, claim.token)
        written = [*held.pop(key, []), *entries]
        if isinstance(written[-1] if written else None, ToolIntent) and any(
            isinstance(each, ModelAnswer) for each in written
        ):
            held[key] = written
            return 0
        return record(self, claim, written, now=now)

    return [(ClaimVerbs, "record_steps", record_late)]


def _sweep_trusts_others() -> list[Plant]:
    """The sweep takes a file for unchanged that somebody else has looked at since."""

    def changed(self: Any, agents: list[str]) -> dict[str, str]:
        looked_at = self._workspaces.refresh(agents)
        versions = self._workspaces.versions(agents)
        return {agent: versions[agent] for agent in (agents if self._first else looked_at)}

    return [(Calendar, "_changed", changed)]


class Bug(Value):
    """A bug, and among how many seeds it is noticed."""

    plant: Callable[[], list[Plant]]
    seeds: int
    """From 0 on; measured, and doubled."""
    finding: str
    """How one of the findings about it begins."""


BUGS = {
    "an intent is written after its effect": Bug(plant=_intent_after_effect, seeds=20, finding="what_cannot"),
    "a message is left behind": Bug(plant=_message_left_behind, seeds=20, finding="no_message"),
    "an irreversible intent is repeated": Bug(plant=_irreversible_again, seeds=20, finding="what_cannot"),
    "a halt is not read": Bug(plant=_halt_unread, seeds=80, finding="halted"),
    "a budget is not read": Bug(plant=_budget_unread, seeds=100, finding="no_budget"),
    "a second decision counts": Bug(plant=_answered_twice, seeds=20, finding=""),
    "a message is taken twice": Bug(plant=_message_twice, seeds=20, finding="acknowledged"),
    "a reply is journaled after its use": Bug(plant=_reply_forgotten, seeds=60, finding=""),
    "a sweep trusts others": Bug(plant=_sweep_trusts_others, seeds=20, finding="it did not come to rest"),
}
"""By what is wrong."""


@contextlib.contextmanager
def planted(name: str) -> Iterator[None]:
    """The bug is there inside the block."""
    plants = BUGS[name].plant()
    before = [getattr(owner, each) for owner, each, _ in plants]
    for owner, each, seed in plants:
        setattr(owner, each, seed)
    try:
        yield
    finally:
        for (owner, each, _), old in zip(plants, before, strict=True):
            setattr(owner, each, old)
