"""The law of what is set aside: in each account it is what the journals of unfinished tasks hold, and nothing else.

Histories are random: calls that are answered, taken over, cut off, moved, tried again or given up, by day and over
midnight, with a clock that is set back. Each history is one transaction, which is undone.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any, Final

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from ostinato.domain.budget import Ceiling, Spend
from ostinato.domain.errors import OstinatoError
from ostinato.domain.ledger import FLEET, NO_DAY, Held, day_of, held_by
from ostinato.domain.question import Answer, QuestionState
from ostinato.domain.step import Compacted, CompactionIntent, ModelAnswer, ModelIntent
from ostinato.domain.task import (
    UNFINISHED,
    Cancelled,
    Done,
    Fail,
    NewTask,
    Outcome,
    Park,
    Requeue,
    Retry,
    Review,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Instant
from ostinato.store.money_port import Budgets
from ostinato.store.port import Claim, ClaimRequest, QuestionFilter, TaskFilter, Tx
from ostinato.store.sqlite import open_store
from tests.conftest import FULL

BEGIN: Final[Instant] = 20_000 * 86_400 * SECOND
HOUR: Final[Instant] = 3_600 * SECOND
ENDS: Final[dict[str, Callable[[Instant], Outcome]]] = {
    "retry": lambda now: Retry(error="away"),
    "malformed": lambda now: Retry(error="no JSON", error_class="invalid_output"),
    "fail": lambda now: Fail(error="broken"),
    "requeue": lambda now: Requeue(reason="drained"),
    "park": lambda now: Park(wait=Wait(kind=WaitKind.TIME, until_at=now + HOUR), reason="later"),
    "cancelled": lambda now: Cancelled(reason="enough"),
    "review": lambda now: Review(result=TaskResult(text="look")),
}
MOVES: Final = {
    "cancel": TaskEvent.CANCEL, "block": TaskEvent.BLOCK, "release": TaskEvent.RELEASE, "wake": TaskEvent.WAKE,
    "accept": TaskEvent.ACCEPT, "return": TaskEvent.RETURN, "replay": TaskEvent.REPLAY, "give up": TaskEvent.FAIL,
}  # fmt: skip
HOURS: Final = {"an hour": 1, "a day": 24, "ten years back": -87_600}
CALLS: Final = ("call", "reply", "instead", "summary", "summarised")
DEEDS: Final = (
    "add", *("claim",) * 8, *("call",) * 8, *CALLS, "done", *ENDS, *MOVES, *HOURS, "move", "move", "resume", "answer",
    "node lost",
)  # fmt: skip


def _fits(task: Task, deed: str) -> bool:
    """What only a claim can do is done to what runs; else too many deeds would be refused."""
    return (task.state is TaskState.RUNNING) == (deed in (*CALLS, *ENDS, "done")) or deed in ("cancel", "give up")


class _Enough(Exception):
    """The history has come to its end: everything is undone."""


class _History:
    """Does to the store what turns, people and sweeps do."""

    def __init__(self, tx: Tx) -> None:
        self.tx = tx
        self.now = BEGIN
        self.node = self._begin()
        self.amounts = 0
        self.days: set[tuple[str, int]] = set()
        """Accounts of days that something was set aside in, or spent."""

    def _begin(self) -> int:
        node = self.tx.start_node(pid=1, host="here", version="0", lease_s=60.0, exclusive=True, now=self.now)
        return node.id

    def do(self, deed: str, number: int) -> None:
        """One deed, to one of the tasks; what does not fit is refused, and changes nothing."""
        self.days |= {(scope, day_of(self.now)) for scope in ("agent:a", "agent:b", "agent:c", FLEET)}
        try:
            self.tx.whole(lambda: self._do(deed, number))
        except OstinatoError:
            return

    def _do(self, deed: str, number: int) -> None:
        if deed == "add":
            self._add(number)
        elif deed == "claim":
            request = ClaimRequest(node=self.node, most=8, agent_limit_default=8)
            self.tx.claim(request, now=self.now)
        elif deed == "node lost":
            self.node = self._begin()
        elif deed in HOURS:
            self.now += HOURS[deed] * HOUR
            self.tx.rescue(now=self.now)
        elif tasks := [each for each in self.tx.tasks(TaskFilter(), limit=100) if _fits(each, deed)]:
            self._to(tasks[number % len(tasks)], deed, number)

    def _add(self, number: int) -> None:
        roots = [each for each in self.tx.tasks(TaskFilter(), limit=100) if not each.spec.causes]
        causes = (roots[0].name,) if roots and number % 3 == 0 else ()
        spec = TaskSpec(causes=causes)
        kind = TaskKind.GOAL if number % 2 else TaskKind.TURN
        session = None if number % 2 else f"main:{'ab'[number % 2]}"
        task = self.tx.add_task(
            NewTask(kind=kind, title="x", agent="ab"[number % 2], session=session, spec=spec), now=self.now
        )
        if not causes:
            self._reserve(task, Spend())  # its account is there from the begin

    def _to(self, task: Task, deed: str, number: int) -> None:
        claim, now = Claim(task=task.id, token=task.token), self.now
        if deed in CALLS:
            self.tx.check_claim(claim)
            self._call(task, claim, deed)
        elif deed == "done":
            holds = self._held(task) != Held()
            self.tx.finish(claim, Done(result=TaskResult(text="ok"), holds=holds), now=now)
        elif deed in ENDS:
            self.tx.finish(claim, ENDS[deed](now), now=now)
        elif deed in MOVES:
            self.tx.move_task(task.id, MOVES[deed], actor="ann", now=now)
        elif deed == "move":
            self.tx.change_task(task.id, agent="abc"[number % 3], actor="ann", now=now)
        elif deed == "resume":
            self.tx.retry_task(task.id, fresh=False, actor="ann", now=now)
        else:
            for each in self.tx.questions(QuestionFilter(task=task.id)):
                self.tx.answer(each.id, Answer(state=QuestionState.ALLOWED, by="ann"), now=now)

    def _call(self, task: Task, claim: Claim, deed: str) -> None:
        held = self._held(task)
        number = 1 + sum(isinstance(each.entry, ModelAnswer) for each in self.tx.steps(task.id))
        entry: Any
        match deed, held.call, held.summary:
            case "call", None, None:
                entry = ModelIntent(call=number, model="m", **self._set_aside(task))
            case "instead", ModelIntent() as open_call, None:
                entry = ModelIntent(call=number, model="n", **self._set_aside(task))
                self._settle(task, open_call, at=held.call_at)
            case "reply", ModelIntent() as open_call, None:
                entry = ModelAnswer(call=number, model="m")
                self._settle(task, open_call, at=held.call_at, spent=1)
            case "summary", ModelIntent(), None:
                entry = CompactionIntent(model="m", **self._set_aside(task))
            case "summarised", _, CompactionIntent() as begun:
                entry = Compacted(text="all of it")
                self._settle(task, begun, at=held.summary_at, spent=1)
            case _:
                return
        self.tx.record_steps(claim, [entry], now=self.now)

    def _held(self, task: Task) -> Held:
        return held_by(self.tx.steps(task.id))

    def _set_aside(self, task: Task) -> dict[str, int]:
        """Each time another sum, so that none is taken for another's."""
        self.amounts += 1
        amount = Spend(usd_micros=2**self.amounts, tokens=3 * 2**self.amounts)
        self._reserve(task, amount)
        return {"reserved_usd_micros": amount.usd_micros, "reserved_tokens": amount.tokens, "prompt_usd_micros": 1}

    def _reserve(self, task: Task, amount: Spend) -> None:
        self.tx.reserve(
            agent=task.agent or "", usd_micros=amount.usd_micros, limit_usd_micros=None, fleet_limit_usd_micros=None,
            now=self.now, task=task.id, tokens=amount.tokens,
            budgets=Budgets(task=Ceiling() if task.spec.causes else Ceiling(tokens=2**60)),
        )  # fmt: skip

    def _settle(self, task: Task, call: ModelIntent | CompactionIntent, *, at: Instant, spent: int = 0) -> None:
        self.tx.settle(
            agent=task.agent or "", reserved_usd_micros=call.reserved_usd_micros, spent_usd_micros=spent, now=self.now,
            task=task.id, reserved_tokens=call.reserved_tokens, spent_tokens=spent, reserved_at=at,
        )  # fmt: skip

    def check(self) -> None:
        """Each account has set aside what journals hold of it."""
        usd, tokens = Counter[tuple[str, int]](), Counter[tuple[str, int]]()
        tasks = self.tx.tasks(TaskFilter(), limit=100)
        places: set[tuple[str, int]] = set()
        for task in tasks:
            held = self._held(task).shares() if task.state in UNFINISHED else []
            trees = [f"task:{task.id}", *(f"task:{each[1:]}" for each in task.spec.causes)]
            for amount, at in held:
                days = [(f"agent:{task.agent}", day_of(at)), (FLEET, day_of(at))]
                for place in (*days, *((each, NO_DAY) for each in trees if self._is_open(each))):
                    usd[place] += amount.usd_micros
                    tokens[place] += amount.tokens
            places |= {(each, NO_DAY) for each in trees}
        for place in places | self.days | set(usd):
            reserved = self.tx.account(*place).reserved
            assert (place, reserved.usd_micros, reserved.tokens) == (place, usd[place], tokens[place])

    def _is_open(self, scope: str) -> bool:
        return self.tx.account(scope, NO_DAY).most.tokens is not None


@pytest.fixture(scope="module")
def perform() -> Iterator[Callable[[Callable[[Tx], None]], None]]:
    """Performs a history in a store that forgets it again."""
    store = open_store(None)
    with asyncio.Runner() as runner:

        def undone(history: Callable[[Tx], None]) -> None:
            with pytest.raises(_Enough):
                runner.run(store.run(history))

        yield undone
        runner.run(store.close())


@settings(max_examples=1_000 if FULL else 6)
@given(deeds=st.lists(st.tuples(st.sampled_from(DEEDS), st.integers(0, 11)), min_size=20, max_size=40))
@example(deeds=[("call", 0), ("requeue", 0), ("move", 2)])
@example(deeds=[("call", 0), ("fail", 0), ("ten years back", 0), ("resume", 0), ("claim", 0), ("reply", 0)])
@example(deeds=[("call", 0), ("call", 1), ("summary", 0), ("summary", 1), ("done", 0), ("review", 0), ("accept", 0)])
def test_what_is_set_aside_is_what_journals_hold(
    perform: Callable[[Callable[[Tx], None]], None], deeds: list[tuple[str, int]]
) -> None:
    def history(tx: Tx) -> None:
        story = _History(tx)
        for deed, number in (("add", 1), ("add", 2), ("claim", 0), *deeds):
            story.do(deed, number)
        story.check()
        raise _Enough

    perform(history)
