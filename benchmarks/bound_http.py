"""The bound for turns: a bare aiohttp loop with one tool call, no store, no policy, no journal."""

from __future__ import annotations

import asyncio
import json
import time

import aiohttp

MESSAGES: list[dict[str, object]] = [
    {"role": "system", "content": "You are a bench. " * 200},
    {"role": "user", "content": "Go."},
]


async def turns_per_s(url: str, *, at_once: int, turns: int) -> float:
    """Turns a second: model, tool, model, done."""
    left = turns

    async def worker(session: aiohttp.ClientSession) -> None:
        nonlocal left
        while left > 0:
            left -= 1
            messages: list[dict[str, object]] = list(MESSAGES)
            first = await ask(session, url, messages)
            messages += [first, {"role": "tool", "tool_call_id": "c1", "content": "ok"}]
            await ask(session, url, messages)

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        began = time.perf_counter()
        await asyncio.gather(*(worker(session) for _ in range(at_once)))
        return turns / (time.perf_counter() - began)


async def ask(session: aiohttp.ClientSession, url: str, messages: list[dict[str, object]]) -> dict[str, object]:
    body = json.dumps({"model": "bench", "messages": messages}, separators=(",", ":"))
    async with session.post(url, data=body, headers={"Content-Type": "application/json"}) as response:
        reply = json.loads(await response.read())
    message: dict[str, object] = reply["choices"][0]["message"]
    return message
