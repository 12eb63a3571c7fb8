"""Operations on processes: list, show, log, follow, write, keys, resize, kill.

A process is a task; what it says and takes goes through its handle. Text of processes is shown without escape
sequences. Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import AsyncIterator
from typing import Annotated, Any

import msgspec

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.person import Role
from ostinato.domain.task import ENDED, UNFINISHED, Task, TaskKind
from ostinato.domain.values import SECOND
from ostinato.gateway.context import Context
from ostinato.gateway.follow import changes_of
from ostinato.gateway.notation import iso, iso_or_none, parse_id
from ostinato.gateway.operation import Ask, View, operation, stream
from ostinato.gateway.tasks_api import PageSize, Word
from ostinato.store.port import TaskFilter, Tx
from ostinato.tools.processes.handle import Handle, handle_of
from ostinato.tools.processes.keys import bytes_of
from ostinato.tools.sandbox.spill import plain
from ostinato.tools.sandbox.surroundings import without

PIECE_BYTES = 65_536
"""Of an output, in one answer."""

LOOK_S = 0.1
"""How late somebody who follows a process sees what it says."""

LAST_BYTES = 16_384

SAID_CHARS_MAX = 500
"""Of what a person did to a process, in the audit."""

Text = Annotated[str, msgspec.Meta(max_length=262_144)]
Size = Annotated[int, msgspec.Meta(ge=1, le=1_000)]


class WhichProcesses(Ask):
    """Which processes to list: those that run, or `all`."""

    agent: Word | None = None
    all: bool = False
    limit: PageSize = 100


class WhichProcess(Ask):
    """One process, by the id of its task."""

    process: Word


class WhichOutput(Ask):
    """One process, and the byte of its output to read from; without it, the last of it."""

    process: Word
    start: Annotated[int, msgspec.Meta(ge=0)] | None = None


class WaitProcess(Ask):
    """One process, and how many seconds to wait for its end at most."""

    process: Word
    timeout_s: Annotated[float, msgspec.Meta(ge=0)] | None = None


class WriteProcess(Ask):
    """Text for a process's input; with `end`, the last of it."""

    process: Word
    text: Text = ""
    end: bool = False


class PressKeys(Ask):
    """Keys for a process's terminal: `enter`, `up`, `ctrl-c`, or characters."""

    process: Word
    keys: Annotated[list[Annotated[str, msgspec.Meta(min_length=1, max_length=20)]], msgspec.Meta(max_length=100)]


class ResizeTerminal(Ask):
    """The size of a process's terminal, in characters."""

    process: Word
    rows: Size
    columns: Size


class KillProcess(Ask):
    """Which process to end with all that it started, and why."""

    process: Word
    reason: Annotated[str, msgspec.Meta(max_length=400)] = ""


class ProcessRow(View):
    """A process. `state` is its task's; a waiting one runs."""

    id: str
    command: str
    agent: str
    session: str
    state: str
    runs: bool
    terminal: bool
    started_at: str
    ended_at: str | None
    seconds: float | None
    exit: int | None
    ended: str
    """What ended it: `exit`, `killed`, a bound, `unknown`; empty while it runs."""
    bytes: int
    parent: str | None
    output: str
    """Its name for `exec.read`, once it has ended."""
    text: str
    """How it ended, in words."""


class ProcessList(View):
    """Processes, newest first."""

    processes: list[ProcessRow]


class OutputPiece(View):
    """Output of a process from a byte on, as text without escape sequences."""

    process: str
    start: int
    end: int
    total: int
    text: str
    runs: bool


class Done(View):
    """What was done to a process."""

    process: str
    text: str


@operation("processes.list", "GET /api/v1/processes")
async def list_processes(context: Context, request: WhichProcesses) -> ProcessList:
    """Processes that run, or all that there were, newest first."""
    states = frozenset() if request.all else UNFINISHED
    which = TaskFilter(kinds=frozenset({TaskKind.PROCESS}), states=states, agent=request.agent)
    found, _ = await context.store.read(lambda tx: tx.tasks_page(which, limit=request.limit))
    return ProcessList(processes=[await asyncio.to_thread(_row, context, each) for each in found])


@operation("processes.show", "GET /api/v1/processes/{process}")
async def show(context: Context, request: WhichProcess) -> ProcessRow:
    """One process: whose it is, how long it runs, how it ended."""
    return await asyncio.to_thread(_row, context, await _task(context, request.process))


@operation("processes.log", "GET /api/v1/processes/{process}/log")
async def log(context: Context, request: WhichOutput) -> OutputPiece:
    """What a process has said, from a byte on; else the last of it."""
    task = await _task(context, request.process)
    handle = await asyncio.to_thread(_handle, context, task)
    return await asyncio.to_thread(_piece, task, handle, request.start)


@stream("processes.follow", "GET /api/v1/processes/{process}/follow")
async def follow(context: Context, request: WhichOutput) -> AsyncIterator[OutputPiece | None]:
    """What a process says, as it says it, until it has ended."""
    if context.node is None:
        raise Conflict("No node is running, so nothing can be followed", cure="Start one: ostinato up")
    task = await _task(context, request.process)
    yield None
    start, quiet_s = request.start, 0.0
    while True:
        piece = None
        if (handle := await asyncio.to_thread(_handle_or_none, context, task)) is not None:
            piece = await asyncio.to_thread(_piece, task, handle, start)
        if piece is not None and piece.end > piece.start:
            start, quiet_s = piece.end, 0.0
            yield piece
        elif task.state in ENDED:
            return
        else:
            task = await _task(context, request.process)
            await asyncio.sleep(LOOK_S)
            quiet_s += LOOK_S
            if quiet_s >= 1.0:
                quiet_s = 0.0
                yield None


@stream("processes.wait", "GET /api/v1/processes/{process}/wait")
async def wait(context: Context, request: WaitProcess) -> AsyncIterator[ProcessRow | None]:
    """The process, once it has ended; nothing where it has not in time."""
    task = await _task(context, request.process)
    yield None
    until_s = None if request.timeout_s is None else context.clock.elapsed_s() + request.timeout_s
    async with changes_of(context.store) as changes:
        while task.state not in ENDED:
            if until_s is not None and context.clock.elapsed_s() >= until_s:
                return
            await changes.wait()
            yield None
            task = await _task(context, request.process)
    yield await asyncio.to_thread(_row, context, task)


@operation("processes.write", "POST /api/v1/processes/{process}/write", role=Role.OPERATOR)
async def write(context: Context, request: WriteProcess) -> Done:
    """Write to a process's input."""
    data = request.text.encode()
    handle = await _running(context, request.process)
    await asyncio.to_thread(handle.write, data, end=request.end)
    return await _told(context, request.process, f"{len(data)} bytes written")


@operation("processes.keys", "POST /api/v1/processes/{process}/keys", role=Role.OPERATOR)
async def keys(context: Context, request: PressKeys) -> Done:
    """Press keys at a process's terminal."""
    data = bytes_of(request.keys)
    handle = await _running(context, request.process)
    await asyncio.to_thread(handle.write, data)
    return await _told(context, request.process, f"pressed: {' '.join(request.keys)}")


@operation("processes.resize", "POST /api/v1/processes/{process}/resize", role=Role.OPERATOR)
async def resize(context: Context, request: ResizeTerminal) -> Done:
    """Resize a process's terminal."""
    handle = await _running(context, request.process)
    await asyncio.to_thread(handle.ask, "resize", rows=request.rows, columns=request.columns)
    return await _told(context, request.process, f"{request.rows} rows, {request.columns} columns")


@operation("processes.kill", "POST /api/v1/processes/{process}/kill", role=Role.OPERATOR)
async def kill(context: Context, request: KillProcess) -> Done:
    """End a process and all that it started; its session is told of the end."""
    handle = await _running(context, request.process)
    why = f"by {context.caller.name}" + (f": {request.reason}" if request.reason else "")
    killed = await asyncio.to_thread(handle.kill, why)
    return await _told(context, request.process, "it is being ended" if killed else "it had ended", note=why)


async def _task(context: Context, name: str) -> Task:
    number = parse_id(name, "T")
    task = await context.store.read(lambda tx: tx.task(number))
    if task.kind is not TaskKind.PROCESS:
        raise NotFound(f"{task.name} is no process, but a {task.kind.value}", cure="See `ostinato processes list`.")
    return task


async def _running(context: Context, name: str) -> Handle:
    return await asyncio.to_thread(_handle, context, await _task(context, name))


async def _told(context: Context, name: str, text: str, *, note: str = "") -> Done:
    """What a person does to a process stands in its task, and in the audit."""
    task, now, by = await _task(context, name), context.now, context.caller.name
    said = f"{text} ({note})" if note else text
    event = NewEvent(
        name=EventName.PROCESS_DIRECTED, task=task.id, agent=task.agent, actor=by, data={"text": said[:SAID_CHARS_MAX]}
    )

    def keep(tx: Tx) -> None:
        tx.note_task(task.id, said, by=by, now=now)
        tx.announce(event, now=now)

    await context.store.run(keep)
    return Done(process=task.name, text=text)


def _handle(context: Context, task: Task) -> Handle:
    return handle_of(context.state_dir, task.id)


def _handle_or_none(context: Context, task: Task) -> Handle | None:
    try:
        return _handle(context, task)
    except NotFound:
        return None


def _piece(task: Task, handle: Handle, wanted: int | None) -> OutputPiece:
    kept = without(handle.kept())  # reads and searches up to a megabyte: not for the event loop
    at = max(0, kept.total_bytes - LAST_BYTES) if wanted is None else wanted
    start, data = kept.read(at, PIECE_BYTES)
    return OutputPiece(
        process=task.name,
        start=start,
        end=start + len(data),
        total=kept.total_bytes,
        text=plain(data),
        runs=task.state not in ENDED,
    )


def _row(context: Context, task: Task) -> ProcessRow:
    result = task.result
    data: dict[str, Any] = (result.data if result else None) or {}
    handle = _handle_or_none(context, task)
    given = task.spec.input
    ended = task.state in ENDED
    seconds = data.get("seconds")
    if seconds is None and not ended:
        seconds = round((context.now - task.created_at) / SECOND, 1)
    return ProcessRow(
        id=task.name,
        command=shlex.join(given["arguments"]["argv"]),
        agent=task.agent or "",
        session=str(given.get("session", "")),
        state=task.state.value,
        runs=not ended,
        terminal=bool(given["arguments"].get("terminal")),
        started_at=iso(task.created_at),
        ended_at=iso_or_none(task.finished_at),
        seconds=seconds,
        exit=data.get("exit"),
        ended=data.get("ended", "unknown" if result and result.error_class == "unknown" else ""),
        bytes=data.get("bytes", 0) if ended or handle is None else handle.kept().total_bytes,
        parent=None if task.parent is None else f"T{task.parent}",
        output=data.get("output", ""),
        text=((result.text or result.error) if result else task.reason).partition("\n")[0],
    )
