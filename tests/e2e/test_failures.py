"""What follows failures, over the real command line and a real node: other agents, people, breakers."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ostinato.cli.client import Client
from ostinato.gateway import approvals_api, breakers_api, status_api, tasks_api
from ostinato.gateway.operation import Nothing
from ostinato.gateway.setback_view import FailuresView
from tests.conftest import wait_until
from tests.e2e.test_approvals import asked, ended
from tests.e2e.test_cli import done, node, refused

pytestmark = pytest.mark.slow

SCRIPTS = {
    "good": 'default: {text: "all is well"}',
    "bad": 'default: {fault: {status: 401, body: "no such key"}}',
    "busy": "rules: [{when: {nth: [1, 2]}, fault: {status: 429, retry_after: 6}}]\ndefault: {text: at last}",
    "odd": 'default: {calls: [{tool: files.read, raw: "{"}]}',
}
FILES = {
    "ostinato.toml": '[fleet]\nname = "desk"\nmodel = "good"\n'
    + "".join(f'[models.{each}]\nprovider = "scripted"\nscript = "{each}.yaml"\n' for each in SCRIPTS)
    + '[retry]\nbase = "100ms"\nmax = "200ms"\nretry_after_max = "100ms"\n[breakers.agent]\nfailures = 3\nopen = "1h"\n'
    + 'open_max = "2h"\n',
    "agents/clerk/AGENTS.md": "---\nmodel: bad\nskills: [letters]\n---\n",
    "agents/deputy/AGENTS.md": "---\nmodel: good\nskills: [letters]\n---\n",
    "agents/slow/AGENTS.md": "---\nmodel: busy\n---\n",
    "agents/mumbler/AGENTS.md": "---\nmodel: odd\nfallback: deputy\n---\n",
    "agents/worrier/AGENTS.md": "---\nmodel: bad\nfallback: heir\nescalate: [{to: operator, within: 2h}]\n---\n",
    "agents/heir/AGENTS.md": "---\nmodel: bad\n---\n",
    **{f"agents/{each}/SOUL.md": f"You are {each}.\n" for each in ("clerk", "deputy", "slow", "mumbler")},
    **{f"{name}.yaml": text + "\n" for name, text in SCRIPTS.items()},
}


@pytest.fixture(name="desk", scope="module")
def _desk(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    folder = tmp_path_factory.mktemp("failing")
    for name, text in FILES.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    with node(folder):
        yield folder


def add(folder: Path, title: str, agent: str, **more: Any) -> str:
    return Client(folder).call(tasks_api.add, tasks_api.AddTask(title=title, agent=agent, **more)).id


def shown(folder: Path, task: str) -> tasks_api.TaskView:
    return Client(folder).call(tasks_api.show, tasks_api.WhichTask(task=task))


def reaches(folder: Path, task: str, state: str) -> tasks_api.TaskView:
    return wait_until(lambda: view if (view := shown(folder, task)).task.state == state else None)


def failures(folder: Path, task: str) -> FailuresView:
    found = shown(folder, task).failures
    assert found is not None
    return found


def test_a_failed_task_goes_to_others_then_to_people_and_an_agent_in_trouble_is_left_alone(desk: Path) -> None:
    handed = add(desk, "Write to eve", "clerk", fallback="skills")
    mumbled = add(desk, "Mumble", "mumbler")
    later = add(desk, "Wait for it", "slow")
    waits = add(desk, "Write to bob", "clerk", escalate=[{"to": "operator", "within": "2h"}])
    worried = add(desk, "Write to fay", "worrier")

    assert ended(desk, handed) == ended(desk, mumbled) == "all is well"
    assert (shown(desk, handed).task.agent, failures(desk, handed).gave_up) == ("deputy", ["clerk"])
    assert failures(desk, handed).setbacks[0].failure == "permanent"
    assert failures(desk, mumbled).setbacks[0].failure == "invalid_output"
    assert ended(desk, later) == "at last"
    assert failures(desk, later).budgets == {"rate_limited": "2 of 6"}

    question = asked(desk, waits)
    assert failures(desk, waits).budgets == {"permanent": "1 of 1"}
    assert "'retry with AGENT'" in refused(desk, "approvals", "answer", question, "well", code=2)
    decision = approvals_api.AnswerQuestion(question=question, text="retry with deputy")
    Client(desk).call(approvals_api.answer, decision)
    assert ended(desk, waits) == "all is well"

    asked(desk, worried)  # as the one who gave up wants it; the heir says nothing of whom to ask
    assert (shown(desk, worried).task.agent, failures(desk, worried).gave_up) == ("heir", ["worrier"])

    lost = add(desk, "Write to ann", "clerk")
    reaches(desk, lost, "failed")
    letter = done(desk, "dead", "show", lost)
    for words in ("permanent 1 of 1", "dead letter until somebody", "(permanent; clerk)"):
        assert words in letter

    left = add(desk, "Write to dan", "clerk")
    assert "left alone for now: agent clerk is in trouble" in reaches(desk, left, "waiting").task.reason
    states = {e.name: e.state for e in Client(desk).call(breakers_api.list_breakers, Nothing()).breakers}
    assert states["agent:clerk"] == "open"
    status = Client(desk).call(status_api.status, status_api.Nothing())
    assert any("agent clerk is not asked" in each.text for each in status.needs_you)
    assert "calls go again" in done(desk, "breakers", "reset", "agent:clerk")
    reaches(desk, left, "failed")
