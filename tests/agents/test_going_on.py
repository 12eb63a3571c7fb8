"""Turns that go on after something went wrong or came late: replays, follow-ups, remarks, messages from elsewhere."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ostinato.agents.calendar import Calendar
from ostinato.agents.fires import EACH_MAX
from ostinato.agents.intake import FILE_TYPE
from ostinato.domain.message import main_session
from ostinato.domain.question import QuestionState
from ostinato.domain.step import Input
from ostinato.domain.task import NewTask, Task, TaskKind, TaskState
from ostinato.domain.values import SECOND
from ostinato.store.port import QuestionFilter, Retention, TaskFilter, Tx
from tests.agents.fleet import ENDED, Fleet, running
from tests.agents.test_turns import decide, files, letters
from tests.conftest import run
from tests.security.test_taint import LEASH, holding


async def latest(fleet: Fleet, session: str) -> Task:
    """The last turn of a session, once it has ended."""
    tasks = await fleet.store.read(lambda reads: reads.session_tasks(session, limit=1))
    return await fleet.until(tasks[0].id, ENDED)


async def retry(fleet: Fleet, task: Task, **more: Any) -> Task:
    now = fleet.clock.now()
    return await fleet.store.run(lambda tx: tx.retry_task(task.id, actor="ann", now=now, **more))


def test_a_turn_that_begins_anew_reads_its_messages_again(tmp_path: Path) -> None:
    script = """
rules:
  - when: {nth: 1, user: printer}
    fault: {status: 400}
default: {text: "I was told: {user}"}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            await fleet.tell("helper", "the printer is broken")
            failed = await latest(fleet, main_session("helper"))
            assert failed.state is TaskState.FAILED
            await retry(fleet, failed, fresh=True)
            ended = await latest(fleet, main_session("helper"))
            assert ended.result is not None
            assert "the printer is broken" in ended.result.text

    run(story())


def test_a_turn_that_begins_anew_asks_for_its_own_actions(tmp_path: Path) -> None:
    script = """
rules:
  - when: {nth: 1, user: send}
    calls: [{tool: message.send, args: {to: "mail:a@example.com", text: A}}]
  - when: {nth: 1, tool: message.send}
    fault: {status: 400}
  - when: {tool: message.send}
    text: "told: {result}"
  - when: {user: send}
    calls: [{tool: message.send, args: {to: "mail:b@example.com", text: B}}]
default: {text: seen}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            await fleet.tell("helper", "send it")
            failed = await latest(fleet, main_session("helper"))
            assert failed.state is TaskState.FAILED
            await retry(fleet, failed, fresh=True)
            assert (await latest(fleet, main_session("helper"))).state is TaskState.DONE
            (question,) = await fleet.store.read(lambda reads: reads.questions(QuestionFilter()))
            assert question.action is not None
            assert question.action.arguments["to"] == "mail:b@example.com"
            await decide(fleet, question.id, QuestionState.ALLOWED)
            await fleet.wait(lambda: letters(tmp_path))
            await asyncio.sleep(0)
            assert ["b@example.com" in each.read_text() for each in letters(tmp_path)] == [True]

    run(story())


def test_what_is_said_after_a_goal_has_ended_is_answered_with_the_goal_in_mind(tmp_path: Path) -> None:
    script = """
rules:
  - when: {user: "and then", called: files.read}
    text: "I remember"
  - when: {tool: files.read}
    text: "marmalade"
default: {calls: [{tool: files.read, args: {path: SOUL.md}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            goal = await fleet.until((await fleet.goal("helper", "find the jam")).id)
            session = f"task:{goal.id}"
            await fleet.tell("helper", "and then?", session=session)
            ended = await latest(fleet, session)
            assert ended.result is not None
            assert ended.result.text == "I remember"

    run(story())


def test_another_mail_with_a_message_id_that_was_used_before_is_not_dropped(tmp_path: Path) -> None:
    head = "From: Ann <ann@example.com>\nMessage-ID: <1@example.com>\n"
    mails = {"1.eml": f"{head}Subject: One\n\nFirst.\n", "2.eml": f"{head}Subject: Two\n\nSecond.\n"}
    mails["3.eml"] = mails["1.eml"]

    async def story() -> None:
        async with running(tmp_path, files("default: {text: seen}")) as fleet:
            box = tmp_path / "agents/helper/inbox"
            box.mkdir()
            for name, text in mails.items():
                (box / name).write_text(text)
            await fleet.inbox.take_agent("helper")
            turns = await fleet.store.read(lambda reads: reads.tasks(TaskFilter()))
            assert len(turns) == 2, "one of the three is the same mail once more"

    run(story())


def test_two_files_that_name_the_same_work_become_one_task_and_others_each_their_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("default: {text: seen}"), start=False) as fleet:
            (tmp_path / "inbox").mkdir()
            for name, text in {"1": "Call Bob", "2": "Call Bob, again"}.items():
                (tmp_path / f"inbox/{name}.md").write_text(f"---\nagent: helper\ndelegation: bob\n---\n{text}\n")
                (tmp_path / f"inbox/{name}-free.md").write_text("---\nagent: helper\n---\nCall Ann\n")
            await fleet.inbox.take(None)
            found = await fleet.store.read(lambda reads: reads.tasks(TaskFilter()))
            assert sorted(each.title for each in found) == ["Call Ann", "Call Ann", "Call Bob"]

    run(story())


def test_a_dropped_file_cannot_put_an_agent_into_the_session_of_another(tmp_path: Path) -> None:
    async def story() -> None:
        script = files('default: {text: "heard {user}"}', agents__other__SOUL_md="You help, too.")
        async with running(tmp_path, script) as fleet:
            (tmp_path / "inbox").mkdir()
            (tmp_path / "inbox/x.md").write_text("---\nagent: helper\nsession: main:other\n---\nListen.\n")
            await fleet.inbox.take(None)
            assert await fleet.store.read(lambda reads: reads.tasks(TaskFilter())) == []
            assert [each.name.split("-")[-1] for each in (tmp_path / "inbox/refused").glob("*.md")]
            await fleet.tell("other", "hello")
            assert (await latest(fleet, main_session("other"))).agent == "other"

    run(story())


def test_a_remark_to_a_goal_at_work_is_read_with_its_next_model_call(tmp_path: Path) -> None:
    script = """
rules:
  - when: {user: hurry}
    text: "hurrying"
  - when: {tool: test.hold}
    text: "heard nothing"
default: {calls: [{tool: test.hold, args: {}}, {tool: test.hold, args: {}}]}
"""

    async def story() -> None:
        tool, begun, end = holding()
        async with running(tmp_path, files(script) | LEASH, tools=(tool,)) as fleet:
            goal = await fleet.goal("helper", "go")
            await begun.wait()
            await fleet.store.run(lambda tx: tx.note_task(goal.id, "hurry up", by="ann", now=fleet.clock.now()))
            end.set()
            ended = await fleet.until(goal.id)
            assert ended.result is not None
            assert ended.result.text == "hurrying"

    run(story())


def test_a_call_that_no_days_budget_can_hold_fails_instead_of_waiting_for_ever(tmp_path: Path) -> None:
    script = "price: {input: 100, output: 400}\ndefault: {text: hello}"

    async def story() -> None:
        limits = {"agents/helper/AGENTS.md": "---\nlimits: {per_day: {usd: 0.0001}}\n---\n"}
        async with running(tmp_path, files(script) | limits) as fleet:
            ended = await fleet.until((await fleet.goal("helper", "go")).id)
            assert ended.state is TaskState.FAILED
            assert "whole day's budget" in (ended.result.error if ended.result else "")

    run(story())


@pytest.mark.slow
def test_of_many_waiting_files_the_oldest_are_woken_first(tmp_path: Path) -> None:
    def wait(tx: Tx) -> None:
        for number in range(EACH_MAX + 3):
            session = f"isolated:helper:file:{number}"
            tx.add_task(
                NewTask(
                    kind=TaskKind.TURN, title="x", agent="helper", session=session, type=FILE_TYPE, blocked="waits"
                ),
                now=1,
            )

    async def story() -> None:
        beat = {"agents/helper/HEARTBEAT.md": "---\nevery: 15m\neach: inbox\n---\nRead it.\n"}
        async with running(tmp_path, files("default: {text: seen}") | beat, start=False) as fleet:
            await fleet.store.run(wait)
            await Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock).poll()
            (row,) = await fleet.store.read(lambda reads: reads.schedules())
            assert await fleet.fires.fire_now(row) == ""
            left = TaskFilter(states=frozenset({TaskState.BLOCKED}))
            numbers = [task.id for task in await fleet.store.read(lambda reads: reads.tasks(left))]
            assert numbers == [EACH_MAX + 3, EACH_MAX + 2, EACH_MAX + 1]

    run(story())


def test_a_turn_after_a_long_rest_still_has_the_files_that_it_ran_with(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("default: {text: done}")) as fleet:
            for _ in range(2):
                await fleet.until((await fleet.goal("helper", "go")).id)
            fleet.clock.ahead += 100 * 86_400 * SECOND
            keep = Retention(tasks_s=1.0, blobs_s=1.0)
            draft = NewTask(kind=TaskKind.GOAL, title="the newest task is kept", draft=True)
            await fleet.store.run(lambda tx: tx.add_task(draft, now=fleet.clock.now()))
            for _ in range(2):
                await fleet.store.run(lambda tx: tx.prune(keep, now=fleet.clock.now()))
            goal = await fleet.until((await fleet.goal("helper", "go")).id)
            named = next(each for each in await fleet.journal(goal.id) if isinstance(each, Input)).files
            assert set(named) == {"SOUL.md", "TOOLS.md"}
            for digest in named.values():
                assert await fleet.store.read(lambda reads, d=digest: reads.blob(d))  # type: ignore[misc]  # one for each

    run(story())
