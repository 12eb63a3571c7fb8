"""Keeps the store's heartbeats in step with the agents' files: the slow sweep that notices new, changed and gone ones.

It looks at some agents at a time, spread over its whole period: ten thousand folders at once would be a stutter.

Firing looks at the files again, so that a change of a check or a text counts at the next wake, sweep or not. Knows
nothing of what a fire does.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial
from typing import NamedTuple

from msgspec import structs

from ostinato.agents.unfit import is_for_files, release
from ostinato.agents.vacancies import Vacancies, is_vacant
from ostinato.domain.errors import Exhausted, NotFound, OstinatoError
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.schedule import next_fire
from ostinato.domain.values import Instant, Value
from ostinato.engine.port import Clock
from ostinato.store.port import ScheduleRow, Store, Tx
from ostinato.tools.router import SCALE, scaled
from ostinato.workspace.registry import BROKEN, Brief, Workspaces

SWEEP_S = 30.0
"""Seconds between the begins of two sweeps over all workspaces, unless the fleet is large: a new heartbeat is noticed
after this at the latest."""

VACANT_S = 3.0
"""The same while a task waits for somebody who can do it: a look at a hundred agents takes two milliseconds."""

AGENTS_PER_S = 60.0
"""Pace in a large fleet: a look at an agent takes 20 microseconds, so that the sweep costs an 800th of a core, and
10,000 agents take three minutes. Whoever asks for an agent meanwhile looks for itself."""

SLICE = 100
"""Agents of one poll: two milliseconds where nothing has changed."""

CHANGED_PAUSE_S = 0.1
"""Rest after a slice in which something has changed: whoever deploys changes many files, and there is other work."""


class _Seen(Value):
    """An agent as the sweep found it: its heartbeats, or what is wrong, or neither when it has gone."""

    agent: str
    brief: Brief | None
    problem: str = ""


class _Doubt(NamedTuple):
    """Work was held for an agent's files, which were in order in the version that was seen last."""

    agent: str
    version: str
    reason: str


class Calendar:
    """The service that sweeps, some agents at a time."""

    def __init__(
        self,
        *,
        store: Store,
        workspaces: Workspaces,
        clock: Clock,
        sweep_s: float = SWEEP_S,
        vacancies: Vacancies | None = None,
    ) -> None:
        """`vacancies`: what is told of agents that have changed, since they may do what nobody could."""
        self._vacancies = vacancies
        self._store = store
        self._workspaces = workspaces
        self._clock = clock
        self._sweep_s = sweep_s
        self._first = True
        self._written: dict[str, str] = {}  # agent -> the version that the store's rows come from
        self._all: list[str] = []
        self._left: list[str] = []
        self._noticed: set[str] = set()
        self._doubted: set[_Doubt] = set()
        self._settled: set[_Doubt] = set()
        self._scales: Mapping[str, str] = {}
        self._looks_in = 0  # the thread in which the sweep itself looks

    def listen(self, wake: Callable[[], None]) -> Callable[[], None]:
        """Takes up agents out of turn whose heartbeats somebody has just seen to be new, or whose files to be in order
        again: `wake` is called on this loop for each, and whoever it is calls `poll`. Call the result to listen no
        more."""
        loop = asyncio.get_running_loop()

        def notice(agent: str) -> None:
            if threading.get_ident() == self._looks_in:
                return
            self._noticed.add(agent)
            with suppress(RuntimeError):  # the loop has ended meanwhile
                loop.call_soon_threadsafe(wake)

        def deafen() -> None:
            self._workspaces.changed = None

        self._workspaces.changed = notice
        return deafen

    def hear(self, events: Sequence[Event]) -> bool:
        """What a commit announced; True where the sweep has something to do at once."""
        for each in events:
            if each.name is EventName.TASK_BLOCKED and each.agent and is_for_files(each.reason):
                doubt = _Doubt(each.agent, self._written.get(each.agent, BROKEN), each.reason)
                if not doubt.version.startswith(BROKEN) and doubt not in self._settled:
                    self._doubted.add(doubt)
        return is_vacant(events)

    async def poll(self) -> float:
        """One slice of the sweep; seconds until the next."""
        gone: list[str] = []
        if not self._left:
            self._all = await asyncio.to_thread(self._workspaces.ids)
            self._left = self._all[::-1]
            await self._notice_scales()
            self._notice_doubts()
            self._workspaces.drop_gone(self._all)
            gone = sorted(self._written.keys() - set(self._all))
        here = [self._left.pop() for _ in range(min(SLICE, len(self._left)))]
        here += [self._noticed.pop() for _ in range(min(SLICE, len(self._noticed)))]
        changed = await asyncio.to_thread(self._changed, here)
        await self._write([*gone, *changed])
        self._written.update(changed)
        vacant = await self._is_vacant(list(changed))
        for agent in gone:
            del self._written[agent]
        if self._first and not self._left:
            self._first = False
            await self._drop_gone()
        if changed and self._left:
            return CHANGED_PAUSE_S
        share = min(1.0, len(here) / len(self._all)) if self._all else 1.0  # whoever was noticed is looked at twice
        return max((VACANT_S if vacant else self._sweep_s) * share, len(here) / AGENTS_PER_S)

    def _notice_doubts(self) -> None:
        """Has agents written once more for whose files work was held, although these were in order when they were seen
        last: it was held for what they had been a moment before, and whoever saw them put right found nothing to
        release yet. Once for each version and reason: what is wrong may not stand in the agent's own files."""
        self._settled = {each for each in self._settled if self._written.get(each.agent) == each.version}
        doubted, self._doubted = self._doubted, set()
        self._settled |= doubted
        for each in doubted:
            self._written.pop(each.agent, None)

    async def _is_vacant(self, changed: Sequence[str]) -> bool:
        """Whether some task waits for somebody who can do it, now that these agents have got what they can do."""
        if self._vacancies is None:
            return False
        try:
            return await self._vacancies.remain(changed, now=self._clock.now())
        except Exhausted:  # the store is away, or full: they are seen as changed until it has been looked
            for agent in changed:
                self._written.pop(agent, None)
            raise

    async def _notice_scales(self) -> None:
        """Instances that somebody has set, perhaps at another node, are noticed as changes of files are."""
        scales = await self._store.read(lambda reads: reads.settings(SCALE))
        for agent in scales.keys() | self._scales.keys():
            if scales.get(agent) != self._scales.get(agent):
                self._written.pop(agent, None)
        self._scales = scales

    def _changed(self, agents: list[str]) -> dict[str, str]:
        """Those whose version is not the one that was written last, with it: after a start all. Others look at files
        too, so that only what was written here tells what is new."""
        self._looks_in = threading.get_ident()
        try:
            versions = self._workspaces.versions(agents)
        finally:
            self._looks_in = 0
        return {agent: version for agent, version in versions.items() if self._written.get(agent) != version}

    async def _write(self, agents: Sequence[str]) -> None:
        if not agents:
            return
        now = self._clock.now()
        seen = await asyncio.to_thread(lambda: [self._see(agent) for agent in agents])
        await self._store.run(partial(_write, batch=seen, now=now))
        await release(self._store, [each.agent for each in seen if each.brief is not None], now=now)

    def _see(self, agent: str) -> _Seen:
        try:
            return _Seen(agent=agent, brief=self._workspaces.brief(agent))
        except NotFound:
            return _Seen(agent=agent, brief=None)
        except OstinatoError as error:
            return _Seen(agent=agent, brief=None, problem=str(error))

    async def _drop_gone(self) -> None:
        """After a start: heartbeats of agents that went while no node ran."""
        there, now = set(self._all), self._clock.now()
        rows = await self._store.read(lambda reads: reads.schedules())
        gone = [row.name for row in rows if row.source == "file" and row.agent not in there]
        if gone:
            await self._store.run(lambda tx: _remove(tx, gone, now=now))


def _remove(tx: Tx, names: Sequence[str], *, now: Instant) -> None:
    for name in names:
        tx.remove_schedule(name, actor="runtime", now=now)


def _write(tx: Tx, *, batch: Sequence[_Seen], now: Instant) -> None:
    """Rows are read in the very transaction that writes them: a fire in between would be undone."""
    scales = tx.settings(SCALE)
    for seen in batch:
        if seen.problem:
            tx.announce(NewEvent(name=EventName.AGENT_INVALID, agent=seen.agent, reason=seen.problem), now=now)
            continue
        mine = {row.name: row for row in tx.schedules(agent=seen.agent) if row.source == "file"}
        wanted = {row.name: row for row in rows_of(seen.brief, mine, now=now)} if seen.brief else {}
        _remove(tx, sorted(mine.keys() - wanted.keys()), now=now)
        changed = [row for name, row in wanted.items() if mine.get(name) != row]
        for row in changed:
            tx.put_schedule(row, now=now)
        if (brief := seen.brief) is not None:
            tx.place_agent(seen.agent, brief.pool, now=now)
            at_once = scaled(scales.get(seen.agent), brief.concurrency)
            data = {"version": brief.version, "heartbeats": len(wanted), "concurrency": at_once}
            tx.announce(NewEvent(name=EventName.AGENT_LOADED, agent=seen.agent, data=data), now=now)


def rows_of(agent: Brief, stored: Mapping[str, ScheduleRow], *, now: Instant) -> list[ScheduleRow]:
    """The agent's heartbeats as rows; one whose rule is unchanged keeps what is known about when it is due."""
    rows = []
    for heartbeat in agent.heartbeats:
        row = heartbeat.schedule_row(agent.id)
        before = stored.get(row.name)
        if before is not None and before.rule == row.rule:
            been = {"last_at": before.last_at, "fired_at": before.fired_at, "skips_in_row": before.skips_in_row}
            rows.append(structs.replace(row, next_at=before.next_at, **been))
        else:
            rows.append(structs.replace(row, next_at=next_fire(heartbeat.rule, after=now)))
    return rows
