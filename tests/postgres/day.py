"""A scripted day of one node and one sender: errands of every kind, a question, messages, and their ends.

Knows nothing of what goes wrong with their connections.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from typing import TypeVar

from ostinato.domain.errors import NotFound
from ostinato.domain.event import Event, EventName
from ostinato.domain.message import NewMessage
from ostinato.domain.question import Answer, NewQuestion, QuestionKind, QuestionState
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.step import Answered
from ostinato.domain.task import (
    UNFINISHED,
    Done,
    NewTask,
    Outcome,
    Park,
    Retry,
    Task,
    TaskKind,
    TaskResult,
    TaskSpec,
    Wait,
    WaitKind,
)
from ostinato.domain.values import Source
from ostinato.engine.clock import SystemClock
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.port import AttemptPort, Ending
from ostinato.store.port import Store, StoreAway, TaskFilter, Tx
from ostinato.store.postgres import open_postgres
from tests.engine.house import Deed, never_fire
from tests.postgres.errand import Outside, judge, perform

T = TypeVar("T")

QUICKLY = TaskSpec(retry=RetryPolicy(attempts_max=3, base_s=0.0, jitter=False))
SESSION = "main:a"
OPENINGS_MAX = 5
DAY_S = 60.0
TEXTS = ("one", "two", "three")


async def work(attempt: AttemptPort, outside: Outside) -> Outcome | Ending:
    """An errand; what its title begins with says what comes before the deed."""
    if attempt.task.title == "stumble" and attempt.task.failures == 0:
        return Retry(error="not yet")
    if attempt.task.title == "ask":
        steps = await attempt.store.read(lambda reads: reads.steps(attempt.task.id))
        if not any(isinstance(step.entry, Answered) for step in steps):
            return await ask(attempt)
    return await perform(attempt, outside)


async def ask(attempt: AttemptPort) -> Ending:
    """Asks a person, and parks in the same commit."""
    asked = NewQuestion(
        kind=QuestionKind.ASK, text="May I?", agent="a", task=attempt.task.id, session="", call_id="0.1"
    )

    def within(tx: Tx) -> None:
        tx.ask(asked, now=attempt.clock.now())

    return Ending(outcome=Park(wait=Wait(kind=WaitKind.QUESTION), reason="question"), within=within)


async def read_inbox(attempt: AttemptPort, outside: Outside) -> Outcome:
    """A turn: reads what is there, and says so when it is safe."""

    def read(tx: Tx) -> list[str]:
        messages = tx.inbox(SESSION)
        if messages:
            tx.advance_cursor(SESSION, messages[-1].id, now=attempt.clock.now())
        return [message.text for message in messages]

    for text in await attempt.store.run(read):
        outside.say("read", text)
    return Done(result=TaskResult(text="read"))


class Sender:
    """Whoever gives the node its work, over a store of its own; answers every question."""

    def __init__(self, store: Store) -> None:
        self.store = store
        self.sent: list[str] = []
        """Titles of tasks that are safe, as the sender was told."""
        self._clock = SystemClock()
        self._answers: set[asyncio.Task[object]] = set()
        self._remove = store.subscribe(self._heard)

    async def add(self, title: str, **more: object) -> Task:
        """A task; returns when it is safe."""
        new = NewTask(kind=TaskKind.GOAL, title=title, agent="a", **more)  # type: ignore[arg-type]  # passed on
        task = await self._insist(lambda tx: tx.add_task(new, now=self._clock.now()))
        self.sent.append(title)
        return task

    async def say(self, text: str) -> None:
        """A message; returns when it is safe."""
        new = NewMessage(text=text, source=Source.OPERATOR)
        await self._insist(lambda tx: tx.append_message(SESSION, new, agent="a", now=self._clock.now()))

    async def close(self) -> None:
        """Nothing more is answered."""
        self._remove()
        if self._answers:
            await asyncio.wait(self._answers)

    async def _insist(self, fn: Callable[[Tx], T]) -> T:
        """Again, where the store says that nothing was written; there are no keys that would hide a double."""
        while True:
            try:
                return await self.store.run(fn)
            except StoreAway:
                continue

    def _heard(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.name is EventName.QUESTION_ASKED:
                answering = asyncio.ensure_future(self._answer(event.data["question"]))
                self._answers.add(answering)
                answering.add_done_callback(self._answers.discard)

    async def _answer(self, question: int) -> None:
        answer = Answer(state=QuestionState.ANSWERED, by="ann", text="yes")
        await self._insist(lambda tx: tx.answer(question, answer, now=self._clock.now()))


def opened(url: str) -> Store:
    """A store; whoever is cut off while opening one opens it again, as a supervisor does."""
    for _ in range(OPENINGS_MAX):
        with contextlib.suppress(StoreAway):
            return open_postgres(url)
    raise AssertionError("a store cannot be opened")


async def live_a_day(url: str, outside: Outside) -> list[str]:
    """The whole day over this URL; returns what the judge finds."""
    store, senders = opened(url), opened(url)
    sender = Sender(senders)
    handlers = (
        Deed(lambda attempt: work(attempt, outside)),
        Deed(lambda attempt: read_inbox(attempt, outside), kind=TaskKind.TURN),
    )
    settings = NodeSettings(
        version="0", limits=EngineLimits(tasks=8, agent_default=100), exclusive=False, drain_s=0.0, cancel_s=1.0
    )
    node = EngineNode(
        store, handlers, clock=SystemClock(), settings=settings, fire=never_fire, notify=lambda notice: None
    )
    await node.start()
    refused: list[str] = []
    try:
        async with asyncio.timeout(DAY_S):
            await pass_the_time(sender, node)
    except TimeoutError:
        outside.say("night")  # what has not ended now is found by the judge
    except NotFound as error:
        refused = [f"lost: {error}"]
    await sender.close()
    await node.stop()
    found = refused + await judge(senders, outside, sender.sent)
    await store.close()
    await senders.close()
    texts = [text for text, _pid in outside.lines("read")]
    return found if texts == [*TEXTS] else [*found, f"read otherwise: {texts}"]


async def pass_the_time(sender: Sender, node: EngineNode) -> None:
    """Sends everything, and waits for every end."""
    first, *rest = await asyncio.gather(*(sender.add(each, spec=QUICKLY) for each in ("a", "b", "stumble", "ask")))
    last = await sender.add("last", after=(first.id,))
    for text in TEXTS:
        await sender.say(text)
    for task in (first, *rest, last):
        await node.completions.wait(task.id)
    turns = TaskFilter(session=SESSION, states=UNFINISHED)
    while left := await sender.store.read(lambda reads: reads.tasks(turns)):  # the end of one may make the next
        await node.completions.wait(left[0].id)
