"""A tool that is down is not called again and again: the model reads at once that it is left alone, one call looks
later, and what is wrong with a call itself speaks against no tool."""

from __future__ import annotations

from pathlib import Path

from ostinato.domain.breaker import BreakerState
from ostinato.domain.errors import Exhausted, NotFound
from ostinato.domain.step import Effect, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import TaskState
from ostinato.domain.values import SECOND
from ostinato.tools.port import Arguments, OutsideTool, ToolContext, ToolResult, object_schema, text_schema
from tests.agents.fleet import ENDED, Fleet, running
from tests.agents.test_turns import files
from tests.conftest import run

SCRIPT = """
rules:
  - when: {tool: rates.fetch, call: 8+}
    text: "enough: {result}"
default: {calls: [{tool: rates.fetch, args: {of: "{call}"}}]}
"""
TOOLS = "---\nallow: [rates.fetch]\n---\n"


class Rates:
    """A tool that can be down, or asked for what is not there."""

    def __init__(self) -> None:
        self.asked = 0
        self.problem: Exception | None = None

    async def fetch(self, context: ToolContext, arguments: Arguments) -> ToolResult:
        """The rates."""
        self.asked += 1
        if self.problem is not None:
            raise self.problem
        return ToolResult(text="1.08")

    def tool(self) -> OutsideTool:
        """As an agent has it."""
        return OutsideTool(
            name="rates.fetch",
            description="Fetch rates.",
            parameters=object_schema("of", of=text_schema()),
            effect=Effect.READ,
            act=self.fetch,
        )


async def _results(fleet: Fleet, task: int) -> list[ToolOutcome]:
    return [each for each in await fleet.journal(task) if isinstance(each, ToolOutcome)]


def test_a_tool_that_is_down_is_left_alone_and_the_model_reads_so(tmp_path: Path) -> None:
    rates = Rates()

    async def story() -> None:
        async with running(tmp_path, files(SCRIPT, agents__helper__TOOLS_md=TOOLS), tools=(rates.tool(),)) as fleet:
            rates.problem = Exhausted("the rates do not answer")
            done = await fleet.until((await fleet.goal("helper", "look")).id, ENDED)
            assert done.state is TaskState.DONE
            results = await _results(fleet, done.id)
            assert (len(results), rates.asked) == (7, 5), "two calls were not made"
            assert [each.broken for each in results] == [True] * 5 + [False] * 2
            assert results[5].status is ResultStatus.ERROR
            assert "not called, and nothing was done: tool rates.fetch is in trouble" in results[5].text
            assert "do not answer" not in results[5].text, "another task's result goes to nobody else"
            intents = [each for each in await fleet.journal(done.id) if isinstance(each, ToolIntent)]
            assert len(intents) == 5, "what is not called has no intent"
            rates.problem, fleet.clock.ahead = None, 60 * SECOND
            again = await fleet.until((await fleet.goal("helper", "look again")).id, ENDED)
            assert (again.state, rates.asked) == (TaskState.DONE, 12)
            assert await fleet.store.read(lambda reads: reads.breaker("tool:rates.fetch")) is None

    run(story())


def test_a_call_that_is_wrong_itself_speaks_against_no_tool(tmp_path: Path) -> None:
    rates = Rates()
    rates.problem = NotFound("there are no such rates")

    async def story() -> None:
        async with running(tmp_path, files(SCRIPT, agents__helper__TOOLS_md=TOOLS), tools=(rates.tool(),)) as fleet:
            done = await fleet.until((await fleet.goal("helper", "look")).id, ENDED)
            assert (done.state, rates.asked) == (TaskState.DONE, 7)
            breakers = await fleet.store.read(lambda reads: reads.breakers())
            assert [each for each in breakers if each.state is not BreakerState.CLOSED] == []

    run(story())
