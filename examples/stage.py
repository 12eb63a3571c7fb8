"""What the stories of small fleets stand on: a copy of the fleet that goes away, a node in this process, and a person's
commands.

Knows nothing of any story. The larger ones (`support_inbox`, `gates`, `coding_agent`) have stages of their own.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from ostinato.app import FleetApp
from ostinato.cli.client import Client
from ostinato.domain.task import Task
from ostinato.gateway import approvals_api, tasks_api
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.operation import Ask, Operation, View
from ostinato.gateway.views import QuestionView
from ostinato.store.port import Reads, Store

WAIT_S = 60.0
"""A story that has not ended by then never will."""

NOBODY = 65_534
"""As whom commands run where root plays a story: never as root."""

Request = TypeVar("Request", bound=Ask)
Response = TypeVar("Response", bound=View)
T = TypeVar("T")


class Stage:
    """A fleet with a node at work."""

    def __init__(self, fleet: Path) -> None:
        self.fleet = fleet
        self._app = FleetApp(fleet, log=LogLines(io.StringIO()))
        self._client = Client(fleet)
        self._moved = asyncio.Event()

    @property
    def store(self) -> Store:
        """For looking at what no command shows."""
        assert self._app.store is not None
        return self._app.store

    async def __aenter__(self) -> Stage:
        await self._app.start()
        self.store.subscribe(lambda events: self._moved.set())
        return self

    async def __aexit__(self, *error: object) -> None:
        await self._app.stop()

    async def call(self, operation: Operation[Request, Response], request: Request) -> Response:
        """What a command does."""
        return await asyncio.to_thread(self._client.call, operation, request)

    async def add(self, title: str, **more: object) -> str:
        """`ostinato tasks add`: the task's name."""
        return (await self.call(tasks_api.add, tasks_api.AddTask(title=title, **more))).id  # type: ignore[arg-type]  # keys of AddTask

    async def ended(self, task: str) -> Task:
        """A task once it is done, failed or cancelled."""
        assert self._app.node is not None
        return await self._app.node.completions.wait(int(task[1:]))

    async def look(self, see: Callable[[Reads], T]) -> T:
        """One look at the store."""
        return await self.store.read(see)

    async def until(self, holds: Callable[[], Awaitable[T | None]]) -> T:
        """What `holds` finds, asked again after each commit, and now and then for what is none."""
        while True:
            self._moved.clear()
            if found := await holds():
                return found
            try:
                await asyncio.wait_for(self._moved.wait(), 0.25)
            except TimeoutError:
                continue

    async def question(self, kind: str | None = None) -> QuestionView:
        """The latest question that waits for a person; of one kind."""

        async def asked() -> list[QuestionView]:
            return (await self.call(approvals_api.list_questions, approvals_api.WhichQuestions(kind=kind))).questions

        return (await self.until(asked))[0]


Story = Callable[[Stage], Awaitable[bool]]
"""Plays, tells, and says whether it ended as told."""


def play(here: Path, story: Story, *, commands: bool = False) -> int:
    """Plays a story in a copy of the fleet that lies beside `here`; the exit code. With `commands`, agents run some."""
    with tempfile.TemporaryDirectory(prefix="ostinato-example-", dir="/tmp" if commands else None) as made:
        folder = Path(made)
        fleet = folder / "fleet"
        shutil.copytree(here.parent / "fleet", fleet)
        os.environ["XDG_CONFIG_HOME"] = str(folder / "keyring")
        if commands:
            folder.chmod(0o755)
        if commands and os.geteuid() == 0:
            for path in (fleet, *fleet.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        return asyncio.run(_play(fleet, story))


async def _play(fleet: Path, story: Story) -> int:
    async with Stage(fleet) as stage, asyncio.timeout(WAIT_S):
        return 0 if await story(stage) else 1
