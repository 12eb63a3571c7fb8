"""Looks after processes: wakes the task of one that has ended, and ends those that nobody may run any more.

What may run stands in the store alone: a halt of the fleet, of an agent, a session or a task, and the end of the task
itself or of one that it belongs to. So a process that outlived a node is ended by the next one, and stays so. Knows
nothing of what a process does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from ostinato.domain.errors import NotFound
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import ENDED, Task, TaskEvent, TaskKind, TaskState
from ostinato.domain.values import Value
from ostinato.engine.port import Clock
from ostinato.store.port import Reads, Store, TaskFilter, Tx
from ostinato.tools.processes.handle import PROCESSES_FOLDER, Handle, Standing, aged, handles
from ostinato.tools.processes.handler import NODES_MAX, folder_name, machine_in, machine_of
from ostinato.tools.processes.start import reap

REST_S = 5.0
"""Seconds between two looks while something runs; what matters wakes it at once."""

IDLE_S = 60.0

UNSETTLED_S = 0.05
"""While one begins: it may end before its task has parked."""

LOOKED_AT_MAX = 1_000
ANCESTORS_MAX = 8

_CONCERNING = frozenset({EventName.FLAG_SET, EventName.TASK_CANCELLED, EventName.TASK_FAILED})


class _Plan(Value):
    """What one look at the store comes to."""

    waiting: dict[str, Task]
    """Folder -> the task that waits for its process; also for one of a machine whose nodes are all gone, and for one
    whose folder was deleted."""
    condemned: dict[str, str]
    """Folder -> why its process must end."""
    cancelled: dict[int, str]
    """Tasks that end with the task that they belong to, and why."""
    forgotten: tuple[str, ...]
    """Folders of processes that ended long ago, as everybody has been told."""
    unsettled: bool
    """True: a process is just being started or told of, and its task may park a moment after it has ended."""


class Warden:
    """A service; `hear` tells it of commits."""

    def __init__(self, state_dir: Path, *, store: Store, clock: Clock) -> None:
        self._state_dir = state_dir
        self._machine = machine_of(state_dir)
        self._store = store
        self._clock = clock
        self._watched: dict[str, asyncio.Task[None]] = {}
        self._machines: dict[str, str] = {}
        """Folder -> where a process was begun that is not among those here."""
        self._changed = asyncio.Event()
        self.wake = self._changed.set
        """Called where there may be something to do; whoever runs the service puts its own wake here."""

    @staticmethod
    def concerns(events: Sequence[Event]) -> bool:
        """True where one of these may end or begin something."""
        return any(each.name in _CONCERNING for each in events)

    async def poll(self) -> float:
        """One look at all that runs."""
        reap()
        found, old = await asyncio.to_thread(self._standing)
        alive = {name: handle for name, (handle, standing) in found.items() if standing is Standing.RUNS}
        plan = await self._store.read(lambda reads: self._plan(reads, found, old=old))
        await asyncio.gather(
            *(asyncio.to_thread(alive[name].kill, why) for name, why in plan.condemned.items() if name in alive)
        )
        over = [task.id for name, task in plan.waiting.items() if name not in alive]
        if over or plan.cancelled:
            await self._store.run(lambda tx: self._move(tx, over, plan.cancelled))
        for name in plan.forgotten:
            await asyncio.to_thread(found[name][0].forget)
        for name, handle in alive.items():
            if name not in self._watched:
                self._watched[name] = asyncio.create_task(self._watch(name, handle))
        if plan.unsettled:
            return UNSETTLED_S
        return REST_S if alive else IDLE_S

    async def close(self) -> None:
        """Watches nothing any more; the processes go on."""
        for each in self._watched.values():
            each.cancel()
        await asyncio.gather(*self._watched.values(), return_exceptions=True)

    async def _watch(self, name: str, handle: Handle) -> None:
        try:
            await handle.wait_gone()
        finally:
            self._watched.pop(name, None)
        self.wake()

    def _standing(self) -> tuple[dict[str, tuple[Handle, Standing]], list[Handle]]:
        """All there are, and which of them have ended and are old."""
        found = {each.name: (each, each.look()[0]) for each in handles(self._state_dir)}
        return found, aged(each for each, standing in found.values() if standing is not Standing.RUNS)

    def _plan(self, reads: Reads, found: dict[str, tuple[Handle, Standing]], *, old: Sequence[Handle]) -> _Plan:
        which = TaskFilter(kinds=frozenset({TaskKind.PROCESS}), states=frozenset({TaskState.WAITING}))
        waiting = {folder_name(each): each for each in reads.tasks(which, limit=LOOKED_AT_MAX)}
        halted = {flag.scope for flag in reads.flags() if flag.name == "halted"}
        condemned: dict[str, str] = {}
        cancelled: dict[int, str] = {}
        running = {name: handle for name, (handle, standing) in found.items() if standing is Standing.RUNS}
        for name, handle in running.items():
            task = waiting.get(name) or _task_or_none(reads, handle)
            if task is None or folder_name(task) != name:
                condemned[name] = "its task is gone"
            elif task.state in ENDED:
                condemned[name] = f"{task.name} is {task.state.value}"
            elif above := _cancelled_above(reads, task):
                condemned[name] = cancelled[task.id] = f"{above.name} was cancelled"
            elif scope := _halted_scope(reads, task, halted):
                condemned[name] = f"{scope} is halted"
        alone = sum(each.ended_at is None for each in reads.nodes(limit=NODES_MAX)) <= 1
        here = {
            name: task
            for name, task in waiting.items()
            if name in found or self._is_lost(self._machine_of(reads, name, task), name, alone=alone)
        }
        self._machines = {name: each for name, each in self._machines.items() if name in waiting}
        busy = TaskFilter(kinds=frozenset({TaskKind.PROCESS}), states=frozenset({TaskState.RUNNING}))
        return _Plan(
            waiting=here,
            condemned=condemned,
            cancelled=cancelled,
            forgotten=tuple(each.name for each in old if _is_told(reads, each)),
            unsettled=bool(reads.tasks(busy, limit=1)),
        )

    def _is_lost(self, machine: str, name: str, *, alone: bool) -> bool:
        """True where nothing is left that could tell how a process has ended: its machine, or its folder here."""
        if machine == self._machine:
            return not Handle(self._state_dir / PROCESSES_FOLDER / name).folder.exists()
        return alone and bool(machine)

    def _machine_of(self, reads: Reads, name: str, task: Task) -> str:
        found = self._machines.get(name)
        if found is None:
            found = self._machines[name] = machine_in(reads, task)
        return found

    def _move(self, tx: Tx, over: Sequence[int], cancelled: dict[int, str]) -> None:
        now = self._clock.now()
        for number, why in cancelled.items():
            if tx.task(number).state not in ENDED:
                tx.move_task(number, TaskEvent.CANCEL, actor="runtime", reason=why, now=now)
        for number in over:
            if tx.task(number).state is TaskState.WAITING:
                tx.move_task(number, TaskEvent.WAKE, actor="runtime", reason="its process has ended", now=now)


def _task_or_none(reads: Reads, handle: Handle) -> Task | None:
    try:
        return reads.task(handle.about().task)
    except NotFound:
        return None


def _is_told(reads: Reads, handle: Handle) -> bool:
    """True where nobody waits for its end any more: without its folder it would never be told, or begun once more."""
    task = _task_or_none(reads, handle)
    return task is None or task.state in ENDED


def _ancestors(reads: Reads, task: Task) -> list[Task]:
    """Whose process it is, nearest first."""
    found: list[Task] = []
    above = task.parent
    while above is not None and len(found) < ANCESTORS_MAX:
        try:
            found.append(reads.task(above))
        except NotFound:
            break
        above = found[-1].parent
    return found


def _cancelled_above(reads: Reads, task: Task) -> Task | None:
    return next((each for each in _ancestors(reads, task) if each.state is TaskState.CANCELLED), None)


def _halted_scope(reads: Reads, task: Task, halted: set[str]) -> str | None:
    """The halted scope that a process lies in, if one does."""
    if not halted:
        return None
    own = ["fleet", f"agent:{task.agent}", f"pool:{task.pool}", f"session:{task.spec.input.get('session')}"]
    tasks = [f"task:{each.id}" for each in (task, *_ancestors(reads, task))]
    return next((scope for scope in (*own, *tasks) if scope in halted), None)
