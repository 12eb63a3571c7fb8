"""What wakes agents: heartbeats with a free check, files in an inbox, schedules; and the notes that are kept of it."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from msgspec import structs

from ostinato.agents.calendar import Calendar
from ostinato.agents.intake import waiting_files
from ostinato.domain.errors import Exhausted, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.message import OPERATOR_SESSION, NewMessage, main_session
from ostinato.domain.task import TaskKind, TaskState
from ostinato.domain.values import SECOND, Source, Trust
from ostinato.store.port import EventFilter, ScheduleRow, TaskFilter
from tests.agents.fleet import ENDED, Fleet, running
from tests.conftest import run

HOUR = 3_600 * SECOND
BEAT = "---\nevery: 15m\n{more}---\nLook after the shop.\n"
SCRIPT = 'default: {text: "seen: {user|excerpt:2000}"}'
MAIL = b"From: Ann <ann@example.com>\r\nSubject: Broken printer\r\nMessage-ID: <1@example.com>\r\n\r\nIt is broken.\r\n"


def files(more: str = "", *, agents: str = "") -> dict[str, str]:
    return {
        "agents/helper/SOUL.md": "You help.",
        "agents/helper/AGENTS.md": agents,
        "agents/helper/HEARTBEAT.md": BEAT.format(more=more),
        "model.yaml": SCRIPT,
    }


async def due_row(fleet: Fleet) -> ScheduleRow:
    """The helper's heartbeat, its time come."""
    await Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock).poll()
    (row,) = await fleet.store.read(lambda reads: reads.schedules())
    assert row.next_at is not None
    fleet.clock.ahead += row.next_at - fleet.clock.now() + SECOND
    return row


async def turns_of(fleet: Fleet) -> list[TaskState]:
    which = TaskFilter(kinds=frozenset({TaskKind.TURN}))
    return [task.state for task in await fleet.store.read(lambda reads: reads.tasks(which))]


async def names_of(fleet: Fleet) -> list[EventName]:
    return [event.name for event in await fleet.store.read(lambda reads: reads.events(EventFilter()))]


def test_a_heartbeat_wakes_the_main_session_once_for_its_time(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            row = await due_row(fleet)
            await fleet.fires.fire(row)
            assert await fleet.fires.fire(row) is False
            messages = await fleet.store.read(lambda reads: reads.messages(main_session("helper")))
            assert [(each.text, each.trust) for each in messages] == [("Look after the shop.", Trust.OPERATOR)]

    run(story())


def test_a_check_with_nothing_to_do_asks_no_model_and_counts_the_skip(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files('check: {when: "inbox.files > 0"}\n')) as fleet:
            for _ in range(3):
                assert await fleet.fires.fire(await due_row(fleet)) is False
            (skip,) = await fleet.store.read(lambda reads: reads.skips())
            assert (skip.count, skip.reason) == (3, "nothing to do: inbox.files > 0")
            assert await turns_of(fleet) == []

    run(story())


def test_a_message_left_for_the_next_heartbeat_makes_it_wake(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files('check: {when: "inbox.files > 0"}\n')) as fleet:
            left = NewMessage(source=Source.WAKE, text="by the way")
            key = main_session("helper")
            await fleet.store.run(
                lambda tx: tx.append_message(key, left, agent="helper", now=fleet.clock.now(), wake=False)
            )
            assert await fleet.fires.fire(await due_row(fleet)) is True

    run(story())


def test_outside_active_hours_and_while_paused_it_skips_with_the_reason(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files("active: '00:00-00:01'\nweekdays: [SAT]\n")) as fleet:
            assert await fleet.fires.fire(await due_row(fleet)) is False
            (tmp_path / "agents/helper/HEARTBEAT.md").write_text(BEAT.format(more=""))
            await fleet.store.run(
                lambda tx: tx.set_flag("agent:helper", "paused", actor="ann", reason="", now=fleet.clock.now())
            )
            assert await fleet.fires.fire(await due_row(fleet)) is False
            skips = await fleet.store.read(lambda reads: reads.skips())
            assert {skip.reason for skip in skips} == {"outside active hours", "agent:helper is paused"}

    run(story())


def test_broken_files_skip_with_the_place_and_heal_by_themselves(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            row = await due_row(fleet)
            (tmp_path / "agents/helper/AGENTS.md").write_text("---\nskils: [x]\n---\n")
            assert await fleet.fires.fire(row) is False
            (skip,) = await fleet.store.read(lambda reads: reads.skips())
            assert "agents/helper/AGENTS.md:2" in skip.reason
            assert "skills" in skip.reason
            (tmp_path / "agents/helper/AGENTS.md").write_text("")
            assert await fleet.fires.fire(await due_row(fleet)) is True

    run(story())


def test_each_file_of_an_inbox_gets_a_turn_that_sees_it_alone(tmp_path: Path) -> None:
    more = 'check: {when: "inbox.files > 0"}\neach: inbox\n'

    async def story() -> None:
        async with running(tmp_path, files(more, agents="---\ninbox: heartbeat\n---\n")) as fleet:
            inbox = tmp_path / "agents/helper/inbox"
            inbox.mkdir()
            (inbox / "1.eml").write_bytes(MAIL)
            (inbox / "2.eml").write_bytes(MAIL.replace(b"printer", b"scanner").replace(b"<1@", b"<2@"))
            (inbox / "3.eml").write_bytes(MAIL)
            await fleet.inbox.take("helper")
            assert await turns_of(fleet) == [TaskState.BLOCKED] * 2
            assert await fleet.fires.fire(await due_row(fleet)) is True

            async def both() -> bool:
                states = await turns_of(fleet)
                return len(states) == 2 and set(states) <= ENDED

            await fleet.wait(both)
            tasks = await fleet.store.read(lambda reads: reads.tasks(TaskFilter()))
            texts = [task.result.text for task in tasks if task.result]
            assert all(("printer" in text) != ("scanner" in text) for text in texts)
            assert await fleet.store.read(lambda reads: waiting_files(reads, "helper", limit=9)) == []
            events = await fleet.store.read(
                lambda reads: reads.events(EventFilter(names=frozenset({EventName.FILE_TAKEN})))
            )
            assert [event.data.get("repeated") for event in events] == [False, False, True]
            assert len(list(inbox.glob("taken/*"))) == 3
            assert await fleet.fires.fire(await due_row(fleet)) is False

    run(story())


def test_a_dropped_task_runs_and_a_malformed_one_is_set_aside_with_a_note(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            inbox = tmp_path / "inbox"
            inbox.mkdir()
            (inbox / "a.md").write_text("---\nagent: helper\ntitle: Sweep\n---\nSweep the floor.\n")
            (inbox / "b.md").write_text("---\nagnt: helper\n---\nSweep.\n")
            (inbox / "c.json").write_text('[{"agent": "nobody", "goal": "x"}]')
            await fleet.inbox.take(None)
            (task,) = await fleet.store.read(lambda reads: reads.tasks(TaskFilter()))
            assert (await fleet.until(task.id)).title == "Sweep"
            assert len(list(inbox.glob("refused/*.why.txt"))) == 2
            assert EventName.FILE_REFUSED in await names_of(fleet)
            assert "agent" in next(inbox.glob("refused/*b.md.why.txt")).read_text()

    run(story())


def test_a_file_that_cannot_be_moved_away_is_taken_once_and_keeps_nobody_waiting(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            inbox = tmp_path / "agents/helper/inbox"
            inbox.mkdir(parents=True)
            for way, file in (("taken", "a.txt"), ("refused", "b.md"), ("", "c.txt")):
                if way:
                    (inbox / way).symlink_to("/nowhere")
                (inbox / file).write_text("---\nnobody: knows\n---\n" if file == "b.md" else "Sweep.")
            for _ in range(3):
                await fleet.inbox.take_agent("helper")
            told = [each.name for each in await fleet.store.read(lambda reads: reads.events(EventFilter()))]
            assert told.count(EventName.FILE_TAKEN) == 2
            assert told.count(EventName.FILE_REFUSED) == 5  # the three files, and the two links that lie there
            for way in ("taken", "refused"):
                (inbox / way).unlink()
            await fleet.inbox.take_agent("helper")
            assert sorted(each.name for each in inbox.iterdir()) == ["refused", "taken"]

    run(story())


def test_the_runtime_writes_the_daily_note_once(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            task = await fleet.until((await fleet.goal("helper", "sweep the floor")).id)
            await fleet.scribe.poll()
            await fleet.store.run(lambda tx: tx.set_setting("scribe.position", "0"))
            await fleet.scribe.poll()
            (note,) = (tmp_path / "agents/helper/memory").glob("*.md")
            assert note.read_text().count(f"({task.name} done)") == 1

    run(story())


def test_skips_in_a_row_are_told_to_the_operator(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files('check: {when: "inbox.files > 0"}\nescalate_after: 2\n')) as fleet:
            for _ in range(5):
                await fleet.fires.fire(await due_row(fleet))
            told = await fleet.store.read(lambda reads: reads.messages(OPERATOR_SESSION))
            assert len(told) == 2
            assert "skipped 2 times in a row" in told[0].text

    run(story())


def test_changed_and_removed_heartbeats_are_followed(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            calendar = Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock)
            await calendar.poll()
            (row,) = await fleet.store.read(lambda reads: reads.schedules())
            (tmp_path / "agents/helper/HEARTBEAT.md").write_text("---\nevery: 1h\n---\nOther words.\n")
            await calendar.poll()
            (changed,) = await fleet.store.read(lambda reads: reads.schedules())
            assert (changed.rule["every"], changed.text) == ("1h", "Other words.")
            (tmp_path / "agents/helper/HEARTBEAT.md").unlink()
            await calendar.poll()
            assert await fleet.store.read(lambda reads: reads.schedules()) == []
            assert structs.replace(row, text="") != row

    run(story())


def test_a_change_that_somebody_else_saw_first_or_that_could_not_be_written_is_followed_by_the_next_sweep(
    tmp_path: Path,
) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            calendar = Calendar(store=fleet.store, workspaces=fleet.workspaces, clock=fleet.clock)
            await calendar.poll()
            (tmp_path / "agents/helper/HEARTBEAT.md").write_text("---\nevery: 1h\n---\nOther words.\n")
            fleet.workspaces.current("helper")  # as a turn does that begins now
            fleet.workspaces.refresh_all()  # as a screen does
            await calendar.poll()
            (changed,) = await fleet.store.read(lambda reads: reads.schedules())
            assert changed.rule["every"] == "1h"

            (tmp_path / "agents/helper/HEARTBEAT.md").unlink()
            work, fleet.store.run = fleet.store.run, _no_room  # type: ignore[method-assign]  # a full disk for one poll
            with pytest.raises(Exhausted):
                await calendar.poll()
            fleet.store.run = work  # type: ignore[method-assign]  # a full disk for one poll
            await calendar.poll()
            assert await fleet.store.read(lambda reads: reads.schedules()) == []

            (tmp_path / "agents/helper/HEARTBEAT.md").write_text(BEAT.format(more=""))
            await calendar.poll()
            shutil.rmtree(tmp_path / "agents/helper")
            fleet.workspaces.refresh_all()
            await calendar.poll()
            assert await fleet.store.read(lambda reads: reads.schedules()) == []

    run(story())


def test_a_heartbeat_whose_file_went_while_it_came_due_is_no_failure(tmp_path: Path) -> None:
    async def story() -> None:
        async with running(tmp_path, files()) as fleet:
            row = await due_row(fleet)
            await fleet.store.run(lambda tx: tx.remove_schedule(row.name, actor="runtime", now=fleet.clock.now()))
            assert await fleet.fires.fire(row) is False
            with pytest.raises(NotFound):
                await fleet.fires.fire_now(row)

    run(story())


async def _no_room(_fn: object) -> None:
    raise Exhausted("The disk is full: nothing was written")
