"""What people can do about a task as it stands, as commands; and what follows once they have decided.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from ostinato.domain.budget import Ceiling, Unit
from ostinato.domain.errors import Conflict
from ostinato.domain.ledger import NO_DAY
from ostinato.domain.question import QuestionKind
from ostinato.domain.task import UNFINISHED, Task, TaskEvent, TaskState, commands_for
from ostinato.gateway.notation import usd
from ostinato.gateway.operation import View
from ostinato.gateway.sentences import one_line
from ostinato.gateway.views import is_dead
from ostinato.store.port import QuestionFilter, Reads, Tx

ASKED_MAX = 20
"""Questions of one task that a person is shown the commands for."""


class BudgetView(View):
    """What a task may spend with all that it sets off, what people have added included; null: no limit."""

    usd: float | None
    used_usd: float
    """Spent, or set aside for calls under way."""
    tokens: int | None
    used_tokens: int


def budget_view(tx: Reads, task: Task) -> BudgetView | None:
    """The budget of a task's own."""
    most = task.spec.budget or Ceiling()
    if most.is_open:
        return None
    account = tx.account(f"task:{task.id}", NO_DAY)
    limits = {unit: None if (own := most.of(unit)) is None else own + account.granted.of(unit) for unit in Unit}
    return BudgetView(
        usd=usd(limits[Unit.USD]),
        used_usd=account.used.usd_micros / 1_000_000,
        tokens=limits[Unit.TOKENS],
        used_tokens=account.used.tokens,
    )


def ways_on(tx: Reads, task: Task) -> list[str]:
    """What people can type about it as it stands, what it waits for first; nothing where it has ended."""
    asked = tx.questions(QuestionFilter(task=task.id), limit=ASKED_MAX)
    found = [f"ostinato approvals show {each.name}" for each in asked]
    found += [f"ostinato tasks retry {task.name} --more" for each in asked if each.kind is QuestionKind.BUDGET]
    commands = commands_for(task.state, task=task.name)
    if task.state is TaskState.BLOCKED and task.agent is None:
        found.append(f"ostinato tasks move {task.name} --agent AGENT")
    if task.state is TaskState.BLOCKED and (task.agent is None or any(map(_is_to_come, tx.dependencies(task.id)))):
        commands = [each for each in commands if "approve" not in each]
    if task.state is TaskState.FAILED and not is_dead(task):
        commands = [each for each in commands if "dismiss" not in each]
    return [*found, *(f"{each} --reason WHY" if "reject" in each or "dismiss" in each else each for each in commands)]


def _is_to_come(other: Task) -> bool:
    return other.state in UNFINISHED


def undecidable(tx: Reads, task: Task, deed: str) -> Conflict:
    """Why nothing is decided about a task as it stands, and what can be done with it instead."""
    why, ways = f" ({one_line(task.reason)})" if task.reason else "", ways_on(tx, task)
    if task.spec.plan and ways:
        ways.append(f"ostinato tasks cancel {task.name} --tree")
    cure = f"Possible now: {', '.join(ways)}" if ways else f"It has ended. See it: ostinato tasks show {task.name}"
    return Conflict(f"{task.name} is {task.state.value}{why} and cannot be {deed}", cure=cure)


def unheld(tx: Tx, task: Task, *, actor: str, now: int) -> Task:
    """A draft that nobody could do when it was proposed, and that was given to somebody since, waits for nobody now.
    Going on without what it depends on stays a decision of its own."""
    if task.state is not TaskState.BLOCKED or task.agent is None:
        return task
    if any(each.state in (TaskState.FAILED, TaskState.CANCELLED) for each in tx.dependencies(task.id)):
        return task
    try:
        return tx.move_task(task.id, TaskEvent.RELEASE, actor=actor, now=now)
    except Conflict:  # nothing holds it: it waits for others
        return task
