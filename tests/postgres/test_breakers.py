"""Two nodes share their breakers: what one has trouble with the other leaves alone, and one of them probes."""

from __future__ import annotations

import asyncio

import pytest

from ostinato.domain.breaker import BreakerRule, BreakerState
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.breakers import LOOK_EVERY, Breakers, Refusal, Trouble
from ostinato.store.port import Store
from ostinato.store.postgres import open_postgres
from tests.conftest import run

NOW = 1_800_000_000_000_000
NAME = "model:small"
RULE = BreakerRule()

pytestmark = pytest.mark.slow


class Node:
    """A store of its own over the shared database, and what a node remembers of breakers."""

    def __init__(self, url: str, name: str) -> None:
        self.store: Store = open_postgres(url)
        self.breakers = Breakers({"model": RULE})
        self.name = name

    async def admit(self, now: Instant, *, who: str = "") -> Refusal | None:
        """May a call go?"""
        return await self.store.run(lambda tx: self.breakers.admit(tx, (NAME,), who=who or self.name, now=now))

    async def fails(self, now: Instant, *, who: str) -> None:
        """A call has failed."""
        trouble = Trouble(reason="it was down")
        await self.store.run(lambda tx: self.breakers.went_wrong(tx, NAME, trouble, who=who, now=now, task=1))

    async def succeeds(self, now: Instant) -> None:
        """A call came back."""
        await self.store.run(lambda tx: self.breakers.went_well(tx, (NAME,), who=self.name, now=now))

    async def state(self) -> BreakerState | None:
        """Of the one breaker, as this node reads it."""
        found = await self.store.read(lambda reads: reads.breaker(NAME))
        return None if found is None else found.state


def test_two_nodes_share_a_breaker_and_send_one_probe(database: str) -> None:
    async def story() -> None:
        one, two = Node(database, "one"), Node(database, "two")
        try:
            assert await two.admit(NOW) is None
            for number in range(RULE.failures_max):
                await one.fails(NOW + number, who=f"T{number}")
            later = NOW + LOOK_EVERY
            refusal = await two.admit(later)
            assert refusal is not None, "the other node has learned of it"
            assert "it was down" in refusal.reason
            open_again = refusal.until_at + SECOND
            answers = await asyncio.gather(one.admit(open_again), two.admit(open_again))
            assert sorted(each is None for each in answers) == [False, True], "one of them is the probe"
            probe, other = (one, two) if answers[0] is None else (two, one)
            assert await other.state() is BreakerState.HALF_OPEN
            await other.succeeds(open_again)  # what began before it opened moves nothing
            assert await probe.state() is BreakerState.HALF_OPEN
            await probe.succeeds(open_again + SECOND)
            assert await other.state() is None
            assert await other.admit(open_again + 2 * SECOND) is None
        finally:
            await one.store.close()
            await two.store.close()

    run(story())


def test_of_eight_callers_on_two_nodes_one_looks_and_the_next_only_after_it(database: str) -> None:
    async def story() -> None:
        one, two = Node(database, "one"), Node(database, "two")
        try:
            for number in range(RULE.failures_max):
                await one.fails(NOW + number, who=f"T{number}")
            for opened in range(1, 4):
                at = NOW + 1_000 * opened * SECOND
                asked = [(one, two)[number % 2].admit(at, who=f"T{number}") for number in range(8)]
                let = [refusal is None for refusal in await asyncio.gather(*asked)]
                assert sum(let) == 1, "one probe at a time"
                await one.fails(at + 1, who=f"T{let.index(True)}")
                assert await two.state() is BreakerState.OPEN
        finally:
            await one.store.close()
            await two.store.close()

    run(story())


def test_failures_on_two_nodes_add_up(database: str) -> None:
    async def story() -> None:
        one, two = Node(database, "one"), Node(database, "two")
        try:
            for number in range(RULE.failures_max):
                await (one, two)[number % 2].fails(NOW + number, who=f"T{number}")
            assert await one.state() is BreakerState.OPEN
            assert await two.admit(NOW + SECOND) is not None
        finally:
            await one.store.close()
            await two.store.close()

    run(story())
