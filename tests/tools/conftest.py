"""A desk with a store in memory, for tests that try tools."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from ostinato.store.sqlite import open_store
from tests.conftest import run
from tests.tools.desk import Desk

Scene = Callable[[Desk], Awaitable[None]]


@pytest.fixture
def at_desk(tmp_path: Path) -> Callable[[Scene], None]:
    """Plays a scene at a desk whose workspace is empty, and closes the store after it."""

    def play(scene: Scene) -> None:
        async def whole() -> None:
            workspace = tmp_path / "agents" / "triage"
            workspace.mkdir(parents=True)
            store = open_store(None)
            try:
                desk = Desk(workspace, store)
                await desk.begin()
                await scene(desk)
            finally:
                await store.close()

        run(whole())

    return play
