"""Which agent gets a task, as the gateway asks for it and tells of it.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.event import EventName
from ostinato.domain.routing import Route
from ostinato.domain.task import NewTask, Task, TaskKind
from ostinato.domain.values import Instant, Source
from ostinato.gateway.context import Context
from ostinato.gateway.operation import View
from ostinato.store.port import EventFilter, Reads, Tx
from ostinato.tools.port import Colleague
from ostinato.tools.router import Router, is_routed


class CandidateView(View):
    """How one agent came out, by today's files and load."""

    agent: str
    chosen: bool
    score: float | None
    """The weighted sum of its shares, 0 at best; null: it lacks a skill."""
    reasons: list[str]


class Placing:
    """The agents of a fleet as they are now, and whoever chooses among them."""

    def __init__(self, router: Router, agents: Sequence[Colleague]) -> None:
        self._router = router
        self.agents = agents

    def place(self, tx: Tx, new: NewTask, *, now: Instant) -> NewTask:
        """The task with whoever gets it. One that names its agent keeps it, even while that agent's files are wrong."""
        return new if new.agent is not None else self._router.place(tx, new, self.agents, now=now)

    def place_again(self, tx: Tx, task: Task, *, actor: str, now: Instant) -> Task:
        """Gives a task to somebody that nobody could do when it was made; it stays as it is where nobody can now."""
        if task.agent is not None:
            return task
        return self._router.place_again(tx, task, self.agents, actor=actor, now=now)

    def why_here(self, tx: Reads, task: Task, *, now: Instant) -> list[str]:
        """Who asked for a task and through what, and why it is with its agent, by today's files and load."""
        causes = f", because of {' > '.join(task.spec.causes)}" if task.spec.causes else ""
        trigger = task.spec.trigger.value
        through = f" through {trigger}" if trigger != task.spec.requester else ""
        lines = [f"asked for by {task.spec.requester}{through}{causes}"]
        if task.spec.routed:
            moved = not is_routed(task)
            lines.append(f"{'first ' if moved else ''}given by {task.spec.routed}")
            lines += [f"{task.agent or 'nobody'} has it since"] if moved else []
        if task.spec.skills:
            chosen, word = self._choose(tx, task, now=now)
            lines.append(f"needs {', '.join(task.spec.skills)}")
            lines += [f"now by {word}"] if chosen.agent else []
            lines += [*chosen.why, *([chosen.blocked] if chosen.blocked else [])]
        elif bound := _bound(tx, task):
            lines.append(bound)
        elif task.agent is not None and not task.spec.routed:
            tried = tx.setbacks(task.id).tried
            lines.append(f"{task.agent} took over from {', '.join(tried)}" if tried else f"{task.agent} was named")
        elif task.agent is None and task.kind is TaskKind.GOAL:
            lines.append("neither an agent nor skills are named")
        return lines

    def candidates(self, tx: Reads, task: Task, *, now: Instant) -> list[CandidateView]:
        """Everybody who could do it, best first, then those who lack little; none where its agent was named."""
        if not task.spec.skills:
            return []
        chosen, _ = self._choose(tx, task, now=now)
        return [
            CandidateView(agent=each.id, chosen=each.id == task.agent, score=each.score, reasons=list(each.reasons))
            for each in chosen.ranked
        ]

    def _choose(self, tx: Reads, task: Task, *, now: Instant) -> tuple[Route, str]:
        return self._router.explain(tx, task, self.agents, after=_after(tx, task), now=now)


async def placing(context: Context, *, needed: bool = True) -> Placing:
    """With all agents, looked up in a thread; with none where nobody is to be chosen."""
    return Placing(context.router, await context.colleagues() if needed else ())


def _bound(tx: Reads, task: Task) -> str:
    """What the taking of a file said that a turn was made for, where a binding decided; else empty."""
    causes = [int(each[1:]) for each in task.spec.causes if each[:1] == "M" and each[1:].isdecimal()]
    if task.kind is not TaskKind.TURN or task.spec.trigger is not Source.FILE or not causes:
        return ""
    message = tx.messages_by_id(causes[-1:]).get(causes[-1])
    if message is None:
        return ""
    which = EventFilter(names=frozenset({EventName.FILE_TAKEN}), since_at=message.at, until_at=message.at + 1)
    told = (each for each in tx.events(which) if each.data.get("became") == f"M{message.id}")
    return next((each.reason for each in told if ", bound by " in each.reason), "")


def _after(tx: Reads, task: Task) -> list[int]:
    return [each.task for each in tx.waits_on(task.id)]
