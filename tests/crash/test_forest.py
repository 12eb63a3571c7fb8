"""A node with a tree of more than fifty sub-agents is killed three times in the middle.

None is started twice, no result is lost, and none is delivered twice.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from ostinato.domain.task import TaskKind, TaskState
from ostinato.store.port import Reads
from ostinato.store.sqlite import open_store
from tests.conftest import Count
from tests.crash.forge import Order
from tests.crash.judge import deeds_are_done_once, names, no_answered_call_is_asked_again, nothing_ends_twice
from tests.crash.outside import What, of
from tests.crash.record import read_record
from tests.crash.scenarios.forest import SCENARIO, WIDTH
from tests.crash.trial import SIGKILLED, Crew, words_of

pytestmark = pytest.mark.slow

KILLS = ("after:90", "before:90", "after:90")
"""Commits of each run: while branches are made, while leaves work, while results come back."""


def test_a_tree_of_sub_agents_that_is_killed_three_times_ends_as_one_that_was_not(
    crew: Crew, ground: Path, tell: Callable[[str], None], count: Count
) -> None:
    SCENARIO.build(ground)
    order = Order(scenario=SCENARIO.name, folder=str(ground), run=1)
    killed = 0
    for run, place in enumerate((*KILLS, ""), 1):
        ended = crew.forges[0].run(Order(scenario=order.scenario, folder=order.folder, run=run, kill_at=place))
        killed += ended.code == SIGKILLED
    assert ended.code == 0, words_of(ground, ended)
    assert killed == len(KILLS)
    record = read_record(ground)
    findings = [
        *deeds_are_done_once(record.outside),
        *no_answered_call_is_asked_again(record.outside),
        *nothing_ends_twice(record),
    ]
    assert findings == []
    assert names(record.outside) == Counter(SCENARIO.deeds)
    goals = [each.task for each in record.tasks if each.task.kind is TaskKind.GOAL]
    assert Counter(each.title for each in goals) == Counter(dict.fromkeys(titles(), 1)), "none is started twice"
    assert {each.state for each in goals} == {TaskState.DONE}
    for parent in (each for each in goals if not each.title.startswith("leaf")):
        children = sorted(f"completion:{each.name}" for each in goals if each.parent == parent.id)
        assert len(children) == WIDTH
        heard = asyncio.run(completions(ground, parent.session or ""))
        assert sorted(heard) == children, "each result once"
    commits = len(of(record.outside, What.COMMIT))
    count({"kills": killed, "sub-agents": len(goals) - 1})
    tell(f"a tree of {len(goals) - 1} sub-agents, {killed} kills, {commits} commits: none twice, none lost")


def titles() -> list[str]:
    return ["top", *(f"branch {each}" for each in range(WIDTH)), *SCENARIO.deeds]


async def completions(folder: Path, session: str) -> list[str]:
    """Client ids of the messages that a parent has been sent."""

    def look(reads: Reads) -> list[str]:
        return [each.client_id or "" for each in reads.messages(session)]

    store = open_store(folder / ".ostinato")
    try:
        return await store.read(look)
    finally:
        await store.close()
