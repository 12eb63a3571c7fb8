"""Two people at two nodes who decide the same at once: one does, the other is told, and nothing is done twice."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

import pytest

from ostinato.domain.errors import Conflict
from ostinato.domain.question import Answer, NewQuestion, QuestionKind, QuestionState
from ostinato.domain.task import Fail, NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import SECOND
from ostinato.store.port import Claim, ClaimRequest, Store, TaskFilter, Tx
from ostinato.store.postgres import open_postgres
from tests.conftest import run

NOW = 1_800_000_000 * SECOND
REPLAY = NewTask(kind=TaskKind.REPLAY, title="replay", spec=TaskSpec(delegation="replay:one group"))


async def at_once(stores: tuple[Store, Store], one: Callable[[Tx], Any], other: Callable[[Tx], Any]) -> list[Any]:
    """What both come to, in any order."""
    return await asyncio.gather(stores[0].run(one), stores[1].run(other), return_exceptions=True)


def only_one(found: list[Any]) -> Any:
    """What came of the one that decided."""
    (refused,) = [each for each in found if isinstance(each, BaseException)]
    assert isinstance(refused, Conflict), refused
    return next(each for each in found if each is not refused)


async def failed(store: Store) -> Task:
    """A dead letter."""

    def fail(tx: Tx) -> Task:
        node = tx.start_node(pid=1, host="h", version="1", lease_s=600.0, exclusive=False, now=NOW)
        (task,) = tx.claim(ClaimRequest(node=node.id, agent_limit_default=9), now=NOW)
        return tx.finish(Claim(task=task.id, token=task.token), Fail(error="no", error_class="permanent"), now=NOW)

    await store.run(lambda tx: tx.add_task(NewTask(kind=TaskKind.GOAL, title="t", agent="a"), now=NOW))
    return await store.run(fail)


async def a_question(stores: tuple[Store, Store], task: int) -> None:
    """Two answer it; the answer of the one who did is kept."""
    asked = NewQuestion(kind=QuestionKind.ASK, text="So?", agent="a", task=task, session="", expires_at=NOW + SECOND)
    question = await stores[0].run(lambda tx: tx.ask(asked, now=NOW))
    ann, bob = [Answer(state=QuestionState.ANSWERED, by=each, text=each) for each in ("ann", "bob")]
    settled = only_one(
        await at_once(
            stores, lambda tx: tx.answer(question.id, ann, now=NOW), lambda tx: tx.answer(question.id, bob, now=NOW)
        )
    )
    kept = await stores[1].read(lambda reads: reads.question(question.id))
    assert (kept.decided_by, kept.answer) == (settled.decided_by, settled.answer)


async def a_draft(stores: tuple[Store, Store], task: int) -> None:
    """One approves and one rejects it; nothing of it is left to run."""

    def decide(event: TaskEvent) -> Callable[[Tx], Task]:
        return lambda tx: tx.move_task(task, event, actor=event.value, now=NOW)

    moved = only_one(await at_once(stores, decide(TaskEvent.APPROVE), decide(TaskEvent.REJECT)))
    assert moved.state is (await stores[1].read(lambda reads: reads.task(task))).state
    if moved.state is TaskState.READY:
        await stores[0].run(lambda tx: tx.move_task(task, TaskEvent.CANCEL, actor="x", now=NOW))


async def a_dead_letter(stores: tuple[Store, Store]) -> None:
    """Both replay it, and the whole group of it."""
    letter = await failed(stores[0])

    def replay(tx: Tx) -> Task:
        return tx.retry_task(letter.id, fresh=True, actor="ann", now=NOW)

    assert only_one(await at_once(stores, replay, replay)).state is TaskState.READY

    def order(tx: Tx) -> Task:
        return tx.add_task(REPLAY, now=NOW)

    first, second = await at_once(stores, order, order)
    assert first.id == second.id
    which = TaskFilter(kinds=frozenset({TaskKind.REPLAY}))
    assert len(await stores[0].read(lambda reads: reads.tasks(which))) == 1


@pytest.mark.slow
def test_of_two_who_decide_at_once_one_does(database: str) -> None:
    async def story() -> None:
        stores = open_postgres(database), open_postgres(database)
        new = NewTask(kind=TaskKind.GOAL, title="t", agent="a", draft=True)
        try:
            for _ in range(3):
                draft = await stores[0].run(lambda tx: tx.add_task(new, now=NOW))
                await a_question(stores, draft.id)
                await a_draft(stores, draft.id)
            await a_dead_letter(stores)
        finally:
            for each in stores:
                await each.close()

    run(story())
