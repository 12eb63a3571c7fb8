"""Operations on plans: make a graph of drafts, see a tree with its costs, decide on all of it, edit a part.

Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

import msgspec
from msgspec.structs import replace

from ostinato.domain.budget import Ceiling
from ostinato.domain.delegation import delegation_key
from ostinato.domain.dependency import joined
from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.event import EventName
from ostinato.domain.person import Role
from ostinato.domain.plan import read_plan
from ostinato.domain.task import UNFINISHED, NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import digest_of, to_json
from ostinato.gateway.context import Context
from ostinato.gateway.deciding import unheld
from ostinato.gateway.notation import parse_id
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.placing import placing
from ostinato.gateway.tasks_api import Skill, Text, Title, WhichTask, Word
from ostinato.gateway.views import TaskRow, task_row, task_usd
from ostinato.store.port import EventFilter, Reads, TaskFilter, Tx
from ostinato.tools.plans import Frame, draft

TREE_MAX = 1_000
"""Tasks of a tree that are shown, or decided on, at once."""

OWN_WORK = "same:"
"""How keys of work begin that were made from what a task says."""


class MakePlan(Ask):
    """A plan: `tasks`, each with a `name`; `project` and `budget` for all of them. `key` makes it harmless to send the
    same plan twice."""

    plan: dict[str, Any]
    key: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] | None = None


class DecideTree(Ask):
    """A task of a plan, or one with children or dependencies, and the reason for what is done to all of them."""

    task: Word
    reason: Text = ""


class EditTask(Ask):
    """What a draft is to say; what is not named stays."""

    task: Word
    title: Title | None = None
    goal: Text | None = None
    input: dict[str, Any] | None = None
    agent: Word | None = None
    skills: Annotated[list[Skill], msgspec.Meta(max_length=20)] | None = None
    budget: Annotated[float, msgspec.Meta(ge=0, le=1_000_000)] | None = None


class TreeNode(View):
    """One task of a tree."""

    task: TaskRow
    level: int
    """How many parents it has within the tree."""
    after: list[str]
    """What it waits for, or waited for: `T3`, `T3:failure`."""
    usd: float | None
    """With its children; null: some of it is unknown."""
    existed: bool = False
    """Of a plan that is being made: the same work was there already, and this is it, as it was."""


class TreeView(View):
    """Tasks that belong together: parents before their children, each after what it waits for."""

    nodes: list[TreeNode]
    states: dict[str, int]
    usd: float | None
    """Of all of them; null: some of it is unknown."""
    tokens: int
    more: bool
    """There are more than are shown."""


_DECIDED = frozenset({EventName.TASK_APPROVED, EventName.TASK_CANCELLED})


@operation("tasks.plan", "POST /api/v1/plans", role=Role.OPERATOR)
async def plan(context: Context, request: MakePlan) -> TreeView:
    """Make a graph of drafts. None of them runs before somebody approves it."""
    wanted, now = read_plan(request.plan), context.now
    where = await placing(context)
    name = digest_of(to_json([request.key] if request.key else [request.plan, now]))[:16]
    asked = TaskSpec(requester=context.caller.name)
    frame = Frame(kind=TaskKind.GOAL, title="", plan=name, project=wanted.project, spec=asked)

    def write(tx: Tx) -> TreeView:
        made = draft(tx, wanted, frame, router=context.router, agents=where.agents, actor=context.caller.name, now=now)
        there = {each.name for each in made if each.spec.plan != name}
        view = _view(tx, made)
        return replace(view, nodes=[replace(each, existed=each.task.id in there) for each in view.nodes])

    return await context.store.run(write)


@operation("tasks.tree", "GET /api/v1/tasks/{task}/tree")
async def tree(context: Context, request: WhichTask) -> TreeView:
    """A plan, or whatever depends on each other, with all children: states, dependencies and what they cost."""
    number = parse_id(request.task, "T")
    return await context.store.read(lambda tx: _view(tx, _together(tx, tx.task(number))))


@operation("tasks.approve_tree", "POST /api/v1/tasks/{task}/tree/approve", role=Role.OPERATOR)
async def approve_tree(context: Context, request: DecideTree) -> TreeView:
    """Let every draft of a plan run that is still one."""
    number, now, actor = parse_id(request.task, "T"), context.now, context.caller.name
    where = await placing(context)

    def write(tx: Tx) -> TreeView:
        for each in _drafts(tx, number):
            where.place_again(tx, each, actor=actor, now=now)
            moved = tx.move_task(each.id, TaskEvent.APPROVE, actor=actor, reason=request.reason, now=now)
            unheld(tx, moved, actor=actor, now=now)
        return _view(tx, _together(tx, tx.task(number)))

    return await context.store.run(write)


@operation("tasks.reject_tree", "POST /api/v1/tasks/{task}/tree/reject", role=Role.OPERATOR)
async def reject_tree(context: Context, request: DecideTree) -> TreeView:
    """Refuse every draft of a plan that is still one."""
    number, now, actor = parse_id(request.task, "T"), context.now, context.caller.name

    def write(tx: Tx) -> TreeView:
        for each in reversed(_drafts(tx, number)):  # whoever follows goes first: nobody is skipped for another
            if tx.task(each.id).state is TaskState.DRAFT:
                tx.move_task(each.id, TaskEvent.REJECT, actor=actor, reason=request.reason, now=now)
        return _view(tx, _together(tx, tx.task(number)))

    return await context.store.run(write)


@operation("tasks.cancel_tree", "POST /api/v1/tasks/{task}/tree/cancel", role=Role.OPERATOR)
async def cancel_tree(context: Context, request: DecideTree) -> TreeView:
    """End every task of a plan that has not ended, drafts or not; running attempts stop at once."""
    number, now, actor = parse_id(request.task, "T"), context.now, context.caller.name

    def write(tx: Tx) -> TreeView:
        going = [each for each in _together(tx, tx.task(number)) if each.state in UNFINISHED]
        if not going:
            cure = f"See them: ostinato tasks show T{number} --tree"
            raise Conflict(f"All that belongs to T{number} has ended", cure=cure)
        for each in reversed(going):  # whoever follows goes first: nobody is told that it waits in vain
            if tx.task(each.id).state in UNFINISHED:
                tx.move_task(each.id, TaskEvent.CANCEL, actor=actor, reason=request.reason, now=now)
        return _view(tx, _together(tx, tx.task(number)))

    return await context.store.run(write)


@operation("tasks.edit", "POST /api/v1/tasks/{task}/edit", role=Role.OPERATOR)
async def edit(context: Context, request: EditTask) -> TaskRow:
    """Change what a draft says before anybody approves it."""
    number, now, actor = parse_id(request.task, "T"), context.now, context.caller.name
    if all(getattr(request, each) is None for each in ("title", "goal", "input", "agent", "skills", "budget")):
        raise Invalid("Nothing to change", cure="Name title, goal, input, agent, skills or budget.")
    if request.agent is not None:
        await context.card(request.agent)
    where = await placing(context)

    def write(tx: Tx) -> TaskRow:
        before = tx.task(number)
        new = _edited(before, request)
        if request.agent is None and request.skills:
            new = where.place(tx, replace(new, agent=None), now=now)
            if new.agent is None:
                raise Conflict(new.blocked, cure="Name an agent, or other skills.")
        spec = new.spec
        if spec.delegation.startswith(OWN_WORK) and _work_of(new) != _work_of(_edited(before, EditTask(task=""))):
            spec = replace(spec, delegation=_work_of(new))
        task = tx.edit_draft(number, title=new.title, spec=spec, actor=actor, now=now)
        if new.agent is not None and new.agent != before.agent:
            task = tx.change_task(number, actor=actor, agent=new.agent, now=now)
        return task_row(task, usd=task_usd(tx, task))

    return await context.store.run(write)


def _work_of(new: NewTask) -> str:
    """The key of what it says, whatever key it has."""
    return delegation_key(replace(new, spec=replace(new.spec, delegation="")))


def _edited(task: Task, request: EditTask) -> NewTask:
    spec: TaskSpec = task.spec
    if request.goal is not None:
        spec = replace(spec, goal=request.goal)
    if request.input is not None:
        spec = replace(spec, input=request.input)
    if request.skills is not None:
        spec = replace(spec, skills=tuple(request.skills))
    if request.budget is not None:
        spec = replace(spec, budget=Ceiling(usd_micros=round(request.budget * 1_000_000)))
    title = task.title if request.title is None else " ".join(request.title.split()) or task.title
    return NewTask(
        kind=task.kind,
        title=title,
        spec=spec,
        agent=request.agent or task.agent,
        project=task.project,
        type=task.type,
        priority=task.priority,
    )


def _drafts(tx: Reads, number: int) -> list[Task]:
    tree = _together(tx, tx.task(number))
    found = [each for each in tree if each.state is TaskState.DRAFT]
    if not found:
        decided = tx.events(EventFilter(task=number, names=_DECIDED))
        by = f": {decided[-1].actor} has decided" if decided else ""
        cure = f"See them: ostinato tasks show T{number} --tree"
        if any(each.state in UNFINISHED for each in tree):
            cure += f". End what has not ended: ostinato tasks cancel T{number} --tree"
        raise Conflict(f"No draft belongs to T{number}{by}", cure=cure)
    return found


def _together(tx: Reads, task: Task) -> list[Task]:
    """The tasks of the same plan; without one, those that depend on each other. By age."""
    if task.spec.plan:
        found = {each.id: each for each in tx.tasks_keyed(f"plan:{task.spec.plan}:", limit=TREE_MAX)}
        found[task.id] = task
        return [found[each] for each in sorted(found)]
    found, left = {task.id: task}, [task]
    while left and len(found) < TREE_MAX:
        here = left.pop()
        for each in (*tx.dependencies(here.id), *tx.dependants(here.id)):
            if each.id not in found:
                found[each.id] = each
                left.append(each)
    return [found[each] for each in sorted(found)]


def _view(tx: Reads, roots: list[Task]) -> TreeView:
    known = {each.id for each in roots}
    seen: set[int] = set()
    nodes: list[TreeNode] = []
    for each in roots:
        if each.parent not in known:
            nodes.extend(_below(tx, each, level=0, seen=seen))
    states: dict[str, int] = {}
    for node in nodes:
        states[node.task.state] = states.get(node.task.state, 0) + 1
    return TreeView(
        nodes=nodes,
        states=states,
        usd=_sum([each.usd for each in nodes if each.level == 0]),
        tokens=sum(each.task.tokens for each in nodes),
        more=len(seen) >= TREE_MAX,
    )


def _below(tx: Reads, task: Task, *, level: int, seen: set[int]) -> Iterator[TreeNode]:
    """A task, then its children with theirs, the oldest first."""
    if task.id in seen or len(seen) >= TREE_MAX:
        return
    seen.add(task.id)
    row = task_row(task, usd=task_usd(tx, task))
    children = tx.tasks(TaskFilter(parent=task.id), limit=TREE_MAX)[::-1]
    below = [node for each in children for node in _below(tx, each, level=level + 1, seen=seen)]
    whole = _sum([row.usd, *(each.usd for each in below if each.level == level + 1)])
    yield TreeNode(task=row, level=level, after=[joined(each) for each in tx.waits_on(task.id)], usd=whole)
    yield from below


def _sum(sums: list[float | None]) -> float | None:
    known = [each for each in sums if each is not None]
    return sum(known) if len(known) == len(sums) else None
