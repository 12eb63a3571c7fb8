"""LangGraph with its SQLite checkpointer: turns with one tool call. Runs in LangGraph's own environment.

Each step is written before the next (`durability="sync"`), in WAL mode with SQLite's default of full sync.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import time
import warnings
from pathlib import Path

warnings.simplefilter("ignore")

from langchain_openai import ChatOpenAI  # noqa: E402 - after the filter, because importing them warns
from langgraph.checkpoint.sqlite.aio import AsyncSqliteSaver  # noqa: E402 - as above
from langgraph.prebuilt import create_react_agent  # noqa: E402 - as above

ASKED = json.loads(sys.argv[1])


def bench(query: str) -> str:
    """Look something up."""
    return "ok"


async def main() -> None:
    """Prints milliseconds a turn alone, and turns a second with many at once."""
    model = ChatOpenAI(model="bench", base_url=ASKED["url"], api_key="none", max_retries=0)
    async with AsyncSqliteSaver.from_conn_string(str(Path(ASKED["directory"]) / "langgraph.db")) as saver:
        agent = create_react_agent(model, [bench], prompt="You look things up.\n" * 20, checkpointer=saver)
        number = 0

        async def turn() -> float:
            nonlocal number
            number += 1
            config = {"configurable": {"thread_id": str(number)}}
            began = time.perf_counter()
            said = await agent.ainvoke({"messages": [("user", "Look it up.")]}, config, durability="sync")
            assert len(said["messages"]) == 4, said
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
    settings = f"SQLite, WAL, synchronous=FULL, durability=sync, {ASKED['callers']} turns at once"
    figures = {"value": ASKED["tasks"] / elapsed, "alone_ms": statistics.median(alone) * 1_000, "settings": settings}
    print(json.dumps(figures), flush=True)


if __name__ == "__main__":
    asyncio.run(main())
