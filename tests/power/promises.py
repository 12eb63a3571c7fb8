"""What the world outside has been told is in the store: every line of its log is a promise.

A sender was told that its task is safe, somebody heard that one is done, a tool acted on an intent, a model was shown
what an earlier reply led to. Whatever becomes of the disk, the store must know of each. Knows
nothing of how it was cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from typing import assert_never

from ostinato.config import STATE_FOLDER
from ostinato.domain.errors import NotFound, OstinatoError
from ostinato.domain.step import Entry, ModelAnswer, ModelIntent, ToolIntent
from ostinato.domain.task import TaskState
from ostinato.store.port import QuestionFilter, Reads, TaskFilter
from ostinato.store.sqlite import open_store
from tests.crash.outside import Line, What
from tests.crash.record import LIMIT
from tests.power.cuts import Cut


def findings_of(cut: Cut) -> list[str]:
    """What is wrong with the store after a cut."""
    return asyncio.run(_findings_of(cut))


async def _findings_of(cut: Cut) -> list[str]:
    try:
        store = open_store(cut.folder / STATE_FOLDER)
    except OstinatoError as error:
        return [f"broken: {error}"]
    try:
        checked = await store.check()
        found = await store.read(lambda reads: broken_promises(reads, cut.outside))
        return found if checked == "ok" else [f"broken: {checked}", *found]
    finally:
        await store.close()


def broken_promises(reads: Reads, lines: Sequence[Line]) -> list[str]:
    """What the store does not know of, a line each."""
    books = _Books(reads)
    return [f"lost: {line.what.value} {line.task} {line.call} {line.name}" for line in lines if not books.know(line)]


class _Books:
    """The store, as far as lines ask for it."""

    def __init__(self, reads: Reads) -> None:
        self._reads = reads
        tasks = reads.tasks(TaskFilter(), limit=LIMIT)
        self._keys = {task.key for task in tasks} | set(_clients(reads))
        self._done = {task.name for task in tasks if task.state is TaskState.DONE}
        self._asked = {(f"T{q.task}", q.call_id) for q in reads.questions(QuestionFilter(state=None), limit=LIMIT)}
        self._journals: dict[str, Sequence[Entry]] = {}

    def know(self, line: Line) -> bool:
        match line.what:
            case What.SENT:
                return line.name in self._keys
            case What.DONE:
                return line.task in self._done
            case What.QUESTION:
                return (line.task, line.call) in self._asked
            case What.DID:
                journal = self._journal(line.task)
                return any(isinstance(each, ToolIntent) and each.call_id == line.call for each in journal)
            case What.ASKED:
                journal, call = self._journal(line.task), int(line.call)
                answered = {each.call for each in journal if isinstance(each, ModelAnswer)}
                asked = {each.call for each in journal if isinstance(each, ModelIntent)}
                return call in asked and answered >= set(range(1, call))
            case What.BEGAN | What.COMMIT | What.REFUSED | What.REPAIRED:
                return True
            case _:
                assert_never(line.what)

    def _journal(self, task: str) -> Sequence[Entry]:
        if task not in self._journals:
            self._journals[task] = self._steps(int(task.removeprefix("T")))
        return self._journals[task]

    def _steps(self, task: int) -> Sequence[Entry]:
        try:
            return [step.entry for step in self._reads.steps(task)]
        except NotFound:
            return ()


def _clients(reads: Reads) -> Iterator[str | None]:
    for session in reads.sessions(limit=LIMIT):
        yield from (message.client_id for message in reads.messages(session.key, limit=LIMIT))
