"""Stopping and letting go on: the fleet, an agent, a pool, a session, or a task with all that it has begun.

What is stopped is stored before anything is told to stop, and stays so over a restart. Knows nothing of HTTP or of
screens, or of how work is made to end.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import partial
from typing import Literal

from ostinato.domain.errors import Conflict, Invalid, NotFound, unknown_name
from ostinato.domain.person import Role
from ostinato.domain.task import UNFINISHED, TaskEvent, TaskState
from ostinato.gateway.context import Context
from ostinato.gateway.notation import parse_id
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.tasks_api import Text, Word
from ostinato.gateway.views import FlagView, flag_view
from ostinato.store.port import DEFAULT_POOL, EVERY_POOL, Reads, TaskFilter, Tx

FLEET = "fleet"
KINDS = ("fleet", "agent", "pool", "session", "task")
FLAG_OF = {"kill": "halted", "pause": "paused", "drain": "draining"}

BATCH = 500
"""Tasks that one commit cancels: a long list must not keep the writer from everybody else."""

TREE_MAX = 10_000
"""Tasks under one task that are looked at, to be stopped with it."""


class StopScope(Ask):
    """What to stop (`fleet`, `agent:billing`, `pool:heavy`, `session:agent:billing:main`, `T7`), how, and why."""

    scope: Word = FLEET
    how: Literal["kill", "pause", "drain", "cancel"] = "kill"
    """kill: what runs is stopped now, and nothing starts. pause, drain: what runs comes to its end, and nothing starts.
    cancel: everything unfinished is ended for good, and new work may start."""
    reason: Text = ""


class StartScope(Ask):
    """What may go on, and why."""

    scope: Word = FLEET
    reason: Text = ""


class HeldView(View):
    """What holds the scope now, and what of it is still at work."""

    scope: str
    halted: bool
    running: int
    cancelled: int
    """Tasks that were ended."""
    flags: list[FlagView]
    procedure: str
    """What else belongs to stopping it, as its AGENTS.md says (`stop`)."""


@operation("fleet.stop", "POST /api/v1/stop", role=Role.OPERATOR)
async def stop(context: Context, request: StopScope) -> HeldView:
    """Stop the fleet, an agent, a pool, a session or a task. A kill, pause or drain holds until `start`, also over a
    restart."""
    scope, procedure = await _known_scope(context, request.scope)
    now, actor = context.now, context.caller.name
    if request.how == "cancel":
        cancelled = await _cancel_all(context, scope, reason=request.reason)
        return await context.store.read(lambda tx: _held(tx, scope, procedure=procedure, cancelled=cancelled))
    flag = FLAG_OF[request.how]

    def write(tx: Tx) -> HeldView:
        for each in _scopes(tx, scope):
            tx.set_flag(each, flag, actor=actor, reason=request.reason, now=now)
        return _held(tx, scope, procedure=procedure)

    return await context.store.run(write)


@operation("fleet.start", "POST /api/v1/start", role=Role.OPERATOR)
async def start(context: Context, request: StartScope) -> HeldView:
    """Let what was stopped go on."""
    scope, now = scope_of(request.scope), context.now

    def write(tx: Tx) -> HeldView:
        scopes = {scope, *_scopes(tx, scope)}
        held = [each for each in tx.flags() if each.scope in scopes]
        if not held:
            what = "The fleet" if scope == FLEET else scope
            raise Conflict(f"{what} is not stopped", cure="Nothing has to be done. A node starts with: ostinato up")
        for each in held:
            tx.clear_flag(each.scope, each.name, actor=context.caller.name, reason=request.reason, now=now)
        return _held(tx, scope)

    return await context.store.run(write)


def scope_of(text: str) -> str:
    """A scope as it is stored: `T7` is `task:7`. Raises Invalid."""
    if text == FLEET:
        return FLEET
    kind, colon, name = text.partition(":")
    if not colon and kind[:1] in "Tt" and kind[1:].isdecimal():
        kind, colon, name = "task", ":", kind
    if not colon or not name or kind not in KINDS[1:]:
        cure = "Scopes are: fleet, agent:NAME, pool:NAME, session:KEY, or a task such as T7."
        raise Invalid(f"{text!r} is nothing that can be stopped", place="scope", cure=cure)
    return f"task:{parse_id(name, 'T')}" if kind == "task" else f"{kind}:{name}"


async def _known_scope(context: Context, text: str) -> tuple[str, str]:
    """The scope and the procedure that its owner has written down. Raises NotFound: a stop that holds nothing because
    of a slip of the pen is worse than none."""
    scope = scope_of(text)
    kind, _, name = scope.partition(":")
    if kind == "agent":
        return scope, (await context.card_to_hold(name)).stop
    await context.store.read(partial(_check_exists, kind, name))
    return scope, ""


def _check_exists(kind: str, name: str, reads: Reads) -> None:
    match kind:
        case "task":
            reads.task(int(name))
        case "session":
            if reads.session(name) is None and not reads.tasks(TaskFilter(session=name), limit=1):
                raise NotFound(f"There is no session {name!r}", cure="See them: ostinato sessions list")
        case "pool":
            known = {DEFAULT_POOL, *reads.placements().values(), *(p for n in reads.nodes() for p in n.pools)}
            known.discard(EVERY_POOL)
            if name not in known and name not in reads.unserved_pools():
                raise NotFound(unknown_name("pool", name, sorted(known)))
        case _:
            return  # the fleet is always there


def _scopes(reads: Reads, scope: str) -> Sequence[str]:
    """A task is stopped with everything unfinished that it has begun; every other scope holds by itself."""
    kind, _, name = scope.partition(":")
    if kind != "task":
        return (scope,)
    return (scope, *(f"task:{each}" for each in _below(reads, int(name))))


def _below(reads: Reads, task: int) -> Iterator[int]:
    """Everything unfinished that a task has begun, also by way of what has ended since; newest first."""
    waiting, seen = [task], 0
    while waiting:
        parent, before = waiting.pop(0), None
        while seen < TREE_MAX:
            children, before = reads.tasks_page(TaskFilter(parent=parent), before=before, limit=BATCH)
            seen += len(children)
            waiting += (each.id for each in children)
            yield from (each.id for each in children if each.state in UNFINISHED)
            if before is None:
                break


async def _cancel_all(context: Context, scope: str, *, reason: str) -> int:
    """Ends everything unfinished of a scope, a bounded number in each commit, until a look finds nothing more."""
    cancelled, before = 0, None
    while True:
        found, before = await context.store.read(partial(_unfinished, scope=scope, before=before))
        count = 0
        for start in range(0, len(found), BATCH):
            cancel = partial(_cancel, found[start : start + BATCH], context, reason=reason)
            count += await context.store.run(cancel)
        cancelled += count
        if before is None and (not count or not scope.startswith("task:")):
            return cancelled


def _cancel(tasks: Sequence[int], context: Context, tx: Tx, *, reason: str) -> int:
    left = 0
    for each in tasks:
        if tx.task(each).state in UNFINISHED:  # what works for another, or waits for it, may have ended with that
            tx.move_task(each, TaskEvent.CANCEL, actor=context.caller.name, reason=reason or "stopped", now=context.now)
            left += 1
    return left


def _unfinished(reads: Reads, *, scope: str, before: int | None) -> tuple[list[int], int | None]:
    """What is to be cancelled, newest first: all of a tree, or one page and where the next begins."""
    kind, _, name = scope.partition(":")
    if kind == "task":
        itself = [int(name)] if reads.task(int(name)).state in UNFINISHED else []
        return sorted([*_below(reads, int(name)), *itself], reverse=True), None  # children go first
    which = TaskFilter(
        states=UNFINISHED, agent=name if kind == "agent" else None, session=name if kind == "session" else None
    )
    found, older = reads.tasks_page(which, before=before, limit=BATCH)
    return [each.id for each in found if kind != "pool" or each.pool == name], older


def _held(reads: Reads, scope: str, *, procedure: str = "", cancelled: int = 0) -> HeldView:
    flags = [flag_view(each) for each in reads.flags() if each.scope == scope]
    return HeldView(
        scope=scope,
        halted=bool(flags),
        running=_running(reads, scope),
        cancelled=cancelled,
        flags=flags,
        procedure=procedure,
    )


def _running(reads: Reads, scope: str) -> int:
    kind, _, name = scope.partition(":")
    running = frozenset({TaskState.RUNNING})
    match kind:
        case "fleet":
            return reads.tallies().tasks.get("running", 0)
        case "agent":
            return reads.agent_tally(name).get("running", 0)
        case "session":
            return len(reads.tasks(TaskFilter(session=name, states=running), limit=BATCH))
        case "task":
            return sum(reads.task(each).state is TaskState.RUNNING for each in (int(name), *_below(reads, int(name))))
        case _:
            return sum(each.pool == name for each in reads.tasks(TaskFilter(states=running), limit=BATCH))
