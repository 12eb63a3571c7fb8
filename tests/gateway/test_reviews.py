"""People and results: who may decide about one, what is shown of it, and what much like it is there already."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.errors import Denied, Invalid, NotFound
from ostinato.domain.person import NewToken, Role, token_digest
from ostinato.domain.reviewing import review_question
from ostinato.domain.step import Submitted
from ostinato.domain.task import NewTask, Review, Task, TaskKind, TaskResult, TaskSpec, Wait, WaitKind
from ostinato.gateway import approvals_api, people_api, plans_api, status_api, task_story_api, tasks_api
from ostinato.gateway.context import Caller
from ostinato.store.port import Claim, ClaimRequest, Tx
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground

BEN = NewToken(person="ben", role=Role.OPERATOR, digest=token_digest("ost_ben"))


async def handed_in(made: Ground, *, by_agent: bool = False) -> Task:
    """A goal that Ann asked for, under review: a person's, or another agent's."""

    def write(tx: Tx) -> Task:
        node = tx.start_node(pid=1, host="h", version="v", lease_s=60.0, exclusive=True, now=NOW).id
        new = NewTask(kind=TaskKind.GOAL, title="write", agent="clerk", spec=TaskSpec(requester="ann"))
        task = tx.add_task(new, now=NOW)
        (task,) = tx.claim(ClaimRequest(node=node, most=1), now=NOW)
        claim, result = Claim(task=task.id, token=task.token), TaskResult(text="a draft")
        if by_agent:
            spec = TaskSpec(reviews=task.id, deliver="parent")
            reviewer = tx.add_task(
                NewTask(kind=TaskKind.GOAL, title="review", agent="billing", spec=spec, parent=task.id), now=NOW
            )
            entry = Submitted(round=1, by="billing", rounds=3, task=reviewer.id)
            wait = Wait(kind=WaitKind.CHILD, refs=(reviewer.name,))
        else:
            asked = tx.ask(review_question(task, result, why="so it is asked"), now=NOW)
            entry = Submitted(round=1, by="operator", rounds=3, question=asked.id)
            wait = Wait(kind=WaitKind.QUESTION, refs=(asked.name,))
        tx.record_steps(claim, (entry,), now=NOW)
        tx.add_token(BEN, actor="ann", now=NOW)
        return tx.finish(claim, Review(result=result, wait=wait), now=NOW)

    return await made.store.run(write)


def by_ben(made: Ground) -> Ground:
    return Ground(made.folder, made.store, made.context.as_caller(Caller(name="ben", role=Role.OPERATOR)))


@pytest.mark.parametrize("by_agent", [False, True])
def test_whoever_asked_for_the_work_does_not_accept_it_where_somebody_else_can(tmp_path: Path, by_agent: bool) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            task = await handed_in(made, by_agent=by_agent)
            with pytest.raises(Denied, match="ben"):
                await made.call(tasks_api.approve, {"task": task.name})
            returned = await by_ben(made).call(tasks_api.reject, {"task": task.name, "reason": "too short"})
            assert returned["state"] == "ready"
            view = await made.call(tasks_api.show, {"task": task.name})
            (verdict,) = view["review"]["verdicts"]
            assert (verdict["accepted"], verdict["by"], verdict["notes"]) == (False, "ben", "too short")
            open_ones = await made.call(approvals_api.list_questions, {})
            assert open_ones["questions"] == []

    run(story())


def test_what_waits_for_a_verdict_says_for_whose(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            task = await handed_in(made)
            (question,) = (await made.call(approvals_api.list_questions, {"kind": "review"}))["questions"]
            assert "a draft" in question["text"]
            needs = (await made.call(status_api.status, {}))["needs_you"]
            assert [each["id"] for each in needs] == [question["id"]]
            lines = (await made.call(task_story_api.explain, {"task": task.name}))["lines"]
            assert f"it waits for question {question['id']}" in lines
            shown = (await made.call(tasks_api.show, {"task": task.name}))["review"]
            assert (shown["by"], shown["round"], shown["waits_for"]) == ("operator", 1, question["id"])

    run(story())


@pytest.mark.parametrize(
    ("review", "error", "words"),
    [
        ("agent:nobody", NotFound, "nobody"),
        ("agent:clerk", Invalid, "cannot review its own work"),
        ("when:size(", Invalid, "not CEL"),
        ("somebody:x", Invalid, "Did you mean|Known|when"),
        ({"person": "operator", "agent": "billing"}, Invalid, "names"),
        ({"when": "true", "within": "1d"}, Invalid, "says nothing"),
        ({"person": "operator", "rounds": 0}, Invalid, "rounds"),
        ("{not json", Invalid, "no JSON"),
        ("person:anne", Invalid, "Unknown person 'anne'.*Did you mean 'ann'.*tokens add anne"),
        ("person:vic", Invalid, "vic may look, and decides nothing"),
        ({"person": "ann", "escalate": {"to": "bob", "after": "1h"}}, Invalid, "'bob'"),
    ],
)
def test_a_review_that_cannot_be_is_refused_when_it_is_asked_for(
    tmp_path: Path, review: Any, error: type[Exception], words: str
) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            await made.call(people_api.add, {"person": "vic", "role": "viewer"})
            with pytest.raises(error, match=words):
                await made.call(tasks_api.add, {"title": "write", "agent": "clerk", "review": review})
            planned = {"name": "a", "goal": "write", "agent": "clerk", "review": review}
            with pytest.raises(error, match=words):
                await made.call(plans_api.plan, {"plan": {"tasks": [planned]}})

    run(story())


def test_what_is_much_like_something_is_named_and_made_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            words = {"agent": "clerk", "goal": "Collect all open invoices of March and send one list to the bookkeeper"}
            first = await made.call(tasks_api.add, {"title": "Collect invoices", **words})
            again = await made.call(tasks_api.add, {"title": "Collect the invoices", **words})
            assert (first["like"], again["like"]) == ([], [first["id"]])
            task = {"name": "a", "title": "Collect invoices now", **words}
            planned = await made.call(plans_api.plan, {"plan": {"tasks": [task, {"name": "b", "goal": "Rest"}]}})
            assert [sorted(each["task"]["like"]) for each in planned["nodes"]] == [[first["id"], again["id"]], []]

    run(story())
