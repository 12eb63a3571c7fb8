"""Six letters and a person who decides: allow, change, refuse, allow for good, and no answer at all.

    python -m examples.gates.demo

The fleet is a copy that goes away, the model is a file of rules, and letters are files. Exits with 1 unless exactly the
letters were written that the person had allowed, as they had allowed them.
"""

from __future__ import annotations

import asyncio
import email
import io
import os
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from ostinato.app import FleetApp
from ostinato.cli.client import Client
from ostinato.gateway import approvals_api, tasks_api, tools_api
from ostinato.gateway.log_lines import LogLines

HERE = Path(__file__).parent / "fleet"
WAIT_S = 60.0
LOOK_S = 0.05

TRIED = ("operator", "mail:ann@example.com", "mail:press@example.com", "mail:eve@example.org")
WRITTEN = {
    "ann@example.com": "You owe 120 EUR.",
    "ben@example.com": "You owe 20 EUR.",
    "dora@example.com": "Thank you.",
    "emil@example.com": "Thank you, too.",
}
"""Whom the outbox should know in the end, and what they read."""

Decide = Callable[[str], Awaitable[str]]
"""Answers a question by its name, and says how a person would have typed it."""


class Desk:
    """A person at work: gives letters to write, and decides what they ask."""

    def __init__(self, app: FleetApp, client: Client) -> None:
        self._app = app
        self._client = client

    async def call(self, operation: Any, request: Any) -> Any:
        """What a command does."""
        return await asyncio.to_thread(self._client.call, operation, request)

    async def check(self) -> None:
        """What would happen, before anything does."""
        for to in TRIED:
            arguments = f'{{"to": "{to}", "text": "Hello"}}'
            found = await self.call(
                tools_api.check, tools_api.CheckCall(agent="billing", tool="message.send", arguments=arguments)
            )
            asks = f" {found.asks}" if found.asks else ""
            print(f"  {to:24} {found.decision}{asks}: {found.reason} [{found.rule}]")

    async def letter(self, to: str, text: str, decide: Decide | None = None) -> None:
        """One letter from its task to its end."""
        title = f"Write to {to}: {text}"
        task = (await self.call(tasks_api.add, tasks_api.AddTask(title=title, agent="billing"))).id
        print(f"\n{task}  {title}")
        if decide is not None:
            question = await self._asked()
            print(f"  {question.id} asks {question.asks}: {question.reason}")
            print(f"  you: {await decide(question.id)}")
        assert self._app.node is not None
        await self._app.node.completions.wait(int(task[1:]))
        shown = await self.call(tasks_api.show, tasks_api.WhichTask(task=task))
        print(f"  the agent: {' '.join(str(shown.result).split())}")

    async def _asked(self) -> Any:
        while True:
            if found := (await self.call(approvals_api.list_questions, approvals_api.WhichQuestions())).questions:
                return found[0]
            await asyncio.sleep(LOOK_S)

    async def allow(self, question: str) -> str:
        """As it is, once."""
        await self.call(approvals_api.allow, approvals_api.AllowQuestion(question=question))
        return f"ostinato approvals allow {question}"

    async def change(self, question: str) -> str:
        """Something else in its place, once."""
        asked = await self.call(approvals_api.show, approvals_api.WhichQuestion(question=question))
        changed = {**asked.arguments, "text": WRITTEN["ben@example.com"]}
        await self.call(approvals_api.allow, approvals_api.AllowQuestion(question=question, arguments=changed))
        return f"ostinato approvals allow {question} --edit letter.json   (200 EUR were 20)"

    async def refuse(self, question: str) -> str:
        """Not at all."""
        reason = "she has paid already"
        await self.call(approvals_api.deny, approvals_api.DenyQuestion(question=question, reason=reason))
        return f'ostinato approvals deny {question} --reason "{reason}"'

    async def allow_its_like(self, question: str) -> str:
        """This, and what is like it, for good."""
        patterns = ["to=mail:*@example.com", "text=Thank you*"]
        await self.call(approvals_api.allow, approvals_api.AllowQuestion(question=question, always=patterns))
        return f"ostinato approvals allow {question} " + " ".join(f"--always '{each}'" for each in patterns)

    async def say_nothing(self, _question: str) -> str:
        """The question expires, which is a denial."""
        return "(nothing, for a second)"

    async def history(self) -> None:
        """What was decided."""
        print("\nWhat was decided (ostinato approvals list --all):")
        which = approvals_api.WhichQuestions(state="all")
        for each in reversed((await self.call(approvals_api.list_questions, which)).questions):
            change = ", changed" if each.edited else ""
            print(f"  {each.id} {each.state}{change}: {each.summary}")
        for each in (await self.call(approvals_api.list_permissions, approvals_api.WhichPermissions())).permissions:
            like = ", ".join(f"{name}={pattern}" for name, pattern in each.like.items())
            print(f"  {each.id} holds for good: {each.tool} where {like}")


def main() -> int:
    """Plays the story in a copy of the fleet."""
    with tempfile.TemporaryDirectory(prefix="ostinato-gates-") as made:
        folder = Path(made)
        shutil.copytree(HERE, folder / "fleet")
        os.environ["XDG_CONFIG_HOME"] = str(folder / "keyring")
        return asyncio.run(play(folder / "fleet"))


async def play(fleet: Path) -> int:
    """From what would happen to what has."""
    app = FleetApp(fleet, log=LogLines(io.StringIO()))
    await app.start()
    desk = Desk(app, Client(fleet))
    try:
        async with asyncio.timeout(WAIT_S):
            print("What would happen (ostinato tools check billing message.send ...):")
            await desk.check()
            await desk.letter("ann@example.com", "You owe 120 EUR.", desk.allow)
            await desk.letter("ben@example.com", "You owe 200 EUR.", desk.change)
            await desk.letter("cleo@example.com", "You owe 80 EUR.", desk.refuse)
            await desk.letter("dora@example.com", "Thank you.", desk.allow_its_like)
            await desk.letter("emil@example.com", "Thank you, too.")
            await desk.letter("press@example.com", "We are rich.", desk.say_nothing)
            await desk.history()
            letters = await _written(fleet / "outbox")
    finally:
        await app.stop()
    print("\nLetters in the outbox:")
    for to, text in letters.items():
        print(f"  {to}: {text}")
    return 0 if letters == WRITTEN else 1


async def _written(outbox: Path) -> dict[str, str]:
    """Whom letters are to, and what they say, as soon as there are as many as were allowed."""
    files: list[Path] = []
    for _ in range(round(WAIT_S / LOOK_S)):
        if len(files := await asyncio.to_thread(lambda: sorted(outbox.glob("*.eml")))) >= len(WRITTEN):
            break
        await asyncio.sleep(LOOK_S)
    found = {}
    for file in files:
        letter = email.message_from_bytes(await asyncio.to_thread(file.read_bytes))
        found[str(letter["To"])] = str(letter.get_payload()).strip()
    return dict(sorted(found.items()))


if __name__ == "__main__":
    sys.exit(main())
