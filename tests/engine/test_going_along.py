"""What goes along with a commit: a task begins in the one that adds it, and nobody pays for a claim that fails."""

from __future__ import annotations

from typing import Any, Literal

import pytest

from ostinato.domain.errors import Exhausted
from ostinato.domain.task import NewTask, Task, TaskKind, TaskSpec, TaskState
from ostinato.engine.limits import EngineLimits
from ostinato.engine.port import AttemptPort
from ostinato.store.port import EVERY_POOL, ClaimRequest, Tx
from ostinato.store.sqlite import SqliteStore, open_store
from ostinato.store.sqlite.database import StoreFull
from ostinato.testing.clock import STARTS_AT
from tests.conftest import run
from tests.engine.house import DONE, Deed, House, work_in

REQUEST = ClaimRequest(node=1, pools=(EVERY_POOL,), most=8, agent_limit_default=8)


async def add(store: SqliteStore, **more: Any) -> Task:
    new = NewTask(kind=TaskKind.GOAL, title="a task", **more)
    return await store.run(lambda tx: tx.add_task(new, now=STARTS_AT))


def started(tx: Tx) -> int:
    return tx.start_node(
        pid=1, host="here", version="0", lease_s=60.0, exclusive=True, pools=(EVERY_POOL,), now=STARTS_AT
    ).id


def claimed(tx: Tx) -> list[Task]:
    return tx.claim(REQUEST, now=STARTS_AT)


def test_a_task_is_claimed_in_the_commit_that_adds_it_and_ends_in_the_next() -> None:
    numbers: list[int] = []

    async def work() -> None:
        store = open_store(None, hook=lambda moment, number: numbers.append(number) if moment == "after" else None)
        brought: list[tuple[list[Task], bool]] = []
        await store.run(started)
        leave = store.run_along(claimed, lambda tasks, committed: brought.append((tasks, committed)))
        before, task = len(numbers), await add(store)
        assert len(numbers) == before + 1
        (((only,), committed),) = brought
        assert (only.id, only.state, committed) == (task.id, TaskState.RUNNING, True)
        leave()
        assert (await add(store)).state is TaskState.READY
        assert len(brought) == 1, "it goes along no more"
        await store.close()

    run(work())


def test_a_claim_that_fails_takes_nothing_with_it() -> None:
    def broken(tx: Tx) -> None:
        claimed(tx)
        raise RuntimeError("a mistake")

    async def work() -> None:
        store = open_store(None)
        await store.run(started)
        store.run_along(broken, lambda _, __: pytest.fail("it came to nothing"))
        task = await add(store)
        kept = await store.read(lambda reads: reads.task(task.id))
        assert (kept.state, kept.attempts) == (TaskState.READY, 0)
        await store.close()

    run(work())


def test_where_a_commit_fails_whoever_went_along_is_told_so() -> None:
    is_full = False

    def hook(moment: Literal["before", "after"], number: int) -> None:
        if is_full and moment == "before":
            raise StoreFull("no room", cure="make some")

    async def work() -> None:
        nonlocal is_full
        store = open_store(None, hook=hook)
        told: list[tuple[int, bool]] = []
        await store.run(started)
        store.run_along(claimed, lambda tasks, committed: told.append((len(tasks), committed)))
        is_full = True
        with pytest.raises(Exhausted):
            await add(store)
        is_full = False
        await add(store)
        assert told == [(1, False), (1, True)]
        await store.close()

    run(work())


def test_no_task_waits_for_a_sweep_where_a_crowd_comes_in_one_commit() -> None:
    async def brief(attempt: AttemptPort) -> Any:
        most[0] = max(most[0], house_of[0].node.running)
        await attempt.clock.sleep(0.5)
        return DONE

    async def work(house: House) -> None:
        house_of.append(house)

        def add_many(tx: Tx) -> list[int]:
            new = NewTask(kind=TaskKind.GOAL, title="one of many", spec=TaskSpec())
            return [tx.add_task(new, now=house.clock.now()).id for _ in range(20)]

        for each in await house.do(add_many):
            assert (await house.ended(each)).state is TaskState.DONE
        assert house.clock.now() - STARTS_AT < 10_000_000, "four at a time, half a second each"

    most, house_of = [0], list[House]()
    work_in(work, Deed(brief), limits=EngineLimits(tasks=4, claim=3, agent_default=64))
    assert most == [4]
