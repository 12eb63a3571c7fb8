"""What the harness of the load must not take for a bug: a sender that dies before it is told what is safe, a dead
letter that is about to be sent on, and a forge that another test has left in the middle.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.domain.task import Fail
from ostinato.domain.values import SECOND
from ostinato.store.port import Claim, ClaimRequest
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import STARTS_AT
from tests.conftest import run
from tests.crash import load
from tests.crash.forge import Order
from tests.crash.outside import What, of, read_outside
from tests.crash.person import POISON
from tests.crash.record import OUTSIDE, read_record
from tests.crash.scenario import goal
from tests.crash.scenarios import SCENARIOS
from tests.crash.stage import Over
from tests.crash.trial import SIGKILLED, Crew, words_of

COMMITS = range(2, 12)
"""Of a node that has begun: a good part of them are a sender's."""


@pytest.mark.slow
def test_an_errand_that_is_safe_without_its_sender_knowing_is_neither_lost_nor_one_too_many(
    crew: Crew, ground: Path, tell: Callable[[str], None]
) -> None:
    for number in COMMITS:
        folder = ground / str(number)
        folder.mkdir()
        load.SCENARIO.build(folder)
        order = Order(scenario=load.NAME, folder=str(folder), run=1, real=True, load=load.Orders(total=20))
        assert crew.forges[0].run(replace(order, kill_at=f"after:{number}")).code == SIGKILLED
        sent = of(read_outside(folder / OUTSIDE), What.SENT)
        ended = crew.forges[0].run(replace(order, run=2, load=load.Orders(total=len(sent))))  # nothing is sent again
        assert ended.code == 0, words_of(folder, ended)
        record = read_record(folder)
        assert load.judge_load(record) == []
        if len(load.safe(record)) > len(sent):
            tell(f"senders: the one that died at commit {number} was not told what was safe")
            return
    pytest.fail("no kill has hit a sender that waited for its answer")


@pytest.mark.parametrize(("error_class", "over"), [(POISON, False), ("invalid", True)])
def test_it_is_not_over_while_a_person_is_about_to_send_a_dead_letter_on(error_class: str, over: bool) -> None:
    async def ended() -> bool:
        store = open_store(None)
        try:
            node = await store.run(
                lambda tx: tx.start_node(pid=1, host="here", version="1", exclusive=True, lease_s=60.0, now=STARTS_AT)
            )
            await store.run(lambda tx: tx.add_task(goal("something", "free-0", key="1"), now=STARTS_AT))
            request = ClaimRequest(node=node.id, most=1)
            (task,) = await store.run(lambda tx: tx.claim(request, now=STARTS_AT + SECOND))
            claim = Claim(task=task.id, token=task.token)
            failed = Fail(error="it failed", error_class=error_class)
            await store.run(lambda tx: tx.finish(claim, failed, now=STARTS_AT + SECOND))
            return await Over(store, 0)._is_over()
        finally:
            await store.close()

    assert run(ended()) is over


@pytest.mark.slow
def test_a_test_that_gives_up_in_the_middle_leaves_its_forge_to_the_next(crew: Crew, ground: Path) -> None:
    SCENARIOS["delivery"].build(ground)
    order = Order(scenario="delivery", folder=str(ground), run=1)
    crew.forges[0].begin(replace(order, waits=True))
    assert crew.forges[0].run(order).code == 0
