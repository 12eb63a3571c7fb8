"""`exec.run` and `exec.read`: one command in a sandbox, and more of what it said.

What may be run, and what an approval is bound to, stands in `commands`. Knows nothing of how a command is held.
"""

from __future__ import annotations

import asyncio
from functools import partial

from msgspec.structs import replace

from ostinato.domain.errors import Denied, OstinatoError
from ostinato.domain.step import Effect, ResultStatus
from ostinato.tools.commands import (
    COMMAND_ARGUMENTS,
    WALL_S_MAX,
    CommandPlace,
    check_bound,
    errand_of,
    furnished,
    report_command,
    wanted_command,
    way_out,
    whole_workspace,
)
from ostinato.tools.port import (
    AnyTool,
    Arguments,
    OutsideTool,
    ToolContext,
    ToolResult,
    object_schema,
    refused,
    text_schema,
)
from ostinato.tools.sandbox.changes import changed_since, snapshot
from ostinato.tools.sandbox.command import Ended, Finished, run_command
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.sandbox.protected import is_protected
from ostinato.tools.sandbox.spill import OUTPUTS_FOLDER, SHOWN_BYTES, Kept, Spill, plain
from ostinato.tools.sandbox.surroundings import values_of, without

RUN_TOOL = "exec.run"
READ_TOOL = "exec.read"

_WHY = {
    Ended.WALL: "ended by its time limit",
    Ended.SILENCE: "ended because it said nothing for too long",
    Ended.CPU: "ended by its limit of processor time",
    Ended.MEMORY: "ended by its limit of memory",
    Ended.REPLACED: "ended because a protected file was replaced while it ran",
    Ended.REFUSED: "could not be started",
}


def exec_tools(place: CommandPlace | None) -> tuple[AnyTool, ...]:
    """The tools for commands; without a place they can be described, and refuse."""
    return (
        OutsideTool(
            name=RUN_TOOL,
            description="Run a granted command in a sandbox of your folder: no shell, argv as it is, declared hosts.",
            parameters=object_schema("argv", **COMMAND_ARGUMENTS),
            effect=Effect.IRREVERSIBLE,
            act=partial(_run, place),
            report=partial(report_command, place),
            looks=True,
            reads=whole_workspace,
            writes=whole_workspace,
            tells_writes=True,
            own_files=True,
            private=True,
            timeout_s=WALL_S_MAX + 60.0,
        ),
        OutsideTool(
            name=READ_TOOL,
            description="Read on in a command's output, from a byte.",
            parameters=object_schema(
                "output", output=text_schema(least=1, most=64), from_={"type": "integer", "minimum": 0}
            ),
            effect=Effect.READ,
            act=partial(_read, place),
            reads=whole_workspace,
            own_files=True,
            private=True,
        ),
    )


async def _run(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    """One command, with what it has changed where somebody must know."""
    if not context.marking:
        return await _ran(place, context, arguments)
    workspace = context.workspace.resolve()
    before = await asyncio.to_thread(snapshot, workspace)
    try:
        result = await _ran(place, context, arguments)
    except OstinatoError as error:
        result = refused(error)
    wrote = await asyncio.to_thread(changed_since, before, workspace)
    return replace(result, wrote=None if wrote is None else tuple(each for each in wrote if not is_protected(each)))


async def _ran(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    """Runs what was judged, if that is still what would run."""
    wanted = await asyncio.to_thread(wanted_command, place, context, arguments)
    assert place is not None
    check_bound(wanted.bound(context.agent), context.bound)
    backend, account = (await preflight(place.fleet)).required()
    secrets = values_of(wanted.secrets)
    async with way_out(place, wanted, agent=context.agent) as way:
        watch, room = await asyncio.to_thread(furnished, context, wanted, way=way)
        errand = errand_of(wanted, agent=context.agent, secrets=secrets, stdin=arguments.get("stdin", ""))
        finished = await run_command(backend, room, errand, account=account, watch=watch)
    kept = without(finished.output)
    return await asyncio.to_thread(_result, _spill(place, context), finished, kept, name=context.key[:16])


def _spill(place: CommandPlace, context: ToolContext) -> Spill:
    return Spill(place.state_dir / OUTPUTS_FOLDER / context.agent)


def _result(spill: Spill, finished: Finished, kept: Kept, *, name: str) -> ToolResult:
    """What the model reads: how it ended, and the beginning and the end of what it said."""
    how = f"exit {finished.code}" if finished.ended is Ended.EXIT else _WHY[finished.ended]
    lines = [f"{how}, after {finished.duration_s:.2f} s; {kept.total_bytes} bytes of output"]
    if finished.problem:
        lines.append(f"the sandbox says: {finished.problem}; nothing was run")
    if finished.changed:
        lines.append(f"NOT AS BEFORE, and nothing a command may change: {', '.join(finished.changed)}. Tell a person.")
    if finished.put_aside:
        lines.append(f"moved aside, as no command may make it: {', '.join(finished.put_aside)}")
    text, is_whole = shown(kept, name=name)
    if not is_whole:
        spill.keep(name, kept)
    is_good = finished.ended is Ended.EXIT and finished.code == 0 and not finished.changed
    return ToolResult(
        status=ResultStatus.OK if is_good else ResultStatus.ERROR,
        text="\n".join([*lines, text]).rstrip("\n"),
        data={
            "exit": finished.code,
            "ended": finished.ended.value,
            "bytes": kept.total_bytes,
            "seconds": round(finished.duration_s, 3),
            **({} if is_whole else {"output": name}),
        },
    )


def shown(kept: Kept, *, name: str) -> tuple[str, bool]:
    """Output for a model, and whether that is all of it: beginning and end, with the offsets of what lies between."""
    if kept.total_bytes <= SHOWN_BYTES:
        return plain(kept.head + kept.tail), True
    half = SHOWN_BYTES // 2
    _, head = kept.read(0, half)
    rest = kept.head + kept.tail
    tail_from = kept.total_bytes - half
    gap = f"[bytes {len(head)} to {tail_from} are not shown; {READ_TOOL}(output: {name}, from: {len(head)}) reads on]"
    return f"{plain(head)}\n{gap}\n{plain(rest[-half:])}", False


async def _read(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    """A piece of an output, with the offset at which the next begins."""
    if place is None:
        raise Denied("Commands have no place here")
    kept = await asyncio.to_thread(_spill(place, context).load, arguments["output"])
    wanted = arguments.get("from", 0)
    start, data = kept.read(wanted, SHOWN_BYTES)
    end = start + len(data)
    lines = [f"bytes {start} to {end} of {kept.total_bytes}"]
    if start > wanted:
        lines.append(f"bytes {wanted} to {start} were too many and are not kept")
    return ToolResult(text="\n".join([*lines, plain(data)]), data={"from": start, "to": end, "of": kept.total_bytes})
