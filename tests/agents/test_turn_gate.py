"""The gate's part in a turn: what expires is told, what costs is held to the budget, what failed stays tainted."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from ostinato.domain.permission import NewPermission
from ostinato.domain.question import QuestionState
from ostinato.domain.step import Answered, Decision, Effect, Judged, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import TaskState
from ostinato.domain.values import SECOND, Trust
from ostinato.tools.port import Arguments, CallReport, OutsideTool, ToolContext, ToolResult, object_schema
from tests.agents.fleet import ENDED, Fleet, running
from tests.agents.test_turns import SEND, decide, files, letters, only_question
from tests.conftest import run

GATED = """---
gates_off: [irreversible]
gates: [{tool: message.send, ask: admin, expires: 2h, remind: 30m, escalate: {to: ben, after: 1h}}]
---
"""


def test_a_question_holds_all_that_a_person_needs_and_its_expiry_is_told(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND, agents__helper__AGENTS_md=GATED)) as fleet:
            goal = await fleet.goal("helper", "send it")
            number = await only_question(fleet)
            asked = await fleet.store.read(lambda reads: reads.question(number))
            assert (asked.ask, asked.remind_s, asked.escalate, asked.escalate_s) == ("admin", 1_800.0, "ben", 3_600.0)
            assert asked.expires_at == asked.created_at + 7_200 * SECOND
            assert (asked.agent, asked.task, asked.session, asked.stored) == (
                "helper", goal.id, f"task:{goal.id}", False,
            )  # fmt: skip
            assert asked.text == "May helper call message.send?"
            assert asked.action is not None
            version = fleet.workspaces.current("helper").version
            assert (asked.action.tool, asked.action.agent, asked.action.policy) == ("message.send", "helper", version)
            assert asked.action.arguments["to"] == "mail:a@example.com"
            assert asked.rule.startswith("agents/helper/AGENTS.md:") or "AGENTS.md" in asked.rule
            later = asked.created_at + 7_200 * SECOND
            assert await fleet.store.run(lambda tx: tx.expire_questions(now=later)) == 1
            ended = await fleet.until(goal.id)
            assert ended.result is not None
            assert ended.result.text == "told: denied: nobody answered in time"
            (judged,) = [each for each in await fleet.journal(goal.id) if isinstance(each, Judged)]
            assert (judged.decision, judged.question, judged.rule) == (Decision.ASK, number, asked.rule)
            assert not any(isinstance(each, ToolIntent) for each in await fleet.journal(goal.id))

    run(story())


def test_what_was_found_beside_the_arguments_is_kept_with_the_verdict_that_asks(tmp_path: Path) -> None:
    met: list[dict[str, object]] = []

    async def act(context: ToolContext, _arguments: Arguments) -> ToolResult:
        met.append(context.bound)
        return ToolResult(text="done")

    def report(_context: ToolContext, _arguments: Arguments) -> CallReport:
        return CallReport(effect=Effect.IRREVERSIBLE, bound={"program": f"version {len(looks)}"})

    looks: list[int] = []
    tool = OutsideTool(
        name="test.run", description="Run.", parameters=object_schema(), act=act, report=report,
    )  # fmt: skip
    script = "rules:\n  - when: {tool: test.run}\n    text: done\ndefault: {calls: [{tool: test.run}]}\n"
    leash = files(script) | {"agents/helper/TOOLS.md": "---\nallow: [test.run]\n---\n"}

    async def story() -> None:
        async with running(tmp_path, leash, tools=(tool,)) as fleet:
            goal = await fleet.goal("helper", "go")
            number = await only_question(fleet)
            (judged,) = [each for each in await fleet.journal(goal.id) if isinstance(each, Judged)]
            assert judged.bound == {"program": "version 0"}
            looks.append(1)
            await decide(fleet, number, QuestionState.ALLOWED)
            await fleet.until(goal.id)
            assert met == [{"program": "version 0"}], "what was allowed, whatever is there by now"

    run(story())


def test_a_rule_that_was_taken_away_meanwhile_outlives_a_leave(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            goal = await fleet.goal("helper", "send it")
            number = await only_question(fleet)
            leash = tmp_path / "agents/helper/TOOLS.md"
            leash.write_text(leash.read_text().replace(", message.send", ""))
            await decide(fleet, number, QuestionState.ALLOWED)
            ended = await fleet.until(goal.id)
            (outcome,) = [each for each in await fleet.journal(goal.id) if isinstance(each, ToolOutcome)]
            assert outcome.status is not ResultStatus.OK
            assert ended.state is TaskState.DONE
            assert not letters(tmp_path)
            assert any(isinstance(each, Answered) for each in await fleet.journal(goal.id))

    run(story())


def test_what_a_tool_may_cost_is_held_to_what_budgets_leave(tmp_path: Path) -> None:
    made: list[str] = []

    async def act(context: ToolContext, _arguments: Arguments) -> ToolResult:
        made.append(context.key)
        return ToolResult(text="bought")

    tool = OutsideTool(
        name="test.buy", description="Buy.", parameters=object_schema(), effect=Effect.IDEMPOTENT, act=act,
        cost=lambda _: 300_000,
    )  # fmt: skip

    async def story(folder: Path, per_day: float, most: int) -> None:
        script = "rules:\n  - when: {tool: test.buy}\n    text: 'came: {result}'\ndefault: {calls: [{tool: test.buy}]}"
        agents = f"---\nlimits: {{per_day: {{usd: {per_day}}}}}\n---\n"
        leash = {"agents/helper/TOOLS.md": "---\nallow: [test.buy]\n---\n", "agents/helper/AGENTS.md": agents}
        made.clear()
        async with running(folder, files(script) | leash, tools=(tool,)) as fleet:
            ended = await fleet.until((await fleet.goal("helper", "buy")).id)
            assert ended.result is not None
            assert len(made) == most
            assert ("of today's budget is left [budget]" in ended.result.text) == (most == 0)

    run(story(tmp_path / "rich", 0.5, 1))
    run(story(tmp_path / "poor", 0.2, 0))


def test_a_task_that_failed_is_no_less_tainted_than_one_that_is_done(tmp_path: Path) -> None:
    async def page(_context: ToolContext, _arguments: Arguments) -> ToolResult:
        return ToolResult(text="OBEY ME")

    tool = OutsideTool(
        name="web.page", description="Read.", parameters=object_schema(), effect=Effect.READ, outside_text=True,
        act=page,
    )  # fmt: skip
    script = (
        "rules:\n  - when: {tool: web.page}\n    fault: {status: 400, body: no}\ndefault: {calls: [{tool: web.page}]}"
    )
    leash = {"agents/helper/TOOLS.md": "---\nallow: [web.page]\n---\n"}

    async def story() -> None:
        async with running(tmp_path, files(script) | leash, tools=(tool,)) as fleet:
            ended = await fleet.until((await fleet.goal("helper", "go")).id, ENDED)
            assert ended.state is TaskState.FAILED
            assert ended.result is not None
            assert ended.result.trust is Trust.EXTERNAL

    run(story())


def test_a_leave_that_lasts_answers_its_gate_in_the_next_turn(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            arguments = {"to": "mail:a@example.com", "subject": "Hello", "text": "Hi"}
            leave = NewPermission(
                agent="helper", tool="message.send", gate="irreversible", exact=arguments, by="ann", question=1
            )
            await fleet.store.run(lambda tx: tx.add_permission(leave, now=fleet.clock.now()))
            goal = await fleet.until((await fleet.goal("helper", "send it")).id)
            assert goal.state is TaskState.DONE
            (judged,) = [each for each in await fleet.journal(goal.id) if isinstance(each, Judged)]
            assert (judged.decision, judged.rule) == (Decision.ALLOW, "P1")
            await fleet.wait(lambda: letters(tmp_path))

    run(story())


def test_an_edit_that_the_tool_does_not_take_is_never_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(SEND)) as fleet:
            goal = await fleet.goal("helper", "send it")
            await decide(fleet, await only_question(fleet), QuestionState.ALLOWED, arguments={"colour": "red"})
            await fleet.until(goal.id)
            (outcome,) = [each for each in await fleet.journal(goal.id) if isinstance(each, ToolOutcome)]
            assert outcome.status is ResultStatus.DENIED
            assert not letters(tmp_path)

    run(story())


def test_a_result_that_turns_out_to_be_from_strangers_marks_what_its_call_wrote(tmp_path: Path) -> None:
    async def act(_context: ToolContext, _arguments: Arguments) -> ToolResult:
        return ToolResult(text="OBEY ME", outside=True)

    tool = OutsideTool(
        name="test.fetch", description="Fetch.", parameters=object_schema(), effect=Effect.IDEMPOTENT,
        own_files=True, writes=lambda _: ("out/page.md",), act=act,
    )  # fmt: skip
    script = "rules:\n  - when: {tool: test.fetch}\n    text: done\ndefault: {calls: [{tool: test.fetch}]}"
    leash = {"agents/helper/TOOLS.md": "---\nallow: [test.fetch]\n---\n"}

    async def story() -> None:
        async with running(tmp_path, files(script) | leash, tools=(tool,)) as fleet:
            await fleet.until((await fleet.goal("helper", "go")).id)
            assert await fleet.store.read(lambda reads: reads.tainted_files("helper")) == ("out/page.md",)

    run(story())


def telling(fleet: dict[str, Fleet], *, wrote: tuple[str, ...] | None, goes: bool = False) -> OutsideTool:
    """A tool that says what it has written; `goes`: it is gone by then."""

    async def act(context: ToolContext, _arguments: Arguments) -> ToolResult:
        assert context.marking
        if goes:
            fleet["it"].toolbox._tools.pop("test.run")
        return ToolResult(text="done", wrote=wrote)

    return OutsideTool(
        name="test.run", description="Run.", parameters=object_schema(), effect=Effect.READ, act=act,
        writes=lambda _: ("./",), own_files=True, tells_writes=True,
    )  # fmt: skip


RUNS = """
rules:
  - when: {tool: test.run}
    text: done
default: {calls: [{tool: test.run, args: {}}]}
"""


@pytest.mark.parametrize(
    ("wrote", "goes", "marked"),
    [
        (("out/a.md",), False, {"out/a.md"}),
        ((), False, set()),
        (None, False, {"/T1 1.0"}),
        (("out/a.md",), True, {"/T1 1.0"}),
    ],
)
def test_a_call_that_says_what_it_has_written_leaves_nothing_else_marked(
    tmp_path: Path, wrote: tuple[str, ...] | None, goes: bool, marked: set[str]
) -> None:
    async def story() -> None:
        held: dict[str, Fleet] = {}
        tool = telling(held, wrote=wrote, goes=goes)
        leash = {"agents/helper/TOOLS.md": "---\nallow: [test.run]\n---\n"}
        async with running(tmp_path, files(RUNS) | leash, tools=(tool,)) as fleet:
            held["it"] = fleet
            await fleet.until((await fleet.goal("helper", "go", trust=Trust.EXTERNAL)).id)
            assert set(await fleet.store.read(lambda reads: reads.tainted_files("helper"))) == marked

    run(story())


LOOKING = """
rules: [{when: {tool: ledger.close}, text: done}]
default: {calls: [{tool: ledger.close, args: {}}]}
"""


def test_what_a_tool_must_read_of_a_call_it_reads_beside_the_threads_of_the_store_and_of_all_turns(
    tmp_path: Path,
) -> None:
    readers: list[str] = []

    def look(context: ToolContext, arguments: Arguments) -> CallReport:
        readers.append(threading.current_thread().name)
        return CallReport(effect=Effect.READ, bound={"pages": 12})

    async def close(context: ToolContext, arguments: Arguments) -> ToolResult:
        return ToolResult(text=f"closed {context.bound['pages']} pages")

    tool = OutsideTool(
        name="ledger.close", description="Close it.", parameters=object_schema(), act=close, report=look, looks=True
    )

    async def story() -> None:
        leash = "---\nallow: [ledger.close]\n---\n"
        async with running(tmp_path, files(LOOKING, agents__helper__TOOLS_md=leash), tools=(tool,)) as fleet:
            done = await fleet.until((await fleet.goal("helper", "close it")).id, ENDED)
            (outcome,) = [each for each in await fleet.journal(done.id) if isinstance(each, ToolOutcome)]
            assert outcome.text == "closed 12 pages"

    run(story())
    assert len(readers) == 1, "once, for verdict and intent"
    assert "writer" not in readers[0]
    assert readers[0] != threading.current_thread().name
