"""Durable turns with one tool call, the model in a process of its own over real HTTP, the journal on a real disk.

A goal is added, its turn asks the model, calls a tool, asks again and finishes; the caller awaits that end. Everything
that a fleet has is on: policy, journal, ledger, events, counters, files read from disk.
"""

from __future__ import annotations

import asyncio
import gc
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

from benchmarks import bound_http, bound_turn, model_server
from benchmarks.places import HERE, real_directory
from benchmarks.result import Result, at_least, at_most, quantile
from ostinato.agents.leash import LeashMaker
from ostinato.agents.live import LiveText
from ostinato.agents.turn_handler import TurnHandler
from ostinato.domain.event import EventName
from ostinato.domain.message import NewMessage
from ostinato.domain.step import Effect
from ostinato.domain.task import NewTask, TaskKind, TaskSpec
from ostinato.domain.values import Source
from ostinato.engine.clock import SystemClock
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.models.catalogue import FleetModels
from ostinato.models.settings import ModelSettings
from ostinato.store.port import ScheduleRow
from ostinato.store.sqlite import open_store
from ostinato.tools.port import Arguments, OutsideTool, ToolContext, ToolResult, object_schema, text_schema
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox
from ostinato.workspace.registry import Workspaces

COMMIT_BYTES = 12 * 4_120
"""A commit of a turn changes twelve pages of 4 KiB, on average; each stands in the log with a head of 24 bytes."""
COMMITS = 400
BLOCKS, BLOCK = 30, 20
"""Turns, and bare ones between, so that a slow minute of the machine meets both."""

AGENT = "bench"
FILES = {"SOUL.md": "You look things up.\n" * 20, "TOOLS.md": "---\nallow: [bench]\n---\nUse it once.\n"}


async def _look_up(context: ToolContext, arguments: Arguments) -> ToolResult:
    return ToolResult(text="ok")


TOOL = OutsideTool(
    name="bench",
    description="Look something up.",
    parameters=object_schema("query", query=text_schema()),
    effect=Effect.READ,
    act=_look_up,
)


@contextmanager
def model_process(directory: Path) -> Iterator[str]:
    """A model that answers at once, in a process of its own; yields its base URL."""
    port = directory / "port"
    process = subprocess.Popen([sys.executable, "-m", "benchmarks.model_server", str(port), AGENT], cwd=HERE)
    try:
        while not port.exists():
            time.sleep(0.01)
        yield f"http://127.0.0.1:{port.read_text()}/v1"
    finally:
        process.kill()
        process.wait()


class Turns:
    """A node that performs turns."""

    def __init__(self, directory: Path, url: str, *, files: Mapping[str, str] = FILES) -> None:
        for name, text in files.items():
            path = directory / "agents" / AGENT / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text)
        self.clock = SystemClock()
        self.commits = 0
        self.store = open_store(directory / "state", hook=self._count)
        self.models = FleetModels(
            {"bench": ModelSettings(provider="openai", model="bench", base_url=url, api_key_env="BENCH_NO_KEY")},
            clock=self.clock,
            environment={"BENCH_NO_KEY": "none"},
        )
        leashes = LeashMaker(
            workspaces=Workspaces(directory),
            toolbox=Toolbox((*standard_toolbox(), TOOL)),
            fleet="bench",
            colleagues=lambda: (),
        )
        self.node = EngineNode(
            self.store,
            [
                TurnHandler(kind, leashes=leashes, models=self.models, live=LiveText())
                for kind in (TaskKind.GOAL, TaskKind.TURN)
            ],
            clock=self.clock,
            settings=NodeSettings(version="bench", limits=EngineLimits(tasks=64, agent_default=64)),
            fire=_no_fire,
            notify=print,
        )

    def _count(self, moment: str, number: int) -> None:
        self.commits = number

    async def message(self, text: str) -> None:
        """A turn of a session of its own reads it; returns when that has ended."""
        key, now = f"wake:{AGENT}:{text}", self.clock.now()
        new = NewMessage(source=Source.WAKE, text=text, sender="bench")
        await self.store.run(lambda tx: tx.append_message(key, new, agent=AGENT, now=now))
        (task,) = await self.store.read(lambda reads: reads.session_tasks(key))
        await self.node.completions.wait(task.id)

    async def turn(self) -> float:
        """One whole turn; its seconds."""
        new = NewTask(kind=TaskKind.GOAL, title="look it up", agent=AGENT, spec=TaskSpec(goal="Look it up."))
        began = time.perf_counter()
        task = await self.store.run(lambda tx: tx.add_task(new, now=self.clock.now()))
        ended = await self.node.completions.wait_new(task.id)
        assert ended is EventName.TASK_DONE, ended
        return time.perf_counter() - began


async def _no_fire(row: ScheduleRow) -> None:
    raise AssertionError(row.name)


@asynccontextmanager
async def running(directory: Path, url: str, *, files: Mapping[str, str] = FILES) -> AsyncIterator[Turns]:
    turns = Turns(directory, url, files=files)
    await turns.node.start()
    try:
        for _ in range(20):
            await turns.turn()
        gc.freeze()  # as a node does once it has started
        yield turns
    finally:
        gc.unfreeze()
        await turns.node.stop()
        await turns.store.close()
        await turns.models.close()


async def _alone(directory: Path, url: str, *, turns: int) -> list[float]:
    """Seconds of each."""
    async with running(directory, url) as node:
        return [await node.turn() for _ in range(turns)]


async def _beside_the_bare(directory: Path, url: str) -> tuple[list[float], list[float], float]:
    """Seconds of each turn and of each bare one, block by block in turn; and commits for each turn."""
    async with running(directory / "turns", url) as node:
        recorded = bound_turn.Recorded()
        while not recorded.is_a_turn:
            recorded = bound_turn.Recorded()
            with bound_turn.recording(recorded):
                await node.turn()
        async with bound_turn.bare_turns(directory / "bare", _chat(url), recorded) as bare:
            for _ in range(BLOCK):
                await bare.turn()
            times, bounds, before = list[float](), list[float](), node.commits
            for _ in range(BLOCKS):
                bounds += [await bare.turn() for _ in range(BLOCK)]
                times += [await node.turn() for _ in range(BLOCK)]
            return times, bounds, (node.commits - before) / len(times)


async def _at_once(directory: Path, url: str, *, turns: int, at_once: int) -> tuple[float, float]:
    """Turns a second, and commits for each."""
    async with running(directory, url) as node:
        left = turns

        async def caller() -> None:
            nonlocal left
            while left > 0:
                left -= 1
                await node.turn()

        began, before = time.perf_counter(), node.commits
        await asyncio.gather(*(caller() for _ in range(at_once)))
        return turns / (time.perf_counter() - began), (node.commits - before) / turns


def figures(directory: Path, url: str, *, alone: int, turns: int, at_once: int) -> tuple[float, float]:
    """Milliseconds a turn alone (p50), and turns a second with so many at once, each on a fresh store."""
    times = asyncio.run(_alone(directory / "alone", url, turns=alone))
    per_s, _ = asyncio.run(_at_once(directory / "crowd", url, turns=turns, at_once=at_once))
    return quantile(times, 0.5) * 1_000, per_s


def _sync_ms(directory: Path) -> float:
    """What the disk takes for the bytes of one commit of a turn: written over what is there, and synced; p50 of 200."""
    data, times = b"x" * COMMIT_BYTES, []
    descriptor = os.open(directory / "log", os.O_CREAT | os.O_WRONLY)
    try:
        for number in range(COMMITS):
            if number == COMMITS // 2:  # from here on nothing grows: so it is with a log that is used again
                os.lseek(descriptor, 0, os.SEEK_SET)
            began = time.perf_counter()
            os.write(descriptor, data)
            os.fdatasync(descriptor)
            times.append((time.perf_counter() - began) * 1_000)
    finally:
        os.close(descriptor)
    return quantile(times[COMMITS // 2 :], 0.5)


def _chat(url: str) -> str:
    return f"{url}/chat/completions"


def turn_ms() -> Sequence[Result]:
    """`turn.ms`: one turn at a time, from adding the goal to its end."""
    with real_directory() as directory, model_process(directory) as url:
        loop_ms = 1_000 / asyncio.run(bound_http.turns_per_s(_chat(url), at_once=1, turns=500))
        before = _sync_ms(directory)
        times, bounds, commits = asyncio.run(_beside_the_bare(directory, url))
        sync = (before + _sync_ms(directory)) / 2
    value, bound = (quantile([each * 1_000 for each in seconds], 0.5) for seconds in (times, bounds))
    note = (
        f"p50 of {len(times)}, {commits:.1f} commits (fdatasync each) a turn; bound: its statements and its requests "
        f"alone, block by block beside it; {loop_ms:.2f} ms without any store, and {commits * sync:.2f} ms where the "
        "bytes of its commits are written and synced and nothing else is done"
    )
    return (at_most("turn.ms", value, "ms", floor=4.0, bound=bound, note=note),)


async def _first_words_ms(directory: Path, *, messages: int) -> list[float]:
    """From handing a message to the store until the model's server has read the request."""
    times: list[float] = []
    heard = asyncio.Event()
    server = await model_server.listen(model_server.Replies(AGENT, asked=heard.set))
    url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    try:
        async with running(directory, url) as node:
            for number in range(messages):
                heard.clear()
                began = time.perf_counter()
                asking = asyncio.create_task(node.message(str(number)))
                await heard.wait()
                times.append((time.perf_counter() - began) * 1_000)
                await asking
    finally:
        server.close()
    return times


def message_ms() -> Sequence[Result]:
    """`message.ms`: from a message to the model call that it causes, in an idle node."""
    with real_directory() as directory:
        times = asyncio.run(_first_words_ms(directory, messages=300))
    return (at_most("message.ms", quantile(times, 0.5), "ms", floor=5.0, note="p50 of 300, to the request's arrival"),)


def turn_per_s() -> Sequence[Result]:
    """`turn.per_s`: fifty at once."""
    with real_directory() as directory, model_process(directory) as url:
        bound = asyncio.run(bound_http.turns_per_s(_chat(url), at_once=50, turns=4_000))
        value, commits = asyncio.run(_at_once(directory, url, turns=3_000, at_once=50))
    note = f"50 at once, {commits:.2f} commits (fdatasync each) a turn; bound: no store"
    return (at_least("turn.per_s", value, "turns/s", floor=500, bound=bound, note=note),)
