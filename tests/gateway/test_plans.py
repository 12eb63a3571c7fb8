"""A plan is a graph of drafts: none runs before it is approved, whole or in part; and it is not made twice."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.task import NewTask, TaskKind
from ostinato.gateway import plans_api, tasks_api
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground

PLAN: dict[str, Any] = {
    "project": "march",
    "budget": 3.0,
    "tasks": [
        {"name": "report", "skills": ["billing"], "after": ["collect", "check:failure"], "any": True},
        {"name": "collect", "agent": "clerk", "budget": 1.0, "goal": "All invoices."},
        {"name": "check", "agent": "billing", "after": ["collect"]},
    ],
}


async def planned(made: Ground, **more: Any) -> dict[str, dict[str, Any]]:
    """Title -> node."""
    view = await made.call(plans_api.plan, {"plan": PLAN, **more})
    return {each["task"]["title"]: each for each in view["nodes"]}


def states(view: dict[str, Any]) -> dict[str, str]:
    return {each["task"]["title"]: each["task"]["state"] for each in view["nodes"]}


def test_a_plan_becomes_drafts_that_know_what_they_wait_for_and_what_they_may_spend(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            nodes = await planned(made)
            ids = {name: each["task"]["id"] for name, each in nodes.items()}
            assert {each["task"]["state"] for each in nodes.values()} == {"draft"}
            assert nodes["check"]["after"] == [ids["collect"]]
            assert nodes["report"]["after"] == sorted([ids["collect"], f"{ids['check']}:failure"])
            assert nodes["report"]["task"]["agent"] == "billing", "it was found by its skill"
            tasks = await made.store.read(lambda tx: [tx.task(int(each[1:])) for each in ids.values()])
            assert {each.spec.requester for each in tasks} == {"ann"}, "or she could allow what it asks for"
            assert sorted(each.spec.budget.usd_micros for each in tasks if each.spec.budget) == [1_000_000] * 3

    run(look())


def test_it_is_approved_in_part_and_then_whole_and_what_waits_goes_on_waiting(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            nodes = await planned(made)
            check = nodes["check"]["task"]["id"]
            await made.call(tasks_api.approve, {"task": check})
            view = await made.call(plans_api.tree, {"task": check})
            assert states(view) == {"collect": "draft", "check": "blocked", "report": "draft"}
            view = await made.call(plans_api.approve_tree, {"task": check})
            assert states(view) == {"collect": "ready", "check": "blocked", "report": "blocked"}
            with pytest.raises(Conflict, match="No draft belongs to"):
                await made.call(plans_api.approve_tree, {"task": check})
            whole = f"ostinato tasks cancel {check} --tree"
            for reject in (plans_api.reject_tree, tasks_api.reject):
                with pytest.raises(Conflict) as refusal:
                    await made.call(reject, {"task": check})
                assert whole in refusal.value.cure
            view = await made.call(plans_api.cancel_tree, {"task": check, "reason": "not this year"})
            assert set(states(view).values()) == {"cancelled"}
            with pytest.raises(Conflict, match="has ended"):
                await made.call(plans_api.cancel_tree, {"task": check})

    run(look())


def test_a_plan_that_is_rejected_is_gone_whole(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            nodes = await planned(made)
            view = await made.call(plans_api.reject_tree, {"task": nodes["collect"]["task"]["id"], "reason": "no"})
            assert set(states(view).values()) == {"cancelled"}

    run(look())


def test_the_same_plan_is_not_made_twice_with_or_without_a_key(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            ids = {each["task"]["id"] for each in (await planned(made, key="march")).values()}
            for more in ({"key": "march"}, {"key": "again"}, {}):
                assert {each["task"]["id"] for each in (await planned(made, **more)).values()} == ids

    run(look())


def test_a_draft_is_edited_before_it_is_approved_and_not_after(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            nodes = await planned(made)
            name = nodes["collect"]["task"]["id"]
            row = await made.call(
                plans_api.edit, {"task": name, "title": "gather", "goal": "March", "skills": ["billing"]}
            )
            assert (row["title"], row["agent"]) == ("gather", "billing")
            shown = await made.call(tasks_api.show, {"task": name})
            assert (shown["goal"], shown["skills"]) == ("March", ["billing"])
            with pytest.raises(Conflict, match="no agent has the skill latin"):
                await made.call(plans_api.edit, {"task": name, "skills": ["latin"]})
            await made.call(tasks_api.approve, {"task": name})
            with pytest.raises(Conflict, match="no draft"):
                await made.call(plans_api.edit, {"task": name, "goal": "x"})

    run(look())


def test_a_plan_that_names_nobody_there_is_not_made_at_all(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            wrong = {"tasks": [{"name": "a", "agent": "clerk"}, {"name": "b", "agent": "clrk"}]}
            with pytest.raises(NotFound, match="task 'b': Unknown agent 'clrk'"):
                await made.call(plans_api.plan, {"plan": wrong})
            with pytest.raises(NotFound, match="T77"):
                await made.call(plans_api.plan, {"plan": {"tasks": [{"name": "a", "after": ["T77"]}]}})
            assert (await made.call(tasks_api.list_tasks, {}))["tasks"] == []

    run(look())


def test_a_tree_shows_children_below_their_parents_and_what_it_all_costs(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:

            def family(tx: Any) -> list[int]:
                top = tx.add_task(NewTask(kind=TaskKind.GOAL, title="top", agent="clerk"), now=NOW).id
                child = tx.add_task(NewTask(kind=TaskKind.GOAL, title="child", agent="clerk", parent=top), now=NOW).id
                tx.add_task(NewTask(kind=TaskKind.GOAL, title="grandchild", agent="clerk", parent=child), now=NOW)
                tx.add_task(NewTask(kind=TaskKind.GOAL, title="second", agent="clerk", parent=top), now=NOW)
                tx.add_task(NewTask(kind=TaskKind.GOAL, title="then", agent="clerk", after=(top,)), now=NOW)
                return [top, child]

            top, _ = await made.store.run(family)
            view = await made.call(plans_api.tree, {"task": f"T{top}"})
            shown = [(each["task"]["title"], each["level"]) for each in view["nodes"]]
            assert shown == [("top", 0), ("child", 1), ("grandchild", 2), ("second", 1), ("then", 0)]
            assert (view["usd"], view["states"]) == (0.0, {"ready": 4, "blocked": 1})

    run(look())


def test_a_plan_may_do_the_same_before_and_after_and_says_what_was_there_already(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            test = {"title": "Run the tests", "agent": "clerk"}
            fix = {"name": "fix", "agent": "clerk", "after": ["before"]}
            plan = {"tasks": [{"name": "before", **test}, fix, {"name": "after", "after": ["fix"], **test}]}
            nodes = (await made.call(plans_api.plan, {"plan": plan}))["nodes"]
            ids = [each["task"]["id"] for each in nodes]
            assert [each["after"] for each in nodes] == [[], [ids[0]], [ids[1]]]
            assert not any(each["existed"] for each in nodes)
            await made.call(plans_api.edit, {"task": ids[2], "budget": 1.0})
            again = (await made.call(plans_api.plan, {"plan": plan, "key": "again"}))["nodes"]
            assert [(each["task"]["id"], each["existed"]) for each in again] == [(each, True) for each in ids]

    run(look())
