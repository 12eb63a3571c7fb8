"""Sessions from outside: whose they are, what a key means, and keys of every shape."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.errors import Conflict
from ostinato.gateway import fleet_api, schedules_api, sessions_api
from tests.conftest import run
from tests.gateway.ground import ask_for, ground, served

KEYS = ["a/b", "peer with spaces", "chat:größe 🎻", "slack:#updates/1?x=%2F", "..", "task:1"]


def test_nobody_takes_the_main_session_of_another_agent(tmp_path: Path) -> None:
    asked: list[tuple[Any, dict[str, Any]]] = [
        (sessions_api.send, {"text": "hello"}),
        (fleet_api.wake, {"text": "hello"}),
        (schedules_api.add, {"name": "x", "text": "hello", "every": "1h"}),
    ]

    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            for route, fields in asked:
                for session in ("main:billing", "operator:inbox"):
                    with pytest.raises(Conflict, match=session):
                        await made.call(route, {"agent": "clerk", "session": session, **fields})
            assert await made.store.read(lambda reads: reads.sessions(limit=9)) == []

    run(story())


@pytest.mark.parametrize("session", ["main", "isolated"])
def test_a_schedule_names_sessions_of_its_agent_by_a_word(tmp_path: Path, session: str) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            fields = {"name": "x", "agent": "clerk", "text": "hello", "every": "1h", "session": session}
            assert (await made.call(schedules_api.add, fields))["name"] == "x"

    run(story())


def test_a_key_means_one_message_and_another_text_with_it_is_refused(tmp_path: Path) -> None:
    async def story() -> None:
        async with ground(tmp_path, past=False) as made:
            said = {"agent": "clerk", "text": "pay 10", "key": "k1"}
            first = await made.call(sessions_api.send, said)
            assert (await made.call(sessions_api.send, said))["message"] == first["message"]
            with pytest.raises(Conflict, match="k1"):
                await made.call(sessions_api.send, {**said, "text": "pay 20"})

    run(story())


@pytest.mark.slow
@pytest.mark.parametrize("key", KEYS)
def test_a_session_of_any_key_is_found_again_over_http(tmp_path: Path, key: str) -> None:
    async def story() -> tuple[tuple[int, Any], tuple[int, Any]]:
        async with ground(tmp_path, past=False) as made, served(made):
            said = {"agent": "clerk", "text": "hello", "session": key}
            sent = await asyncio.to_thread(ask_for, made.folder, sessions_api.send, said)
            return sent, await asyncio.to_thread(ask_for, made.folder, sessions_api.show, {"session": key})

    sent, shown = run(story())
    assert (sent[0], shown[0]) == (200, 200)
    assert (shown[1]["session"]["key"], shown[1]["session"]["unread"]) == (key, 1)
