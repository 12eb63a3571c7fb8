"""Errands: tasks with one irreversible deed each, a log outside the store, and a judge who believes that log alone.

An errand writes its intent, does its deed (a line in the log), and hands in its result with its end. One that finds an
intent without a result does not repeat the deed: it says aloud that it is in doubt. Knows nothing of what goes wrong.
"""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Iterator
from pathlib import Path

from ostinato.domain.event import EventName
from ostinato.domain.step import Effect, ResultStatus, ToolIntent, ToolOutcome
from ostinato.domain.task import Done, Task, TaskKind, TaskResult, TaskState
from ostinato.engine.port import AttemptPort, Ending
from ostinato.store.port import EventFilter, Reads, Store, TaskFilter

MANY = 100_000


class Outside:
    """The world outside: a file that no database can undo. Each line is one write."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)

    def say(self, *words: object) -> None:
        """Appends a line, with who says it."""
        os.write(self._file, (" ".join(map(str, (*words, os.getpid()))) + "\n").encode())

    def lines(self, word: str) -> list[list[str]]:
        """The lines that begin with this word, without it; the last word is a pid."""
        return [line.split()[1:] for line in self.path.read_text().splitlines() if line.startswith(f"{word} ")]

    def close(self) -> None:
        """Nothing more is said."""
        os.close(self._file)


async def perform(attempt: AttemptPort, outside: Outside, *, pause_s: float = 0.0, again: bool = False) -> Ending:
    """The deed of a task, named after its title. `again` is the seeded bug: a deed in doubt is repeated."""
    task = attempt.task
    outside.say("begin", task.id, attempt.claim.token)
    steps = await attempt.store.read(lambda reads: reads.steps(task.id))
    intended = any(isinstance(step.entry, ToolIntent) for step in steps)
    status = ResultStatus.UNKNOWN if intended and not again else ResultStatus.OK
    if status is ResultStatus.UNKNOWN:
        outside.say("doubt", task.title)
    else:
        intent = ToolIntent(call_id="1.1", tool="world.fire", effect=Effect.IRREVERSIBLE, arguments={}, key=task.name)
        await attempt.record([intent])
        outside.say("effect", task.title)
        await attempt.clock.sleep(pause_s)
    return Ending(
        outcome=Done(result=TaskResult(text=str(os.getpid()))),
        entries=(ToolOutcome(call_id="1.1", tool="world.fire", status=status),),
    )


async def judge(store: Store, outside: Outside, sent: Iterable[str]) -> list[str]:
    """What is wrong with the tasks of these titles, whose senders were told that they are safe; empty: nothing."""

    def look(reads: Reads) -> tuple[list[Task], Counter[int]]:
        done = reads.events(EventFilter(names=frozenset({EventName.TASK_DONE})), limit=MANY)
        return reads.tasks(TaskFilter(), limit=MANY), Counter(event.task or 0 for event in done)

    tasks, endings = await store.read(look)
    counters = await store.check()
    found = [] if counters == "ok" else [counters]
    titles = Counter(task.title for task in tasks if task.kind is TaskKind.GOAL)
    wanted = Counter(sent)
    found += [f"lost: {title}" for title in wanted - titles]
    found += [f"there twice: {title}" for title in titles - wanted]
    found += [f"lost: {task.title} is {task.state.value}" for task in tasks if task.state is not TaskState.DONE]
    found += [f"completed {times} times: T{task}" for task, times in endings.items() if times != 1]
    return [*found, *_deeds(tasks, outside), *_ghosts(tasks, outside)]


def _deeds(tasks: Iterable[Task], outside: Outside) -> Iterator[str]:
    """Each deed was done once; or it is in doubt, was said to be so, and was done once at most."""
    effects = Counter(title for title, _pid in outside.lines("effect"))
    doubts = {title for title, _pid in outside.lines("doubt")}
    for title, times in effects.items():
        if times > 1:
            yield f"done {times} times: {title}"
    performed = {int(task) for task, _token, _pid in outside.lines("begin")}
    for task in tasks:
        if task.id in performed and task.title not in effects and task.title not in doubts:
            yield f"never done, and nobody says so: {task.title}"


def _ghosts(tasks: Iterable[Task], outside: Outside) -> Iterator[str]:
    """The result of a task is that of whoever claimed it last, not that of one who came back."""
    last: dict[int, tuple[int, str]] = {}
    for task_id, token, pid in outside.lines("begin"):
        last[int(task_id)] = max(last.get(int(task_id), (0, "")), (int(token), pid))
    for task in tasks:
        if task.id in last and task.result is not None and task.result.text != last[task.id][1]:
            yield f"written by a ghost: {task.title}"
