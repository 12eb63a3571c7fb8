"""One command that an agent wants to run: whether it may, what it is bound to, and the room that it gets.

What a person allows is what runs: an approval is bound to the program behind the command's name and its digest, to the
folder, the names of the variables, and the contents of files in the workspace that the command names. Knows nothing of
how a command is held, or for how long.
"""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from typing import Any

from ostinato.domain.command import effect_of, runs_files
from ostinato.domain.errors import Conflict, Denied, OstinatoError
from ostinato.domain.file_rules import FileRules, autorun_granted, parts_of
from ostinato.domain.step import Effect
from ostinato.domain.values import Value, digest_of
from ostinato.tools.port import Arguments, CallReport, CommandRules, ToolContext, text_schema
from ostinato.tools.safe_files import READ_BYTES_MAX, SafeFolder
from ostinato.tools.sandbox.program import Program, check_folders, find_program, named_file
from ostinato.tools.sandbox.protected import Watch, prepare
from ostinato.tools.sandbox.room import Bounds, Errand, Room
from ostinato.tools.sandbox.surroundings import environment, names
from ostinato.tools.web.proxy import Ways

WORDS_MAX = 512
"""Words of one command."""

WORD_BYTES_MAX = 131_071
"""Bytes of one word: MAX_ARG_STRLEN of Linux, less its final zero."""

COMMAND_BYTES_MAX = 524_288
"""Bytes of all words: a quarter of what Linux takes with the environment."""

STDIN_BYTES_MAX = 1_048_576
"""What a command is given to read."""
WALL_S_MAX = 86_400.0
"""The longest that a call may ask for; the agent's `timeout` and `lasts` still hold."""

FILES_MAX = 64
"""Files in the workspace that one command may name; more of them cannot be vouched for."""

HASHED_BYTES_MAX = 1_048_576
"""Size up to which such a file is read to tell whether it has changed: far above any script."""

COMMAND_ARGUMENTS: dict[str, Any] = {
    "argv": {"type": "array", "items": text_schema(most=WORD_BYTES_MAX), "minItems": 1, "maxItems": WORDS_MAX},
    "cwd": text_schema(least=1, most=1_024),
    "stdin": text_schema(most=STDIN_BYTES_MAX),
    "timeout_s": {"type": "number", "minimum": 1, "maximum": WALL_S_MAX},
    "secrets": {"type": "array", "items": text_schema(most=128), "maxItems": 16},
}
"""What every tool takes that starts a command."""

_ALL = FileRules(read=(".",))


class CommandPlace(Value):
    """Where commands belong: the fleet whose owner they run as, and the state in which their output is kept."""

    fleet: Path
    state_dir: Path
    ways: Ways | None = None
    """Their ways to the network; None: there is none."""


class Wanted(Value):
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
    reads: tuple[Path, ...] = ()
    """Declared folders of programs, which it may read."""
    network: tuple[str, ...] = ()
    """Hosts that it may reach."""
    credentials: dict[str, dict[str, str]] = {}
    """What its proxy adds for some of them."""

    def bound(self, agent: str) -> dict[str, Any]:
        """What an approval is bound to, beside the arguments."""
        found: dict[str, Any] = {
            **self.program.identity,
            "folder": str(self.folder),
            "environment": list(names(agent=agent, secrets=self.secrets, network=bool(self.network))),
        }
        found |= {"network": list(self.network)} if self.network else {}
        return found | {"files": self.files} if self.files else found


def wanted_command(
    place: CommandPlace | None, context: ToolContext, arguments: Arguments, *, lasting: bool = False
) -> Wanted:
    """What would run; `lasting`: beside the turn, as long as such may. Raises an OstinatoError where it must not."""
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
    most_s = rules.lasts_s if lasting else rules.timeout_s
    folder, acts = _folder(context, arguments.get("cwd", ".")), effect_of(argv, rules.effects) is not Effect.READ
    return Wanted(
        workspace=context.workspace.resolve(),
        program=program,
        reads=folders,
        network=rules.network,
        credentials=context.credentials,
        argv=(program.path, *argv[1:]),
        folder=folder,
        secrets=asked,
        files=named_files(context, argv[1:], folder=folder) if acts else {},
        bounds=Bounds(wall_s=min(arguments.get("timeout_s", most_s), most_s), silence_s=rules.silence_s),
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


def named_files(context: ToolContext, words: tuple[str, ...], *, folder: Path) -> dict[str, str]:
    """The files of the workspace that a command's words name (alone, or behind an option's `=`), each with its digest
    of now."""
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


def check_bound(now: dict[str, Any], then: dict[str, Any]) -> None:
    """Raises Conflict where something is not what it was when the call was judged."""
    changed = sorted(name for name in now.keys() | then.keys() if now.get(name) != then.get(name))
    if changed:
        what = ", ".join(changed)
        raise Conflict(f"Nothing was run: since it was judged, this has changed: {what}", cure="Ask for it again.")


def furnished(context: ToolContext, wanted: Wanted, *, way: Path | None = None) -> tuple[Watch, Room]:
    """The room of a command, and a watch over what no command may change. `way`: the folder of its way out."""
    watch = prepare(wanted.workspace, granted=autorun_granted(context.files))
    room = Room(
        workspace=wanted.workspace,
        guard=watch.guard,
        reads=wanted.reads,
        pinned=_pinned(context, wanted),
        bounds=wanted.bounds,
        way=way,
    )
    return watch, room


@contextlib.asynccontextmanager
async def way_out(place: CommandPlace, wanted: Wanted, *, agent: str) -> AsyncIterator[Path | None]:
    """The folder of a short command's way to the network, for as long as it runs; None where it needs none."""
    if not wanted.network:
        yield None
        return
    if place.ways is None:
        raise Denied("Commands have no network here")
    async with place.ways.lent(agent=agent, network=wanted.network, credentials=wanted.credentials) as folder:
        yield folder


def _pinned(context: ToolContext, wanted: Wanted) -> dict[str, bytes]:
    """For a program that runs files: the first file that it names, as it was when that was allowed. The others may be
    what it is to write."""
    if not runs_files(wanted.program.path) or not wanted.files:
        return {}
    path, digest = next(iter(wanted.files.items()))
    if " " in digest:
        return {}  # too large to be a script
    with SafeFolder(context.workspace, _ALL) as folder:
        data = folder.read(path, most=READ_BYTES_MAX)
    if digest_of(data) != digest:
        raise Conflict(f"Nothing was run: {path} has just changed", cure="Ask for it again.")
    return {str(wanted.workspace / path): data}


def errand_of(
    wanted: Wanted, *, agent: str, secrets: Mapping[str, str], stdin: str = "", terminal: bool = False
) -> Errand:
    """What is handed to the room."""
    folders = tuple(str(each) for each in wanted.reads)
    return Errand(
        argv=wanted.argv,
        cwd=wanted.folder,
        environment=environment(agent=agent, folders=folders, secrets=secrets, network=bool(wanted.network)),
        stdin=stdin.encode(),
        terminal=terminal,
    )


def whole_workspace(_arguments: Arguments) -> tuple[str, ...]:
    """The files that a command may read and write."""
    return ("./",)


def report_command(
    place: CommandPlace | None, context: ToolContext, arguments: Arguments, *, lasting: bool = False
) -> CallReport:
    """Effect and identity of one command, or why it is not for this agent."""
    rules = context.commands or CommandRules()
    effect = effect_of(arguments["argv"], rules.effects)
    try:
        wanted = wanted_command(place, context, arguments, lasting=lasting)
    except OstinatoError as error:
        return CallReport(effect=effect, refusal=str(error))
    except OSError as error:
        return CallReport(effect=effect, refusal=f"The command cannot be looked at: {error}")
    return CallReport(
        effect=effect, bound=wanted.bound(context.agent), outside=bool(wanted.network), reaches=wanted.network
    )
