"""Hostile front matter: read by the loader itself, and by a running node that must say the same.

While a file is broken, work for its agent is refused with the file's error and kept; once it is mended, the same work
is done.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from ostinato.domain.errors import OstinatoError
from ostinato.workspace.agent import AgentDefinition
from ostinato.workspace.registry import Workspaces
from tests.security.hostile.case import Case, Content, Kind
from tests.security.hostile.front_matter_form import GRANTED, WHOLE, document
from tests.security.hostile.judge import faults_of_error, faults_of_refusal, faults_of_words
from tests.security.hostile.placing import HungError, bounded, moving, place, remove
from tests.security.hostile.result import Result, by_family
from tests.security.hostile.stand import ENDED, Stand, fsencoded

AGENT = "target"
PLACE = f"agents/{AGENT}"
GLANCES = 15
"""Times that a moving file is read."""

Load = Callable[[Path], AgentDefinition]
"""The fleet's folder to the agent's definition; raises OstinatoError."""


def loader() -> Load:
    """The real loader, which remembers what it has read, as in a node."""
    kept: dict[Path, Workspaces] = {}
    return lambda fleet: kept.setdefault(fleet, Workspaces(fleet)).current(AGENT)


def besiege_front_matter(stand: Stand, cases: Sequence[Case], *, load: Load | None = None) -> Result:
    """All cases, family by family; after each family a valid file works."""
    result, load = Result(), load or loader()
    for _, family in by_family(cases):
        kept: str | None = None
        for case in family:
            path = fsencoded(stand.folder, f"agents/{AGENT}/{case.content.name}")
            place(path, case.content)
            told, faults = _told(stand, case, load)
            result.add(case, "refused" if isinstance(told, OstinatoError) else "accepted", faults)
            result.blame(case, _compared(stand, told))
            if kept is None and isinstance(told, OstinatoError):
                kept = stand.add_task("Work for a broken agent", agent=AGENT)["id"]
                result.blame(case, _held_work(stand.wait_ended(kept, states=ENDED | {"blocked"}), told))
            _mend(stand, path)
        result.blame(family[-1], _works_again(stand, load, kept))
    return result


def _told(stand: Stand, case: Case, load: Load) -> tuple[AgentDefinition | OstinatoError | None, list[str]]:
    """What the loader says in the end, and what was wrong with anything that it said."""
    faults: list[str] = []
    with moving(fsencoded(stand.folder, f"agents/{AGENT}/{case.content.name}"), case.content):
        for _ in range(GLANCES if case.content.kind is Kind.MOVING else 0):
            faults += _judged(_loaded(stand, load), case)
    told = _loaded(stand, load)
    faults += _judged(told, case)
    return told if isinstance(told, AgentDefinition | OstinatoError) else None, faults


def _loaded(stand: Stand, load: Load) -> AgentDefinition | Exception:
    try:
        return bounded(lambda: load(stand.folder))
    except Exception as error:  # the judge says which are fine
        return error


def _judged(told: AgentDefinition | Exception, case: Case) -> Iterator[str]:
    match told:
        case AgentDefinition():
            yield from _faults_of_acceptance(told, case)
        case OstinatoError():
            # A file that has just gone leaves the agent as a whole without what it needs.
            place = PLACE if case.content.kind is Kind.MOVING else f"{PLACE}/{case.content.name}"
            yield from faults_of_error(told, place=place, hints=case.hints)
        case HungError():
            yield "the loader hangs"
        case _:
            yield f"the loader raises {type(told).__name__}: {told}"


def _faults_of_acceptance(told: AgentDefinition, case: Case) -> Iterator[str]:
    if case.hints:
        yield "a misspelt key is accepted"
    said = case.content.data + case.content.before
    if granted := [tool for tool in told.policy.tools if tool != GRANTED and tool.encode() not in said]:
        yield f"grants {granted}, which the file does not say"
    for finding in told.findings:
        yield from faults_of_words(f"{finding.place}: {finding.message} {finding.cure}")


def _compared(stand: Stand, told: AgentDefinition | OstinatoError | None) -> Iterator[str]:
    """The node must say what the loader says."""
    found = [each for each in stand.show_agent(AGENT)["problems"] if each["level"] == "error"]
    if isinstance(told, OstinatoError):
        expected = {"place": told.place, "message": told.message, "cure": told.cure}
        if [{key: each[key] for key in expected} for each in found] != [expected]:
            yield f"the loader says {told}, and the node {found}"
    for each in found:  # the node knows more than the file, such as the fleet's models
        yield from faults_of_words(f"{each['place']}: {each['message']} {each['cure']}")
        yield from faults_of_refusal(each["message"], place=each["place"], cure=each["cure"])


def _held_work(view: dict[str, Any], told: OstinatoError) -> Iterator[str]:
    state, reason = view["task"]["state"], view["task"]["reason"]
    if state != "blocked" or told.message not in reason or told.place not in reason:
        yield f"work for the broken agent is {state} because of {reason!r}, not {told}"
    yield from faults_of_words(reason)


def _mend(stand: Stand, path: bytes) -> None:
    remove(path)
    place(fsencoded(stand.folder, f"agents/{AGENT}/AGENTS.md"), Content(document("AGENTS.md").encode()))


def _works_again(stand: Stand, load: Load, kept: str | None) -> Iterator[str]:
    """After a family: valid files load, and a turn runs; work that was held is done."""
    for name in WHOLE:
        place(fsencoded(stand.folder, f"agents/{AGENT}/{name}"), Content(document(name).encode()))
    told = _loaded(stand, load)
    if not isinstance(told, AgentDefinition) or told.policy.tools != (GRANTED,):
        yield f"valid files do not load afterwards: {told}"
    stand.show_agent(AGENT)  # whoever looks at an agent whose files are in order again lets its work go on
    if kept is not None and stand.show_task(kept)["task"]["state"] == "failed":  # with a file in between that loads
        stand.call("POST", f"/api/v1/tasks/{kept}/retry", {})
    task = kept or stand.add_task("Work for a mended agent", agent=AGENT)["id"]
    if (view := stand.wait_ended(task))["task"]["state"] != "done":
        yield f"valid files do not work afterwards: {view['task']['state']}, {view['error']}"
    for name in WHOLE:
        if name != "AGENTS.md":
            remove(fsencoded(stand.folder, f"agents/{AGENT}/{name}"))
