"""Streams: what is followed comes line by line, ends when it must, and leaves nothing behind when the reader goes."""

from __future__ import annotations

import asyncio
import sys
import threading
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import pytest

from ostinato.cli.client import Client, UnixConnection, wire
from ostinato.domain.errors import NotFound
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.step import Input, ModelAnswer
from ostinato.domain.task import Done, TaskKind, TaskResult
from ostinato.engine.lock import FleetLock
from ostinato.gateway import events_api, talk_api
from ostinato.gateway.events_api import WhichEvents
from ostinato.gateway.operation import Ask, Stream
from ostinato.gateway.registry import route_named
from ostinato.gateway.sessions_api import SendMessage, TranscriptLine, WhichSession
from ostinato.gateway.tasks_api import WhichTask
from ostinato.store.port import Claim, ClaimRequest
from tests.conftest import run, wait_until
from tests.gateway.ground import AS_ANN, NOW, Ground, ground, served


def read_lines(
    folder: Path, name: str, request: Ask, *, most: int = 100, into: list[dict[str, Any]] | None = None
) -> list[dict[str, Any]]:
    """The documents of a stream, without the empty lines, until it ends or `most` have come; added `into` as they
    come."""
    route = route_named(name)
    assert isinstance(route, Stream)
    target, body = wire(route, request)
    connection = UnixConnection(folder / ".ostinato")
    found: list[dict[str, Any]] = [] if into is None else into
    try:
        kind = {"content-type": "application/json"} if body is not None else {}
        connection.request(route.method, target, body=body, headers={**AS_ANN, **kind})
        reply = connection.getresponse()
        while len(found) < most and (line := reply.readline()):
            if line.strip():
                found.append(msgspec.json.decode(line))
    finally:
        connection.close()
    return found


def test_the_tail_of_an_ended_task_tells_all_of_it_and_ends(tmp_path: Path) -> None:
    async def go() -> list[dict[str, Any]]:
        async with ground(tmp_path / "fleet") as made, served(made):
            return await asyncio.to_thread(read_lines, made.folder, "tasks.tail", WhichTask(task="T1"))

    items = run(go())
    assert [item["step"]["seq"] for item in items if item["step"]] == [1, 2, 3, 4, 5, 6]
    assert [item["event"]["name"] for item in items if item["event"]] == ["task.added", "task.claimed", "task.done"]
    assert (items[-1]["ended"], items[-1]["state"]) == (True, "done")
    first, second, *steps, last, _ = (item["event"]["name"] if item["event"] else "step" for item in items)
    assert (first, second, set(steps), last) == ("task.added", "task.claimed", {"step"}, "task.done"), "as it went"


@pytest.mark.slow
def test_whoever_follows_waits_for_a_node_that_is_just_starting(tmp_path: Path) -> None:
    heard: list[object] = []

    def waits(thread: threading.Thread) -> bool:
        frame = sys._current_frames().get(thread.ident or 0)
        return frame is not None and frame.f_code.co_name == "_connect_to_starting"

    async def go() -> None:
        async with ground(tmp_path / "fleet") as made:
            client, which = Client(made.folder), WhichEvents()
            follow = threading.Thread(target=lambda: heard.extend(islice(client.stream(events_api.follow, which), 1)))
            with FleetLock(made.folder / ".ostinato"):
                follow.start()
                await asyncio.to_thread(wait_until, lambda: waits(follow))
                async with served(made):
                    await asyncio.to_thread(follow.join)

    run(go())
    assert len(heard) == 1


def test_a_stream_of_something_unknown_is_refused_with_its_status(tmp_path: Path) -> None:
    async def go() -> list[dict[str, Any]]:
        async with ground(tmp_path / "fleet") as made, served(made):
            return await asyncio.to_thread(read_lines, made.folder, "tasks.tail", WhichTask(task="T99"))

    (only,) = run(go())
    assert only["error"]["code"] == NotFound.code


async def turn_that_answers(made: Ground, text: str) -> None:
    """Does what an engine and a model would do with the turn of `main:clerk`."""

    def claim(tx: Any) -> tuple[Claim, list[int]]:
        node = tx.start_node(pid=8, host="here", version="test", lease_s=60.0, exclusive=True, now=NOW)
        request = ClaimRequest(node=node.id, most=1, agent_limit_default=99, kinds=(TaskKind.TURN,))
        (task,) = tx.claim(request, now=NOW)
        unread = [each.id for each in tx.inbox("main:clerk")]
        tx.advance_cursor("main:clerk", unread[-1], now=NOW)
        held = Claim(task=task.id, token=task.token)
        tx.record_steps(held, (Input(messages=tuple(unread)),), now=NOW)
        return held, unread

    held, _ = await made.store.run(claim)
    live = made.context.live
    assert live is not None
    tell = live.listener("main:clerk")
    for piece in (text[:3], text[3:]):
        if tell is not None:
            tell(piece)

    def finish(tx: Any) -> None:
        tx.record_steps(held, (ModelAnswer(call=1, model="m", text=text),), now=NOW)
        tx.finish(held, Done(result=TaskResult(text=text)), now=NOW)

    await made.store.run(finish)


def test_talking_streams_the_reply_in_pieces_and_then_says_that_it_is_durable(tmp_path: Path) -> None:
    async def go() -> list[dict[str, Any]]:
        async with ground(tmp_path / "fleet") as made, served(made):
            request, sent = SendMessage(agent="clerk", text="How are you?"), asyncio.Event()
            leave = made.store.subscribe(lambda _events: sent.set())
            talking = asyncio.create_task(asyncio.to_thread(read_lines, made.folder, "sessions.talk", request))
            await sent.wait()
            leave()
            await turn_that_answers(made, "Fine, thank you.")
            return await talking

    items = run(go())
    assert items[0]["kind"] == "sent"
    assert "".join(item["text"] for item in items if item["kind"] == "piece") == "Fine, thank you."
    (line,) = [item for item in items if item["kind"] == "line"]
    assert (line["text"], line["live"]) == ("Fine, thank you.", True)
    assert (items[-1]["kind"], items[-1]["state"]) == ("end", "done")


@pytest.mark.slow
def test_followers_get_what_happens_and_end_with_the_server(tmp_path: Path) -> None:
    events: list[dict[str, Any]] = []
    lines: list[dict[str, Any]] = []

    def follow(made: Ground, name: str, request: Ask, into: list[dict[str, Any]]) -> asyncio.Task[Any]:
        return asyncio.create_task(asyncio.to_thread(read_lines, made.folder, name, request, into=into))

    async def go() -> None:
        from ostinato.gateway.events_api import WhichEvents

        async with ground(tmp_path / "fleet") as made:
            async with served(made):
                latest = await made.store.read(lambda tx: tx.latest_event())
                following = follow(made, "events.follow", WhichEvents(after=latest, name=["disk"]), events)
                tailing = follow(made, "sessions.tail", WhichSession(session="task:1"), lines)
                await made.store.run(lambda tx: tx.announce(NewEvent(name=EventName.DISK_FULL), now=NOW))
                await asyncio.to_thread(wait_until, lambda: events and len(lines) == 3)
            await asyncio.gather(following, tailing)

    run(go())
    assert [each["name"] for each in events] == ["disk.full"]
    assert [each["line"]["kind"] for each in lines] == ["message", "tool", "result"]


@pytest.mark.slow
def test_a_reader_that_goes_away_leaves_nobody_waiting(tmp_path: Path) -> None:
    async def go() -> None:
        from ostinato.gateway.events_api import WhichEvents

        async with ground(tmp_path / "fleet") as made, served(made):
            which = WhichEvents(after=1)
            await asyncio.to_thread(read_lines, made.folder, "events.follow", which, most=1)
        # `run` fails where a task is left behind

    run(go())


def test_a_piece_that_is_heard_while_the_store_is_looked_at_waits_for_what_was_written_before_it() -> None:
    """Else the words of a second reply would stand before the refusal that they answer."""
    reply = talk_api._Reply()
    refusal = TranscriptLine(at="1", who="clerk", kind="tool", text="denied")
    answer = TranscriptLine(at="2", who="clerk", kind="reply", text="I may not.")
    reply.look()
    reply.pieces.extend(["I may ", "not."])
    assert not reply.told([]), "the look began before these words were heard"
    reply.look()
    told = reply.told([refusal, answer])
    assert [each.text for each in told] == ["denied", "I may ", "not.", "I may not."]
    assert told[-1].live, "whoever has read its pieces does not want it again"
