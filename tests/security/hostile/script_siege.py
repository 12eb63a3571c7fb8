"""Hostile model scripts: read by the loader itself, and by a running node whose task must end with the same words."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from ostinato.domain.errors import OstinatoError
from ostinato.models.scripted.player import Player
from ostinato.models.scripted.reading import read_script
from ostinato.models.scripted.script import Script
from ostinato.models.scripted.wire import BadRequest
from tests.security.hostile.case import Case, Kind
from tests.security.hostile.judge import faults_of_error, faults_of_words
from tests.security.hostile.placing import HungError, bounded, moving, place
from tests.security.hostile.result import Result, by_family
from tests.security.hostile.stand import ENDED, SCRIPT_FOLDER, Stand, fsencoded, script_name

REQUEST = json.dumps({"model": "x", "messages": [{"role": "user", "content": "Hello, how are you?"}]}).encode()
GLANCES = 15
STAYS = ENDED | {"waiting"}
"""A script that asks, or says the same again and again, leaves its task with a person."""

Read = Callable[[Path], Script]


def besiege_scripts(stand: Stand, cases: Sequence[Case], *, read: Read = read_script) -> Result:
    """All cases, family by family; after each family a valid script works."""
    result = Result()
    stand.call("POST", "/api/v1/agents/spare/resume", {})  # another siege may have held it
    for _, family in by_family(cases):
        tasks: list[tuple[Case, str, OstinatoError | None]] = []
        for case in family:
            told, faults = _told(stand, case, read)
            result.add(case, "refused" if isinstance(told, OstinatoError) else "accepted", faults)
            task = stand.add_task("Hello, how are you?", agent="spare", model=script_name(case), timeout="15s")["id"]
            tasks.append((case, task, told if isinstance(told, OstinatoError) else None))
        for case, task, error in tasks:
            result.blame(case, _worked(stand, task, error))
        good = stand.add_task("Hello again", agent="spare", model="good")["id"]
        if (view := stand.wait_ended(good))["task"]["state"] != "done":
            result.blame(family[-1], [f"a valid script does not work afterwards: {view['error']}"])
    return result


def _told(stand: Stand, case: Case, read: Read) -> tuple[Script | Exception, list[str]]:
    """What the loader says in the end, and what was wrong with anything that it said."""
    name = f"{SCRIPT_FOLDER}/{script_name(case)}.yaml"
    path, faults = fsencoded(stand.folder, name), list[str]()
    place(path, case.content)
    with moving(path, case.content):
        for _ in range(GLANCES if case.content.kind is Kind.MOVING else 0):
            faults += _judged(_loaded(stand.folder / name, read), case, stand)
    told = _loaded(stand.folder / name, read)
    return told, [*faults, *_judged(told, case, stand)]


def _loaded(path: Path, read: Read) -> Script | Exception:
    try:
        return bounded(lambda: read(path))
    except Exception as error:  # the judge says which are fine
        return error


def _judged(told: Script | Exception, case: Case, stand: Stand) -> Iterator[str]:
    match told:
        case Script():
            if case.hints:
                yield "a misspelt key is accepted"
            yield from _played(told)
        case OstinatoError():
            place = str(stand.folder / SCRIPT_FOLDER / script_name(case))
            yield from faults_of_error(told, place=place, hints=case.hints)
        case HungError():
            yield "the loader hangs"
        case _:
            yield f"the loader raises {type(told).__name__}: {told}"


def _played(script: Script) -> Iterator[str]:
    """An accepted script answers, or says that no rule knows the message."""
    try:
        bounded(lambda: Player(script).answer(REQUEST, created=1))
    except BadRequest as error:
        yield from faults_of_words(str(error))
    except Exception as error:  # nothing else is fine
        yield f"an accepted script raises {type(error).__name__}: {error}"


def _worked(stand: Stand, task: str, error: OstinatoError | None) -> Iterator[str]:
    """The task of a refused script fails with the script's error; that of an accepted one comes to some end."""
    view = stand.wait_ended(task, states=STAYS)
    state, words = view["task"]["state"], view["error"]
    yield from faults_of_words(words)
    if state not in STAYS:
        yield f"the task of the script is {state} for ever: {view['task']['reason']!r}"
    if error is not None and (state != "failed" or error.message not in words or error.place not in words):
        yield f"the loader says {error}, and the task is {state} with {words!r}"
