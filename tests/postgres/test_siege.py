"""Two nodes on one database, one of which is killed at a random moment, again and again: with OSTINATO_CRASH=full.

Another is started in its place at once. Some minutes: whoever goes on waits for the lease of whoever died.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.domain.task import TaskState
from ostinato.engine.clock import SystemClock
from ostinato.store.port import TaskFilter, Tx
from ostinato.store.postgres import open_postgres
from tests.conftest import Count, run, wait_until
from tests.crash.siege import first_seed
from tests.postgres.errand import MANY, Outside
from tests.postgres.test_nodes import add, findings, start

pytestmark = pytest.mark.slow

KILLS = 100
ERRANDS_EACH = 20
"""Sent before each kill, which comes behind so many deeds at most."""

LEASE_S = 1.0
PATIENCE_S = 600.0


def test_nodes_that_are_killed_again_and_again_lose_nothing_and_do_nothing_twice(
    own_database: str, tmp_path: Path, tell: Callable[[str], None], count: Count
) -> None:
    outside, seed = Outside(tmp_path / "log"), first_seed()
    sent, sent_on = besiege(own_database, outside, kills=KILLS, seed=seed)
    doubts = len({title for title, _pid in outside.lines("doubt")})
    found = findings(own_database, outside, sent)
    outside.close()
    tell(
        f"{KILLS} kills of one of two nodes from seed {seed}: {len(sent)} tasks, {doubts} deeds in doubt, "
        f"{sent_on} poisoned and sent on"
    )
    count({"kills": KILLS, "tasks": len(sent), "deeds in doubt": doubts})
    assert found == []
    assert doubts, "the kills must hit open intents"


def test_the_siege_notices_a_node_that_repeats_a_deed_in_doubt(own_database: str, tmp_path: Path) -> None:
    outside = Outside(tmp_path / "log")
    sent, _ = besiege(own_database, outside, kills=5, seed=first_seed(), bug="again")
    found = findings(own_database, outside, sent)
    outside.close()
    assert any(each.startswith("done 2 times") for each in found)


def besiege(url: str, outside: Outside, *, kills: int, seed: int, bug: str = "") -> tuple[list[str], int]:
    """The titles of all errands, and how many of them a person had to send on; all of them have ended."""
    chance, sent = random.Random(seed), list[str]()
    run(open_postgres(url).close())  # one makes the tables, so that all start at once
    nodes = [start(url, outside, lease_s=LEASE_S, bug=bug) for _ in range(2)]
    try:
        for _ in range(kills):
            effects = len(outside.lines("effect")) + chance.randint(1, ERRANDS_EACH)
            sent += add(url, range(len(sent), len(sent) + ERRANDS_EACH))
            wait_until(lambda effects=effects: len(outside.lines("effect")) >= effects, timeout_s=PATIENCE_S)  # type: ignore[misc]  # bound now
            victim = nodes.pop(chance.randrange(2))
            victim.kill()
            victim.wait()
            nodes.append(start(url, outside, lease_s=LEASE_S, bug=bug))
        sent_on = 0
        while letters := dead_letters(url):
            sent_on += send_on(url, letters)
    finally:
        for each in nodes:
            each.kill()
            each.wait()
    return sent, sent_on


def dead_letters(url: str) -> list[int]:
    """What has been set aside as poison, once nothing else is left to do."""

    async def work() -> tuple[int, list[int]]:
        store = open_postgres(url)
        try:
            tallies = await store.read(lambda reads: reads.tallies())
            failed = frozenset({TaskState.FAILED})
            dead = await store.read(lambda reads: reads.tasks(TaskFilter(states=failed), limit=MANY))
            others = sum(tallies.tasks.values()) - tallies.tasks.get("done", 0) - len(dead)
            return others, [task.id for task in dead]
        finally:
            await store.close()

    wait_until(lambda: not run(work())[0], timeout_s=PATIENCE_S)
    return run(work())[1]


def send_on(url: str, letters: list[int]) -> int:
    """A person sends them on; returns how many."""

    async def work() -> None:
        store, now = open_postgres(url), SystemClock().now()

        def send(tx: Tx) -> None:
            for task in letters:
                tx.retry_task(task, fresh=False, actor="ann", now=now)

        try:
            await store.run(send)
        finally:
            await store.close()

    run(work())
    return len(letters)
