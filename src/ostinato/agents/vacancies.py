"""Work that nobody could do when it was made, or whose agent cannot work now: whoever sees that somebody can do it
hands it over.

The first waits, blocked, for the skills that its reason names, and nobody polls for it: agents are looked at anyway,
more often while something waits. The second is looked at when an agent was held, let go, or left alone by its breaker:
what was routed, and has not begun, goes to whoever is able and free. Knows nothing of how files are read, nor of how an
agent is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ostinato.domain.breaker import BreakerState
from ostinato.domain.errors import Exhausted
from ostinato.domain.event import Event, EventName
from ostinato.domain.routing import Candidate, missing
from ostinato.domain.task import Task, TaskEvent, TaskKind, TaskState
from ostinato.domain.values import Instant
from ostinato.store.port import Reads, Store, TaskFilter, Tx
from ostinato.tools.port import Colleague
from ostinato.tools.router import Router, is_routed

_COMING = frozenset({EventName.TASK_ADDED, EventName.TASK_APPROVED})
_HOLDING = frozenset({EventName.FLAG_SET, EventName.FLAG_CLEARED, EventName.BREAKER_OPENED, EventName.BREAKER_CLOSED})

_MOVABLE = frozenset({TaskState.DRAFT, TaskState.BLOCKED, TaskState.READY, TaskState.WAITING})
_AGENT = "agent:"

NOBODY = ""
"""The agent of a task that has none, in the store's counters and lists."""

FILLED_MAX = 200
"""Tasks that are handed over in one transaction."""

WAITING_MAX = 2_000
"""Tasks without an agent that are looked at; the newest wait for the next look, which comes at once."""


class Vacancies:
    """Hands over tasks that nobody could do. `delegates`: whom an agent may give tasks to; None: anybody."""

    def __init__(
        self,
        *,
        store: Store,
        colleagues: Callable[[], Sequence[Colleague]],
        router: Router,
        delegates: Callable[[str, Sequence[Colleague]], Sequence[Colleague]],
    ) -> None:
        self._store = store
        self._colleagues = colleagues
        self._router = router
        self._delegates = delegates
        self._held: frozenset[tuple[str, str]] = frozenset()

    async def remain(self, agents: Sequence[str], *, now: Instant) -> bool:
        """Gives these agents, whose files have changed, what nobody could do, oldest first; True where some task still
        waits for somebody who can. What only waits for its agent goes to whoever else has become able."""
        held, are_open = await self._store.read(lambda reads: (_held(reads), _are_open(reads)))
        if not agents and held == self._held:
            return are_open
        await self._relieve(held, now=now)
        if not await self._store.read(_are_open):
            return False
        if agents:
            await self._give_to(agents, now=now)
        return await self._store.read(_are_open)

    async def _give_to(self, agents: Sequence[str], *, now: Instant) -> None:
        changed = set(agents)
        fresh = [each for each in self._colleagues() if each.id in changed]
        found = [
            task for task in await self._store.read(_waiting) if task.spec.created_by in changed or _suits(task, fresh)
        ]
        for start in range(0, len(found), FILLED_MAX):
            await self._store.run(partial(self._fill, found[start : start + FILLED_MAX], now=now))

    def _fill(self, tasks: Sequence[Task], tx: Tx, *, now: Instant) -> None:
        everybody = self._colleagues()
        for each in tasks:
            task = tx.task(each.id)
            if task.state is not TaskState.BLOCKED or task.agent is not None:
                continue
            placed = self._router.place_again(tx, task, self._allowed(task, everybody), actor="runtime", now=now)
            if placed.agent is not None:
                tx.move_task(task.id, TaskEvent.RELEASE, actor="runtime", reason=f"{placed.agent} can do it", now=now)

    async def _relieve(self, held: frozenset[tuple[str, str]], *, now: Instant) -> None:
        """Gives what agents have that cannot work now to others that can, where either has just become so."""
        before, self._held = self._held, held
        try:
            found = [task for agent in sorted({agent for agent, _ in held}) for task in await self._waiting_for(agent)]
            for start in range(0, len(found), FILLED_MAX):
                await self._store.run(partial(self._pass_on, found[start : start + FILLED_MAX], now=now))
        except Exhausted:  # the store is away, or full: it is to be looked at once more
            self._held = before
            raise

    async def _waiting_for(self, agent: str) -> list[Task]:
        return await self._store.read(partial(_unbegun, agent=agent))

    def _pass_on(self, tasks: Sequence[Task], tx: Tx, *, now: Instant) -> None:
        everybody = self._colleagues()
        for each in tasks:
            task = tx.task(each.id)
            if not _is_unbegun(task):
                continue
            allowed = self._allowed(task, everybody)
            placed = self._router.place_again(tx, task, allowed, actor="runtime", now=now, at_once=True)
            if placed.agent != task.agent and task.state is TaskState.WAITING:
                tx.move_task(task.id, TaskEvent.WAKE, actor="runtime", reason=f"{placed.agent} can do it", now=now)

    def _allowed(self, task: Task, everybody: Sequence[Colleague]) -> Sequence[Colleague]:
        maker = task.spec.created_by
        return self._delegates(maker, everybody) if maker else everybody


def is_vacant(events: Sequence[Event]) -> bool:
    """True where a task has just come that nobody can do, or an agent was held or let go."""
    return any(
        (each.name in _COMING and each.agent is None and each.task is not None)
        or (each.name in _HOLDING and str(each.data.get("scope", each.data.get("breaker"))).startswith(_AGENT))
        for each in events
    )


def _held(reads: Reads) -> frozenset[tuple[str, str]]:
    """Agents that cannot work now, each with why."""
    flags = ((each.scope, each.name) for each in reads.flags())
    left_alone = ((each.name, each.state.value) for each in reads.breakers() if each.state is not BreakerState.CLOSED)
    return frozenset((name.removeprefix(_AGENT), why) for name, why in (*flags, *left_alone) if name.startswith(_AGENT))


def _unbegun(reads: Reads, *, agent: str) -> list[Task]:
    """Goals that an agent got by routing and has not begun, the oldest of the newest first."""
    if not any(reads.agent_tally(agent).get(each.value) for each in _MOVABLE):
        return []
    which = TaskFilter(agent=agent, states=_MOVABLE, kinds=frozenset({TaskKind.GOAL}))
    return [each for each in reads.tasks(which, limit=WAITING_MAX)[::-1] if _is_unbegun(each)]


def _is_unbegun(task: Task) -> bool:
    """True also for what waits for its agent's breaker, and for what cannot begin yet."""
    if task.steps or task.state not in _MOVABLE or not is_routed(task):
        return False
    waited_for = task.wait.breakers if task.wait is not None else ()
    return task.state is not TaskState.WAITING or any(each.startswith(_AGENT) for each in waited_for)


def _are_open(reads: Reads) -> bool:
    return bool(reads.agent_tally(NOBODY).get(TaskState.BLOCKED.value))


def _waiting(reads: Reads) -> list[Task]:
    """Goals that nobody has, oldest first."""
    which = TaskFilter(agent=NOBODY, states=frozenset({TaskState.BLOCKED}), kinds=frozenset({TaskKind.GOAL}))
    return reads.tasks(which, limit=WAITING_MAX)[::-1]


def _suits(task: Task, agents: Sequence[Colleague]) -> bool:
    skills = task.spec.skills
    return bool(skills) and any(not missing(Candidate(id=each.id, skills=each.skills), skills) for each in agents)
