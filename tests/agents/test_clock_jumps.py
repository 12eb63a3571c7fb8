"""Real schedules in a real store through clocks that are set an hour and ten years ahead and back, in ten zones."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ostinato.agents.fires import Fires
from ostinato.agents.inbox import InboxTaker
from ostinato.agents.intake import Intake
from ostinato.agents.regulator import LOOK_S, Regulator
from ostinato.domain.event import EventName
from ostinato.domain.schedule import next_fire, parse_rule, rule_to_texts
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import EventFilter, ScheduleRow, Store
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from ostinato.workspace.registry import Workspaces
from tests.conftest import run
from tests.domain.test_schedule_clocks import HOUR, PLACES, YEARS
from tests.domain.zones import transitions

FIRED = EventFilter(names=frozenset({EventName.SCHEDULE_FIRED}))
RULES = (
    {"every": "15m"},
    {"every": "7s", "misfire": "once"},
    {"cron": "30 2 * * *"},
    {"cron": "*/20 * * * *", "misfire": "skip", "jitter": "5m"},
    {"cron": "0 0 * * MON", "jitter": "1h"},
)
steps = st.lists(
    st.one_of(
        st.integers(1, 3_000).map(float),
        st.integers(3_000, 40 * 86_400).map(float),
        st.sampled_from(["+1h", "-1h", "+10y", "-10y"]),
    ),
    min_size=1,
    max_size=12,
)
JUMPS = {"+1h": HOUR, "-1h": -HOUR, "+10y": YEARS, "-10y": -YEARS}


class House:
    """A node's part in time: whoever fires and whoever watches the clock, without an engine."""

    def __init__(self, store: Store, fleet: Path, at: Instant) -> None:
        self.store = store
        self.clock = ManualClock(at)
        workspaces = Workspaces(fleet)
        inbox = InboxTaker(
            fleet=fleet, store=store, workspaces=workspaces, intake=Intake(colleagues=tuple), clock=self.clock
        )
        self.fires = Fires(store=store, workspaces=workspaces, inbox=inbox, clock=self.clock)
        self.regulator = Regulator(store=store, clock=self.clock)

    async def add(self, place: str) -> None:
        """A schedule for each rule."""
        now = self.clock.now()

        def write(number: int, said: dict[str, str]) -> ScheduleRow:
            rule = parse_rule({**said, "timezone": place}, of=f"s{number}")
            texts = rule_to_texts(rule)
            return ScheduleRow(
                name=rule.of,
                agent="a",
                rule=texts,
                text="go",
                session=f"x:{number}",
                next_at=next_fire(rule, after=now),
            )

        rows = [write(number, said) for number, said in enumerate(RULES)]
        await self.store.run(lambda tx: [tx.put_schedule(row, now=now) for row in rows])

    async def look(self) -> None:
        """What happens within a moment of some change: both look, and nothing is due any more."""
        self.clock.advance(LOOK_S)
        await self.regulator.poll()
        now = self.clock.now()
        for row in await self.store.run(lambda tx: tx.due_schedules(now=now)):
            await self.fires.fire(row)
        assert await self.store.run(lambda tx: tx.due_schedules(now=now)) == [], "or it would be looked at for ever"

    async def live(self, steps: Sequence[float | str]) -> None:
        """Time goes on, and somebody sets the clock."""
        for step in steps:
            if isinstance(step, str):
                self.clock.set(self.clock.now() + JUMPS[step])
            else:
                self.clock.advance(step)
            await self.look()

    async def fired(self) -> list[tuple[str, Instant, Instant]]:
        """Schedule, nominal time and the clock's time of each fire."""
        events = await self.store.read(lambda reads: reads.events(FIRED, limit=10_000))
        return [(each.data["schedule"], each.data["nominal_at"], each.at) for each in events]


@pytest.mark.slow
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(st.sampled_from(PLACES), st.integers(0, 100), st.integers(-86_400, 86_400), steps)
def test_no_time_fires_twice_and_those_to_come_do_whatever_was_done_to_the_clock(
    tmp_path: Path, place: str, change: int, offset: int, steps: list[float | str]
) -> None:
    changes = transitions(place) or (1_774_746_000 * SECOND,)
    start = changes[change % len(changes)] + offset * SECOND
    (tmp_path / "agents/a").mkdir(parents=True, exist_ok=True)

    async def story() -> None:
        store = open_store(None)
        try:
            house = House(store, tmp_path, start)
            await house.add(place)
            await house.regulator.poll()
            await house.live(steps)
            fired = await house.fired()
            assert len({(name, nominal_at) for name, nominal_at, _ in fired}) == len(fired)
            assert all(nominal_at <= at for _, nominal_at, at in fired), "none is early"
            rows, end = await store.read(lambda reads: reads.schedules()), house.clock.now()
            before = {(name, nominal_at) for name, nominal_at, _ in fired}
            for row in rows:
                rule = parse_rule(row.rule, of=row.name)
                assert row.next_at == next_fire(rule, after=end), "none is passed by"
                house.clock.set(row.next_at or 0)
                await house.fires.fire(row)
                now = {(name, nominal_at) for name, nominal_at, _ in await house.fired()}
                assert (row.name, row.next_at) in now, "it fires, unless it did while the clock was ahead"
                assert len(now - before) <= 1
                before = now
        finally:
            await store.close()

    run(story())
