"""A turn on PostgreSQL whose node ends at one of its commits, before it or before anybody is told: another goes on, and
asks, reads and does nothing that it should not. Each commit from both sides with OSTINATO_CRASH=full, else from one.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Literal

import pytest

from ostinato.domain.errors import OstinatoError
from ostinato.domain.question import QuestionKind, QuestionState
from ostinato.domain.step import Effect, Entry, ModelAnswer, ToolIntent, ToolOutcome
from ostinato.domain.task import TaskKind, TaskState
from ostinato.engine import attempt
from ostinato.store.port import QuestionFilter, TaskFilter
from ostinato.store.postgres import open_postgres
from ostinato.tools.port import Arguments, OutsideTool, ToolContext, ToolResult, object_schema
from tests.agents.fleet import ENDED, PARKED, Fleet, write_fleet
from tests.agents.test_late_results import outlive
from tests.agents.test_turns import decide, files
from tests.conftest import FULL, Count, run
from tests.postgres.server import empty

SCRIPT = """
rules:
  - when: {tool: test.once}
    text: "all is done"
  - when: {tool: tasks.create}
    calls: [{tool: test.once, args: {}}]
  - when: {tool: test.again}
    calls: [{tool: tasks.create, args: {title: later, agent: nobody}}]
default: {calls: [{tool: files.read, args: {path: SOUL.md}}, {tool: test.again, args: {}}]}
"""
LEASH = {
    "agents/helper/TOOLS.md": "---\nallow: [files.read, tasks.create, test.again, test.once]\n---\n",
    "agents/helper/AGENTS.md": "---\ngates_off: [irreversible]\n---\n",
    "agents/nobody/SOUL.md": "Does nothing.",
}
COMMITS_MAX = 60
Side = Literal["before", "after"]


class Ended(BaseException):
    """The end of a node, in the middle of a commit."""


class World:
    """What was done outside: the key of each deed."""

    def __init__(self, once: Effect) -> None:
        self._once = once
        self.done: dict[str, list[str]] = {"test.again": [], "test.once": []}

    def tools(self) -> tuple[OutsideTool, ...]:
        return (self._tool("test.again", Effect.IDEMPOTENT), self._tool("test.once", self._once))

    def _tool(self, name: str, effect: Effect) -> OutsideTool:
        async def act(context: ToolContext, _arguments: Arguments) -> ToolResult:
            self.done[name].append(context.key)
            return ToolResult(text="did it")

        return OutsideTool(name=name, description=name, parameters=object_schema(), effect=effect, act=act)


async def life(folder: Path, url: str, world: World, *, dies: Callable[[str, int], bool]) -> bool:
    """One life of a node, to the end of the task or its own; True where it died. Doubts are settled with "it did"."""
    loop, over = asyncio.get_running_loop(), asyncio.Event()
    died = False

    def hook(when: str, number: int) -> None:
        nonlocal died
        if not died and dies(when, number):
            died = True
            loop.call_soon_threadsafe(over.set)
            raise Ended

    fleet = Fleet(folder, tools=world.tools(), store=open_postgres(url, hook=hook))
    try:
        await fleet.node.start()
        working = asyncio.create_task(settle(fleet))
        ended = asyncio.create_task(over.wait())
        await asyncio.wait((working, ended), return_when=asyncio.FIRST_COMPLETED)
        for each in (working, ended):
            each.cancel()
        await asyncio.gather(working, ended, return_exceptions=True)
    except OstinatoError:
        assert died, "nothing else may go wrong"
    try:
        await fleet.node.stop()
    except OstinatoError:
        assert died
    await fleet.store.close()
    await fleet.models.close()
    return died


async def settle(fleet: Fleet) -> None:
    """Waits for the end of the one task, and says of every doubt that it did happen."""
    while (await fleet.until(1, ENDED | PARKED)).state is TaskState.WAITING:
        for question in await fleet.store.read(lambda reads: reads.questions(QuestionFilter())):
            assert question.kind is QuestionKind.UNKNOWN
            await decide(fleet, question.id, QuestionState.ANSWERED, text="it did happen")
        await fleet.until(1, ENDED | {TaskState.READY, TaskState.RUNNING})


async def begin(folder: Path, url: str) -> None:
    fleet = Fleet(folder, store=open_postgres(url))
    await fleet.goal("helper", "go")
    await fleet.store.close()


def found(url: str, world: World) -> list[str]:
    """What is wrong now."""

    async def look() -> tuple[list[Entry], int, TaskState]:
        store = open_postgres(url)
        steps = await store.read(lambda reads: reads.steps(1))
        made = await store.read(lambda reads: reads.tasks(TaskFilter(agent="nobody", kinds=frozenset({TaskKind.GOAL}))))
        task = await store.read(lambda reads: reads.task(1))
        await store.close()
        return [each.entry for each in steps], len(made), task.state

    journal, made, state = run(look())
    answers = Counter(each.call for each in journal if isinstance(each, ModelAnswer))
    outcomes = Counter(each.tool for each in journal if isinstance(each, ToolOutcome))
    intents = {each.tool for each in journal if isinstance(each, ToolIntent)}
    laws = {
        "it is done": state is TaskState.DONE,
        "no reply is asked for once it is written": answers == Counter({1: 1, 2: 1, 3: 1, 4: 1}),
        "each call has one outcome": outcomes == Counter(["files.read", "test.again", "tasks.create", "test.once"]),
        "what acts on our own store happens once": made == 1,
        "what may be repeated is, under one key": len(set(world.done["test.again"])) == 1,
        "what cannot be undone is not": len(world.done["test.once"]) <= 1,
        "an intent stands before each deed": intents >= {name for name, keys in world.done.items() if keys},
    }
    return [law for law, holds in laws.items() if not holds]


@pytest.fixture(autouse=True)
def _brief_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever cannot write any more does not wait for better times."""
    monkeypatch.setattr(attempt, "RECORD_PAUSE_S", 0.01)


@pytest.mark.slow
def test_a_turn_whose_node_ends_at_any_commit_goes_on_and_repeats_nothing(
    database: str, tmp_path: Path, tell: Callable[[str], None], count: Count
) -> None:
    folder, deaths = write_fleet(tmp_path, files(SCRIPT) | LEASH), 0
    for number in range(1, COMMITS_MAX):
        sides: tuple[Side, ...] = ("before", "after") if FULL else (("before", "after")[number % 2],)
        runs = [lived(folder, database, number=number, side=side) for side in sides]
        assert not any(wrong for _, wrong in runs), f"commit {number}: {runs}"
        if not any(died for died, _ in runs):
            assert number > 10, "a turn like this has more commits"
            count({"kills": deaths, "commits": number - 1})
            tell(f"{deaths} nodes ended at one of {number - 1} commits of a turn, nothing lost, nothing repeated")
            return
        deaths += len(runs)
    raise AssertionError("it never ends")


@pytest.mark.slow
def test_the_harness_notices_a_deed_that_is_said_to_be_repeatable_and_is_not(database: str, tmp_path: Path) -> None:
    folder = write_fleet(tmp_path, files(SCRIPT) | LEASH)
    for number in range(6, COMMITS_MAX):  # the first ones come before the deed
        died, wrong = lived(folder, database, number=number, side="before", once=Effect.IDEMPOTENT)
        assert died, "nobody noticed"
        if wrong:
            assert wrong == ["what cannot be undone is not"]
            return


def lived(
    folder: Path, url: str, *, number: int, side: Side, once: Effect = Effect.IRREVERSIBLE
) -> tuple[bool, list[str]]:
    """Whether a node died at its commit of this number (False where it has none), and what is wrong in the end."""
    empty(url)
    world = World(once)

    async def story() -> bool:
        await begin(folder, url)
        died = await life(folder, url, world, dies=lambda when, at: (when, at) == (side, number))
        if died:
            await life(folder, url, world, dies=lambda _when, _at: False)
        return died

    return run(story()), found(url, world)


def test_what_a_tool_has_done_for_a_lost_claim_is_kept_as_evidence(database: str, tmp_path: Path) -> None:
    run(outlive(tmp_path, open_postgres(database)))
