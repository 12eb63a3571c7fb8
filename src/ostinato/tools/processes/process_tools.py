"""`exec.start` and `processes.*`: commands that go on beside the turn, and how their agent deals with them.

A start is a task added in the commit of its intent; everything else goes to the process by its handle. An agent deals
with the processes of its own session alone: any other is as unknown to it as one that does not exist. What is typed
into a process does what the process does, and is judged so. Knows nothing of how a process is kept.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from ostinato.domain.command import effect_of
from ostinato.domain.errors import Denied, Exhausted, NotFound, OstinatoError
from ostinato.domain.message import PARENT
from ostinato.domain.step import Effect, ResultStatus
from ostinato.domain.task import ENDED, UNFINISHED, NewTask, Task, TaskKind, TaskSpec, Wait, WaitKind
from ostinato.domain.values import SECOND, Instant, Source, Trust
from ostinato.store.port import Reads, TaskFilter, Tx
from ostinato.tools.commands import (
    COMMAND_ARGUMENTS,
    CommandPlace,
    check_bound,
    report_command,
    whole_workspace,
)
from ostinato.tools.port import (
    AnyTool,
    Arguments,
    CallReport,
    CommandRules,
    OutsideTool,
    StoreTool,
    ToolContext,
    ToolResult,
    object_schema,
    text_schema,
)
from ostinato.tools.processes.handle import Handle, Standing, handle_of
from ostinato.tools.processes.handler import START_TOOL, about_of, handle_for
from ostinato.tools.processes.keys import KEYS, bytes_of
from ostinato.tools.sandbox.spill import SHOWN_BYTES, plain
from ostinato.tools.sandbox.surroundings import without
from ostinato.tools.tasks import taint_of

PROCESSES_MAX = 16
"""Of one agent at once."""

LISTED_MAX = 50
"""Processes that a list shows."""
WRITTEN_CHARS_MAX = 262_144
"""Of one input to a process."""
WAIT_S = 3_600.0
"""How long `processes.wait` waits, unless it is told."""
WAIT_S_MAX = 86_400.0
"""How long it waits at most."""
_BEGINNING_S, _BEGINNING_MAX = 0.02, 500


def process_tools(place: CommandPlace | None) -> tuple[AnyTool, ...]:
    """The tools for what lasts; without a place they can be described, and refuse."""
    which: dict[str, Any] = {"process": text_schema(least=2, most=20)}
    size: dict[str, Any] = {"type": "integer", "minimum": 1, "maximum": 1_000}
    return (
        StoreTool(
            name=START_TOOL,
            description="Start a granted command that goes on; its end comes as a message. input: you write to it.",
            parameters=object_schema(
                "argv",
                **COMMAND_ARGUMENTS,
                input={"type": "boolean"},
                terminal={"type": "boolean"},
                rows=size,
                columns=size,
            ),
            effect=Effect.IRREVERSIBLE,
            act=partial(_start, place=place),
            report=partial(report_command, place, lasting=True),
            looks=True,
            reads=whole_workspace,
            writes=whole_workspace,
            own_files=True,
            private=True,
        ),
        StoreTool(
            name="processes.list",
            description="List your processes: those that run, or all.",
            parameters=object_schema(all={"type": "boolean"}),
            effect=Effect.READ,
            act=_list,
        ),
        StoreTool(
            name="processes.wait",
            description="Wait until a process has ended.",
            parameters=object_schema(
                "process", **which, timeout_s={"type": "number", "minimum": 0, "maximum": WAIT_S_MAX}
            ),
            effect=Effect.READ,
            act=_wait,
            report=_report_wait,
        ),
        OutsideTool(
            name="processes.log",
            description="What a process has said, from a byte; else the last of it.",
            parameters=object_schema("process", **which, from_={"type": "integer", "minimum": 0}),
            effect=Effect.READ,
            reads=whole_workspace,
            own_files=True,
            private=True,
            act=partial(_log, place),
        ),
        *_acting(place, which, size),
    )


def _acting(place: CommandPlace | None, which: dict[str, Any], size: dict[str, Any]) -> tuple[AnyTool, ...]:
    report = partial(_report_typing, place)
    return (
        OutsideTool(
            name="processes.write",
            description="Write to a process's input; end closes it.",
            parameters=object_schema(
                "process text", **which, text=text_schema(most=WRITTEN_CHARS_MAX), end={"type": "boolean"}
            ),
            effect=Effect.IRREVERSIBLE,
            act=partial(_write, place),
            report=report,
        ),
        OutsideTool(
            name="processes.keys",
            description=f"Press keys at a process's terminal: {', '.join(list(KEYS)[:6])}, ctrl-c ...",
            parameters=object_schema(
                "process keys",
                **which,
                keys={"type": "array", "items": text_schema(least=1, most=20), "minItems": 1, "maxItems": 100},
            ),
            effect=Effect.IRREVERSIBLE,
            act=partial(_keys, place),
            report=report,
        ),
        OutsideTool(
            name="processes.resize",
            description="Resize a process's terminal.",
            parameters=object_schema("process rows columns", **which, rows=size, columns=size),
            effect=Effect.IDEMPOTENT,
            act=partial(_resize, place),
        ),
        OutsideTool(
            name="processes.kill",
            description="End a process and all that it started.",
            parameters=object_schema("process", **which),
            effect=Effect.IDEMPOTENT,
            act=partial(_kill, place),
        ),
    )


# --- a task of its own ---


def _start(tx: Tx, context: ToolContext, arguments: Arguments, *, place: CommandPlace | None) -> ToolResult:
    report = context.looked or report_command(place, context, arguments, lasting=True)
    if report.refusal or place is None:
        raise Denied(report.refusal or "Commands have no place here")
    check_bound(report.bound, context.bound)  # and once more when it begins, by what is there then
    task = add_process(tx, context, arguments)
    handle_for(place.state_dir, task).prepare(about_of(task))  # so that it can be written to before it has begun
    return ToolResult(text=f"{task.name} is started; its end comes as a message", data={"process": task.name})


def add_process(
    tx: Tx,
    context: ToolContext,
    arguments: Arguments,
    *,
    quiet: bool = False,
    environment: Mapping[str, str] | None = None,
) -> Task:
    """The task of a process, in the session of whoever starts it; `quiet`: its end wakes the task that waits for it,
    and is no message. `environment`: further plain variables. Raises Exhausted where there are too many."""
    live = TaskFilter(kinds=frozenset({TaskKind.PROCESS}), states=UNFINISHED, agent=context.agent)
    if len(tx.tasks(live, limit=PROCESSES_MAX)) >= PROCESSES_MAX:
        raise Exhausted(f"{PROCESSES_MAX} processes of yours run already", cure="End one of them: processes.kill.")
    rules = context.commands or CommandRules()
    starter = tx.task(context.task)
    # An allowed action of a shared session is started by a delivery, which has no session.
    elsewhere = None if starter.session == context.session else f"session:{context.session}"
    new = NewTask(
        kind=TaskKind.PROCESS,
        title=shlex.join(arguments["argv"])[:200],
        spec=TaskSpec(
            input={
                "arguments": arguments,
                "bound": context.bound,
                "session": context.session,
                "effect": effect_of(arguments["argv"], rules.effects).value,
                "environment": dict(environment or {}),
            },
            requester=context.requester,
            created_by=context.agent,
            trust=Trust.EXTERNAL if rules.network or tx.tainted_files(context.agent) else taint_of(context),
            trigger=Source.AGENT,
            causes=context.causes,
            deliver=PARENT if quiet else elsewhere,
        ),
        agent=context.agent,
        parent=context.task,
        depth=context.depth,
        project=starter.project,
        key=f"call:{context.key}",
    )
    return tx.add_task(new, now=context.now, actor=context.agent)


def _list(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    states = frozenset() if arguments.get("all") else UNFINISHED
    which = TaskFilter(kinds=frozenset({TaskKind.PROCESS}), states=states, agent=context.agent)
    own = [each for each in tx.tasks(which, limit=LISTED_MAX) if _is_own(each, context)]
    lines = [f"{each.name} {'runs' if each.state not in ENDED else each.state.value}: {each.title}" for each in own]
    return ToolResult(text="\n".join(lines) or "none")


def _is_own(task: Task, context: ToolContext) -> bool:
    return task.agent == context.agent and task.spec.input.get("session") == context.session


def _report_wait(context: ToolContext, arguments: Arguments) -> CallReport:
    until_at = context.now + round(arguments.get("timeout_s", WAIT_S) * SECOND)
    return CallReport(effect=Effect.READ, bound={"until_at": until_at})


def _wait(tx: Tx, context: ToolContext, arguments: Arguments) -> ToolResult:
    task = _own_task(tx, context, arguments["process"])
    if task.state in ENDED:
        result = task.result
        told = (result.text or result.error) if result else task.reason
        words = f"{told.partition(chr(10))[0] or f'{task.name} has ended'}. Its message says more."
        return ToolResult(text=words, outside=task.is_outside, private=True)
    until_at: Instant = context.bound.get("until_at", 0)
    if until_at <= context.now:
        return ToolResult(text=f"{task.name} still runs")
    return ToolResult(
        status=ResultStatus.PENDING,
        text=f"{task.name} still runs; its end comes as a message",
        wait=Wait(kind=WaitKind.PROCESS, refs=(task.name,), until_at=until_at),
    )


def _own_task(tx: Reads, context: ToolContext, name: str) -> Task:
    try:
        task = tx.task(number_of(name))
    except NotFound:
        task = None
    if task is None or task.kind is not TaskKind.PROCESS or not _is_own(task, context):
        raise NotFound(f"{name[:40]!r} is none of your processes", cure="processes.list shows them.")
    return task


def number_of(name: str) -> int:
    """The id of a process's task, by its name; raises NotFound for what is none."""
    digits = name.strip().upper().removeprefix("T")
    if not (digits.isascii() and digits.isdecimal() and len(digits) < 16):
        raise NotFound(f"{name[:40]!r} is no process", cure="Processes are called like tasks: T12.")
    return int(digits)


# --- by its handle ---


def _own(place: CommandPlace | None, context: ToolContext, name: str) -> Handle:
    if place is None:
        raise Denied("Commands have no place here")
    missing = NotFound(f"{name[:40]!r} is none of your processes", cure="processes.list shows them.")
    try:
        handle = handle_of(place.state_dir, number_of(name))
        about = handle.about()
    except NotFound:
        raise missing from None
    if (about.agent, about.session) != (context.agent, context.session):
        raise missing
    return handle


def _report_typing(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> CallReport:
    try:
        return CallReport(effect=_own(place, context, arguments["process"]).about().effect)
    except OstinatoError as error:
        return CallReport(effect=Effect.IRREVERSIBLE, refusal=str(error))


async def _then(
    place: CommandPlace | None, context: ToolContext, arguments: Arguments, *, deed: Callable[[Handle], str]
) -> ToolResult:
    handle = _own(place, context, arguments["process"])
    for _ in range(_BEGINNING_MAX):
        if await asyncio.to_thread(handle.look) != (Standing.NEVER, None):
            break
        await asyncio.sleep(_BEGINNING_S)
    return ToolResult(text=await asyncio.to_thread(deed, handle))


async def _log(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    def read() -> ToolResult:
        kept = without(_own(place, context, arguments["process"]).kept())
        wanted = arguments.get("from", max(0, kept.total_bytes - SHOWN_BYTES))
        start, data = kept.read(wanted, SHOWN_BYTES)
        end = start + len(data)
        lines = [f"bytes {start} to {end} of {kept.total_bytes}"]
        if start > wanted:
            lines.append(f"bytes {wanted} to {start} were too many and are not kept")
        return ToolResult(
            text="\n".join([*lines, plain(data)]), data={"from": start, "to": end, "of": kept.total_bytes}
        )

    return await asyncio.to_thread(read)


async def _write(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    def write(handle: Handle) -> str:
        data = arguments["text"].encode()
        handle.write(data, end=arguments.get("end", False))
        return f"{len(data)} bytes written"

    return await _then(place, context, arguments, deed=write)


async def _keys(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    def press(handle: Handle) -> str:
        handle.write(bytes_of(arguments["keys"]))
        return f"pressed: {' '.join(arguments['keys'])}"

    return await _then(place, context, arguments, deed=press)


async def _resize(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    def resize(handle: Handle) -> str:
        handle.ask("resize", rows=arguments["rows"], columns=arguments["columns"])
        return f"{arguments['rows']} rows, {arguments['columns']} columns"

    return await _then(place, context, arguments, deed=resize)


async def _kill(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    def kill(handle: Handle) -> str:
        return "it is being ended" if handle.kill(f"by {context.agent}") else "it had ended"

    return await _then(place, context, arguments, deed=kill)
