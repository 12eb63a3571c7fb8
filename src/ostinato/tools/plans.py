"""Plans become drafts here, all in one transaction: `tasks.plan` and whoever else makes one.

A draft never runs. Knows nothing of who approves it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from msgspec.structs import replace

from ostinato.domain.budget import Ceiling
from ostinato.domain.errors import Denied, Exhausted, NotFound, unknown_name
from ostinato.domain.message import DEPTH_MAX
from ostinato.domain.person import check_deciders, people_of
from ostinato.domain.plan import Plan, PlanTask, budgets, edges_of, ordered, read_plan, review_of
from ostinato.domain.review import ByAgent, reviewing_people
from ostinato.domain.step import Effect
from ostinato.domain.task import After, Join, NewTask, Task, TaskKind
from ostinato.domain.values import Instant, digest_of, to_json
from ostinato.store.port import Reads, Tx
from ostinato.tools.port import (
    AnyTool,
    Arguments,
    Colleague,
    StoreTool,
    ToolContext,
    ToolResult,
    object_schema,
    text_schema,
)
from ostinato.tools.proposing import neighbours, once
from ostinato.tools.router import Router
from ostinato.tools.tasks import asked_review, delegates_among, like_words, spec_of, visible_task

PLANNED_MAX = 100
"""Tasks of a plan that an agent makes."""

UNCHOSEN = "no agent is chosen yet"


class Frame(NewTask):
    """What all tasks of a plan have in common, and the plan's own id."""

    plan: str


def draft(
    tx: Tx, plan: Plan, frame: Frame, *, router: Router, agents: Sequence[Colleague], actor: str, now: Instant
) -> list[Task]:
    """The drafts of a checked plan, in the order in which they can run. A task whose work is there already is not made
    again. Raises NotFound for an agent or task that does not exist, Invalid for a reviewer who cannot decide."""
    _check_names(tx, plan, agents)
    names = {each.name: each for each in plan.tasks}
    sums, made, works = budgets(plan), dict[str, Task](), Counter[str]()
    others = neighbours(tx, frame.project)
    for each in ordered(plan):
        after = []
        for edge in edges_of(each, names):
            number = int(edge.to[1:]) if edge.exists else made[edge.to].id
            after.append(After(task=number, on=edge.on))
        new = once(tx, _new_task(each, frame, after=after, micros=sums[each.name]), others=others)
        works[new.spec.delegation] += 1
        if (time := works[new.spec.delegation]) > 1:  # a plan may well run the tests before and after
            new = replace(new, spec=replace(new.spec, delegation=f"{new.spec.delegation}:{time}"))
        placed = router.place(tx, new, agents, now=now) if new.agent or new.spec.skills else None
        made[each.name] = tx.add_task(placed or replace(new, blocked=UNCHOSEN), now=now, actor=actor)
    return list(made.values())


def _check_names(tx: Reads, plan: Plan, agents: Sequence[Colleague]) -> None:
    known = [each.id for each in agents]
    for each in plan.tasks:
        terms = review_of(each)
        reviewer = terms.by.agent if terms and isinstance(terms.by, ByAgent) else None
        for name in (each.agent, reviewer):
            if name and name not in known:
                raise NotFound(unknown_name("agent", name, known), place=f"task {each.name!r}")
        if asked := reviewing_people(terms):
            check_deciders(asked, people_of(tx.tokens()))


def _new_task(task: PlanTask, frame: Frame, *, after: Sequence[After], micros: int | None) -> NewTask:
    return NewTask(
        kind=TaskKind.GOAL,
        title=(" ".join(task.title.split()) or task.name)[:200],
        spec=replace(
            frame.spec,
            goal=task.goal,
            input=task.input,
            skills=task.skills,
            join=Join.ANY if task.any else Join.ALL,
            budget=None if micros is None else Ceiling(usd_micros=micros),
            plan=frame.plan,
            review=review_of(task),
        ),
        agent=task.agent,
        project=frame.project,
        type=task.type,
        priority=max(-100, min(100, task.priority)),
        draft=True,
        depth=frame.depth,
        after=tuple(after),
        key=f"plan:{frame.plan}:{task.name}",
        body=digest_of(to_json(task)),
    )


class _Planner:
    def __init__(self, router: Router) -> None:
        self._router = router

    def plan(self, tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
        """A graph of drafts; a person decides."""
        if context.depth >= DEPTH_MAX:
            raise Exhausted(f"The chain of causes is {context.depth} tasks long already", cure="Finish, and say so.")
        plan = read_plan(arguments)
        if len(plan.tasks) > PLANNED_MAX:
            raise Exhausted(f"The plan has {len(plan.tasks)} tasks", cure=f"At most {PLANNED_MAX}.")
        for each in plan.tasks:
            asked_review(tx, context, each.review, agent=each.agent)
            for edge in edges_of(each, {one.name: one for one in plan.tasks}):
                if edge.exists:
                    visible_task(tx, context, edge.to)
        allowed = delegates_among(context)
        if not allowed and any(each.agent or each.skills for each in plan.tasks):
            raise Denied("You may not give tasks to anybody", cure="Name neither agents nor skills.")
        frame = Frame(
            kind=TaskKind.GOAL,
            title="",
            plan=digest_of(context.key.encode())[:16],
            project=plan.project or tx.task(context.task).project,
            depth=context.depth + 1,
            spec=spec_of(context),
        )
        made = draft(tx, plan, frame, router=self._router, agents=allowed, actor=context.agent, now=context.now)
        names = {each.name: task.name for each, task in zip(ordered(plan), made, strict=True)}
        there = {each.name for each in made if each.spec.plan != frame.plan}
        like = {each.name: like_words(each) for each in made}
        lines = [
            f"{task}: {name}" + (", the same work, which was there already" if task in there else like[task])
            for name, task in names.items()
        ]
        text = "\n".join([f"{len(made) - len(there)} drafts; a person decides:", *lines])
        return ToolResult(text=text, data={"tasks": names})


def plan_tools(router: Router | None = None) -> tuple[AnyTool, ...]:
    """`tasks.plan`."""
    texts = {"type": "array", "items": {"type": "string"}, "maxItems": 100}
    task = object_schema(
        "name",
        name=text_schema(least=1, most=60),
        title=text_schema(most=200),
        goal=text_schema(),
        agent=text_schema(),
        skills=texts,
        type=text_schema(most=60),
        priority={"type": "integer", "minimum": -100, "maximum": 100},
        input={"type": "object"},
        after={**texts, "description": "names; collect:failure, collect:always"},
        any={"type": "boolean"},
        budget={"type": "number", "minimum": 0},
        review=text_schema(most=2_000),
    )
    return (
        StoreTool(
            name="tasks.plan",
            description="Propose a graph of tasks; a person decides.",
            parameters=object_schema(
                "tasks",
                tasks={"type": "array", "items": task, "minItems": 1, "maxItems": PLANNED_MAX},
                project=text_schema(most=60),
                budget={"type": "number", "minimum": 0},
            ),
            effect=Effect.IDEMPOTENT,
            act=_Planner(router or Router()).plan,
        ),
    )
