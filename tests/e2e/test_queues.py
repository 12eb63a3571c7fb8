"""Queues over the real command line: a rate that holds, answers that count again, dead letters that are tried anew."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ostinato.cli.client import Client
from ostinato.gateway import dead_api, status_api, tasks_api
from ostinato.gateway.operation import Nothing
from tests.conftest import wait_until
from tests.e2e.test_cli import document, done, new_fleet, node

SCRIPT = """
rules:
  - when: {user: broken}
    fault: {status: 400}
default: {text: "done: {user|excerpt:100}"}
"""
LIMITS = """
[[queues.limits]]
project = "acme"
rate = "1/h"
"""


@pytest.mark.slow
def test_a_rate_holds_an_answer_counts_again_and_what_failed_alike_is_tried_anew(tmp_path: Path) -> None:
    folder = new_fleet(tmp_path / "fleet")
    next((folder / "models").glob("*.yaml")).write_text(SCRIPT)
    with (folder / "ostinato.toml").open("a") as settings:
        settings.write(LIMITS)

    client = Client(folder)

    def add(title: str, **more: Any) -> str:
        return client.call(tasks_api.add, tasks_api.AddTask(title=title, agent="clerk", **more)).id

    def ended(task: str) -> tasks_api.TaskView:
        def look() -> tasks_api.TaskView | None:
            view = client.call(tasks_api.show, tasks_api.WhichTask(task=task))
            return view if view.task.state in ("done", "failed") else None

        found = wait_until(look)
        assert found is not None
        return found

    with node(folder):
        failing = [add("An order", goal=f"The broken order {number} of /data/{number}.json") for number in (1, 2)]
        first, second = add("Which way?", cache="1h"), add("One", project="acme")
        assert ended(first).task.state == ended(second).task.state == "done"
        waits = add("Two", project="acme")
        again = document(folder, "tasks", "add", "Which way?", "--agent", "clerk", "--cache", "1h")["id"]
        assert ended(again).answered_from == first
        assert "it waits for the limit project=acme: 1/h have begun" in done(folder, "tasks", "explain", waits)
        status = client.call(status_api.status, Nothing())
        (limit,) = status.limits
        assert (limit.name, limit.rate, limit.full, limit.waits) == ("project=acme", "1/h", True, waits)
        assert status.spent_today.answered == 1

        assert all(ended(task).task.dead for task in failing)
        (group,) = client.call(dead_api.list_dead, dead_api.WhichDead()).groups
        assert (group.count, group.example) == (2, failing[1])
        replay = document(folder, "dead", "replay", "--group", group.fingerprint, "--goal", "Do it well.")["id"]
        assert ended(replay).result == "replayed 2 of 2"
        assert all(ended(task).task.state == "done" for task in failing)
