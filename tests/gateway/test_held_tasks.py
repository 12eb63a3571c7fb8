"""What keeps a task from running is told truly, with what to type; and what was decided about it stays decided."""

from __future__ import annotations

import io
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from ostinato.cli.screen import Screen
from ostinato.cli.task_screen import show_task
from ostinato.domain.errors import Conflict, Invalid, NotFound
from ostinato.domain.failure import NO_PLAN, FailurePlan
from ostinato.domain.question import NewQuestion, QuestionKind
from ostinato.domain.step import Entry, Input, Note
from ostinato.domain.task import Fail, NewTask, Outcome, Park, Review, TaskEvent, TaskKind, TaskResult, Wait, WaitKind
from ostinato.gateway import agents_api, cost_api, dead_api, plans_api, status_api, stop_api, task_story_api, tasks_api
from ostinato.gateway.operation import AnyRoute
from ostinato.store.port import Claim, ClaimRequest, Tx
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground


async def add(made: Ground, title: str, *, agent: str = "clerk", after: tuple[str, ...] = (), **more: Any) -> str:
    task = await made.call(tasks_api.add, {"title": title, "agent": agent, "after": list(after), **more})
    return str(task["id"])


async def finish_one(
    made: Ground, outcome: Outcome, *, plan: FailurePlan = NO_PLAN, entries: Sequence[Entry] = ()
) -> None:
    def finish(tx: Tx) -> None:
        node = tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=NOW)
        (task,) = tx.claim(ClaimRequest(node=node.id), now=NOW)
        claim = Claim(task=task.id, token=task.token)
        tx.record_steps(claim, entries, now=NOW)
        tx.finish(claim, outcome, now=NOW, plan=plan)

    await made.store.run(finish)


async def lines(made: Ground, task: str) -> list[str]:
    told = await made.call(task_story_api.explain, {"task": task})
    return [str(each) for each in told["lines"]]


async def needs(made: Ground) -> list[str]:
    return [each["text"] for each in (await made.call(status_api.status, {}))["needs_you"]]


def test_why_a_task_failed_names_step_files_and_who_took_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            first = await add(made, "first")
            began = [Input(files={"SOUL.md": "ab" * 32})]
            await finish_one(made, Fail(error="no"), plan=FailurePlan(fallback="deputy"), entries=began)
            assert "deputy took over from clerk" in await lines(made, first)
            await finish_one(made, Fail(error="no"), entries=[*began, Note(text="as far as this", by="ann")])
            told = [each["text"] for each in (await made.call(task_story_api.why, {"task": first}))["lines"]]
            assert "as far as this" in told[1]
            assert told[2] == "deputy ran with SOUL.md abababababab"

    run(story())


def test_a_person_goes_on_without_what_failed_and_is_told_how(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            first = await add(made, "first")
            then = await add(made, "then", after=(first,))
            rescue = await add(made, "rescue", after=(f"{first}:failure",))
            with pytest.raises(Conflict, match=f"{then} waits for {first}. It goes on by itself"):
                await made.call(tasks_api.approve, {"task": then})
            await finish_one(made, Fail(error="no"))
            told = await lines(made, then)
            assert f"it needs first: {first} (failed)" in told
            assert f"to go on without: ostinato tasks approve {then}; to end it: ostinato tasks cancel {then}" in told
            assert not any("needs first" in each for each in await lines(made, rescue)), "it failed as was asked"
            assert (await made.call(tasks_api.approve, {"task": then}))["state"] == "ready"

    run(story())


def test_what_waits_for_something_that_was_dismissed_or_cancelled_waits_for_a_person(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            first = await add(made, "first")
            then = await add(made, "then", after=(first,))
            last = await add(made, "last", after=(then,))
            await finish_one(made, Fail(error="no"))
            assert not any(each.startswith(then) for each in await needs(made)), "the dead letter is the one to look at"
            await made.store.run(lambda tx: tx.move_task(int(first[1:]), TaskEvent.DISMISS, actor="ann", now=NOW))
            assert f'{then} "then" cannot be done: waits for {first}, which is failed' in await needs(made)
            told = await made.call(task_story_api.why, {"task": last})
            assert [each["task"] for each in told["lines"]][:3] == [last, then, first]
            await made.call(tasks_api.cancel, {"task": then})
            assert f'{last} "last" cannot be done: waits for {then}, which is cancelled' in await needs(made)

    run(story())


def test_why_a_ready_task_does_not_begin_is_explained(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            task = await add(made, "wait")
            await made.call(agents_api.pause, {"agent": "clerk", "reason": "lunch"})
            assert "it waits: clerk was paused by ann: lunch: ostinato agents resume clerk" in await lines(made, task)
            await made.call(agents_api.resume, {"agent": "clerk"})
            await made.call(stop_api.stop, {"scope": f"task:{task}", "how": "pause", "reason": "later"})
            assert any("was paused by ann: later" in each for each in await lines(made, task))
            await made.call(stop_api.start, {"scope": f"task:{task}"})
            await made.call(agents_api.scale, {"agent": "clerk", "instances": 1})
            node = await made.store.run(
                lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=NOW)
            )
            other = await add(made, "other")
            await made.store.run(lambda tx: tx.claim(ClaimRequest(node=node.id, agent_limit_default=1), now=NOW))
            assert "clerk does 1 at once, and 1 runs" in await lines(made, other)
            (made.folder / "agents/clerk/AGENTS.md").write_text("---\nskils: [x]\n---\n")
            assert any("AGENTS.md" in each and "skils" in each for each in await lines(made, other))

    run(story())


def test_what_cannot_be_decided_says_where_the_task_stands_and_what_can_be_done(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            task = await add(made, "wait")
            with pytest.raises(Conflict, match=rf"{task} is ready and cannot be approved.*tasks cancel {task}"):
                await made.call(tasks_api.approve, {"task": task})
            await made.call(tasks_api.cancel, {"task": task})
            with pytest.raises(Conflict, match=rf"{task} is cancelled and cannot be cancelled.*tasks show {task}"):
                await made.call(tasks_api.cancel, {"task": task})
            new = NewTask(kind=TaskKind.GOAL, title="fly", blocked="no agent has the skill flying")
            nobody = (await made.store.run(lambda tx: tx.add_task(new, now=NOW))).name
            with pytest.raises(Conflict, match=rf"the skill flying.*tasks move {nobody} --agent"):
                await made.call(tasks_api.approve, {"task": nobody})

    run(story())


def test_a_result_in_review_is_cancelled_not_returned_where_somebody_cancels_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            task = await add(made, "write")
            await finish_one(made, Review(result=TaskResult(text="a draft")))
            assert (await made.call(tasks_api.cancel, {"task": task}))["state"] == "cancelled"

    run(story())


def test_drafts_of_one_plan_are_one_line_of_the_status(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            plan = {"tasks": [{"name": f"n{number}", "agent": "clerk"} for number in range(4)]}
            await made.call(plans_api.plan, {"plan": plan})
            (need,) = (await made.call(status_api.status, {}))["needs_you"]
            assert need["text"] == 'T1 "n0" is proposed, with 3 more of its plan'
            assert need["command"] == "ostinato tasks show T1 --tree"

    run(story())


def test_whoever_adds_what_is_there_is_told_so_and_names_that_nobody_has_are_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            wish = {"title": "Call Bob", "agent": "clerk"}
            for more in ({"key": "bob"}, {"delegation": "bob"}, {"draft": True}):
                told = [(await made.call(tasks_api.add, {**wish, **more})) for _ in range(2)]
                assert [each["existed"] for each in told] == [False, True]
                assert told[0]["id"] == told[1]["id"]
            assert not (await made.call(tasks_api.add, wish))["existed"]
            with pytest.raises(NotFound, match="'clrk'"):
                await made.call(tasks_api.add, {**wish, "deliver": "agent:clrk"})
            two_ways = {"after": [told[0]["id"], f"{told[0]['id']}:failure"]}
            with pytest.raises(Invalid, match="waited for in two ways"):
                await made.call(tasks_api.add, {**wish, **two_ways})
            for wrong, said in (({"model": "cheep"}, "Did you mean 'cheap'"), ({"skills": [""]}, "skills")):
                with pytest.raises(Invalid, match=said):
                    await made.call(tasks_api.add, {**wish, **wrong})

    run(story())


def test_what_an_agent_did_last_is_shown_however_much_it_did_before(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            new = NewTask(kind=TaskKind.GOAL, title="x", agent="clerk")

            def many(tx: Tx) -> None:
                for _ in range(600):
                    tx.add_task(new, now=NOW)

            await made.store.run(many)
            recent = (await made.call(agents_api.show, {"agent": "clerk"}))["recent"]
            assert (len(recent), recent[-1]["task"]) == (12, "T600")

    run(story())


def test_why_walks_from_a_parent_through_the_child_to_its_question(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            parent = await add(made, "parent")

            def ask(tx: Tx) -> str:
                node = tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=NOW)
                new = NewTask(kind=TaskKind.GOAL, title="child", agent="billing", parent=int(parent[1:]))
                child = tx.add_task(new, now=NOW)
                for task in tx.claim(ClaimRequest(node=node.id, most=2), now=NOW):
                    claim, asked = Claim(task=task.id, token=task.token), child.id == task.id
                    wait = Wait(kind=WaitKind.CHILD, refs=(child.name,))
                    if asked:
                        question = NewQuestion(
                            kind=QuestionKind.ASK, text="which?", agent="billing", task=child.id, session=""
                        )
                        wait = Wait(kind=WaitKind.QUESTION, refs=(tx.ask(question, now=NOW).name,))
                    tx.finish(claim, Park(wait=wait, reason="waits"), now=NOW)
                return child.name

            child = await made.store.run(ask)
            told = (await made.call(task_story_api.why, {"task": parent}))["lines"]
            assert [each["task"] for each in told] == [parent, child, child]
            assert (await made.call(tasks_api.show, {"task": parent}))["children"] == [child]
            assert "it asks Q1" in told[-1]["text"]

    run(story())


def test_what_a_task_cost_stands_beside_its_title_and_its_session_and_children_are_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path) as made:
            lines = (await made.call(cost_api.show, {"by": "task"}))["lines"]
            titles = {
                each["id"]: each["title"] for each in (await made.call(tasks_api.list_tasks, {"all": True}))["tasks"]
            }
            assert lines
            assert {each["name"]: each["title"] for each in lines} == {
                each["name"]: titles[each["name"]] for each in lines
            }
            task = lines[0]["name"]
            child = NewTask(kind=TaskKind.TURN, title="child", agent="clerk", parent=int(task[1:]))
            found = (await made.store.run(lambda tx: tx.add_task(child, now=NOW))).name
            for query, wanted in ((f"session:task:{task[1:]}", task), (f"parent:{task.lower()}", found)):
                listed = (await made.call(tasks_api.list_tasks, {"query": query}))["tasks"]
                assert [each["id"] for each in listed] == [wanted], query

    run(story())


@pytest.mark.slow
def test_what_is_shown_as_possible_can_be_typed_and_nothing_else(tmp_path: Path) -> None:
    """Of tasks in every state that a person meets."""
    verbs: dict[str, AnyRoute] = {
        "tasks approve": tasks_api.approve,
        "tasks reject": tasks_api.reject,
        "tasks cancel": tasks_api.cancel,
        "tasks retry": tasks_api.retry,
        "dead dismiss": dead_api.dismiss,
    }

    async def refused(made: Ground, route: AnyRoute, task: str) -> Conflict | None:
        try:
            await made.call(route, {"task": task, "reason": "why"})
        except Conflict as refusal:
            return refusal
        return None

    async def story(verb: str, folder: Path) -> None:
        async with ground(folder) as made:
            first = await add(made, "runs")
            then = await add(made, "waits for it", after=(first,))
            for task in (then, first, *(f"T{number}" for number in range(7, 0, -1))):
                shown = (await made.call(tasks_api.show, {"task": task}))["possible"]
                typed = {each.split(" --reason")[0] for each in shown}
                refusal = await refused(made, verbs[verb], task)
                assert (refusal is None) is (f"ostinato {verb} {task}" in typed), f"{verb} {task}"
                assert refusal is None or refusal.cure

    for number, verb in enumerate(verbs):
        run(story(verb, tmp_path / str(number)))


def test_a_task_shows_its_budget_its_input_and_what_to_type(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path) as made:
            given = {"customer": "Ann", "list": ["x" * 40] * 50}
            task = await add(made, "pay", budget=0.25, input=given)
            view = await tasks_api.show.handler(made.context, tasks_api.WhichTask(task=task))
            assert view.budget is not None
            assert (view.budget.usd, view.budget.used_usd, view.budget.tokens) == (0.25, 0.0, None)
            assert view.input == given
            output = io.StringIO()
            show_task(Screen(output, terminal=False), view)
            assert "$0 of $0.2500, with all that it sets off" in output.getvalue()
            assert 'input     {"customer": "Ann", "list": ["xx' in output.getvalue()
            assert "all with --json" in output.getvalue()
            assert max(map(len, output.getvalue().splitlines())) < 500
            assert f"→ ostinato tasks cancel {task}" in output.getvalue()
            limited = await made.call(tasks_api.show, {"task": "T7"})
            assert "ostinato tasks retry T7 --more" in limited["possible"]
            assert limited["budget"] is None

    run(story())
