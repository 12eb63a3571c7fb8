"""Kills a clerk at every step that it takes, each time in a process of its own, and tells what was left in the end.

Run as a script: `python -m tests.agents.clerk_forge FOLDER [BUG PLACE]`; prints one JSON line for each place of death,
or for the one PLACE alone. The script forks before any
thread or loop exists, so that a hundred deaths cost little more than one start.
"""

from __future__ import annotations

import asyncio
import json
import os
import secrets
import shutil
import signal
import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path

from ostinato.agents import clerk as room
from ostinato.agents.clerk import Clerk, ClerkPlace
from ostinato.agents.intake import Intake
from ostinato.domain.task import TaskKind
from ostinato.engine.clock import SystemClock
from ostinato.store.port import TaskFilter
from ostinato.store.sqlite import CommitHook, open_store
from ostinato.testing.faults import die, kill_at
from ostinato.tools.port import Colleague
from ostinato.workspace.tasks_file import TASKS_FILE, Remark, Wish, parse_tasks
from ostinato.workspace.tasks_place import NEW

STEPS = frozenset({"open", "os.remove", "os.rename", "os.link", "os.mkdir", "ctypes.dlopen"})
"""Audit events of what changes files, or comes right before or after it; the exchange lies behind `ctypes.dlopen`."""

FILES = ("TASKS", ".TASKS", "tasks", "None")
"""How the names begin that count; a library has none."""

LINES = "- One\n- Two @helper\n- Three @nobody\n"
ROUNDS = 3


async def work(folder: Path, *, hook: CommitHook | None = None) -> list[str]:
    """Lets a clerk do all there is to do; the titles of all goals."""
    (folder / "state").mkdir(mode=0o700, exist_ok=True)
    store = open_store(folder / "state", hook=hook)
    helper = [Colleague(id="helper", skills=("mail",))]
    clerk = Clerk(
        ClerkPlace(fleet=folder, name="shop", settle_s=0.0),
        store=store,
        intake=Intake(colleagues=lambda: helper),
        colleagues=lambda: helper,
        clock=SystemClock(),
    )
    for _ in range(ROUNDS):
        clerk._changed, clerk._not_before_s = True, 0.0
        await clerk.poll()
    tasks = await store.read(lambda reads: reads.tasks(TaskFilter(kinds=frozenset({TaskKind.GOAL}))))
    await store.close()
    return sorted(each.title for each in tasks)


def in_child(deed: Callable[[], object]) -> bool:
    """Does it in a process of its own; False where that died."""
    child = os.fork()
    if child == 0:
        deed()
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) != -signal.SIGKILL


def die_at_step(number: int) -> None:
    """Kills this process right before its so-manieth change of a file; no commit needs to know."""
    seen = 0

    def watch(event: str, arguments: tuple[object, ...]) -> None:
        nonlocal seen
        if event in STEPS and str(arguments[0]).startswith(FILES):
            seen += 1
            if seen == number:
                die()

    sys.addaudithook(watch)


def one_death(folder: Path, first: Path, kill: Callable[[], CommitHook | None]) -> dict[str, object] | None:
    """One life, one death, a person who writes meanwhile, another life, and an editor that saves what it once read."""
    shutil.copytree(first, folder)
    file = folder / TASKS_FILE
    stale = file.read_text() + LINES
    file.write_text(stale)
    if in_child(lambda: asyncio.run(work(folder, hook=kill()))):
        return None
    with file.open("a") as person:
        person.write("- Late\n")
    quick = (folder / NEW).exists() and (folder / NEW).read_text() == stale
    if quick:  # it had just given up its place: an editor that had it open writes into it
        with (folder / NEW).open("a") as person:
            person.write("- Quick\n")
    in_child(lambda: asyncio.run(work(folder)))
    (folder / "buffer").write_text(stale)
    os.replace(folder / "buffer", file)
    titles: list[str] = []
    reading, writing = os.pipe()
    in_child(lambda: os.write(writing, json.dumps(asyncio.run(work(folder))).encode()))
    os.close(writing)
    with os.fdopen(reading) as stream:
        titles = json.loads(stream.read() or "[]")
    text = file.read_text()
    return {
        "titles": titles,
        "expected": ["Late", "One", *(["Quick"] if quick else []), "Two"],
        "left": [each.raw for each in parse_tasks(text).entries if not isinstance(each, Remark)],
        "leftover": (folder / NEW).exists(),
    }


def plant(bug: str) -> None:
    """A mistake that the harness must notice."""
    if bug == "forgetful keys":

        def keys_of(wishes: Sequence[Wish]) -> list[str]:
            return [f"tasks-file:{secrets.token_hex(8)}" for _ in wishes]

        room.keys_of = keys_of  # type: ignore[assignment]  # a planted bug
    elif bug == "dropped leftover":
        room.read_leftover = lambda fleet: (fleet / NEW).unlink(missing_ok=True)  # type: ignore[assignment]  # a planted bug


def main(folder: Path, *, bug: str, only: str) -> None:
    """All deaths: before each change of a file, before and after each commit."""
    plant(bug)
    first = folder / "first"
    first.mkdir()
    in_child(lambda: asyncio.run(work(first)))
    places: list[tuple[str, Callable[[int], CommitHook | None]]] = [
        ("step", die_at_step),
        ("before", lambda number: kill_at(f"before:{number}")),
        ("after", lambda number: kill_at(f"after:{number}")),
    ]
    for name, kill in places:
        for number in range(1, 200):
            if only and only != f"{name}:{number}":
                continue
            found = one_death(folder / f"{name}-{number}", first, partial(kill, number))
            if found is None:
                break
            sys.stdout.write(json.dumps({"place": f"{name}:{number}", **found}) + "\n")


if __name__ == "__main__":
    folder, bug, only = (*sys.argv[1:], "", "")[:3]
    main(Path(folder), bug=bug, only=only)
