"""A function in the place of a turn's model: what it is told of its steps, and what its failures mean for its task."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from ostinato.agents.python_agent import PythonHandler
from ostinato.agents.unfit import Patient
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.step import LimitReached, ToolIntent
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.engine.port import Handler
from ostinato.store.port import TaskFilter
from ostinato.tools.python.family import AgentFunction
from ostinato.tools.python.worker import Call, CallFailed, Context, Refused
from ostinato.tools.python.workers import NOTHING, Given, Sources
from tests.agents.fleet import DONE, ENDED, PARKED, Fleet, write_fleet
from tests.conftest import run
from tests.crash.function import Run

Work = Callable[[Context], Awaitable[Any]]

TOOLS = "---\nallow: [message.send]\nrecipients: ['mail:*@example.com']\n---\n"
AGENT = "---\nkind: python\nfunction: file.work\nlimits: {steps: 6}\n---\n"
SOON = RetryPolicy(attempts_max=4, base_s=0.001, max_s=0.001)
LETTER = {"to": "mail:a@example.com", "subject": "S", "text": "T"}


class Functions:
    """One function, in the test's own loop."""

    def __init__(self, work: Work) -> None:
        self.work = work
        self.text = "1"
        self.given = NOTHING

    def function(self, name: str) -> AgentFunction:
        return AgentFunction(name=name, sources=Sources(texts={"file": self.text}), given=self.given, timeout_s=5.0)

    async def hire(self, function: AgentFunction, *, agent: str) -> Run:
        return Run(self.work)


class FunctionFleet(Fleet):
    """A fleet whose only agent is a function."""

    def __init__(self, folder: Path, work: Work) -> None:
        self.functions = Functions(work)
        super().__init__(folder)

    def _turns(self, kind: TaskKind) -> Handler:
        return Patient(PythonHandler(kind, leashes=self.leashes, live=self.live, functions=self.functions))

    async def work(self, states: frozenset[TaskState] = ENDED) -> Task:
        """A goal, once it has come so far."""
        task = await self.goal("helper", "work", retry=SOON, input={"n": 3})
        return await self.until(task.id, states)


@asynccontextmanager
async def fleet_of(folder: Path, work: Work) -> AsyncIterator[FunctionFleet]:
    files = {"agents/helper/SOUL.md": "", "agents/helper/AGENTS.md": AGENT, "agents/helper/TOOLS.md": TOOLS}
    fleet = FunctionFleet(write_fleet(folder, {**files, "model.yaml": "default: {text: no}"}), work)
    await fleet.node.start()
    try:
        yield fleet
    finally:
        await fleet.node.stop()
        await fleet.store.close()
        await fleet.models.close()


def error_of(task: Task) -> str:
    assert task.result is not None
    return task.result.error


def test_a_step_that_raises_is_tried_again_under_its_key_and_those_before_it_are_not(tmp_path: Path) -> None:
    done: list[str] = []
    keys: list[tuple[str, bool]] = []

    async def fragile(call: Call) -> int:
        keys.append((call.key, call.repeated))
        if len(keys) < 3:
            raise OSError("not yet")
        return 7

    def first() -> int:
        done.append("first")
        return int(ctx_input[0])

    ctx_input: list[int] = []

    async def work(context: Context) -> list[int]:
        ctx_input.append(context.input["n"])
        return [await context.once("first", first), await context.once("fragile", fragile, effect="idempotent")]

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            ended = await fleet.work()
            assert ended.state is TaskState.DONE, ended
            assert ended.result is not None
            assert ended.result.data == {"value": [3, 7]}
            assert done == ["first"]
            assert len({key for key, _ in keys}) == 1
            assert [repeated for _, repeated in keys] == [False, True, True]
            intents = [each.tool for each in await fleet.journal(ended.id) if isinstance(each, ToolIntent)]
            assert intents == ["once", "once", "finish"]

    run(story())


def test_what_breaks_off_for_good_is_unknown_and_what_refuses_is_kept_and_fails_at_once(tmp_path: Path) -> None:
    calls: list[str] = []

    def breaks() -> None:
        calls.append("breaks")
        raise OSError("half of it")

    def refuses() -> None:
        calls.append("refuses")
        raise Refused("closed")

    async def work(context: Context) -> None:
        try:
            await context.once("breaks", breaks)
        except CallFailed as failed:
            calls.append(failed.status)
        if len(calls) < 3:
            raise OSError("once more, from the start")
        await context.once("refuses", refuses, effect="read")

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            ended = await fleet.work()
            assert (ended.state, error_of(ended)) == (TaskState.FAILED, "file.work refuses: closed")
            assert calls == ["breaks", "unknown", "unknown", "refuses"]

    run(story())


def test_what_a_call_may_not_do_is_told_to_the_function_and_fails_it_where_it_does_not_listen(tmp_path: Path) -> None:
    told: list[str] = []

    async def work(context: Context) -> None:
        for name, arguments in (("nobody.knows", {}), ("files.read", {"path": "a"}), ("message.send", {"to": 3})):
            try:
                await context.call(name, **arguments)
            except CallFailed as failed:
                told.append(failed.status)
        await context.call("files.write", path="x", text="y")

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            ended = await fleet.work()
            assert (ended.state, told) == (TaskState.FAILED, ["invalid", "denied", "invalid"])
            assert ended.result is not None
            assert ended.result.error_class == "denied"

    run(story())


def test_steps_count_as_steps_of_a_turn_and_a_person_is_asked_beyond_them(tmp_path: Path) -> None:
    async def work(context: Context) -> None:
        for number in range(20):
            await context.once(str(number), lambda: None, effect="read")

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            parked = await fleet.work(PARKED)
            (reached,) = (each for each in await fleet.journal(parked.id) if isinstance(each, LimitReached))
            assert (reached.limit, reached.value) == ("steps", 6)

    run(story())


def test_a_message_is_work_too_and_a_call_that_must_wait_there_is_pending(tmp_path: Path) -> None:
    async def work(context: Context) -> str:
        try:
            await context.call("message.send", **LETTER)
        except CallFailed as failed:
            return f"{failed.status}: {context.goal} {[each.trust for each in context.messages]}"
        return "sent"

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            await fleet.tell("helper", "write to Ann")
            turns: list[Task] = []

            async def taken() -> bool:
                turns[:] = await fleet.store.read(
                    lambda reads: reads.tasks(TaskFilter(kinds=frozenset({TaskKind.TURN})))
                )
                return bool(turns)

            await fleet.wait(taken)
            ended = await fleet.until(turns[-1].id, DONE)
            assert ended.result is not None
            assert ended.result.text == "pending: write to Ann ['operator']"

    run(story())


def test_misused_steps_are_refused_in_words(tmp_path: Path) -> None:
    said: list[str] = []

    async def note(work: Callable[[], Awaitable[Any]]) -> None:
        try:
            await work()
        except (ValueError, RuntimeError, TypeError) as error:
            said.append(str(error))

    async def work(context: Context) -> str:
        async def nested() -> None:
            await note(lambda: context.once("inner", lambda: 1))

        await context.once("outer", nested, effect="read")
        await note(lambda: context.once("outer", lambda: 1))
        await note(lambda: context.once("odd", lambda: 1, effect="harmless"))
        await note(lambda: context.call("files.read", path=object()))
        return "done"

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            assert (await fleet.work()).state is TaskState.DONE
            for words, part in zip(said, ("cannot have steps", "used twice", "none of", "not JSON"), strict=True):
                assert part in words

    run(story())


def test_a_function_that_takes_another_way_than_its_journal_is_refused(tmp_path: Path) -> None:
    ways = [["a", "b"], ["b", "a"]]

    async def work(context: Context) -> None:
        for key in ways.pop(0):
            await context.once(key, lambda: 1, effect="read")
        raise OSError("try again")

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            ended = await fleet.work()
            assert ended.result is not None
            assert ended.result.error_class == "order"
            assert "asks for once('b') where it asked for once('a') before (step 1)" in error_of(ended)

    run(story())


def test_a_function_that_only_reads_answers_equal_goals_until_its_file_changes(tmp_path: Path) -> None:
    ran: list[str] = []

    async def work(context: Context) -> str:
        ran.append(context.goal)
        await context.once("look", lambda: 1, effect="read" if context.goal == "look" else "irreversible")
        return f"{context.goal} {len(ran)}"

    async def story() -> None:
        async with fleet_of(tmp_path, work) as fleet:
            (tmp_path / "agents/helper/TOOLS.md").write_text(TOOLS.replace("allow:", "network: [a.example]\nallow:"))

            async def ask(goal: str) -> tuple[str, bool]:
                task = await fleet.until((await fleet.goal("helper", goal, cache_s=3_600.0)).id)
                assert task.result is not None
                return task.result.text, task.result.source is not None

            assert await ask("look") == ("look 1", False)
            assert await ask("look") == ("look 1", True)
            fleet.functions.text = "2"
            assert await ask("look") == ("look 2", False)
            assert await ask("act") == ("act 3", False)
            assert await ask("act") == ("act 4", False), "what acts is done each time"
            fleet.functions.given = Given(network=("a.example",))
            assert await ask("look") == ("look 5", False), "nobody knows what it did there"
            assert await ask("look") == ("look 6", False)

    run(story())
