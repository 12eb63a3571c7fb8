"""What these tests share: a server that sends exactly the bytes it is given, and models that ask it.

Knows nothing of what the replies mean.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import Any

from ostinato.domain.chat import HttpAttempt, ModelReply, ModelRequest, ToolSpec, UserPart
from ostinato.domain.errors import OstinatoError
from ostinato.engine.clock import SystemClock
from ostinato.engine.port import Clock
from ostinato.models.chat_model import ChatModel, Provider
from ostinato.models.connections import Connections
from ostinato.models.http_transport import HttpTransport
from ostinato.models.providers import DIALECTS
from ostinato.models.settings import ModelSettings, Timeouts
from ostinato.tools.port import object_schema

TOOLS = tuple(
    ToolSpec(name=name, description="", parameters=object_schema()) for name in ("files.read", "tasks.create", "ask")
)
"""Tools that most requests here offer."""

Answer = bytes | Sequence[bytes | float]
"""Bytes, or pieces, where a number is a pause in seconds. After it the connection is closed, unless its head says where
the body ends and its last piece is not empty."""


def http(body: bytes, *, status: str = "200 OK", kind: str = "application/json", headers: str = "") -> bytes:
    """A whole HTTP reply."""
    head = f"HTTP/1.1 {status}\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{headers}\r\n"
    return head.encode() + body


def sse(*events: bytes | str | dict[str, Any], done: bool = True) -> bytes:
    """A streamed HTTP reply that ends with the connection."""
    head = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
    datas = [each if isinstance(each, bytes) else _text(each).encode() for each in events]
    body = b"".join(b"data: " + data + b"\n\n" for data in datas)
    return head + body + (b"data: [DONE]\n\n" if done else b"")


def _text(event: str | dict[str, Any]) -> str:
    return event if isinstance(event, str) else json.dumps(event)


def reply(content: Any = "hello", *, calls: Any = None, finish: Any = "stop", **more: Any) -> dict[str, Any]:
    """A reply in one piece; keywords replace its fields."""
    said: dict[str, Any] = {"role": "assistant", "content": content}
    if calls is not None:
        said["tool_calls"] = calls
    return {
        "id": "r",
        "model": "m-1",
        "choices": [{"index": 0, "message": said, "finish_reason": finish}],
        "usage": {"prompt_tokens": 10, "completion_tokens": 5, "prompt_tokens_details": {"cached_tokens": 4}},
        **more,
    }


def call(name: Any = "files__read", arguments: Any = '{"path": "a"}', call_id: Any = "c1") -> dict[str, Any]:
    """A tool call of such a reply."""
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def delta(finish: Any = None, **said: Any) -> dict[str, Any]:
    """An event of a streamed reply."""
    return {"choices": [{"index": 0, "delta": said, "finish_reason": finish}]}


class RawServer:
    """Sends what it is told, answer by answer; the last answer is repeated. Keeps what it was asked."""

    def __init__(self, *answers: Answer) -> None:
        self.answers = list(answers)
        self.asked: list[tuple[str, dict[str, Any]]] = []
        """Head and body of each request."""
        self.has_been_asked = asyncio.Event()
        self.connections = 0
        self.url = ""

    @asynccontextmanager
    async def open(self) -> AsyncIterator[RawServer]:
        """Serves meanwhile."""
        server = await asyncio.start_server(self._serve, "127.0.0.1", 0, limit=2**24)
        self.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
        try:
            yield self
        finally:
            server.close()
            await server.wait_closed()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                length = int(head.lower().partition("content-length:")[2].partition("\r\n")[0])
                self.asked.append((head, json.loads(await reader.readexactly(length))))
                self.has_been_asked.set()
                answer = self.answers[min(len(self.asked), len(self.answers)) - 1]
                pieces = [answer] if isinstance(answer, bytes) else answer
                await self._send(reader, writer, pieces)
                first = pieces[0]
                if (
                    pieces[-1] == b""
                    or isinstance(first, float)
                    or not any(each in first for each in (b"Content-Length", b"chunked"))
                ):
                    return
        except (asyncio.IncompleteReadError, ConnectionError):
            pass
        finally:
            writer.close()

    async def _send(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, pieces: Sequence[bytes | float]
    ) -> None:
        for piece in pieces:
            if isinstance(piece, bytes):
                writer.write(piece)
                await writer.drain()
                continue
            gone = asyncio.ensure_future(reader.read(1))  # a pause ends early where the asker has gone
            done, _ = await asyncio.wait({gone}, timeout=piece)
            if done:
                return
            gone.cancel()
            await asyncio.wait({gone})


class Asker:
    """A model in front of a server, and the attempts that it told of."""

    def __init__(self, url: str, *, clock: Clock | None = None, **settings: Any) -> None:
        self.connections = Connections()
        self.attempts: list[HttpAttempt] = []
        self.heard: list[str] = []
        clock = clock or SystemClock()
        environment = settings.pop("environment", {})
        key = settings.pop("api_key_env", "")
        found = ModelSettings(provider="here", model="m", **settings)
        dialect = DIALECTS[found.dialect or "openai"]
        transport = HttpTransport(url, connections=self.connections, now=clock.now, timeouts=found.timeouts)
        self.model = ChatModel(
            "here/m",
            found,
            transport,
            clock=clock,
            access=Provider(base_url=url, api_key_env=key, dialect=dialect),
            environment=environment,
            jitter=lambda: 0.0,
        )

    async def ask(self, text: str = "hello", *, listen: bool = False, **more: Any) -> ModelReply:
        """One question."""
        request = ModelRequest(**{"model": "m", "parts": (UserPart(text=text),), "tools": TOOLS, **more})
        on_text = self.heard.append if listen else None
        return await self.model.ask(request, on_attempt=self.attempts.append, on_text=on_text)

    async def fails(self, text: str = "hello", **more: Any) -> OstinatoError:
        """The error of a question that gets no reply."""
        try:
            found = await self.ask(text, **more)
        except OstinatoError as error:
            return error
        raise AssertionError(f"there was a reply: {found}")

    async def close(self) -> None:
        """Close what is open."""
        await self.connections.close()


@asynccontextmanager
async def asking(*answers: Answer, **settings: Any) -> AsyncIterator[tuple[Asker, RawServer]]:
    """A model in front of a raw server."""
    async with RawServer(*answers).open() as server:
        asker = Asker(server.url, **settings)
        try:
            yield asker, server
        finally:
            await asker.close()


IMPATIENT = Timeouts(connect_s=0.05, first_byte_s=0.05, silence_s=0.05, total_s=0.15)
"""For tests in which somebody has to wait."""
