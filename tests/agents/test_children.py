"""Sub-agents: what they are given, what comes back and to whom, and that none may do more than its parent.

The model is a script; store, engine and files are real.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.domain.chat import ToolCall
from ostinato.domain.message import main_session
from ostinato.domain.step import Decision, Effect, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.domain.values import SECOND, Trust
from ostinato.engine.limits import EngineLimits
from ostinato.store.port import TaskFilter, Tx
from tests.agents.fleet import ENDED, Fleet, running
from tests.conftest import run

ALL = "spawn, children.list, children.wait, children.steer, children.cancel"


def files(script: str, **tools: str) -> dict[str, str]:
    """A boss who may spawn, and whoever else is named with the tools that they may use."""
    named = {"agents/boss/SOUL.md": "You lead.", "agents/boss/TOOLS.md": f"---\nallow: [{ALL}, files.read]\n---\n"}
    for agent, allowed in tools.items():
        named[f"agents/{agent}/SOUL.md"] = f"You are {agent}."
        named[f"agents/{agent}/TOOLS.md"] = f"---\nallow: [{allowed}]\nfiles: {{write: [out/]}}\n---\n"
    return named | {"model.yaml": script}


async def children_of(fleet: Fleet, task: int) -> list[Task]:
    """The children of a task, oldest first."""
    which = TaskFilter(parent=task, kinds=frozenset({TaskKind.GOAL}))
    return (await fleet.store.read(lambda reads: reads.tasks(which)))[::-1]


async def outcomes(fleet: Fleet, task: int) -> list[tuple[str, ResultStatus, str]]:
    """What came of a task's calls."""
    found = [entry for entry in await fleet.journal(task) if isinstance(entry, ToolOutcome)]
    return [(each.tool, each.status, each.text) for each in found]


WAITS = """
rules:
  - when: {user: "count", call: 1}
    text: "seven"
  - when: {user: "lead", call: 1}
    calls:
      - {tool: spawn, args: {goal: "count the sheep", context: "they are in the meadow"}}
      - {tool: spawn, args: {goal: "count the goats", agent: helper}}
  - when: {tool: spawn}
    calls: [{tool: children.wait, args: {}}]
  - when: {tool: children.wait}
    text: "heard {asked|count:seven}"
default: {text: "?"}
"""


def test_a_parent_waits_and_has_each_result_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(WAITS, helper="files.read")) as fleet:
            parent = await fleet.until((await fleet.goal("boss", "lead")).id)
            assert parent.state is TaskState.DONE, parent
            sheep, goats = await children_of(fleet, parent.id)
            assert [each.agent for each in (sheep, goats)] == ["boss", "helper"]
            assert [each.depth for each in (parent, sheep, goats)] == [0, 1, 1]
            assert "What is known already:\nthey are in the meadow" in sheep.spec.goal
            messages = await fleet.store.read(lambda reads: reads.messages(parent.session or ""))
            assert sorted(each.client_id or "" for each in messages) == sorted(
                f"completion:{each.name}" for each in (sheep, goats)
            )
            assert {each.text for each in messages} == {"seven"}
            waited = [each for each in await outcomes(fleet, parent.id) if each[0] == "children.wait"]
            assert len(waited) == 1, "the call parks, and is not answered twice"
            assert sheep.name in waited[0][2]

    run(story())


GENERATIONS = """
rules:
  - when: {user: "the youngest", call: 1}
    text: "seven"
  - when: {user: "one below", call: 1}
    calls: [{tool: spawn, args: {goal: "the youngest"}}]
  - when: {user: "lead", call: 1}
    calls: [{tool: spawn, args: {goal: "one below"}}]
  - when: {tool: spawn}
    calls: [{tool: children.wait, args: {}}]
  - when: {tool: children.wait}
    text: "seven, heard {asked|count:seven}"
default: {text: "?"}
"""


def test_three_generations_of_an_agent_that_works_on_one_thing_at_once_are_in_nobodys_way(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(GENERATIONS)) as fleet:
            fleet.node.set_limits(EngineLimits(tasks=1, agent_default=1))
            parent = await fleet.until((await fleet.goal("boss", "lead")).id)
            assert parent.result is not None
            assert parent.result.text == "seven, heard 1", "whoever waits holds no place"

    run(story())


SHARED = """
rules:
  - when: {user: "count", call: 1}
    text: "seven"
  - when: {user: "seven"}
    text: "so there are seven"
  - when: {tool: spawn}
    text: "on its way"
  - when: {user: "lead"}
    calls: [{tool: spawn, args: {goal: "count the sheep"}}]
default: {text: "?"}
"""


def test_a_shared_session_goes_on_and_is_woken_by_the_result(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SHARED)) as fleet:
            await fleet.tell("boss", "lead")

            async def turns() -> list[Task]:
                found = await fleet.store.read(lambda reads: reads.session_tasks(main_session("boss")))
                return [each for each in found[::-1] if each.state in ENDED]

            async def twice() -> bool:
                return len(await turns()) == 2

            await fleet.wait(twice)
            first, second = await turns()
            assert (first.result.text, second.result.text) == ("on its way", "so there are seven")  # type: ignore[union-attr]  # both are done
            (child,) = await children_of(fleet, first.id)
            assert child.session == f"task:{child.id}"

    run(story())


NARROW = """
rules:
  - when: {user: "try", call: 1}
    calls:
      - {tool: files.write, args: {path: out/a.md, text: a}}
      - {tool: files.list, args: {}}
      - {tool: files.read, args: {path: SOUL.md}}
  - when: {tool: files.read}
    text: "tried"
  - when: {tool: children.wait}
    text: "done"
  - when: {tool: spawn}
    calls: [{tool: children.wait, args: {}}]
  - when: {user: "lead"}
    calls: [{tool: spawn, args: {goal: "try", agent: helper}}]
  - when: {user: "narrow"}
    calls: [{tool: spawn, args: {goal: "try", agent: helper, tools: [files.list]}}]
default: {text: "?"}
"""


@pytest.mark.parametrize(("word", "allowed"), [("lead", {"files.read"}), ("narrow", set[str]())])
def test_a_sub_agent_may_do_what_it_and_its_parent_and_the_given_tools_allow(
    tmp_path: Path, word: str, allowed: set[str]
) -> None:
    async def story() -> None:
        made = files(NARROW, helper="files.read, files.write, files.list")
        if word == "narrow":
            made["agents/boss/TOOLS.md"] = made["agents/boss/TOOLS.md"].replace("files.read", "files.list")
        async with running(tmp_path, made) as fleet:
            parent = await fleet.until((await fleet.goal("boss", word)).id)
            assert parent.state is TaskState.DONE
            (child,) = await children_of(fleet, parent.id)
            done = {tool for tool, status, _ in await outcomes(fleet, child.id) if status is ResultStatus.OK}
            assert done == (allowed or {"files.list"})
            assert not (tmp_path / "agents/helper/out").exists()

    run(story())


def test_taking_a_tool_from_the_parent_takes_it_from_the_child_at_work(tmp_path: Path) -> None:
    script = """
rules:
  - when: {user: "try", call: 1}
    calls: [{tool: files.read, args: {path: SOUL.md}}]
  - when: {tool: files.read}
    text: "tried"
  - when: {tool: spawn}
    text: "started"
default: {calls: [{tool: spawn, args: {goal: "try", agent: helper}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script, helper="files.read"), start=False) as fleet:
            parent = await fleet.goal("boss", "lead")
            await fleet.node.start()
            await fleet.until(parent.id)
            (child,) = await children_of(fleet, parent.id)
            await fleet.until(child.id)
            assert [status for _, status, _ in await outcomes(fleet, child.id)] == [ResultStatus.OK]
            (tmp_path / "agents/boss/TOOLS.md").write_text("---\nallow: [spawn]\n---\n")
            again = await fleet.until((await fleet.goal("boss", "lead")).id)
            (child,) = await children_of(fleet, again.id)
            await fleet.until(child.id)
            ((_, status, text),) = await outcomes(fleet, child.id)
            assert (status, text.startswith("Unknown tool")) == (ResultStatus.INVALID, True)

    run(story())


def test_what_is_given_to_the_parent_is_not_given_to_the_child_at_work(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(NARROW, helper="files.read, files.write")) as fleet:
            parent = await fleet.until((await fleet.goal("boss", "lead")).id)
            (child,) = await children_of(fleet, parent.id)
            journal = await fleet.journal(child.id)
            tools = tmp_path / "agents/boss/TOOLS.md"
            tools.write_text(tools.read_text().replace("files.read", "files.read, files.write"))
            call = ToolCall(id="c", name="files.write", arguments={"path": "out/a.md", "text": "a"})
            intent = ToolIntent(
                call_id="c", tool=call.name, effect=Effect.IDEMPOTENT, arguments=call.arguments or {}, key="k"
            )

            def decisions(tx: Tx) -> list[Decision]:
                found = []
                for read in (journal, ()):  # a turn that goes on, and one that begins now
                    leash = fleet.leashes.leash(tx, child, journal=read)
                    context = leash.context(child, intent=intent, trust=Trust.AGENT, now=fleet.clock.now())
                    judged = leash.judge(call, context=context, arguments=call.arguments)
                    assert not isinstance(judged, str), judged
                    found.append(judged[0].decision)
                return found

            assert await fleet.store.run(decisions) == [Decision.DENY, Decision.ALLOW]

    run(story())


REFUSED = """
rules:
  - when: {tool: spawn}
    text: "{results}"
  - when: {user: "deep"}
    calls: [{tool: spawn, args: {goal: "deep"}}]
  - when: {user: "stranger"}
    calls: [{tool: spawn, args: {goal: "x", agent: nobody}}]
  - when: {user: "wider"}
    calls: [{tool: spawn, args: {goal: "x", tools: [http.post]}}]
  - when: {user: "odd"}
    calls: [{tool: spawn, args: {goal: "x", model: scrpt}}]
  - when: {user: "many"}
    calls: [CALLS]
default: {text: "?"}
""".replace("CALLS", ", ".join(f"{{tool: spawn, args: {{goal: wait {number}}}}}" for number in range(9)))


def test_what_a_parent_may_not_start_is_refused_in_words(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(REFUSED)) as fleet:
            said = {}
            for word in ("stranger", "wider", "odd"):
                task = await fleet.until((await fleet.goal("boss", word)).id)
                ((_, status, said[word]),) = await outcomes(fleet, task.id)
                assert status is ResultStatus.ERROR
                assert await children_of(fleet, task.id) == []
            assert said["stranger"].startswith("Unknown agent 'nobody'. Known: 'boss'.")
            assert said["wider"].startswith("You may not use 'http.post' yourself")
            assert "Did you mean 'script'? Nothing was started" in said["odd"]

    run(story())


def test_sub_agents_are_two_deep_and_eight_at_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(REFUSED)) as fleet:
            task = await fleet.until((await fleet.goal("boss", "deep")).id)
            (child,) = await children_of(fleet, task.id)
            await fleet.until(child.id)
            (grandchild,) = await children_of(fleet, child.id)
            await fleet.until(grandchild.id)
            assert await children_of(fleet, grandchild.id) == []
            ((_, status, text),) = await outcomes(fleet, grandchild.id)
            assert (status, "a sub-agent of a sub-agent" in text) == (ResultStatus.ERROR, True)
            many = await fleet.until((await fleet.goal("boss", "many")).id)
            assert len(await children_of(fleet, many.id)) == 8
            refused = [text for _, status, text in await outcomes(fleet, many.id) if status is ResultStatus.ERROR]
            assert [each.partition(";")[0] for each in refused] == [
                "8 children work already. Wait for one of them: children.wait."
            ]

    run(story())


def test_a_child_is_steered_and_cancelled_by_its_parent_alone(tmp_path: Path) -> None:
    script = """
rules:
  - when: {user: "wait", call: 1}
    calls: [{tool: ask, args: {question: "go on?"}}]
  - when: {tool: spawn}
    calls: [{tool: children.steer, args: {child: "{result|after:ok: |before: works}", text: "look left"}}]
  - when: {tool: children.steer}
    calls: [{tool: children.cancel, args: {child: T2, reason: enough}}]
  - when: {tool: children.cancel}
    text: "{result}"
  - when: {user: "meddle"}
    calls: [{tool: children.cancel, args: {child: T1}}]
default: {calls: [{tool: spawn, args: {goal: "wait"}}]}
"""

    async def story() -> None:
        async with running(tmp_path, files(script)) as fleet:
            parent = await fleet.until((await fleet.goal("boss", "lead")).id)
            assert parent.result is not None
            (child,) = await children_of(fleet, parent.id)
            assert (child.state, child.reason) == (TaskState.CANCELLED, "enough"), await outcomes(fleet, parent.id)
            messages = await fleet.store.read(lambda reads: reads.messages(child.session or ""))
            assert [each.text for each in messages] == ["look left"]
            other = await fleet.until((await fleet.goal("boss", "meddle")).id)
            ((_, status, text),) = await outcomes(fleet, other.id)
            assert (status, text.startswith("'T1' is none of your children")) == (ResultStatus.ERROR, True)

    run(story())


HANDED_ON = """
rules:
  - when: {user: "below", call: 1}
    calls:
      - {tool: spawn, args: {goal: "last", tools: [files.read, children.list], timeout_s: 86400}}
      - {tool: spawn, args: {goal: "last", tools: [memory.note]}}
  - when: {user: "lead", call: 1}
    calls: [{tool: spawn, args: {goal: "below", tools: ["files.*", "spawn", "children.*"]}}]
  - when: {tool: spawn}
    calls: [{tool: children.wait, args: {}}]
default: {text: "done"}
"""


def test_a_child_hands_on_what_it_was_given_and_no_more_and_ends_no_later_than_its_parent(tmp_path: Path) -> None:
    async def story() -> None:
        named = files(HANDED_ON)
        named["agents/boss/TOOLS.md"] = '---\nallow: ["*"]\n---\n'
        async with running(tmp_path, named) as fleet:
            deadline = fleet.clock.now() + 600 * SECOND
            parent = await fleet.until((await fleet.goal("boss", "lead", deadline_at=deadline)).id)
            (child,) = await children_of(fleet, parent.id)
            (last,) = await children_of(fleet, child.id)
            assert last.spec.tools == ("files.read", "children.list")
            assert child.spec.deadline_at == last.spec.deadline_at == deadline
            refused = [text for tool, status, text in await outcomes(fleet, child.id) if status is ResultStatus.ERROR]
            assert [each.startswith("You may not use 'memory.note' yourself") for each in refused] == [True]

    run(story())
