"""Tools that a fleet brings with it, at work: a price from a Python function, filed by a server of its own, and booked
by an agent that is a Python function.

    python -m examples.plugins.demo

The function runs in a worker, the server in a room of its own; neither reaches the fleet's state. The server's tool is
irreversible, because nobody has declared otherwise: the story says yes in the place of a person. The model is a file
of rules, no money is spent, and the fleet is a copy that goes away. Exits with 1 unless the note was filed and booked
once.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import tempfile
from pathlib import Path
from typing import Any

from ostinato.app import FleetApp
from ostinato.cli.client import Client
from ostinato.gateway import approvals_api, pins_api, tasks_api
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.operation import Nothing
from ostinato.store.port import Store

HERE = Path(__file__).parent / "fleet"
NOBODY = 65_534
"""As whom tools run where root plays this: never as root."""

WAIT_S = 60.0


def main() -> int:
    """Plays the story in a copy of the fleet."""
    with tempfile.TemporaryDirectory(prefix="ostinato-plugins-", dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        fleet = folder / "fleet"
        shutil.copytree(HERE, fleet)
        os.environ["XDG_CONFIG_HOME"] = str(folder / "keyring")
        if os.geteuid() == 0:
            for path in (fleet, *fleet.rglob("*")):
                os.chown(path, NOBODY, NOBODY)
        return asyncio.run(play(fleet))


async def play(fleet: Path) -> int:
    """From the first task to the note in the file."""
    app = FleetApp(fleet, log=LogLines(io.StringIO()))
    await app.start()
    try:
        return await _story(app, Client(fleet), fleet)
    finally:
        await app.stop()


async def _story(app: FleetApp, client: Client, fleet: Path) -> int:
    async def call(operation: Any, request: Any) -> Any:
        return await asyncio.to_thread(client.call, operation, request)

    assert app.store is not None
    async with asyncio.timeout(WAIT_S):
        await _until(app.store, lambda: app.plugins is not None and app.plugins.servers()[0].state == "up")
        for server in (await call(pins_api.list_servers, Nothing())).servers:
            print(f"the server {server.name} is {server.state} and offers: {', '.join(server.tools)}")
        task = await call(tasks_api.add, tasks_api.AddTask(title="Price forty chairs, and file it", agent="buyer"))
        print(f"{task.id} is the buyer's")
        questions: list[Any] = []

        async def asked() -> bool:
            questions[:] = (await call(approvals_api.list_questions, approvals_api.WhichQuestions())).questions
            return bool(questions)

        await _until(app.store, asked)
        question = questions[0]
        print(f"{question.id} asks: {question.summary}")
        await call(approvals_api.allow, approvals_api.AllowQuestion(question=question.id))
        print(f"{question.id} is allowed")

        async def done() -> bool:
            return bool((await call(tasks_api.show, tasks_api.WhichTask(task=task.id))).task.state == "done")

        await _until(app.store, done)
        filed = await asyncio.to_thread((fleet / "notes/purchases.txt").read_text)
        print(f"filed: {filed.strip()}")
        task = await call(tasks_api.add, tasks_api.AddTask(title=filed.strip(), agent="clerk"))
        await _until(app.store, done)
    booked = (await call(tasks_api.show, tasks_api.WhichTask(task=task.id))).result
    print(f"the clerk's function has booked: {booked}")
    kept = await asyncio.to_thread((fleet / "agents/clerk/book.txt").read_text)
    return 0 if (filed, kept) == ("40 chairs: ok: 4320 EUR\n", f"{booked}\n") else 1


async def _until(store: Store, holds: Any) -> None:
    """Looks again after each commit."""
    changed = asyncio.Event()
    forget = store.subscribe(lambda events: changed.set())
    try:
        while True:
            found = holds()
            if await found if asyncio.iscoroutine(found) else found:
                return
            changed.clear()
            try:
                await asyncio.wait_for(changed.wait(), 0.1)
            except TimeoutError:
                continue
    finally:
        forget()


if __name__ == "__main__":
    sys.exit(main())
