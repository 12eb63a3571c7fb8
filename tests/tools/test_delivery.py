"""A delivery does its one thing once: over crashes, full disks, stopped authors, and only as a person allowed it.

Attempts are the engine's own; a node that dies leaves an intent without a result.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from email import message_from_bytes
from typing import Any

import pytest
from msgspec.structs import replace

from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName
from ostinato.domain.policy import Policy
from ostinato.domain.question import Question, QuestionKind, QuestionState
from ostinato.domain.step import Answered, Effect, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import NewTask, Task, TaskKind, TaskSpec, TaskState, WaitKind
from ostinato.store.port import Claim, EventFilter, QuestionFilter, TaskFilter
from ostinato.tools.delivery import HELD_AGAIN_S, key_of, write_letter
from ostinato.tools.messages import OUTBOX_TOOL
from ostinato.tools.port import OutsideTool, ToolContext, ToolResult, object_schema, text_schema
from tests.tools.conftest import Scene
from tests.tools.desk import Desk
from tests.tools.post import Post
from tests.tools.test_messages import LETTER

Play = Callable[[Scene], None]
MAIL = {"to": "mail:ann@example.com", "subject": "Your refund", "text": "It is on its way."}


class Bell:
    """A tool whose effect cannot be undone, and a log of it outside of the store."""

    def __init__(self, *, effect: Effect = Effect.IRREVERSIBLE, probe: Any = None) -> None:
        self.rung: list[str] = []
        self.reached = asyncio.Event()
        self.hangs = False
        self.tool = OutsideTool(
            name="bell.ring",
            description="Ring.",
            parameters=object_schema("tone", tone=text_schema()),
            effect=effect,
            act=self._ring,
            probe=probe,
        )

    async def _ring(self, _context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        self.rung.append(arguments["tone"])
        if self.hangs:
            self.reached.set()
            await asyncio.Event().wait()
        return ToolResult(text=f"rang {arguments['tone']}")


def at_post(play: Play, scene: Callable[[Post], Awaitable[None]], *tools: OutsideTool) -> None:
    """Plays a scene with a node that has just started."""

    async def whole(desk: Desk) -> None:
        post = Post(desk, *tools)
        await post.new_node()
        await scene(post)

    play(whole)


async def unknown_question(post: Post) -> Question:
    """The one question about a doubt."""
    which = QuestionFilter(kind=QuestionKind.UNKNOWN)
    (question,) = await post.desk.see(lambda tx: tx.questions(which))
    return question


# --- letters ---


def test_a_letter_is_written_once_with_its_record(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        sent = await post.desk.call("message.send", MAIL)
        assert sent.data is not None
        task = await post.perform()
        name = f"{sent.data['delivery']}.eml"
        assert (task.state, task.result and task.result.text) == (TaskState.DONE, f"written to outbox/{name}")
        assert [each.name for each in post.outbox.iterdir()] == [name]
        read = message_from_bytes((post.outbox / name).read_bytes())
        assert (read["To"], read["Subject"]) == ("ann@example.com", "Your refund")
        intent, outcome = await post.journal(task.id)
        assert isinstance(intent, ToolIntent)
        assert isinstance(outcome, ToolOutcome)
        assert (intent.tool, intent.effect, outcome.status) == (OUTBOX_TOOL, Effect.IDEMPOTENT, ResultStatus.OK)
        told = await post.desk.see(lambda tx: tx.events(EventFilter(names=frozenset({EventName.DELIVERY_SENT}))))
        assert [(each.agent, each.data["to"]) for each in told] == [("triage", "mail:ann@example.com")]
        assert await post.perform_all() == []

    at_post(at_desk, scene)


def test_a_letter_that_was_written_before_a_crash_is_not_written_again(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        sent = await post.desk.call("message.send", MAIL)
        assert sent.data is not None
        lost = await post.claim()
        assert lost is not None
        letter = replace(LETTER, id=sent.data["delivery"])
        path = write_letter(post.outbox, letter)
        before = (path.stat().st_ino, path.read_bytes())
        await post.new_node()
        task = await post.perform()
        assert (task.state, task.attempts) == (TaskState.DONE, 2)
        assert (path.stat().st_ino, path.read_bytes()) == before
        assert len(list(post.outbox.iterdir())) == 1

    at_post(at_desk, scene)


def test_a_full_disk_delays_a_letter(at_desk: Play, monkeypatch: pytest.MonkeyPatch) -> None:
    async def scene(post: Post) -> None:
        await post.desk.call("message.send", MAIL)
        real = os.write

        def full(descriptor: int, data: bytes) -> int:
            raise OSError(28, "No space left on device")

        with monkeypatch.context() as broken:
            broken.setattr(os, "write", full)
            task = await post.perform()
        assert os.write is real
        assert (task.state, "no room" in task.reason, list(post.outbox.iterdir())) == (TaskState.READY, True, [])
        post.wait(120)
        assert (await post.perform()).state is TaskState.DONE
        assert len(list(post.outbox.iterdir())) == 1

    at_post(at_desk, scene)


def test_an_outbox_that_cannot_be_made_delays_a_letter(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        post.outbox.write_text("in the way")
        await post.desk.call("message.send", MAIL)
        task = await post.perform()
        assert (task.state, "outbox cannot be made" in task.reason) == (TaskState.READY, True)

    at_post(at_desk, scene)


@pytest.mark.parametrize("flag", ["halted", "paused"])
def test_a_letter_waits_while_its_author_is_stopped(at_desk: Play, flag: str) -> None:
    async def scene(post: Post) -> None:
        await post.desk.call("message.send", MAIL)
        await post.desk.see(
            lambda tx: tx.set_flag("agent:triage", flag, actor="ann", reason="odd", now=post.clock.now())
        )
        held = await post.perform()
        assert (held.state, held.reason, post.outbox.exists()) == (TaskState.WAITING, f"triage is {flag}", False)
        await post.desk.see(lambda tx: tx.clear_flag("agent:triage", flag, actor="ann", now=post.clock.now()))
        assert await post.perform_all() == []
        post.wait(HELD_AGAIN_S + 1)
        await post.desk.see(lambda tx: tx.rescue(now=post.clock.now()))
        assert (await post.perform()).state is TaskState.DONE
        assert len(list(post.outbox.iterdir())) == 1

    at_post(at_desk, scene)


@pytest.mark.parametrize(
    "arguments",
    [
        None,
        {},
        {"to": "x"},
        "text",
        {**{f: getattr(LETTER, f) for f in LETTER.__struct_fields__}, "subject": "a\nBcc: b"},
    ],
)
def test_what_is_no_letter_becomes_a_dead_letter(at_desk: Play, arguments: object) -> None:
    async def scene(post: Post) -> None:
        spec = TaskSpec(input={"tool": OUTBOX_TOOL, "arguments": arguments})
        await post.desk.add(kind=TaskKind.DELIVERY, title="odd", spec=spec)
        task = await post.perform()
        assert (task.state, bool(task.reason), post.outbox.exists()) == (TaskState.FAILED, True, False)
        assert not post.noticed

    at_post(at_desk, scene)


@pytest.mark.parametrize("name", ["../../evil", "a/b", "", "x" * 300])
def test_a_letter_cannot_name_its_way_out_of_the_outbox(at_desk: Play, name: str) -> None:
    async def scene(post: Post) -> None:
        arguments = {**{f: getattr(LETTER, f) for f in LETTER.__struct_fields__}, "id": name}
        spec = TaskSpec(input={"tool": OUTBOX_TOOL, "arguments": arguments})
        await post.desk.add(kind=TaskKind.DELIVERY, title="odd", spec=spec)
        around = {each for each in post.outbox.parent.rglob("*") if each.is_file()}
        assert (await post.perform()).state is TaskState.FAILED
        assert {each for each in post.outbox.parent.rglob("*") if each.is_file()} == around

    at_post(at_desk, scene)


# --- allowed actions ---


def test_an_allowed_action_is_performed_once_and_told_to_its_session(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        (post.desk.workspace / "a.md").write_text("x")
        question = await post.ask("files.delete", {"path": "a.md"})
        assert await post.perform_all() == []
        await post.answer(question.id)
        task = await post.perform()
        assert (task.state, (post.desk.workspace / "a.md").exists()) == (TaskState.DONE, False)
        intent, outcome = await post.journal(task.id)
        assert isinstance(intent, ToolIntent)
        assert isinstance(outcome, ToolOutcome)
        assert (intent.call_id, intent.arguments, outcome.status) == ("Q1", {"path": "a.md"}, ResultStatus.OK)
        (told,) = await post.told()
        assert told.startswith("files.delete, allowed by ann (Q1): ok: deleted a.md")
        assert await post.perform_all() == []

    at_post(at_desk, scene)


def test_what_a_person_edited_is_what_is_done(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        question = await post.ask("message.send", MAIL)
        await post.answer(question.id, arguments={**MAIL, "text": "Edited."})
        done = await post.perform_all()
        assert [task.state for task in done] == [TaskState.DONE, TaskState.DONE]
        (letter,) = post.outbox.iterdir()
        assert message_from_bytes(letter.read_bytes()).get_payload() == "Edited.\r\n"
        (told,) = await post.told()
        assert told.startswith("message.send, allowed by ann (Q1): ok: T3 delivers it")

    at_post(at_desk, scene)


def test_an_action_that_fails_says_so_to_its_session(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        question = await post.ask("files.delete", {"path": "missing.md"})
        await post.answer(question.id)
        assert (await post.perform()).state is TaskState.DONE
        (told,) = await post.told()
        assert "error: missing.md does not exist" in told

    at_post(at_desk, scene)


async def forged(post: Post, question: int, **changes: Any) -> Task:
    """A delivery that says it was allowed, but differs."""
    given = {"tool": "files.delete", "arguments": {"path": "a.md"}, "question": question, "session": "main:triage"}
    spec = TaskSpec(input={**given, **changes.pop("input", {})})
    new = NewTask(kind=TaskKind.DELIVERY, title="forged", spec=spec, **{"agent": "triage", **changes})
    return await post.desk.see(lambda tx: tx.add_task(new, now=post.clock.now()))


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"input": {"arguments": {"path": "b.md"}}}, "is not what Q1 allowed"),
        ({"input": {"tool": "files.write"}}, "is not what Q1 allowed"),
        ({"agent": "billing"}, "is not what Q1 allowed"),
        ({"input": {"question": "Q1"}}, "names no approval"),
        ({"input": {"question": None}}, "names no approval"),
        ({"input": {"question": 99}}, "Q99"),
        ({"input": {"question": 2}}, "it is denied"),
        ({"input": {"question": 3}}, "does not allow an action"),
        ({"input": {"question": 4}}, "it is pending"),
    ],
)
def test_nothing_but_the_exact_action_that_was_allowed_is_done(
    at_desk: Play, *, changes: dict[str, Any], said: str
) -> None:
    async def scene(post: Post) -> None:
        for name in ("a.md", "b.md"):
            (post.desk.workspace / name).write_text("x")
        action: dict[str, Any] = {"path": "a.md"}
        await post.answer((await post.ask("files.delete", action, call_id="1.0")).id)
        allowed = await post.claim()
        assert allowed is not None
        await post.answer((await post.ask("files.delete", action, call_id="2.0")).id, QuestionState.DENIED)
        await post.ask("files.delete", action, call_id="3.0", stored=False)
        await post.answer(3)
        await post.ask("files.delete", action, call_id="4.0")
        fake = await forged(post, 1, **changes)
        await post.perform_all()
        refused = await post.task(fake.id)
        assert (refused.state, said in refused.reason) == (TaskState.FAILED, True), refused.reason
        assert (post.desk.workspace / "a.md").exists()
        assert (post.desk.workspace / "b.md").exists()

    at_post(at_desk, scene)


def test_what_the_policy_denies_by_now_is_not_done_whoever_allowed_it(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        (post.desk.workspace / "a.md").write_text("x")
        question = await post.ask("files.delete", {"path": "a.md"})
        await post.answer(question.id)
        post.policy = Policy(agent="triage", tools=("files.read",))
        await post.perform()
        (told,) = await post.told()
        assert "denied: ann allowed it, but by now files.delete is not among the tools" in told
        assert (post.desk.workspace / "a.md").exists()

    at_post(at_desk, scene)


@pytest.mark.parametrize(
    ("tool", "arguments", "said"),
    [
        ("no.such", {}, "no.such is gone since Q1 was allowed"),
        ("files.delete", {"path": 5}, "allowed with arguments that do not fit"),
        ("finish", {"result": "x"}, "finish acts on a turn, and there is none"),
    ],
)
def test_an_action_that_cannot_be_done_any_more_fails_with_its_reason(
    at_desk: Play, *, tool: str, arguments: dict[str, Any], said: str
) -> None:
    async def scene(post: Post) -> None:
        await post.answer((await post.ask(tool, arguments)).id)
        task = await post.perform()
        assert (task.state, said in task.reason) == (TaskState.FAILED, True), task.reason

    at_post(at_desk, scene)


def test_an_agent_that_is_gone_fails_what_it_asked_for(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        await post.answer((await post.ask("files.delete", {"path": "a.md"})).id)
        post.missing = NotFound("There is no agent 'triage'")
        task = await post.perform()
        assert (task.state, task.reason) == (TaskState.FAILED, "There is no agent 'triage'")

    at_post(at_desk, scene)


# --- doubts ---


@pytest.mark.parametrize("effect", [Effect.READ, Effect.IDEMPOTENT])
def test_what_may_be_repeated_is_done_again_after_a_crash(at_desk: Play, effect: Effect) -> None:
    async def scene(post: Post) -> None:
        bell = Bell(effect=effect)
        post = Post(post.desk, bell.tool)
        await post.new_node()
        await post.answer((await post.ask("bell.ring", {"tone": "c"})).id)
        bell.hangs = True
        await post.die_in(bell.reached)
        bell.hangs = False
        assert (await post.perform()).state is TaskState.DONE
        assert bell.rung == ["c", "c"]
        assert len([each for each in await post.journal(2) if isinstance(each, ToolIntent)]) == 1

    at_post(at_desk, scene)


@pytest.mark.parametrize(
    ("state", "text", "rung", "said"),
    [
        (QuestionState.ALLOWED, "", ["c", "c"], "ok: rang c"),
        (QuestionState.DENIED, "I heard it", ["c"], "unknown: it may have happened; ann settled it (deny: I heard it)"),
        (
            QuestionState.ANSWERED,
            "It rang.",
            ["c"],
            "unknown: it may have happened; ann settled it (answered: It rang.)",
        ),
    ],
)
def test_what_may_have_happened_is_never_repeated_unless_a_person_says_so(
    at_desk: Play, *, state: QuestionState, text: str, rung: list[str], said: str
) -> None:
    async def scene(post: Post) -> None:
        bell = Bell()
        post = Post(post.desk, bell.tool)
        await post.new_node()
        await post.answer((await post.ask("bell.ring", {"tone": "c"})).id)
        bell.hangs = True
        await post.die_in(bell.reached)
        bell.hangs = False
        parked = await post.perform()
        assert parked.state is TaskState.WAITING
        assert parked.wait is not None
        assert (parked.wait.kind, parked.wait.refs) == (WaitKind.UNKNOWN, ("Q2",))
        question = await unknown_question(post)
        assert "Did bell.ring happen?" in question.text
        assert await post.perform_all() == []
        await post.answer(question.id, state, text=text)
        assert (await post.perform()).state is TaskState.DONE
        (told,) = await post.told()
        assert said in told
        assert bell.rung == rung

    at_post(at_desk, scene)


def test_leave_to_repeat_is_good_for_one_time(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        bell = Bell()
        post = Post(post.desk, bell.tool)
        await post.new_node()
        await post.answer((await post.ask("bell.ring", {"tone": "c"})).id)
        bell.hangs = True
        await post.die_in(bell.reached)
        await post.perform()
        await post.answer((await unknown_question(post)).id)
        bell.reached.clear()
        await post.die_in(bell.reached)
        parked = await post.perform()
        assert (parked.state, parked.wait and parked.wait.refs) == (TaskState.WAITING, ("Q3",))
        assert bell.rung == ["c", "c"]
        kinds = [type(each) for each in await post.journal(2)]
        assert kinds == [ToolIntent, Answered, ToolIntent]

    at_post(at_desk, scene)


@pytest.mark.parametrize(("happened", "rung"), [(True, ["c"]), (False, ["c", "c"]), (None, ["c"])])
def test_a_probe_settles_a_doubt_where_it_can(at_desk: Play, *, happened: bool | None, rung: list[str]) -> None:
    async def probe(_context: ToolContext, _arguments: dict[str, Any]) -> bool | None:
        return happened

    async def scene(post: Post) -> None:
        bell = Bell(probe=probe)
        post = Post(post.desk, bell.tool)
        await post.new_node()
        await post.answer((await post.ask("bell.ring", {"tone": "c"})).id)
        bell.hangs = True
        await post.die_in(bell.reached)
        bell.hangs = False
        task = await post.perform()
        assert bell.rung == rung
        if happened is None:
            assert (task.state, (await unknown_question(post)).call_id) == (TaskState.WAITING, "Q1")
        else:
            words = "it had happened before the interruption" if happened else "rang c"
            assert (task.state, words in (await post.told())[0]) == (TaskState.DONE, True)

    at_post(at_desk, scene)


def test_a_probe_that_fails_leaves_the_doubt_to_a_person(at_desk: Play) -> None:
    async def probe(_context: ToolContext, _arguments: dict[str, Any]) -> bool | None:
        raise ConnectionError("no line")

    async def scene(post: Post) -> None:
        bell = Bell(probe=probe)
        post = Post(post.desk, bell.tool)
        await post.new_node()
        await post.answer((await post.ask("bell.ring", {"tone": "c"})).id)
        bell.hangs = True
        await post.die_in(bell.reached)
        task = await post.perform()
        assert (task.state, (await unknown_question(post)).call_id) == (TaskState.WAITING, "Q1")
        assert bell.rung == ["c"]

    at_post(at_desk, scene)


def test_a_deletion_that_was_cut_off_is_settled_by_looking(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        (post.desk.workspace / "a.md").write_text("x")
        await post.answer((await post.ask("files.delete", {"path": "a.md"})).id)
        task = await post.claim()
        assert task is not None
        key = key_of(task, "Q1")
        intent = ToolIntent(
            call_id="Q1", tool="files.delete", effect=Effect.REVERSIBLE, arguments={"path": "a.md"}, key=key
        )
        await post.desk.see(
            lambda tx: tx.record_steps(Claim(task=task.id, token=task.token), (intent,), now=post.clock.now())
        )
        await post.desk.call("files.delete", {"path": "a.md"}, key=key)
        await post.new_node()
        assert (await post.perform()).state is TaskState.DONE
        assert "it had happened" in (await post.told())[0]
        assert len(list((post.desk.workspace / ".ostinato" / "trash").iterdir())) == 1

    at_post(at_desk, scene)


def test_a_delivery_is_among_the_tasks_but_not_among_the_goals(at_desk: Play) -> None:
    async def scene(post: Post) -> None:
        await post.desk.call("message.send", MAIL)
        tallies = await post.desk.see(lambda tx: tx.tallies())
        assert (tallies.goals.get("ready", 0), tallies.tasks["ready"]) == (0, 2)
        assert len(await post.desk.see(lambda tx: tx.tasks(TaskFilter(kinds=frozenset({TaskKind.DELIVERY}))))) == 1

    at_post(at_desk, scene)
