"""`tasks.plan`: an agent proposes a graph; it may name only whom it may ask, and nothing is proposed twice."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from ostinato.domain.step import ResultStatus
from ostinato.domain.task import TaskKind, TaskState
from ostinato.domain.values import Trust
from ostinato.store.port import TaskFilter
from tests.tools.desk import Desk

Play = Callable[[Callable[[Desk], Awaitable[None]]], None]
PLAN = {
    "tasks": [
        {"name": "refund", "skills": ["refunds"], "after": ["look:always"]},
        {"name": "look", "agent": "sales"},
    ]
}
GOALS = TaskFilter(kinds=frozenset({TaskKind.GOAL}))


def test_an_agent_proposes_a_graph_of_drafts_once(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        made = await desk.call("tasks.plan", PLAN, trust=Trust.EXTERNAL)
        assert made.data == {"tasks": {"look": "T2", "refund": "T3"}}
        look, refund = sorted(await desk.see(lambda tx: tx.tasks(GOALS)), key=lambda each: each.id)
        assert {look.state, refund.state} == {TaskState.DRAFT}
        assert (look.agent, refund.agent, refund.spec.created_by) == ("sales", "billing", "triage")
        assert (look.spec.trust, look.depth) == (Trust.EXTERNAL, 1)
        assert [each.task for each in await desk.see(lambda tx: tx.waits_on(refund.id))] == [look.id]
        again = await desk.call("tasks.plan", PLAN)
        assert again.data == made.data
        assert len(await desk.see(lambda tx: tx.tasks(GOALS))) == 2

    at_desk(scene)


def test_a_plan_that_names_somebody_whom_the_agent_may_not_ask_leaves_nothing_behind(at_desk: Play) -> None:
    async def scene(desk: Desk) -> None:
        foreign = await desk.add(title="secret", agent="billing")
        refused = await desk.call("tasks.plan", PLAN, delegates=("billing",))
        assert refused.status is ResultStatus.ERROR
        assert "Unknown agent 'sales'" in refused.text
        late = {"tasks": [{"name": "a", "agent": "billing"}, {"name": "b", "agent": "sales", "after": ["a"]}]}
        assert "Unknown agent 'sales'" in (await desk.call("tasks.plan", late, delegates=("billing",))).text
        circle = await desk.call(
            "tasks.plan", {"tasks": [{"name": "a", "after": ["b"]}, {"name": "b", "after": ["a"]}]}
        )
        assert "a → b → a" in circle.text
        hidden = await desk.call("tasks.plan", {"tasks": [{"name": "a", "after": [foreign.name]}]})
        assert "none of your tasks" in hidden.text
        assert [each.id for each in await desk.see(lambda tx: tx.tasks(GOALS))] == [foreign.id]

    at_desk(scene)
