"""What the machines of this folder stand on: a store that can be closed and opened again, and a scene over it.

Each machine keeps a simple model in memory beside the store, does the same to both, and compares. Knows nothing of
which store it is.
"""

from __future__ import annotations

import asyncio
import atexit
import shutil
import tempfile
from collections.abc import Callable, Coroutine
from pathlib import Path
from typing import Any, TypeVar

from hypothesis import settings
from hypothesis.stateful import RuleBasedStateMachine, run_state_machine_as_test

from ostinato.domain.task import TaskState
from ostinato.store.port import Store, TaskFilter
from ostinato.store.sqlite import open_store
from ostinato.testing.contract.scene import Scene
from tests.conftest import FULL

T = TypeVar("T")
MachineT = TypeVar("MachineT", bound="Machine")
Opener = Callable[[], Store]
"""Opens the store that was there before."""
Fresh = Callable[[], Opener]
"""Empties the place where a store is, and says how to open it."""

MEMORY = Path("/dev/shm")


class Machine(RuleBasedStateMachine):
    """A store under rules. Subclasses say which store, and what it is compared with."""

    fresh: Fresh
    histories = 0
    asked = 0
    """How often the store was asked, in all histories."""

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        type(self).histories += 1
        self.open = type(self).fresh()
        self.scene = Scene(self.open())
        self.call(self.scene.begin())

    def call(self, work: Coroutine[Any, Any, T]) -> T:
        """What comes of it."""
        type(self).asked += 1
        return self.runner.run(work)

    def do(self, fn: Callable[[Any], T]) -> T:
        """One transaction."""
        return self.call(self.scene.do(fn))

    def restart(self) -> None:
        """The node's process ends without a word, and another begins: all claims of the first are void."""
        self.call(self.scene.store.close())
        self.scene.store = self.open()
        self.call(self.scene.begin())

    def states(self) -> dict[int, TaskState]:
        """Every task's, as the store says."""
        return {task.id: task.state for task in self.call(self.scene.see(lambda reads: reads.tasks(TaskFilter())))}

    def teardown(self) -> None:
        """Closes everything."""
        try:
            self.call(self.scene.store.close())
        finally:
            self.runner.close()


def in_sqlite() -> Fresh:
    """Stores in files, each in a folder of its own. The last folder goes with the next, or with the process."""
    base = Path(tempfile.mkdtemp(prefix="ostinato-machine-", dir=MEMORY if MEMORY.is_dir() else None))
    atexit.register(shutil.rmtree, base, ignore_errors=True)
    folders: list[Path] = []

    def fresh() -> Opener:
        while folders:
            shutil.rmtree(folders.pop())
        folder = Path(tempfile.mkdtemp(dir=base))
        folders.append(folder)
        return lambda: open_store(folder)

    return fresh


def play(machine: type[Machine], fresh: Fresh, *, examples: int, steps: int) -> dict[str, int]:
    """Lets Hypothesis run a machine over a store, and make what fails as short as can be; twenty times as many examples
    at full length. Returns what it counted."""
    examples *= 20 if FULL else 1
    kind = type(machine.__name__, (machine,), {"fresh": staticmethod(fresh), "histories": 0, "asked": 0})
    found = settings(max_examples=examples, stateful_step_count=steps, deadline=None, report_multiple_bugs=False)
    run_state_machine_as_test(kind, settings=found)  # type: ignore[no-untyped-call]  # Hypothesis leaves it untyped
    return {"histories": kind.histories, "questions to the store": kind.asked}


def meet(machine: type[MachineT], fresh: Fresh, history: Callable[[MachineT], object]) -> None:
    """Plays one history by hand, and checks what must hold after it: for seeded bugs, which need not be searched."""
    played = type(machine.__name__, (machine,), {"fresh": staticmethod(fresh)})()
    try:
        history(played)
        for each in played.invariants:
            each.function(played)
    finally:
        played.teardown()
