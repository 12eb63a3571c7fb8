"""How long things are kept: as the fleet's file says, shown before anything goes, and gone when it is time."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ostinato.domain.event import EventName, NewEvent
from ostinato.engine.pruner import BATCH, FIRST_S, Pruner
from ostinato.engine.service import Ground as EngineGround
from ostinato.gateway import fleet_api, status_api
from ostinato.store.port import EventFilter
from ostinato.store.sqlite import open_store
from ostinato.testing.clock import ManualClock
from ostinato.workspace.fleet_file import read_fleet
from ostinato.workspace.tasks_file import REFUSED_SETTING
from tests.conftest import run
from tests.gateway.ground import ground


def test_what_is_older_than_the_file_says_goes_in_batches_and_what_is_younger_stays(tmp_path: Path) -> None:
    (tmp_path / "ostinato.toml").write_text('[retention]\nevents = "2h"\n')
    keep = read_fleet(tmp_path).retention

    async def story() -> None:
        store, clock = open_store(None), ManualClock()

        async def tell(count: int) -> None:
            new = NewEvent(name=EventName.FILE_TAKEN)
            await store.run(lambda tx: [tx.announce(new, now=clock.now()) for _ in range(count)])

        async def left() -> int:
            return len(await store.read(lambda reads: reads.events(EventFilter(), limit=10_000)))

        await tell(BATCH + 300)
        clock.advance(3_600.0)
        await tell(7)
        clock.advance(3_700.0)
        pruner = Pruner(EngineGround(store=store, clock=clock, notify=lambda notice: None), keep, lambda: False)
        pruner.start()
        await clock.wait_sleepers(1)
        assert await left() == BATCH + 307  # a node that has just started has better things to do
        clock.advance(FIRST_S)
        for _ in range(200):
            if await left() <= 100:  # rows around a mark of time go with the mark after them
                break
            await clock.wait_sleepers(1)
            clock.advance(1.0)
            await asyncio.sleep(0)
        assert 7 <= await left() <= 100
        await pruner.stop()
        await store.close()

    run(story())


@pytest.mark.parametrize(
    ("table", "words"),
    [
        ('tasks = "1d"\nevents = "90d"', ["within a week"]),
        ('events = "30d"', ["have gaps"]),
        ('charges = "7d"', ["The ledger goes within a month"]),
        ('tasks = "forever"\nevents = "forever"', ["only grows"]),
        ('blobs = "5000d"', ["'blobs' is over ten years"]),
        ('tasks = "90d"\nevents = "90d"', []),
    ],
)
def test_values_that_are_hardly_meant_are_named_by_check(tmp_path: Path, table: str, words: list[str]) -> None:
    async def story() -> None:
        (tmp_path / "agents").mkdir(parents=True)
        async with ground(tmp_path / "fleet", past=False) as made:
            file = tmp_path / "fleet" / "ostinato.toml"
            file.write_text(f"{file.read_text()}\n[retention]\n{table}\n")
            found = (await made.call(fleet_api.check, {}))["problems"]
            about = [each for each in found if "changed since" not in each["message"]]
            assert len(about) == len(words)
            for each, word in zip(about, words, strict=True):
                assert (each["level"], word in each["message"]) == ("warning", True), each
                assert each["place"].startswith("ostinato.toml:")
                assert each["cure"]

    run(story())


def test_the_status_says_what_keeps_the_list_of_tasks_from_being_kept(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            for refused in ("This file is somebody's own", ""):
                await made.store.run(lambda tx, said=refused: tx.set_setting(REFUSED_SETTING, said))
                needs = (await made.call(status_api.status, {}))["needs_you"]
                assert [each["text"] for each in needs if "TASKS.md" in each["text"]] == (
                    [f"TASKS.md is not kept: {refused}"] if refused else []
                )

    run(story())


def test_the_status_says_how_much_there_is_how_long_it_stays_and_when_the_oldest_goes(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path) as made:
            data = (await made.call(status_api.status, {}))["data"]
            assert data["kept"] == {
                "tasks": "90d",
                "events": "90d",
                "blobs": "90d",
                "skips": "90d",
                "charges": "400d",
            }
            assert data["rows"]["events"] > 0
            assert data["oldest_event_at"] < data["next_goes_at"]

    run(story())
