"""What a fleet's store and folders hold: the evidence beside the log of the world outside.

Knows nothing of what should be there.
"""

from __future__ import annotations

from collections.abc import Sequence
from email import message_from_bytes, policy
from pathlib import Path
from typing import Any

import msgspec

from ostinato.domain.question import Question
from ostinato.domain.step import Effect, Entry, ModelAnswer, ModelIntent, ToolIntent, ToolOutcome
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.domain.values import Value
from ostinato.store.port import Attempt, QuestionFilter, Reads, TaskFilter
from tests.crash.outside import Line, Survey, read_outside

FILE = "record.json"
OUTSIDE = "outside.log"
LIMIT = 100_000


class TaskRecord(Value):
    """One task with its journal."""

    task: Task
    journal: tuple[Entry, ...]
    attempts: tuple[Attempt, ...]


class Record(Value):
    """Everything that a run left behind. What stands outside is filled in by whoever reads it."""

    tasks: tuple[TaskRecord, ...]
    questions: tuple[Question, ...]
    messages: tuple[str, ...]
    """Client ids of all messages, by session."""
    skips: int
    letters: tuple[str, ...] = ()
    """Files of the outbox: recipient, subject and text."""
    notes: tuple[str, ...] = ()
    """Lines of all daily notes, by agent."""
    files: tuple[str, ...] = ()
    """What became of dropped files."""
    work: tuple[str, ...] = ()
    """What agents wrote into their own files."""
    outside: tuple[Line, ...] = ()

    def write(self, folder: Path) -> None:
        """Beside the fleet's files, whole or not at all."""
        part = folder / f"{FILE}.part"
        part.write_bytes(msgspec.json.encode(self))
        part.replace(folder / FILE)


def read_record(folder: Path) -> Record:
    """What `play` wrote, with what stands outside."""
    record = msgspec.json.decode((folder / FILE).read_bytes(), type=Record)
    return msgspec.structs.replace(record, outside=read_outside(folder / OUTSIDE))


def record_of(reads: Reads, *, folder: Path) -> Record:
    """The store and the folders as they are now."""
    tasks = reads.tasks(TaskFilter(), limit=LIMIT)[::-1]
    sessions = reads.sessions(limit=LIMIT)
    return Record(
        tasks=tuple(
            TaskRecord(
                task=task,
                journal=tuple(step.entry for step in reads.steps(task.id)),
                attempts=tuple(reads.attempts(task.id)),
            )
            for task in tasks
        ),
        questions=tuple(reads.questions(QuestionFilter(state=None), limit=LIMIT)[::-1]),
        messages=tuple(
            f"{session.key}: {message.client_id}"
            for session in sessions
            for message in reads.messages(session.key, limit=LIMIT)
        ),
        skips=sum(each.count for each in reads.skips(limit=LIMIT)),
        letters=tuple(sorted(_letter(path) for path in (folder / "outbox").glob("*"))),
        notes=tuple(_notes(folder)),
        files=tuple(sorted(_file(path, folder) for path in folder.glob("**/inbox/**/*") if path.is_file())),
        work=tuple(sorted(f"{path.relative_to(folder)}: {path.read_text()}" for path in folder.glob("agents/*/out/*"))),
    )


def survey_of(reads: Reads) -> Survey:
    """What was under way in every unfinished task."""
    answered: dict[str, int] = {}
    models: list[str] = []
    tools: list[tuple[str, str, str]] = []
    kinds = frozenset({TaskKind.GOAL, TaskKind.TURN, TaskKind.DELIVERY})
    states = frozenset({TaskState.RUNNING, TaskState.READY, TaskState.WAITING})
    for task in reads.tasks(TaskFilter(states=states, kinds=kinds), limit=LIMIT):
        entries = [step.entry for step in reads.steps(task.id)]
        answered[task.name] = max((each.call for each in entries if isinstance(each, ModelAnswer)), default=0)
        if task.state is not TaskState.RUNNING:
            continue
        if any(isinstance(each, ModelIntent) and each.call > answered[task.name] for each in entries):
            models.append(task.name)
        tools.extend((task.name, each.call_id, each.effect.value) for each in open_calls(entries))
    return Survey(answered=answered, models=tuple(models), tools=tuple(tools))


def open_calls(entries: Sequence[Entry]) -> list[ToolIntent]:
    """Intents without a result."""
    closed = {each.call_id for each in entries if isinstance(each, ToolOutcome)}
    found = {each.call_id: each for each in entries if isinstance(each, ToolIntent) and each.call_id not in closed}
    return list(found.values())


UNREPEATABLE = frozenset({Effect.IRREVERSIBLE.value, Effect.REVERSIBLE.value})


def _letter(path: Path) -> str:
    letter: Any = message_from_bytes(path.read_bytes(), policy=policy.default)
    return f"{letter['To']}: {letter['Subject']}: {letter.get_content().strip()}"


def _notes(folder: Path) -> list[str]:
    found: list[str] = []
    for path in sorted(folder.glob("agents/*/memory/*.md")):
        agent = path.parts[-3]
        found.extend(f"{agent}: {line}" for line in path.read_text().splitlines() if line.startswith("- "))
    return found


def _file(path: Path, folder: Path) -> str:
    """`inbox/taken/chairs.md`: where a dropped file is, without the time in its name."""
    place = path.relative_to(folder)
    return str(place.with_name(place.name.partition("-")[2] or place.name))
