"""One turn through twenty deploys, drained and killed in turns; with OSTINATO_CRASH=full."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.deploy.oracle import oracle
from tests.deploy.site import site

DEPLOYS = 20


@pytest.mark.slow
def test_no_reply_of_a_turn_is_asked_for_again_however_often_its_node_is_replaced(tmp_path: Path) -> None:
    with oracle() as model, site(tmp_path, model.url) as made:
        made.write(agents__helper__AGENTS_md=f"---\nlimits: {{steps: {2 * DEPLOYS + 5}, identical: 100}}\n---\nGo on.")
        made.start()
        task = made.goal("helper", "read it again and again")
        replies = 0
        for number in range(DEPLOYS):
            question = model.next()
            assert question.calls_so_far == replies, "it goes on where it was"
            assert "SOUL-ONE" in question.system
            made.write(agents__helper__SOUL_md=f"You are another one, number {number}.")
            if number % 2:
                made.kill()  # the reply never came: it is asked for once more
            else:
                made.drain()
                question.call("files.read", path="SOUL.md")
                replies += 1
                made.ended()
            made.start()
        last = model.next()
        assert last.calls_so_far == replies
        last.say("enough")
        made.until(task)
        assert model.asked == replies + DEPLOYS // 2 + 1
