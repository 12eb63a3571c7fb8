"""`spawn` and the tools for what was spawned: sub-agents, each with a session of its own.

A sub-agent is a child task. It may do no more than its parent: its policy lies within that of every agent above it and
within the tools it was given, and what it spends comes out of its parent's budget. Its result reaches the parent's
inbox in the commit that ends it, so these tools never carry a result. Knows nothing of how a child is performed.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from fnmatch import fnmatchcase
from functools import partial

from ostinato.domain.budget import Ceiling
from ostinato.domain.errors import Conflict, Denied, Exhausted, Invalid, NotFound, unknown_name
from ostinato.domain.message import DEPTH_MAX, NewMessage, task_session
from ostinato.domain.step import Effect, ResultStatus
from ostinato.domain.task import ENDED, UNFINISHED, NewTask, Task, TaskEvent, TaskKind, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant, Source, Trust, digest_of, to_json
from ostinato.store.port import Reads, TaskFilter, Tx
from ostinato.tools.port import AnyTool, Arguments, StoreTool, ToolContext, ToolResult, object_schema, text_schema
from ostinato.tools.tasks import listed, may_tell, spec_of, taint_of, why_so

SPAWN_DEPTH_MAX = 2
"""Agents above a sub-agent: a child may have children, and these none."""

CHILDREN_MAX = 8
"""Unfinished children of one task."""

NOT_NEEDED = "its parent needs it no more"
"""Why a child is cancelled, where nothing else is said."""

SHOWN_MAX = 100
"""Children that a list shows."""

TIMEOUT_S = 1_800.0
"""Seconds from its start to a child's deadline, unless it is given others."""

TIMEOUT_MAX_S = 7 * 86_400.0
"""The longest deadline that a child can be given."""


def _spawn(tx: Tx, context: ToolContext, arguments: Arguments, *, models: Collection[str]) -> ToolResult:
    parent = tx.task(context.task)
    agent = arguments.get("agent") or context.agent
    _check_agent(context, agent)
    _check_room(tx, context, parent)
    tools = tuple(arguments["tools"]) if "tools" in arguments else None
    _check_tools(context, parent, tools)
    if models and arguments.get("model", "") not in ("", *models):
        raise Invalid(unknown_name("model", arguments["model"], models), cure="Nothing was started.")
    goal = arguments["goal"].strip()
    if not goal:
        raise Invalid("The goal is empty", cure="Nothing was started.")
    told = arguments.get("context", "").strip()
    title = " ".join((arguments.get("title") or goal.split("\n")[0]).split())[:200]
    usd = arguments.get("usd")
    child = tx.add_task(
        NewTask(
            kind=TaskKind.GOAL,
            title=title,
            spec=spec_of(
                context,
                goal=f"{goal}\n\nWhat is known already:\n{told}" if told else goal,
                deadline_at=_deadline(context, parent, arguments.get("timeout_s", TIMEOUT_S)),
                budget=None if usd is None else Ceiling(usd_micros=round(usd * 1_000_000)),
                model=arguments.get("model") or None,
                within=(*parent.spec.within, context.agent),
                tools=parent.spec.tools if tools is None else tools,
            ),
            agent=agent,
            project=parent.project,
            type=parent.type,
            priority=parent.priority,
            parent=parent.id,
            depth=context.depth + 1,
            key=f"call:{context.key}",
            body=digest_of(to_json(arguments)),
        ),
        now=context.now,
        actor=context.agent,
    )
    text = f"{child.name} works on it; its result comes here as a message. children.wait waits for it."
    return ToolResult(text=text, data={"task": child.name})


def _check_agent(context: ToolContext, agent: str) -> None:
    may = [each.id for each in context.colleagues if each.id == context.agent or _is_delegate(context, each.id)]
    if agent not in may and agent != context.agent:
        raise NotFound(unknown_name("agent", agent, may), cure="Nothing was started.")


def _is_delegate(context: ToolContext, agent: str) -> bool:
    return context.delegates is None or any(fnmatchcase(agent, each) for each in context.delegates)


def _check_room(tx: Reads, context: ToolContext, parent: Task) -> None:
    if len(parent.spec.within) >= SPAWN_DEPTH_MAX:
        raise Exhausted(f"You are a sub-agent of a sub-agent, {SPAWN_DEPTH_MAX} deep", cure="Do it yourself.")
    if context.depth >= DEPTH_MAX:
        raise Exhausted(f"The chain of causes is {context.depth} tasks long already", cure="Finish, and say so.")
    if len(_children(tx, parent, limit=CHILDREN_MAX)) >= CHILDREN_MAX:
        raise Exhausted(f"{CHILDREN_MAX} children work already", cure="Wait for one of them: children.wait.")


def _deadline(context: ToolContext, parent: Task, timeout_s: float) -> Instant:
    """When a child must have ended: not later than its parent."""
    own = context.now + round(timeout_s * SECOND)
    return own if parent.spec.deadline_at is None else min(own, parent.spec.deadline_at)


def _check_tools(context: ToolContext, parent: Task, tools: Sequence[str] | None) -> None:
    granted, given = context.policy.tools, parent.spec.tools
    for each in tools or ():
        is_own = granted is None or any(fnmatchcase(each, own) for own in granted)
        if not is_own or (given is not None and not _covers(given, each)):
            raise Denied(f"You may not use {each[:64]!r} yourself", cure="Give what you have. Nothing was started.")


def _covers(given: Sequence[str], tool: str) -> bool:
    """True where a tool, or the very same pattern, was given; a pattern is not compared with another."""
    return tool in given or (not set(tool) & set("*?[") and any(fnmatchcase(tool, each) for each in given))


def _children(tx: Reads, parent: Task, *, limit: int, ended: bool = False) -> list[Task]:
    """The sub-agents of a task, newest first; its reviewers and processes are children of another kind."""
    which = TaskFilter(parent=parent.id, kinds=frozenset({TaskKind.GOAL}), states=frozenset() if ended else UNFINISHED)
    return [each for each in tx.tasks(which, limit=limit) if each.spec.reviews is None]


def _child(tx: Reads, context: ToolContext, name: str) -> Task:
    """A child of the calling task or of an earlier turn of its session; raises NotFound alike for any other."""
    digits = name.strip().upper().removeprefix("T")
    try:
        task = tx.task(int(digits)) if digits.isascii() and digits.isdecimal() and len(digits) < 16 else None
        above = tx.task(task.parent) if task is not None and task.parent is not None else None
    except NotFound:
        task = above = None
    if (
        task is None
        or above is None
        or task.kind is not TaskKind.GOAL
        or task.spec.reviews
        or above.session != context.session
    ):
        raise NotFound(f"{name[:40]!r} is none of your children", cure="children.list shows them.")
    return task


def _list(tx: Tx, context: ToolContext, _arguments: Arguments) -> ToolResult:
    found = _children(tx, tx.task(context.task), limit=SHOWN_MAX, ended=True)
    return listed([(each, _line(each)) for each in reversed(found)], "none")


def _line(task: Task) -> str:
    return (
        f"{task.name} {task.state.value}{why_so(task)}, {task.agent}, ${task.usd_micros / 1_000_000:.4f}: {task.title}"
    )


def _wait(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    """Ends at once where enough have ended; else the turn parks, and asks again when one does."""
    if "children" in arguments:
        wanted = [_child(tx, context, each) for each in dict.fromkeys(arguments["children"])]
    else:
        wanted = _children(tx, tx.task(context.task), limit=SHOWN_MAX, ended=True)[::-1]
    open_ = [each for each in wanted if each.state not in ENDED]
    enough = len(open_) < len(wanted) if arguments.get("any") else not open_
    if enough or not wanted:
        return listed([(each, _line(each)) for each in wanted], "you have no children")
    names = tuple(each.name for each in open_)
    deadlines = [each.spec.deadline_at for each in open_ if each.spec.deadline_at is not None]
    return ToolResult(
        status=ResultStatus.PENDING,
        text=f"{', '.join(names)} still at work; each result comes as a message when it ends",
        wait=Wait(kind=WaitKind.CHILD, refs=names, until_at=max(context.now + SECOND, *deadlines)),
    )


def _steer(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    child = _child(tx, context, arguments["child"])
    if child.state in ENDED:
        raise Conflict(f"{child.name} has ended: {child.state.value}", cure="Start another.")
    message = NewMessage(
        source=Source.AGENT,
        text=arguments["text"],
        sender=context.agent,
        requester=context.requester,
        trust=taint_of(context),
        private=may_tell(context),
        depth=context.depth + 1,
        causes=context.causes,
        client_id=f"steer:{context.key}",
    )
    tx.append_message(child.session or task_session(child.id), message, agent=child.agent or "", now=context.now)
    return ToolResult(text=f"{child.name} reads it before its next step")


def _cancel(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    child = _child(tx, context, arguments["child"])
    if child.state in ENDED:
        return ToolResult(text=f"{child.name} has ended already: {child.state.value}")
    reason = arguments.get("reason") or NOT_NEEDED
    if reason != NOT_NEEDED and (context.private or context.trust is Trust.EXTERNAL):  # a note is marked, a reason not
        tx.note_task(
            child.id, reason, by=context.agent, now=context.now, trust=taint_of(context), private=context.private
        )
        reason = NOT_NEEDED
    tx.move_task(child.id, TaskEvent.CANCEL, actor=context.agent, reason=reason, now=context.now)
    return ToolResult(text=f"{child.name} is cancelled")


def child_tools(models: Collection[str] = ()) -> tuple[AnyTool, ...]:
    """`spawn`, and `children.list`, `wait`, `steer` and `cancel`. `models`: what a child's can be; none: any."""
    child = text_schema("T12", least=1, most=24)
    names = {"type": "array", "items": child, "maxItems": CHILDREN_MAX * 4}
    return (
        StoreTool(
            name="spawn",
            description="Start a sub-agent on a goal of its own, with some of your tools; its result comes to you.",
            parameters=object_schema(
                "goal",
                goal=text_schema(least=1, most=100_000),
                context=text_schema(most=100_000),
                title=text_schema(most=200),
                agent=text_schema("you, unless another is named", most=64),
                tools={"type": "array", "items": text_schema(most=128), "maxItems": 100},
                model=text_schema(most=64),
                timeout_s={"type": "number", "minimum": 1, "maximum": TIMEOUT_MAX_S},
                usd={"type": "number", "exclusiveMinimum": 0, "maximum": 10_000},
            ),
            effect=Effect.IDEMPOTENT,
            act=partial(_spawn, models=models),
        ),
        StoreTool(
            name="children.list",
            description="List the sub-agents of this task with state and cost.",
            parameters=object_schema(),
            effect=Effect.READ,
            act=_list,
        ),
        StoreTool(
            name="children.wait",
            description="Wait until these sub-agents have ended (all of yours, unless named), or any of them.",
            parameters=object_schema(children=names, any={"type": "boolean"}),
            effect=Effect.READ,
            act=_wait,
        ),
        StoreTool(
            name="children.steer",
            description="Tell a sub-agent something while it works.",
            parameters=object_schema("child text", child=child, text=text_schema(least=1, most=20_000)),
            effect=Effect.IDEMPOTENT,
            act=_steer,
        ),
        StoreTool(
            name="children.cancel",
            description="Stop a sub-agent.",
            parameters=object_schema("child", child=child, reason=text_schema(most=1_000)),
            effect=Effect.IDEMPOTENT,
            act=_cancel,
        ),
    )
