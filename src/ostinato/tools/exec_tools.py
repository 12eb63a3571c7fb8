"""`exec.run` and `exec.read`: one command in a sandbox, and more of what it said.

What a person allows is what runs: the approval is bound to the program behind the command's name and its digest, to the
folder, the names of the variables, and the contents of files in the workspace that the command names; all of it must be
found again when the command starts. A wrapper (`sh -c`, `env`, `find -exec`) is a command like any other, granted by
its own name. Knows nothing of how a command is held.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from pathlib import Path
from typing import Any

from ostinato.domain.command import effect_of, is_runner
from ostinato.domain.errors import Conflict, Denied, OstinatoError
from ostinato.domain.step import Effect, ResultStatus
from ostinato.domain.values import Value, digest_of
from ostinato.tools.port import (
    AnyTool,
    Arguments,
    CallReport,
    CommandRules,
    FileRules,
    OutsideTool,
    ToolContext,
    ToolResult,
    object_schema,
    text_schema,
)
from ostinato.tools.safe_files import READ_BYTES_MAX, SafeFolder
from ostinato.tools.safe_paths import parts_of
from ostinato.tools.sandbox.command import Ended, Finished, run_command
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.sandbox.program import Program, check_folders, find_program, named_file
from ostinato.tools.sandbox.protected import Watch, prepare
from ostinato.tools.sandbox.room import Bounds, Errand, Room
from ostinato.tools.sandbox.spill import SHOWN_BYTES, Kept, Spill
from ostinato.tools.sandbox.surroundings import environment, names, values_of, without

RUN_TOOL = "exec.run"
READ_TOOL = "exec.read"

WORDS_MAX = 512
"""Words of one command."""

WORD_BYTES_MAX = 131_071
"""Bytes of one word: MAX_ARG_STRLEN of Linux, less its final zero."""

COMMAND_BYTES_MAX = 524_288
"""Bytes of all words: a quarter of what Linux takes with the environment."""

STDIN_BYTES_MAX = 1_048_576

FILES_MAX = 64
"""Files in the workspace that one command may name; more of them cannot be vouched for."""

HASHED_BYTES_MAX = 1_048_576
"""Size up to which such a file is read to tell whether it has changed: far above any script."""

WALL_S_MAX = 86_400.0
OUTPUTS_FOLDER = "outputs"

_ALL = FileRules(read=(".",))
_ESCAPES = re.compile(r"\x1b(?:\[[0-?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)|[@-Z\\-_])")
_LINE_ENDS = re.compile(r"\r\n?")
_CONTROLS = dict.fromkeys((*range(9), *range(11, 32), 127))

_WHY = {
    Ended.WALL: "ended by its time limit",
    Ended.SILENCE: "ended because it said nothing for too long",
    Ended.CPU: "ended by its limit of processor time",
    Ended.MEMORY: "ended by its limit of memory",
    Ended.REPLACED: "ended because a protected file was replaced while it ran",
    Ended.REFUSED: "could not be started",
}


class CommandPlace(Value):
    """Where commands belong: the fleet whose owner they run as, and the state in which their output is kept."""

    fleet: Path
    state_dir: Path


class _Wanted(Value):
    """A call that may be made: what would run, and where."""

    workspace: Path
    """The agent's folder by its true path, at which the command finds it."""
    program: Program
    argv: tuple[str, ...]
    folder: Path
    secrets: tuple[str, ...]
    files: dict[str, str]
    """Path in the workspace -> digest of what it holds; none for a command that only reads."""
    bounds: Bounds

    def bound(self, agent: str) -> dict[str, Any]:
        """What an approval is bound to, beside the arguments."""
        found: dict[str, Any] = {
            **self.program.identity,
            "folder": str(self.folder),
            "environment": list(names(agent=agent, secrets=self.secrets)),
        }
        return found | {"files": self.files} if self.files else found


def exec_tools(place: CommandPlace | None) -> tuple[AnyTool, ...]:
    """The tools for commands; without a place they can be described, and refuse."""
    return (
        OutsideTool(
            name=RUN_TOOL,
            description="Run a granted command in a sandbox of your folder: no network, no shell, argv as it is.",
            parameters=object_schema(
                "argv",
                argv={
                    "type": "array",
                    "items": text_schema(most=WORD_BYTES_MAX),
                    "minItems": 1,
                    "maxItems": WORDS_MAX,
                },
                cwd=text_schema(least=1, most=1_024),
                stdin=text_schema(most=STDIN_BYTES_MAX),
                timeout_s={"type": "number", "minimum": 1, "maximum": WALL_S_MAX},
                secrets={"type": "array", "items": text_schema(most=128), "maxItems": 16},
            ),
            effect=Effect.IRREVERSIBLE,
            act=partial(_run, place),
            report=partial(_report, place),
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
        ),
    )


def _report(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> CallReport:
    """Effect and identity of one command, or why it is not for this agent."""
    rules = context.commands or CommandRules()
    effect = effect_of(arguments["argv"], rules.effects)
    try:
        wanted = _wanted(place, context, arguments)
    except OstinatoError as error:
        return CallReport(effect=effect, refusal=str(error))
    except OSError as error:
        return CallReport(effect=effect, refusal=f"The command cannot be looked at: {error}")
    return CallReport(effect=effect, bound=wanted.bound(context.agent))


def _wanted(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> _Wanted:
    """What would run. Raises an OstinatoError where it must not."""
    if place is None:
        raise Denied("Commands have no place here")
    rules, argv = context.commands, tuple(arguments["argv"])
    if rules is None or argv[0] not in rules.commands:
        known = ", ".join(rules.commands) if rules else ""
        raise Denied(f"The command {argv[0][:64]!r} is not granted (TOOLS.md, exec.commands: {known or 'none'})")
    _check_words(argv)
    asked = tuple(dict.fromkeys(arguments.get("secrets", ())))
    for name in asked:
        if name not in context.secrets:
            raise Denied(f"The secret {name[:64]!r} is not declared (TOOLS.md, secrets)")
    folders = tuple(Path(each) for each in rules.paths)
    check_folders(folders, fleet=place.fleet)
    program = find_program(argv[0], folders)
    folder, acts = _folder(context, arguments.get("cwd", ".")), effect_of(argv, rules.effects) is not Effect.READ
    return _Wanted(
        workspace=context.workspace.resolve(),
        program=program,
        argv=(program.path, *argv[1:]),
        folder=folder,
        secrets=asked,
        files=_named_files(context, argv[1:], folder=folder) if acts else {},
        bounds=Bounds(
            wall_s=min(arguments.get("timeout_s", rules.timeout_s), rules.timeout_s), silence_s=rules.silence_s
        ),
    )


def _check_words(argv: tuple[str, ...]) -> None:
    sizes = [len(each.encode()) for each in argv]
    if max(sizes) > WORD_BYTES_MAX or sum(sizes) > COMMAND_BYTES_MAX:
        raise Denied(
            f"The command is too long: a word may have {WORD_BYTES_MAX} bytes, all of them {COMMAND_BYTES_MAX}",
            cure="Hand long text over as stdin, or write it to a file.",
        )
    if any("\0" in each for each in argv):
        raise Denied("The command holds a zero byte", cure="Leave it out.")


def _folder(context: ToolContext, cwd: str) -> Path:
    with SafeFolder(context.workspace, _ALL) as folder:
        if folder.stat(cwd).kind != "folder":
            raise Conflict(f"{cwd} is no folder")
    return context.workspace.resolve().joinpath(*parts_of(cwd))


def _named_files(context: ToolContext, words: tuple[str, ...], *, folder: Path) -> dict[str, str]:
    """The files of the workspace that a command's words name, as they are now: alone, or behind an option's `=`."""
    found: dict[str, str] = {}
    with SafeFolder(context.workspace, _ALL) as opened:
        for word in words:
            for part in {word, word.partition("=")[2]} - {""}:
                path = named_file(part, workspace=context.workspace, folder=folder)
                if path is not None:
                    found[path] = _contents_of(opened, path)
            if len(found) > FILES_MAX:
                raise Denied(f"The command names more than {FILES_MAX} files", cure="Name their folder.")
    return found


def _contents_of(folder: SafeFolder, path: str) -> str:
    """The digest of a file; beyond `HASHED_BYTES_MAX`, and for what agents may not read, size and time of change."""
    try:
        found = folder.stat(path)
        if found.size_bytes <= HASHED_BYTES_MAX:
            return digest_of(folder.read(path))
    except OstinatoError:
        return "not for agents"
    return f"{found.size_bytes} bytes of {found.modified_at}"


async def _run(place: CommandPlace | None, context: ToolContext, arguments: Arguments) -> ToolResult:
    """Runs what was judged, if that is still what would run."""
    wanted = await asyncio.to_thread(_wanted, place, context, arguments)
    assert place is not None
    _check_bound(wanted.bound(context.agent), context.bound)
    backend, account = (await preflight(place.fleet)).required()
    secrets = values_of(wanted.secrets)
    watch, room = await asyncio.to_thread(_furnished, context, wanted)
    errand = Errand(
        argv=wanted.argv,
        cwd=wanted.folder,
        environment=environment(agent=context.agent, folders=tuple(str(each) for each in room.reads), secrets=secrets),
        stdin=arguments.get("stdin", "").encode(),
    )
    finished = await run_command(backend, room, errand, account=account, watch=watch)
    kept = without(finished.output, secrets)
    return await asyncio.to_thread(_result, _spill(place, context), finished, kept, name=context.key[:16])


def _check_bound(now: dict[str, Any], then: dict[str, Any]) -> None:
    """Raises Conflict where something is not what it was when the call was judged."""
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        what = ", ".join(changed)
        raise Conflict(f"Nothing was run: since it was judged, this has changed: {what}", cure="Ask for it again.")


def _furnished(context: ToolContext, wanted: _Wanted) -> tuple[Watch, Room]:
    watch = prepare(wanted.workspace)
    rules = context.commands or CommandRules()
    room = Room(
        workspace=wanted.workspace,
        guard=watch.guard,
        reads=tuple(Path(each) for each in rules.paths),
        pinned=_pinned(context, wanted),
        bounds=wanted.bounds,
    )
    return watch, room


def _pinned(context: ToolContext, wanted: _Wanted) -> dict[str, bytes]:
    """For a program that runs files: the first file that it names, as it was when that was allowed. The others may be
    what it is to write."""
    if not is_runner(wanted.program.path) or not wanted.files:
        return {}
    path, digest = next(iter(wanted.files.items()))
    if " " in digest:
        return {}  # too large to be a script
    with SafeFolder(context.workspace, _ALL) as folder:
        data = folder.read(path, most=READ_BYTES_MAX)
    if digest_of(data) != digest:
        raise Conflict(f"Nothing was run: {path} has just changed", cure="Ask for it again.")
    return {str(wanted.workspace / path): data}


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


def plain(data: bytes) -> str:
    """Text without what would move a cursor, ring a bell or colour a letter."""
    text = _LINE_ENDS.sub("\n", data.decode(errors="replace"))
    return _ESCAPES.sub("", text).translate(_CONTROLS)


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
