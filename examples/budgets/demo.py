"""A budget that is used up, asks a person once, and goes on with what was granted.

    python -m examples.budgets.demo

The model is a file of rules, no money is spent, and the fleet is a copy that goes away. Exits with 1 unless three pages
were written for what was budgeted and granted.
"""

from __future__ import annotations

import asyncio
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TypeVar

from ostinato.app import FleetApp
from ostinato.cli.client import Client
from ostinato.domain.event import Event, EventName
from ostinato.gateway import approvals_api, cost_api, tasks_api
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.operation import Ask, Operation, View

HERE = Path(__file__).parent / "fleet"
WAIT_S = 60.0

Request = TypeVar("Request", bound=Ask)
Response = TypeVar("Response", bound=View)


def main() -> int:
    """Plays the story in a copy of the fleet."""
    with tempfile.TemporaryDirectory(prefix="ostinato-budgets-") as made:
        folder = Path(made)
        shutil.copytree(HERE, folder / "fleet")
        os.environ["XDG_CONFIG_HOME"] = str(folder / "keyring")
        return asyncio.run(play(folder / "fleet"))


async def play(fleet: Path) -> int:
    """Three pages, one question, one leave."""
    app, client = FleetApp(fleet, log=LogLines(io.StringIO())), Client(fleet)

    async def call(operation: Operation[Request, Response], request: Request) -> Response:
        return await asyncio.to_thread(client.call, operation, request)

    await app.start()
    try:
        assert app.node is not None
        asked = asyncio.Event()

        def hear(events: Sequence[Event]) -> None:
            if any(each.name is EventName.QUESTION_ASKED for each in events):
                asked.set()

        app.node.store.subscribe(hear)
        async with asyncio.timeout(WAIT_S):
            ids = []
            for title in ("rivers", "bridges", "tides"):
                task = await call(tasks_api.add, tasks_api.AddTask(title=title, agent="writer"))
                ids.append(int(task.id[1:]))
            await asked.wait()
            (question,) = (await call(approvals_api.list_questions, approvals_api.WhichQuestions())).questions
            print(f"{question.id}: {question.text}")
            leave = approvals_api.AllowQuestion(question=question.id, more=0.02, reason="the page is needed today")
            await call(approvals_api.allow, leave)
            for number in ids:
                await app.node.completions.wait(number)
            states = [(await call(tasks_api.show, tasks_api.WhichTask(task=f"T{each}"))).task.state for each in ids]
            cost = await call(cost_api.show, cost_api.WhichCost(by="task"))
    finally:
        await app.stop()
    print(f"pages: {', '.join(states)}; spent ${cost.usd}")
    return 0 if states == ["done"] * 3 and cost.usd == 0.018 else 1


if __name__ == "__main__":
    sys.exit(main())
