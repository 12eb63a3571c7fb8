"""Links with servers, by the protocol's own SDK: over the pipes of a process in a room, or over HTTP.

Only the composition root names this room, and loads it late: the SDK takes 0.8 s to import. Requests go beside the
SDK's conveniences, which compile the output schemas that a server sends. Knows nothing of toolboxes, pins or policy.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import shutil
import tempfile
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import anyio
import httpx2
import mcp_types as types
import msgspec
from mcp import ClientSession
from mcp.client.streamable_http import streamable_http_client
from mcp.shared.exceptions import MCPError
from mcp.shared.message import SessionMessage

from ostinato import __version__
from ostinato.domain.errors import Conflict, Exhausted, OstinatoError
from ostinato.domain.values import Value
from ostinato.tools.mcp.answers import answer_of
from ostinato.tools.mcp.port import Answer, McpPlace, McpServer, Refused
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.sandbox.program import check_folders, find_program
from ostinato.tools.sandbox.resident import LINE_BYTES_MAX, Resident
from ostinato.tools.sandbox.room import Bounds, Errand, Room
from ostinato.tools.sandbox.surroundings import PLAIN, values_of
from ostinato.tools.web.proxy import helper_way
from ostinato.tools.web.way import VARIABLES

TOOLS_MAX = 1_000
"""Tools that are read of one server at all; of these, the offers are made."""

PAGES_MAX = 20
"""Pages of one listing."""

CONNECT_S = 10.0
FOREVER_S = 10 * 365 * 86_400.0

_NOT_DONE = frozenset((-32601, -32602))
"""Codes of JSON-RPC by which a server says that there was no such call: its method or arguments are none. Others may be
the SDK's own, for answers that it cannot read: then the call may have happened."""

_INFO = types.Implementation(name="ostinato", version=__version__)
_TOOLS_CHANGED = "notifications/tools/list_changed"


@contextlib.asynccontextmanager
async def dial(server: McpServer, place: McpPlace, changed: Callable[[], None]) -> AsyncIterator[SdkLink]:
    """A link with a server, whichever way it is reached; satisfies `port.Dial`."""
    logging.getLogger("mcp").setLevel(logging.CRITICAL)  # what a server says must not become log lines
    over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def hear(message: object) -> None:
        if isinstance(message, types.ToolListChangedNotification):
            changed()

    async with contextlib.AsyncExitStack() as ends:
        if server.url:
            read, write = await ends.enter_async_context(_over_http(server))
        else:
            read, write = await ends.enter_async_context(_over_pipes(server, place, over))
        session = await ends.enter_async_context(ClientSession(read, write, message_handler=hear, client_info=_INFO))
        try:
            async with asyncio.timeout(server.start_s):
                await session.initialize()
        except Exception as error:  # what the SDK makes of a broken link says less than the link itself
            if over.done():
                raise Conflict(over.result()) from error
            raise
        yield SdkLink(session, over, ping=bool(server.url))


class SdkLink:
    """Satisfies `port.Link`."""

    def __init__(self, session: ClientSession, over: asyncio.Future[str], *, ping: bool) -> None:
        self._session = session
        self._over = over
        self._ping = ping

    async def tools(self) -> list[dict[str, Any]]:
        """What it offers, page by page."""
        found = list[dict[str, Any]]()
        cursor: str | None = None
        for _ in range(PAGES_MAX):
            params = types.PaginatedRequestParams(cursor=cursor)
            page = await self._session.send_request(types.ListToolsRequest(params=params), types.ListToolsResult)
            found += [each.model_dump(by_alias=True, mode="json", exclude_none=True) for each in page.tools]
            cursor = page.next_cursor
            if not cursor or len(found) >= TOOLS_MAX:
                break
        return found[:TOOLS_MAX]

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        """One call; see the port."""
        request = types.CallToolRequest(params=types.CallToolRequestParams(name=tool, arguments=arguments))
        try:
            result = await self._session.send_request(request, types.CallToolResult)
        except MCPError as error:
            if error.error.code in _NOT_DONE:
                raise Refused(error.error.message[:500]) from None
            raise
        return answer_of(result.model_dump(by_alias=True, mode="json", exclude_none=True))

    async def closed(self) -> str:
        """When it is over, and why. A server at the other end of HTTP has no end that could be heard: it is asked."""
        if not self._ping:
            return await asyncio.shield(self._over)
        while True:
            await asyncio.sleep(PING_S)
            try:
                async with asyncio.timeout(CONNECT_S):
                    await self._session.send_request(types.PingRequest(), types.EmptyResult)
            except Exception as error:  # whatever the SDK or the network raises, the answer is the same
                return f"it does not answer any more: {type(error).__name__}"


PING_S = 30.0
"""How often a server behind a URL is asked whether it is there."""

Streams = tuple[Any, Any]


@contextlib.asynccontextmanager
async def _over_pipes(server: McpServer, place: McpPlace, over: asyncio.Future[str]) -> AsyncIterator[Streams]:
    """A process in a room. `over` gets the reason when it has ended."""
    backend, account = (await preflight(place.fleet)).required()
    reads = tuple(Path(each) for each in server.reads)
    check_folders(reads, fleet=place.fleet)
    program = find_program(server.command, reads)
    own = Path(tempfile.mkdtemp(prefix="ostinato-mcp-"))
    resident, ways = None, contextlib.AsyncExitStack()
    try:
        if os.geteuid() == 0:
            os.chown(own, account.uid, account.gid)
        folder = (place.fleet / server.folder).resolve() if server.folder else own
        way = await ways.enter_async_context(helper_way(place.ways, f"mcp.{server.name}", server.network))
        room = Room(workspace=folder, reads=reads, bounds=Bounds(cpu_s=FOREVER_S), way=way)
        path = ":".join([*(f"{each}/bin" for each in server.reads), PLAIN["PATH"]])
        variables = {**PLAIN, "PATH": path, **(VARIABLES if way else {}), **values_of(server.env)}
        errand = Errand(argv=(program.path, *server.args), cwd=folder, environment=variables)
        resident = await Resident.start(backend, room, errand, account=account)
        async with _joined(resident, over) as streams:
            yield streams
    finally:
        if resident is not None:
            await resident.end()
        await ways.aclose()
        await asyncio.to_thread(shutil.rmtree, own, ignore_errors=True)


@contextlib.asynccontextmanager
async def _joined(resident: Resident, over: asyncio.Future[str]) -> AsyncIterator[Streams]:
    """The lines of a process as the SDK's streams."""
    heard, read = anyio.create_memory_object_stream[SessionMessage | Exception](0)
    write, said = anyio.create_memory_object_stream[SessionMessage](0)

    async def hear() -> None:
        why = ""
        try:
            async for line in resident.lines():
                message = _message_or_none(line)
                if message is not None:
                    await heard.send(message)
        except Exhausted as error:
            why = str(error)
        finally:
            await resident.end()
            if not over.done():
                over.set_result(why or f"it has ended: {resident.last_words()}")
            heard.close()

    async def say() -> None:
        async for message in said:
            with contextlib.suppress(OstinatoError):  # `hear` notices
                await resident.send(message.message.model_dump_json(by_alias=True, exclude_unset=True).encode())

    both = [asyncio.ensure_future(each) for each in (hear(), say())]
    try:
        yield read, write
    finally:
        for each in both:
            each.cancel()
        await asyncio.wait(both)
        for stream in (heard, read, write, said):
            stream.close()


class _Head(Value):
    """As much of a message as is looked at before the SDK does."""

    id: Any = None
    method: Any = None


def _message_or_none(line: bytes) -> SessionMessage | None:
    """A line as a message. What is none, and notifications that nobody waits for, are dropped here, for little."""
    try:
        head = msgspec.json.decode(line, type=_Head)
        if head.id is None and head.method != _TOOLS_CHANGED:
            return None
        return SessionMessage(types.jsonrpc_message_adapter.validate_json(line, by_name=False))
    except (ValueError, RecursionError):
        return None


@contextlib.asynccontextmanager
async def _over_http(server: McpServer) -> AsyncIterator[Streams]:
    headers = {"Accept-Encoding": "identity"}  # nothing that a few bytes could inflate
    if server.token_env:
        headers["Authorization"] = f"Bearer {values_of((server.token_env,))[server.token_env]}"
    timeout = httpx2.Timeout(CONNECT_S, read=server.timeout_s + CONNECT_S)
    transport = _Bounded(verify=True, trust_env=False, limits=httpx2.Limits(max_connections=16))
    async with (
        httpx2.AsyncClient(headers=headers, timeout=timeout, transport=transport, trust_env=False) as client,
        streamable_http_client(server.url, http_client=client, max_sse_event_size=LINE_BYTES_MAX) as streams,
    ):
        yield streams


class _Bounded(httpx2.AsyncHTTPTransport):
    """A transport whose answers have a most, however they are sent."""

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """As the library's own, with a bounded body."""
        response = await super().handle_async_request(request)
        if response.headers.get("content-encoding", "identity") != "identity":
            await response.aclose()
            raise httpx2.ReadError("the answer is compressed, which was not asked for", request=request)
        response.stream = _BoundedStream(response.stream)
        return response


class _BoundedStream(httpx2.AsyncByteStream):
    def __init__(self, stream: Any) -> None:
        self._stream = stream

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for data in self._stream:
            size += len(data)
            if size > BODY_BYTES_MAX:
                raise httpx2.ReadError(f"the answer has more than {BODY_BYTES_MAX} bytes")
            yield data

    async def aclose(self) -> None:
        await self._stream.aclose()


BODY_BYTES_MAX = 2 * LINE_BYTES_MAX
"""Bytes of one answer over HTTP."""
