"""The composition root: a whole node in this process, with a clock of its own, and what keeps it from starting."""

from __future__ import annotations

import asyncio
import io
import stat
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ostinato.app import FleetApp, FleetHeld, build, call_here, recover_here, restore_here
from ostinato.cli.client import Client
from ostinato.domain.errors import Conflict, Invalid
from ostinato.engine.clock import SystemClock
from ostinato.engine.lock import FleetLock
from ostinato.gateway import events_api, status_api, tasks_api
from ostinato.gateway.log_lines import LogLines
from ostinato.gateway.operation import Nothing
from ostinato.gateway.status_api import StatusView
from tests.conftest import run, wait_until
from tests.gateway.ground import make_fleet


class StoryClock(SystemClock):
    """The real clock, thirty years ahead."""

    def now(self) -> int:
        """Then."""
        return super().now() + 30 * 365 * 86_400_000_000


async def asked(folder: Path) -> StatusView:
    """The status, over the socket."""
    return await asyncio.to_thread(lambda: Client(folder).call(status_api.status, Nothing()))


@pytest.mark.slow
def test_a_node_lives_in_the_clock_that_it_is_given_and_says_so(tmp_path: Path) -> None:
    async def go() -> StatusView:
        app = build(make_fleet(tmp_path / "fleet"), clock=StoryClock(), story_time=True)
        await app.start()
        await app.start()
        try:
            return await asked(app.fleet)
        finally:
            await app.stop()
            await app.stop()

    status = run(go())
    assert status.node.story_time
    assert int(status.now[:4]) >= 2055
    assert status.ok


@pytest.mark.slow
def test_a_task_added_here_is_done_by_the_node_that_starts_later_and_its_end_is_logged(tmp_path: Path) -> None:
    folder, output = make_fleet(tmp_path / "fleet"), io.StringIO()
    request = tasks_api.AddTask(title="Hello", agent="clerk")
    task = call_here(folder, tasks_api.add, request)

    async def go() -> None:
        app = FleetApp(folder, log=LogLines(output))
        await app.start()
        assert app.node is not None
        try:
            await app.node.completions.wait(int(task.id[1:]))
        finally:
            await app.stop()

    run(go())
    shown = call_here(folder, tasks_api.show, tasks_api.WhichTask(task=task.id))
    assert shown.task.state == "done"
    logged: list[dict[str, Any]] = [msgspec.json.decode(line) for line in output.getvalue().splitlines()]
    assert ("task.done", "T1") in [(each["event"], each.get("task")) for each in logged]
    assert stat.S_IMODE((folder / ".ostinato").stat().st_mode) == 0o700
    assert not (folder / ".ostinato" / "ostinato.sock").exists()


def test_a_public_port_and_a_broken_file_are_refused_before_anything_starts(tmp_path: Path) -> None:
    folder = make_fleet(tmp_path / "fleet")
    text = (folder / "ostinato.toml").read_text()
    (folder / "ostinato.toml").write_text(f"{text}\n[server]\nport = 8080\n")
    with pytest.raises(Invalid, match="public port is not offered yet"):
        build(folder)
    (folder / "ostinato.toml").write_text("[fleet\n")
    with pytest.raises(Invalid):
        build(folder)
    assert not (folder / ".ostinato").exists()


@pytest.mark.slow
def test_whoever_holds_the_fleet_keeps_others_from_writing_but_not_from_reading(tmp_path: Path) -> None:
    folder = make_fleet(tmp_path / "fleet")
    assert not call_here(folder, status_api.status, Nothing()).ok
    with FleetLock(folder / ".ostinato"):
        assert call_here(folder, status_api.status, Nothing()).fleet == "test"
        with pytest.raises(FleetHeld, match="already held"):
            call_here(folder, tasks_api.add, tasks_api.AddTask(title="x"))
        with pytest.raises(Conflict):
            restore_here(folder, folder / "none", replace=True)


def test_a_failed_restore_leaves_the_database_as_it_was(tmp_path: Path) -> None:
    folder = make_fleet(tmp_path / "fleet")
    call_here(folder, tasks_api.add, tasks_api.AddTask(title="Precious"))
    (folder / "no.db").write_text("This is no database, but long enough to be looked at as one. " * 20)
    with pytest.raises(Invalid):
        restore_here(folder, folder / "no.db", replace=True)
    (kept,) = call_here(folder, tasks_api.list_tasks, tasks_api.WhichTasks()).tasks
    assert kept.title == "Precious"


@pytest.mark.slow
def test_a_fleet_in_which_nobody_may_decide_says_so_and_how_to_get_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = make_fleet(tmp_path / "fleet")
    home = tmp_path / "home"
    home.write_text("no folder, as a home that a service must not see")

    async def status() -> StatusView:
        app = FleetApp(folder, log=LogLines(io.StringIO()))
        await app.start()
        try:
            return await asked(folder)
        finally:
            await app.stop()

    with monkeypatch.context() as locked_out:
        locked_out.setenv("XDG_CONFIG_HOME", str(home))
        (need,) = run(status()).needs_you
    assert "Nobody may give work or decide" in need.text
    assert need.command == "ostinato tokens recover"
    recover_here(folder)
    assert run(status()).ok


@pytest.mark.slow
def test_a_node_takes_from_its_pools_alone_and_work_that_nobody_takes_is_named(tmp_path: Path) -> None:
    folder = make_fleet(tmp_path / "fleet")
    agents = folder / "agents" / "clerk" / "AGENTS.md"
    agents.write_text(agents.read_text().replace("---\n", "---\npool: gpu\n", 1))

    loaded = events_api.WhichEvents(name=["agent.loaded"])

    async def node(pools: tuple[str, ...], *, title: str) -> tuple[str, StatusView]:
        app = FleetApp(folder, pools=pools, log=LogLines(io.StringIO()))
        await app.start()
        assert app.node is not None
        try:
            await asyncio.to_thread(wait_until, lambda: Client(folder).call(events_api.list_events, loaded).events)
            request = tasks_api.AddTask(title=title, agent="clerk")
            added = await asyncio.to_thread(lambda: Client(folder).call(tasks_api.add, request))
            if "gpu" in pools:
                await app.node.completions.wait(int(added.id[1:]))
            return added.id, await asked(folder)
        finally:
            await app.stop()

    waiting, status = run(node(("default", "cpu"), title="Paint"))
    assert [each.text for each in status.needs_you] == ["Tasks wait in the pool 'gpu', and no node takes from it"]
    assert call_here(folder, tasks_api.show, tasks_api.WhichTask(task=waiting)).task.state == "ready"
    _, status = run(node(("gpu",), title="Paint more"))
    assert status.ok
    assert call_here(folder, tasks_api.show, tasks_api.WhichTask(task=waiting)).task.state == "done"
