"""Agno with its SQLite store: turns with one tool call. Runs in Agno's own environment; telemetry is off."""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
from pathlib import Path

from agno.agent import Agent
from agno.db.sqlite import SqliteDb
from agno.models.openai.like import OpenAILike

ASKED = json.loads(sys.argv[1])


def bench(query: str) -> str:
    """Look something up."""
    return "ok"


async def main() -> None:
    """Prints milliseconds a turn alone, and turns a second with many at once."""
    agent = Agent(
        model=OpenAILike(id="bench", base_url=ASKED["url"], api_key="none"),
        db=SqliteDb(db_file=str(Path(ASKED["directory"]) / "agno.db")),
        instructions="You look things up.\n" * 20,
        tools=[bench],
        telemetry=False,
    )
    number = 0

    async def turn() -> float:
        nonlocal number
        number += 1
        began = time.perf_counter()
        said = await agent.arun("Look it up.", session_id=f"s{number}")
        assert said.content == "All is well.", said
        return time.perf_counter() - began

    for _ in range(5):
        await turn()
    alone = [await turn() for _ in range(ASKED["alone"])]
    left = iter(range(ASKED["tasks"]))

    async def caller() -> None:
        for _ in left:
            await turn()

    began = time.perf_counter()
    await asyncio.gather(*(caller() for _ in range(ASKED["callers"])))
    elapsed = time.perf_counter() - began
    settings = f"SQLite, its own settings, a session of its own for each turn, {ASKED['callers']} turns at once"
    figures = {"value": ASKED["tasks"] / elapsed, "alone_ms": statistics.median(alone) * 1_000, "settings": settings}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
