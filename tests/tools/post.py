"""A post office for trying deliveries: a desk, the engine's own attempts, and nodes that die in the middle.

Knows nothing of what is delivered.
"""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

from msgspec.structs import replace

from ostinato.domain.policy import Policy
from ostinato.domain.question import Action, Answer, NewQuestion, Question, QuestionKind, QuestionState
from ostinato.domain.step import Entry, ToolIntent
from ostinato.domain.task import Task, TaskKind
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.attempt import Attempt, Stop
from ostinato.engine.finisher import Finisher
from ostinato.store.port import ClaimRequest, Tx
from ostinato.testing.clock import ManualClock
from ostinato.tools.delivery import DeliveryHandler
from ostinato.tools.port import AnyTool, ToolContext
from ostinato.tools.toolbox import Toolbox
from tests.tools.desk import BEGINS_AT, Desk

ALLOWING = Policy(
    agent="triage",
    tools=("*", "files.delete", "message.send", "bell.ring"),
    recipients=("operator", "mail:*@example.com"),
)


class Post:
    """Performs deliveries with the engine's own attempts. What the attempts say is kept in `noticed`."""

    draining = False
    preempted = False

    def __init__(self, desk: Desk, *tools: AnyTool) -> None:
        self.desk = desk
        self.store = desk.store
        self.clock = ManualClock(BEGINS_AT)
        self.finisher = Finisher()
        self.policy = ALLOWING
        self.missing: Exception | None = None
        self.noticed: list[object] = []
        self.outbox: Path = desk.workspace.parent.parent / "outbox"
        self.handler = DeliveryHandler(
            toolbox=Toolbox([*desk.box, *tools]), contexts=self.context_of, outbox=self.outbox
        )
        self._node = 0

    def context_of(self, _tx: Tx, task: Task, *, intent: ToolIntent, now: Instant, repeated: bool) -> ToolContext:
        """The agent's context as it is now, or the error that it is gone."""
        if self.missing is not None:
            raise self.missing
        given = self.desk.context(policy=self.policy, now=now, repeated=repeated)
        return replace(given, task=task.id, call_id=intent.call_id, key=intent.key, session="")

    async def new_node(self) -> None:
        """A node starts; whatever an older one had claimed is void."""
        node = await self.desk.see(
            lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=self.clock.now())
        )
        self._node = node.id

    async def claim(self) -> Task | None:
        """The next delivery."""
        request = ClaimRequest(node=self._node, kinds=(TaskKind.DELIVERY,), agent_limit_default=9)
        claimed = await self.desk.see(lambda tx: tx.claim(request, now=self.clock.now()))
        return claimed[0] if claimed else None

    async def perform(self) -> Task:
        """One whole attempt of the next delivery; gives the task as it is then."""
        task = await self.claim()
        assert task is not None, "nothing to deliver"
        attempt = Attempt(task, self.handler, self)
        attempt.start()
        await attempt.wait_ended()
        return await self.task(task.id)

    async def perform_all(self) -> list[Task]:
        """Every delivery that is ready now."""
        done = []
        while (task := await self.claim()) is not None:
            attempt = Attempt(task, self.handler, self)
            attempt.start()
            await attempt.wait_ended()
            done.append(await self.task(task.id))
        return done

    async def die_in(self, reached: asyncio.Event) -> None:
        """Begins the next delivery, and when it has `reached` a point its node dies: no result, no outcome."""
        task = await self.claim()
        assert task is not None
        attempt = Attempt(task, self.handler, self)
        attempt.start()
        await reached.wait()
        await self.new_node()  # the claim is void from here on
        attempt.stop(Stop.LOST)
        await attempt.wait_ended()

    async def task(self, number: int) -> Task:
        """A task as it is now."""
        return await self.desk.see(lambda tx: tx.task(number))

    async def journal(self, number: int) -> list[Entry]:
        """What a task has done."""
        return [step.entry for step in await self.desk.see(lambda tx: tx.steps(number))]

    async def ask(self, tool: str, arguments: dict[str, Any], **more: Any) -> Question:
        """An action of the shared session main:triage waits for a person."""
        new = NewQuestion(
            **{
                "kind": QuestionKind.APPROVAL,
                "text": f"May triage call {tool}?",
                "agent": "triage",
                "task": self.desk.task,
                "session": "main:triage",
                "call_id": f"9.{len(self.noticed)}",
                "action": Action(tool=tool, arguments=arguments, agent="triage"),
                "stored": True,
                **more,
            }
        )
        return await self.desk.see(lambda tx: tx.ask(new, now=self.clock.now()))

    async def answer(self, question: int, state: QuestionState = QuestionState.ALLOWED, **more: Any) -> Question:
        """Ann settles a question."""
        answer = Answer(state=state, by="ann", **more)
        return await self.desk.see(lambda tx: tx.answer(question, answer, now=self.clock.now()))

    async def told(self) -> list[str]:
        """What the session main:triage has been told."""
        return [message.text for message in await self.desk.see(lambda tx: tx.messages("main:triage"))]

    def wait(self, seconds: float) -> None:
        """Moves the clock."""
        self.clock.set(self.clock.now() + round(seconds * SECOND))

    # what the engine's attempts want around them

    def notify(self, notice: object) -> None:
        """Keeps what an attempt says."""
        self.noticed.append(notice)

    def ended(self, attempt: Attempt) -> None:
        """Nothing to do."""
