"""Turns over a real store and engine, with a script as the model: gates, limits, repairs, deploys, shared sessions."""

from __future__ import annotations

import asyncio
from pathlib import Path

from ostinato.domain.event import EventName
from ostinato.domain.message import main_session
from ostinato.domain.question import Answer, QuestionState
from ostinato.domain.step import (
    Answered,
    Decision,
    Input,
    Judged,
    LimitReached,
    ModelAnswer,
    ModelIntent,
    Note,
    ResultStatus,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.task import TaskKind, TaskState
from ostinato.domain.values import Limits
from ostinato.store.port import EventFilter, QuestionFilter, TaskFilter
from tests.agents.fleet import ENDED, PARKED, Fleet, running
from tests.conftest import run

SOUL = "You help."
TOOLS = """---
allow: [files.read, files.write, tasks.create, message.send]
files: {read: ["."], write: [out/]}
recipients: [operator, "mail:*@example.com"]
---
"""
SEND = """
rules:
  - when: {tool: message.send}
    text: "told: {result}"
  - when: {user: send}
    calls: [{tool: message.send, args: {to: "mail:a@example.com", subject: Hello, text: Hi}}]
default: {text: "nothing to do: {user|excerpt:60}"}
"""


def files(script: str, **more: str) -> dict[str, str]:
    named = {"agents/helper/SOUL.md": SOUL, "agents/helper/TOOLS.md": TOOLS, "model.yaml": script}
    return named | {name.replace("__", "/").replace("_md", ".md"): text for name, text in more.items()}


async def only_question(fleet: Fleet) -> int:
    found: list[int] = []

    async def asked() -> bool:
        found[:] = [each.id for each in await fleet.store.read(lambda reads: reads.questions(QuestionFilter()))]
        return bool(found)

    await fleet.wait(asked)
    assert len(found) == 1
    return found[0]


def letters(folder: Path) -> list[Path]:
    return list(folder.glob("outbox/*.eml"))


async def decide(fleet: Fleet, question: int, state: QuestionState, **more: object) -> None:
    answer = Answer(state=state, by="ann", **more)  # type: ignore[arg-type]  # a test's own keywords
    await fleet.store.run(lambda tx: tx.answer(question, answer, now=fleet.clock.now()))


def test_a_goal_runs_as_its_own_turn_and_costs_four_commits(tmp_path: Path) -> None:
    script = """
rules:
  - when: {tool: files.read}
    text: "it says {result|after:ok: |excerpt:5}"
default: {calls: [{tool: files.read, args: {path: SOUL.md}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            task = await fleet.until((await fleet.goal("helper", "read it")).id)
            assert task.state is TaskState.DONE
            assert task.session == f"task:{task.id}"
            kinds = [type(entry) for entry in await fleet.journal(task.id)]
            assert kinds == [
                Input, ModelIntent, ModelAnswer, Judged, ToolIntent, ToolOutcome, ModelIntent, ModelAnswer,
            ]  # fmt: skip
            steps = await fleet.store.read(lambda reads: reads.steps(task.id))
            commits = {step.at for step in steps}
            assert len(commits) == 4

    run(story())


def test_a_gate_parks_a_goal_and_an_answer_lets_it_send_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            task = await fleet.until((await fleet.goal("helper", "send it")).id, PARKED)
            question = await only_question(fleet)
            assert not letters(tmp_path)
            await decide(fleet, question, QuestionState.ALLOWED)
            assert (await fleet.until(task.id)).state is TaskState.DONE
            await fleet.wait(lambda: letters(tmp_path))
            assert len(letters(tmp_path)) == 1
            judged = [entry for entry in await fleet.journal(task.id) if isinstance(entry, Judged)]
            assert [each.decision for each in judged] == [Decision.ASK]
            assert any(isinstance(entry, Answered) for entry in await fleet.journal(task.id))

    run(story())


def test_a_denial_is_a_result_that_the_model_reads(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            task = await fleet.goal("helper", "send it")
            await decide(fleet, await only_question(fleet), QuestionState.DENIED, text="not today")
            ended = await fleet.until(task.id)
            assert ended.result is not None
            assert "not today" in ended.result.text
            assert not any(isinstance(entry, ToolIntent) for entry in await fleet.journal(task.id))

    run(story())


def test_a_person_may_edit_the_action_before_allowing_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            task = await fleet.goal("helper", "send it")
            edited = {"to": "mail:b@example.com", "subject": "Hello", "text": "Hi, edited"}
            await decide(fleet, await only_question(fleet), QuestionState.ALLOWED, arguments=edited)
            await fleet.until(task.id)
            await fleet.wait(lambda: letters(tmp_path))
            (letter,) = letters(tmp_path)
            assert "b@example.com" in letter.read_text()

    run(story())


def test_an_edit_beyond_the_policy_is_refused_at_the_last_gate(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            task = await fleet.goal("helper", "send it")
            edited = {"to": "mail:b@elsewhere.test", "subject": "Hello", "text": "Hi"}
            await decide(fleet, await only_question(fleet), QuestionState.ALLOWED, arguments=edited)
            await fleet.until(task.id)
            (outcome,) = [entry for entry in await fleet.journal(task.id) if isinstance(entry, ToolOutcome)]
            assert outcome.status is ResultStatus.DENIED
            assert not letters(tmp_path)

    run(story())


def test_a_gate_does_not_freeze_a_shared_session(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            await fleet.tell("helper", "send it")
            question = await only_question(fleet)
            main = main_session("helper")
            (turn,) = await fleet.store.read(lambda reads: reads.session_tasks(main))
            await fleet.until(turn.id)
            outcomes = [entry for entry in await fleet.journal(turn.id) if isinstance(entry, ToolOutcome)]
            assert [each.status for each in outcomes] == [ResultStatus.PENDING]
            await decide(fleet, question, QuestionState.ALLOWED)
            await fleet.wait(lambda: letters(tmp_path))

            async def told() -> bool:
                turns = await fleet.store.read(lambda reads: reads.session_tasks(main))
                return len(turns) == 2 and turns[0].state in ENDED

            await fleet.wait(told)
            messages = await fleet.store.read(lambda reads: reads.messages(main))
            assert len(messages) == 2
            which = TaskFilter(kinds=frozenset({TaskKind.DELIVERY}))

            async def delivered() -> bool:
                deliveries = await fleet.store.read(lambda reads: reads.tasks(which))
                return [task.state for task in deliveries] == [TaskState.DONE] * 2  # the action, and the letter it made

            await fleet.wait(delivered)

    run(story())


def test_ask_waits_for_a_person_and_goes_on_with_the_answer(tmp_path: Path) -> None:
    script = """
rules:
  - when: {tool: ask}
    text: "understood {result|after:answers: }"
default: {calls: [{tool: ask, args: {question: "Which one?", choices: [red, blue]}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            task = await fleet.until((await fleet.goal("helper", "choose")).id, PARKED)
            await decide(fleet, await only_question(fleet), QuestionState.ANSWERED, text="blue")
            ended = await fleet.until(task.id)
            assert ended.result is not None
            assert ended.result.text == "understood blue"

    run(story())


def test_a_limit_parks_with_what_is_there_and_a_person_lets_it_go_on(tmp_path: Path) -> None:
    script = """
rules:
  - when: {user: "lets you go on"}
    text: done at last
default: {calls: [{tool: files.read, args: {path: "SOUL.md", from: "{call|int}"}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            task = await fleet.until((await fleet.goal("helper", "go", limits=Limits(steps=3))).id, PARKED)
            journal = await fleet.journal(task.id)
            assert any(isinstance(entry, LimitReached) for entry in journal)
            notes = [(at, entry.text[:19]) for at, entry in enumerate(journal) if isinstance(entry, Note)]
            last = max(at for at, entry in enumerate(journal) if isinstance(entry, ModelIntent))
            assert notes == [(last - 1, "1 step is left of 3")], "once, and before the last call"
            events = await fleet.store.read(lambda reads: reads.events(EventFilter(task=task.id)))
            assert [each.data["unit"] for each in events if each.name == EventName.BUDGET_WARNED] == ["steps"]
            await decide(fleet, await only_question(fleet), QuestionState.ALLOWED)
            ended = await fleet.until(task.id)
            assert ended.state is TaskState.DONE

    run(story())


def test_the_same_call_three_times_in_a_row_parks(tmp_path: Path) -> None:
    script = 'default: {calls: [{tool: files.read, args: {path: "SOUL.md"}}]}'

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            task = await fleet.until((await fleet.goal("helper", "go")).id, PARKED)
            limits = [entry.limit for entry in await fleet.journal(task.id) if isinstance(entry, LimitReached)]
            assert limits == ["identical"]
            await decide(fleet, await only_question(fleet), QuestionState.DENIED)
            assert (await fleet.until(task.id)).state is TaskState.FAILED

    run(story())


def test_malformed_calls_are_handed_back_and_then_fail_the_turn(tmp_path: Path) -> None:
    script = 'default: {calls: [{tool: files.read, raw: "{not json"}]}'

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            ended = await fleet.until((await fleet.goal("helper", "go")).id)
            assert ended.state is TaskState.FAILED
            replies = [entry for entry in await fleet.journal(ended.id) if isinstance(entry, ModelAnswer)]
            assert len(replies) == 3
            assert not any(isinstance(entry, ToolIntent) for entry in await fleet.journal(ended.id))

    run(story())


def test_unknown_tools_and_tools_not_granted_are_refused_and_do_nothing(tmp_path: Path) -> None:
    script = """
rules:
  - when: {call: 2}
    text: "{results}"
default:
  calls:
    - {tool: rockets.launch, args: {}}
    - {tool: files.delete, args: {path: SOUL.md}}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            ended = await fleet.until((await fleet.goal("helper", "go")).id)
            outcomes = [entry for entry in await fleet.journal(ended.id) if isinstance(entry, ToolOutcome)]
            assert {each.status for each in outcomes} <= {ResultStatus.INVALID, ResultStatus.DENIED}
            assert len(outcomes) == 2
            assert (tmp_path / "agents/helper/SOUL.md").exists()

    run(story())


def test_a_message_that_comes_during_a_goal_is_read_at_its_next_step(tmp_path: Path) -> None:
    script = """
rules:
  - when: {user: hurry}
    text: hurrying
  - when: {tool: ask}
    text: too late
default: {calls: [{tool: ask, args: {question: "May I?"}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            task = await fleet.until((await fleet.goal("helper", "go")).id, PARKED)
            await fleet.tell("helper", "hurry", session=f"task:{task.id}")
            await decide(fleet, await only_question(fleet), QuestionState.ANSWERED, text="yes")
            ended = await fleet.until(task.id)
            assert ended.result is not None
            assert ended.result.text == "hurrying"

    run(story())


def test_a_turn_in_flight_keeps_its_prompt_and_gets_the_stricter_policy(tmp_path: Path) -> None:
    script = """
rules:
  - when: {tool: files.write}
    text: "{result} and I was told: {system|after:You |word:1}"
  - when: {tool: ask}
    calls: [{tool: files.write, args: {path: out/x.md, text: hello}}]
default: {calls: [{tool: ask, args: {question: "May I?"}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            task = await fleet.until((await fleet.goal("helper", "go")).id, PARKED)
            (tmp_path / "agents/helper/SOUL.md").write_text("Somebody else entirely.")
            (tmp_path / "agents/helper/TOOLS.md").write_text("---\nallow: [files.read]\n---\n")
            await decide(fleet, await only_question(fleet), QuestionState.ANSWERED, text="yes")
            ended = await fleet.until(task.id)
            assert ended.result is not None
            assert ended.result.text.startswith("denied")
            inputs = [entry for entry in await fleet.journal(task.id) if isinstance(entry, Input)]
            assert len(inputs) == 1
            assert not (tmp_path / "agents/helper/out/x.md").exists()

    run(story())


def test_parallel_calls_act_together_and_each_result_is_kept(tmp_path: Path) -> None:
    script = """
rules:
  - when: {call: 2}
    text: "{results}"
default:
  calls:
    - {tool: files.write, args: {path: out/a.md, text: a}}
    - {tool: files.write, args: {path: out/b.md, text: b}}
    - {tool: files.read, args: {path: SOUL.md}}
    - {tool: tasks.create, args: {title: later, agent: helper}}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            ended = await fleet.until((await fleet.goal("helper", "go")).id)
            outcomes = [entry for entry in await fleet.journal(ended.id) if isinstance(entry, ToolOutcome)]
            assert sorted(each.call_id for each in outcomes) == ["1.0", "1.1", "1.2", "1.3"]
            assert {each.status for each in outcomes} == {ResultStatus.OK}

    run(story())


def test_a_session_remembers_its_earlier_turns_and_only_its_own(tmp_path: Path) -> None:
    script = """
rules:
  - when: {user: "what did I say"}
    text: "you said: {asked|excerpt:200} / {system|count:marmalade}"
default: {text: "noted marmalade"}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            await fleet.tell("helper", "remember marmalade")

            async def turns(count: int) -> bool:
                found = await fleet.store.read(lambda reads: reads.session_tasks(main_session("helper")))
                return len(found) == count and all(each.state in ENDED for each in found)

            await fleet.wait(lambda: turns(1))
            await fleet.tell("helper", "what did I say?")
            await fleet.wait(lambda: turns(2))
            tasks = await fleet.store.read(lambda reads: reads.session_tasks(main_session("helper")))
            intents = [entry for entry in await fleet.journal(tasks[0].id) if isinstance(entry, ModelIntent)]
            assert intents[0].prompt_tokens > 0
            first = await fleet.journal(tasks[1].id)
            assert any(isinstance(entry, ModelAnswer) and "noted" in entry.text for entry in first)

    run(story())


def test_watchers_hear_the_text_of_a_session(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("default: {text: streaming words}")) as fleet:
            heard: list[str] = []
            stop = fleet.live.watch(main_session("helper"), heard.append)
            await fleet.tell("helper", "hello")
            await fleet.wait(lambda: "".join(heard) == "streaming words")
            stop()
            assert fleet.live.listener(main_session("helper")) is None
            await asyncio.sleep(0)

    run(story())
