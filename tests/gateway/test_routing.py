"""Which agent gets a task: by the fleet's file, its project, its rules and its own word; told line by line."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import pytest

from ostinato.domain.errors import Invalid
from ostinato.domain.event import EventName
from ostinato.domain.ledger import Charge
from ostinato.domain.routing import Record
from ostinato.domain.task import Done, Fail, NewTask, TaskKind, TaskResult, TaskSpec
from ostinato.domain.values import SECOND
from ostinato.gateway import agents_api, task_story_api, tasks_api
from ostinato.store.port import Claim, ClaimRequest, EventFilter, Tx
from ostinato.store.sqlite import open_store
from ostinato.tools.port import Colleague
from ostinato.tools.router import RECORDS_AT_ONCE, Router
from ostinato.workspace.fleet_file import read_fleet
from ostinato.workspace.init import add_agent
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground

ROUTING = """
[routing]
policy = "least_loaded"
projects = {acme = "cheapest"}

[[routing.rules]]
when = "task.type == 'poem' && task.input_missing == ''"
policy = "fastest"
"""
RULES = """
[routing]
projects = {acme = "cheapest"}

[[routing.rules]]
when = "int(task.title) > 0"
policy = "best"

[[routing.rules]]
when = "task.project == 'legal'"
agent = "dear"

[[routing.rules]]
when = "task.type == 'gone'"
agent = "nobody"
"""


def with_rules(folder: Path, text: str = "") -> None:
    """Three agents with one skill, and what the fleet's file says of them."""
    for each in ("cheap", "dear", "quick"):
        add_agent(folder, each, purpose="x", skills=["refunds"])
    with (folder / "ostinato.toml").open("a") as file:
        file.write(text)


def a_past(tx: Tx) -> None:
    """`cheap` has spent little, and failed twice; `dear` did it well for much; `quick` in no time."""
    node = tx.start_node(pid=1, host="here", version="1", lease_s=100.0, exclusive=True, now=NOW).id
    for agent, micros, seconds, fails in [
        ("cheap", 100, 60, True),
        ("dear", 9_000, 60, False),
        ("quick", 5_000, 1, False),
    ]:
        for number in range(3):
            tx.add_task(NewTask(kind=TaskKind.GOAL, title="x", agent=agent, type="refund"), now=NOW)
            (task,) = tx.claim(ClaimRequest(node=node), now=NOW)
            tx.charge(Charge(task=task.id, agent=agent, session="", trigger="operator", call=1, provider="", model="m",
                             status=200, usd_micros=micros), now=NOW)  # fmt: skip
            ending = Fail(error="no") if fails and number else Done(result=TaskResult(text="yes"))
            tx.finish(Claim(task=task.id, token=task.token), ending, now=NOW + seconds * SECOND)


async def fleet_with(made: Ground, text: str = "", *, past: bool = True) -> None:
    with_rules(made.folder, text)
    made.context.router = Router(read_fleet(made.folder).routing)
    if past:
        await made.store.run(a_past)


async def added(made: Ground, **more: Any) -> dict[str, Any]:
    task: dict[str, Any] = await made.call(
        tasks_api.add, {"title": "Refund", "skills": ["refunds"], "type": "refund", **more}
    )
    return task


@pytest.mark.slow
def test_the_policy_of_a_task_goes_before_rules_projects_and_the_fleet(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            await fleet_with(made, RULES)
            chosen = {policy: (await added(made, policy=policy))["agent"] for policy in ("cheapest", "fastest")}
            assert chosen == {"cheapest": "cheap", "fastest": "quick"}
            assert (await added(made, policy="best"))["agent"] in ("dear", "quick")
            assert (await added(made, project="acme"))["agent"] == "cheap"
            assert (await added(made, project="legal"))["agent"] == "dear"
            assert (await added(made, project="legal", policy="cheapest"))["agent"] == "cheap"
            with pytest.raises(Invalid, match="policy 'best_of'"):
                await added(made, policy="best_of")

    run(look())


def test_a_rule_that_cannot_be_judged_or_names_nobody_who_could_is_passed_over_with_an_event(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            await fleet_with(made, RULES)
            assert (await added(made, type="gone"))["agent"] in ("cheap", "dear", "quick")
            missed = await made.store.read(lambda tx: tx.events(EventFilter(names=frozenset({EventName.RULE_MISSED}))))
            assert [each.reason.split(":")[0] for each in missed] == ["ostinato.toml"] * 2
            assert "nobody is no agent that could do it" in missed[1].reason

    run(look())


def test_rules_are_checked_when_the_file_is_read(tmp_path: Path) -> None:
    for text, said in [
        (ROUTING, "input_missing"),
        ('[routing]\npolicy = "cheap"', "'cheap'"),
        ("[routing.weights]\nload = 0\ncost = 0\ntime = 0\nfailures = 0\nchange = 0", "Every weight is 0"),
        ('[[routing.rules]]\nwhen = "true"', "a policy or an agent"),
        ('[[routing.rules]]\npolicy = "best"', "does not say when"),
        ("[routing.weights]\nluck = 1", "luck"),
    ]:
        (tmp_path / "ostinato.toml").write_text(text)
        with pytest.raises(Invalid, match=said):
            read_fleet(tmp_path)


def test_an_explanation_lists_each_candidate_with_its_figures(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            await fleet_with(made)
            add_agent(made.folder, "half", purpose="x", skills=["mail"])
            await made.store.run(lambda tx: tx.set_flag("agent:quick", "halted", actor="ann", reason="", now=NOW))
            task = await added(made, skills=["refunds"])
            told = await made.call(task_story_api.explain, {"task": task["id"]})
            assert [each["agent"] for each in told["candidates"]][-1] == "quick", "it cannot work now"
            assert {each["agent"] for each in told["candidates"]} == {"cheap", "dear", "quick"}
            assert [each["agent"] for each in told["candidates"] if each["chosen"]] == [task["agent"]]
            words = "\n".join(told["lines"])
            for said in ("2 of its last 3 failed", "$0.0090 a task", "60.0 s a task", "halted", "score", "balanced"):
                assert said in words, words

    run(look())


def test_whoever_did_what_a_task_needs_is_asked_first_among_equals(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            await fleet_with(made, "[routing]\nweights = {load = 0, cost = 0, time = 0, failures = 0, change = 1}")
            first = await added(made, agent="quick")
            assert (await added(made, after=[first["id"]]))["agent"] == "quick"
            assert (await added(made))["agent"] == "cheap", "the first by name, where nothing tells them apart"

    run(look())


def test_an_agent_without_money_today_is_asked_last(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            await fleet_with(made)
            (made.folder / "agents/cheap/AGENTS.md").write_text(
                "---\nskills: [refunds]\nlimits: {per_day: {usd: 0.01}}\n---\n"
            )
            await made.store.run(
                lambda tx: tx.reserve(
                    agent="cheap", usd_micros=10_000, limit_usd_micros=10_000, fleet_limit_usd_micros=None, now=NOW
                )
            )
            task = await added(made, policy="cheapest")
            assert task["agent"] == "quick"
            told = await made.call(task_story_api.explain, {"task": task["id"]})
            assert "no money left today" in told["candidates"][-1]["reasons"]

    run(look())


def test_a_scaled_agent_counts_as_many_and_its_files_are_not_forgotten(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            await fleet_with(made, '[routing]\npolicy = "least_loaded"', past=False)
            scaled = await made.call(agents_api.scale, {"agent": "quick", "instances": 4, "reason": "month's end"})
            assert (scaled["concurrency"], scaled["files_say"]) == (4, 1)
            for each in ("cheap", "dear", "quick"):
                await added(made, agent=each)
            assert [(await added(made))["agent"] for _ in range(4)] == ["quick"] * 3 + ["cheap"]
            assert (await made.call(agents_api.show, {"agent": "quick"}))["concurrency"] == 4
            (event,) = await made.store.read(
                lambda tx: tx.events(EventFilter(names=frozenset({EventName.AGENT_SCALED})))
            )
            assert (event.actor, event.reason) == ("ann", "month's end")
            assert [each for each in await made.store.read(lambda tx: tx.audit()) if "agent.scaled" in each.body]
            assert (await made.call(agents_api.scale, {"agent": "quick"}))["concurrency"] == 1

    run(look())


def test_a_draft_that_nobody_could_do_is_routed_when_it_is_approved(tmp_path: Path) -> None:
    async def look() -> None:
        async with ground(tmp_path / "fleet", past=False) as made:
            draft = await added(made, skills=["latin"], draft=True)
            assert draft["agent"] is None
            add_agent(made.folder, "scholar", purpose="x", skills=["latin"])
            approved = await made.call(tasks_api.approve, {"task": draft["id"]})
            assert (approved["agent"], approved["state"]) == ("scholar", "ready")

    run(look())


def test_however_many_could_do_it_few_of_their_pasts_are_looked_up_again_for_one_task() -> None:
    asked: list[str] = []
    seconds = [0.0]

    class Looked:
        """The transaction, with an ear for what is asked of it."""

        def __init__(self, tx: Tx) -> None:
            self._tx = tx

        def __getattr__(self, verb: str) -> Any:
            return getattr(self._tx, verb)

        def agent_record(self, agent: str, task_type: str) -> Record:
            asked.append(agent)
            return self._tx.agent_record(agent, task_type)

    agents = [Colleague(id=f"a{number}", skills=("latin",)) for number in range(60)]
    new = NewTask(kind=TaskKind.GOAL, title="read Cicero", spec=TaskSpec(skills=("latin",)))
    router = Router(elapsed_s=lambda: seconds[0])

    async def look() -> None:
        store = open_store(None)
        try:
            for wait_s in (0.0, 1.0, 10.0, 10.0, 10.0, 10.0):
                seconds[0] += wait_s
                await store.run(lambda tx: router.place(cast("Tx", Looked(tx)), new, agents, now=NOW))
                asked.append("|")
        finally:
            await store.close()

    run(look())
    first, at_once, *later = "".join(f"{each} " for each in asked).split("|")[:-1]
    assert len(first.split()) == 60, "nothing was known"
    assert not at_once.split()
    assert [len(each.split()) for each in later] == [RECORDS_AT_ONCE] * 4
    assert len({each for names in later for each in names.split()}) == 60, "those known longest first"
