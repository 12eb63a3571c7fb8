"""Keeps the store's heartbeats in step with the agents' files: the slow sweep that notices new, changed and gone ones.

Firing looks at the files again, so that a change of a check or a text counts at the next wake, sweep or not. Knows
nothing of what a fire does.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from functools import partial

from msgspec import structs

from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.schedule import next_fire
from ostinato.domain.values import Instant, Value
from ostinato.engine.port import Clock
from ostinato.store.port import ScheduleRow, Store, Tx
from ostinato.workspace.agent import AgentDefinition
from ostinato.workspace.registry import Workspaces

SWEEP_S = 30.0
"""Seconds between sweeps over all workspaces. A new heartbeat is noticed after this at the latest."""

BATCH = 200
"""Agents whose heartbeats are written in one transaction."""


class _Seen(Value):
    """An agent as the sweep found it: its heartbeats, or what is wrong, or neither when it has gone."""

    agent: str
    definition: AgentDefinition | None
    problem: str = ""


class Calendar:
    """The service that sweeps."""

    def __init__(self, *, store: Store, workspaces: Workspaces, clock: Clock, sweep_s: float = SWEEP_S) -> None:
        self._store = store
        self._workspaces = workspaces
        self._clock = clock
        self._sweep_s = sweep_s
        self._first = True

    async def poll(self) -> float:
        """One sweep; seconds until the next."""
        changed = await asyncio.to_thread(self._changed)
        now = self._clock.now()
        stored = await self._store.read(lambda reads: _by_agent(reads.schedules())) if changed else {}
        for start in range(0, len(changed), BATCH):
            batch = await asyncio.to_thread(self._look, changed[start : start + BATCH])
            await self._store.run(partial(_write, batch=batch, stored=stored, now=now))
        if self._first:
            await self._drop_gone(now=now)
        return self._sweep_s

    def _changed(self) -> list[str]:
        """Agents to look at: after a start all, for what is stored may be older than what is on disk."""
        changed = self._workspaces.refresh_all()
        return self._workspaces.ids() if self._first else changed

    def _look(self, agents: Sequence[str]) -> list[_Seen]:
        return [self._see(agent) for agent in agents]

    def _see(self, agent: str) -> _Seen:
        try:
            return _Seen(agent=agent, definition=self._workspaces.current(agent))
        except OstinatoError as error:
            return _Seen(agent=agent, definition=None, problem=str(error) if agent in self._workspaces.ids() else "")

    async def _drop_gone(self, *, now: Instant) -> None:
        """After a start: heartbeats of agents that went while no node ran."""
        self._first = False
        there = set(self._workspaces.ids())
        rows = await self._store.read(lambda reads: reads.schedules())
        gone = [row.name for row in rows if row.source == "file" and row.agent not in there]
        if gone:
            await self._store.run(lambda tx: _remove(tx, gone, now=now))


def _by_agent(rows: Sequence[ScheduleRow]) -> dict[str, dict[str, ScheduleRow]]:
    """Heartbeats that come from files: agent -> name -> row."""
    found: dict[str, dict[str, ScheduleRow]] = {}
    for row in rows:
        if row.source == "file":
            found.setdefault(row.agent, {})[row.name] = row
    return found


def _remove(tx: Tx, names: Sequence[str], *, now: Instant) -> None:
    for name in names:
        tx.remove_schedule(name, actor="runtime", now=now)


def _write(tx: Tx, *, batch: Sequence[_Seen], stored: Mapping[str, Mapping[str, ScheduleRow]], now: Instant) -> None:
    for seen in batch:
        if seen.problem:
            tx.announce(NewEvent(name=EventName.AGENT_INVALID, agent=seen.agent, reason=seen.problem), now=now)
            continue
        mine = stored.get(seen.agent, {})
        wanted = {row.name: row for row in rows_of(seen.definition, mine, now=now)} if seen.definition else {}
        _remove(tx, sorted(mine.keys() - wanted.keys()), now=now)
        changed = [row for name, row in wanted.items() if mine.get(name) != row]
        for row in changed:
            tx.put_schedule(row, now=now)
        if seen.definition is not None:
            data = {"version": seen.definition.version, "heartbeats": len(wanted)}
            tx.announce(NewEvent(name=EventName.AGENT_LOADED, agent=seen.agent, data=data), now=now)


def rows_of(agent: AgentDefinition, stored: Mapping[str, ScheduleRow], *, now: Instant) -> list[ScheduleRow]:
    """The agent's heartbeats as rows; one whose rule is unchanged keeps what is known about when it is due."""
    rows = []
    for heartbeat in agent.heartbeats:
        row = heartbeat.schedule_row(agent.id)
        before = stored.get(row.name)
        if before is not None and before.rule == row.rule:
            due = {"last_at": before.last_at, "next_at": before.next_at, "skips_in_row": before.skips_in_row}
            rows.append(structs.replace(row, **due))
        else:
            rows.append(structs.replace(row, next_at=next_fire(heartbeat.rule, after=now)))
    return rows
