"""A whole node of a small fleet whose agent may start processes; the node can be stopped and started again."""

from __future__ import annotations

import asyncio
import contextlib
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from ostinato.app import FleetApp
from ostinato.domain.errors import NotFound
from ostinato.domain.message import NewMessage, main_session
from ostinato.domain.step import Entry, Input
from ostinato.domain.task import NewTask, Task, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import Source
from ostinato.engine.completion import Completions
from ostinato.store.port import Store, TaskFilter
from ostinato.tools.processes.handle import Handle, Standing, handle_of, handles
from ostinato.tools.processes.start import reap, shims
from tests.conftest import wait_until
from tests.sandbox.ground import ORDINARY

T = TypeVar("T")

FLEET = """[fleet]
name = "yard"

[models.script]
provider = "scripted"
script = "model.yaml"
in_process = true

[tasks]
file = false
"""
TOOLS = """---
allow: [exec.start, exec.read, processes.list, processes.wait, processes.log, processes.write, processes.keys,
        processes.resize, processes.kill]
exec: {commands: [python3, sleep], effects: {reversible: ["python3 work.py", "python3 talk.py", "sleep *"]}, lasts: 60s}
---
"""
WORK = """
import pathlib, sys, time
print("working", flush=True)
while not pathlib.Path("go").exists():
    time.sleep(0.02)
print("the work is done")
sys.exit(4)
"""
TALK = """
print("\\x1b[31myou said", input("what? "))
"""
PROCESSES = frozenset({TaskKind.PROCESS})
ENDED = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED})


class Yard:
    """The fleet, and its node while one runs."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.workspace = folder / "agents/helper"
        self.app: FleetApp | None = None

    @property
    def store(self) -> Store:
        assert self.app is not None
        assert self.app.store is not None
        return self.app.store

    async def start(self) -> None:
        self.app = FleetApp(self.folder)
        await self.app.start()

    async def stop(self) -> None:
        if self.app is not None:
            await self.app.stop()
            self.app = None

    async def goal(self, text: str) -> int:
        new = NewTask(kind=TaskKind.GOAL, title=text, agent="helper", spec=TaskSpec(goal=text))
        return (await self.store.run(lambda tx: tx.add_task(new, now=self.now()))).id

    async def tell(self, text: str) -> None:
        message = NewMessage(source=Source.OPERATOR, text=text)
        key = main_session("helper")
        await self.store.run(lambda tx: tx.append_message(key, message, agent="helper", now=self.now()))

    def now(self) -> int:
        assert self.app is not None
        return self.app.clock.now()

    async def ended(self, task: int) -> Task:
        waiting = Completions(self.store)
        try:
            return await waiting.wait(task)
        finally:
            waiting.close()

    async def processes(self) -> list[Task]:
        """Oldest first."""
        found = await self.store.read(lambda reads: reads.tasks(TaskFilter(kinds=PROCESSES), limit=20))
        return sorted(found, key=lambda task: task.id)

    async def process(self) -> Task:
        """The one process, once it runs."""
        found = await self.until_found()
        handle = self.handle(found)
        assert handle is not None
        await asyncio.to_thread(wait_until, lambda: handle.look()[0] is Standing.RUNS)
        return found

    async def at_work(self) -> tuple[Task, Handle]:
        """Has the agent told to work; the process that comes of it, once its task waits for it."""
        await self.tell("Work.")
        process = await self.process()
        await self.until_parked(process.id)
        handle = self.handle(process)
        assert handle is not None
        return process, handle

    async def until_found(self) -> Task:
        async def there() -> Task | None:
            found = await self.processes()
            return found[0] if found and self.handle(found[0]) is not None else None

        return await self.until(there)

    async def until_parked(self, task: int) -> Task:
        async def parked() -> Task | None:
            found = await self.store.read(lambda reads: reads.task(task))
            return found if found.state is TaskState.WAITING else None

        return await self.until(parked)

    async def until(self, look: Callable[[], Awaitable[T | None]]) -> T:
        """What `look` finds, which looks again now and then."""
        while (found := await look()) is None:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(asyncio.Event().wait(), 0.02)
        return found

    def handle(self, task: Task) -> Handle | None:
        try:
            return handle_of(self.folder / ".ostinato", task.id)
        except NotFound:  # not yet
            return None

    async def journal(self, task: int) -> list[Entry]:
        return [step.entry for step in await self.store.read(lambda reads: reads.steps(task))]

    async def messages(self, session: str) -> list[str]:
        """All that was ever put into a session's inbox."""
        return [each.text for each in await self.store.read(lambda reads: reads.messages(session, limit=50))]

    async def read_by(self, session: str) -> list[int]:
        """Messages that turns of a session have read, in order, each as often as it was."""
        tasks = await self.store.read(lambda reads: reads.session_tasks(session, limit=50))
        found: list[int] = []
        for task in reversed(tasks):
            found += [m for e in await self.journal(task.id) if isinstance(e, Input) for m in e.messages]
        return found


@pytest.fixture
def folder() -> Iterator[Path]:
    """A fleet that belongs to an ordinary user and can be reached by one; nothing of it runs in the end."""
    made = Path(tempfile.mkdtemp(prefix="ostinato-yard-", dir="/tmp"))
    made.chmod(0o755)
    try:
        yield made
    finally:
        for each in handles(made / ".ostinato"):
            each.kill("the test is over")
        wait_until(lambda: reap() or not shims())
        shutil.rmtree(made)


@contextlib.asynccontextmanager
async def yard(folder: Path, script: str, *, tools: str = TOOLS) -> AsyncIterator[Yard]:
    """A running fleet with this script."""
    furnish(folder, script=script, tools=tools)
    made = Yard(folder)
    await made.start()
    try:
        yield made
    finally:
        await made.stop()


def furnish(folder: Path, *, script: str, tools: str = TOOLS) -> None:
    """Writes the fleet's files."""
    files = {
        "ostinato.toml": FLEET,
        "model.yaml": script,
        "agents/helper/SOUL.md": "You help.\n",
        "agents/helper/TOOLS.md": tools,
        "agents/helper/work.py": WORK,
        "agents/helper/talk.py": TALK,
    }
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, ORDINARY, ORDINARY)
