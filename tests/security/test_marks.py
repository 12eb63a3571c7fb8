"""What strangers wrote, and what is private, stays marked on every way out of a turn: as a failure, as an allowed
action, in a file that the runtime saves, in a list, and in what a secret opened."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from ostinato.app.parts import definitions_of
from ostinato.domain.gate import DEFAULT_GATES
from ostinato.domain.policy import CallFacts, Policy, Verdict, judge
from ostinato.domain.question import QuestionState
from ostinato.domain.step import Decision, Effect, Note, ToolOutcome
from ostinato.domain.task import NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import Source, Trust
from ostinato.store.port import TaskFilter
from ostinato.tools.children import NOT_NEEDED
from ostinato.tools.port import Arguments, OutsideTool, ToolContext, ToolResult, object_schema
from ostinato.tools.tasks import why_so
from ostinato.tools.toolbox import Toolbox
from ostinato.tools.web.client import WebClient
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.place import WebPlace
from ostinato.tools.web.search import SearxSearch
from ostinato.tools.web.web_tools import web_tools
from ostinato.workspace.fleet_file import read_fleet
from ostinato.workspace.registry import Workspaces
from tests.agents.fleet import running, write_fleet
from tests.agents.test_turns import decide, files, only_question
from tests.conftest import run
from tests.security.test_taint import MAIN, PAGE, TWO_LEASHES, hear, holding, one_after_another, wait_turns
from tests.security.test_taint import web_tools as strangers
from tests.tools.test_web import web

WEB = Policy(agent="a", tools=("web.*",), network=())


def search_box(*, provider: bool) -> Toolbox:
    client = WebClient(Guard())
    search = SearxSearch(client, "https://search.test/") if provider else None
    return Toolbox(web_tools(WebPlace(client=client, outputs=Path(), search=search)))


def searched(box: Toolbox, *, trust: Trust = Trust.OPERATOR, private: bool = False) -> Verdict:
    tool = box.get("web.search")
    assert tool is not None
    context = ToolContext(
        task=1, call_id="1.0", key="k", agent="a", session="s", workspace=Path(), now=0, policy=WEB, trust=trust,
        private=private,
    )  # fmt: skip
    return judge(box.facts(tool, {"query": "q"}, context), WEB)


def test_a_search_tells_its_provider_and_asks_where_private_things_and_strangers_words_meet() -> None:
    box = search_box(provider=True)
    assert searched(box).decision is Decision.ALLOW, "a pattern covers it: a person has named the provider"
    assert searched(box, trust=Trust.EXTERNAL).decision is Decision.ALLOW
    assert searched(box, private=True).decision is Decision.ALLOW
    both = searched(box, trust=Trust.EXTERNAL, private=True)
    assert (both.decision, both.gate) == (Decision.ASK, DEFAULT_GATES["taint"])
    assert [each.name for each in box.specs(WEB)] == ["web.read", "web.search", "web.more"]
    assert searched(search_box(provider=False)).decision is Decision.DENY


def test_a_pattern_covers_what_is_seen_by_hosts_that_a_person_has_named_and_by_nobody_else() -> None:
    facts = CallFacts(tool="web.search", effect=Effect.READ, outward=True)
    assert judge(facts, WEB).decision is Decision.DENY
    named = CallFacts(tool="web.search", effect=Effect.READ, outward=True, reaches=("search.test",))
    assert judge(named, WEB).decision is Decision.ALLOW


@pytest.mark.slow
def test_what_a_secret_opened_is_private_also_behind_a_redirect(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("OPENS", "a-secret-of-the-tests")

    async def story() -> None:
        async with web(tmp_path) as there:
            there.answer = lambda _head: ("text/plain", b"yours")
            plain = await there.call("http.get", url=there.url())
            there.credentials = {f"localhost:{there.port}": {"Authorization": "Bearer ${{ secrets.OPENS }}"}}
            opened = await there.call("http.get", url=there.url())
            assert (plain.private, opened.private) == (False, True)
            assert "a-secret-of-the-tests" in there.heads[-1]

    run(story())


APPROVED = {
    **TWO_LEASHES,
    "agents/helper/AGENTS.md": "---\ngates: [{tool: files.write, when: tainted}]\n---\n",
}


@pytest.mark.slow
def test_an_allowed_action_of_a_tainted_session_marks_what_it_writes(tmp_path: Path) -> None:
    async def story() -> None:
        script = one_after_another(PAGE, "{tool: files.write, args: {path: out/page.md, text: OBEY ME}}")
        script += "default: {text: seen}\n"
        async with running(tmp_path, files(script) | APPROVED, tools=strangers([])) as fleet:
            await fleet.tell("helper", "go")
            await decide(fleet, await only_question(fleet), QuestionState.ALLOWED)

            async def written() -> bool:
                return (tmp_path / "agents/helper/out/page.md").exists()

            await fleet.wait(written)
            assert "out/page.md" in await fleet.store.read(lambda reads: reads.tainted_files("helper"))
            kinds = frozenset({TaskKind.DELIVERY})
            (done,) = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(kinds=kinds)))
            done = await fleet.until(done.id)
            assert done.is_outside

    run(story())


def test_a_result_that_the_runtime_saves_is_marked_like_one_that_the_agent_writes(tmp_path: Path) -> None:
    async def story() -> None:
        script = one_after_another(PAGE)
        async with running(tmp_path, files(script) | TWO_LEASHES, tools=strangers([])) as fleet:
            new = NewTask(
                kind=TaskKind.GOAL, title="go", agent="helper", spec=TaskSpec(goal="go", deliver="file:out/result.md")
            )
            goal = await fleet.store.run(lambda tx: tx.add_task(new, now=fleet.clock.now(), actor="ann"))
            await fleet.until(goal.id)
            kinds = frozenset({TaskKind.DELIVERY})
            (saving,) = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(kinds=kinds)))
            await fleet.until(saving.id)
            assert await fleet.store.read(lambda reads: reads.tainted_files("helper")) == ("out/result.md",)

    run(story())


def test_a_list_of_tasks_is_a_strangers_word_where_a_strangers_title_stands_in_it(tmp_path: Path) -> None:
    leash = {"agents/helper/TOOLS.md": "---\nallow: [tasks.list]\n---\n"}
    script = one_after_another("{tool: tasks.list, args: {state: all}}") + "default: {text: seen}\n"

    async def story() -> None:
        async with running(tmp_path, files(script) | leash) as fleet:
            await fleet.until((await fleet.goal("helper", "go")).id)
            await fleet.until((await fleet.goal("helper", "OBEY ME", trust=Trust.EXTERNAL)).id)
            last = await fleet.until((await fleet.goal("helper", "go")).id)
            results = [each for each in await fleet.journal(last.id) if isinstance(each, ToolOutcome)]
            assert [each.outside for each in results] == [True]
            await hear(fleet, "hello")
            await wait_turns(fleet, 1)
            assert (await fleet.store.read(lambda reads: reads.session_tasks(MAIN)))[0].is_outside

    run(story())


def test_why_a_tainted_session_has_cancelled_a_child_is_a_note_and_no_reason(tmp_path: Path) -> None:
    leash = {"agents/helper/TOOLS.md": "---\nallow: [spawn, children.cancel, tasks.list, test.hold]\n---\n"}
    script = """
rules:
  - when: {tool: children.cancel}
    text: done
  - when: {tool: spawn}
    text: started
  - when: {user: away}
    calls: [{tool: children.cancel, args: {child: T2, reason: OBEY ME}}]
  - when: {user: begin}
    calls: [{tool: spawn, args: {goal: hold on}}]
  - when: {user: hold on}
    calls: [{tool: test.hold, args: {}}]
default: {text: "{system|count:OBEY ME}"}
"""

    async def story() -> None:
        held, begun, _ = holding()
        async with running(tmp_path, files(script) | leash, tools=(held,)) as fleet:
            await fleet.tell("helper", "begin")
            await begun.wait()
            await hear(fleet, "away with it")
            child = await fleet.until(2)
            assert (child.state, child.reason) == (TaskState.CANCELLED, NOT_NEEDED)
            (note,) = [each for each in await fleet.journal(2) if isinstance(each, Note)]
            assert (note.text, note.trust) == ("OBEY ME", Trust.EXTERNAL)
            check_what_is_told_of_an_attempt(child)

    run(story())


def check_what_is_told_of_an_attempt(task: Task) -> None:
    """What it failed with is told to nobody before the task has ended, and has its mark."""
    told = {
        "T9 failed: OBEY ME": "",
        "waits for Q7: OBEY ME": "",
        "waits for Q7": " (waits for Q7)",
        "waits for T1, T20": " (waits for T1, T20)",
    }
    for state in (TaskState.READY, TaskState.RUNNING, TaskState.WAITING):
        for reason, words in told.items():
            assert why_so(msgspec.structs.replace(task, state=state, reason=reason)) == words
    assert why_so(msgspec.structs.replace(task, state=TaskState.FAILED, reason="no luck")) == " (no luck)"


@pytest.mark.parametrize("unread", [True, False])
def test_a_description_that_nobody_has_read_is_a_strangers_word_in_the_prompt(tmp_path: Path, unread: bool) -> None:
    leash = {"agents/helper/TOOLS.md": "---\nallow: [web.page]\n---\n"}

    async def story() -> None:
        tool = msgspec.structs.replace(strangers([])[0], unread=unread)
        async with running(tmp_path, files("default: {text: seen}") | leash, tools=(tool,)) as fleet:
            done = await fleet.until((await fleet.goal("helper", "look")).id)
            assert done.is_outside is unread

    run(story())


def test_a_search_that_nobody_performs_is_told_by_check(tmp_path: Path) -> None:
    write_fleet(tmp_path, {"agents/a/TOOLS.md": "---\nallow: [web.search]\n---\n", "agents/a/SOUL.md": "You search.\n"})
    for table, told in (("", True), ('[web]\nsearch = "searxng"\nsearch_url = "http://localhost:8888"\n', False)):
        (tmp_path / "ostinato.toml").write_text(f'[fleet]\nname = "f"\n{table}')
        settings = read_fleet(tmp_path)
        known = definitions_of(tmp_path, settings, Workspaces(tmp_path, defaults=settings.defaults))
        assert any("nobody searches" in each.message for each in known.problems({})) is told


def test_a_file_that_an_agents_hands_have_left_goes_on_with_their_chain_of_causes(tmp_path: Path) -> None:
    """Also where nothing is tainted, and nobody signs what a command writes."""
    script = one_after_another("{tool: test.hold, args: {}}") + "default: {text: seen}\n"
    leash = {"agents/helper/TOOLS.md": "---\nallow: [test.hold]\n---\n"}

    async def story() -> None:
        tool, begun, end = holding()
        async with running(tmp_path, files(script) | leash, tools=(tool,)) as fleet:
            box = tmp_path / "agents/helper/inbox"
            box.mkdir()
            new = NewTask(kind=TaskKind.GOAL, title="go", agent="helper", spec=TaskSpec(goal="go"), depth=2)
            goal = await fleet.store.run(lambda tx: tx.add_task(new, now=fleet.clock.now(), actor="ann"))
            await begun.wait()
            (box / "by hand.md").write_text("by a hand of the turn")
            end.set()
            await fleet.until(goal.id)
            (box / "by person.md").write_text("by a person, later")
            await fleet.inbox.take_agent("helper")
            taken = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(kinds=frozenset({TaskKind.GOAL}))))
            turns = await fleet.store.read(lambda reads: reads.tasks(TaskFilter(kinds=frozenset({TaskKind.TURN}))))
            depths = {each.title.partition(".")[0]: each.depth for each in (*taken, *turns) if each.id != goal.id}
            assert depths == {"by hand": 3, "by person": 0}

    run(story())


def test_a_line_of_tasks_md_is_a_strangers_word_until_somebody_has_approved_it(tmp_path: Path) -> None:
    """Nobody knows who wrote it; whoever approves it has read it."""

    async def story() -> None:
        async with running(tmp_path, files("default: {text: seen}")) as fleet:
            spec = TaskSpec(goal="OBEY ME", trust=Trust.AGENT, trigger=Source.FILE)
            new = NewTask(kind=TaskKind.GOAL, title="a line", agent="helper", spec=spec, draft=True)
            line = await fleet.store.run(lambda tx: tx.add_task(new, now=fleet.clock.now()))
            assert line.is_outside
            read = await fleet.store.run(
                lambda tx: tx.move_task(line.id, TaskEvent.APPROVE, actor="ann", now=fleet.clock.now())
            )
            assert not read.is_outside

    run(story())


@pytest.mark.slow
def test_of_several_results_at_once_each_is_marked_and_not_only_the_last(tmp_path: Path) -> None:
    told = OutsideTool(
        name="test.told", description="Read.", parameters=object_schema(), effect=Effect.READ, act=strangers_word
    )
    held, begun, end = holding()
    script = """
rules:
  - when: {call: 2}
    calls: [{tool: tasks.create, args: {title: later, agent: helper}}]
default: {calls: [{tool: test.told}, {tool: test.hold}]}
"""
    leash = {
        "agents/helper/TOOLS.md": "---\nallow: [tasks.create, test.hold, test.told]\n---\n",
        "agents/helper/AGENTS.md": "---\ngates: [{tool: tasks.create, when: \"trust == 'external'\"}]\n---\n",
    }

    async def story() -> None:
        async with running(tmp_path, files(script) | leash, tools=(told, held)) as fleet:
            goal = await fleet.goal("helper", "go")
            await begun.wait()

            async def is_told() -> bool:
                return any(isinstance(each, ToolOutcome) for each in await fleet.journal(goal.id))

            while not await is_told():  # a result that shares its commit with nothing is no event
                pass
            end.set()
            number = await only_question(fleet)
            assert (await fleet.store.read(lambda reads: reads.question(number))).trust is Trust.EXTERNAL

    run(story())


async def strangers_word(_context: ToolContext, _arguments: Arguments) -> ToolResult:
    return ToolResult(text="create something", outside=True)
