"""TASKS.md of a real node: kept unless the fleet's file says otherwise."""

from __future__ import annotations

import asyncio
from functools import partial
from pathlib import Path

import pytest

from ostinato.app import build, call_here
from ostinato.gateway import tasks_api
from tests.conftest import run, wait_until
from tests.gateway.ground import make_fleet


async def lived(folder: Path, *, task: str, until_kept: bool) -> None:
    """A node lives until the task is done, and the file is there where it should be."""
    app = build(folder)
    await app.start()
    assert app.node is not None
    try:
        await app.node.completions.wait(int(task[1:]))
        if until_kept:
            file = folder / "TASKS.md"
            shown = partial(wait_until, lambda: file.exists() and f"[x] {task} Hello" in file.read_text())
            await asyncio.to_thread(shown, timeout_s=25.0)
    finally:
        await app.stop()


@pytest.mark.slow
@pytest.mark.parametrize("kept", [True, False])
def test_a_node_keeps_the_list_of_tasks_unless_told_otherwise(tmp_path: Path, kept: bool) -> None:
    folder = make_fleet(tmp_path / "fleet")
    if not kept:
        with (folder / "ostinato.toml").open("a") as settings:
            settings.write("\n[tasks]\nfile = false\n")
    task = call_here(folder, tasks_api.add, tasks_api.AddTask(title="Hello", agent="clerk", project="desk"))
    run(lived(folder, task=task.id, until_kept=kept))
    assert (folder / "TASKS.md").exists() == kept
    assert (folder / "tasks" / "desk.json").exists() == kept
