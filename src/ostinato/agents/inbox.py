"""Takes files that were dropped into inbox folders: reads, commits what they say, and only then moves them away.

A crash between commit and move finds the file again, and its key says that it was taken. What cannot be understood is
moved aside with a note that says why; nothing is ever deleted unread. Knows nothing of what a file becomes.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Sequence
from pathlib import Path

from msgspec.structs import replace

from ostinato.agents.intake import Intake
from ostinato.domain.errors import Denied, Exhausted, Internal, Invalid, NotFound, OstinatoError
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.message import DEPTH_MAX
from ostinato.domain.taint import touches
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.domain.values import Instant, Trust, Value
from ostinato.engine.port import Clock
from ostinato.store.port import Store, TaskFilter, Tx
from ostinato.workspace.inbox import INBOX, InboxFile, holds_anything, look, prune, put_away, read_items, refuse
from ostinato.workspace.inbox_item import InboxItem
from ostinato.workspace.registry import Workspaces

POLL_S = 1.0
"""Seconds between looks at the fleet's inbox: a person who drops a file sees it taken before they wonder."""

AGENTS_POLL_S = 5.0
"""Seconds between looks at the agents' inboxes; a heartbeat that asks about its inbox looks at it first anyway."""

AGENTS_PER_S = 300.0
"""In a large fleet the looks are further apart: one takes 10 microseconds for each inbox."""

FOLDERS_PER_S = 100.0
"""Agents without an inbox that are looked at for a new one: 3 microseconds each. 10,000 take 100 s."""

KEEP_TAKEN_S = 30 * 86_400.0
"""How long files that were taken are kept in `taken/`; their contents are in the store as long as their task is."""


AT_WORK_MAX = 100
"""Of an agent's tasks, the newest that are looked at to tell who may have left a file."""

PRUNE_S = 3_600.0
"""Seconds between looks for taken files that are too old."""


class InboxTimes(Value):
    """How often inboxes are looked at, and how long a file must have been left alone before it is taken; seconds."""

    poll_s: float = POLL_S
    agents_poll_s: float = AGENTS_POLL_S
    settle_s: float = 0.5


class InboxTaker:
    """The service that looks, and what a heartbeat calls before its check."""

    def __init__(
        self,
        *,
        fleet: Path,
        store: Store,
        workspaces: Workspaces,
        intake: Intake,
        clock: Clock,
        timezone: str = "UTC",
        times: InboxTimes | None = None,
    ) -> None:
        self._fleet = fleet
        self._store = store
        self._workspaces = workspaces
        self._intake = intake
        self._clock = clock
        self._timezone = timezone
        self._times = times or InboxTimes()
        self._agents_due_s = 0.0
        self._folders_due_s = 0.0
        self._with_inbox: list[str] = []
        self._prune_due_s = 0.0
        self._taking = asyncio.Lock()
        self._stuck: dict[InboxFile, OstinatoError | None] = {}
        """Files that are done with and could not be moved away, each with why it is refused; None: it was taken."""

    async def poll(self) -> float:
        """One look at each inbox that is due; seconds until the next."""
        if holds_anything(self._fleet, None):
            await self.take(None)
        elapsed_s = self._clock.elapsed_s()
        if elapsed_s >= self._folders_due_s:
            agents = await asyncio.to_thread(self._workspaces.ids)
            self._with_inbox = await asyncio.to_thread(lambda: [each for each in agents if self.has_inbox(each)])
            self._folders_due_s = elapsed_s + max(self._times.agents_poll_s, len(agents) / FOLDERS_PER_S)
            self._agents_due_s = elapsed_s
        if elapsed_s >= self._agents_due_s:
            await self._take_all(self._with_inbox)
            pause_s = max(self._times.agents_poll_s, len(self._with_inbox) / AGENTS_PER_S)
            self._agents_due_s = self._clock.elapsed_s() + pause_s
        if self._clock.elapsed_s() >= self._prune_due_s:
            await asyncio.to_thread(self._prune)
            self._prune_due_s = self._clock.elapsed_s() + PRUNE_S
        return self._times.poll_s

    async def _take_all(self, agents: Sequence[str]) -> None:
        """Most inboxes are empty, and all of them are looked at in one go."""
        if agents:
            looking = asyncio.to_thread(lambda: [each for each in agents if holds_anything(self._fleet, each)])
            for agent in await looking:
                await self.take_agent(agent)

    async def take_agent(self, agent: str) -> int:
        """Takes what lies in an agent's inbox; returns how many files are not whole yet."""
        return await self.take(agent) if self.has_inbox(agent) else 0

    async def take(self, agent: str | None) -> int:
        """Takes the whole files of one inbox, oldest first; returns how many are still being written. Files that cannot
        be taken now, such as when the disk is full, stay for the next look."""
        async with self._taking:  # a heartbeat and the sweep must not read the same file at the same time
            seen = await asyncio.to_thread(look, self._fleet, agent, settle_s=self._times.settle_s)
            for file in [each for each in self._stuck if each.agent == agent and each not in seen.ready]:
                del self._stuck[file]
            for file in seen.ready:
                await self._take_file(file)
            return seen.waiting

    def _prune(self) -> None:
        for agent in (None, *filter(self.has_inbox, self._workspaces.ids())):
            prune(self._fleet, agent, keep_s=KEEP_TAKEN_S)

    def has_inbox(self, agent: str) -> bool:
        """One look at the folder: most agents have none, and a heartbeat should not pay for a thread to hear so."""
        path = f"{self._workspaces.folder}/{agent}/{INBOX}"
        return os.access(path, os.F_OK) and os.path.isdir(path)  # the former raises nothing where there is none

    async def _take_file(self, file: InboxFile) -> None:
        """Read, commit, move. Only what goes wrong before the commit speaks against the file."""
        if file in self._stuck:
            await self._put_away(file, self._stuck[file])
            return
        try:
            items = await asyncio.to_thread(read_items, self._fleet, file, timezone=self._zone_of(file))
            if not items:
                return  # it went or changed since the look
            await self._store.run(self._writing(items, file))
        except (Exhausted, Internal):
            raise  # the store has no room, or is gone: the file is fine and stays
        except OstinatoError as error:
            await self._put_away(file, error)
            return
        except Exception:  # a mistake of ours: it must not keep all other files waiting, and the log tells the rest
            what = "It could not be taken, by a mistake of the runtime"
            await self._put_away(file, Invalid(what, place=file.shown, cure="The node's log says more."))
            raise
        await self._put_away(file, None)

    def _writing(self, items: Sequence[InboxItem], file: InboxFile) -> Callable[[Tx], None]:
        now, wakes = self._clock.now(), self._wakes(file)

        def write(tx: Tx) -> None:
            path = f"{INBOX}/{file.name}"
            is_tainted = file.agent is not None and touches(path, tx.tainted_files(file.agent))
            depth = _depth(tx, file.agent, path, placed_at=file.placed_ns // 1_000) if file.agent else 0
            for item in items:
                # What a turn under taint has left there is a stranger's word, and may tell what that turn has read.
                marked = replace(item, trust=Trust.EXTERNAL, private=True) if is_tainted else item
                taken = replace(marked, depth=depth) if depth else marked
                self._intake.take(tx, taken, wakes=wakes, now=now)

        return write

    async def _put_away(self, file: InboxFile, error: OstinatoError | None) -> None:
        """Moves the file aside as taken or, because of an `error`, refused: told twice is better than taken for lost.
        Where it cannot be moved this is told once, and tried again with each look: nobody else's file waits for it."""
        now = self._clock.now()
        try:
            if error is None:
                await asyncio.to_thread(put_away, self._fleet, file, at=now)
                moved = None
            else:
                moved = await asyncio.to_thread(refuse, self._fleet, file, error, at=now)
        except Invalid as in_the_way:
            if file not in self._stuck:
                self._stuck[file] = error
                await self._tell(file, in_the_way, moved_to="", now=now)
            return
        self._stuck.pop(file, None)
        if error is not None and moved is not None:
            await self._tell(file, error, moved_to=moved, now=now)

    async def _tell(self, file: InboxFile, error: OstinatoError, *, moved_to: str, now: Instant) -> None:
        event = NewEvent(
            name=EventName.FILE_REFUSED,
            agent=file.agent,
            reason=f"{file.shown}: {error}",
            data={"file": file.shown, "moved_to": moved_to},
        )
        await self._store.run(lambda tx: tx.announce(event, now=now))

    def _zone_of(self, file: InboxFile) -> str:
        if file.agent is None:
            return self._timezone
        try:
            return self._workspaces.current(file.agent).timezone
        except OstinatoError:
            return self._timezone

    def _wakes(self, file: InboxFile) -> bool:
        """Whether the file wakes its agent at once, or waits for its heartbeat; as AGENTS.md says."""
        if file.agent is None:
            return True
        try:
            return self._workspaces.current(file.agent).settings.inbox == "now"
        except OstinatoError:
            return True


def _depth(tx: Tx, agent: str, path: str, *, placed_at: Instant) -> int:
    """One link more than the turn that left the file; an agent that writes to itself for ever stops here. A command
    signs nothing: whatever of the agent was at work when the file was put there may have done so."""
    writer = tx.tainted_by(agent, path)
    try:
        depth = 0 if writer is None else tx.task(writer).depth + 1
    except NotFound:  # long ago, and pruned
        depth = 1
    newest, _older = tx.tasks_page(TaskFilter(agent=agent, kinds=_HANDS), limit=AT_WORK_MAX)
    depth = max([depth, *(task.depth + 1 for task in newest if _was_at_work(task, placed_at))])
    if depth > DEPTH_MAX:
        raise Denied(f"The chain of causes is {depth} tasks long already", cure="A person can drop it anew.")
    return depth


_HANDS = frozenset({TaskKind.GOAL, TaskKind.TURN, TaskKind.PROCESS})


def _was_at_work(task: Task, at: Instant) -> bool:
    if not task.attempts or task.created_at > at or (task.finished_at is not None and task.finished_at < at):
        return False
    waits = task.state is TaskState.WAITING and task.kind is not TaskKind.PROCESS
    return not (waits and task.updated_at < at)
