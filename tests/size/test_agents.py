"""A fleet of many agents: what a list, a sweep or a heartbeat reads and looks at is counted, never timed."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ostinato.agents.colleagues import Colleagues
from ostinato.workspace import registry
from ostinato.workspace.registry import EXACT_MAX, Workspaces

AGENTS = EXACT_MAX + 100
"""More than are looked at each time that somebody asks."""


class Looked:
    """Files that were read and looked at."""

    def __init__(self) -> None:
        self.read = 0
        self.stats = 0


@pytest.fixture
def looked(monkeypatch: pytest.MonkeyPatch) -> Looked:
    found, read, stat = Looked(), registry.read_text, os.stat

    def reading(*args: object, **kwargs: object) -> object:
        found.read += 1
        return read(*args, **kwargs)  # type: ignore[arg-type]  # as it was called

    def looking(*args: object, **kwargs: object) -> object:
        found.stats += 1
        return stat(*args, **kwargs)  # type: ignore[arg-type]  # as it was called

    monkeypatch.setattr(registry, "read_text", reading)
    monkeypatch.setattr(registry.os, "stat", looking)
    return found


@pytest.fixture(scope="module")
def fleet(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("fleet")
    for number in range(AGENTS):
        agent = folder / "agents" / f"agent-{number:04}"
        agent.mkdir(parents=True)
        for name, text in (
            ("SOUL.md", f"You look after thing {number}.\n"),
            ("AGENTS.md", f"---\nskills: [skill-{number % 7}]\n---\n"),
            ("HEARTBEAT.md", '---\nevery: 15m\ncheck: {when: "inbox.files > 0"}\n---\nLook.\n'),
        ):
            (agent / name).write_text(text)
            os.utime(agent / name, (1, 1))  # long ago: nothing is about to change again
        os.utime(agent, (1, 1))
    return folder


@pytest.mark.slow
def test_a_large_fleet_is_read_once_however_often_it_is_listed(fleet: Path, looked: Looked) -> None:
    workspaces = Workspaces(fleet, kept_max=16)
    first = workspaces.briefs()
    assert len(first) == AGENTS
    assert looked.read == 3 * AGENTS
    looked.read = looked.stats = 0
    for _ in range(20):
        assert workspaces.briefs() is first
        assert workspaces.briefs(look=False) is first
    assert workspaces.refresh_all() == []
    assert looked.read == 0
    assert looked.stats <= 5 * AGENTS, "one look at each file and folder, by the sweep alone"


@pytest.mark.slow
def test_a_heartbeat_of_an_agent_long_forgotten_reads_no_file(fleet: Path, looked: Looked) -> None:
    workspaces = Workspaces(fleet, kept_max=4)
    workspaces.refresh_all()
    looked.read = looked.stats = 0
    for number in range(AGENTS):
        assert workspaces.brief(f"agent-{number:04}").heartbeats[0].check is not None
    assert (looked.read, looked.stats) == (0, 4 * AGENTS)


@pytest.mark.slow
def test_a_change_in_a_large_fleet_is_seen_by_the_next_sweep_and_by_whoever_asks_for_that_agent(fleet: Path) -> None:
    workspaces = Workspaces(fleet)
    before = {each.id: each.skills for each in workspaces.briefs()}
    changed = fleet / "agents" / "agent-0003" / "AGENTS.md"
    text = changed.read_text()
    try:
        changed.write_text("---\nskills: [other]\n---\n")
        assert workspaces.brief("agent-0003").skills == ("other",)
        assert workspaces.refresh([each.id for each in workspaces.briefs(look=False)]) in ([], ["agent-0003"])
        after = {each.id: each.skills for each in workspaces.briefs(look=False)}
        assert {name for name, skills in after.items() if skills != before[name]} == {"agent-0003"}
    finally:
        changed.write_text(text)


@pytest.mark.slow
def test_routing_looks_at_no_file_of_a_large_fleet(fleet: Path, looked: Looked) -> None:
    workspaces = Workspaces(fleet)
    seconds = iter(range(0, 1_000, 10))
    colleagues = Colleagues(workspaces, elapsed_s=lambda: float(next(seconds)))
    assert len(colleagues()) == AGENTS
    looked.read = looked.stats = 0
    assert all(len(colleagues()) == AGENTS for _ in range(10))
    assert (looked.read, looked.stats) == (0, 0)
