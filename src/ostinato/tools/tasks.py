"""The tools for tasks: create, propose, list, show, comment.

All act on the store, in the transaction that records their result. An agent sees its own tasks and those it created;
any other task is as unknown to it as one that does not exist. Knows nothing of how a task is performed.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any, assert_never

from msgspec.structs import replace

from ostinato.domain.dependency import parted
from ostinato.domain.duration import parse_duration
from ostinato.domain.errors import Denied, Exhausted, Invalid, NotFound, unknown_name
from ostinato.domain.message import DEPTH_MAX
from ostinato.domain.person import check_deciders, people_of
from ostinato.domain.retry import RetryPolicy, most_attempts, parse_retry
from ostinato.domain.review import ByAgent, ByCommand, ByPerson, ByRule, ReviewTerms, read_review, reviewing_people
from ostinato.domain.step import Effect, ModelAnswer, Note, ToolIntent
from ostinato.domain.task import UNFINISHED, After, Join, NewTask, Task, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import Attachment, Source, Trust, digest_of, to_json
from ostinato.store.port import Reads, TaskFilter, Tx
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
from ostinato.tools.proposing import once
from ostinato.tools.router import Router

ATTEMPTS_MAX = 10
"""Attempts of each class that an agent may ask for."""

CREATED_MAX = 50
"""Tasks that one turn makes; a model that always delegates stops here."""

LISTED_MAX = 50
"""Tasks that a list shows."""
SCANNED_MAX = 300
"""Newest goals among which a list looks for those that the agent created."""

COMMENTS_SHOWN = 10
TEXT_CHARS_MAX = 4_000
"""Of a goal or result that `tasks.show` tells."""

_UNDER_WAY = frozenset({TaskState.READY, TaskState.RUNNING, TaskState.WAITING})
_WAITS = re.compile(r"waits for [QT]\d+(, [QT]\d+)*", re.ASCII)
_MAKERS = frozenset({"tasks.create", "tasks.propose"})


class _Makers:
    """The two tools that make tasks, with whoever routes them."""

    def __init__(self, router: Router) -> None:
        self._router = router

    def create(self, tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
        """A task that runs as soon as it can."""
        new = self._routed(tx, context, arguments)
        task = tx.add_task(new, now=context.now, actor=context.agent)
        if task.key != new.key:
            return _there_already(task)
        whom = f"for {task.agent}" if task.agent else f"for nobody yet: {task.reason}"
        return ToolResult(text=f"{task.name} {whom} ({task.state.value}){like_words(task)}", data={"task": task.name})

    def propose(self, tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
        """A draft; who does it may be left open."""
        if arguments.get("agent") or arguments.get("skills"):
            new = self._routed(tx, context, arguments)
        else:
            new = replace(once(tx, _new_task(tx, context, arguments)), blocked="no agent is chosen yet")
        task = tx.add_task(replace(new, draft=True), now=context.now, actor=context.agent)
        if task.key != new.key:
            return _there_already(task)
        return ToolResult(text=f"{task.name} is proposed; a person decides{like_words(task)}", data={"task": task.name})

    def _routed(self, tx: Tx, context: ToolContext, arguments: Arguments) -> NewTask:
        """Who gets it, among those whom this agent may give tasks to."""
        agent, skills = arguments.get("agent"), arguments.get("skills", [])
        if agent is None and not skills:
            raise Invalid("Name an agent or skills", cure="Nothing was created.")
        allowed = delegates_among(context)
        if not allowed:
            raise Denied("You may not give tasks to anybody", cure="Do it yourself, or propose it (tasks.propose).")
        if agent is not None and agent not in {each.id for each in allowed}:
            raise NotFound(unknown_name("agent", agent, [each.id for each in allowed]), cure="Nothing was created.")
        return self._router.place(tx, once(tx, _new_task(tx, context, arguments)), allowed, now=context.now)


def _there_already(task: Task) -> ToolResult:
    """The same work is not given away twice."""
    text = f"{task.name} is the same work already ({task.state.value}, {task.agent or 'nobody'}); nothing was created"
    return ToolResult(text=text, data={"task": task.name, "existing": True})


def like_words(task: Task) -> str:
    """A word about tasks that are much like it; empty where none is."""
    return f". Much like {', '.join(task.spec.like)}: is it wanted twice?" if task.spec.like else ""


def delegates_among(context: ToolContext) -> list[Colleague]:
    """Those to whom this agent may give tasks."""
    return [each for each in context.colleagues if _may_ask(context, each.id)]


def _may_ask(context: ToolContext, agent: str) -> bool:
    if context.delegates is None or agent == context.agent:
        return True
    return any(fnmatchcase(agent, each) for each in context.delegates)


def _new_task(tx: Reads, context: ToolContext, arguments: Arguments) -> NewTask:
    if context.depth >= DEPTH_MAX:
        raise Exhausted(f"The chain of causes is {context.depth} tasks long already", cure="Finish, and say so.")
    _check_fan_out(tx, context)
    title = " ".join(arguments["title"].split())
    if not title:
        raise Invalid("The title is empty", cure="Nothing was created.")
    after = tuple(_dependency(tx, context, each) for each in arguments.get("after", ()))
    return NewTask(
        kind=TaskKind.GOAL,
        title=title,
        spec=spec_of(
            context,
            goal=arguments.get("goal", ""),
            input=arguments.get("input", {}),
            skills=tuple(arguments.get("skills", ())),
            attachments=_attached(context, arguments.get("attach", ())),
            deliver=f"session:{context.session}" if arguments.get("deliver") else None,
            join=Join.ANY if arguments.get("any") else Join.ALL,
            delegation=arguments.get("delegation", ""),
            cache_s=parse_duration(arguments["cache"]) if arguments.get("cache") else None,
            review=asked_review(tx, context, arguments.get("review"), agent=arguments.get("agent")),
            retry=_retry(arguments.get("retry", {})),
        ),
        agent=arguments.get("agent"),
        project=arguments.get("project") or tx.task(context.task).project,
        type=arguments.get("type", ""),
        priority=arguments.get("priority", 0),
        depth=context.depth + 1,
        after=after,
        key=f"call:{context.key}",
        body=digest_of(to_json(arguments)),
    )


def _retry(given: object) -> RetryPolicy:
    """How an agent wants its task tried again: within reason, as each attempt is paid for."""
    policy = parse_retry(given, place="retry")
    if most_attempts(policy) > ATTEMPTS_MAX:
        raise Invalid(f"More than {ATTEMPTS_MAX} attempts are a person's to say", cure="Nothing was created.")
    return policy


def asked_review(tx: Reads, context: ToolContext, given: object, *, agent: str | None) -> ReviewTerms | None:
    """The review that an agent asks for. Raises Invalid, and Denied for a command: it would run in the sandbox of
    another agent, with what that may do."""
    if given is None:
        return None
    terms = read_review(given)
    match terms.by:
        case ByCommand():
            raise Denied("Only people have results tested by commands", cure="Name an agent, a person or a rule.")
        case ByAgent(agent=reviewer):
            known = [each.id for each in context.colleagues if each.id == context.agent or _may_ask(context, each.id)]
            if reviewer not in known:
                raise NotFound(unknown_name("agent", reviewer, known), cure="Nothing was created.")
            if reviewer == agent:
                raise Invalid(f"{reviewer} cannot review its own work", cure="Name another agent, or a person.")
        case ByPerson():
            check_deciders(reviewing_people(terms), people_of(tx.tokens()))
        case ByRule():
            pass
        case _:
            assert_never(terms.by)
    return terms


def _dependency(tx: Reads, context: ToolContext, text: str) -> After:
    name, on = parted(text)
    return After(task=visible_task(tx, context, name).id, on=on)


def taint_of(context: ToolContext) -> Trust:
    """The trust of what an agent makes: never more than an agent's, and less where it has read text from outside."""
    return Trust.EXTERNAL if context.trust is Trust.EXTERNAL else Trust.AGENT


def may_tell(context: ToolContext) -> bool:
    """True where what an agent writes to others may hold something private."""
    return context.private or context.remembers


def spec_of(context: ToolContext, **asked: Any) -> TaskSpec:
    """What an agent's call asks for, with all that work of an agent carries along: on whose behalf, from where, because
    of what, and the marks of what its author had read."""
    return TaskSpec(
        requester=context.requester,
        created_by=context.agent,
        trust=taint_of(context),
        private=may_tell(context),
        trigger=Source.AGENT,
        origin=context.origin,
        causes=context.causes,
        **asked,
    )


def _check_fan_out(tx: Reads, context: ToolContext) -> None:
    entries = [step.entry for step in tx.steps(context.task)]
    reply, _, place = context.call_id.rpartition(".")
    made = [each.call_id for each in entries if isinstance(each, ToolIntent) and each.tool in _MAKERS]
    earlier = sum(each.rpartition(".")[0] != reply for each in made)
    # Calls of one reply are recorded together, after they have acted: those before this one are counted as they stand.
    before = int(place) if place.isdecimal() else 0
    for answer in entries:
        if isinstance(answer, ModelAnswer) and str(answer.call) == reply:
            before = sum(each.name in _MAKERS for each in answer.calls[:before])
    if max(earlier + before, len(made)) >= CREATED_MAX:
        raise Exhausted(f"This turn has made {CREATED_MAX} tasks, the most that one turn makes")


def _attached(context: ToolContext, names: Sequence[str]) -> tuple[Attachment, ...]:
    known = {each.name: each for each in context.attachments}
    for name in names:
        if name not in known:
            raise NotFound(unknown_name("attachment", name, known), cure="Nothing was created.")
    return tuple(known[name] for name in names)


def visible_task(tx: Reads, context: ToolContext, name: str) -> Task:
    """A task that this agent may know of, by its name; raises NotFound alike for one that is hidden or missing."""
    digits = name.strip().upper().removeprefix("T")
    try:
        task = tx.task(int(digits)) if digits.isascii() and digits.isdecimal() and len(digits) < 16 else None
    except NotFound:
        task = None
    if task is None or not _is_own(task, context.agent):
        raise NotFound(f"{name[:40]!r} is none of your tasks", cure="tasks.list shows them.")
    return task


def _is_own(task: Task, agent: str) -> bool:
    return agent in (task.agent, task.spec.created_by)


def _list(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    states = _states(arguments.get("state"))
    goals = frozenset({TaskKind.GOAL})
    own = tx.tasks(TaskFilter(states=states, kinds=goals, agent=context.agent), limit=LISTED_MAX)
    newest, _older = tx.tasks_page(TaskFilter(states=states, kinds=goals), limit=SCANNED_MAX)
    found = {task.id: task for task in (*own, *newest) if _is_own(task, context.agent)}
    shown = [found[number] for number in sorted(found, reverse=True)[:LISTED_MAX]]
    return listed([(each, _line_of(each)) for each in shown], "none")


def listed(lines: Sequence[tuple[Task, str]], none: str) -> ToolResult:
    """Tasks, a line for each, with the marks of those whose titles and reasons stand there; `none`: what an empty list
    says."""
    return ToolResult(
        text="\n".join(line for _, line in lines) or none,
        outside=any(task.is_outside for task, _ in lines),
        private=any(task.is_private for task, _ in lines),
    )


def _states(state: str | None) -> frozenset[TaskState]:
    if state is None:
        return UNFINISHED
    if state == "all":
        return frozenset()
    known = [each.value for each in TaskState]
    if state not in known:
        raise Invalid(unknown_name("state", state, [*known, "all"]))
    return frozenset({TaskState(state)})


def _line_of(task: Task) -> str:
    return f"{task.name} {task.state.value}{why_so(task)}, {task.agent or 'nobody'}: {task.title}"


def why_so(task: Task) -> str:
    """Why it stands as it does, in brackets. Nothing while it is under way but for the names of what it waits for: an
    attempt's errors are in words of others, of whom nothing is known before the task has ended."""
    if not task.reason or (task.state in _UNDER_WAY and not _WAITS.fullmatch(task.reason)):
        return ""
    return f" ({task.reason})"


def _show(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    task = visible_task(tx, context, arguments["task"])
    lines = [_line_of(task)]
    if task.spec.goal:
        lines.append(f"goal: {_shortened(task.spec.goal)}")
    if task.result is not None and task.result.text:
        lines.append(f"result: {_shortened(task.result.text)}")
    if task.result is not None and task.result.error:
        lines.append(f"error: {_shortened(task.result.error)}")
    shown = [step.entry for step in tx.steps(task.id) if isinstance(step.entry, Note)][-COMMENTS_SHOWN:]
    lines.extend(f"{note.by}: {_shortened(note.text)}" for note in shown)
    return ToolResult(
        text="\n".join(lines),
        data=task.result.data if task.result else None,
        outside=task.is_outside or any(note.trust is Trust.EXTERNAL for note in shown),
        private=task.is_private or any(note.private for note in shown),
    )


def _shortened(text: str) -> str:
    return text if len(text) <= TEXT_CHARS_MAX else f"{text[:TEXT_CHARS_MAX]} [{len(text)} characters]"


def _comment(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    task = visible_task(tx, context, arguments["task"])
    tx.note_task(
        task.id,
        arguments["text"],
        by=context.agent,
        now=context.now,
        trust=taint_of(context),
        private=may_tell(context),
    )
    return ToolResult(text=f"noted on {task.name}")


def task_tools(router: Router | None = None) -> tuple[AnyTool, ...]:
    """`tasks.create`, `propose`, `list`, `show` and `comment`; `router` says who gets what names only skills."""
    makers = _Makers(router or Router())
    texts = {"type": "array", "items": {"type": "string"}, "maxItems": 20}
    wanted = {
        "title": text_schema(least=1, most=200),
        "goal": text_schema(),
        "agent": text_schema(),
        "skills": texts,
        "input": {"type": "object"},
        "after": {**texts, "description": "T12, T12:failure, T12:always"},
        "any": {"type": "boolean"},
        "attach": texts,
        "priority": {"type": "integer", "minimum": -100, "maximum": 100},
        "type": text_schema(most=60),
        "project": text_schema(most=60),
        "review": text_schema(most=2_000),
        "retry": {"type": "object"},
        "cache": text_schema(most=20),
        "delegation": text_schema(most=200),
    }
    return (
        StoreTool(
            name="tasks.create",
            description="Give an agent or skills a task. deliver: its result comes here. cache: 1h. delegation: a key.",
            parameters=object_schema("title", **wanted, deliver={"type": "boolean"}),
            effect=Effect.IDEMPOTENT,
            act=makers.create,
        ),
        StoreTool(
            name="tasks.propose",
            description="Propose a task; a person decides.",
            parameters=object_schema("title", **wanted),
            effect=Effect.IDEMPOTENT,
            act=makers.propose,
        ),
        StoreTool(
            name="tasks.list",
            description="List your tasks and those you created: unfinished ones, one state, or all.",
            parameters=object_schema(state=text_schema()),
            effect=Effect.READ,
            act=_list,
        ),
        StoreTool(
            name="tasks.show",
            description="Show one of them (T12) with result and comments.",
            parameters=object_schema("task", task=text_schema()),
            effect=Effect.READ,
            private=True,
            act=_show,
        ),
        StoreTool(
            name="tasks.comment",
            description="Add a comment to one of them.",
            parameters=object_schema("task text", task=text_schema(), text=text_schema(least=1, most=TEXT_CHARS_MAX)),
            effect=Effect.IDEMPOTENT,
            act=_comment,
        ),
    )
