"""Work that nobody could do when it was made: whoever sees that somebody can do it now hands it over.

It waits, blocked, for the skills that its reason names, and nobody polls for it: agents are looked at anyway, more
often while something waits. Knows nothing of how files are read, nor of how an agent is chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ostinato.domain.event import Event, EventName
from ostinato.domain.routing import Candidate, missing
from ostinato.domain.task import Task, TaskEvent, TaskKind, TaskState
from ostinato.domain.values import Instant
from ostinato.store.port import Reads, Store, TaskFilter, Tx
from ostinato.tools.port import Colleague
from ostinato.tools.router import Router

_COMING = frozenset({EventName.TASK_ADDED, EventName.TASK_APPROVED})

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

    async def remain(self, agents: Sequence[str], *, now: Instant) -> bool:
        """Gives these agents, whose files have changed, what nobody could do, oldest first; True where some task still
        waits for somebody who can."""
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
            maker = task.spec.created_by
            allowed = self._delegates(maker, everybody) if maker else everybody
            after = [other.task for other in tx.waits_on(task.id)]
            chosen, _ = self._router.explain(tx, task, allowed, after=after, now=now)
            if chosen.agent is not None:
                tx.change_task(task.id, actor="runtime", agent=chosen.agent, now=now)
                tx.move_task(task.id, TaskEvent.RELEASE, actor="runtime", reason=f"{chosen.agent} can do it", now=now)


def is_vacant(events: Sequence[Event]) -> bool:
    """True where a task has just come that nobody can do."""
    return any(each.name in _COMING and each.agent is None and each.task is not None for each in events)


def _are_open(reads: Reads) -> bool:
    return bool(reads.agent_tally(NOBODY).get(TaskState.BLOCKED.value))


def _waiting(reads: Reads) -> list[Task]:
    """Goals that nobody has, oldest first."""
    which = TaskFilter(agent=NOBODY, states=frozenset({TaskState.BLOCKED}), kinds=frozenset({TaskKind.GOAL}))
    return reads.tasks(which, limit=WAITING_MAX)[::-1]


def _suits(task: Task, agents: Sequence[Colleague]) -> bool:
    skills = task.spec.skills
    return bool(skills) and any(not missing(Candidate(id=each.id, skills=each.skills), skills) for each in agents)
