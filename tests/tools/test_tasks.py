"""Tasks are created once for each call, for those whom the agent may ask, and are seen by those whom they concern.

The store is real and in memory.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from ostinato.domain.chat import ToolCall
from ostinato.domain.event import EventName
from ostinato.domain.message import DEPTH_MAX
from ostinato.domain.step import Effect, ModelAnswer, ResultStatus, ToolIntent
from ostinato.domain.task import Done, TaskEvent, TaskKind, TaskResult, TaskSpec, TaskState
from ostinato.domain.values import Attachment, Origin, Source, Trust
from ostinato.store.port import Claim, ClaimRequest, EventFilter, TaskFilter
from ostinato.tools.router import is_routed
from ostinato.tools.tasks import CREATED_MAX
from tests.tools.conftest import Scene
from tests.tools.desk import BEGINS_AT, Desk

Play = Callable[[Scene], None]


async def goals(desk: Desk) -> list[str]:
    """Titles of all goals, newest first."""
    which = TaskFilter(kinds=frozenset({TaskKind.GOAL}))
    return [task.title for task in await desk.see(lambda tx: tx.tasks(which))]


def test_a_task_goes_to_the_agent_named_with_all_that_it_comes_from(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        letter = Attachment(name="mail.eml", digest="d" * 64, size_bytes=7)
        origin = Origin(channel="mail", peer="ann@example.com", thread="<1@example.com>")
        context = desk.context(
            requester="ann", depth=2, causes=("T1", "M4"), origin=origin, attachments=(letter,), trust=Trust.OPERATOR
        )
        arguments = {
            "title": " Refund \n order 7 ", "goal": "Give it back.", "agent": "billing", "input": {"order": 7},
            "attach": ["mail.eml"], "priority": 5, "deliver": True,
        }  # fmt: skip
        made = await desk.call("tasks.create", arguments, context)
        assert made.text == "T2 for billing (ready)"
        assert made.data == {"task": "T2"}
        task = await desk.see(lambda tx: tx.task(2))
        assert (task.title, task.agent, task.session, task.priority, task.depth) == (
            "Refund order 7",
            "billing",
            "task:2",
            5,
            3,
        )
        spec = task.spec
        assert (spec.goal, spec.input, spec.requester, spec.created_by) == (
            "Give it back.",
            {"order": 7},
            "ann",
            "triage",
        )
        assert (spec.trust, spec.trigger, spec.origin, spec.causes) == (Trust.AGENT, Source.AGENT, origin, ("T1", "M4"))
        assert (spec.attachments, spec.deliver) == ((letter,), "session:main:triage")

    at_desk(scene)


def test_the_same_call_gives_the_same_task_even_where_the_choice_would_differ_now(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        context = desk.context()
        arguments = {"title": "refund", "skills": ["refunds"]}
        first = await desk.call("tasks.create", arguments, context)
        assert first.text == "T2 for billing (ready)"
        assert await desk.call("tasks.create", arguments, context) == first
        other = await desk.call("tasks.create", arguments)
        assert other.text == "T2 is the same work already (ready, billing); nothing was created"
        assert (other.data, await goals(desk)) == ({"task": "T2", "existing": True}, ["refund"])
        await desk.see(lambda tx: tx.move_task(2, TaskEvent.CANCEL, actor="ann", now=BEGINS_AT))
        assert (await desk.call("tasks.create", arguments)).text.startswith("T3 for billing")

    at_desk(scene)


def test_a_task_by_skills_goes_to_whoever_has_them_and_least_to_do(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        chosen = []
        for number in range(4):
            made = await desk.call("tasks.create", {"title": f"refund {number}", "skills": ["REFUNDS"]})
            chosen.append(made.text.split()[2])
        assert chosen == ["billing", "technical", "billing", "technical"]
        await desk.store.run(lambda tx: tx.set_flag("agent:billing", "paused", actor="ann", reason="", now=BEGINS_AT))
        made = await desk.call("tasks.create", {"title": "refund", "skills": ["refunds"]})
        assert made.text.startswith("T6 for technical (ready)")
        nobody = await desk.call("tasks.create", {"title": "dance", "skills": ["dancing"]})
        assert nobody.text == "T7 for nobody yet: no agent has the skill dancing (blocked)"
        both = await desk.call("tasks.create", {"title": "x", "skills": ["sales", "billing"]})
        assert "no one agent has all of sales, billing" in both.text

    at_desk(scene)


def test_a_task_is_given_only_to_those_whom_the_agent_may_ask(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        create = {"title": "x", "agent": "sales"}
        refused = await desk.call("tasks.create", create, delegates=("bill*",))
        assert refused.text == "Unknown agent 'sales'. Known: 'billing', 'triage'. Nothing was created."
        by_skill = await desk.call("tasks.create", {"title": "x", "skills": ["sales"]}, delegates=("billing",))
        assert "no agent has the skill sales" in by_skill.text
        own = await desk.call("tasks.create", {"title": "x", "agent": "triage"}, delegates=())
        assert "for triage (ready)" in own.text
        alone = await desk.call("tasks.create", create, delegates=(), colleagues=())
        assert alone.text.startswith("You may not give tasks to anybody")
        nothing = await desk.call("tasks.create", {"title": "x"})
        assert nothing.text == "Name an agent or skills. Nothing was created."
        assert (await desk.call("tasks.create", create, delegates=("*",))).status is ResultStatus.OK

    at_desk(scene)


def test_a_task_that_was_refused_leaves_nothing_behind(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        foreign = await desk.add(title="secret", agent="billing")
        for arguments, said in [
            ({"title": " \n "}, "The title is empty"),
            ({"title": "x", "after": ["T99"]}, "'T99' is none of your tasks"),
            ({"title": "x", "after": [foreign.name]}, "'T2' is none of your tasks"),
            ({"title": "x", "after": ["T1:never"]}, "Unknown condition 'never'"),
            ({"title": "x", "attach": ["a.eml"]}, "Unknown attachment 'a.eml'. Known: none."),
        ]:
            result = await desk.call("tasks.create", {**arguments, "agent": "sales"})
            assert (result.status, result.text.startswith(said)) == (ResultStatus.ERROR, True), result.text
        deep = await desk.call("tasks.create", {"title": "x", "agent": "sales"}, depth=DEPTH_MAX)
        assert "chain of causes is 5 tasks long" in deep.text
        assert await goals(desk) == ["secret"]

    at_desk(scene)


def test_one_turn_makes_only_so_many_tasks(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        node = await desk.see(
            lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=BEGINS_AT)
        )
        claimed = await desk.see(lambda tx: tx.claim(ClaimRequest(node=node.id), now=BEGINS_AT))
        claim = Claim(task=claimed[0].id, token=claimed[0].token)
        made = [
            ToolIntent(call_id=f"1.{n}", tool="tasks.create", effect=Effect.IDEMPOTENT, arguments={}, key=str(n))
            for n in range(CREATED_MAX)
        ]
        calls = [ToolCall(id=f"2.{n}", name="files.read" if n < 2 else "tasks.create", arguments={}) for n in range(99)]
        in_one_reply = await desk.call("tasks.create", {"title": "x", "agent": "sales"}, call_id=f"1.{CREATED_MAX}")
        assert "made 50 tasks" in in_one_reply.text
        entries = [*made[:-1], ModelAnswer(call=2, model="m", calls=tuple(calls))]
        await desk.see(lambda tx: tx.record_steps(claim, entries, now=BEGINS_AT))
        fiftieth = await desk.call("tasks.create", {"title": "x", "agent": "sales"}, call_id="2.2")
        assert "made 50 tasks" not in fiftieth.text
        next_one = await desk.call("tasks.create", {"title": "x", "agent": "sales"}, call_id="2.3")
        assert "made 50 tasks" in next_one.text
        await desk.see(lambda tx: tx.record_steps(claim, made[-1:], now=BEGINS_AT))
        assert "made 50 tasks" in (await desk.call("tasks.create", {"title": "x", "agent": "sales"})).text
        assert "made 50 tasks" in (await desk.call("tasks.propose", {"title": "x"})).text

    at_desk(scene)


def test_what_an_agent_makes_after_reading_text_from_outside_is_marked(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.call("tasks.create", {"title": "x", "agent": "sales"}, trust=Trust.EXTERNAL)
        await desk.call("tasks.create", {"title": "y", "agent": "sales"}, trust=Trust.AGENT)
        spec = [task.spec for task in await desk.see(lambda tx: tx.tasks(TaskFilter(agent="sales")))]
        assert [each.trust for each in spec] == [Trust.AGENT, Trust.EXTERNAL]

    at_desk(scene)


def test_a_proposal_is_a_draft_that_never_runs_by_itself(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        proposed = await desk.call("tasks.propose", {"title": "tidy up", "goal": "all of it"})
        assert proposed.text == "T2 is proposed; a person decides"
        with_skills = await desk.call("tasks.propose", {"title": "sell", "skills": ["sales"]})
        assert with_skills.data == {"task": "T3"}
        tasks = {task.id: task for task in await desk.see(lambda tx: tx.tasks(TaskFilter()))}
        assert (tasks[2].state, tasks[2].agent, tasks[2].reason) == (TaskState.DRAFT, None, "no agent is chosen yet")
        assert (tasks[3].state, tasks[3].agent) == (TaskState.DRAFT, "sales")

    at_desk(scene)


def test_an_agent_sees_its_own_tasks_and_those_it_created_and_no_others(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.add(title="mine", agent="triage")
        await desk.add(title="foreign", agent="billing")
        await desk.call("tasks.create", {"title": "created", "agent": "billing"})
        listed = await desk.call("tasks.list", {})
        assert listed.text.splitlines() == ["T4 ready, billing: created", "T2 ready, triage: mine"]
        for name in ("T3", "T99", "T", "x", "t3", "T-1", "T1e3", "٣", "T" + "9" * 40):
            for tool, more in (("tasks.show", {}), ("tasks.comment", {"text": "hello"})):
                hidden = await desk.call(tool, {"task": name, **more})
                assert hidden.text == f"{name[:40]!r} is none of your tasks. tasks.list shows them."
        assert (await desk.call("tasks.list", {"state": "done"})).text == "none"
        assert (await desk.call("tasks.list", {"state": "all"})).text.count("\n") == 1
        odd = await desk.call("tasks.list", {"state": "redy"})
        assert "Did you mean 'ready'?" in odd.text

    at_desk(scene)


def test_a_task_is_shown_with_its_result_and_what_was_said_about_it(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.call("tasks.create", {"title": "refund", "goal": "Give it back.", "agent": "billing", "priority": 9})
        node = await desk.see(
            lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=BEGINS_AT)
        )
        await desk.call("tasks.comment", {"task": "2", "text": "It is urgent."})
        claimed = await desk.see(lambda tx: tx.claim(ClaimRequest(node=node.id, kinds=(TaskKind.GOAL,)), now=BEGINS_AT))
        claim = Claim(task=2, token=claimed[0].token)
        outcome = Done(result=TaskResult(text="refunded", data={"sum": 12}))
        await desk.see(lambda tx: tx.finish(claim, outcome, now=BEGINS_AT))
        shown = await desk.call("tasks.show", {"task": "t2"})
        assert shown.text.splitlines() == [
            "T2 done, billing: refund",
            "goal: Give it back.",
            "result: refunded",
            "triage: It is urgent.",
        ]
        assert shown.data == {"sum": 12}
        noted = await desk.see(lambda tx: tx.events(EventFilter(names=frozenset({EventName.TASK_NOTED}))))
        assert [(each.actor, each.task) for each in noted] == [("triage", 2)]

    at_desk(scene)


def test_the_result_of_a_task_comes_back_to_the_session_that_asked(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        await desk.call("tasks.create", {"title": "refund", "agent": "billing", "deliver": True}, session="main:triage")
        node = await desk.see(
            lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=BEGINS_AT)
        )
        claimed = await desk.see(lambda tx: tx.claim(ClaimRequest(node=node.id, kinds=(TaskKind.GOAL,)), now=BEGINS_AT))
        claim = Claim(task=claimed[0].id, token=claimed[0].token)
        outcome = Done(result=TaskResult(text="refunded"))
        await desk.see(lambda tx: tx.finish(claim, outcome, now=BEGINS_AT))
        inbox = await desk.see(lambda tx: tx.inbox("main:triage"))
        assert [(each.source, each.text, each.sender) for each in inbox] == [(Source.COMPLETION, "refunded", "billing")]

    at_desk(scene)


@pytest.mark.parametrize("name", ["tasks.create", "tasks.propose"])
def test_a_task_belongs_to_the_project_of_the_one_it_comes_from(at_desk: Play, name: str) -> None:
    async def scene(desk: Desk) -> None:
        above = await desk.add(title="above", agent="triage", project="acme")
        await desk.call(name, {"title": "below", "agent": "sales"}, task=above.id)
        await desk.call(name, {"title": "beside", "agent": "sales", "project": "other", "type": "lead"}, task=above.id)
        tasks = await desk.see(lambda tx: tx.tasks(TaskFilter(agent="sales")))
        assert [(each.project, each.type) for each in tasks] == [("other", "lead"), ("acme", "")]

    at_desk(scene)


def test_only_whom_the_router_chose_counts_as_routed_whatever_the_reason_says(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        why = "a rule: sales: has refunds (before billing: busy)"
        spec = TaskSpec(skills=("refunds",), routed=why, routed_to="sales")
        placed, named = [await desk.add(agent=each, spec=spec) for each in ("sales", "billing")]
        assert is_routed(placed)
        assert not is_routed(named)
        moved = await desk.store.run(lambda tx: tx.change_task(placed.id, actor="ann", agent="billing", now=BEGINS_AT))
        assert not is_routed(moved)
        again = await desk.store.run(
            lambda tx: tx.change_task(moved.id, actor="runtime", agent="technical", routed="by load", now=BEGINS_AT)
        )
        assert is_routed(again)

    at_desk(scene)
