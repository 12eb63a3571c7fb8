"""Choosing agents, and sub-agents: how long it takes to choose one of a thousand, to begin a child, to hear of its end.

The model is a server in this process, over real HTTP, and the journal is on a real disk. Knows nothing of other turns.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Sequence
from pathlib import Path

from benchmarks import model_server
from benchmarks.places import real_directory
from benchmarks.result import Result, at_least, at_most, quantile
from benchmarks.turn import AGENT, FILES, running
from ostinato.domain.routing import Candidate, Record, route
from ostinato.domain.task import NewTask, TaskKind, TaskSpec
from ostinato.store.sqlite import open_store
from ostinato.tools.port import Colleague
from ostinato.tools.router import Router

AGENTS = 1_000
CHILD = "count the sheep"
NEW = NewTask(kind=TaskKind.GOAL, title="x", type="t", spec=TaskSpec(skills=("billing",)))


def _per_s(decide: Callable[[], object], *, seconds: float = 2.0) -> float:
    decide()
    began, times = time.perf_counter(), 0
    while time.perf_counter() - began < seconds:
        decide()
        times += 1
    return times / (time.perf_counter() - began)


def decisions_per_s() -> Sequence[Result]:
    """`routing.decisions_per_s`: a thousand agents of whom a hundred have the skill, with load and record from a store;
    the bound is the pure function alone."""
    names = [(f"agent-{number:04}", ("billing",) if number % 10 == 0 else ("other",)) for number in range(AGENTS)]
    agents = [Colleague(id=name, skills=skills) for name, skills in names]
    record = Record(done=9, failed=1, usd_micros=4_000, seconds=3.0)
    candidates = [Candidate(id=name, skills=skills, record=record) for name, skills in names]
    bound = _per_s(lambda: route(candidates, skills=("billing",)))

    async def measure(directory: Path) -> float:
        store, router = open_store(directory), Router()
        try:
            return await store.run(lambda tx: _per_s(lambda: router.place(tx, NEW, agents, now=1)))
        finally:
            await store.close()

    with real_directory() as directory:
        value = asyncio.run(measure(directory))
    note = f"{AGENTS} agents, {AGENTS // 10} able; in one transaction; bound: the pure function"
    return (at_least("routing.decisions_per_s", value, "/s", floor=100, bound=bound, note=note),)


class _Family(model_server.Replies):
    """A model whose first turn spawns a child and waits for it; notes when it answered and when it was asked."""

    def __init__(self) -> None:
        super().__init__(AGENT)
        self.spawned_at = self.child_ended_at = 0.0
        self.begun: list[float] = []
        self.heard: list[float] = []

    def to(self, body: bytes) -> bytes:
        """By who asks: the child, or its parent for the first, second or third time."""
        now = time.perf_counter()
        streams = b'"stream":true' in body or b'"stream": true' in body
        make = model_server._stream if streams else model_server._whole
        calls = body.count(b'"role":"tool"') + body.count(b'"role": "tool"')
        last = body[body.rfind(b'"role":"user"') :] if calls == 0 else b""
        if calls == 0 and CHILD.encode() in last:
            self.begun.append(now - self.spawned_at)
            self.child_ended_at = time.perf_counter()
            return make({"content": "seven"}, "stop")
        if calls == 0:
            self.spawned_at = time.perf_counter()
            return make(_call("spawn", {"goal": CHILD}), "tool_calls")
        if calls == 1:
            return make(_call("children.wait", {}), "tool_calls")
        self.heard.append(now - self.child_ended_at)
        return make({"content": "all is well"}, "stop")


def _call(tool: str, arguments: dict[str, str]) -> dict[str, object]:
    function = {"name": tool.replace(".", "_"), "arguments": json.dumps(arguments)}
    return {"content": None, "tool_calls": [{"index": 0, "id": "c1", "type": "function", "function": function}]}


async def _families(directory: Path, *, times: int) -> _Family:
    family = _Family()
    server = await model_server.listen(family)
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    files = {**FILES, "TOOLS.md": "---\nallow: [spawn, children.wait]\n---\n"}
    try:
        async with running(directory, url, files=files) as node:
            for _ in range(times):
                await node.turn()
    finally:
        server.close()
    return family


def spawn_ms() -> Sequence[Result]:
    """`spawn.ms` and `spawn.back_ms`: from the reply that spawns to the child's first model call; from the child's last
    reply to its parent's next call."""
    with real_directory() as directory:
        family = asyncio.run(_families(directory, times=300))
    note = f"p50 of {len(family.begun)}, alone"
    return (
        at_most("spawn.ms", quantile(family.begun, 0.5) * 1_000, "ms", floor=5.0, note=note),
        at_most("spawn.back_ms", quantile(family.heard, 0.5) * 1_000, "ms", floor=5.0, note=note),
    )
