"""The daily note, written by the runtime: one line for each turn and goal that ended, in the agent's own folder.

Follows the store's events from a stored position, so that a crash between the end of a task and its line costs nothing;
a line that is already there is not written again. No model has to remember to take notes. Knows nothing of turns.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Sequence

from ostinato.agents.prompt import local_time
from ostinato.domain.errors import NotFound, OstinatoError
from ostinato.domain.event import Event, EventName
from ostinato.domain.instant import local, zone_named
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.domain.values import SECOND, Instant, Trust
from ostinato.engine.port import Clock
from ostinato.store.port import EventFilter, Reads, Store, Tx
from ostinato.workspace.daily_note import append_note
from ostinato.workspace.registry import Workspaces

POSITION = "scribe.position"
"""Setting that holds the id of the last event that has its line."""

NOTED = frozenset({EventName.TASK_DONE, EventName.TASK_FAILED, EventName.TASK_CANCELLED})

BATCH = 200
"""Events followed in one poll."""

LINE_CHARACTERS_MAX = 240
"""A note is read again at each wake: one line, and not a long one."""

IDLE_S = 3_600.0
"""Seconds until the next look when no commit wakes it earlier."""

AGENT_KINDS = frozenset({TaskKind.GOAL, TaskKind.TURN})


class Scribe:
    """Writes what agents did into their memory folders."""

    def __init__(self, *, store: Store, workspaces: Workspaces, clock: Clock) -> None:
        self._store = store
        self._workspaces = workspaces
        self._clock = clock

    @staticmethod
    def concerns(events: Sequence[Event]) -> bool:
        """True where a commit holds something to note: then the service is woken."""
        return any(event.name in NOTED and event.agent for event in events)

    async def poll(self) -> float:
        """One batch of events; seconds until the next."""
        position = await self._store.read(lambda reads: int(reads.setting(POSITION) or 0))
        which = EventFilter(names=NOTED)
        events = await self._store.read(lambda reads: reads.events(which, after=position, limit=BATCH))
        if not events:
            return IDLE_S
        tasks = await self._store.read(lambda reads: _tasks(reads, events))
        await self._mark(tasks)
        await asyncio.to_thread(self._write, tasks)
        await self._store.run(lambda tx: tx.set_setting(POSITION, str(events[-1].id)))
        return 0.0 if len(events) == BATCH else IDLE_S

    async def _mark(self, tasks: Sequence[tuple[Task, Instant]]) -> None:
        """Before the line is written: a note about what strangers have had a hand in is theirs, too."""
        found = [(task, at) for task, at in tasks if is_tainted(task)]
        if not found:
            return
        zones = await asyncio.to_thread(self._zones, {task.agent or "" for task, _ in found})
        notes = [(task, note_of(at, timezone=zones.get(task.agent or "", "UTC"))) for task, at in found]

        def mark(tx: Tx) -> None:
            for task, note in notes:
                tx.taint_files(task.agent or "", [note], task=task.id, now=self._clock.now())

        await self._store.run(mark)

    def _zones(self, agents: Iterable[str]) -> dict[str, str]:
        found = {}
        for agent in agents:
            with contextlib.suppress(OstinatoError):  # its folder is gone or broken: nothing will be written
                found[agent] = self._workspaces.current(agent).timezone
        return found

    def _write(self, tasks: Sequence[tuple[Task, Instant]]) -> None:
        for task, at in tasks:
            try:
                agent = self._workspaces.current(task.agent or "")
                line = note_line(task, at=at, timezone=agent.timezone)
                append_note(agent.folder, line, at=at, timezone=agent.timezone, tag=tag_of(task))
            except OstinatoError:
                continue  # the agent's folder is gone or broken: the store still knows what it did


def _tasks(reads: Reads, events: Sequence[Event]) -> list[tuple[Task, Instant]]:
    found: list[tuple[Task, Instant]] = []
    for event in events:
        if event.task is None or not event.agent:
            continue
        try:
            task = reads.task(event.task)
        except NotFound:
            continue  # pruned since
        if task.kind in AGENT_KINDS:
            found.append((task, event.at))
    return found


def note_of(at: Instant, *, timezone: str) -> str:
    """The daily note of an instant, as a path in the agent's folder."""
    return f"memory/{local(at, zone_named(timezone)):%Y-%m-%d}.md"


def is_tainted(task: Task) -> bool:
    """True where strangers wrote what a task was about, or what it has read."""
    return Trust.EXTERNAL in (task.spec.trust, task.result.trust if task.result else None)


def tag_of(task: Task) -> str:
    """What ends the line, and tells it from the agent's own notes about the same task: `T12 done`."""
    return f"{task.name} {task.state.value}"


def note_line(task: Task, *, at: Instant, timezone: str) -> str:
    """One line: when, what, how it ended, what came of it.

    Notes are part of later prompts, among the instructions. So a task that came from outside is named by who sent it:
    its title is what an outsider wrote, such as the subject of a mail.
    """
    clock = local_time(at, timezone)[11:16]
    result = task.result
    if task.state is TaskState.DONE:
        ending = _one_line(result.text if result else "")
    else:
        ending = f"{task.state.value}: {_one_line((result.error if result else '') or task.reason)}"
    seconds = max(0, (task.finished_at or at) - task.created_at) // SECOND
    return f"- {clock} {_what(task)} -> {ending or 'done'} [{seconds} s] ({tag_of(task)})"


def _what(task: Task) -> str:
    if task.spec.trust is not Trust.EXTERNAL:
        return _one_line(task.title, most=80)
    sender = "".join(task.spec.requester.split())
    return f"{task.type or task.kind.value} from {_one_line(sender, most=60)}"


def _one_line(text: str, *, most: int = LINE_CHARACTERS_MAX) -> str:
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 3]}..."
