"""A model that costs nothing, in a process of its own: raw HTTP on a socket, one tool call, then an answer.

Nothing is parsed but the length of the body and whether a tool has answered yet, so that what is measured is the turn
and not the model. Speaks the OpenAI chat dialect, whole replies and streams.
"""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from pathlib import Path

USAGE = {"prompt_tokens": 900, "completion_tokens": 20, "total_tokens": 920}
ARGUMENTS = '{"query":"bench"}'


def _whole(message: dict[str, object], reason: str) -> bytes:
    body = {
        "id": "x",
        "object": "chat.completion",
        "model": "bench",
        "usage": USAGE,
        "choices": [{"index": 0, "finish_reason": reason, "message": {"role": "assistant", **message}}],
    }
    data = json.dumps(body).encode()
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _stream(delta: dict[str, object], reason: str) -> bytes:
    first = {"id": "x", "model": "bench", "choices": [{"index": 0, "delta": {"role": "assistant", **delta}}]}
    last = {"id": "x", "model": "bench", "choices": [{"index": 0, "delta": {}, "finish_reason": reason}]}
    usage = {"id": "x", "model": "bench", "choices": [], "usage": USAGE}
    data = b"".join(b"data: " + json.dumps(each).encode() + b"\n\n" for each in (first, last, usage))
    data += b"data: [DONE]\n\n"
    head = f"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nContent-Length: {len(data)}\r\n\r\n"
    return head.encode() + data


def _call(tool: str) -> dict[str, object]:
    return {
        "content": None,
        "tool_calls": [
            {"index": 0, "id": "c1", "type": "function", "function": {"name": tool, "arguments": ARGUMENTS}}
        ],
    }


class Replies:
    """The four replies there are, made once. `asked` is called with each request."""

    def __init__(self, tool: str, *, asked: Callable[[], None] = lambda: None) -> None:
        self._asked = asked
        answer: dict[str, object] = {"content": "All is well."}
        self.whole = (_whole(_call(tool), "tool_calls"), _whole(answer, "stop"))
        self.stream = (_stream(_call(tool), "tool_calls"), _stream(answer, "stop"))

    def to(self, body: bytes) -> bytes:
        """A tool call, or the answer once the last message is a tool's."""
        self._asked()
        answered = b'"role":"tool"' in body or b'"role": "tool"' in body
        streams = b'"stream":true' in body or b'"stream": true' in body
        return (self.stream if streams else self.whole)[answered]


class Connection(asyncio.Protocol):
    """One keep-alive connection."""

    def __init__(self, replies: Replies) -> None:
        self._replies = replies
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keeps the transport."""
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answers each complete request."""
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            head = self._buffer[:end].lower()
            at = head.find(b"content-length:")
            length = int(head[at + 15 :].split(b"\r\n", 1)[0]) if at >= 0 else 0
            if len(self._buffer) < end + 4 + length:
                return
            body, self._buffer = self._buffer[end + 4 : end + 4 + length], self._buffer[end + 4 + length :]
            assert self._transport is not None
            self._transport.write(self._replies.to(body))


async def listen(replies: Replies) -> asyncio.Server:
    """A server on a port of its own."""
    return await asyncio.get_running_loop().create_server(lambda: Connection(replies), "127.0.0.1", 0)


async def serve(port_file: Path, tool: str) -> None:
    """Serves until the process is ended; writes its port into `port_file`."""
    server = await listen(Replies(tool))
    port_file.with_suffix(".new").write_text(str(server.sockets[0].getsockname()[1]))
    port_file.with_suffix(".new").rename(port_file)
    await server.serve_forever()


if __name__ == "__main__":
    asyncio.run(serve(Path(sys.argv[1]), sys.argv[2]))
