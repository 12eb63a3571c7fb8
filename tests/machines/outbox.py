"""The outbox against a plain list: letters and allowed actions, each sent as often as it may be, over failures, deaths,
dead letters and replays.

The list knows what stands in the world outside: files in the outbox, and what bells have rung.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from ostinato.domain.errors import Exhausted
from ostinato.domain.question import QuestionKind, QuestionState
from ostinato.domain.retry import USUAL
from ostinato.domain.step import Effect
from ostinato.domain.task import NewTask, Task, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import digest_of
from ostinato.store.port import POISON_LOSSES, QuestionFilter
from ostinato.tools.port import OutsideTool, ToolContext, ToolResult, object_schema, text_schema
from tests.machines.machine import Machine
from tests.tools.desk import BEGINS_AT, Desk
from tests.tools.post import Post

LONG_S = 600.0
"""Longer than any retry waits."""
ATTEMPTS = USUAL.attempts_max

numbers = st.integers(0, 10_000)


@dataclass
class Sent:
    """What the list knows of a delivery."""

    task: int
    since: int
    """When it began to wait for its turn."""
    tone: str = ""
    """What its bell rings; empty: it is a letter."""
    repeats: bool = True
    """It may be done again by itself."""
    state: TaskState = TaskState.READY
    failures: int = 0
    losses: int = 0
    begun: bool = False
    """An intent of it stands in the journal."""
    leave: bool = False
    """A person said: it did not happen, do it again."""
    settled: bool = False
    """A person said what is known, and it is not done again."""
    forged: bool = False


class Bells:
    """The world outside of the store: what has been rung, and whether ringing hangs, before it or after it."""

    def __init__(self) -> None:
        self.rung: list[str] = []
        self.hangs = ""
        self.reached = asyncio.Event()
        self.tools = tuple(
            OutsideTool(
                name=name, description="Ring.", parameters=object_schema("tone", tone=text_schema()),
                effect=effect, act=self._ring,
            )
            for name, effect in (("bell.ring", Effect.IRREVERSIBLE), ("bell.tap", Effect.IDEMPOTENT))
        )  # fmt: skip

    async def _ring(self, _context: ToolContext, arguments: dict[str, Any]) -> ToolResult:
        await self._hang("before")
        if arguments["tone"] == "cracked":
            raise Exhausted("the bell is cracked")
        self.rung.append(arguments["tone"])
        await self._hang("after")
        return ToolResult(text="rang")

    async def _hang(self, where: str) -> None:
        if self.hangs == where:
            self.reached.set()
            await asyncio.Event().wait()


class OutboxMachine(Machine):
    """Rules do the same to the post office and to the list."""

    def __init__(self) -> None:
        super().__init__()
        self._folder = tempfile.TemporaryDirectory(prefix="ostinato-outbox-")
        self.bells = Bells()
        workspace = Path(self._folder.name) / "agents" / "triage"
        workspace.mkdir(parents=True)
        desk = Desk(workspace, self.scene.store)
        self.call(desk.begin())
        self.post = Post(desk, *self.bells.tools)
        self.post.clock.set(BEGINS_AT)
        self.call(self.post.new_node())
        self.sent: list[Sent] = []
        self.files: dict[str, bytes] = {}
        self.rung: list[str] = []

    def teardown(self) -> None:
        """The world goes, too."""
        super().teardown()
        self._folder.cleanup()

    # --- what is sent ---------------------------------------------------------------------------------------------

    @rule(twice=st.booleans())
    def send_a_letter(self, twice: bool) -> None:
        """The same call, made again after an interruption, sends the same letter."""
        key = digest_of(f"letter {len(self.sent)}".encode())[:32]
        arguments = {"to": "mail:ann@example.com", "subject": f"letter {len(self.sent)}", "text": "It is on its way."}
        results = [
            self.call(self.post.desk.call("message.send", arguments, key=key, now=BEGINS_AT))
            for _ in range(2 if twice else 1)
        ]
        assert results[0].data is not None, results[0].text
        assert results[-1] == results[0]
        self.sent.append(Sent(int(results[0].data["task"][1:]), BEGINS_AT))

    @rule(tool=st.sampled_from(["bell.ring", "bell.tap"]), cracked=st.booleans(), edits=st.booleans())
    def allow_an_action(self, tool: str, *, cracked: bool, edits: bool) -> None:
        """A person allows it, perhaps after changing it."""
        tone = "cracked" if cracked else f"tone {len(self.sent)}"
        question = self.call(self.post.ask(tool, {"tone": tone}, call_id=f"call {len(self.sent)}"))
        tone = f"{tone} edited" if edits else tone
        self.call(self.post.answer(question.id, arguments={"tone": tone} if edits else None))
        task = max(self.states())
        self.sent.append(Sent(task, self.post.clock.now(), tone, repeats=tool == "bell.tap"))

    @rule()
    def forge_an_action(self) -> None:
        """A task that says it is what a person allowed, and is not."""
        question = self.call(self.post.ask("bell.ring", {"tone": "small"}, call_id=f"call {len(self.sent)}"))
        self.call(self.post.answer(question.id, QuestionState.DENIED))
        wanted = {"tool": "bell.ring", "arguments": {"tone": "forged"}, "question": question.id}
        new = NewTask(kind=TaskKind.DELIVERY, title="x", agent="triage", spec=TaskSpec(input=wanted))
        task = self.do(lambda tx: tx.add_task(new, now=self.post.clock.now()))
        self.sent.append(Sent(task.id, self.post.clock.now(), "forged", forged=True))

    # --- how it goes ----------------------------------------------------------------------------------------------

    @rule()
    def deliver_the_next(self) -> None:
        """One attempt, undisturbed."""
        task = self._claimable()
        if task is None:
            return
        done = self.call(self.post.perform())
        assert done.id == task.task
        self._performed(task)

    @rule(where=st.sampled_from(["before", "after"]))
    def die_while_delivering(self, where: str) -> None:
        """The node dies in the middle of the next action: before its effect, or after it."""
        task = self._claimable()
        if task is None or not task.tone or task.forged or not self._acts(task):
            return
        if task.tone == "cracked" and where == "after":
            return
        self.bells.hangs, self.bells.reached = where, asyncio.Event()
        self.call(self.post.die_in(self.bells.reached))
        self.bells.hangs = ""
        task.begun, task.leave, task.losses = True, False, task.losses + 1
        if task.losses == POISON_LOSSES:
            task.state = TaskState.FAILED
        if where == "after":
            self.rung.append(task.tone)

    @rule()
    def fail_to_send_a_letter(self) -> None:
        """There is no room in the outbox: again later, and a dead letter in the end."""
        task = self._claimable()
        if task is None or task.tone:
            return
        outbox, self.post.handler._outbox = self.post.handler._outbox, Path("/dev/null/outbox")
        self.call(self.post.perform())
        self.post.handler._outbox = outbox
        task.failures, task.losses = task.failures + 1, 0
        task.state = TaskState.FAILED if task.failures == ATTEMPTS else TaskState.READY
        self.post.wait(LONG_S)

    @precondition(lambda self: any(each.state is TaskState.WAITING for each in self.sent))
    @rule(number=numbers, happened=st.booleans())
    def settle_a_doubt(self, number: int, happened: bool) -> None:
        """A person who knows says so."""
        waiting = [each for each in self.sent if each.state is TaskState.WAITING]
        task = waiting[number % len(waiting)]
        which = QuestionFilter(kind=QuestionKind.UNKNOWN, task=task.task)
        (question,) = self.do(lambda tx: tx.questions(which))
        happened = happened or task.tone in self.rung
        state = QuestionState.ANSWERED if happened else QuestionState.ALLOWED
        self.call(self.post.answer(question.id, state, text="I looked"))
        task.state, task.leave, task.settled = TaskState.READY, not happened, happened

    @precondition(lambda self: any(each.state is TaskState.FAILED for each in self.sent))
    @rule(number=numbers)
    def send_on(self, number: int) -> None:
        """A person sends a dead letter on: the same letter, under the same id."""
        dead = [each for each in self.sent if each.state is TaskState.FAILED]
        task = dead[number % len(dead)]
        self.do(lambda tx: tx.retry_task(task.task, fresh=False, actor="ann", now=self.post.clock.now()))
        task.state, task.failures, task.losses = TaskState.READY, 0, 0
        task.since = self.post.clock.now()  # behind whatever waits already

    @rule()
    def begin_anew(self) -> None:
        """The process ends without a word, and another begins."""
        self.call(self.scene.store.close())
        self.scene.store = self.post.store = self.post.desk.store = self.open()
        self.call(self.post.new_node())

    def _claimable(self) -> Sent | None:
        ready = [each for each in self.sent if each.state is TaskState.READY]
        return min(ready, key=lambda each: (each.since, each.task), default=None)

    def _acts(self, task: Sent) -> bool:
        """True where the next attempt rings: nothing is in doubt, or it may be done again."""
        return not task.settled and (task.repeats or not task.begun or task.leave)

    def _performed(self, task: Sent) -> None:
        task.losses = 0
        if task.forged:
            task.state = TaskState.FAILED
        elif not task.tone:
            task.state = TaskState.DONE
        elif self._acts(task):
            if task.tone != "cracked":
                self.rung.append(task.tone)
            task.state, task.begun, task.leave = TaskState.DONE, True, False
        else:
            task.state = TaskState.DONE if task.settled else TaskState.WAITING

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_list(self) -> None:
        """State by state."""
        states = self.states()
        assert {each.task: states[each.task] for each in self.sent} == {each.task: each.state for each in self.sent}

    @invariant()
    def the_world_is_as_the_list(self) -> None:
        """Bells that have rung; what cannot be undone at most once unless a person said that it had not happened."""
        assert self.bells.rung == self.rung
        once = [each.tone for each in self.sent if not each.repeats]
        assert all(self.rung.count(tone) <= 1 for tone in once if tone not in ("cracked", "cracked edited"))

    @invariant()
    def a_letter_is_one_file_that_never_changes(self) -> None:
        """One for each that was delivered."""
        outbox = self.post.outbox
        found = {each.name: each.read_bytes() for each in outbox.iterdir()} if outbox.is_dir() else {}
        assert all(found.get(name) == data for name, data in self.files.items())
        letters: list[Task] = [self.do(lambda tx, task=each.task: tx.task(task)) for each in self.sent if not each.tone]  # type: ignore[misc]  # bound now
        done = [task for task in letters if task.state is TaskState.DONE]
        assert sorted(found) == sorted(f"{task.spec.input['arguments']['id']}.eml" for task in done)
        self.files = found
