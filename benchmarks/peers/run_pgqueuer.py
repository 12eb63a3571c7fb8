"""pgqueuer on PostgreSQL: jobs are added in batches, then drained in batches. Runs in pgqueuer's own environment."""

from __future__ import annotations

import asyncio
import json
import sys
import time

import asyncpg
from pgqueuer import AsyncpgDriver, Job, PgQueuer
from pgqueuer.queries import Queries
from pgqueuer.types import QueueExecutionMode

ASKED = json.loads(sys.argv[1])
BATCH = 100


async def main() -> None:
    """Prints jobs a second, from the first that is added to the last that has ended."""
    driver = AsyncpgDriver(await asyncpg.connect(ASKED["url"]))
    queries = Queries(driver)
    await queries.install()
    queuer = PgQueuer(driver)

    @queuer.entrypoint("work")
    async def work(_: Job) -> None:
        """Nothing, durably."""

    began = time.perf_counter()
    for _ in range(0, ASKED["tasks"], BATCH):
        await queries.enqueue(["work"] * BATCH, [None] * BATCH, [0] * BATCH)
    await queuer.run(batch_size=BATCH, mode=QueueExecutionMode.drain)
    elapsed = time.perf_counter() - began
    assert not sum(each.count for each in await queries.queue_size())
    settings = f"PostgreSQL, durable tables, added and taken {BATCH} at a time"
    print(json.dumps({"value": ASKED["tasks"] / elapsed, "settings": settings}), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
