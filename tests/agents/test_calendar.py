"""How heartbeats and schedules keep step: with files that others look at too, and with clocks that are set."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

from ostinato.agents.calendar import Calendar
from ostinato.agents.regulator import AGAIN_S, Regulator
from ostinato.domain.event import EventName
from ostinato.domain.message import main_session
from ostinato.domain.schedule import next_fire, parse_rule, rule_to_texts
from ostinato.domain.values import SECOND, Instant
from ostinato.engine.service import Ground, Service
from ostinato.store.port import EventFilter, ScheduleRow, Store, Tx
from ostinato.testing.clock import ManualClock
from tests.agents.fleet import Fleet, running, write_fleet
from tests.conftest import run

T = TypeVar("T")
HOUR = 3_600 * SECOND
YEARS = 3_653 * 24 * HOUR
FIRED = EventFilter(names=frozenset({EventName.HEARTBEAT_FIRED}))
HEARTBEAT = "agents/helper/HEARTBEAT.md"
FILES = {
    "agents/helper/SOUL.md": "You help.",
    HEARTBEAT: "---\nevery: 15m\noverlap: queue\n---\nLook after the shop.\n",
    "model.yaml": 'default: {text: "seen"}',
}


async def rows_in(fleet: Fleet) -> dict[str, ScheduleRow]:
    return {row.name: row for row in await fleet.store.read(lambda reads: reads.schedules())}


def calendar_of(fleet: Fleet) -> Calendar:
    return Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock)


async def swept(calendar: Calendar) -> None:
    """A whole sweep of a small fleet."""
    await calendar.poll()


def settle(fleet: Fleet, name: str) -> None:
    """The file looks as if nobody had touched it for long: what is read of it is kept."""
    path = fleet.folder / name
    at = path.stat().st_mtime_ns - 60 * 10**9
    os.utime(path, ns=(at, at))


def test_a_change_that_somebody_else_has_seen_first_reaches_the_schedule_all_the_same(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            calendar = calendar_of(fleet)
            await swept(calendar)
            write_fleet(tmp_path, {HEARTBEAT: "---\nevery: 1h\n---\n"})
            settle(fleet, HEARTBEAT)
            fleet.workspaces.current("helper")  # as a turn or a command does
            await swept(calendar)
            (row,) = (await rows_in(fleet)).values()
            assert row.rule["every"] == "1h"

    run(story())


def test_a_heartbeat_is_there_as_soon_as_anybody_looks_at_its_file(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            calendar, clock = calendar_of(fleet), ManualClock()
            service = Service("calendar", calendar.poll, Ground(store=fleet.store, clock=clock, notify=print))
            deafen = calendar.listen(service.wake)
            service.start()
            try:
                await clock.wait_sleepers(1)
                write_fleet(tmp_path, {"agents/second/HEARTBEAT.md": "---\nevery: 5m\n---\n"})
                settle(fleet, "agents/second/HEARTBEAT.md")
                await asyncio.to_thread(fleet.workspaces.briefs)  # as `ostinato agents list` does

                async def there() -> bool:
                    return len(await rows_in(fleet)) == 2

                await fleet.wait(there)
            finally:
                deafen()
                await service.stop()

    run(story())


def test_memory_that_changes_with_each_turn_makes_no_work_for_the_calendar(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            calendar, rung = calendar_of(fleet), []
            await swept(calendar)
            deafen = calendar.listen(lambda: rung.append(1))
            write_fleet(tmp_path, {"agents/helper/MEMORY.md": "It rains."})
            fleet.workspaces.current("helper")
            await asyncio.sleep(0)
            assert rung == []
            deafen()

    run(story())


class Meanwhile:
    """A store in which something happens before the next transaction."""

    def __init__(self, store: Store, happens: Callable[[], Awaitable[object]]) -> None:
        self._store = store
        self._happens: Callable[[], Awaitable[object]] | None = happens
        self.read = store.read

    async def run(self, fn: Callable[[Tx], T]) -> T:
        if self._happens is not None:
            happens, self._happens = self._happens, None
            await happens()
        return await self._store.run(fn)


def test_a_fire_between_the_look_at_a_file_and_its_writing_is_not_undone(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            await swept(calendar_of(fleet))
            (row,) = (await rows_in(fleet)).values()
            assert row.next_at is not None
            fleet.clock.ahead += row.next_at - fleet.clock.now() + SECOND
            write_fleet(tmp_path, {HEARTBEAT: FILES[HEARTBEAT].replace("shop", "house")})
            store = Meanwhile(fleet.store, lambda: fleet.fires.fire(row))
            await Calendar(store=store, workspaces=fleet.workspaces, clock=fleet.clock).poll()  # type: ignore[arg-type]  # all that a calendar uses of one
            (after,) = (await rows_in(fleet)).values()
            assert after.text == "Look after the house."
            assert after.last_at == after.fired_at == row.next_at
            assert after.next_at == row.next_at + 900 * SECOND

    run(story())


async def fires_until(fleet: Fleet, end: Instant) -> None:
    """Fires whatever comes due up to `end`, each a second late."""
    while due := [row for row in (await rows_in(fleet)).values() if row.next_at is not None and row.next_at <= end]:
        row = min(due, key=lambda each: each.next_at or 0)
        assert row.next_at is not None
        fleet.clock.ahead += max(0, row.next_at - fleet.clock.now()) + SECOND
        await fleet.fires.fire(row)


def test_a_clock_that_was_ten_years_ahead_does_not_silence_what_it_fired(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            regulator = Regulator(store=fleet.store, clock=fleet.clock)
            await swept(calendar_of(fleet))
            await regulator.poll()
            fleet.clock.ahead += YEARS
            await regulator.poll()
            for row in (await rows_in(fleet)).values():
                await fleet.fires.fire(row)
            fleet.clock.ahead -= YEARS
            (silent,) = (await rows_in(fleet)).values()
            assert silent.next_at is not None
            assert silent.next_at > fleet.clock.now() + YEARS // 2, "here it stays silent for ten years"
            await regulator.poll()
            (row,) = (await rows_in(fleet)).values()
            assert row.next_at == next_fire(parse_rule(row.rule, of=row.name), after=fleet.clock.now())
            which = EventFilter(names=frozenset({EventName.SCHEDULE_CORRECTED}))
            (event,) = await fleet.store.read(lambda reads: reads.events(which))
            assert event.data == {"schedules": 1, "names": [row.name]}
            await regulator.poll()
            assert len(await fleet.store.read(lambda reads: reads.events(which))) == 1, "said once"

    run(story())


def test_an_hour_ahead_and_back_fires_no_time_twice_and_loses_none(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            regulator = Regulator(store=fleet.store, clock=fleet.clock)
            await swept(calendar_of(fleet))
            (row,) = (await rows_in(fleet)).values()
            rule, begin = parse_rule(row.rule, of=row.name), fleet.clock.now()
            await regulator.poll()
            ahead = fleet.clock.ahead
            fleet.clock.ahead += HOUR
            await regulator.poll()
            await fleet.fires.fire(row)
            fleet.clock.ahead = ahead
            await regulator.poll()
            end = begin + 2 * HOUR
            await fires_until(fleet, end)
            messages = await fleet.store.read(lambda reads: reads.messages(main_session("helper")))
            wanted, at = [], next_fire(rule, after=begin)
            while at is not None and at <= end:
                wanted.append(f"{row.name}@{at}")
                at = next_fire(rule, after=at)
            assert sorted(each.client_id or "" for each in messages) == sorted(wanted)
            assert len(await fleet.store.read(lambda reads: reads.events(FIRED))) == len(wanted)

    run(story())


def test_another_nodes_wrong_clock_is_put_right_in_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, FILES, start=False) as fleet:
            clock = ManualClock(fleet.clock.now())
            regulator = Regulator(store=fleet.store, clock=clock)
            await regulator.poll()
            rule = parse_rule({"every": "1h"}, of="hourly")
            row = ScheduleRow(
                name="hourly", agent="helper", rule=rule_to_texts(rule), text="go", next_at=clock.now() + YEARS
            )
            await fleet.store.run(lambda tx: tx.put_schedule(row, now=clock.now()))
            clock.advance(60.0)
            await regulator.poll()
            assert (await rows_in(fleet))["hourly"].next_at == row.next_at, "not at each look"
            clock.advance(AGAIN_S)
            await regulator.poll()
            assert (await rows_in(fleet))["hourly"].next_at == next_fire(rule, after=clock.now())

    run(story())
