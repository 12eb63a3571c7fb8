"""Limits of queues over several nodes: what one node runs or begins counts for all, and what it ends makes room."""

from __future__ import annotations

import pytest
from msgspec.structs import replace

from ostinato.domain.limit import QueueLimit, Rate
from ostinato.domain.task import Done, NewTask, Task, TaskKind, TaskResult
from ostinato.domain.values import SECOND
from ostinato.store.port import Claim, ClaimRequest, Store
from ostinato.store.postgres import open_postgres
from tests.conftest import run

NOW = 1_800_000_000 * SECOND
LIMITS = (QueueLimit(project="acme", concurrency=2), QueueLimit(kind="run", rate=Rate(starts=3, span_s=60.0)))


async def begin(store: Store) -> int:
    """A node of a fleet with these limits."""
    await store.run(lambda tx: tx.set_limits(LIMITS, now=NOW))
    node = await store.run(
        lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=600.0, exclusive=False, now=NOW)
    )
    return node.id


async def claim(store: Store, node: int, *, at: int = NOW) -> list[Task]:
    request = ClaimRequest(node=node, most=9, agent_limit_default=9)
    return await store.run(lambda tx: tx.claim(request, now=at))


@pytest.mark.slow
def test_limits_hold_over_all_nodes(database: str) -> None:
    async def story() -> None:
        one, other = open_postgres(database), open_postgres(database)
        try:
            first, second = await begin(one), await begin(other)
            new = NewTask(kind=TaskKind.RUN, title="t", project="acme")
            tasks = [await one.run(lambda tx: tx.add_task(new, now=NOW)) for _ in range(5)]
            held = await claim(one, first)
            assert [task.id for task in held] == [task.id for task in tasks[:2]]
            assert await claim(other, second) == []
            done, ended = Done(result=TaskResult()), Claim(task=held[0].id, token=held[0].token)
            await one.run(lambda tx: tx.finish(ended, done, now=NOW))
            (third,) = await claim(other, second)
            assert third.id == tasks[2].id
            also = Claim(task=third.id, token=third.token)
            await other.run(lambda tx: tx.finish(also, done, now=NOW))
            assert await claim(one, first, at=NOW + 59 * SECOND) == [], "three have begun in this minute"
            assert await one.run(lambda tx: tx.next_start_at()) == NOW + 60 * SECOND
            (fourth,) = await claim(one, first, at=NOW + 60 * SECOND)
            assert fourth.id == tasks[3].id
        finally:
            await one.close()
            await other.close()

    run(story())


@pytest.mark.slow
def test_what_another_node_changes_of_limits_and_aging_counts_in_the_next_claim(database: str) -> None:
    """Each node remembers limits, what has begun for their rates, and where everything stands in its queue."""

    async def story() -> None:
        one, other = open_postgres(database), open_postgres(database)
        try:
            first, _ = await begin(one), await begin(other)
            new = NewTask(kind=TaskKind.RUN, title="t", project="acme")
            old = await one.run(lambda tx: tx.add_task(new, now=NOW))
            pressing = replace(new, priority=2)
            later = await one.run(lambda tx: tx.add_task(pressing, now=NOW + 100 * SECOND))
            closed = (QueueLimit(kind="run", rate=Rate(starts=1, span_s=60.0)),)
            await other.run(lambda tx: tx.set_limits(closed, now=NOW + 100 * SECOND))
            await other.run(lambda tx: tx.set_aging(10.0))
            (begun,) = await claim(one, first, at=NOW + 100 * SECOND)
            assert begun.id == old.id, "a hundred seconds are worth ten levels by now, and one may begin in a minute"
            await other.run(lambda tx: tx.set_limits((), now=NOW + 100 * SECOND))
            (begun,) = await claim(one, first, at=NOW + 100 * SECOND)
            assert begun.id == later.id
            assert await one.read(lambda reads: reads.limits()) == ()
        finally:
            await one.close()
            await other.close()

    run(story())
