"""Budgets in real turns: what has no room parks and asks a person once, and what a leave grants is what is spent."""

from __future__ import annotations

from pathlib import Path

from ostinato.agents.purse import DAY
from ostinato.domain.budget import Ceiling
from ostinato.domain.event import EventName
from ostinato.domain.ledger import CUT_OFF
from ostinato.domain.question import Answer, Question, QuestionState
from ostinato.domain.secret import KNOWN, Secret
from ostinato.domain.step import Input
from ostinato.domain.task import NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState, WaitKind
from ostinato.domain.values import digest_of
from ostinato.store.port import EventFilter, QuestionFilter
from tests.agents.fleet import PARKED, Fleet, running
from tests.conftest import run

SCRIPT = "price: {input: 0, output: 1}\ndefault: {text: hello, usage: {input: 100, output: 6000}}\n"
"""A call sets aside 8,192 micro-dollars and costs 6,000."""

FOREVER = (
    "price: {input: 0, output: 1}\n"
    "default: {calls: [{tool: memory.search, args: {query: 'x{{n}}'}}], usage: {input: 100, output: 6000}}\n"
)


def files(limits: str, script: str = SCRIPT) -> dict[str, str]:
    return {
        "agents/helper/SOUL.md": "You help.\n",
        "agents/helper/AGENTS.md": f"---\nlimits: {limits}\n---\n",
        "agents/helper/TOOLS.md": "---\nallow: [memory.search, tasks.create]\n---\n",
        "model.yaml": script,
    }


async def pending(fleet: Fleet) -> list[Question]:
    return await fleet.store.read(lambda reads: reads.questions(QuestionFilter()))


async def settle(fleet: Fleet, question: Question, state: QuestionState, **more: float) -> None:
    answer = Answer(state=state, by="ann", arguments=more or None)
    await fleet.store.run(lambda tx: tx.answer(question.id, answer, now=fleet.clock.now()))


async def warnings(fleet: Fleet) -> list[str]:
    which = EventFilter(names=frozenset({EventName.BUDGET_WARNED}))
    return [str(each.data["scope"]) for each in await fleet.store.read(lambda reads: reads.events(which))]


async def add(fleet: Fleet, title: str, **spec: object) -> Task:
    new = NewTask(kind=TaskKind.GOAL, title=title, agent="helper", spec=TaskSpec(goal=title, **spec))  # type: ignore[arg-type]  # fields of a specification
    return await fleet.store.run(lambda tx: tx.add_task(new, now=fleet.clock.now()))


def test_tasks_without_room_in_the_day_wait_for_one_question_and_go_on_together(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("{per_day: {usd: 0.015}}")) as fleet:
            await fleet.until((await add(fleet, "one")).id)
            assert await warnings(fleet) == []
            await fleet.until((await add(fleet, "two")).id)  # 6,000 and 8,192 of 15,000
            assert await warnings(fleet) == ["agent:helper"]
            waiting = [await fleet.until((await add(fleet, str(n))).id, PARKED) for n in range(3)]
            (question,) = await pending(fleet)
            assert {each.wait.refs for each in waiting if each.wait} == {(question.name,)}
            assert all(each.wait and each.wait.until_at for each in waiting), "midnight would do, too"
            assert "$0.012 of $0.015" in question.text
            await settle(fleet, question, QuestionState.ALLOWED, more=30_000)
            ended = [await fleet.until(each.id) for each in waiting]
            assert {each.state for each in ended} == {TaskState.DONE}
            assert await pending(fleet) == []

    run(story())


def test_a_person_who_says_no_leaves_a_day_until_midnight(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("{per_day: {usd: 0.013}}")) as fleet:
            await fleet.until((await add(fleet, "one")).id)
            late = await fleet.until((await add(fleet, "late")).id, PARKED)
            (question,) = await pending(fleet)
            await settle(fleet, question, QuestionState.DENIED)
            while late.wait is None or late.wait.kind is not WaitKind.TIME:
                late = await fleet.until(late.id, PARKED)
            assert late.wait.until_at == (fleet.clock.now() // DAY + 1) * DAY
            assert await pending(fleet) == [], "who has said no is not asked again"

    run(story())


def test_a_call_that_no_day_has_room_for_fails_and_asks_nobody(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("{per_day: {usd: 0.005}}")) as fleet:
            ended = await fleet.until((await add(fleet, "dear")).id, frozenset({TaskState.FAILED, TaskState.WAITING}))
            assert ended.state is TaskState.FAILED
            assert "more than the whole day's budget" in ended.reason

    run(story())


def test_a_task_whose_budget_nobody_raises_fails(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("{}")) as fleet:
            poor = await add(fleet, "poor", budget=Ceiling(usd_micros=5_000))
            await fleet.until(poor.id, PARKED)
            (about_task,) = [each for each in await pending(fleet) if each.task == poor.id]
            assert f"T{poor.id} with all that it sets off" in about_task.text
            await settle(fleet, about_task, QuestionState.DENIED)
            ended = await fleet.until(poor.id, frozenset({TaskState.FAILED}))
            assert "said no" in (ended.result.error if ended.result else "")

    run(story())


def test_what_a_task_sets_off_is_paid_from_its_budget(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("{per_task: {usd: 1, tokens: 100000}}")) as fleet:
            root = await fleet.until((await add(fleet, "root", budget=Ceiling(usd_micros=15_000))).id)
            child = await fleet.until((await add(fleet, "child", causes=(root.name,))).id)
            assert (root.state, child.state) == (TaskState.DONE, TaskState.DONE)
            grandchild = await add(fleet, "grandchild", causes=(root.name, child.name))
            await fleet.until(grandchild.id, PARKED)
            (question,) = await pending(fleet)
            assert question.budget is not None
            assert question.budget.scope == f"task:{root.id}"
            assert await warnings(fleet) == [f"task:{root.id}"]
            await settle(fleet, question, QuestionState.ALLOWED)
            assert (await fleet.until(grandchild.id)).state is TaskState.DONE

    run(story())


def test_a_call_that_is_too_dear_asks_first(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("{per_call: {usd: 0.005}}")) as fleet:
            task = await fleet.until((await add(fleet, "one")).id, PARKED)
            (question,) = await pending(fleet)
            assert "has used 0.008192 of 0.005 per_call_usd" in question.text
            await settle(fleet, question, QuestionState.ALLOWED, more=10_000)
            assert (await fleet.until(task.id)).state is TaskState.DONE

    run(story())


def test_a_task_that_is_cancelled_in_a_call_pays_for_the_prompt_alone(tmp_path: Path) -> None:
    script = "price: {input: 10, output: 1}\ndefault: {text: hello, delay: 1h}\n"

    async def story() -> None:
        async with running(tmp_path, files("{per_day: {usd: 0.02}}", script)) as fleet:
            task = await add(fleet, "slow")
            while not (await fleet.store.read(lambda reads: reads.task(task.id))).steps:
                await fleet.until(task.id, frozenset({TaskState.RUNNING}))
            await fleet.store.run(
                lambda tx: tx.move_task(task.id, TaskEvent.CANCEL, actor="ann", now=fleet.clock.now())
            )
            (charge,) = await fleet.store.read(lambda reads: reads.charges(task.id))
            assert charge.error == CUT_OFF
            assert charge.usd_micros
            left = 20_000 - charge.usd_micros
            await fleet.store.run(  # everything else is there again
                lambda tx: tx.reserve(
                    agent="helper", usd_micros=left, limit_usd_micros=20_000, fleet_limit_usd_micros=None,
                    now=fleet.clock.now(),
                )
            )  # fmt: skip

    run(story())


def test_what_a_person_has_granted_counts_where_one_call_costs_more_than_the_day(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("{per_day: {usd: 0.009}}")) as fleet:
            await fleet.until((await add(fleet, "one")).id)
            two = await fleet.until((await add(fleet, "two")).id, PARKED)
            (question,) = await pending(fleet)
            await settle(fleet, question, QuestionState.ALLOWED, more=1_000_000)
            await fleet.until(two.id)
            (tmp_path / "agents/helper/AGENTS.md").write_text("---\nlimits: {per_day: {usd: 0.005}}\n---\n")
            three = await fleet.until((await add(fleet, "three")).id)
            assert three.state is TaskState.DONE, three.result

    run(story())


def test_files_are_kept_under_the_digest_of_what_is_kept(tmp_path: Path) -> None:
    KNOWN.learn(Secret("KEPT", "kept-Secret-4711-x"))

    async def story() -> None:
        written = files("{}") | {"agents/helper/SOUL.md": "You know kept-Secret-4711-x.\n"}
        async with running(tmp_path, written) as fleet:
            task = await fleet.until((await add(fleet, "one")).id)
            (read,) = [each for each in await fleet.journal(task.id) if isinstance(each, Input)]
            for name, digest in read.files.items():
                kept = await fleet.store.read(lambda reads, digest=digest: reads.blob(digest))  # type: ignore[misc]  # bound now
                assert digest_of(kept) == digest, name
                assert b"4711" not in kept

    run(story())
