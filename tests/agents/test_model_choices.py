"""Whom turns ask: rules, chains, breakers and escalation, each choice in the journal with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import pytest

from ostinato.agents.model_choices import ModelChoices, is_down
from ostinato.domain.breaker import Breaker, BreakerRule, BreakerState
from ostinato.domain.budget import Spend
from ostinato.domain.event import EventName
from ostinato.domain.ledger import day_of
from ostinato.domain.question import Answer, QuestionState
from ostinato.domain.step import Chosen, ModelIntent
from ostinato.domain.task import TaskState
from ostinato.domain.values import SECOND
from ostinato.engine.breakers import Breakers
from ostinato.models.port import ModelFailed
from ostinato.store.port import EventFilter, QuestionFilter
from tests.agents.fleet import DONE, ENDED, PARKED, Fleet, running, write_fleet
from tests.conftest import run

MODELS = """
[fleet]
model = "cheap"
[models.small]
provider = "scripted"
script = "small.yaml"
in_process = true
[models.other]
provider = "scripted"
script = "other.yaml"
in_process = true
[models.large]
provider = "scripted"
script = "large.yaml"
in_process = true
price = { input = 1, output = 2 }
"""

TIERS = """
[tiers]
cheap = ["small", "other", "strong"]
strong = "large"
"""

BUSY = "default: {fault: {status: 503, retry_after: 60}}"
"""A longer wait than a call waits: it fails at once."""


def says(text: str) -> str:
    return f'default: {{text: "{text}"}}'


def fleet_files(toml: str = MODELS + TIERS, *, agents: str = "", **scripts: str) -> Mapping[str, str]:
    spoken = {"small": says("from small"), "other": says("from other"), "large": says("from large"), **scripts}
    return {
        "ostinato.toml": toml,
        "agents/helper/SOUL.md": "You help.",
        "agents/helper/AGENTS.md": agents or "You help.",
        "agents/helper/TOOLS.md": "---\nallow: [files.read, finish]\n---\n",
        "model.yaml": says("nobody asks this one"),
        **{f"{name}.yaml": script for name, script in spoken.items()},
    }


async def intents(fleet: Fleet, task: int) -> list[tuple[int, str, str]]:
    """Call, model and why of each intent."""
    found = [each for each in await fleet.journal(task) if isinstance(each, ModelIntent)]
    return [(each.call, each.model, each.chosen.value) for each in found]


async def last(fleet: Fleet, task: int) -> ModelIntent:
    return [each for each in await fleet.journal(task) if isinstance(each, ModelIntent)][-1]


async def result(fleet: Fleet, text: str = "a goal", **more: object) -> tuple[int, str]:
    """A goal's number and the text that it ends with."""
    goal = await fleet.goal("helper", text, **more)
    done = await fleet.until(goal.id, DONE)
    assert done.result is not None
    return goal.id, done.result.text


async def failed_once(fleet: Fleet, task: int) -> None:
    """Waits until an attempt of a task has failed."""

    async def failed() -> bool:
        return (await fleet.store.read(lambda reads: reads.task(task))).failures == 1

    await fleet.wait(failed)


async def put(fleet: Fleet, breaker: Breaker) -> None:
    await fleet.store.run(lambda tx: tx.put_breaker(breaker.name, breaker, now=fleet.clock.now()))


def opened(name: str, fleet: Fleet, *, for_s: float = 60.0) -> Breaker:
    until_at = fleet.clock.now() + round(for_s * SECOND)
    return Breaker(name=name, state=BreakerState.OPEN, failures=5, opened=1, until_at=until_at, reason="it was down")


def test_the_first_model_of_the_tier_is_asked(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files()) as fleet:
            task, text = await result(fleet)
            assert text == "from small"
            intent = await last(fleet, task)
            assert (intent.model, intent.wanted, intent.chosen, intent.why) == ("small", "", Chosen.ASKED, "")

    run(story())


def test_a_rule_goes_before_what_the_agent_says_and_a_task_before_a_rule(tmp_path: Path) -> None:
    rules = """
[[tiers.rules]]
when = "task.skills[5] == 'x'"
tier = "other"
[[tiers.rules]]
when = "task.goal.contains('contract') && trigger == 'operator'"
tier = "strong"
effort = "high"
"""

    async def story() -> None:
        files = fleet_files(MODELS + TIERS + rules, agents="---\nmodel: other\neffort: low\n---\n")
        async with running(tmp_path, files) as fleet:
            task, text = await result(fleet, "read the contract")
            intent = await last(fleet, task)
            assert (text, intent.chosen, intent.wanted, intent.effort) == ("from large", Chosen.RULE, "strong", "high")
            assert "contract" in intent.why
            task, text = await result(fleet, "read the mail")
            intent = await last(fleet, task)
            assert (text, intent.chosen, intent.wanted, intent.effort) == ("from other", Chosen.ASKED, "other", "low")
            task, text = await result(fleet, "the contract", model="small", effort="medium")
            intent = await last(fleet, task)
            assert (text, intent.chosen, intent.wanted, intent.effort) == (
                "from small", Chosen.ASKED, "small", "medium",
            )  # fmt: skip
            which = EventFilter(names=frozenset({EventName.RULE_MISSED}))
            missed = await fleet.store.read(lambda reads: reads.events(which))
            assert [each.task for each in missed] == [1, 2], "a task that names its model asks no rule"
            assert "tiers.rules[1].when" in missed[0].reason

    run(story())


def test_a_model_that_cannot_be_had_is_replaced_within_the_same_call(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files(small=BUSY, other=BUSY)) as fleet:
            task, text = await result(fleet)
            assert text == "from large"
            assert await intents(fleet, task) == [
                (1, "small", "asked"),
                (1, "other", "fallback"),
                (1, "large", "fallback"),
            ]
            intent = await last(fleet, task)
            assert intent.why.startswith("instead of other: the server answered 503")
            charges = await fleet.store.read(lambda reads: reads.charges(task))
            assert [(each.call, each.status) for each in charges] == [(1, 503), (1, 503), (1, 200)]

    run(story())


def test_a_turn_keeps_the_model_that_took_over(tmp_path: Path) -> None:
    reads = """
rules: [{when: {tool: files.read}, text: "read by other"}]
default: {calls: [{tool: files.read, args: {path: SOUL.md}}]}
"""

    async def story() -> None:
        files = fleet_files(small=BUSY, other=reads, agents="---\neffort: high\n---\n")
        async with running(tmp_path, files) as fleet:
            task, text = await result(fleet)
            assert text == "read by other"
            efforts = [each.effort for each in await fleet.journal(task) if isinstance(each, ModelIntent)]
            assert efforts == ["high"] * 3, "whoever is asked thinks as hard as the turn wants"
            assert await intents(fleet, task) == [
                (1, "small", "asked"),
                (1, "other", "fallback"),
                (2, "other", "asked"),
            ]

    run(story())


def test_where_nobody_is_left_the_task_is_tried_again_later(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files(small=BUSY, other=BUSY, large=BUSY)) as fleet:
            goal = await fleet.goal("helper", "a goal")
            await failed_once(fleet, goal.id)
            due_at = await fleet.store.read(lambda reads: reads.next_due_at())
            assert due_at is not None
            assert due_at - fleet.clock.now() > 50 * SECOND, "as long as they asked for"
            assert len(await intents(fleet, goal.id)) == 3

    run(story())


def test_money_set_aside_for_a_model_that_could_not_be_had_is_given_back(tmp_path: Path) -> None:
    toml = MODELS + '[tiers]\ncheap = ["large", "small"]\n[limits]\nper_day = { usd = 1 }\n'

    async def story() -> None:
        async with running(tmp_path, fleet_files(toml, large=BUSY)) as fleet:
            task, text = await result(fleet)
            assert text == "from small"
            first, second = [each for each in await fleet.journal(task) if isinstance(each, ModelIntent)]
            assert first.reserved_usd_micros > 10_000
            assert second.reserved_usd_micros == 0
            now = fleet.clock.now()
            await fleet.store.run(  # all of the day's money is there again
                lambda tx: tx.reserve(
                    agent="helper", usd_micros=1_000_000, limit_usd_micros=1_000_000, fleet_limit_usd_micros=None,
                    now=now,
                )
            )  # fmt: skip

    run(story())


MALFORMED = 'default: {calls: [{tool: files.read, raw: "{"}]}'


def test_a_stronger_model_takes_over_once_repairs_have_failed(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files(small=MALFORMED)) as fleet:
            task, text = await result(fleet)
            assert text == "from large"
            chosen = [(1, "small", "asked"), (2, "small", "asked"), (3, "small", "asked"), (4, "large", "escalation")]
            assert await intents(fleet, task) == chosen
            assert (await last(fleet, task)).why == "the replies of small stayed malformed"

    run(story())


@pytest.mark.slow
def test_a_stronger_model_takes_over_once_and_not_where_the_fleet_says_no(tmp_path: Path) -> None:
    async def story(folder: Path, toml: str, calls: int) -> None:
        async with running(folder, fleet_files(toml, small=MALFORMED, large=MALFORMED)) as fleet:
            goal = await fleet.goal("helper", "a goal")
            failed = await fleet.until(goal.id, ENDED)
            assert failed.state is TaskState.FAILED
            assert failed.result is not None
            assert "stayed malformed" in failed.result.error
            assert len(await intents(fleet, goal.id)) == calls

    run(story(tmp_path / "a", MODELS + TIERS, 6))
    run(story(tmp_path / "b", MODELS + TIERS + "escalate = false", 3))
    run(story(tmp_path / "c", MODELS + '[tiers]\ncheap = "small"', 3))


def test_a_model_whose_breaker_is_open_is_passed_over(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files(), start=False) as fleet:
            await put(fleet, opened("model:small", fleet))
            await fleet.node.start()
            task, text = await result(fleet)
            assert text == "from other"
            intent = await last(fleet, task)
            assert (intent.chosen, intent.why) == (
                Chosen.FALLBACK, "instead of small: model small is in trouble: it was down",
            )  # fmt: skip

    run(story())


def test_where_every_breaker_is_open_a_task_waits_for_the_first_and_probes_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files(), start=False) as fleet:
            for name, for_s in (("small", 60.0), ("other", 90.0), ("large", 120.0)):
                await put(fleet, opened(f"model:{name}", fleet, for_s=for_s))
            await fleet.node.start()
            goal = await fleet.goal("helper", "a goal")
            parked = await fleet.until(goal.id, PARKED)
            assert parked.wait is not None
            assert parked.wait.until_at is not None
            assert 50 * SECOND < parked.wait.until_at - fleet.clock.now() <= 60 * SECOND
            assert parked.reason == "no model can be had: model small is in trouble: it was down"
            fleet.clock.ahead += 61 * SECOND
            now = fleet.clock.now()
            await fleet.store.run(lambda tx: tx.rescue(now=now))
            done = await fleet.until(goal.id, DONE)
            assert done.result is not None
            assert done.result.text == "from small"
            left = await fleet.store.read(lambda reads: reads.breakers())
            assert [each.name for each in left] == ["model:large", "model:other"], "the probe came back"

    run(story())


def test_a_model_that_asks_to_be_left_alone_is_asked_by_no_other_task(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files(small=BUSY)) as fleet:
            task, _ = await result(fleet)
            assert [model for _, model, _ in await intents(fleet, task)] == ["small", "other"]
            (breaker,) = await fleet.store.read(lambda reads: reads.breakers())
            assert (breaker.name, breaker.state, breaker.failures) == ("model:small", BreakerState.OPEN, 1)
            assert breaker.until_at - fleet.clock.now() > 50 * SECOND, "as long as it asked for"
            for _ in range(2):
                task, _ = await result(fleet)
                assert await intents(fleet, task) == [(1, "other", "fallback")]
            which = EventFilter(names=frozenset({EventName.BREAKER_OPENED}))
            (told,) = await fleet.store.read(lambda reads: reads.events(which))
            assert (told.data["breaker"], told.task) == ("model:small", 1)

    run(story())


@pytest.mark.slow
def test_a_resumed_call_asks_the_model_that_it_had_chosen_unless_that_is_gone(tmp_path: Path) -> None:
    async def story(folder: Path, toml: str, expected: str) -> None:
        only = MODELS + '[tiers]\ncheap = "small"\n'
        first = Fleet(write_fleet(folder, fleet_files(only, small=BUSY)), state=folder / "state")
        await first.node.start()
        goal = await first.goal("helper", "a goal")
        await failed_once(first, goal.id)
        await first.node.stop()
        await first.store.close()
        write_fleet(folder, {"ostinato.toml": toml, "small.yaml": says("from small")})
        second = Fleet(folder, state=folder / "state")
        second.clock.ahead = 61 * SECOND
        await second.node.start()
        done = await second.until(goal.id, DONE)
        assert done.result is not None
        assert done.result.text == expected
        await second.node.stop()
        await second.store.close()

    swapped = MODELS + '[tiers]\ncheap = "large"\n'
    run(story(tmp_path / "a", swapped, "from small"))
    run(story(tmp_path / "b", swapped.replace("[models.small]", "[models.gone]"), "from large"))


def test_a_model_that_works_costs_no_look_into_the_store(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, fleet_files()) as fleet:
            await result(fleet)
            looks: list[str] = []

            class Counted:
                """A transaction that counts."""

                def breakers(self) -> list[Breaker]:
                    looks.append("breakers")
                    return []

            breakers, tx, now = Breakers(), Counted(), fleet.clock.now()
            for number in range(1_000):
                at = now + number
                assert breakers.admit(tx, ("model:small", "host:a"), who="T1", now=at) is None  # type: ignore[arg-type]  # all it needs
                breakers.went_well(tx, ("model:small", "host:a"), who="T1", now=at)  # type: ignore[arg-type]  # nothing of it
            assert looks == ["breakers"]

    run(story())


@pytest.mark.slow
def test_a_host_that_is_down_is_left_alone_by_all_its_models_and_one_that_answers_is_not(tmp_path: Path) -> None:
    toml = "".join(
        f'[models.{name}]\nprovider = "here"\nmodel = "{name}"\nbase_url = "http://127.0.0.1:1/v1"\n'
        for name in ("one", "two")
    )

    async def story() -> None:
        async with running(tmp_path, fleet_files(toml), start=False) as fleet:
            rule = BreakerRule(failures_max=2)
            choices = ModelChoices(fleet.models, breakers=Breakers({"model": rule, "host": rule}))
            goal, now = await fleet.goal("helper", "a goal"), fleet.clock.now()
            down = ModelFailed("the connection failed", error_class="transient")
            busy = ModelFailed("slow down", error_class="rate_limited", after_s=100.0)

            async def fails(name: str, failure: ModelFailed, *, is_down: bool) -> None:
                model = choices.model(name)
                await fleet.store.run(
                    lambda tx: choices.went_wrong(tx, model, failure, task=goal, now=now, down=is_down)
                )

            async def admitted() -> dict[str, bool]:
                return {
                    name: await fleet.store.run(lambda tx, name=name: choices.is_admitted(tx, name, task=goal, now=now))
                    for name in ("one", "two")
                }

            await fails("one", busy, is_down=False)
            await fails("one", busy, is_down=False)
            assert await admitted() == {"one": False, "two": True}
            await fails("two", down, is_down=True)
            await fails("two", down, is_down=True)
            assert await admitted() == {"one": False, "two": False}
            found = {each.name: each.state for each in await fleet.store.read(lambda reads: reads.breakers())}
            assert found["host:127.0.0.1:1"] is BreakerState.OPEN

    run(story())


@pytest.mark.parametrize(
    ("status", "after_s", "down"),
    [(0, None, True), (500, None, True), (503, None, True), (503, 9.0, False), (529, None, False), (429, None, False)],
)
def test_a_host_that_says_when_to_come_again_is_up(status: int, after_s: float | None, down: bool) -> None:
    assert is_down(ModelFailed("no", error_class="transient", after_s=after_s), status) is down


def test_a_refused_key_is_no_trouble_of_the_model(tmp_path: Path) -> None:
    wrong = "default: {fault: {status: 401}}"

    async def story() -> None:
        async with running(tmp_path, fleet_files(small=wrong)) as fleet:
            goal = await fleet.goal("helper", "a goal")
            failed = await fleet.until(goal.id, ENDED)
            assert failed.state is TaskState.FAILED
            assert await fleet.store.read(lambda reads: reads.breakers()) == []

    run(story())


def test_a_model_that_is_too_dear_to_take_over_asks_once_and_what_the_first_has_set_aside_comes_back(
    tmp_path: Path,
) -> None:
    toml = MODELS.replace('script = "small.yaml"', 'script = "small.yaml"\nprice = { input = 0.001, output = 0.001 }')
    toml += '[tiers]\ncheap = ["small", "large"]\n'
    agents = "---\nlimits: {per_call: {usd: 0.001}, per_task: {usd: 1}}\n---\n"

    async def story() -> None:
        async with running(tmp_path, fleet_files(toml, agents=agents, small=BUSY)) as fleet:
            day = day_of(fleet.clock.now())
            goal = await fleet.goal("helper", "a goal")
            await fleet.until(goal.id, PARKED)
            (question,) = await fleet.store.read(lambda reads: reads.questions(QuestionFilter()))
            assert "per_call_usd" in question.text
            answer = Answer(state=QuestionState.DENIED, by="ann")
            await fleet.store.run(lambda tx: tx.answer(question.id, answer, now=fleet.clock.now()))
            assert (await fleet.until(goal.id)).state is TaskState.FAILED
            await fleet.tell("helper", "a word")  # in a session that must go on, the turn ends with its question
            assert (await fleet.until(goal.id + 1)).state is TaskState.DONE
            for scope in ("agent:helper", "fleet"):
                account = await fleet.store.read(lambda reads, scope=scope: reads.account(scope, day))
                assert account.reserved == Spend()

    run(story())
