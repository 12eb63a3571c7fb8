"""One run: performs a story, kills and starts the node, repairs everything at the end, and collects what is left.

Everybody who is no node lives in a loop of their own and reaches the node only by requests, whose answers may be lost.
Knows nothing of what must hold (`laws` does).
"""

from __future__ import annotations

import gc
import hashlib
import shutil
import tempfile
from pathlib import Path
from random import Random
from typing import Literal

import msgspec

from ostinato.domain.event import Event
from ostinato.domain.ledger import Spending
from ostinato.domain.message import Message
from ostinato.domain.question import Question
from ostinato.domain.step import Step
from ostinato.domain.task import Task
from ostinato.domain.values import Instant, Value, to_json
from ostinato.store.port import Attempt, EventFilter, QuestionFilter, Reads, TaskFilter
from ostinato.store.sqlite.database import StoreFull
from ostinato.testing.simulation.loop import Died, Loop, Time, die
from ostinato.testing.simulation.node import Process, World
from ostinato.testing.simulation.outside import Line, Outside, What
from ostinato.testing.simulation.people import People
from ostinato.testing.simulation.story import BEGINS_AT, TROUBLED_S, Crash, Story, tell, write_files

REST_S = 1_800.0
"""After this much quiet time whatever still moves will never come to rest."""

MEMORY = Path("/dev/shm")
"""Where a run's disk is, if there is such a place: nothing here is about a real one."""


class Left(Value):
    """What the store holds when it is over."""

    tasks: tuple[Task, ...]
    attempts: tuple[Attempt, ...]
    steps: tuple[Step, ...]
    questions: tuple[Question, ...]
    messages: dict[str, tuple[Message, ...]]
    """Session -> everything that was ever said in it."""
    cursors: dict[str, int]
    events: tuple[Event, ...]
    spending: tuple[Spending, ...]
    letters: tuple[str, ...]
    """Files in the outbox."""
    ended_at: Instant
    limits: dict[str, int]
    """Agent -> the largest sum that its files allowed in a day; `fleet` for all."""


class Run(Value):
    """A run that is over."""

    story: Story
    lines: tuple[Line, ...]
    left: Left
    accidents: tuple[str, ...]
    """What must not happen, whatever the laws say: it did not come to rest, or something raised where nobody hears."""

    @property
    def trace(self) -> str:
        """A digest of everything: two runs of one seed have the same."""
        digest = hashlib.sha256()
        for part in (self.lines, self.left.tasks, self.left.attempts, self.left.steps, self.left.questions):
            digest.update(to_json(part))
        for rest in (self.left.messages, self.left.events, self.left.spending, self.left.letters, self.accidents):
            digest.update(to_json(rest))
        return digest.hexdigest()


def simulate(seed: int) -> Run:
    """Performs one seed's run, from nothing to rest."""
    base = MEMORY if MEMORY.is_dir() else None
    folder = Path(tempfile.mkdtemp(prefix="ostinato-sim-", dir=base))
    collects = gc.isenabled()
    gc.disable()  # what a dead process leaves behind must not be woken by its last words
    try:
        return _Run(tell(seed), folder).perform()
    finally:
        shutil.rmtree(folder)
        if collects:
            gc.enable()


class _Run:
    """The director."""

    def __init__(self, story: Story, folder: Path) -> None:
        self.story = story
        self.time = Time(BEGINS_AT)
        self.outside = Outside(self.time)
        self.chance = Random(f"run {story.seed}")
        self.loop = Loop(self.time, delay_s=lambda: 0.001)
        self.process: Process | None = None
        self.accidents: list[str] = []
        self._folder = folder
        self._buried: list[Process] = []
        self._full_until_s = 0.0
        self._doom: Crash | None = None
        self._doomed = 0
        self._calm = False
        self._over = False
        self._people = People(self)
        self._world = World(
            folder=folder,
            seed=story.seed,
            time=self.time,
            outside=self.outside,
            chance=self.chance,
            calm=lambda: self._calm,
            trouble=self._trouble,
            after_deed=self._after_deed,
        )

    @property
    def folder(self) -> Path:
        """The fleet's."""
        return self._folder

    # --- the course of things -------------------------------------------------------------------------------------

    def perform(self) -> Run:
        """From nothing to rest."""
        write_files(self._folder, self.story.files, at=BEGINS_AT)
        self.start()
        self._people.begin(self.loop)
        self.loop.call_later(TROUBLED_S, self._repair)
        try:
            while not self._over:
                self._step()
            left = self._collect()
            self.accidents.extend(self.process.surprises if self.process is not None else ())
            return Run(story=self.story, lines=tuple(self.outside.lines), left=left, accidents=tuple(self.accidents))
        finally:
            self._clear_up()

    def _step(self) -> None:
        """Whoever is next, at their time."""
        process = self.process
        mine, theirs = self.loop.due_us(), process.loop.due_us() if process is not None else None
        due = min(each for each in (mine, theirs) if each is not None)
        self.time.elapsed_us = due
        if process is None or mine == due:
            self.loop.run()
            return
        try:
            process.loop.run()
        except Died:
            self.bury("killed")
            return
        if process.ended is not None and not process.stopping:
            self.outside.say(What.TROUBLE, "exit", text=process.ended)
            self.bury("ended by itself")
            if self._calm:
                self.end(f"the node ended by itself: {process.ended}")

    def _repair(self) -> None:
        """Nothing goes wrong from now on."""
        self._calm, self._doom = True, None
        self.outside.say(What.TROUBLE, "repaired")
        self._full_until_s = 0.0
        self._people.calm_down()

    def end(self, accident: str = "") -> None:
        """It is over; `accident`: because it would never be."""
        if accident:
            self.accidents.append(accident)
        self._over = True

    # --- processes ------------------------------------------------------------------------------------------------

    def start(self) -> None:
        """A new process."""
        if self.process is None:
            self.outside.node += 1
            self.process = Process(self._world)

    def bury(self, how: str, *, down_s: float | None = None) -> None:
        """The process is gone; another one is started a little later."""
        process, doom = self.process, self._doom
        if process is None:
            return
        self.process = None
        self.outside.say(What.DIED, how)
        process.die()
        self.outside.working.clear()
        self.accidents.extend(process.surprises)
        self._buried.append(process)
        self._people.cut_off()
        self._doom = None
        rest_s = down_s if down_s is not None else doom.down_s if doom is not None else 1.0
        self.loop.call_later(rest_s, self.start)

    def crash(self, crash: Crash) -> None:
        """Kills the node now, or says where it is going to die."""
        if crash.where == "now":
            self.bury("killed", down_s=crash.down_s)
        elif self.process is not None:
            self._doom, self._doomed = crash, crash.count

    def restart(self, down_s: float) -> None:
        """Stops the node in order."""
        process = self.process
        if process is not None and process.ready:
            process.stop(lambda: self.loop.call_soon(self._stopped, process, down_s))

    def _stopped(self, process: Process, down_s: float) -> None:
        if self.process is process:
            self.bury("stopped", down_s=down_s)

    def freeze(self, for_s: float) -> None:
        """Stops the process as SIGSTOP does."""
        if self.process is not None:
            self.process.loop.frozen_until_us = self.time.elapsed_us + round(for_s * 1_000_000)

    def fill_disk(self, for_s: float) -> None:
        """No commit has room for a while."""
        self._full_until_s = self.loop.time() + for_s

    def _trouble(self, when: Literal["before", "after"], _number: int) -> None:
        if when == "before" and self.loop.time() < self._full_until_s:
            raise StoreFull("The disk is full: nothing was written")
        if self._doom is not None and self._doom.where == when:
            self._doomed -= 1
            if self._doomed <= 0:
                raise Died

    def _after_deed(self) -> None:
        if self._doom is not None and self._doom.where == "deed" and self.process is not None:
            self._doomed -= 1
            if self._doomed <= 0:
                self.process.loop.call_soon(die)

    # --- what is left ---------------------------------------------------------------------------------------------

    def _collect(self) -> Left:
        found: list[Left] = []
        while self.process is None:
            self._step()
        process = self.process

        async def read() -> None:
            found.append(
                await process.store.read(
                    lambda reads: left_of(
                        reads, limits=self._people.limits, letters=self._letters(), ended_at=self.time.now()
                    )
                )
            )

        work = process.loop.create_task(read())
        while not work.done():
            if self.process is not process:
                raise RuntimeError("The node did not live to be asked what is left")
            self._step()
        work.result()
        return found[0]

    def _letters(self) -> tuple[str, ...]:
        outbox = self._folder / "outbox"
        return tuple(sorted(each.name for each in outbox.iterdir())) if outbox.is_dir() else ()

    def _clear_up(self) -> None:
        if self.process is not None:
            self.process.die()
            self._buried.append(self.process)
        for process in self._buried:
            process.loop.bury()
        self.loop.bury()


def left_of(reads: Reads, *, limits: dict[str, int], letters: tuple[str, ...], ended_at: Instant) -> Left:
    """Everything that is judged."""
    tasks = tuple(sorted(reads.tasks(TaskFilter(), limit=100_000), key=lambda task: task.id))
    sessions = reads.sessions(limit=100_000)
    spending = reads.spending("agent", since_at=0, limit=1_000)
    return Left(
        tasks=tasks,
        attempts=tuple(each for task in tasks for each in reads.attempts(task.id)),
        steps=tuple(
            step
            for task in tasks
            for journal in range(1, task.journal + 1)
            for step in reads.steps(task.id, journal=journal)
        ),
        questions=tuple(reads.questions(QuestionFilter(state=None), limit=100_000)),
        messages={each.key: tuple(reads.messages(each.key, limit=100_000)) for each in sessions},
        cursors={each.key: each.cursor for each in sessions},
        events=tuple(_without_pid(each) for each in reads.events(EventFilter(), limit=1_000_000)),
        spending=tuple(spending),
        letters=letters,
        ended_at=ended_at,
        limits=limits,
    )


def _without_pid(event: Event) -> Event:
    """The one thing in a store that a simulation cannot choose."""
    return msgspec.structs.replace(event, data={name: value for name, value in event.data.items() if name != "pid"})
