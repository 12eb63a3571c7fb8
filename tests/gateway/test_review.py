"""What to look at before an agent is given more: told in sentences that say what to type."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from ostinato.domain.ledger import Charge
from ostinato.domain.question import Answer, NewQuestion, QuestionKind, QuestionState
from ostinato.domain.step import Decision, Effect, Entry, Judged, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Done, Fail, NewTask, Outcome, TaskKind, TaskResult
from ostinato.domain.values import SECOND, Instant
from ostinato.gateway import review_api
from ostinato.store.port import Claim, ClaimRequest, ScheduleRow, Tx
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground

DAY = 86_400 * SECOND


def intent(tool: str) -> ToolIntent:
    return ToolIntent(call_id="1.0", tool=tool, effect=Effect.READ, arguments={}, key=tool)


async def worked(
    made: Ground, *entries: Entry, at: Instant = NOW, usd: float = 0.0, outcome: Outcome | None = None
) -> None:
    """The clerk does one task that writes these into its journal."""

    def write(tx: Tx) -> None:
        node = tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=at)
        tx.add_task(NewTask(kind=TaskKind.GOAL, title="work", agent="clerk"), now=at)
        (task,) = tx.claim(ClaimRequest(node=node.id), now=at)
        claim = Claim(task=task.id, token=task.token)
        tx.record_steps(claim, entries, now=at)
        if usd:
            row = Charge(
                task=task.id,
                agent="clerk",
                session="s",
                trigger="operator",
                call=1,
                provider="p",
                model="m",
                status=200,
                usd_micros=round(usd * 1_000_000),
            )
            tx.charge(row, now=at)
        tx.finish(claim, outcome or Done(result=TaskResult(text="done")), now=at)

    await made.store.run(write)


async def reviewed(made: Ground, **more: str) -> tuple[str, dict[str, dict[str, Any]]]:
    """The clerk's summary, and its remarks by what they are about."""
    found = await made.call(review_api.review, {"agent": "clerk", **more})
    (one,) = found["reviews"]
    return one["summary"], {each["about"]: each for each in one["remarks"]}


@pytest.mark.slow
def test_each_thing_that_speaks_against_more_work_is_told_with_its_command(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            await worked(made, intent("files.read"), at=NOW - 20 * DAY)
            for _ in range(5):
                await worked(made, intent("files.read"), usd=0.01)
            await worked(made, intent("files.write"), usd=0.30)
            denial = Judged(call_id="1.0", tool="http.get", decision=Decision.DENY, reason="not allowed")
            await worked(made, denial, denial)
            await worked(made, outcome=Fail(error="no paper"))
            await worked(
                made, ToolOutcome(call_id="1.0", tool="message.send", status=ResultStatus.UNKNOWN, text="maybe")
            )
            summary, remarks = await reviewed(made)
            assert summary == "clerk should not be given more yet: 5 things to settle"
            assert {each: remarks[each]["level"] for each in remarks} == {
                "unknown": "bad",
                "failed": "bad",
                "denied": "look",
                "new": "look",
                "cost": "look",
            }
            assert "refused 2 times; most often (2) http.get: not allowed" in remarks["denied"]["text"]
            assert remarks["new"]["text"] == "it used for the first time: files.write"
            assert "1 of 6 tasks cost over 5 times the usual $0.0100" in remarks["cost"]["text"]
            assert remarks["cost"]["command"] == "ostinato tasks show T7"

    run(story())


def test_a_doubt_that_a_person_has_settled_speaks_against_nothing_any_more(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            for text in ("paid", "sent"):
                await worked(made, ToolOutcome(call_id="1.0", tool=text, status=ResultStatus.UNKNOWN, text="maybe"))
            first, second = [
                NewQuestion(kind=QuestionKind.UNKNOWN, text="Did it?", agent="clerk", task=task, session=f"task:{task}")
                for task in (1, 2)
            ]
            asked = await made.store.run(lambda tx: [tx.ask(each, now=NOW) for each in (first, second)])
            _, remarks = await reviewed(made)
            assert "of 2 tasks" in remarks["unknown"]["text"]
            assert remarks["unknown"]["command"] == "ostinato approvals list --kind unknown"
            for question, state in zip(asked, (QuestionState.ANSWERED, QuestionState.DENIED), strict=True):
                answer = Answer(state=state, by="ann", text="it did")
                await made.store.run(lambda tx, q=question.id, a=answer: tx.answer(q, a, now=NOW))
            summary, remarks = await reviewed(made)
            assert (summary, remarks) == ("nothing speaks against giving clerk more", {})

    run(story())


def test_what_calls_of_an_unknown_price_cost_is_unknown(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            row = Charge(
                task=1, agent="clerk", session="s", trigger="operator", call=1, provider="p", model="m", status=200
            )
            for charge, usd, unpriced in (
                (replace(row, usd_micros=None), None, 1),
                (replace(row, call=2, usd_micros=30_000), 0.03, 1),
            ):
                await made.store.run(lambda tx, charge=charge: tx.charge(charge, now=NOW))
                (one,) = (await made.call(review_api.review, {"agent": "clerk"}))["reviews"]
                assert (one["usd"], one["unpriced_calls"]) == (usd, unpriced)

    run(story())


@pytest.mark.slow
def test_skips_are_praised_or_explained_by_their_reason(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:

            def write(tx: Tx) -> None:
                row = ScheduleRow(name="heartbeat:clerk:heartbeat", agent="clerk", rule={"every": "15m"}, next_at=NOW)
                tx.put_schedule(row, now=NOW)
                reasons = ["nothing to do: inbox.files > 0"] * 3 + ["still busy with T1"]
                for number, reason in enumerate(reasons):
                    tx.skip(
                        row.name,
                        heartbeat="heartbeat",
                        agent="clerk",
                        reason=reason,
                        nominal_at=NOW + number * SECOND,
                        next_at=NOW + (number + 1) * SECOND,
                        now=NOW,
                        in_row=True,
                    )

            await made.store.run(write)
            found = await made.call(review_api.review, {"agent": "clerk"})
            texts = {each["level"]: each["text"] for each in found["reviews"][0]["remarks"]}
            assert "it slept on" in texts["good"]
            assert "`every` is shorter than its work takes" in texts["look"]

    run(story())


def test_a_quiet_agent_and_an_idle_one_are_told_apart(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            assert (await reviewed(made))[0].endswith("there is nothing to judge by")
            await worked(made, intent("files.read"))
            assert (await reviewed(made))[0] == "nothing speaks against giving clerk more"
            everybody = await made.call(review_api.review, {})
            assert [each["agent"] for each in everybody["reviews"]] == ["billing", "clerk"]

    run(story())


def test_a_past_with_everything_in_it_is_reviewed(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path) as made:
            summary, remarks = await reviewed(made, since="30d")
            assert summary
            assert set(remarks) <= {"unknown", "denied", "new", "cost", "skipped", "failed"}

    run(story())
