"""What people see of models: who is left alone and why, and whom each call asked."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.step import Chosen, ModelIntent, Step
from ostinato.domain.task import NewTask, Park, TaskKind, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND
from ostinato.gateway.breakers_api import WhichBreaker, reset
from ostinato.gateway.doctor import examine
from ostinato.gateway.journal_view import step_view
from ostinato.gateway.operation import Nothing
from ostinato.gateway.status_api import status
from ostinato.store.port import Claim, ClaimRequest, Tx
from tests.conftest import run
from tests.gateway.ground import NOW, ground

OPEN = Breaker(
    name="host:api.example.com",
    state=BreakerState.OPEN,
    failures=5,
    opened=1,
    since_at=NOW - 60 * SECOND,
    until_at=NOW + 30 * SECOND,
    reason="Model 'small': the server answered 503",
)


def test_status_and_doctor_name_who_is_left_alone_and_nobody_else(tmp_path: Path) -> None:
    shown = (OPEN, Breaker(name="model:other", failures=2), Breaker(
        name="model:small", state=BreakerState.HALF_OPEN, failures=6, opened=2, until_at=NOW + SECOND, probe="T7",
        reason="slow down",
    ))  # fmt: skip

    async def main() -> None:
        async with ground(tmp_path, past=False) as made:
            for each in shown:
                await made.store.run(lambda tx, each=each: tx.put_breaker(each.name, each, now=NOW))
            view = await status.handler(made.context, Nothing())
            told = [each for each in view.needs_you if "not asked" in each.text]
            assert [each.text for each in told] == [
                "host api.example.com is not asked for now: Model 'small': the server answered 503",
                "model small is not asked for now: slow down",
            ]
            assert (told[0].level, told[0].command, told[0].age_s) == ("wrong", "ostinato breakers list", 60.0)
            assert not view.ok
            found = {each.name: each for each in await examine(made.context)}
            assert found["host api.example.com"].text == (
                "not asked after 5 failures in a row, tried again in 30 s: Model 'small': the server answered 503"
            )
            assert "T7 is trying it" in found["model small"].text
            assert found["model small"].level == "bad"
            assert "model other" not in found

    run(main())


def test_what_waits_for_a_model_goes_on_when_a_person_resets_its_breaker(tmp_path: Path) -> None:
    def parked(tx: Tx) -> None:
        node = tx.start_node(pid=7, host="here", version="test", lease_s=60.0, exclusive=True, now=NOW)
        for breakers in (("model:small", OPEN.name), ("model:small",), ()):
            tx.add_task(NewTask(kind=TaskKind.GOAL, title="wait", agent="clerk"), now=NOW)
            request = ClaimRequest(node=node.id, most=1, agent_limit_default=9, kinds=(TaskKind.GOAL,))
            (task,) = tx.claim(request, now=NOW)
            wait = Wait(kind=WaitKind.TIME, refs=breakers, until_at=NOW + 3_600 * SECOND)
            tx.finish(Claim(task=task.id, token=task.token), Park(wait=wait, reason="no model"), now=NOW)
        tx.put_breaker(OPEN.name, OPEN, now=NOW)

    async def main() -> None:
        async with ground(tmp_path, past=False) as made:
            await made.store.run(parked)
            view = await reset.handler(made.context, WhichBreaker(breaker=OPEN.name))
            assert view.state == "closed"
            states = [(await made.store.read(lambda reads, n=n: reads.task(n))).state for n in (1, 2, 3)]
            assert states == [TaskState.READY, TaskState.WAITING, TaskState.WAITING]

    run(main())


@pytest.mark.parametrize(("intent", "text"), [
    (ModelIntent(call=1, model="small", prompt_tokens=9), "asks small, about 9 tokens"),
    (ModelIntent(call=1, model="small", wanted="small"), "asks small, about 0 tokens"),
    (ModelIntent(call=1, model="small", wanted="cheap"), "asks small (cheap), about 0 tokens"),
    (
        ModelIntent(call=1, model="large", wanted="strong", chosen=Chosen.RULE, why="task.type == 'legal'"),
        "asks large (strong, by the rule \"task.type == 'legal'\"), about 0 tokens",
    ),
    (
        ModelIntent(call=1, model="other", wanted="cheap", chosen=Chosen.FALLBACK, why="instead of small: 503"),
        "asks other (cheap, instead of small: 503), about 0 tokens",
    ),
    (
        ModelIntent(
            call=4, model="large", wanted="strong", chosen=Chosen.ESCALATION, why="the replies of it stayed malformed"
        ),
        "asks large (strong, as the replies of it stayed malformed), about 0 tokens",
    ),
])  # fmt: skip
def test_each_choice_is_told_with_its_reason(intent: ModelIntent, text: str) -> None:
    view = step_view(Step(task=1, journal=1, seq=1, at=NOW, attempt=1, entry=intent))
    assert view.text == text
    assert view.detail.get("chosen", "asked") == intent.chosen.value
