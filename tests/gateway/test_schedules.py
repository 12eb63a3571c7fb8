"""Schedules as people add them: when, how, and what becomes of the result; refused with place and cure."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pytest

from ostinato.domain.errors import OstinatoError
from ostinato.domain.instant import parse_instant
from ostinato.domain.schedule import RULE_KEYS, next_fire, parse_rule
from ostinato.domain.values import SECOND
from ostinato.gateway.schedules_api import AddSchedule, RunSchedule, WhichSchedule, WhichSchedules, add, remove, run
from ostinato.gateway.schedules_api import list_schedules as listed
from ostinato.gateway.views import ScheduleView
from tests.conftest import run as run_async
from tests.gateway.ground import ground

HOUR = 3_600 * SECOND


def added(folder: Path, **more: Any) -> ScheduleView:
    """The schedule, as it is listed after it was added."""

    async def story() -> ScheduleView:
        async with ground(folder, past=False) as place:
            request = AddSchedule(**{"name": "mine", "agent": "clerk", "text": "Look.", **more})
            view = await add.handler(place.context, request)
            (again,) = (await listed.handler(place.context, WhichSchedules())).schedules
            assert again == view
            return view

    return run_async(story())


def test_an_interval_counts_from_when_it_was_said_and_keeps_doing_so(tmp_path: Path) -> None:
    view = added(tmp_path, every="1h")
    rule = parse_rule(view.rule, of=view.name)
    first = parse_instant(view.next_at or "")
    assert rule.anchor_at == first - HOUR
    assert next_fire(rule, after=first) == first + HOUR


def test_an_interval_with_an_anchor_counts_from_there(tmp_path: Path) -> None:
    view = added(tmp_path, every="14d", anchor="2026-01-05T07:00", timezone="Europe/Zurich")
    assert (parse_instant(view.next_at or "") - parse_instant("2026-01-05T06:00Z")) % (14 * 24 * HOUR) == 0


def test_what_a_schedule_says_of_its_turn_is_shown(tmp_path: Path) -> None:
    view = added(
        tmp_path, cron="0 7 * * MON-FRI", jitter="5m", overlap="skip", effort="high", attempts=5, deliver="agent:boss"
    )
    assert (view.effort, view.attempts, view.deliver) == ("high", 5, "session:main:boss")
    assert (view.rule["jitter"], view.rule["overlap"]) == ("5m", "skip")


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"every": "1h", "effort": "hihg"}, "Did you mean 'high'"),
        ({"every": "1h", "deliver": "the moon"}, "no place for a result"),
        ({"every": "1h", "overlap": "both"}, "overlap policy"),
        ({"every": "1h", "jitter": "2h"}, "'1s' to '1h'"),
        ({"cron": "0 7 * * *", "anchor": "2026-01-05T07:00"}, "Only 'every' counts from an anchor"),
        ({"at": "2020-01-01T00:00:00Z"}, "has passed"),
        ({"every": "1h", "cron": "0 7 * * *"}, "'every' and 'cron'"),
        ({}, "none of them"),
    ],
)
def test_a_wrong_schedule_is_refused_with_its_cure(tmp_path: Path, wrong: dict[str, Any], said: str) -> None:
    with pytest.raises(OstinatoError) as caught:
        added(tmp_path, **wrong)
    assert said in str(caught.value)


def test_running_one_by_hand_says_why_it_does_not_wake_anybody(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as place:
            await add.handler(place.context, AddSchedule(name="mine", agent="clerk", text="Look.", every="1h"))
            ran = await run.handler(place.context, RunSchedule(name="mine"))
            assert (ran.woken, ran.reason) == (True, "")
            checked = await run.handler(place.context, RunSchedule(name="mine", check=True))
            assert (checked.woken, checked.reason) == (False, "there is nothing to do")
            await remove.handler(place.context, WhichSchedule(name="mine"))
            again = await add.handler(place.context, AddSchedule(name="mine", agent="clerk", text="Look.", every="1h"))
            assert again.fired_at is None
            with pytest.raises(msgspec.ValidationError):
                msgspec.convert({"name": "x", "agent": "a", "text": "t", "attempts": 0}, AddSchedule)

    run_async(story())


def test_no_key_of_a_rule_is_missing_among_the_flags() -> None:
    assert set(RULE_KEYS) <= {each.name for each in msgspec.structs.fields(AddSchedule)}
