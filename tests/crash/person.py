"""The person of a scenario: answers every question as soon as it is there, and looks outside before saying what has
happened. Also sends dead letters on whose nodes died too often, as an operator would.

Knows nothing of why a question was asked.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.errors import Conflict, Exhausted
from ostinato.domain.event import Event, EventName
from ostinato.domain.question import Answer, Question, QuestionKind, QuestionState
from ostinato.domain.task import TaskState
from ostinato.engine.port import Clock
from ostinato.engine.service import Ground, Service
from ostinato.store.port import QuestionFilter, Reads, TaskFilter, Tx
from tests.crash.outside import Line, Outside, What

NAME = "operator"
POISON = "poison"

FORBIDDEN = "forbidden"
"""What a deed is called that is never allowed."""


class Person:
    """Whoever is asked."""

    def __init__(self, ground: Ground, outside: Outside) -> None:
        self._store = ground.store
        self._clock: Clock = ground.clock
        self._outside = outside
        self._service = Service("person", self._poll, ground)
        self._unsubscribe = ground.store.subscribe(self._heard)
        self._service.start()

    async def stop(self) -> None:
        """Answers nothing more."""
        self._unsubscribe()
        await self._service.stop()

    async def _poll(self) -> float:
        for question in await self._store.read(_pending):
            await self._settle(question)
        for task, error in await self._store.read(poisoned):
            self._outside.say(Line(what=What.REPAIRED, task=f"T{task}", name=error))
            await self._store.run(lambda tx, task=task: self._send_on(tx, task))  # type: ignore[misc]  # bound now
        return 60.0

    async def _settle(self, question: Question) -> None:
        self._outside.say(
            Line(what=What.QUESTION, task=f"T{question.task}", call=question.call_id, name=question.kind.value)
        )
        answer = self._answer(question)
        try:
            await self._store.run(lambda tx: tx.answer(question.id, answer, now=self._clock.now()))
        except (Conflict, Exhausted):
            return  # settled meanwhile, or no room: it will still be there

    def _answer(self, question: Question) -> Answer:
        match question.kind:
            case QuestionKind.APPROVAL if FORBIDDEN in str(question.action):
                return Answer(state=QuestionState.DENIED, by=NAME, text="not that")
            case QuestionKind.APPROVAL | QuestionKind.BUDGET:
                return Answer(state=QuestionState.ALLOWED, by=NAME)
            case QuestionKind.ASK:
                return Answer(state=QuestionState.ANSWERED, by=NAME, text=f"yes to {question.text}")
            case QuestionKind.UNKNOWN if self._has_happened(question):
                return Answer(state=QuestionState.ANSWERED, by=NAME, text="it has happened")
            case QuestionKind.UNKNOWN:
                return Answer(state=QuestionState.ALLOWED, by=NAME, text="nothing has happened")

    def _has_happened(self, question: Question) -> bool:
        return self._outside.count(What.DID, f"T{question.task}", question.call_id) > 0

    def _send_on(self, tx: Tx, task: int) -> None:
        if tx.task(task).state is TaskState.FAILED:
            tx.retry_task(task, fresh=False, actor=NAME, now=self._clock.now())

    def _heard(self, events: Sequence[Event]) -> None:
        for event in events:
            if event.name is EventName.TASK_DONE:
                self._outside.say(Line(what=What.DONE, task=f"T{event.task}"), durable=False)
        if any(event.name in (EventName.QUESTION_ASKED, EventName.TASK_FAILED) for event in events):
            self._service.wake()


def _pending(reads: Reads) -> list[Question]:
    return reads.questions(QuestionFilter())[::-1]


def poisoned(reads: Reads) -> list[tuple[int, str]]:
    """Dead letters that the person sends on, with what is said of each."""
    dead = reads.tasks(TaskFilter(dead=True))
    return [(task.id, task.result.error) for task in dead if task.result and task.result.error_class == POISON]
