"""Answers from earlier results: the same question in the same surroundings, for a while, and never in the place of a
deed."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from ostinato.domain.event import EventName
from ostinato.domain.recall import Surroundings, may_answer_others, recall_key
from ostinato.domain.step import Effect, Entry, Input, ModelAnswer, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Task, TaskState
from ostinato.domain.values import SECOND, Trust
from ostinato.store.port import EventFilter, Retention
from tests.agents.fleet import Fleet, running
from tests.agents.test_turns import files
from tests.conftest import run

SCRIPT = """
rules:
  - when: {tool: files.read}
    text: "it says {result|excerpt:20}"
  - when: {tool: files.write}
    text: "written"
  - when: {user: look}
    calls: [{tool: files.read, args: {path: SOUL.md}}]
  - when: {user: write}
    calls: [{tool: files.write, args: {path: out/x.txt, text: x}}]
default: {text: "answer: {user|excerpt:200}"}
"""
HOUR_S = 3_600.0


async def ask(fleet: Fleet, text: str = "How much?", **more: object) -> Task:
    """A goal that may be answered from what is known, once it has ended."""
    more.setdefault("cache_s", HOUR_S)
    task = await fleet.goal("helper", text, **more)
    ended = await fleet.until(task.id)
    assert ended.state is TaskState.DONE
    return ended


def source(task: Task) -> int | None:
    assert task.result is not None
    return task.result.source


def test_an_equal_task_is_answered_at_no_cost_and_says_from_where(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SCRIPT)) as fleet:
            first = await ask(fleet)
            second = await ask(fleet)
            assert source(first) is None
            assert source(second) == first.id
            assert second.result is not None
            assert first.result is not None
            assert second.result.text == first.result.text
            assert (second.usd_micros, second.tokens, second.attempts) == (0, 0, 1)
            told = EventFilter(names=frozenset({EventName.TASK_ANSWERED}))
            (event,) = await fleet.store.read(lambda reads: reads.events(told))
            assert (event.task, event.data["source"]) == (second.id, first.name)
            assert await fleet.store.read(lambda reads: reads.hits(since_at=0)) == (1, first.usd_micros)
            third = await ask(fleet)
            assert source(third) == first.id, "an answer that was recalled makes no new one"

            assert source(await ask(fleet, "How little?")) is None
            assert source(await ask(fleet, input={"sum": 3})) is None
            assert source(await ask(fleet, requester="bob")) is None, "what one may be told, another may not"
            fresh = await ask(fleet, fresh=True)
            assert source(fresh) is None
            assert source(await ask(fleet)) == fresh.id, "the newest counts"
            assert source(await ask(fleet, cache_s=None)) is None, "nobody has said that it may"

            (fleet.folder / "agents/helper/SOUL.md").write_text("You help, gladly.")
            changed = await ask(fleet)
            assert source(changed) is None, "another agent answers now"

            fleet.clock.ahead = round(HOUR_S + 1) * SECOND
            late = await ask(fleet)
            assert source(late) is None
            keep, now = Retention(tasks_s=None), fleet.clock.now() + round(HOUR_S + 1) * SECOND
            assert await fleet.store.run(lambda tx: tx.prune(keep, now=now)) > 0
            assert source(await ask(fleet)) is None

    run(story())


def test_only_a_turn_that_has_read_and_nothing_else_answers_others(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SCRIPT)) as fleet:
            looked = await ask(fleet, "look")
            assert source(await ask(fleet, "look")) == looked.id
            await ask(fleet, "write")
            (fleet.folder / "agents/helper/out/x.txt").unlink()
            assert source(await ask(fleet, "write")) is None
            assert (fleet.folder / "agents/helper/out/x.txt").exists()

    run(story())


def test_what_strangers_wrote_stays_theirs_when_it_is_recalled(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SCRIPT)) as fleet:
            first = await ask(fleet, trust=Trust.EXTERNAL)
            second = await ask(fleet, trust=Trust.EXTERNAL)
            assert source(second) == first.id
            assert second.result is not None
            assert second.result.trust is Trust.EXTERNAL
            assert source(await ask(fleet)) is None, "nobody who is trusted is answered with it"

    run(story())


READ = ToolIntent(call_id="c", tool="files.read", effect=Effect.READ, arguments={}, key="k")
ENTRIES = st.sampled_from(
    [
        Input(files={"SOUL.md": "x"}, agent_version="1"),
        ModelAnswer(call=1, model="m"),
        READ,
        ToolOutcome(call_id="c", tool="files.read", status=ResultStatus.OK),
    ]
)
DEEDS = st.sampled_from(
    [
        *(replace(READ, effect=each) for each in Effect if each is not Effect.READ),
        replace(READ, tool="http.get"),
        Input(messages=(7,)),
        ToolOutcome(call_id="c", tool="files.read", status=ResultStatus.UNKNOWN),
        ToolOutcome(call_id="c", tool="files.read", status=ResultStatus.PENDING),
    ]
)


@given(st.lists(ENTRIES), st.lists(DEEDS, max_size=1), st.randoms())
def test_one_deed_among_any_number_of_readings_is_enough(
    readings: list[Entry], deeds: list[Entry], chance: object
) -> None:
    journal = [*readings, *deeds]
    chance.shuffle(journal)  # type: ignore[attr-defined]  # a random.Random
    assert may_answer_others(journal, lambda tool: tool == "http.get") is not bool(deeds)


def test_a_key_tells_apart_whatever_an_answer_depends_on(tmp_path: Path) -> None:
    around = Surroundings(agent="a", files={"SOUL.md": "1"}, model="m", tools="t")
    others = [
        replace(around, agent="b"),
        replace(around, files={"SOUL.md": "2"}),
        replace(around, files={"SOUL.md": "1", "TOOLS.md": "1"}),
        replace(around, model="n"),
        replace(around, effort="high"),
        replace(around, tools="u"),
    ]

    async def story() -> None:
        async with running(tmp_path, files(SCRIPT)) as fleet:
            task = await ask(fleet)
            spec = task.spec
            asked = [
                replace(spec, goal="else"),
                replace(spec, input={"a": 1}),
                replace(spec, requester="bob"),
                replace(spec, trust=Trust.EXTERNAL),
                replace(spec, private=True),
                replace(spec, within=("a",)),
                replace(spec, tools=("files.read",)),
            ]
            keys = [recall_key(task, each) for each in (around, *others)]
            keys += [recall_key(replace(task, spec=each), around) for each in asked]
            assert len(set(keys)) == len(keys)

    run(story())
