"""Workers: processes in rooms that have loaded a fleet's Python tools, and perform one call at a time.

A worker belongs to one agent, one set of secrets and hosts, and the files as they were when it began: no call finds
what another agent was given, and an edit makes other workers. It reaches neither the fleet nor any agent's folder, and
of the network what it was given. Knows nothing of toolboxes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import stat
import sys
import sysconfig
import tempfile
import time
from collections.abc import Mapping
from functools import cache
from pathlib import Path
from typing import Any

import msgspec

from ostinato.domain.errors import Conflict, Exhausted, OstinatoError
from ostinato.domain.values import Value, digest_of, to_json
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.sandbox.resident import Resident
from ostinato.tools.sandbox.room import Account, Bounds, Errand, Room
from ostinato.tools.sandbox.surroundings import PLAIN, values_of
from ostinato.tools.web.proxy import Ways, helper_way
from ostinato.tools.web.way import VARIABLES

WORKERS_MAX = 8
"""Workers at once, of all agents; more calls wait."""

RUNS_MAX = 32
"""Functions of agents at work at once; more runs wait. Apart from the calls of tools, for which they wait."""

IDLE_S = 300.0
"""How long a worker is kept that has nothing to do."""

START_S = 20.0
"""How long it may take to load the files."""

FOREVER_S = 10 * 365 * 86_400.0
_SYSTEM_PYTHON = Path("/usr/bin/python3")


class Sources(Value):
    """The files of `tools/`, as they were read: name without `.py` -> text."""

    texts: dict[str, str] = {}

    @property
    def digest(self) -> str:
        """Of all of them: they may import each other."""
        return digest_of(to_json(sorted(self.texts.items())))


class Given(Value):
    """What a worker is given for its functions, each by its name: secrets, and hosts of the network."""

    secrets: tuple[str, ...] = ()
    network: tuple[str, ...] = ()

    @property
    def key(self) -> tuple[str, ...]:
        """The same for the same things."""
        return (*self.secrets, "", *self.network)


NOTHING = Given()


class Described(Value):
    """What a worker says of a fleet's files."""

    tools: tuple[dict[str, Any], ...] = ()
    agents: tuple[dict[str, Any], ...] = ()
    problems: tuple[dict[str, Any], ...] = ()


class Raised(Exception):
    """A function raised: it may have happened."""


class Broken(Exception):
    """A worker was lost in the middle of a call: it may have happened."""


class RefusedByTool(Conflict):
    """A function said that it has done nothing, and why."""


class Python(Value):
    """An interpreter that the fleet's owner can run, and what of the machine it needs."""

    program: str
    reads: tuple[Path, ...] = ()
    path: tuple[str, ...] = ()
    """Folders of libraries that the node's own Python has, where they fit this one."""


class Worker:
    """One process. `ask` is for one caller at a time."""

    def __init__(self, resident: Resident, scratch: Path, way: contextlib.AsyncExitStack) -> None:
        """`way`: what ends its way to the network."""
        self._resident = resident
        self._way = way
        self._lines = resident.lines()
        self._scratch = scratch
        self._count = 0
        self.used_s = time.monotonic()
        self.described = Described()

    async def begin(self, sources: Sources, python: Python, *, only: str | None) -> None:
        """Loads the files. Raises Conflict where that does not end well."""
        first = {"files": sources.texts, "path": python.path, "only": only}
        async with asyncio.timeout(START_S):
            await self._resident.send(to_json(first))
            self.described = msgspec.convert(await self._hear(), Described)

    async def ask(self, tool: str, arguments: Mapping[str, Any], call: Mapping[str, Any]) -> str:
        """One call. Raises RefusedByTool, or Raised; whatever else it raises, the worker is of no more use."""
        self._count += 1
        self.used_s = time.monotonic()
        try:
            await self._resident.send(to_json({"id": self._count, "tool": tool, "arguments": arguments, "call": call}))
            answer = await self._hear()
        except (OstinatoError, ValueError) as error:
            raise Broken(str(error)) from error
        if answer.get("id") != self._count:
            raise Broken("The worker answered what it was not asked")
        if "refused" in answer:
            raise RefusedByTool(str(answer["refused"]))
        if "raised" in answer:
            raise Raised(f"{answer['raised']} (tools/{tool.partition('.')[0]}.py:{answer.get('line')})")
        return str(answer.get("text", ""))

    async def send(self, message: Mapping[str, Any]) -> None:
        """Says something to the function of an agent. Raises an OstinatoError where the worker is lost."""
        self.used_s = time.monotonic()
        await self._resident.send(to_json(message))

    async def hear(self) -> dict[str, Any]:
        """What that function says next. Raises an OstinatoError where the worker is lost."""
        try:
            return await self._hear()
        except ValueError as error:
            raise Conflict(f"The worker said what is no line of JSON: {error}") from error

    async def end(self) -> None:
        """Ends it, and all that it started."""
        await self._resident.end()
        await self._way.aclose()
        await asyncio.to_thread(shutil.rmtree, self._scratch, ignore_errors=True)

    async def _hear(self) -> dict[str, Any]:
        async for line in self._lines:
            found: dict[str, Any] = msgspec.json.decode(line, type=dict[str, Any])
            return found
        await self._resident.end()
        raise Exhausted(f"The worker has ended: {self._resident.last_words()}")


class Workers:
    """The workers of a fleet: begun when they are wanted, kept for the next call."""

    def __init__(self, fleet: Path, *, ways: Ways | None = None) -> None:
        """`ways`: their ways to the network; None: there is none."""
        self._fleet = fleet
        self._ways = ways
        self._idle: dict[tuple[str, ...], list[Worker]] = {}
        self._room = asyncio.Semaphore(WORKERS_MAX)
        self._runs = asyncio.Semaphore(RUNS_MAX)

    async def describe(self, sources: Sources) -> Described:
        """What the files hold, as a worker without any secret finds it. Raises an OstinatoError where none can run."""
        worker = await self._begin(sources, NOTHING, only=None, agent="")
        try:
            return worker.described
        finally:
            await worker.end()

    async def perform(
        self, sources: Sources, tool: str, *, arguments: Mapping[str, Any], call: Mapping[str, Any],
        given: Given, timeout_s: float,
    ) -> str:  # fmt: skip
        """One call by a worker that belongs to the call's agent alone."""
        only, agent = tool.partition(".")[0], str(call["agent"])
        key = (sources.digest, agent, only, *given.key)
        async with self._room:
            await self._sweep(sources.digest)
            idle = self._idle.get(key)
            worker = idle.pop() if idle else await self._begin(sources, given, only=only, agent=agent)
            fit = False
            try:
                async with asyncio.timeout(timeout_s):
                    text = await worker.ask(tool, arguments, call)
                fit = True
                return text
            except (Raised, RefusedByTool):
                fit = True
                raise
            finally:
                if fit:
                    self._idle.setdefault(key, []).append(worker)
                else:
                    await worker.end()

    async def lend(self, sources: Sources, function: str, *, agent: str, given: Given) -> Worker:
        """A worker for one run of an agent's function, which whoever has it must give back."""
        only = function.partition(".")[0]
        await self._runs.acquire()
        try:
            await self._sweep(sources.digest)
            idle = self._idle.get((sources.digest, agent, only, *given.key))
            return idle.pop() if idle else await self._begin(sources, given, only=only, agent=agent)
        except BaseException:  # also a cancelled run gives its place to the next
            self._runs.release()
            raise

    async def take_back(self, worker: Worker, key: tuple[str, ...] | None) -> None:
        """Keeps a worker for the next who wants one of this key; ends one without, whose function has not ended."""
        try:
            if key is None:
                await worker.end()
            else:
                self._idle.setdefault(key, []).append(worker)
        finally:
            self._runs.release()

    async def end(self) -> None:
        """Ends all that have nothing to do; whoever is at work ends with its call."""
        for key in list(self._idle):
            for worker in self._idle.pop(key):
                await worker.end()

    async def _sweep(self, digest: str) -> None:
        """Ends workers of other files, and those that nobody wanted for long, or that take room."""
        await asyncio.gather(*(each.end() for each in self._dismissed(digest)))

    def _dismissed(self, digest: str) -> list[Worker]:
        """Takes them out, all in one go: others take workers, and sweep, while one is being ended."""
        now_s, kept, dismissed = time.monotonic(), 0, list[Worker]()
        for key, workers in list(self._idle.items()):
            for worker in list(workers):
                kept += 1
                if key[0] != digest or now_s - worker.used_s > IDLE_S or kept > WORKERS_MAX:
                    workers.remove(worker)
                    dismissed.append(worker)
            if not workers:
                del self._idle[key]
        return dismissed

    async def _begin(self, sources: Sources, given: Given, *, only: str | None, agent: str) -> Worker:
        backend, account = (await preflight(self._fleet)).required()
        python = python_for(account)
        variables = {**PLAIN, "PYTHONDONTWRITEBYTECODE": "1", **(VARIABLES if given.network else {})}
        environment = {**variables, **values_of(given.secrets)}
        scratch = Path(tempfile.mkdtemp(prefix="ostinato-tools-"))
        ways = contextlib.AsyncExitStack()
        try:
            if os.geteuid() == 0:
                os.chown(scratch, account.uid, account.gid)
            way = await ways.enter_async_context(helper_way(self._ways, f"tools of {agent}", given.network))
            room = Room(workspace=scratch, reads=python.reads, bounds=Bounds(cpu_s=FOREVER_S), way=way)
            argv = (python.program, "-I", "-u", "-c", _worker_text())
            errand = Errand(argv=argv, cwd=scratch, environment=environment)
            worker = Worker(await Resident.start(backend, room, errand, account=account), scratch, ways)
        except BaseException:  # also a cancelled start leaves nothing behind
            await ways.aclose()
            await asyncio.to_thread(shutil.rmtree, scratch, ignore_errors=True)
            raise
        try:
            await worker.begin(sources, python, only=only)
        except BaseException as error:  # also where nobody waits any more
            await worker.end()
            if isinstance(error, TimeoutError):
                raise Conflict(f"The files of tools/ were not loaded within {START_S:g} s") from error
            raise
        return worker


@cache
def _worker_text() -> str:
    return Path(__file__).with_name("worker.py").read_text(encoding="utf-8")


@cache
def python_for(account: Account) -> Python:
    """The node's own Python where the account can reach it, with its libraries; else the machine's."""
    libraries = tuple(dict.fromkeys(Path(sysconfig.get_path(each)) for each in ("purelib", "platlib")))
    libraries = tuple(each for each in libraries if is_reachable(each, account))
    real = Path(os.path.realpath(sys.executable))
    home = real.parent.parent
    if is_reachable(real, account) and is_reachable(Path(sys.base_prefix), account):
        reads = tuple(each for each in (Path(sys.base_prefix), home) if not each.is_relative_to("/usr"))
        return Python(program=str(real), reads=_apart((*reads, *libraries)), path=tuple(map(str, libraries)))
    if _SYSTEM_PYTHON.exists() and f"python3.{sys.version_info.minor}" == Path(os.path.realpath(_SYSTEM_PYTHON)).name:
        return Python(program=str(_SYSTEM_PYTHON), reads=_apart(libraries), path=tuple(map(str, libraries)))
    return Python(program=str(_SYSTEM_PYTHON))


def _apart(folders: tuple[Path, ...]) -> tuple[Path, ...]:
    """Each once, and none that lies below /usr or another: all of these are there already."""
    distinct = tuple(dict.fromkeys(folders))
    return tuple(
        each
        for each in distinct
        if not each.is_relative_to("/usr") and not any(o != each and each.is_relative_to(o) for o in distinct)
    )


def is_reachable(path: Path, account: Account) -> bool:
    """True where every folder down to a path lets the account through, and it may read what is there."""
    for each in (*reversed(path.parents), path):
        try:
            found = each.stat()
        except OSError:
            return False
        wanted = stat.S_IRUSR | stat.S_IXUSR if each == path else stat.S_IXUSR
        shift = 0 if found.st_uid == account.uid else 3 if found.st_gid == account.gid else 6
        if (found.st_mode << shift) & wanted != wanted:
            return False
    return True
