"""What a fire does: with the work of the one before it, with what it says of its turn, and out of its turn."""

from __future__ import annotations

from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.agents.calendar import Calendar
from ostinato.domain.event import EventName
from ostinato.domain.message import OPERATOR_SESSION, kind_of
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.schedule import parse_rule, rule_to_texts
from ostinato.domain.task import Task, TaskKind, TaskState
from ostinato.domain.values import SECOND
from ostinato.store.port import EventFilter, ScheduleRow, TaskFilter, Tx
from tests.agents.fleet import Fleet, running
from tests.conftest import run

SCRIPT = """
rules:
  - when: {user: fail}
    fault: {status: 400}
default: {text: "the report"}
"""
TURNS = TaskFilter(kinds=frozenset({TaskKind.TURN}))


def files(beat: str, *, text: str = "Look after the shop.") -> dict[str, str]:
    return {
        "agents/helper/SOUL.md": "You help.",
        "agents/helper/HEARTBEAT.md": f"---\nevery: 15m\n{beat}---\n{text}\n",
        "model.yaml": SCRIPT,
    }


async def heartbeat(fleet: Fleet) -> ScheduleRow:
    """The helper's heartbeat, its next time come."""
    await Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock).poll()
    (row,) = await fleet.store.read(lambda reads: reads.schedules())
    assert row.next_at is not None
    fleet.clock.ahead += max(0, row.next_at - fleet.clock.now()) + SECOND
    return row


async def schedule(fleet: Fleet, **more: str) -> ScheduleRow:
    """A schedule of ones own, its next time come."""
    known = [row for row in await fleet.store.read(lambda reads: reads.schedules()) if row.name == "daily"]
    if not known:
        now = fleet.clock.now()
        rule = rule_to_texts(parse_rule({"every": "1h", **more}))
        row = ScheduleRow(name="daily", agent="helper", rule=rule, text="go", session="isolated", next_at=now)
        await fleet.store.run(lambda tx: tx.put_schedule(row, now=now))
        known = [row]
    assert known[0].next_at is not None
    fleet.clock.ahead += max(0, known[0].next_at - fleet.clock.now())
    return known[0]


async def turns(fleet: Fleet) -> list[Task]:
    return await fleet.store.read(lambda reads: reads.tasks(TURNS))


@pytest.mark.parametrize(
    ("beat", "woken"),
    [
        ("", [True, False]),
        ("overlap: queue\n", [True, True]),
        ("session: isolated\n", [True, False]),
        ("session: isolated\noverlap: queue\n", [True, True]),
    ],
)
def test_a_heartbeat_does_not_come_upon_its_own_work_unless_it_is_told_to_queue(
    tmp_path: Path, beat: str, woken: list[bool]
) -> None:
    async def story() -> None:
        async with running(tmp_path, files(beat), start=False) as fleet:  # no node: whatever is woken stays at work
            assert [await fleet.fires.fire(await heartbeat(fleet)) for _ in range(2)] == woken
            skips = await fleet.store.read(lambda reads: reads.skips())
            assert [skip.reason for skip in skips] == [] if all(woken) else ["still busy with T1"]

    run(story())


@pytest.mark.parametrize(("more", "woken"), [({}, [True, True]), ({"overlap": "skip"}, [True, False])])
def test_a_schedule_queues_unless_it_is_told_to_skip(tmp_path: Path, more: dict[str, str], woken: list[bool]) -> None:
    async def story() -> None:
        async with running(tmp_path, files(""), start=False) as fleet:
            assert [await fleet.fires.fire(await schedule(fleet, **more)) for _ in range(2)] == woken
            assert len({task.session for task in await turns(fleet)}) == sum(woken), "each in a session of its own"

    run(story())


def test_once_its_work_is_done_a_heartbeat_fires_again(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("session: isolated\n")) as fleet:
            for count in (1, 2):
                assert await fleet.fires.fire(await heartbeat(fleet))
                latest = await turns(fleet)
                assert len(latest) == count
                await fleet.until(latest[0].id)

    run(story())


def test_the_turn_of_a_fire_is_made_as_its_file_says_now(tmp_path: Path) -> None:
    said = (
        "session: isolated\neffort: high\nretry: {attempts: 7, base: 10s, max: 2m}\ndeliver: operator\nmodel: script\n"
    )

    async def story() -> None:
        async with running(tmp_path, files(said)) as fleet:
            row = await heartbeat(fleet)
            assert row.deliver == "operator"
            (tmp_path / "agents/helper/HEARTBEAT.md").write_text(
                files(said.replace("high", "low"))["agents/helper/HEARTBEAT.md"]
            )
            assert await fleet.fires.fire(row)
            (turn,) = await turns(fleet)
            assert turn.spec.effort == "low", "the file was read again"
            assert (turn.spec.model, turn.spec.deliver) == ("script", "operator")
            assert turn.spec.retry == RetryPolicy(attempts_max=7, base_s=10.0, max_s=120.0)
            assert kind_of(turn.session or "") == "isolated"
            assert (await fleet.until(turn.id)).state is TaskState.DONE
            (told,) = await fleet.store.read(lambda reads: reads.messages(OPERATOR_SESSION))
            assert told.text == "the report"

    run(story())


def test_a_failure_of_a_fire_that_delivers_to_the_operator_reaches_the_operator(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("deliver: operator\n", text="fail now")) as fleet:
            assert await fleet.fires.fire(await heartbeat(fleet))
            (turn,) = await turns(fleet)
            assert (await fleet.until(turn.id)).state is TaskState.FAILED
            (told,) = await fleet.store.read(lambda reads: reads.messages(OPERATOR_SESSION))
            assert "T1 failed" in told.text

    run(story())


def test_a_result_is_handed_on_to_another_agent(tmp_path: Path) -> None:
    more = {"agents/boss/SOUL.md": "You decide."}

    async def story() -> None:
        async with running(tmp_path, files("deliver: agent:boss\n") | more) as fleet:
            assert await fleet.fires.fire(await heartbeat(fleet))

            async def read() -> bool:
                return any(task.agent == "boss" and task.state is TaskState.DONE for task in await turns(fleet))

            await fleet.wait(read)

    run(story())


def test_a_person_fires_whatever_the_check_says_unless_it_is_to_be_heeded(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files('check: {when: "inbox.files > 0"}\n'), start=False) as fleet:
            row = await heartbeat(fleet)
            assert await fleet.fires.fire_now(row, check=True) == "nothing to do: inbox.files > 0"
            assert await fleet.store.read(lambda reads: reads.skips()) == [], "a question is no skip"
            assert await turns(fleet) == []
            assert await fleet.fires.fire_now(row) == ""
            assert len(await turns(fleet)) == 1

    run(story())


def test_a_condition_that_cannot_be_evaluated_is_told_once_beside_a_command(tmp_path: Path) -> None:
    async def story() -> None:
        check = 'check: {when: "1 / inbox.files > 0", command: [nothing]}\n'
        async with running(tmp_path, files(check), start=False) as fleet:
            assert await fleet.fires.fire(await heartbeat(fleet))
            which = EventFilter(names=frozenset({EventName.HEARTBEAT_FIRED}))
            told = [each.reason for each in await fleet.store.read(lambda reads: reads.events(which))]
            assert len([each for each in told if each.startswith("the check failed")]) == 1

    run(story())


def test_a_night_of_sleep_is_no_row_of_skips(tmp_path: Path) -> None:
    beat = "escalate_after: 3\nactive: '{}'\ncheck: {{when: \"inbox.files > 0\"}}\n"

    async def story() -> None:
        async with running(tmp_path, files(beat.format("00:00-24:00")), start=False) as fleet:
            for _ in range(2):
                await fleet.fires.fire(await heartbeat(fleet))
            hour = (fleet.clock.now() // (3_600 * SECOND) + 3) % 24
            asleep = files(beat.format(f"{hour:02}:00-{hour:02}:01"))
            (tmp_path / "agents/helper/HEARTBEAT.md").write_text(asleep["agents/helper/HEARTBEAT.md"])
            for _ in range(4):
                await fleet.fires.fire(await heartbeat(fleet))
            (row,) = await fleet.store.read(lambda reads: reads.schedules())
            assert row.skips_in_row == 2
            assert await fleet.store.read(lambda reads: reads.messages(OPERATOR_SESSION)) == []
            assert [run.count for run in await fleet.store.read(lambda reads: reads.skips())] == [4, 2]

    run(story())


def test_a_clock_set_back_between_the_look_and_the_fire_fires_nothing_early(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files(""), start=False) as fleet:
            row = await heartbeat(fleet)
            fleet.clock.ahead -= 3_600 * SECOND
            assert not await fleet.fires.fire(row)
            assert await turns(fleet) == []
            assert await fleet.store.read(lambda reads: reads.skips()) == []

    run(story())


def test_heartbeats_that_are_due_together_are_decided_together_but_those_that_want_more(tmp_path: Path) -> None:
    check = 'check: {when: "inbox.files > 0"}\n'
    beats = {"idle": check, "woken": "", "file": check, "asks": "check: {command: [test, -e, x]}\n", "broken": check}
    of = {name: files(beat) for name, beat in beats.items()}
    texts = {path.replace("helper", name): text for name in beats for path, text in of[name].items()}

    async def story() -> None:
        async with running(tmp_path, texts, start=False) as fleet:
            await Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock).poll()
            now = fleet.clock.now()
            names = [row.name for row in await fleet.store.read(lambda reads: reads.schedules())]
            await fleet.store.run(lambda tx: [tx.bring_forward(name, next_at=now, now=now) for name in names])
            rows = await fleet.store.run(lambda tx: tx.due_schedules(now=now))
            assert len(rows) == len(beats)
            (tmp_path / "agents/broken/HEARTBEAT.md").write_text("---\nevery: never\n---\n")
            (tmp_path / "agents/file/inbox").mkdir()
            left = await fleet.fires.fire_together(rows)
            assert sorted(row.agent for row in left) == ["asks", "file"]
            assert [task.agent for task in await turns(fleet)] == ["woken"]
            skips = {each.agent: each.reason for each in await fleet.store.read(lambda reads: reads.skips())}
            assert skips.keys() == {"idle", "broken"}
            assert skips["idle"].startswith("nothing to do")
            assert await fleet.fires.fire_together(rows[:0]) == []

    run(story())


def test_a_heartbeat_that_would_be_skipped_for_ever_is_found_when_its_file_is_read(tmp_path: Path) -> None:
    async def story() -> None:
        sleeping = 'anchor: "2026-01-01T03:00"\nactive: "07:00-08:00"\n'
        async with running(tmp_path, files(sleeping), start=False) as fleet:
            path = tmp_path / "agents/helper/HEARTBEAT.md"
            path.write_text(path.read_text().replace("15m", "1d"))
            (finding,) = fleet.workspaces.current("helper").findings
            assert (finding.code, finding.place) == ("never_active", "agents/helper/HEARTBEAT.md")
            path.write_text(path.read_text().replace("03:00", "07:30"))
            assert fleet.workspaces.current("helper").findings == ()

    run(story())


def test_what_has_changed_since_it_was_seen_to_be_due_does_not_fire_as_it_was(tmp_path: Path) -> None:
    async def named(fleet: Fleet, name: str) -> ScheduleRow:
        return next(row for row in await fleet.store.read(lambda reads: reads.schedules()) if row.name == name)

    async def story() -> None:
        async with running(tmp_path, files(""), start=False) as fleet:
            beat = await heartbeat(fleet)
            (tmp_path / "agents/helper/HEARTBEAT.md").write_text("---\ncron: 0 0 1 1 *\n---\nOnce a year.\n")
            await Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock).poll()
            yearly = await named(fleet, beat.name)
            assert not await fleet.fires.fire(beat)
            assert not await fleet.fires.fire_together([beat])
            assert await named(fleet, beat.name) == yearly
            seen = replace(beat, name="daily", source="cli", text="the old one")
            anew = replace(seen, text="the new one", next_at=yearly.next_at)

            def put_anew(tx: Tx) -> None:
                now = fleet.clock.now()
                tx.put_schedule(seen, now=now)
                tx.remove_schedule(seen.name, actor="alice", now=now)
                tx.put_schedule(anew, now=now)

            await fleet.store.run(put_anew)
            assert not await fleet.fires.fire(seen)
            assert await turns(fleet) == []
            assert await fleet.fires.fire_now(seen) == "", "by hand it fires, as it is now"
            assert (await named(fleet, "daily")).next_at == yearly.next_at
            (turn,) = await turns(fleet)
            (message,) = await fleet.store.read(lambda reads: reads.inbox(turn.session or "", limit=9))
            assert message.text == "the new one"

    run(story())
