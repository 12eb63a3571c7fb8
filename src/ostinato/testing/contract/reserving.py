"""Money that is set aside: it belongs to calls that may still be made, and to nothing else, whatever becomes of a task.

What must be set aside is read from the journals alone; how an account came to its sum, nobody here knows.
"""

from __future__ import annotations

import random
from collections.abc import Iterable
from functools import partial

from ostinato.domain.budget import Ceiling, Spend
from ostinato.domain.escalation import Rung
from ostinato.domain.failure import FailurePlan
from ostinato.domain.ledger import FLEET, NO_DAY, day_of, held_by
from ostinato.domain.question import Answer, QuestionState
from ostinato.domain.retry import FailureClass, RetryPolicy, RetryRule
from ostinato.domain.step import Compacted, CompactionIntent, Entry, ModelAnswer, ModelIntent
from ostinato.domain.task import (
    ENDED,
    Cancelled,
    Done,
    Fail,
    Outcome,
    Requeue,
    Retry,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskState,
)
from ostinato.domain.values import Instant
from ostinato.store.money_port import NO_BUDGETS, Budgets
from ostinato.store.port import ClaimRequest, QuestionFilter, Reads, TaskFilter, Tx
from ostinato.testing.contract.scene import Scene, case, claim_of, spec

Place = tuple[str, int]
"""Scope and day of an account."""

AGENTS = ("clerk", "deputy")
RICH = Budgets(task=Ceiling(usd_micros=10**9))
ROUNDS = 60
ENDINGS: tuple[Outcome, ...] = (
    Done(result=TaskResult(), holds=True),
    Fail(error="no such model"),
    Fail(error="denied", error_class="denied"),
    Fail(error="malformed", error_class="invalid_output"),
    Retry(error="busy", error_class="transient"),
    Requeue(reason="the node is stopping"),
    Cancelled(reason="no longer wanted"),
)
TWICE = RetryPolicy(base_s=1.0, classes={FailureClass.INVALID_OUTPUT: RetryRule(attempts_max=2)})
PLANS = (FailurePlan(), FailurePlan(fallback="deputy"), FailurePlan(escalate=(Rung(to="ann", within_s=200_000.0),)))


@case
async def what_is_set_aside_is_what_open_calls_hold_whatever_becomes_of_their_tasks(scene: Scene) -> None:
    chance = random.Random(10)
    root = await scene.add(kind=TaskKind.GOAL, agent="clerk", spec=spec(retry=TWICE))
    places = _days(scene) | {(f"task:{root.id}", NO_DAY)}
    first = await scene.claim_one()
    await scene.do(lambda tx: _steps(tx, first, root=root, now=scene.now, chance=chance))
    for _ in range(ROUNDS):
        if len(await scene.see(_unfinished)) < 2:
            await scene.add(kind=TaskKind.GOAL, agent="clerk", spec=spec(retry=TWICE, causes=(root.name,)))
        scene.wait(chance.choice((1, 20, 60_000)))
        places |= _days(scene)
        await scene.do(partial(_happens, scene, root=root, chance=chance))
        said = await scene.see(partial(_set_aside, places=places))
        held = await scene.see(partial(_held, root=root))
        assert said == held, f"{said} != {held}"


def _days(scene: Scene) -> set[Place]:
    return {(scope, day_of(scene.now)) for scope in (FLEET, *(f"agent:{each}" for each in AGENTS))}


def _happens(scene: Scene, tx: Tx, *, root: Task, chance: random.Random) -> None:
    """One thing, to whichever task it can happen to."""
    now = scene.now
    tx.rescue(now=now)
    tx.expire_questions(now=now)
    pending = tx.questions(QuestionFilter(state=QuestionState.PENDING))
    dead = tx.tasks(TaskFilter(states=frozenset({TaskState.FAILED})), limit=3)
    tasks = [each for each in tx.tasks(TaskFilter()) if each.state not in ENDED]
    match chance.randrange(8):
        case 0 if dead:
            tx.retry_task(chance.choice(dead).id, fresh=chance.random() < 0.5, actor="ann", now=now)
        case 1 if pending:
            state = chance.choice((QuestionState.ALLOWED, QuestionState.DENIED, QuestionState.ANSWERED))
            said = Answer(state=state, by="ann", text="retry with deputy" if state is QuestionState.ANSWERED else "")
            tx.answer(pending[0].id, said, now=now)
        case 2 if tasks:
            tx.move_task(chance.choice(tasks).id, TaskEvent.CANCEL, actor="ann", now=now)
        case 3 if idle := [each for each in tasks if each.state is not TaskState.RUNNING]:
            task = chance.choice(idle)
            tx.change_task(task.id, agent=AGENTS[task.agent == AGENTS[0]], actor="ann", now=now)
        case _:
            _works(scene, tx, root=root, chance=chance)


def _works(scene: Scene, tx: Tx, *, root: Task, chance: random.Random) -> None:
    """An attempt begins, takes a step, or ends."""
    request = ClaimRequest(node=scene.node, most=1, agent_limit_default=100)
    running = tx.tasks(TaskFilter(states=frozenset({TaskState.RUNNING}))) or tx.claim(request, now=scene.now)
    for task in running[:1]:
        if chance.random() < 0.4:
            tx.finish(claim_of(task), chance.choice(ENDINGS), now=scene.now, plan=chance.choice(PLANS))
        else:
            _steps(tx, task, root=root, now=scene.now, chance=chance)


def _steps(tx: Tx, task: Task, *, root: Task, now: Instant, chance: random.Random) -> None:
    """The next step of a turn: money is set aside in the commit of an intent, and settled in that of what came."""
    held, agent = held_by(tx.steps(task.id)), task.agent or ""
    reserve = partial(
        tx.reserve, agent=agent, limit_usd_micros=None, fleet_limit_usd_micros=None, task=task.id, now=now
    )
    amount = chance.randint(1, 99)
    entry: Entry
    if held.call is None:
        reserve(usd_micros=amount, tokens=amount, budgets=RICH if task.id == root.id else NO_BUDGETS)
        entry = ModelIntent(call=1, model="m", reserved_usd_micros=amount, reserved_tokens=amount)
    elif held.summary is None and chance.random() < 0.5:
        reserve(usd_micros=amount, tokens=amount)
        entry = CompactionIntent(model="m", reserved_usd_micros=amount, reserved_tokens=amount)
    elif held.summary is not None and chance.random() < 0.5:
        _settle(tx, task, held.summary, at=held.summary_at, now=now)
        entry = Compacted(text="what came before")
    else:
        _settle(tx, task, held.call, at=held.call_at, now=now)
        entry = ModelAnswer(call=1, model="m")
    tx.record_steps(claim_of(task), [entry], now=now)


def _settle(tx: Tx, task: Task, of: ModelIntent | CompactionIntent, *, at: Instant, now: Instant) -> None:
    tx.settle(
        agent=task.agent or "",
        reserved_usd_micros=of.reserved_usd_micros,
        reserved_tokens=of.reserved_tokens,
        reserved_at=at,
        spent_usd_micros=0,
        task=task.id,
        now=now,
    )


def _unfinished(reads: Reads) -> list[Task]:
    return [each for each in reads.tasks(TaskFilter()) if each.state not in ENDED]


def _set_aside(reads: Reads, *, places: Iterable[Place]) -> dict[Place, Spend]:
    """What the accounts say."""
    found = {place: reads.account(*place).reserved for place in places}
    return {place: each for place, each in found.items() if each != Spend()}


def _held(reads: Reads, *, root: Task) -> dict[Place, Spend]:
    """What the journals say."""
    sums: dict[Place, Spend] = {}
    for task in _unfinished(reads):
        for amount, at in held_by(reads.steps(task.id)).shares():
            tree = [(f"task:{root.id}", NO_DAY)] if root.id == task.id or root.name in task.spec.causes else []
            for place in (f"agent:{task.agent}", day_of(at)), (FLEET, day_of(at)), *tree:
                sums[place] = sums.get(place, Spend()) + amount
    return sums
