"""A fleet's Python tools as a family of the toolbox: read from `tools/*.py`, described by a worker, made anew when a
file changes.

A file that cannot be loaded is a finding, and its tools are withheld; the others go on. A call that is under way ends
as it began; an approval is bound to the files as they were, and runs nothing else. Knows nothing of processes.
"""

from __future__ import annotations

import asyncio
import os
import re
from collections.abc import Callable, Sequence
from fnmatch import fnmatchcase
from functools import partial
from pathlib import Path
from typing import Any

from ostinato.domain.errors import Conflict, NotFound, OstinatoError, unknown_name
from ostinato.domain.host import matches_host
from ostinato.domain.secret import KNOWN
from ostinato.domain.step import Effect
from ostinato.domain.values import Value
from ostinato.tools.port import Arguments, CallReport, OutsideTool, ToolContext, ToolResult, nowhere
from ostinato.tools.python.worker import syntax_problem
from ostinato.tools.python.workers import NOTHING, START_S, Given, Sources, Worker, Workers
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox, compiled
from ostinato.tools.web.proxy import Ways

FOLDER = "tools"
FAMILY = "python"

FILES_MAX = 100
"""Files in `tools/`."""
FILE_BYTES_MAX = 262_144
"""Of one such file."""
TOOLS_MAX = 256
"""Tools of all files together."""
DESCRIPTION_CHARS_MAX = 1_000
"""Of what a tool says of itself."""
TIMEOUT_S_MAX = 3_600.0
"""The longest that one call may be given."""

LOOK_S = 0.5
"""How often the folder is looked at: one look costs some 20 µs."""
EMPTY_LOOK_S = 1.0
"""The same while there are no Python files."""
AGAIN_S = 30.0
"""How often the files are loaded anew where no worker could be had: a machine at its limits has room again."""

_FILE = re.compile(r"_?[a-z][a-z0-9_]{0,47}\.py", re.ASCII)
_RESERVED = ("mcp", "skills", "ostinato")
_NONSENSE = (ValueError, KeyError, TypeError, AttributeError)
"""What comes of a description that is none: a file can say anything of itself."""


class ToolFinding(Value):
    """Something wrong in a file of Python tools."""

    place: str
    message: str
    cure: str = ""


class AgentFunction(Value):
    """A function that agents of `kind: python` can have, as its file was when it was described."""

    name: str
    sources: Sources
    given: Given = NOTHING
    timeout_s: float = 300.0
    """How long it may work between two steps."""


class Hired:
    """A worker for one run of an agent's function."""

    def __init__(self, workers: Workers, worker: Worker, function: AgentFunction, *, agent: str) -> None:
        self._workers = workers
        self._worker = worker
        self._function = function
        self._agent = agent
        self.send, self.hear = worker.send, worker.hear

    async def end(self, *, fit: bool) -> None:
        """Ends the worker, or keeps one that is `fit` for another run."""
        function = self._function
        key = (function.sources.digest, self._agent, function.name.partition(".")[0], *function.given.key)
        await self._workers.take_back(self._worker, key if fit else None)


Stamp = tuple[tuple[str, int, int, int], ...]


class PythonTools:
    """The Python tools of one fleet. A service polls; `stop` ends the workers."""

    def __init__(
        self, fleet: Path, *, toolbox: Toolbox, say: Callable[[str, str], None], ways: Ways | None = None
    ) -> None:
        """`ways`: ways to the network; None: there is none."""
        self._folder = fleet / FOLDER
        self._toolbox = toolbox
        self._say = say
        self._workers = Workers(fleet, ways=ways)
        self._stamp: Stamp = ()
        self._looks = 0
        self._is_refused = False
        self._listed = asyncio.Event()
        self.findings: tuple[ToolFinding, ...] = ()
        self.agents: dict[str, AgentFunction] = {}
        """What agents of `kind: python` can do, by name."""

    def function(self, name: str) -> AgentFunction:
        """The function of an agent. Raises NotFound, with what is wrong with its file."""
        found = self.agents.get(name)
        if found is None:
            file = f"{FOLDER}/{name.partition('.')[0]}.py"
            problem = next((each for each in self.findings if each.place.partition(":")[0] in (file, FOLDER)), None)
            if problem is not None:
                raise NotFound(problem.message, place=problem.place, cure=problem.cure)
            words = unknown_name("function", name, self.agents)
            raise NotFound(words, place=file, cure="An agent's function is marked with @agent.")
        return found

    async def hire(self, function: AgentFunction, *, agent: str) -> Hired:
        """A worker that has loaded the function's file. Raises an OstinatoError or OSError where there can be none."""
        worker = await self._workers.lend(function.sources, function.name, agent=agent, given=function.given)
        return Hired(self._workers, worker, function, agent=agent)

    @property
    def is_listed(self) -> bool:
        """True once the files that were there at the start have been loaded, or have failed to."""
        return self._listed.is_set()

    def is_awaited_by(self, grants: Sequence[str] | None, function: str) -> bool:
        """True where these grants, or an agent's function, may mean one of the files; None: everything is granted."""
        files = {name.removesuffix(".py") for name, *_ in _stamp_of(self._folder)}
        heads = ["*"] if grants is None else [each.partition(".")[0] for each in (*grants, function)]
        return any(fnmatchcase(file, head) for file in files for head in heads)

    async def wait_listed(self) -> None:
        """Returns once the files that were there at the start have been loaded, or have failed to."""
        await self._listed.wait()

    async def stop(self) -> None:
        """Ends the workers."""
        await self._workers.end()

    async def look(self, *, again: bool = False) -> None:
        """Takes what has changed; with `again`, also what no worker could be had for."""
        stamp = _stamp_of(self._folder)
        if stamp == self._stamp and not (again and self._is_refused):
            return
        self._stamp = stamp
        sources, findings = await asyncio.to_thread(read_sources, self._folder)
        tools, more, withheld = await self._made(sources)
        before, self.findings = self.findings, (*findings, *more)
        self._toolbox.put_family(FAMILY, tools, withheld=withheld)
        for each in self.findings:
            if not (again and each in before):
                self._say("error", f"{each.place}: {each.message}")

    async def poll(self) -> float:
        """One look; seconds until the next. The first loads the files beside the node's start."""
        again, self._looks = self._looks % (AGAIN_S // LOOK_S) == 0, self._looks + 1
        try:
            await self.look(again=again)
        finally:
            self._listed.set()
        return LOOK_S if self._stamp else EMPTY_LOOK_S

    async def _made(self, sources: Sources) -> tuple[list[OutsideTool], list[ToolFinding], dict[str, str]]:
        """Tools, findings, and why tools that were there before cannot be had now; notes the functions of agents."""
        self.agents, self._is_refused = {}, False
        if not any(not name.startswith("_") for name in sources.texts):
            return [], [], {}
        try:
            described = await self._workers.describe(sources)
        except (OstinatoError, OSError) as error:
            self._is_refused = True
            message, cure = getattr(error, "message", str(error)), getattr(error, "cure", "")
            finding = ToolFinding(place=FOLDER, message=f"Python tools cannot run: {message}", cure=cure)
            return [], [finding], self._gone(finding.message)
        tools, findings = list[OutsideTool](), [_finding(each) for each in described.problems]
        for each in described.agents:
            try:
                self.agents[str(each["name"])] = _agent_function(each, sources)
            except _NONSENSE as error:
                place = f"{FOLDER}/{str(each['name']).partition('.')[0]}.py"
                findings.append(ToolFinding(place=place, message=f"{each['name']}: {error}"))
        taken = {each.name.partition(".")[0] for each in self._toolbox if each.name not in self._own()} | {*_RESERVED}
        for said in described.tools[:TOOLS_MAX]:
            try:
                tools.append(self._tool(sources, said, taken=taken))
            except _NONSENSE as error:
                place = f"{FOLDER}/{str(said.get('name')).partition('.')[0]}.py"
                findings.append(ToolFinding(place=place, message=f"{said.get('name')}: {error}"))
        made = {each.name for each in tools}
        why = "its file cannot be loaded any more; see: ostinato check"
        return tools, findings, {name: why for name in self._own() if name not in made and findings}

    def _own(self) -> set[str]:
        return {each.name for each in self._toolbox.family(FAMILY)}

    def _gone(self, why: str) -> dict[str, str]:
        return dict.fromkeys(self._own(), why)

    def _tool(self, sources: Sources, said: dict[str, Any], *, taken: set[str]) -> OutsideTool:
        """One tool; raises ValueError where it cannot be one."""
        name = str(said["name"])
        if name.partition(".")[0] in taken:
            raise ValueError("tools of the runtime have names that begin like this; rename the file")
        compiled(said["schema"])
        timeout_s = min(max(float(said["timeout_s"]), 0.1), TIMEOUT_S_MAX)
        deed = _Deed(
            sources=sources,
            name=name,
            effect=Effect(said["effect"]),
            given=_given(said),
            timeout_s=timeout_s,
        )
        return OutsideTool(
            name=name,
            description=" ".join(str(said["description"]).split())[:DESCRIPTION_CHARS_MAX],
            parameters=said["schema"],
            effect=deed.effect,
            outward=bool(said["outward"]),
            outside_text=bool(said["outside"]),
            private=bool(said["private"]),
            hosts=(lambda _arguments: deed.given.network) if deed.given.network else nowhere,
            act=partial(self._act, deed),
            report=partial(_report, deed),
            timeout_s=timeout_s + START_S + 60.0,
        )

    async def _act(self, deed: _Deed, context: ToolContext, arguments: Arguments) -> ToolResult:
        """One call. What the function raises is left to the caller, who knows whether it may be repeated."""
        sources = deed.sources
        if context.bound.get("files") not in (None, sources.digest):
            raise Conflict("Nothing was run: since it was judged, tools/ has changed", cure="Ask for it again.")
        text = await self._workers.perform(
            sources,
            deed.name,
            arguments=arguments,
            call={"key": context.key, "agent": context.agent, "task": context.task, "repeated": context.repeated},
            given=deed.given,
            timeout_s=deed.timeout_s,
        )
        return ToolResult(text=KNOWN.text(text))


def _agent_function(said: dict[str, Any], sources: Sources) -> AgentFunction:
    return AgentFunction(
        name=str(said["name"]),
        sources=sources,
        given=_given(said),
        timeout_s=min(max(float(said["timeout_s"]), 0.1), TIMEOUT_S_MAX),
    )


class _Deed(Value):
    """A tool, as its file was when it was described."""

    sources: Sources
    name: str
    effect: Effect
    given: Given
    timeout_s: float


def _given(said: dict[str, Any]) -> Given:
    """What a function wants. Raises ValueError for what is no name of a host."""
    network = tuple(sorted(str(each) for each in said["network"]))
    for each in network:
        if not matches_host(each, (each,)):
            raise ValueError(f"{each[:64]!r} in network is no host, such as 'api.example.com' or 'localhost:8080'")
    return Given(secrets=tuple(sorted(str(each) for each in said["secrets"])), network=network)


def _report(deed: _Deed, context: ToolContext, _arguments: Arguments) -> CallReport:
    """Whether the agent may lend the tool the secrets that it wants."""
    missing = [each for each in deed.given.secrets if each not in context.secrets]
    refusal = f"it needs the secret {missing[0]}, which TOOLS.md does not declare (secrets)" if missing else ""
    bound = {"files": deed.sources.digest, **({"network": list(deed.given.network)} if deed.given.network else {})}
    return CallReport(effect=deed.effect, refusal=refusal, bound=bound)


async def examine(fleet: Path) -> tuple[tuple[ToolFinding, ...], frozenset[str]]:
    """What is wrong with a fleet's Python files, and the functions of agents that they hold: loads them once more."""
    tools = PythonTools(fleet, toolbox=standard_toolbox(), say=lambda level, text: None)
    try:
        await tools.look()
    finally:
        await tools.stop()
    return tools.findings, frozenset(tools.agents)


def read_sources(folder: Path) -> tuple[Sources, list[ToolFinding]]:
    """The files of a folder, and what is wrong with those that are left out."""
    texts, findings = dict[str, str](), list[ToolFinding]()
    for name, *_ in _stamp_of(folder):
        place = f"{FOLDER}/{name}"
        try:
            if not _FILE.fullmatch(name):
                raise ValueError("a file of tools is named by small letters, digits and '_', and ends in .py")
            if len(texts) >= FILES_MAX:
                raise ValueError(f"more than {FILES_MAX} files")
            data = _read(folder / name)
            text = data.decode()
            problem = syntax_problem(text)
            if problem is not None:
                findings.append(ToolFinding(place=f"{place}:{problem[0]}", message=problem[1], cure="Correct it."))
                continue
            texts[name.removesuffix(".py")] = text
        except (ValueError, OSError) as error:
            findings.append(ToolFinding(place=place, message=f"It is left out: {error}"))
    return Sources(texts=texts), findings


def _read(path: Path) -> bytes:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    with os.fdopen(descriptor, "rb") as file:
        data = file.read(FILE_BYTES_MAX + 1)
    if len(data) > FILE_BYTES_MAX:
        raise ValueError(f"it has more than {FILE_BYTES_MAX} bytes")
    return data


def _stamp_of(folder: Path) -> Stamp:
    """Name, inode, size and time of change of every Python file; empty without a folder."""
    found = []
    try:
        with os.scandir(folder) as entries:
            for each in entries:
                if each.name.endswith(".py"):
                    stat = each.stat(follow_symlinks=False)
                    found.append((each.name, stat.st_ino, stat.st_size, stat.st_mtime_ns))
    except OSError:
        return ()
    return tuple(sorted(found))


def _finding(problem: dict[str, Any]) -> ToolFinding:
    return ToolFinding(
        place=f"{FOLDER}/{problem.get('file')}:{problem.get('line')}", message=str(problem.get("message"))[:500]
    )
