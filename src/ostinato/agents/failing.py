"""What is to happen when a task fails, by the files of its agent and its fleet: gathered when one has failed.

Who takes over is looked up then and there: whoever was named, or by routing whoever else has the skills, but nobody to
whom its maker may not give tasks. Knows nothing of what a failure is, or of who is asked how.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import suppress

from msgspec.structs import replace

from ostinato.domain.errors import OstinatoError
from ostinato.domain.escalation import Rung
from ostinato.domain.failure import NO_PLAN, SKILLS, FailurePlan
from ostinato.domain.message import SAVE_TOOL
from ostinato.domain.task import Task, TaskKind
from ostinato.domain.values import Instant
from ostinato.store.port import Reads
from ostinato.tools.messages import OUTBOX_TOOL
from ostinato.tools.port import Colleague
from ostinato.tools.router import Router
from ostinato.workspace.failure_rules import NO_RULES, FailureRules
from ostinato.workspace.registry import Workspaces

MAIL = "channel:mail"
"""The breaker of letters, whoever gets them: they go through one outbox."""

FILE = "channel:file:"
"""How the breaker of results begins that are saved in files, one for each agent: each has a folder of its own."""


def guard_of(task: Task) -> str:
    """The breaker that a task must pass as a whole: its agent's, or for a delivery that of its channel. Completions of
    sessions have none: they are written in the commit of the end, and fail with it or not at all. An action that a
    person has allowed has none, either: it is done once, when they said so."""
    if task.kind is TaskKind.DELIVERY:
        tool = task.spec.input.get("tool")
        if "question" in task.spec.input:
            return ""
        return MAIL if tool == OUTBOX_TOOL else f"{FILE}{task.agent}" if tool == SAVE_TOOL and task.agent else ""
    return f"agent:{task.agent}" if task.agent and task.kind in (TaskKind.GOAL, TaskKind.TURN) else ""


class FailurePlanner:
    """Says for each failed task what its files want. `delegates`: to whom an agent may give tasks."""

    def __init__(
        self,
        *,
        workspaces: Workspaces,
        fleet: FailureRules = NO_RULES,
        router: Router,
        colleagues: Callable[[], Sequence[Colleague]],
        delegates: Callable[[str, Sequence[Colleague]], Sequence[Colleague]],
    ) -> None:
        self._workspaces = workspaces
        self._fleet = fleet
        self._router = router
        self._colleagues = colleagues
        self._delegates = delegates

    def __call__(self, tx: Reads, task: Task, *, now: Instant) -> FailurePlan:
        """The plan for a task. Never raises: an agent whose files are broken says nothing."""
        if task.agent is None:
            return NO_PLAN
        try:
            settings = self._workspaces.current(task.agent).settings
            own, skills = settings.failures, task.spec.skills or settings.skills
        except OstinatoError:
            own, skills = NO_RULES, task.spec.skills
        plan = FailurePlan(
            retry=tuple(each.retry for each in (own, self._fleet) if each.retry is not None),
            escalate=self._escalation(tx, task, own),
        )
        wanted = task.spec.fallback or own.fallback or self._fleet.fallback
        if not wanted or task.kind not in (TaskKind.GOAL, TaskKind.TURN):
            return plan
        if task.kind is TaskKind.TURN:
            return replace(plan, why_no_fallback="nobody else takes over a turn: it belongs to its agent's session")
        return self._with_fallback(tx, task, plan, wanted=wanted, skills=skills, now=now)

    def _escalation(self, tx: Reads, task: Task, own: FailureRules) -> tuple[Rung, ...]:
        """Whom to ask: the task says, then its agent, then those who gave up before, the last first, then the fleet."""
        for said in (task.spec.escalate, own.escalate):
            if said is not None:
                return said
        for agent in reversed(tx.setbacks(task.id).tried):
            with suppress(OstinatoError):
                found = self._workspaces.current(agent).settings.failures.escalate
                if found is not None:
                    return found
        return self._fleet.escalate or ()

    def _with_fallback(
        self, tx: Reads, task: Task, plan: FailurePlan, *, wanted: str, skills: Sequence[str], now: Instant
    ) -> FailurePlan:
        everybody = self._colleagues()
        maker = task.spec.created_by
        allowed = self._delegates(maker, everybody) if maker else everybody
        tried = {*tx.setbacks(task.id).tried, task.agent}
        if wanted != SKILLS:
            if wanted == task.agent:
                return plan
            if wanted in {each.id for each in allowed}:
                return replace(plan, fallback=wanted)
            why = f"there is no agent {wanted} whose files are valid"
            if wanted in {each.id for each in everybody}:
                why = f"{maker} may not give it to {wanted}"
            return replace(plan, why_no_fallback=why)
        others = [each for each in allowed if each.id not in tried]
        if not skills:
            return replace(plan, why_no_fallback="it names no skills that another agent could have")
        sought = replace(task, agent=None, spec=replace(task.spec, skills=tuple(skills)))
        chosen, _ = self._router.explain(tx, sought, others, after=(), now=now)
        if chosen.agent is None or chosen.agent in tried:
            return replace(plan, why_no_fallback=f"nobody else has the skills {', '.join(skills)}")
        return replace(plan, fallback=chosen.agent)
