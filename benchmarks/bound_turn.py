"""The bound for a turn alone: its own statements and requests, performed by nothing but SQLite and aiohttp.

One turn of the runtime is recorded: every statement with its values, commit by commit. The bare turn performs the same
in a thread that writes, with a commit where the runtime has one, and asks the model in between: no verbs, no journal,
no policy, no prompt. What the runtime takes more is what it decides.
"""

from __future__ import annotations

import asyncio
import queue
import sqlite3
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp

from benchmarks import bound_http
from ostinato.store.sql import Query, Values
from ostinato.store.sqlite import open_store
from ostinato.store.sqlite.database import SqliteDatabase
from ostinato.store.sqlite.writer import Writer

Row = tuple[Any, ...]
PAGES_LARGE = 2_000
"""Pages of the log, as many as the store lets it have before it moves them."""
ASKED_AFTER = (0, 2)
"""The commits behind which a model is asked: the first brings its intent, and the third the next one's."""
COMMITS = 4


@dataclass(frozen=True, kw_only=True)
class Statement:
    """One statement with all the rows that it was performed for."""

    text: str
    rows: tuple[Row, ...]
    many: bool = False


@dataclass(kw_only=True)
class Recorded:
    """What one turn has done: statements by commit."""

    commits: list[list[Statement]] = field(default_factory=lambda: [[]])

    @property
    def is_a_turn(self) -> bool:
        """True where nothing else came between."""
        return len(self.commits) == COMMITS + 1 and not self.commits[COMMITS]

    @property
    def task(self) -> int:
        """Its task: the first value of what is written first."""
        number = self.commits[0][0].rows[0][0]
        assert isinstance(number, int), self.commits[0][0]
        return number

    def of(self, task: int, *, commit: int, events: Iterator[int]) -> list[Statement]:
        """The same for another task; events get numbers of their own."""
        return [self._of(each, task, events) for each in self.commits[commit]]

    def _of(self, each: Statement, task: int, events: Iterator[int]) -> Statement:
        mine = self.task
        session, other = f"task:{mine}", f"task:{task}"

        def value(old: Any) -> Any:
            if isinstance(old, str):
                return old.replace(session, other)
            return task if old == mine else old

        rows = tuple(tuple(map(value, row)) for row in each.rows)
        if each.text.startswith("INSERT INTO events"):
            rows = tuple((next(events), *row[1:]) for row in rows)
        return Statement(text=each.text, rows=rows, many=each.many)


@contextmanager
def recording(into: Recorded) -> Iterator[None]:
    """Writes down the statements of every store of this process."""
    execute, perform, commit = SqliteDatabase._execute, SqliteDatabase._perform, Writer._commit

    def recorded_execute(self: SqliteDatabase, query: Query, values: Values) -> sqlite3.Cursor:
        cursor = execute(self, query, values)  # behind what has waited for it
        into.commits[-1].append(Statement(text=query.text, rows=(query.pick(values),)))
        return cursor

    def recorded_perform(self: SqliteDatabase, query: Query, rows: list[Row]) -> int:
        into.commits[-1].append(Statement(text=query.text, rows=tuple(rows), many=True))
        return perform(self, query, rows)

    def recorded_commit(self: Writer, *, changed: int) -> None:
        commit(self, changed=changed)
        if changed:
            into.commits.append([])

    with (
        patch.object(SqliteDatabase, "_execute", recorded_execute),
        patch.object(SqliteDatabase, "_perform", recorded_perform),
        patch.object(Writer, "_commit", recorded_commit),
    ):
        yield


class BareTurns:
    """Performs a recorded turn as often as it is told to."""

    def __init__(self, file: Path, recorded: Recorded, ask: Callable[[int], Any]) -> None:
        assert recorded.is_a_turn, recorded.commits
        self._file = file
        self._recorded = recorded
        self._ask = ask
        self._task = recorded.task
        self._loop = asyncio.get_running_loop()
        self._orders: queue.SimpleQueue[tuple[Sequence[Statement], asyncio.Future[None]] | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._write, daemon=True)
        self._thread.start()

    async def turn(self) -> float:
        """One turn; its seconds."""
        self._task += 1
        events = iter(range(self._task * 16, self._task * 16 + 16))
        commits = [self._recorded.of(self._task, commit=number, events=events) for number in range(COMMITS)]
        began = time.perf_counter()
        for number, statements in enumerate(commits):
            future: asyncio.Future[None] = self._loop.create_future()
            self._orders.put((statements, future))
            await future
            if number in ASKED_AFTER:
                await self._ask(number)
        return time.perf_counter() - began

    def close(self) -> None:
        """Ends the thread."""
        self._orders.put(None)
        self._thread.join()

    def _write(self) -> None:
        database = sqlite3.connect(self._file, isolation_level=None)
        database.execute("PRAGMA synchronous = FULL")
        database.execute(f"PRAGMA wal_autocheckpoint = {PAGES_LARGE}")
        while (order := self._orders.get()) is not None:
            statements, future = order
            try:
                database.execute("BEGIN IMMEDIATE")
                for each in statements:
                    if each.many:
                        database.executemany(each.text, each.rows)
                    else:
                        database.execute(each.text, each.rows[0]).fetchall()
                database.execute("COMMIT")
            except sqlite3.Error as error:  # say so, rather than let anybody wait for ever
                self._loop.call_soon_threadsafe(future.set_exception, error)
                break
            self._loop.call_soon_threadsafe(future.set_result, None)
        database.close()


@asynccontextmanager
async def bare_turns(directory: Path, url: str, recorded: Recorded) -> AsyncIterator[BareTurns]:
    """Bare turns over a database of their own, with the model at `url`."""
    store = open_store(directory)
    await store.close()
    async with aiohttp.ClientSession() as session:
        history = list(bound_http.MESSAGES)

        async def ask(commit: int) -> None:
            messages = history if commit == ASKED_AFTER[0] else [*history, first, answer]
            await bound_http.ask(session, url, messages)

        first = await bound_http.ask(session, url, history)
        answer: dict[str, object] = {"role": "tool", "tool_call_id": "c1", "content": "ok"}
        bare = BareTurns(directory / "ostinato.db", recorded, ask)
        try:
            yield bare
        finally:
            bare.close()
