"""The agents of a fleet's folder: looked at on each wake, read only when something changed.

An agent that nobody asks for costs nothing; those in use are kept, up to a bound. Safe to call from several threads.
Knows nothing of stores or turns. A watcher over all workspaces was tried by others: it runs out of handles long before
ten thousand folders.
"""

from __future__ import annotations

import os
import re
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from ostinato.domain.errors import Invalid, NotFound, OstinatoError, unknown_name
from ostinato.domain.values import Value, digest_of
from ostinato.workspace.agent import AGENT_FILES, HEARTBEATS_MAX, AgentDefinition, FleetDefaults, make_agent
from ostinato.workspace.agent_file import check_agent_id
from ostinato.workspace.asked_people import AskedPerson
from ostinato.workspace.fields import ID
from ostinato.workspace.file_text import FileText, Finding, IsFolder, Signature, read_text, text_of
from ostinato.workspace.heartbeat_file import Heartbeat

KEPT_MAX = 1_024
"""Definitions kept in memory; at some 20 kB each they stay near 20 MB however many agents there are."""

KEPT_CHARACTERS_MAX = 32_000_000
"""Of all files of the definitions kept, whichever bound is met first."""

EXACT_MAX = 500
"""Agents of a fleet that is looked at each time somebody asks for all: some milliseconds."""

BRIEFS_S = 5.0
"""How old what is said of all agents may be in a larger fleet, seconds: a look at ten thousand takes a fifth of one."""

BROKEN = "broken: "
"""How the version of an agent begins whose files make none."""

NOTE_NAME = re.compile(r"\d{4}-\d{2}-\d{2}\.md", re.ASCII)
"""Daily notes in memory/."""

SETTLE_NS = 100_000_000
"""File systems count time in ticks of up to 10 ms: a file that changed just before it was read may change again without
looking different, so that it is read once more."""


class Problem(Value):
    """Something wrong in a workspace. An `error` keeps the agent from running, a `warning` does not."""

    agent: str
    level: str
    code: str
    place: str
    message: str
    cure: str = ""


class Brief(Value):
    """What lists, routing and heartbeats need to know of an agent: small, so that it is kept of every one."""

    id: str
    description: str = ""
    skills: tuple[str, ...] = ()
    model: str | None = None
    function: str = ""
    concurrency: int = 1
    pool: str = "default"
    per_day_usd_micros: int | None = None
    per_day_tokens: int | None = None
    tools: tuple[str, ...] = ()
    delegates: tuple[str, ...] = ()
    """Whom it may give work to, as far as they are named."""
    asks: tuple[AskedPerson, ...] = ()
    heartbeats: tuple[Heartbeat, ...] = ()
    version: str = ""
    """Digest over all files; what is wrong, where it is broken."""
    problems: tuple[Problem, ...] = ()

    @property
    def is_broken(self) -> bool:
        """True where its files keep it from running."""
        return any(each.level == "error" for each in self.problems)


class _Entry:
    """What is known of an agent in use: its files as they were, and what came of them."""

    __slots__ = ("definition", "error", "files", "paths", "settled", "state")

    def __init__(self) -> None:
        self.paths: tuple[str, ...] = ()
        self.state: tuple[Signature | None, ...] = ()
        self.settled = False
        self.files: dict[str, tuple[Signature, FileText]] = {}
        self.definition: AgentDefinition | None = None
        self.error: OstinatoError | None = None


class _Seen:
    """What is remembered of every agent: enough to tell in a sweep that nothing has changed."""

    __slots__ = ("brief", "error", "mark", "parts")

    def __init__(self, *, parts: tuple[str, ...], mark: int, brief: Brief, error: OstinatoError | None) -> None:
        self.parts = parts
        self.mark = mark
        self.brief = brief
        self.error = error


class Workspaces:
    """The agents of one fleet."""

    def __init__(
        self,
        fleet: Path,
        *,
        defaults: FleetDefaults | None = None,
        kept_max: int = KEPT_MAX,
        kept_characters_max: int = KEPT_CHARACTERS_MAX,
        settle_ns: int = SETTLE_NS,
    ) -> None:
        self.fleet = fleet
        self.folder = fleet / "agents"
        self.defaults = defaults or FleetDefaults()
        self._kept_max = kept_max
        self._kept_characters_max = kept_characters_max
        self._settle_ns = settle_ns
        self._characters = 0
        self._entries: OrderedDict[str, _Entry] = OrderedDict()
        self._seen: dict[str, _Seen] = {}
        self._same: dict[tuple[str, ...], tuple[str, ...]] = {}
        self._lock = threading.RLock()
        self._looking = threading.Lock()
        self._briefs: tuple[Brief, ...] = ()
        self._briefs_are_old = False
        self._briefs_until_s = float("-inf")
        self.changed: Callable[[str], None] | None = None
        """Called with an agent's id, in whatever thread, when its heartbeats or skills are seen to be new or others, or
        its files to be broken or in order again."""

    def ids(self) -> list[str]:
        """Every agent's id, sorted: the folders in agents/ whose names can be one."""
        try:
            with os.scandir(self.folder) as found:
                return sorted(each.name for each in found if ID.fullmatch(each.name) and each.is_dir())
        except (FileNotFoundError, NotADirectoryError):
            return []

    def briefs(self, *, look: bool = True) -> tuple[Brief, ...]:
        """Every agent in brief, also broken ones, by id; equal answers are the same tuple.

        Exact, for one look at each file; with more than EXACT_MAX agents up to BRIEFS_S old, and without `look` as old
        as the last look, so that it costs nothing. Reads all agents where none has been looked at yet.
        """
        with self._looking:
            is_due = len(self._briefs) <= EXACT_MAX or time.monotonic() > self._briefs_until_s
            if is_due and (look or not self._briefs):
                ids = self.ids()
                self.refresh(ids)
                self.drop_gone(ids)
                self._briefs_until_s = time.monotonic() + BRIEFS_S
            with self._lock:
                if self._briefs_are_old:
                    self._briefs_are_old = False
                    self._briefs = tuple(self._seen[each].brief for each in sorted(self._seen))
            return self._briefs

    def brief(self, agent: str) -> Brief:
        """One agent in brief, as its files are now; raises as `current` does. Where nothing has changed nothing is
        read, however long nobody asked for it."""
        with self._lock:
            seen = self._seen.get(agent)
            if seen is None or not seen.mark or seen.mark != hash(self._look_at(agent, seen.parts)):
                self.current(agent)
                seen = self._seen[agent]
            elif seen.error is not None:
                raise _again(seen.error)
            return seen.brief

    def current(self, agent: str) -> AgentDefinition:
        """The agent as its files are now. Raises Invalid where they are broken, NotFound where there is no such agent.

        Costs one look at each of its files when none has changed.
        """
        with self._lock:
            entry = self._entries.get(agent)
            if entry is None or not entry.settled or entry.state != _look(entry.paths):
                entry = self._load(agent)
            else:
                self._entries.move_to_end(agent)
            if entry.definition is None:
                assert entry.error is not None
                raise _again(entry.error)
            return entry.definition

    def from_texts(self, agent: str, texts: Mapping[str, str]) -> AgentDefinition:
        """The agent that these texts of its files make: one that a turn began with, kept by digest."""
        place = f"agents/{check_agent_id(agent)}"
        files = {name: text_of(text.encode(), name=name, place=f"{place}/{name}") for name, text in texts.items()}
        return make_agent(agent, files, folder=self.folder / agent, defaults=self.defaults, place=place)

    def daily_notes(self, agent: str, *, most: int = 2) -> Mapping[str, str]:
        """The newest daily notes that say anything, oldest first: `memory/2026-03-01.md` -> text."""
        path = self.folder / check_agent_id(agent) / "memory"
        notes: dict[str, str] = {}
        with suppress(OSError), _opened(path, follow=False) as folder:
            names = sorted((each for each in os.listdir(folder) if NOTE_NAME.fullmatch(each)), reverse=True)
            for name in names[: most * 4]:
                with suppress(Invalid):  # a note that is no text keeps nobody from working
                    found = read_text(folder, name, place=f"agents/{agent}/memory/{name}")
                    if found is not None and found[0].text.strip() and len(notes) < most:
                        notes[f"memory/{name}"] = found[0].text
        return dict(sorted(notes.items()))

    def problems(self) -> tuple[Problem, ...]:
        """What was wrong with each agent when it was last read, by agent. `refresh_all` reads all of them."""
        with self._lock:
            return tuple(each for agent in sorted(self._seen) for each in self._seen[agent].brief.problems)

    def refresh_all(self) -> list[str]:
        """Looks at every agent; returns the ids of those whose definition is new or another than at the last look, or
        that are gone or broken since.

        Slow where there are many: a sweep calls `refresh` and `drop_gone`, some agents at a time.
        """
        ids = self.ids()
        return [*self.refresh(ids), *self.drop_gone(ids)]

    def refresh(self, agents: Iterable[str]) -> list[str]:
        """Looks at these agents, and reads those that have changed; returns their ids. Holds the lock for one agent at
        a time; keeps no more in memory than `current`."""
        changed = []
        for agent in agents:
            with self._lock:
                before = self._seen.get(agent)
                if before is not None and before.mark and before.mark == hash(self._look_at(agent, before.parts)):
                    continue
                is_used = agent in self._entries
                with suppress(NotFound):  # it went since the list was made
                    self._load(agent)
                after = self._seen.get(agent)
                if after is None or before is None or after.brief.version != before.brief.version:
                    changed.append(agent)
                if not is_used:
                    self._forget(agent)
        return changed

    def versions(self, agents: Iterable[str]) -> dict[str, str]:
        """The versions of these agents as their files are now, valid or not; those that are gone are left out."""
        wanted = list(agents)
        self.refresh(wanted)
        with self._lock:
            return {agent: self._seen[agent].brief.version for agent in wanted if agent in self._seen}

    def drop_gone(self, there: Iterable[str]) -> list[str]:
        """Forgets the agents that are not there any more; returns their ids."""
        with self._lock:
            gone = sorted(self._seen.keys() - set(there))
            for agent in gone:
                self._forget(agent)
                self._drop(agent)
        return gone

    def _drop(self, agent: str) -> None:
        if self._seen.pop(agent, None) is not None:
            self._briefs_are_old = True

    def _load(self, agent: str) -> _Entry:
        """Reads what has changed, and remembers what came of it."""
        entry = _Entry()
        path = self.folder / agent
        old = self._entries.get(agent)
        began_ns = time.time_ns()  # to be compared with times of files, so it cannot be an injected clock
        if not ID.fullmatch(agent) or not path.is_dir():
            self._forget(agent)
            self._drop(agent)
            raise NotFound(unknown_name("agent", agent[:80], self.ids()))
        parts = self._once(_parts(str(path)))
        entry.paths = tuple(f"{path}{part}" for part in parts)
        entry.state = _look(entry.paths)
        entry.settled = all(each is None or began_ns - each[3] > self._settle_ns for each in entry.state)
        try:
            with _opened(path) as folder:
                entry.files = self._read(agent, folder, names=_names(parts), old=old)
            files = {name: file for name, (_, file) in entry.files.items()}
            if old is not None and old.definition is not None and _same(old.definition, files):
                entry.definition = old.definition
            else:
                place = f"agents/{agent}"
                entry.definition = make_agent(agent, files, folder=path, defaults=self.defaults, place=place)
        except OstinatoError as error:
            entry.error = error
        except OSError as error:
            cure = "Give the fleet's user the right to read it."
            entry.error = Invalid(f"It cannot be read: {error.strerror}", place=f"agents/{agent}", cure=cure)
        self._remember(agent, entry, parts=parts)
        return entry

    def _look_at(self, agent: str, parts: tuple[str, ...]) -> tuple[Signature | None, ...]:
        folder = f"{self.folder}/{agent}"
        return _look([folder + part for part in parts])

    def _read(
        self, agent: str, folder: int, *, names: Iterable[str], old: _Entry | None
    ) -> dict[str, tuple[Signature, FileText]]:
        files = {}
        for name in names:
            place = f"agents/{agent}/{name}"
            kept = old.files.get(name) if old is not None and old.settled else None
            if kept is not None and kept[0] == _look_once(f"{self.folder}/{agent}/{name}"):
                files[name] = kept
                continue
            try:
                found = _read_below(folder, name, place=place) if "/" in name else read_text(folder, name, place=place)
            except IsFolder as error:  # it says nothing, and so grants nothing
                found = _nothing(name, error), _look_once(f"{self.folder}/{agent}/{name}") or (0, 0, 0, 0)
            if found is not None:
                files[name] = (found[1], found[0])
        return files

    def _remember(self, agent: str, entry: _Entry, *, parts: tuple[str, ...]) -> None:
        self._forget(agent)
        self._entries[agent] = entry
        self._characters += _size(entry)
        while len(self._entries) > 1 and (
            len(self._entries) > self._kept_max or self._characters > self._kept_characters_max
        ):
            self._forget(next(iter(self._entries)))
        mark = hash(entry.state) if entry.settled else 0
        if entry.error is not None:
            brief = Brief(id=agent, version=f"{BROKEN}{entry.error}", problems=(_problem(agent, entry.error),))
        else:
            assert entry.definition is not None
            brief = self._brief_of(entry.definition)
        before = self._seen.get(agent)
        self._seen[agent] = _Seen(parts=parts, mark=mark, brief=brief, error=entry.error)
        if self.changed and (before is None or _waking(before.brief) != _waking(brief)):
            self.changed(agent)
        self._briefs_are_old = True

    def _brief_of(self, definition: AgentDefinition) -> Brief:
        return Brief(
            id=definition.id,
            description=definition.description,
            skills=self._once(definition.skills),
            model=definition.model,
            function=definition.settings.function,
            concurrency=definition.concurrency,
            pool=definition.pool,
            per_day_usd_micros=definition.limits.per_day_usd_micros,
            per_day_tokens=definition.limits.per_day_tokens,
            tools=self._once(definition.tools.granted),
            delegates=self._once(definition.delegates or ()),
            asks=definition.asks,
            heartbeats=definition.heartbeats,
            version=definition.version,
            problems=tuple(_warning(definition.id, each) for each in definition.findings),
        )

    def _once(self, texts: tuple[str, ...]) -> tuple[str, ...]:
        """Equal tuples are kept once: thousands of agents have the same files, and often the same skills."""
        return self._same.setdefault(texts, texts)

    def _forget(self, agent: str) -> None:
        entry = self._entries.pop(agent, None)
        if entry is not None:
            self._characters -= _size(entry)


def _again(error: OstinatoError) -> OstinatoError:
    """Each caller gets an exception of its own: a shared one would gather everybody's traceback."""
    return type(error)(error.message, place=error.place, cure=error.cure)


def _waking(brief: Brief) -> tuple[bool, tuple[Heartbeat, ...], tuple[str, ...]]:
    """What decides whether an agent can be woken, when, and what for."""
    return brief.is_broken, brief.heartbeats, brief.skills


def _problem(agent: str, error: OstinatoError) -> Problem:
    place = error.place or f"agents/{agent}"
    return Problem(agent=agent, level="error", code=error.code, place=place, message=error.message, cure=error.cure)


def _warning(agent: str, found: Finding) -> Problem:
    return Problem(
        agent=agent, level="warning", code=found.code, place=found.place, message=found.message, cure=found.cure
    )


def _nothing(name: str, error: IsFolder) -> FileText:
    """An empty file in the place of a folder, which its author hears of."""
    finding = Finding(code="folder", place=error.place, message=error.message, cure=error.cure)
    return FileText(name=name, text="", digest=digest_of(b""), size_bytes=0, findings=(finding,))


def _size(entry: _Entry) -> int:
    return sum(len(file.text) for _, file in entry.files.values())


def _same(definition: AgentDefinition, files: Mapping[str, FileText]) -> bool:
    return definition.digests == {name: file.digest for name, file in files.items()}


def _look(paths: Iterable[str]) -> tuple[Signature | None, ...]:
    """How these paths are right now. Links are followed: a change of what they lead to counts."""
    return tuple([_look_once(path) for path in paths])


def _look_once(path: str) -> Signature | None:
    try:
        state = os.stat(path)
    except OSError:
        return None
    return (state.st_dev, state.st_ino, state.st_size, state.st_mtime_ns)  # as `signature`, without another call


def _parts(folder: str) -> tuple[str, ...]:
    """What to look at in an agent's folder, as ends of paths: the folders are among them, since a file that comes or
    goes changes its folder. Most agents have the same, so that this is kept once."""
    parts = ["", *(f"/{name}" for name in AGENT_FILES if os.path.lexists(f"{folder}/{name}"))]
    beats = f"{folder}/heartbeats"
    if os.path.lexists(beats):
        parts.append("/heartbeats")
        with suppress(OSError):
            found = sorted(each for each in os.listdir(beats) if each.endswith(".md") and not each.startswith("."))
            parts.extend(f"/heartbeats/{each}" for each in found[: HEARTBEATS_MAX + 1])
    return tuple(parts)


def _names(parts: Iterable[str]) -> list[str]:
    return [part[1:] for part in parts if part not in {"", "/heartbeats"}]


def _read_below(folder: int, name: str, *, place: str) -> tuple[FileText, Signature] | None:
    """A file of heartbeats/; the folder must be one of the agent's own."""
    parent, _, child = name.partition("/")
    try:
        inner = os.open(parent, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    except OSError as error:
        raise Invalid(
            f"The folder {parent}/ cannot be read: {error.strerror}", place=place, cure="Make it a plain folder."
        ) from None
    try:
        found = read_text(inner, child, place=place)
    finally:
        os.close(inner)
    return found and (msgspec.structs.replace(found[0], name=name), found[1])


@contextmanager
def _opened(path: Path, *, follow: bool = True) -> Iterator[int]:
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        yield folder
    finally:
        os.close(folder)
