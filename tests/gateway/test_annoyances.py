"""What a tired person meets: who holds what, why, and what to type next."""

from __future__ import annotations

import asyncio
import io
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from ostinato.agents.unfit import Unfit, hold
from ostinato.cli.client import Client
from ostinato.cli.screen import PLAIN_WIDTH, Screen
from ostinato.domain.errors import NotFound
from ostinato.domain.event import Event, EventName
from ostinato.domain.task import Done, NewTask, TaskEvent, TaskKind, TaskResult
from ostinato.gateway import agents_api, fleet_api, people_api, status_api, task_story_api, tasks_api
from ostinato.gateway.sentences import sentence
from ostinato.store.port import Claim, ClaimRequest, Tx
from ostinato.workspace.fleet_file import FleetSettings, changed_tables, read_fleet
from tests.conftest import run
from tests.gateway.ground import NOW, Ground, ground, served
from tests.gateway.test_streams import read_lines


async def add(made: Ground, title: str, *, agent: str | None = None, after: tuple[int, ...] = ()) -> int:
    """A draft that names nobody, unless asked otherwise."""
    blocked = "" if agent else "neither an agent nor skills are named"
    new = NewTask(kind=TaskKind.GOAL, title=title, agent=agent, draft=True, blocked=blocked, after=after)
    return (await made.store.run(lambda tx: tx.add_task(new, now=NOW))).id


@pytest.mark.slow
def test_a_draft_that_is_given_to_somebody_and_approved_can_run(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            number = await add(made, "Call Bob")
            moved = await made.call(tasks_api.move, {"task": f"T{number}", "agent": "clerk"})
            assert moved["state"] == "draft"
            assert (await made.call(tasks_api.approve, {"task": f"T{number}"}))["state"] == "ready"

    run(story())


def test_a_draft_that_is_given_to_somebody_still_waits_for_what_it_depends_on(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            node = await made.store.run(
                lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=NOW)
            )
            new = NewTask(kind=TaskKind.GOAL, title="first", agent="clerk")
            first = await made.store.run(lambda tx: tx.add_task(new, now=NOW))
            number = await add(made, "then", after=(first.id,))
            await made.call(tasks_api.move, {"task": f"T{number}", "agent": "clerk"})
            assert (await made.call(tasks_api.approve, {"task": f"T{number}"}))["state"] == "blocked"
            (claimed,) = await made.store.run(lambda tx: tx.claim(ClaimRequest(node=node.id), now=NOW))
            claim, done = Claim(task=claimed.id, token=claimed.token), Done(result=TaskResult(text="done"))
            await made.store.run(lambda tx: tx.finish(claim, done, now=NOW))
            assert (await made.store.read(lambda reads: reads.task(number))).state == "ready"

    run(story())


def test_a_task_whose_agent_is_gone_goes_on_at_once_when_it_is_given_to_another(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            node = await made.store.run(
                lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=NOW)
            )
            new = NewTask(kind=TaskKind.GOAL, title="begun by one who left", agent="gone")
            task = await made.store.run(lambda tx: tx.add_task(new, now=NOW))
            (claimed,) = await made.store.run(lambda tx: tx.claim(ClaimRequest(node=node.id), now=NOW))
            claim, unfit = Claim(task=claimed.id, token=claimed.token), Unfit(NotFound("Unknown agent 'gone'"))
            await made.store.run(lambda tx: hold(tx, claim, unfit, now=NOW))
            moved = await made.call(tasks_api.move, {"task": task.name, "priority": 5})
            assert moved["state"] == "blocked"
            moved = await made.call(tasks_api.move, {"task": task.name, "agent": "clerk"})
            assert (moved["state"], moved["agent"], moved["reason"]) == ("ready", "clerk", "")

    run(story())


def test_going_on_without_a_dependency_that_failed_stays_a_decision_of_its_own(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            first = await add(made, "first", agent="clerk")
            number = await add(made, "then", after=(first,))
            await made.store.run(lambda tx: tx.move_task(first, TaskEvent.REJECT, actor="ann", now=NOW))
            await made.call(tasks_api.move, {"task": f"T{number}", "agent": "clerk"})
            assert (await made.call(tasks_api.approve, {"task": f"T{number}"}))["state"] == "blocked"

    run(story())


def test_who_killed_an_agent_and_why_stands_in_the_list_and_the_status(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            await made.call(agents_api.kill, {"agent": "clerk", "reason": "it writes to the wrong people"})
            words = "clerk was killed by ann: it writes to the wrong people"
            listed = {each["id"]: each["held"] for each in (await made.call(agents_api.list_agents, {}))["agents"]}
            assert listed == {"billing": "", "clerk": words}
            needs = (await made.call(status_api.status, {}))["needs_you"]
            assert (words, "ostinato agents resume clerk") in [(each["text"], each["command"]) for each in needs]

    run(story())


def test_the_status_names_the_tables_that_a_running_node_does_not_know_yet(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            file = tmp_path / "ostinato.toml"
            file.write_text(file.read_text() + "\n# a comment changes nothing\n")
            assert (await made.call(status_api.status, {}))["needs_you"] == []
            file.write_text(file.read_text() + '\n[retention]\nevents = "30d"\n')
            (need,) = (await made.call(status_api.status, {}))["needs_you"]
            assert "changed since the node started: [retention]; it works with the old" in need["text"]
            assert need["command"] == "kill -HUP 7"

    run(story())


def test_every_setting_belongs_to_a_table(tmp_path: Path) -> None:
    fleet = {"name", "description", "timezone", "model"}
    for field in set(FleetSettings.__struct_fields__) - {"digest", "findings"}:
        changed = changed_tables(FleetSettings(name="a"), _other(field))
        assert changed == (["[fleet]"] if field in fleet else changed)
        assert len(changed) == 1
        assert (changed == ["[fleet]"]) == (field in fleet), f"say in _TABLES where {field!r} stands"


def _other(field: str) -> FleetSettings:
    return FleetSettings(**{"name": "a", field: "something else"})


HOLD = """
import sys, pathlib
from ostinato.engine.lock import FleetLock
lock = FleetLock(pathlib.Path(sys.argv[1]))
lock.acquire()
print(flush=True)
input()
"""


@contextmanager
def held_by_another(state: Path) -> Iterator[None]:
    """The fleet's lock, held by another process as a node does that starts or stops."""
    command = [sys.executable, "-c", HOLD, str(state)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        yield
        holder.communicate(b"\n")


@pytest.mark.slow
def test_a_node_that_starts_or_stops_is_not_told_to_have_died(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            await made.store.run(
                lambda tx: tx.start_node(pid=1, host="h", version="1", lease_s=9.0, exclusive=True, now=NOW)
            )
            made.context.node = None
            (need,) = (await made.call(status_api.status, {}))["needs_you"]
            assert "the last one died" in need["text"]
            with held_by_another(tmp_path / ".ostinato"):
                status = await made.call(status_api.status, {})
            (need,) = status["needs_you"]
            assert "is starting, or brings what runs to the end" in need["text"]
            assert status["ok"]

    run(story())


@pytest.mark.slow
def test_whoever_follows_a_task_is_told_what_it_waits_for_and_what_to_type(tmp_path: Path) -> None:
    async def story() -> list[dict[str, str]]:
        async with ground(tmp_path, past=False) as made:
            number = await add(made, "Call Bob")
            request = tasks_api.WhichTask(task=f"T{number}")
            holds = []
            async with served(made):
                stream = task_story_api.tail.handler(made.context, request)
                async for item in stream:
                    if item is not None and item.command:
                        holds.append((item.text, item.command))
                        break
                await made.call(agents_api.pause, {"agent": "clerk", "reason": "lunch"})
                await made.call(tasks_api.move, {"task": f"T{number}", "agent": "clerk"})
                await made.call(tasks_api.approve, {"task": f"T{number}"})
                async for item in stream:
                    if item is not None and item.command:
                        holds.append((item.text, item.command))
                        break
                await stream.aclose()  # type: ignore[attr-defined]  # streams are async generators
                await made.call(tasks_api.cancel, {"task": f"T{number}"})
                lines = await asyncio.to_thread(read_lines, made.folder, "tasks.tail", request)
        assert holds == [
            ("T1 is a proposal", "ostinato tasks approve T1"),
            ("T1 waits: clerk was paused by ann: lunch", "ostinato agents resume clerk"),
        ]
        return lines

    assert run(story())[-1]["text"] == "T1 is cancelled"


def test_without_a_terminal_one_column_is_cut_to_a_line_and_the_others_never() -> None:
    output = io.StringIO()
    Screen(output, terminal=False).table(("A", "ABOUT"), [("a" * 200, "b" * 200)], grow=1)
    line = output.getvalue().splitlines()[1]
    assert line == f"{'a' * 200}  {'b' * (PLAIN_WIDTH - 1)}…"


def test_on_a_narrow_terminal_a_time_loses_its_year_rather_than_its_minutes() -> None:
    row = ("T12", "x" * 60, "waits for T11", "2026-11-21T21:59:48+01:00")
    for width, time in ((80, "11-21 21:59"), (120, row[-1])):
        output = io.StringIO()
        Screen(output, terminal=True, width=width).table(("TASK", "TITLE", "WAITS FOR", "CHANGED"), [row], grow=1)
        line = output.getvalue().splitlines()[1]
        assert line.startswith("T12   xxx")
        assert line.endswith(f"  waits for T11  {time}")
        assert len(line) <= width


def test_a_draft_that_nobody_could_do_is_to_be_given_to_somebody_first(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            await add(made, "Call Bob")
            (need,) = (await made.call(status_api.status, {}))["needs_you"]
            assert need["command"] == "ostinato tasks move T1 --agent AGENT"
            await add(made, "Call Ann", agent="clerk")
            commands = [each["command"] for each in (await made.call(status_api.status, {}))["needs_you"]]
            assert "ostinato tasks approve T2" in commands

    run(story())


def test_what_became_of_a_line_in_the_list_of_tasks_is_told_as_that() -> None:
    taken = Event(id=1, at=0, name=EventName.FILE_TAKEN, reason="TASKS.md: became T2", data={"file": "TASKS.md"})
    assert sentence(taken) == "a line was taken from TASKS.md: became T2"
    refused = Event(id=1, at=0, name=EventName.FILE_REFUSED, reason="a link", data={"file": "TASKS.md"})
    assert sentence(refused) == "TASKS.md is not kept for now: a link"


def test_settings_are_read_anew(tmp_path: Path) -> None:
    (tmp_path / "ostinato.toml").write_text("[tasks]\nfile = false\n[metrics]\nagents = true\n")
    settings = read_fleet(tmp_path)
    assert (settings.tasks_file, settings.agent_metrics) == (False, True)


def test_what_nobody_can_do_is_named_however_much_waits_for_other_tasks(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:

            def write(tx: Tx) -> None:
                tx.add_task(NewTask(kind=TaskKind.GOAL, title="Juggle", blocked="nobody can juggle"), now=NOW)
                first = tx.add_task(NewTask(kind=TaskKind.GOAL, title="First", agent="clerk"), now=NOW)
                for number in range(60):
                    title = f"Then {number}"
                    tx.add_task(NewTask(kind=TaskKind.GOAL, title=title, after=(first.id,)), now=NOW)

            await made.store.run(write)
            needs = (await made.call(status_api.status, {}))["needs_you"]
            (named,) = (
                each["text"] for each in needs if "cannot be done" in each["text"] or "more such" in each["text"]
            )
            assert "Juggle" in named, "the others wait for nobody"

    run(story())


@pytest.mark.slow
def test_a_folder_that_is_gone_is_said_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    monkeypatch.chdir(gone)
    gone.rmdir()
    with pytest.raises(NotFound, match=r"is gone.* --fleet"):
        assert Client().fleet


def test_people_who_are_asked_and_cannot_decide_are_found_until_they_can(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            file, agents = tmp_path / "ostinato.toml", tmp_path / "agents" / "billing" / "AGENTS.md"
            gate = '[[policy.gates]]\ntool = "exec.*"\nask = "admin"\nescalate = {to = "gus", after = "1h"}\n'
            file.write_text(file.read_text() + f'{gate}[retry]\nescalate = [{{to = "rob", within = "1h"}}]\n')
            review = "{person: pia, escalate: {to: operator, after: 1h}}"
            rungs = "[{to: ann, within: 1h}, {to: eve, within: 1h}]"
            agents.write_text(f"---\nreview: {review}\nescalate: {rungs}\ngates: [{{tool: x, ask: gil}}]\n---\n")

            async def found() -> dict[str, str]:
                problems = (await made.call(fleet_api.check, {}))["problems"]
                return {each["place"]: each["message"] for each in problems if each["level"] == "warning"}

            keys = {"ostinato.toml": ("policy.gates", "retry.escalate")}
            keys["agents/billing/AGENTS.md"] = ("review", "escalate", "gates")
            said = await found()
            places = [f"{file}, key '{key}'" for file in keys for key in keys[file]]
            for name, place in zip(("gus", "rob", "pia", "eve", "gil"), places, strict=True):
                assert f"Unknown person {name!r}" in said[place]
                await made.call(people_api.add, {"person": name, "role": "operator"})
            assert not any("person" in each for each in (await found()).values())

    run(story())


def test_settings_that_name_an_agent_that_is_not_there_are_found(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            file, agents = tmp_path / "ostinato.toml", tmp_path / "agents" / "billing" / "AGENTS.md"
            rule = '[[routing.rules]]\nwhen = "task.priority > 5"\nagent = "bilings"\n'
            file.write_text(file.read_text().replace('agent = "clerk"', 'agent = "clerck"') + rule)
            agents.write_text("---\nskills: [billing]\ndelegates: [clerkk, clerk, '*']\n---\n")
            found = (await made.call(fleet_api.check, {}))["problems"]
            said = {each["place"]: each["message"] for each in found if "Unknown agent" in each["message"]}
            assert len(said) == 3
            assert "Did you mean 'clerk'?" in said["ostinato.toml, key 'inbox.agent'"]
            assert "Did you mean 'clerk'?" in said["agents/billing/AGENTS.md, key 'delegates'"]
            assert any(place.startswith("ostinato.toml:") and "'bilings'" in said[place] for place in said)

    run(story())
