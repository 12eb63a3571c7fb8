"""Money: budgets by the day, ledger rows, and the tables made from them."""

from __future__ import annotations

from typing import Any

from ostinato.domain.budget import Spend
from ostinato.domain.errors import Exhausted, Invalid
from ostinato.domain.escalation import Rung
from ostinato.domain.failure import FailurePlan
from ostinato.domain.ledger import Charge, day_of
from ostinato.domain.step import CompactionIntent, Entry, ModelAnswer, ModelIntent
from ostinato.domain.task import Fail, Task, TaskEvent, TaskKind
from ostinato.domain.values import SECOND
from ostinato.store.port import QuestionFilter, ScheduleRow
from ostinato.testing.contract.scene import Scene, case, claim_of, refuses


async def _reserve(
    scene: Scene, amount: int, *, agent: str = "a", own: int | None = 100, fleet: int | None = 150
) -> None:
    await scene.do(
        lambda tx: tx.reserve(
            agent=agent, usd_micros=amount, limit_usd_micros=own, fleet_limit_usd_micros=fleet, now=scene.now
        )
    )


async def _settle(scene: Scene, reserved: int, spent: int, *, agent: str = "a") -> None:
    await scene.do(
        lambda tx: tx.settle(agent=agent, reserved_usd_micros=reserved, spent_usd_micros=spent, now=scene.now)
    )


@case
async def an_agents_limit_holds_for_what_is_reserved_and_spent(scene: Scene) -> None:
    await _reserve(scene, 60)
    with refuses(Exhausted, "'a'"):
        await _reserve(scene, 50)
    await _settle(scene, 60, 30)
    await _reserve(scene, 50)
    with refuses(Exhausted):
        await _reserve(scene, 21)
    await _reserve(scene, 20)


@case
async def the_fleets_limit_holds_over_all_agents(scene: Scene) -> None:
    await _reserve(scene, 100, agent="a")
    with refuses(Exhausted, "fleet"):
        await _reserve(scene, 60, agent="b")
    await _reserve(scene, 50, agent="b")
    await _reserve(scene, 10**9, agent="c", own=None, fleet=None)


@case
async def what_is_refused_reserves_nothing(scene: Scene) -> None:
    with refuses(Exhausted):
        await _reserve(scene, 90, fleet=80)
    await _reserve(scene, 80, fleet=80)


@case
async def a_failed_tasks_open_call_holds_no_money_until_it_is_sent_on(scene: Scene) -> None:
    await scene.add(agent="a")
    task = await scene.claim_one()
    await _reserve(scene, 60)
    intent = ModelIntent(call=1, model="m", reserved_usd_micros=60)
    await scene.do(lambda tx: tx.record_steps(claim_of(task), [intent], now=scene.now))
    await scene.finish(task, Fail(error="no such model"))
    await _reserve(scene, 100)
    await _settle(scene, 100, 0)
    await scene.do(lambda tx: tx.retry_task(task.id, fresh=False, actor="ann", now=scene.now))
    with refuses(Exhausted):
        await _reserve(scene, 41)
    again = await scene.claim_one()
    answer = ModelAnswer(call=1, model="m")
    await scene.do(lambda tx: tx.record_steps(claim_of(again), [answer], now=scene.now))
    await _settle(scene, 60, 10)
    await scene.finish(again, Fail(error="for another reason"))
    await _reserve(scene, 90)
    with refuses(Exhausted):
        await _reserve(scene, 1)


@case
async def a_budget_begins_anew_each_day(scene: Scene) -> None:
    await _reserve(scene, 100)
    scene.wait(86_400.0)
    await _reserve(scene, 100)
    await _settle(scene, 100, 10)
    await _reserve(scene, 90)


@case
async def a_reservation_from_before_midnight_does_not_make_room_today(scene: Scene) -> None:
    await _reserve(scene, 100)
    scene.wait(86_400.0)
    await _settle(scene, 100, 40)
    with refuses(Exhausted):
        await _reserve(scene, 61)
    await _reserve(scene, 60)


@case
async def a_call_over_midnight_does_not_give_back_what_another_has_set_aside_today(scene: Scene) -> None:
    await scene.add(agent="a")
    task = await scene.claim_one()
    await scene.do(
        lambda tx: tx.record_steps(
            claim_of(task), [ModelIntent(call=1, model="m", reserved_usd_micros=100)], now=scene.now
        )
    )
    await _reserve(scene, 100)
    scene.wait(86_400.0)
    await _reserve(scene, 100)
    await scene.do(
        lambda tx: tx.settle(
            agent="a", reserved_usd_micros=100, spent_usd_micros=0, reserved_at=task.created_at, now=scene.now
        )
    )
    with refuses(Exhausted):
        await _reserve(scene, 1)
    await _settle(scene, 100, 40)
    await _reserve(scene, 60)


@case
async def what_a_call_of_two_days_ago_has_set_aside_is_not_taken_from_todays(scene: Scene) -> None:
    await _reserve(scene, 100)
    began_at = scene.now
    scene.wait(2 * 86_400.0)
    await _reserve(scene, 100)
    await scene.do(
        lambda tx: tx.settle(
            agent="a", reserved_usd_micros=100, spent_usd_micros=0, reserved_at=began_at, now=scene.now
        )
    )
    with refuses(Exhausted):
        await _reserve(scene, 1)
    assert (await scene.look_up("account", "agent:a", day_of(began_at))).reserved == Spend()


async def _fail_over_midnight(scene: Scene) -> Task:
    """A task that has failed with an open call of yesterday's, sent on today."""
    await scene.add(agent="a")
    task = await scene.claim_one()
    await _reserve(scene, 60)
    intent = ModelIntent(call=1, model="m", reserved_usd_micros=60, prompt_usd_micros=5)
    await scene.do(lambda tx: tx.record_steps(claim_of(task), [intent], now=scene.now))
    await scene.finish(task, Fail(error="no such model"))
    scene.wait(86_400.0)
    await scene.do(lambda tx: tx.retry_task(task.id, fresh=False, actor="ann", now=scene.now))
    return task


@case
async def a_call_that_was_sent_on_gives_back_what_was_set_aside_when_it_was_sent_on(scene: Scene) -> None:
    task = await _fail_over_midnight(scene)
    with refuses(Exhausted):
        await _reserve(scene, 41)
    again = await scene.claim_one()
    await scene.finish(again, Fail(error="once more"))
    await _reserve(scene, 100)
    yesterday = await scene.look_up("account", "agent:a", day_of(task.created_at))
    assert yesterday.reserved == Spend()


@case
async def a_call_that_a_person_sends_on_counts_for_the_day_of_the_answer(scene: Scene) -> None:
    await scene.add(kind=TaskKind.GOAL, agent="a")
    task = await scene.claim_one()
    await _reserve(scene, 60)
    intent = ModelIntent(call=1, model="m", reserved_usd_micros=60)
    await scene.do(lambda tx: tx.record_steps(claim_of(task), [intent], now=scene.now))
    plan, began_at = FailurePlan(escalate=(Rung(to="ann", within_s=1e6),)), scene.now
    await scene.do(lambda tx: tx.finish(claim_of(task), Fail(error="no such model"), plan=plan, now=scene.now))
    scene.wait(86_400.0)
    (question,) = await scene.see(lambda reads: reads.questions(QuestionFilter(task=task.id)))
    await scene.answer(question)
    accounts = [await scene.look_up("account", "agent:a", day_of(at)) for at in (began_at, scene.now)]
    assert [each.reserved.usd_micros for each in accounts] == [0, 60]


@case
async def a_prompt_that_was_cut_off_is_paid_for_on_the_day_of_the_cut(scene: Scene) -> None:
    task = await _fail_over_midnight(scene)
    await scene.claim_one()
    await scene.move(task, TaskEvent.CANCEL)
    assert (await scene.look_up("account", "agent:a", day_of(scene.now))).spent.usd_micros == 5
    assert (await scene.look_up("account", "agent:a", day_of(task.created_at))).spent.usd_micros == 0


@case
async def where_a_task_is_cut_off_in_its_summary_that_prompt_is_paid_for_and_not_the_calls(scene: Scene) -> None:
    await scene.add(agent="a")
    task = await scene.claim_one()
    await _reserve(scene, 90)
    entries: list[Entry] = [
        ModelIntent(call=2, model="strong", reserved_usd_micros=60, prompt_usd_micros=50),
        CompactionIntent(model="cheap", reserved_usd_micros=30, prompt_tokens=9, prompt_usd_micros=3),
    ]
    await scene.do(lambda tx: tx.record_steps(claim_of(task), entries, now=scene.now))
    await scene.move(task, TaskEvent.CANCEL)
    (charge,) = await scene.see(lambda reads: reads.charges(task.id))
    assert (charge.model, charge.input_tokens, charge.usd_micros) == ("cheap", 9, 3)
    account = await scene.look_up("account", "agent:a", day_of(scene.now))
    assert (account.reserved, account.spent) == (Spend(), Spend(usd_micros=3, tokens=9))


def _charge(task: int, **more: object) -> Charge:
    facts: dict[str, Any] = {
        "task": task,
        "agent": "a",
        "session": "main:a",
        "trigger": "operator",
        "call": 1,
        "provider": "p",
        "model": "cheap",
        "status": 200,
        "input_tokens": 10,
        "cached_tokens": 4,
        "output_tokens": 5,
        "usd_micros": 7,
        "duration_ms": 1.5,
        **more,
    }
    return Charge(**facts)


@case
async def a_charge_adds_to_its_task(scene: Scene) -> None:
    task = await scene.add(agent="a")
    running = await scene.claim_one()
    one, two = _charge(task.id), _charge(task.id, status=429, input_tokens=0, output_tokens=0, usd_micros=None)
    await scene.do(lambda tx: tx.charge(one, now=scene.now))
    await scene.do(lambda tx: tx.charge(two, now=scene.now))
    assert await scene.see(lambda reads: reads.charges(task.id)) == [one, two]
    assert ((await scene.look(task)).tokens, (await scene.look(task)).usd_micros) == (15, 7)
    ended = await scene.finish(running)
    assert (ended.tokens, ended.usd_micros) == (15, 7)


@case
async def spending_is_summed_by_every_dimension(scene: Scene) -> None:
    first, second = await scene.add(agent="a"), await scene.add(agent="b")
    day = "2027-01-15"
    for charge in (
        _charge(first.id),
        _charge(first.id, model="strong", usd_micros=90),
        _charge(second.id, agent="b", trigger="heartbeat", usd_micros=None),
    ):
        await scene.change("charge", charge, now=scene.now)
    await scene.do(lambda tx: tx.put_schedule(_heartbeat(), now=scene.now))
    await scene.do(
        lambda tx: tx.skip(
            "h", heartbeat="h", agent="b", reason="quiet", nominal_at=scene.now, next_at=None, now=scene.now
        )
    )
    expected = {
        "agent": [("a", 2, 97, 0, 0), ("b", 1, 0, 1, 1)],
        "model": [("strong", 1, 90, 0, 0), ("cheap", 2, 7, 1, 0)],
        "task": [(first.name, 2, 97, 0, 0), (second.name, 1, 0, 1, 0)],
        "trigger": [("operator", 2, 97, 0, 0), ("heartbeat", 1, 0, 1, 1)],
        "day": [(day, 3, 97, 1, 1)],
    }
    for by, lines in expected.items():
        found = await scene.look_up("spending", by, since_at=0)
        assert [(s.name, s.calls, s.usd_micros, s.unpriced_calls, s.skipped) for s in found] == lines, by
    assert await scene.see(lambda reads: reads.spending("agent", since_at=scene.now + 1)) == []
    assert await scene.see(lambda reads: reads.spending("agent", since_at=0, until_at=scene.now)) == []
    assert len(await scene.see(lambda reads: reads.spending("agent", since_at=0, limit=1))) == 1
    with refuses(Invalid, "'moon'", "agent"):
        await scene.see(lambda reads: reads.spending("moon", since_at=0))


@case
async def who_was_only_skipped_is_listed_too(scene: Scene) -> None:
    await scene.do(lambda tx: tx.put_schedule(_heartbeat(), now=scene.now))
    for number in range(3):
        at = scene.now + number * SECOND
        await scene.change("skip", "h", heartbeat="h", agent="b", reason="quiet", nominal_at=at, next_at=None, now=at)
    (line,) = await scene.see(lambda reads: reads.spending("agent", since_at=0))
    assert (line.name, line.calls, line.skipped, line.usd_micros) == ("b", 0, 3, 0)


def _heartbeat() -> ScheduleRow:
    return ScheduleRow(name="h", agent="b", rule={"every": "15m"})
