"""Files that break or change while an agent has work: it waits until they are in order, and obeys them at once."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.agents import unfit
from ostinato.agents.calendar import Calendar
from ostinato.domain.question import QuestionState
from ostinato.domain.step import Input, Judged, ModelAnswer, ToolOutcome
from ostinato.domain.task import NewTask, Task, TaskEvent, TaskKind, TaskState
from ostinato.domain.values import SECOND
from ostinato.store.port import TaskFilter
from tests.agents.fleet import Fleet, running, write_fleet
from tests.agents.test_turns import SEND, decide, files, letters, only_question
from tests.conftest import run
from tests.security.test_taint import LEASH, holding

BLOCKED = frozenset({TaskState.BLOCKED})
BROKEN = {"agents/helper/AGENTS.md": "---\nskils: [x]\n---\n"}
WHOLE = {"agents/helper/AGENTS.md": "---\nskills: [x]\n---\n"}
TWO_CALLS = """
rules:
  - when: {tool: tasks.create}
    text: "created: {result}"
  - when: {tool: test.hold}
    calls: [{tool: tasks.create, args: {title: next, agent: helper}}]
  - when: {user: go}
    calls: [{tool: test.hold, args: {}}]
default: {text: "did not understand"}
"""
TOOLS = "agents/helper/TOOLS.md"


async def sweep(fleet: Fleet) -> None:
    await Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock).poll()


def text_of(task: Task) -> str:
    assert task.result is not None
    return task.result.text


def test_work_for_an_agent_with_broken_files_waits_with_place_and_cure_and_goes_on_when_they_are_in_order(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with running(tmp_path, files('default: {text: "done"}') | BROKEN) as fleet:
            goal = await fleet.goal("helper", "go")
            held = await fleet.until(goal.id, BLOCKED)
            assert "agents/helper/AGENTS.md:2" in held.reason
            assert "Did you mean 'skills'" in held.reason
            await sweep(fleet)
            assert (await fleet.until(goal.id, BLOCKED)).reason == held.reason, "they still are"
            write_fleet(tmp_path, WHOLE)
            await sweep(fleet)
            assert text_of(await fleet.until(goal.id)) == "done"

    run(story())


def test_work_that_was_held_only_after_its_agents_files_were_seen_in_order_goes_on_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files('default: {text: "done"}') | WHOLE) as fleet:
            calendar = Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock)
            fleet.store.subscribe(calendar.hear)
            await calendar.poll()
            reason, now = f"{unfit.REASON}a word that is there no more", fleet.clock.now()
            later = NewTask(kind=TaskKind.GOAL, title="go", agent="helper", not_before_at=now + 3_600 * SECOND)
            goal = await fleet.store.run(lambda tx: tx.add_task(later, now=now))
            for state in (TaskState.READY, TaskState.BLOCKED):  # what is wrong may not stand in those files
                await fleet.store.run(
                    lambda tx: tx.move_task(goal.id, TaskEvent.BLOCK, actor="runtime", reason=reason, now=now)
                )
                await calendar.poll()
                assert (await fleet.store.read(lambda reads: reads.task(goal.id))).state is state

    run(story())


def test_work_for_an_agent_that_names_a_model_which_is_gone_waits_until_it_names_another(tmp_path: Path) -> None:
    async def story() -> None:
        named = {"agents/helper/AGENTS.md": "---\nmodel: sold\n---\n"}
        async with running(tmp_path, files('default: {text: "done"}') | named) as fleet:
            goal = await fleet.goal("helper", "go")
            held = await fleet.until(goal.id, BLOCKED)
            assert "the agent's files are not valid: Unknown model 'sold'. Known: " in held.reason
            write_fleet(tmp_path, WHOLE)
            await sweep(fleet)
            assert text_of(await fleet.until(goal.id)) == "done"

    run(story())


def test_all_that_waited_goes_on_however_much_it_is_and_whatever_else_is_blocked(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unfit, "RELEASED_MAX", 2)

    async def story() -> None:
        async with running(tmp_path, files('default: {text: "done"}') | BROKEN) as fleet:
            goals = [await fleet.goal("helper", "go") for _ in range(5)]
            for each in goals:
                await fleet.until(each.id, BLOCKED)
            others = [NewTask(kind=TaskKind.GOAL, title="x", agent="helper", blocked="not yet") for _ in range(3)]
            for new in others:
                await fleet.store.run(lambda tx, new=new: tx.add_task(new, now=fleet.clock.now()))
            write_fleet(tmp_path, WHOLE)
            await sweep(fleet)
            for each in goals:
                assert text_of(await fleet.until(each.id)) == "done"
            left = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(states=BLOCKED)))
            assert [each.reason for each in left] == ["not yet"] * 3

    run(story())


def test_messages_gather_while_the_files_are_broken_and_are_all_read(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files('default: {text: "read: {user|excerpt:500}"}') | BROKEN) as fleet:
            for word in ("one", "two"):
                await fleet.tell("helper", word)
            (turn,) = await fleet.store.read(lambda reads: reads.session_tasks("main:helper"))
            await fleet.until(turn.id, BLOCKED)
            await fleet.tell("helper", "three")
            write_fleet(tmp_path, WHOLE)
            await sweep(fleet)
            ended = await fleet.until(turn.id)
            taken = [
                each for entry in await fleet.journal(ended.id) if isinstance(entry, Input) for each in entry.messages
            ]
            assert len(taken) == 3
            assert len(await fleet.store.read(lambda reads: reads.session_tasks("main:helper"))) == 1

    run(story())


def test_a_turn_in_flight_whose_files_break_waits_and_pays_for_no_reply_twice(tmp_path: Path) -> None:
    async def story() -> None:
        tool, begun, end = holding()
        async with running(tmp_path, files(TWO_CALLS) | LEASH, tools=(tool,)) as fleet:
            goal = await fleet.goal("helper", "go")
            await begun.wait()
            write_fleet(tmp_path, {TOOLS: "---\nallow: [files.read\n---\n"})
            end.set()
            held = await fleet.until(goal.id, BLOCKED)
            assert TOOLS in held.reason
            before = [each for each in await fleet.journal(goal.id) if isinstance(each, ModelAnswer)]
            assert len(before) == 2, "the reply that could not be judged is kept"
            write_fleet(tmp_path, {TOOLS: LEASH[TOOLS]})
            await sweep(fleet)
            assert "created" in text_of(await fleet.until(goal.id))
            after = [each for each in await fleet.journal(goal.id) if isinstance(each, ModelAnswer)]
            assert after[:2] == before
            assert len(after) == 3

    run(story())


@pytest.mark.parametrize(
    ("allow", "status"),
    [("files.read, test.hold", "denied"), ("files.read, files.write, tasks.create, test.hold", "ok")],
)
def test_a_tool_that_is_taken_away_is_denied_to_the_turn_that_is_under_way(
    tmp_path: Path, allow: str, status: str
) -> None:
    async def story() -> None:
        tool, begun, end = holding()
        async with running(tmp_path, files(TWO_CALLS) | LEASH, tools=(tool,)) as fleet:
            goal = await fleet.goal("helper", "go")
            await begun.wait()
            write_fleet(tmp_path, {TOOLS: f"---\nallow: [{allow}]\n---\n"})
            end.set()
            await fleet.until(goal.id)
            outcomes = {e.tool: e.status.value for e in await fleet.journal(goal.id) if isinstance(e, ToolOutcome)}
            assert outcomes["tasks.create"] == status

    run(story())


def test_a_tool_that_is_granted_now_is_not_given_to_the_turn_that_is_under_way(tmp_path: Path) -> None:
    async def story() -> None:
        tool, begun, end = holding()
        narrow = {TOOLS: "---\nallow: [files.read, test.hold]\n---\n"}
        async with running(tmp_path, files(TWO_CALLS) | LEASH | narrow, tools=(tool,)) as fleet:
            goal = await fleet.goal("helper", "go")
            await begun.wait()
            write_fleet(tmp_path, {TOOLS: LEASH[TOOLS]})
            end.set()
            await fleet.until(goal.id)
            verdicts = {e.tool: e.decision.value for e in await fleet.journal(goal.id) if isinstance(e, Judged)}
            assert verdicts.get("tasks.create", "deny") == "deny"
            again = await fleet.until((await fleet.goal("helper", "go")).id)
            assert "created" in text_of(again), "the next turn has it"

    run(story())


def test_an_agent_whose_folder_comes_back_goes_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files('default: {text: "done"}')) as fleet:
            (tmp_path / "agents/helper").rename(tmp_path / "away")
            goal = await fleet.goal("helper", "go")
            held = await fleet.until(goal.id, BLOCKED)
            assert "helper" in held.reason
            (tmp_path / "away").rename(tmp_path / "agents/helper")
            await sweep(fleet)
            assert text_of(await fleet.until(goal.id)) == "done"

    run(story())


def test_an_action_that_a_person_allowed_waits_for_the_files_to_be_in_order(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            await fleet.tell("helper", "send it")
            question = await only_question(fleet)
            write_fleet(tmp_path, BROKEN)
            await decide(fleet, question, QuestionState.ALLOWED)
            found: list[Task] = []

            async def held() -> bool:
                which = TaskFilter(kinds=frozenset({TaskKind.DELIVERY}), states=BLOCKED)
                found[:] = await fleet.store.read(lambda reads: reads.tasks(which))
                return bool(found)

            await fleet.wait(held)
            assert "AGENTS.md:2" in found[0].reason
            assert letters(tmp_path) == []
            write_fleet(tmp_path, WHOLE)
            await sweep(fleet)
            await fleet.until(found[0].id)
            await fleet.wait(lambda: letters(tmp_path))

    run(story())
