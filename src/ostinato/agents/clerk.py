"""TASKS.md, kept: rendered when tasks have changed, and what people write under `## Proposed` taken as drafts, once.

Each line is added under a key before it leaves the file, so that a death in between finds it again and adds nothing.
Nothing is rendered over what somebody has just written: it is read first. Knows nothing of how the file is written.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from ostinato.agents.intake import Intake
from ostinato.domain.errors import Exhausted, Internal, Invalid, OstinatoError, unknown_name
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.task import TaskKind, TaskState
from ostinato.domain.values import Trust, Value
from ostinato.engine.port import Clock
from ostinato.store.port import Reads, Store, TaskFilter, Tx
from ostinato.tools.port import Colleague
from ostinato.workspace.file_text import Signature
from ostinato.workspace.inbox_item import InboxItem, ItemKind
from ostinato.workspace.tasks_board import Board, Section, board_text, project_files
from ostinato.workspace.tasks_file import (
    PROPOSALS_MAX,
    REFUSED_SETTING,
    TASKS_FILE,
    Entry,
    Remark,
    TasksText,
    Wish,
    keys_of,
    merged,
    parse_tasks,
    refused,
    same_but_for_the_mark,
    write_tasks,
)
from ostinato.workspace.tasks_place import (
    Read,
    drop_leftover,
    is_settled,
    look,
    put_aside,
    read_leftover,
    read_tasks,
    replace_tasks,
    write_projects,
)

POLL_S = 2.0
"""Seconds between looks at the file, and the least between two renderings."""

SETTLE_S = 2.0
"""How long the file must have been left alone: editors that save by themselves do so a second after the last key."""

RESTS = 50.0
"""Of so many times what a rendering took, the clerk rests: at most a fiftieth of the time goes into it."""

REST_MAX_S = 10.0
"""A machine that is busy with other things makes a rendering look long; people wait no longer than this."""

READ_MAX = 500
"""Tasks of one state that are read; more are counted."""

DONE_MAX = 20
"""Tasks done that are shown."""

ELSEWHERE_S = 30.0
"""How soon tasks that another node has changed are noticed, in seconds."""


class ClerkPlace(Value):
    """Whose file it is."""

    fleet: Path
    name: str
    timezone: str = "UTC"
    settle_s: float = SETTLE_S


class Clerk:
    """The service that keeps the file."""

    def __init__(
        self,
        place: ClerkPlace,
        *,
        store: Store,
        intake: Intake,
        colleagues: Callable[[], Sequence[Colleague]],
        clock: Clock,
    ) -> None:
        self._place = place
        self._store = store
        self._intake = intake
        self._colleagues = colleagues
        self._clock = clock
        self._seen: Signature | None = None
        self._changed = True
        self._rendered_event = -1
        self._not_before_s = 0.0
        self._elsewhere_s = 0.0
        self._said = ""

    def hear(self, events: Sequence[Event]) -> bool:
        """What a commit announced. Never a reason for a look out of turn: the next renders it."""
        if not self._changed:
            self._changed = any(event.name.value.startswith("task.") for event in events)
        return False

    async def poll(self) -> float:
        """One look; seconds until the next."""
        elapsed_s = self._clock.elapsed_s()
        seen = look(self._place.fleet)  # one `lstat`: a thread would cost more than it keeps off the loop
        touched = seen != self._seen
        if not touched and not await self._is_stale(elapsed_s):
            return POLL_S
        if touched and not await asyncio.to_thread(is_settled, self._place.fleet, settle_s=self._place.settle_s):
            return POLL_S
        if not touched and elapsed_s < self._not_before_s:
            return min(POLL_S, self._not_before_s - elapsed_s)
        self._changed = False
        try:
            done = await self._round()
        except (Exhausted, Internal):
            self._changed = True
            raise
        except Invalid as error:
            await self._complain(error)
            done = True
        self._not_before_s = elapsed_s + max(POLL_S, min(REST_MAX_S, RESTS * (self._clock.elapsed_s() - elapsed_s)))
        self._changed = self._changed or not done
        return POLL_S

    async def _is_stale(self, elapsed_s: float) -> bool:
        """Changes of this process are heard at once; those of another node are looked for now and then."""
        if not self._changed and elapsed_s >= self._elsewhere_s:
            self._elsewhere_s = elapsed_s + ELSEWHERE_S
            self._changed = await self._store.read(lambda reads: reads.latest_event()) != self._rendered_event
        return self._changed

    async def _round(self) -> bool:
        """Reads, takes, renders; False where it has to be done again soon."""
        fleet = self._place.fleet
        before = await asyncio.to_thread(read_tasks, fleet)
        text = parse_tasks(before.text) if before else None
        if before and text and not text.ours:
            self._seen = before.seen
            cure = "Add a line '## Proposed' to let it be written here, or write file = false in [tasks]."
            raise Invalid("This file is somebody's own and is left alone", place=TASKS_FILE, cure=cure)
        entries = await self._with_leftover(text)
        entries = await self._taken(entries)
        if text is not None and text.edited and before is not None:
            aside = await asyncio.to_thread(put_aside, fleet, before.text)
            note = Remark(raw=f'<!-- What you changed above "## Proposed" was put aside: {aside} -->')
            entries = merged([note], entries)
        written = await self._render(before, text, entries)
        return written and not any(isinstance(each, Wish) for each in entries)

    async def _with_leftover(self, text: TasksText | None) -> Sequence[Entry]:
        """The lines of the file, and those of one that a crash left beside it; that one goes once it is read."""
        entries: Sequence[Entry] = text.entries if text else ()
        leftover = await asyncio.to_thread(read_leftover, self._place.fleet)
        if leftover is None:
            return entries
        other = parse_tasks(leftover)
        fresh: list[Entry] = list(other.entries)
        if text and text.mark and other.mark and other.mark.after == text.mark.name:
            # It never took the place: all its old lines are in the file, as they are now.
            fresh = [each for each in fresh if isinstance(each, Wish)]
        wishes = [each for each in fresh if isinstance(each, Wish) and each.origin]
        await self._taken(wishes)
        await asyncio.to_thread(drop_leftover, self._place.fleet)
        return merged(entries, [each for each in fresh if each not in wishes])

    async def _taken(self, entries: Sequence[Entry]) -> list[Entry]:
        """What stays in the file once all that can be taken is. In a file without a mark a line could not be known
        again after a crash: it gets one first, and is taken with the next look."""
        wishes = [each for each in entries if isinstance(each, Wish) and each.origin]
        keys = dict(zip(map(id, wishes), keys_of(wishes), strict=True))
        fates: dict[int, Entry | None] = {}
        for at in range(0, len(wishes), PROPOSALS_MAX):
            some = wishes[at : at + PROPOSALS_MAX]
            found = await asyncio.gather(*(self._take(each, key=keys[id(each)]) for each in some))
            fates.update(zip(map(id, some), found, strict=True))
        kept = (fates.get(id(each), each) for each in entries)
        return [each for each in kept if each is not None]

    async def _take(self, wish: Wish, *, key: str) -> Entry | None:
        """Adds one draft; None once it is there. Who wrote the line is not known, so it is trusted like an agent's."""
        now = self._clock.now()
        item = InboxItem(
            kind=ItemKind.PROPOSAL,
            agent=wish.agent,
            title=wish.title,
            goal=wish.goal or wish.title,
            priority=wish.priority,
            project=wish.project,
            skills=wish.skills,
            review=wish.review,
            trust=Trust.AGENT,
            key=key,
            file=TASKS_FILE,
        )
        try:
            self._check_skills(wish)
            await self._store.run(lambda tx: self._intake.take(tx, item, wakes=True, now=now))
        except (Exhausted, Internal):
            raise  # the store has no room, or is gone: the line is fine and stays
        except OstinatoError as error:
            return refused(wish, f"{error.message} {error.cure}".strip())
        return None

    def _check_skills(self, wish: Wish) -> None:
        known = {skill for each in self._colleagues() for skill in each.skills}
        for skill in wish.skills:
            if skill.casefold() not in {each.casefold() for each in known}:
                cure = "If it belongs to the words, write a \\ before the #."
                raise Invalid(f"No agent has it. {unknown_name('skill', skill, known)}", cure=cure)

    async def _render(self, before: Read | None, text: TasksText | None, entries: Sequence[Entry]) -> bool:
        board, latest, refused_before = await self._store.read(
            lambda reads: (self._board(reads), reads.latest_event(), reads.setting(REFUSED_SETTING))
        )
        mark = text.mark if text else None
        if text is None:
            entries = [*entries, Remark(raw="")]
        after = write_tasks(board_text(board), entries, after=mark.name if mark else "", salt=str(latest))
        fleet = self._place.fleet
        if before is None or not same_but_for_the_mark(before.text, after):
            seen = await asyncio.to_thread(replace_tasks, fleet, after, before=before)
            if seen is None:
                return False
            self._seen = seen
        else:
            self._seen = before.seen
        await asyncio.to_thread(write_projects, fleet, project_files(board))
        if refused_before:
            await self._store.run(lambda tx: tx.set_setting(REFUSED_SETTING, ""))
        self._rendered_event, self._said = latest, ""
        return True

    def _board(self, reads: Reads) -> Board:
        counts = reads.tallies()
        dead = reads.tasks(TaskFilter(dead=True), limit=READ_MAX)
        sections = [
            *(_section(reads, counts.goals, plan) for plan in _BEFORE),
            Section(name="Failed", tasks=dead, count=counts.dead, command="ostinato dead list"),
            *(_section(reads, counts.goals, plan) for plan in _AFTER),
        ]
        done = _section(reads, counts.goals, ("Done lately", TaskState.DONE), most=DONE_MAX)
        latest = sorted(done.tasks, key=lambda task: task.finished_at or 0, reverse=True)
        lately = Section(name=done.name, tasks=latest, count=len(done.tasks), command=done.command)
        return Board(
            fleet=self._place.name, timezone=self._place.timezone, counts=counts.goals, sections=(*sections, lately)
        )

    async def _complain(self, error: Invalid) -> None:
        """Says once what keeps the file from being kept."""
        said = str(error)
        if said == self._said:
            return
        self._said, now = said, self._clock.now()
        event = NewEvent(name=EventName.FILE_REFUSED, reason=said, data={"file": TASKS_FILE, "moved_to": ""})

        def say(tx: Tx) -> None:
            tx.set_setting(REFUSED_SETTING, said)
            tx.announce(event, now=now)

        await self._store.run(say)


_BEFORE = (("To approve", TaskState.DRAFT), ("To accept", TaskState.REVIEW))
_AFTER = (
    ("Waiting", TaskState.WAITING),
    ("Running", TaskState.RUNNING),
    ("Ready", TaskState.READY),
    ("Blocked", TaskState.BLOCKED),
)


def _section(reads: Reads, goals: Mapping[str, int], plan: tuple[str, TaskState], *, most: int = READ_MAX) -> Section:
    name, state = plan
    count = goals.get(state.value, 0)
    which = TaskFilter(states=frozenset({state}), kinds=frozenset({TaskKind.GOAL}))
    tasks = reads.tasks(which, limit=most) if count else []
    return Section(name=name, tasks=tasks, count=count, command=f"ostinato tasks list --state {state.value}")
