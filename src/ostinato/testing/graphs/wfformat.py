"""Reads the WfFormat of WfCommons: JSON files with the tasks of scientific workflows and who waits for whom.

Since schema 1.5 the tasks lie under `workflow.specification.tasks` and name each other by `id`; before, they lie under
`workflow.tasks` (`workflow.jobs` up to 1.2) and name each other by `name`. An edge holds where either end tells of it.
Files, machines and how a run once went (`workflow.execution`) are passed over: they order nothing. The format is
described at https://github.com/wfcommons/WfFormat.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import msgspec

from ostinato.domain.errors import Exhausted, Invalid, unknown_name
from ostinato.domain.order import Circular, in_order
from ostinato.domain.values import Value
from ostinato.testing.graphs.graph import GraphTask, TaskGraph

FILE_BYTES_MAX = 256_000_000
"""More than any published workflow takes; the largest has some tens of thousands of tasks."""

TASKS_MAX = 200_000
EDGES_MAX = 2_000_000
NAME_MAX = 500

VERSIONS = ("1.0", "1.1", "1.2", "1.3", "1.4", "1.5", "1.6")

SHOWN_MAX = 12
"""Tasks of a circle that a message names."""


class _Entry(Value):
    """One task as it stands in the file."""

    place: str
    id: str
    name: str
    parents: tuple[str, ...]
    children: tuple[str, ...]


def read_wfformat(raw: bytes, *, place: str) -> TaskGraph:
    """The graph in a file's bytes; `place` names the file in messages.

    Raises Invalid with what is wrong and where: no JSON, no WfFormat, two tasks of one id, a parent or child that is
    not in the file, a circle (with its path). Raises Exhausted beyond a limit.
    """
    if len(raw) > FILE_BYTES_MAX:
        raise Exhausted(f"The file has {len(raw)} bytes", place=place, cure=f"At most {FILE_BYTES_MAX}.")
    try:
        data = msgspec.json.decode(raw.removeprefix(b"\xef\xbb\xbf"))
    except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as error:
        raise Invalid(f"This is not JSON: {error}", place=place) from None
    where, tasks, by_name = _tasks_of(data, place)
    entries = [_entry(each, place=f"{where}[{number}]", strict=not by_name) for number, each in enumerate(tasks)]
    known = _known(entries)
    needs = _needs(entries, _References(known, entries, by_name=by_name), where)
    try:
        levels = in_order(needs)
    except Circular as error:
        at = known[error.path[0]].place
        raise Invalid(
            f"The tasks wait in a circle: {_short(error.path)}", place=at, cure="Take one edge away."
        ) from None
    name = data.get("name")
    return TaskGraph(
        name=name if isinstance(name, str) else "",
        tasks=tuple(
            GraphTask(id=each, name=known[each].name, parents=tuple(needs[each]), level=level)
            for each, level in levels.items()
        ),
    )


def _tasks_of(data: Any, place: str) -> tuple[str, Sequence[Any], bool]:
    """Where the tasks lie, what lies there, and whether they name each other by name."""
    if not isinstance(data, dict) or not isinstance(data.get("workflow"), dict):
        raise Invalid("This is no WfFormat", place=place, cure="It needs an object `workflow`.")
    version, workflow = data.get("schemaVersion"), data["workflow"]
    if version is not None and str(version) not in VERSIONS:
        raise Invalid(unknown_name("schemaVersion", str(version)[:20], VERSIONS), place=f"{place}: schemaVersion")
    for path, holder, key, by_name in (
        ("workflow.specification.tasks", workflow.get("specification"), "tasks", False),
        ("workflow.tasks", workflow, "tasks", True),
        ("workflow.jobs", workflow, "jobs", True),
    ):
        if isinstance(holder, dict) and key in holder:
            tasks, where = holder[key], f"{place}: {path}"
            if not isinstance(tasks, list) or not tasks:
                raise Invalid("It must be a list of at least one task", place=where)
            if len(tasks) > TASKS_MAX:
                raise Exhausted(f"There are {len(tasks)} tasks", place=where, cure=f"At most {TASKS_MAX}.")
            return where, tasks, by_name
    raise Invalid("The workflow has no tasks", place=f"{place}: workflow", cure="Write `specification.tasks`.")


def _entry(data: Any, *, place: str, strict: bool) -> _Entry:
    if not isinstance(data, dict):
        raise Invalid("A task must be an object", place=place)
    key = "id" if strict or "id" in data else "name"
    id_ = _text(data, key, place=place)
    place = f"{place} ({id_[:60]!r})"
    return _Entry(
        place=place,
        id=id_,
        name=_text(data, "name", place=place),
        parents=_names(data, "parents", place=place, strict=strict),
        children=_names(data, "children", place=place, strict=strict),
    )


def _text(data: Mapping[str, Any], key: str, *, place: str) -> str:
    value = data.get(key)
    if not isinstance(value, str) or not 0 < len(value) <= NAME_MAX:
        said = "is missing" if key not in data else f"must be text of 1 to {NAME_MAX} characters"
        raise Invalid(f"The task's `{key}` {said}", place=place)
    return value


def _names(data: Mapping[str, Any], key: str, *, place: str, strict: bool) -> tuple[str, ...]:
    """Each once, in the order given. Before 1.5 either list may be missing; since then each must be there."""
    if key not in data:
        if strict:
            raise Invalid(f"The task's `{key}` is missing", place=place, cure="Write [] where there are none.")
        return ()
    value = data[key]
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Invalid(f"The task's `{key}` must be a list of texts", place=place)
    return tuple(dict.fromkeys(value))


def _known(entries: Sequence[_Entry]) -> dict[str, _Entry]:
    known: dict[str, _Entry] = {}
    for each in entries:
        if each.id in known:
            first = known[each.id].place.rpartition(": ")[2]
            raise Invalid(f"This id stands at {first} already", place=each.place, cure="Give each task its own.")
        known[each.id] = each
    return known


class _References:
    """Finds tasks by how others name them."""

    def __init__(self, known: Mapping[str, _Entry], entries: Sequence[_Entry], *, by_name: bool) -> None:
        self._known = known
        self._by_name = by_name
        self._named: dict[str, list[str]] = {}
        for each in entries:
            self._named.setdefault(each.name, []).append(each.id)

    def find(self, name: str, *, key: str, place: str) -> str:
        """The id. Raises Invalid for a name of none, and for a name of several."""
        named = self._named.get(name, [])
        if self._by_name and len(named) == 1:
            return named[0]
        if name in self._known:
            return name
        place = f"{place}, {key}"
        if self._by_name and named:
            raise Invalid(f"{len(named)} tasks are called {name[:60]!r}", place=place, cure="Name it by its id.")
        if named:
            raise Invalid(f"{name[:60]!r} is a name, not an id", place=place, cure=f"Write {named[0][:60]!r}.")
        raise Invalid(unknown_name("task", name[:60], self._some()), place=place)

    def _some(self) -> Iterator[str]:
        """Names for a message: of few tasks all, as looking for a likely one among very many takes long."""
        return (name for name, _ in zip(self._named if self._by_name else self._known, range(1_000), strict=False))


def _needs(entries: Sequence[_Entry], references: _References, where: str) -> dict[str, list[str]]:
    """What each task waits for, by id, in the order of the file."""
    needs: dict[str, dict[str, None]] = {each.id: {} for each in entries}
    edges = 0
    for each in entries:
        for name in each.parents:
            needs[each.id][references.find(name, key="parents", place=each.place)] = None
        for name in each.children:
            needs[references.find(name, key="children", place=each.place)][each.id] = None
        edges += len(each.parents) + len(each.children)
        if edges > 2 * EDGES_MAX:
            raise Exhausted("The tasks have too many edges", place=where, cure=f"At most {EDGES_MAX}.")
    return {name: list(before) for name, before in needs.items()}


def _short(path: Sequence[str]) -> str:
    if len(path) <= SHOWN_MAX:
        return " → ".join(path)
    return f"{' → '.join(path[: SHOWN_MAX - 2])} → ... → {path[-1]} ({len(path) - 1} tasks)"
