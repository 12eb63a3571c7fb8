"""`python -m benchmarks.profile [--write-docs]`: where each microsecond of a turn and of a claim goes.

One turn with one tool call at a time, then whole tasks with many callers; the rooms that they pass are wrapped. What is
left of a thread's processor time is its library's: the event loop's, mostly. Wrapping itself costs something, which is
said.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks import turn
from benchmarks.engine import in_file
from benchmarks.places import HERE, real_directory
from benchmarks.spans import Spans
from ostinato.agents import turn_handler, turn_step
from ostinato.agents.leash import LeashMaker
from ostinato.domain import turn as pure_turn
from ostinato.engine.worker import Worker
from ostinato.models.openai import dialect
from ostinato.store.orders import Orders
from ostinato.store.sqlite.checkpoints import Checkpoints
from ostinato.store.sqlite.database import SqliteDatabase
from ostinato.store.sqlite.writer import Writer
from ostinato.store.verbs import rows
from ostinato.store.verbs.transaction import Transaction
from ostinato.store.verbs.work import Work

PAGE = HERE / "docs" / "explanation" / "profile.md"
BEGIN, END = "<!-- measured: begin -->", "<!-- measured: end -->"
TURNS = 400
TASKS, CALLERS = 8_000, 256

DISK, STATEMENTS, VALUES = "the commit: log and disk", "SQL statements", "rows to values and back"
VERBS, WRITER = "verbs of the store", "the writer: batches, waking callers"
DECIDING, STEP = "deciding (`domain.turn`)", "the steps of the turn between verbs"
LEASH, PROMPT, WIRE = (
    "leash: files, policy, tools",
    "the prompt, from the journal",
    "the model's request and reply as JSON",
)
WORKER, CHECKPOINT, LOOP = (
    "the worker: limits, attempts",
    "moving the log into the file",
    "event loop, HTTP, hand-over between threads",
)
TAKING = "claim: choosing in memory"

_VERBS = (
    "add_task", "claim", "finish", "check_claim", "record_steps", "append_message", "advance_cursor", "reserve",
    "settle", "charge", "open_session", "put_blob", "inbox", "steps", "session_tasks",
)  # fmt: skip
_ROWS = ("kept_of", "step_of", "message_of", "session_of", "to_text", "list_of")


def wrapped() -> Spans:
    """Spans over every room that a turn passes."""
    spans = Spans()
    spans.wrap(DISK, Writer, "_commit")
    spans.wrap(CHECKPOINT, Checkpoints, "_checkpoint")
    spans.wrap(WRITER, Writer, "_begin", "_perform", "_perform_one", "_tell")
    spans.wrap(WRITER, Orders, "_hand_over")
    spans.wrap(STATEMENTS, SqliteDatabase, "_execute", "_perform", "all", "one", "do", "many")
    for name in _VERBS:
        owner = next(each for each in Transaction.__mro__ if name in each.__dict__)
        spans.wrap(VERBS, owner, name)
    spans.wrap(VERBS, Work, "flush")
    spans.wrap(TAKING, Work, "_queues", "_queue_page")
    spans.wrap(VALUES, rows, *(name for name in _ROWS if hasattr(rows, name)))
    spans.wrap(DECIDING, pure_turn, "next_of")
    spans.wrap(STEP, turn_handler, "advance")
    spans.wrap(STEP, turn_step._TurnStep, "go")
    spans.wrap(LEASH, LeashMaker, "leash")
    spans.wrap(PROMPT, turn_handler, "chat_parts")
    spans.wrap(WIRE, dialect.OpenAiChat, "encode", "read")
    spans.wrap(WORKER, Worker, "_claim", "_begin", "_request", "ended", "_heard")
    return spans


@dataclass(frozen=True, kw_only=True)
class Profile:
    """Microseconds of one operation: on the wall in all, and by room (calls, wall, processor)."""

    operation: str
    median_us: float
    wrapped_us: float
    rooms: dict[str, tuple[float, float, float]]
    commits: float


async def _profile(
    operation: str, run: Callable[[int], Awaitable[Sequence[float]]], *, count: int, spans_of: Callable[[], Spans]
) -> Profile:
    plain = statistics.median(await run(count)) * 1e6
    spans = spans_of()
    try:
        await run(count // 8)
        spans.reset()
        cpu = time.process_time_ns()
        times = await run(count)
        cpu = time.process_time_ns() - cpu
    finally:
        spans.unwrap()
    rooms = {
        name: (each.calls / count, each.wall_ns / count / 1e3, each.cpu_ns / count / 1e3)
        for name, each in spans.costs.items()
        if each.calls
    }
    rest = cpu / count / 1e3 - sum(spent for _, _, spent in rooms.values())
    rooms[LOOP] = (0.0, rest, rest)
    commits = spans.costs[DISK].calls / count
    return Profile(
        operation=operation, median_us=plain, wrapped_us=statistics.median(times) * 1e6, rooms=rooms, commits=commits
    )


async def turn_alone() -> Profile:
    """One turn with one tool call at a time; the model answers at once from a process of its own."""
    with real_directory() as directory, turn.model_process(directory) as url:
        async with turn.running(directory, url) as turns:

            async def run(count: int) -> list[float]:
                return [await turns.turn() for _ in range(count)]

            return await _profile("a turn with one tool call, alone", run, count=TURNS, spans_of=wrapped)


async def task_in_crowd() -> Profile:
    """Whole tasks: add, claim, finish; each of many callers waits for its own."""
    with real_directory() as directory:
        async with in_file(directory / "state") as node:

            async def run(count: int) -> list[float]:
                left = iter(range(count))

                async def caller() -> None:
                    for _ in left:
                        await node.whole_task()

                began = time.perf_counter()
                await asyncio.gather(*(caller() for _ in range(CALLERS)))
                return [(time.perf_counter() - began) / count]

            return await _profile(f"a whole task, {CALLERS} callers", run, count=TASKS, spans_of=wrapped)


def table(profile: Profile) -> str:
    """A profile as a table in Markdown, largest processor time first."""
    lines = [
        f"**{profile.operation[0].upper()}{profile.operation[1:]}**: {profile.median_us:,.0f} µs on the wall "
        f"({profile.wrapped_us:,.0f} µs while every room is wrapped), {profile.commits:.2f} commits.",
        "",
        "| Where | calls | processor, µs | share | waiting, µs |",
        "|---|---:|---:|---:|---:|",
    ]
    whole = sum(cpu for _, _, cpu in profile.rooms.values())
    for name, (calls, wall, cpu) in sorted(profile.rooms.items(), key=lambda each: -each[1][2]):
        times = f"{calls:.1f}" if calls else ""
        waits = f"{max(0.0, wall - cpu):,.0f}" if calls else ""
        lines.append(f"| {name} | {times} | {cpu:,.0f} | {cpu / whole:.0%} | {waits} |")
    lines.append(f"| all threads | | {whole:,.0f} | 100% | |")
    return "\n".join(lines)


def write(text: str, page: Path = PAGE) -> None:
    """Puts the tables between the page's marks."""
    before, _, rest = page.read_text().partition(BEGIN)
    page.write_text(f"{before}{BEGIN}\n\n{text}\n\n{END}{rest.partition(END)[2]}")


def main() -> int:
    """The exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.profile", description=__doc__)
    parser.add_argument("--write-docs", action="store_true", help=f"put the tables into {PAGE.name}")
    asked = parser.parse_args()
    text = "\n\n".join(table(asyncio.run(each())) for each in (turn_alone, task_in_crowd))
    print(text)
    if asked.write_docs:
        write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
