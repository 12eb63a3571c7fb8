"""Story time and its postman: a day in half a second, the same after a kill, every mail once."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from examples.support_inbox.postman import Postman, letters_in
from examples.support_inbox.story import STEP_S, Story, StoryClock, midnight_of_the_story, run_story
from ostinato.domain.values import SECOND
from ostinato.testing.clock import ManualClock

DAY = 1_773_097_200 * SECOND
"""A midnight."""


def story(**fields: float) -> Story:
    """A story at full speed."""
    base = {"midnight_at": DAY, "begins_at": DAY, "until_at": DAY + 86_400 * SECOND, "pace_s": 0.0, "patience_s": 0.01}
    return Story(mails="", **{**base, **fields})  # type: ignore[arg-type]  # whole numbers where instants are wanted


def test_hours_pass_in_a_moment_and_sleepers_wake_on_a_step(tmp_path: Path) -> None:
    clock = StoryClock(tmp_path / "time", begins_at=DAY)

    async def work() -> list[int]:
        woken = []
        for seconds in (1.0, STEP_S, 3_600.0):
            await clock.sleep(seconds)
            woken.append((clock.now() - DAY) // SECOND)
        return woken

    assert run_story(work(), clock, story(), busy=lambda: False) == [30, 60, 3_660]


def test_a_clock_that_was_killed_goes_on_where_it_was(tmp_path: Path) -> None:
    clock = StoryClock(tmp_path / "time", begins_at=DAY)
    for _ in range(5):
        clock.step()
    assert StoryClock(tmp_path / "time", begins_at=DAY).now() == clock.now() == DAY + 5 * 30 * SECOND


def test_time_stands_still_while_something_is_being_done(tmp_path: Path) -> None:
    clock = StoryClock(tmp_path / "time", begins_at=DAY)

    async def work() -> None:
        sleeper = asyncio.create_task(clock.sleep(STEP_S))
        for _ in range(20):
            await asyncio.to_thread(int)
            assert clock.now() == DAY
        busy.clear()
        await sleeper
        assert clock.now() == DAY + 30 * SECOND

    busy = [True]
    run_story(work(), clock, story(patience_s=30.0), busy=lambda: bool(busy))


def test_timers_and_callers_hold_a_story_up_but_do_not_stop_it(tmp_path: Path) -> None:
    clock = StoryClock(tmp_path / "time", begins_at=DAY)

    async def work() -> None:
        step = asyncio.create_task(clock.sleep(STEP_S))
        while not step.done():  # each wait is shorter than the pace
            await asyncio.wait((step,), timeout=0.005)

    run_story(work(), clock, story(pace_s=0.02), busy=lambda: False)
    assert clock.now() >= DAY + 30 * SECOND


def test_the_day_of_a_story_is_over(monkeypatch: pytest.MonkeyPatch) -> None:
    for hour, days_back in ((18, 1), (19, 0), (23, 0), (2, 1)):
        monkeypatch.setattr("time.time", lambda hour=hour: DAY / SECOND + hour * 3_600.0)
        assert midnight_of_the_story("Europe/Berlin", over_at_hour=19) == DAY - days_back * 86_400 * SECOND


def write_mails(folder: Path, *names: str) -> Path:
    """A folder of mails."""
    folder.mkdir()
    for name in names:
        (folder / name).write_text(name)
    return folder


def test_mails_come_at_the_time_in_their_names_others_at_noon_and_none_after_the_last_heartbeat(tmp_path: Path) -> None:
    mails = write_mails(tmp_path / "mails", "2300-c.eml", "0712-a.eml", "README.md", "2560-x.eml", "mine.eml")
    found = [(each.file, each.after_s // 60) for each in letters_in(mails)]
    assert found == [("0712-a.eml", 7 * 60 + 12), ("2560-x.eml", 725), ("mine.eml", 725), ("2300-c.eml", 17 * 60 + 50)]


def deliver(folder: Path, *, until_s: float) -> list[str]:
    """Runs a postman up to a time of the day, as one who is killed then."""
    clock = ManualClock(DAY)

    async def work() -> None:
        postman = Postman(folder / "mails", folder / "inbox", clock=clock, midnight_at=DAY, book=folder / "book")
        delivering = asyncio.create_task(postman.deliver())
        for _ in range(10):
            await asyncio.sleep(0)
            clock.advance(until_s / 10)
        await asyncio.sleep(0)
        delivering.cancel()

    asyncio.run(work())
    return sorted(path.name for path in (folder / "inbox").iterdir())


def test_each_mail_is_delivered_at_its_time_and_once_however_often_the_postman_is_killed(tmp_path: Path) -> None:
    write_mails(tmp_path / "mails", "0100-a.eml", "0200-b.eml", "0900-c.eml")
    (tmp_path / "inbox").mkdir()
    assert deliver(tmp_path, until_s=10_800.0) == ["0100-a.eml", "0200-b.eml"]
    (tmp_path / "inbox" / "0100-a.eml").unlink()  # taken
    assert deliver(tmp_path, until_s=10_800.0) == ["0200-b.eml"]
    assert deliver(tmp_path, until_s=36_000.0) == ["0200-b.eml", "0900-c.eml"]


def test_a_mail_that_lay_ready_when_the_postman_was_killed_is_delivered_by_the_next(tmp_path: Path) -> None:
    write_mails(tmp_path / "mails", "0100-a.eml")
    (tmp_path / "inbox").mkdir()
    (tmp_path / "ready-0100-a.eml").write_text("x")
    (tmp_path / "book").write_text("0100-a.eml\n")
    assert deliver(tmp_path, until_s=10.0) == ["0100-a.eml"]
    assert not (tmp_path / "ready-0100-a.eml").exists()
