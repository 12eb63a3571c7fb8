"""A plan: a graph of tasks that somebody proposes, checked as a whole before any of them is made.

Knows nothing of stores, agents or files: names of other tasks (`T12`) are taken as they are.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Annotated, Any

import msgspec

from ostinato.domain.dependency import parted
from ostinato.domain.errors import Exhausted, Invalid, unknown_name
from ostinato.domain.order import Circular, in_order
from ostinato.domain.review import ByAgent, ReviewTerms, read_review
from ostinato.domain.task import Condition
from ostinato.domain.values import Value

TASKS_MAX = 500
"""Tasks of one plan: more than anybody reads before approving them."""

FAN_OUT_MAX = 50
"""Tasks of a plan that wait for the same one."""

DEPTH_MAX = 30
"""Tasks of a plan that wait for each other in a row."""

Word = Annotated[str, msgspec.Meta(min_length=1, max_length=200)]

PERFORM = "python -m ostinato.testing.graphs FILE"
"""What performs workflows that others have described."""

_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,59}", re.ASCII)
_TASK = re.compile(r"[Tt]\d{1,15}", re.ASCII)


class PlanTask(Value, forbid_unknown_fields=True):
    """One task of a plan. `after` names others of it, or tasks that exist: `collect`, `collect:failure`, `T12`."""

    name: str
    title: Annotated[str, msgspec.Meta(max_length=200)] = ""
    """Empty: its name."""
    goal: Annotated[str, msgspec.Meta(max_length=200_000)] = ""
    agent: Word | None = None
    skills: Annotated[tuple[Word, ...], msgspec.Meta(max_length=20)] = ()
    type: Annotated[str, msgspec.Meta(max_length=200)] = ""
    priority: Annotated[int, msgspec.Meta(ge=-100, le=100)] = 0
    input: dict[str, Any] = {}
    after: tuple[str, ...] = ()
    any: bool = False
    """Any one of `after` is enough."""
    budget: float | None = None
    """Dollars that it may spend with all that it sets off."""
    review: dict[str, Any] | str | None = None
    """Who must accept its result: `agent:NAME`, or a group of keys."""


class Plan(Value, forbid_unknown_fields=True):
    """Tasks, and what they may cost together."""

    tasks: tuple[PlanTask, ...]
    project: Annotated[str, msgspec.Meta(max_length=200)] = ""
    budget: float | None = None
    """Dollars for all of them; those that name no budget share what the others leave."""


class Edge(Value):
    """What a task waits for: another of its plan, or a task that exists."""

    to: str
    on: Condition
    exists: bool = False


def read_plan(data: Any) -> Plan:
    """A plan from plain data, checked. Raises Invalid with what is wrong and where, Exhausted beyond a limit."""
    if isinstance(data, Mapping) and "workflow" in data and "tasks" not in data:
        cure = f"Perform it as tasks that do nothing: {PERFORM}"
        raise Invalid("This is no plan; it looks like a workflow in WfFormat", cure=cure)
    try:
        plan = msgspec.convert(data, Plan)
    except msgspec.ValidationError as error:
        raise Invalid(f"This is no plan: {error}", cure="It needs `tasks`, each with a `name`.") from None
    ordered(plan)
    _check_budgets(plan)
    for each in plan.tasks:
        review_of(each)
    return plan


def review_of(task: PlanTask) -> ReviewTerms | None:
    """What its result must pass. Raises Invalid with the task's name."""
    if task.review is None:
        return None
    try:
        terms = read_review(task.review)
    except Invalid as error:
        raise Invalid(error.message, place=f"task {task.name!r}, key 'review'", cure=error.cure) from None
    if isinstance(terms.by, ByAgent) and terms.by.agent == task.agent:
        what, place = f"{task.agent} cannot review its own work", f"task {task.name!r}, key 'review'"
        raise Invalid(what, place=place, cure="Name another agent, or a person.")
    return terms


def edges_of(task: PlanTask, names: Mapping[str, PlanTask]) -> tuple[Edge, ...]:
    """What a task waits for. Raises Invalid for a name that is not in the plan."""
    found: list[Edge] = []
    for text in task.after:
        place = f"task {task.name!r}, key 'after'"
        try:
            name, on = parted(text)
        except Invalid as error:
            raise Invalid(error.message, place=place, cure=f"Write {text.partition(':')[0].strip()}:failure.") from None
        if name not in names:
            if not _TASK.fullmatch(name):
                raise Invalid(unknown_name("task", name[:60], names), place=place)
            name = f"T{int(name[1:])}"
        edge = Edge(to=name, on=on, exists=name not in names)
        if any(each.to == name and each != edge for each in found):
            cure = f"Name it once; '{name}:always' is its end, whatever it is."
            raise Invalid(f"{name!r} is waited for in two ways", place=place, cure=cure)
        found.append(edge)
    return tuple(found)


def ordered(plan: Plan) -> tuple[PlanTask, ...]:
    """The tasks, each behind all that it waits for, else in the order given. Raises Invalid for wrong names and
    for a circle, with its path; Exhausted beyond a limit."""
    names = _names(plan)
    needs = {each.name: [edge.to for edge in edges_of(each, names) if not edge.exists] for each in plan.tasks}
    _check_shape(needs)
    try:
        levels = in_order(needs)
    except Circular as error:
        raise Invalid(f"The plan goes in a circle: {error}", cure="Take one `after` away.") from None
    if max(levels.values()) > DEPTH_MAX:
        raise Exhausted(f"{max(levels.values())} tasks wait for each other in a row", cure=f"At most {DEPTH_MAX}.")
    return tuple(names[name] for name in levels)


def budgets(plan: Plan) -> dict[str, int | None]:
    """Micro-dollars of each task by name: its own, else its share of what the others leave; None: none."""
    own = {each.name: None if each.budget is None else round(each.budget * 1_000_000) for each in plan.tasks}
    free = [name for name, sum_ in own.items() if sum_ is None]
    if plan.budget is None or not free:
        return own
    left = round(plan.budget * 1_000_000) - sum(each for each in own.values() if each is not None)
    return {**own, **dict.fromkeys(free, max(0, left) // len(free))}


def _names(plan: Plan) -> dict[str, PlanTask]:
    if not plan.tasks:
        raise Invalid("The plan has no tasks", cure="Name at least one.")
    if len(plan.tasks) > TASKS_MAX:
        raise Exhausted(f"The plan has {len(plan.tasks)} tasks", cure=f"At most {TASKS_MAX}; make several plans.")
    names: dict[str, PlanTask] = {}
    for each in plan.tasks:
        if not _NAME.fullmatch(each.name) or _TASK.fullmatch(each.name):
            cure = "Letters, digits, '_', '.' and '-', at most 60, and not like T12."
            raise Invalid(f"{each.name[:60]!r} cannot be the name of a task", cure=cure)
        if each.name in names:
            raise Invalid(f"Two tasks are called {each.name!r}", cure="Rename one of them.")
        names[each.name] = each
    return names


def _check_shape(needs: Mapping[str, Sequence[str]]) -> None:
    waiting: dict[str, int] = {}
    for before in needs.values():
        for each in set(before):
            waiting[each] = waiting.get(each, 0) + 1
    for name, count in waiting.items():
        if count > FAN_OUT_MAX:
            raise Exhausted(f"{count} tasks wait for {name!r}", cure=f"At most {FAN_OUT_MAX}; put tasks in between.")


def _check_budgets(plan: Plan) -> None:
    wrong = [each.name for each in plan.tasks if each.budget is not None and not 0 <= each.budget <= 1_000_000]
    if wrong or (plan.budget is not None and not 0 <= plan.budget <= 1_000_000):
        raise Invalid(
            f"The budget of {wrong[0] if wrong else 'the plan'} is out of range", cure="0 to 1000000 dollars."
        )
    total = sum(each.budget or 0.0 for each in plan.tasks)
    if plan.budget is not None and total > plan.budget + 1e-9:
        raise Exhausted(f"The tasks may cost ${total:.2f}, the plan ${plan.budget:.2f}", cure="Lower some budgets.")
