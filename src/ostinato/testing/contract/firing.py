"""Heartbeats and schedules: once per nominal time, in whatever order and however often the clock is read."""

from __future__ import annotations

from typing import Any

from msgspec.structs import replace

from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName
from ostinato.domain.message import NewMessage
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.values import SECOND, Instant, Source
from ostinato.store.port import Retention, ScheduleRow, TaskFilter
from ostinato.testing.contract.scene import Scene, case, refuses


def _row(name: str = "heartbeat:a:watch", **more: Any) -> ScheduleRow:
    return ScheduleRow(**{"name": name, "agent": "a", "rule": {"every": "15m"}, **more})


async def _put(scene: Scene, row: ScheduleRow) -> None:
    await scene.do(lambda tx: tx.put_schedule(row, now=scene.now, actor="ann"))


async def _fire(scene: Scene, nominal_at: Instant, next_at: Instant | None, *, name: str = "heartbeat:a:watch") -> bool:
    return await scene.do(lambda tx: tx.fire(name, nominal_at=nominal_at, next_at=next_at, now=scene.now))


async def _skip(scene: Scene, nominal_at: Instant, reason: str = "quiet", *, in_row: bool = True) -> int:
    return await scene.do(
        lambda tx: tx.skip(
            "heartbeat:a:watch",
            heartbeat="watch",
            agent="a",
            reason=reason,
            nominal_at=nominal_at,
            next_at=nominal_at + SECOND,
            now=scene.now,
            in_row=in_row,
        )
    )


@case
async def a_schedule_is_kept_changed_and_removed(scene: Scene) -> None:
    said = {"model": "cheap", "effort": "high", "retry": RetryPolicy(attempts_max=7), "deliver": "operator"}
    row = _row("daily", text="report", session="isolated", next_at=scene.now, **said)
    await _put(scene, row)
    assert await scene.see(lambda reads: reads.schedules()) == [row]
    assert await scene.see(lambda reads: reads.schedules(agent="b")) == []
    await _put(scene, row)
    await _put(scene, replace(row, next_at=scene.now + 5))
    assert len(await scene.told(EventName.SCHEDULE_ADDED)) == 1, "when it is due is nothing that somebody said"
    changed = _row("daily", text="longer report", next_at=scene.now + 1)
    await _put(scene, changed)
    assert await scene.see(lambda reads: reads.schedules(agent="a")) == [changed]
    await scene.do(lambda tx: tx.remove_schedule("daily", actor="ann", now=scene.now))
    assert await scene.see(lambda reads: reads.schedules()) == []
    with refuses(NotFound, "daily"):
        await scene.do(lambda tx: tx.remove_schedule("daily", actor="ann", now=scene.now))
    with refuses(NotFound, "daily"):
        await _fire(scene, scene.now, None, name="daily")


@case
async def a_nominal_time_fires_once(scene: Scene) -> None:
    await _put(scene, _row(next_at=scene.now))
    assert await _fire(scene, scene.now, scene.now + SECOND)
    assert not await _fire(scene, scene.now, scene.now + SECOND)
    assert not await _fire(scene, scene.now - SECOND, scene.now), "earlier times are over too"
    assert await _fire(scene, scene.now + SECOND, None)
    (row,) = await scene.see(lambda reads: reads.schedules())
    assert (row.last_at, row.next_at) == (scene.now + SECOND, None)
    assert len(await scene.told(EventName.HEARTBEAT_FIRED)) == 2


@case
async def what_has_fired_is_remembered_when_the_clock_is_set_back(scene: Scene) -> None:
    await _put(scene, _row(next_at=scene.now))
    ahead = scene.now + 3_600 * SECOND
    for at in (scene.now, ahead):
        assert await _fire(scene, at, at + SECOND)
    (row,) = await scene.see(lambda reads: reads.schedules())
    assert row.fired_at == ahead
    soon = scene.now + SECOND
    for is_first in (True, False):
        brought = await scene.do(lambda tx: tx.bring_forward("heartbeat:a:watch", next_at=soon, now=scene.now))
        assert brought is is_first
    (row,) = await scene.see(lambda reads: reads.schedules())
    assert (row.last_at, row.next_at) == (scene.now, soon)
    assert await _fire(scene, soon, ahead), "it has not fired, and is still to come"
    assert not await _fire(scene, ahead, ahead + SECOND), "it fired while the clock was ahead"
    (row,) = await scene.see(lambda reads: reads.schedules())
    assert (row.last_at, row.next_at) == (scene.now + SECOND, ahead + SECOND)
    assert len(await scene.told(EventName.HEARTBEAT_FIRED)) == 3


@case
async def a_fire_is_remembered_as_long_as_tasks_are_kept(scene: Scene) -> None:
    kept, at = Retention(tasks_s=86_400.0), scene.now
    await _put(scene, _row(next_at=at))
    assert await _fire(scene, at, at + SECOND)
    for seconds, again in ((86_000.0, False), (1_000.0, True)):
        scene.wait(seconds)
        await scene.do(lambda tx: tx.prune(kept, now=scene.now))
        await _put(scene, _row(last_at=at - 1, next_at=at))
        assert await _fire(scene, at, scene.now) is again


@case
async def a_schedule_that_is_made_anew_may_fire_at_the_same_time(scene: Scene) -> None:
    for _ in range(2):
        await _put(scene, _row("daily", next_at=scene.now))
        assert await _fire(scene, scene.now, None, name="daily")
        await scene.do(lambda tx: tx.remove_schedule("daily", actor="ann", now=scene.now))


@case
async def a_message_says_how_the_turn_that_it_wakes_is_made(scene: Scene) -> None:
    new = NewMessage(
        source=Source.SCHEDULE, text="go", effort="high", retry=RetryPolicy(attempts_max=7), deliver="operator"
    )
    await scene.do(lambda tx: tx.append_message("main:a", new, agent="a", now=scene.now))
    (turn,) = await scene.see(lambda reads: reads.tasks(TaskFilter()))
    assert (turn.spec.effort, turn.spec.deliver) == ("high", "operator")
    assert turn.spec.retry.attempts_max == 7


@case
async def a_schedule_of_ones_own_is_told_as_such(scene: Scene) -> None:
    await _put(scene, _row("daily"))
    await _fire(scene, scene.now, None, name="daily")
    (event,) = await scene.told(EventName.SCHEDULE_FIRED)
    assert event.data == {"schedule": "daily", "nominal_at": scene.now}


@case
async def due_schedules_come_earliest_first(scene: Scene) -> None:
    for name, seconds in (("late", 3), ("early", 1), ("never", None), ("future", 9)):
        await _put(scene, _row(name, next_at=None if seconds is None else scene.now + seconds * SECOND))
    assert await scene.see(lambda reads: reads.next_due_at()) == scene.now + SECOND
    assert await scene.see(lambda reads: reads.next_dues()) == {"schedules": scene.now + SECOND}
    scene.wait(3.0)
    due = await scene.do(lambda tx: tx.due_schedules(now=scene.now))
    assert [row.name for row in due] == ["early", "late"]
    assert await scene.see(lambda reads: [reads.schedule_or_none(each) for each in ("early", "nobody")]) == [
        due[0],
        None,
    ]
    assert len(await scene.do(lambda tx: tx.due_schedules(now=scene.now, limit=1))) == 1


@case
async def skips_are_counted_as_runs_of_one_reason(scene: Scene) -> None:
    await _put(scene, _row())
    counts = [await _skip(scene, scene.now + n * SECOND) for n in range(3)]
    counts.append(await _skip(scene, scene.now + 3 * SECOND, "asleep"))
    assert counts == [1, 2, 3, 4]
    runs = await scene.see(lambda reads: reads.skips())
    assert [(run.reason, run.count) for run in runs] == [("asleep", 1), ("quiet", 3)]
    assert (runs[1].from_at, runs[1].to_at) == (scene.now, scene.now + 2 * SECOND)
    assert len(await scene.told(EventName.HEARTBEAT_SKIPPED)) == 2, "a run is told once"
    assert await scene.see(lambda reads: reads.skips(agent="b")) == []
    assert len(await scene.see(lambda reads: reads.skips(agent="a", since_at=scene.now + 3 * SECOND))) == 1


@case
async def a_skip_that_does_not_count_is_recorded_all_the_same(scene: Scene) -> None:
    await _put(scene, _row())
    counts = [await _skip(scene, scene.now + n * SECOND, in_row=n != 1) for n in range(3)]
    assert counts == [1, 1, 2]
    (run,) = await scene.see(lambda reads: reads.skips())
    assert run.count == 3


@case
async def a_nominal_time_is_skipped_once(scene: Scene) -> None:
    await _put(scene, _row())
    assert await _skip(scene, scene.now) == 1
    assert await _skip(scene, scene.now) == 1
    assert not await _fire(scene, scene.now, None), "what was skipped does not fire"
    (run,) = await scene.see(lambda reads: reads.skips())
    assert run.count == 1


@case
async def a_nominal_time_that_is_over_is_due_no_more(scene: Scene) -> None:
    later = scene.now + 60 * SECOND
    for fires in (True, False):
        await _put(scene, _row(last_at=later, next_at=scene.now))
        if fires:
            assert not await _fire(scene, scene.now, scene.now + SECOND)
        else:
            assert await _skip(scene, scene.now) == 0
        (row,) = await scene.see(lambda reads: reads.schedules())
        assert (row.last_at, row.next_at) == (later, scene.now + SECOND), "or it would be looked at for ever"


@case
async def a_fire_ends_the_run_of_skips(scene: Scene) -> None:
    await _put(scene, _row())
    await _skip(scene, scene.now)
    await _fire(scene, scene.now + SECOND, scene.now + 2 * SECOND)
    (row,) = await scene.see(lambda reads: reads.schedules())
    assert row.skips_in_row == 0
    assert await _skip(scene, scene.now + 2 * SECOND) == 1
    assert [run.count for run in await scene.see(lambda reads: reads.skips())] == [1, 1]


@case
async def putting_a_schedule_again_does_not_forget_what_has_been(scene: Scene) -> None:
    await _put(scene, _row())
    await _fire(scene, scene.now, scene.now + SECOND)
    await _skip(scene, scene.now + SECOND)
    await _put(scene, _row(text="new words", next_at=scene.now + 9 * SECOND))
    (row,) = await scene.see(lambda reads: reads.schedules())
    assert (row.text, row.last_at, row.skips_in_row) == ("new words", scene.now + SECOND, 1)
    assert not await _fire(scene, scene.now, None)
    assert await _skip(scene, scene.now + 2 * SECOND) == 2


@case
async def the_next_wake_of_each_agent_is_the_earliest_of_its_own(scene: Scene) -> None:
    for name, agent, after in (("a:late", "a", 9), ("a:soon", "a", 3), ("b:one", "b", 5)):
        await _put(scene, _row(f"heartbeat:{name}", agent=agent, next_at=scene.now + after))
    await _put(scene, _row("never", agent="c", next_at=None))
    due = await scene.see(lambda reads: reads.next_wakes())
    assert due == {"a": scene.now + 3, "b": scene.now + 5}
