"""A script as a real HTTP server: `/v1/chat/completions`, `/v1/messages`, `/v1/responses`, `/v1/models`, `/healthz`.

aiohttp's server took 0.05 ms of CPU a request where starlette under uvicorn took 0.13 ms, and a process that asks
models has aiohttp loaded anyway. Faults that are about connections are made here. Knows nothing of agents or tasks.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ostinato.domain.errors import Conflict
from ostinato.models.scripted.face import Face
from ostinato.models.scripted.faces import FACES
from ostinato.models.scripted.openai_face import OPENAI_FACE
from ostinato.models.scripted.player import Player, Scene
from ostinato.models.scripted.script import Fault, FaultKind
from ostinato.models.scripted.wire import BadRequest

if TYPE_CHECKING:
    from aiohttp import web

REQUEST_MAX_BYTES = 64 * 1024 * 1024
"""Longest request that is read."""

COUNT_PATH = "/v1/messages/count_tokens"
"""Where clients ask how long a request would be."""

STOP_S = 0.2
"""How long an answer in progress may hold up the end of the server."""


class ScriptServer:
    """One script behind one port. Start and stop in the same loop; stopping twice is fine."""

    def __init__(self, player: Player, *, log: Path | None = None) -> None:
        self._player = player
        self._log_path = log
        self._log = -1
        self._runner: web.ServerRunner | None = None
        self._stopping = asyncio.Event()
        self.url = ""
        """`http://host:port/v1` once started."""
        self.port = 0

    async def start(self, *, host: str = "127.0.0.1", port: int = 0) -> None:
        """Listen; port 0 takes a free one. Raises Conflict where the address is taken or not ours, or the log cannot be
        written."""
        from aiohttp import web

        try:
            if self._log_path is not None:
                self._log = os.open(self._log_path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o600)
            runner = web.ServerRunner(web.Server(self._handle, access_log=None), shutdown_timeout=STOP_S)
            await runner.setup()
            self._runner = runner
            await web.TCPSite(runner, host, port).start()
        except (OSError, OverflowError) as error:
            await self.stop()
            words = f"the script server cannot start at {host}:{port}: {getattr(error, 'strerror', None) or error}"
            raise Conflict(words, cure="Choose another port, or 0 for any free one.") from error
        self.port = int(runner.addresses[0][1])
        self.url = f"http://{f'[{host}]' if ':' in host else host}:{self.port}/v1"

    async def stop(self) -> None:
        """Stop listening; answers in progress are cut."""
        self._stopping.set()
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()
        log, self._log = self._log, -1
        if log >= 0:
            os.close(log)

    async def _handle(self, request: web.BaseRequest) -> web.StreamResponse:
        path, method = request.path.rstrip("/"), request.method
        face = FACES.get(path)
        if face is not None and method == "POST":
            return await self._complete(request, face)
        if path == COUNT_PATH and method == "POST":
            return await _count(request)
        if path == "/v1/models" and method in ("GET", "HEAD"):
            names = self._player.script.models or ("scripted",)
            return _json({"object": "list", "data": [_model(each) for each in names], "has_more": False})
        if path == "/healthz" and method in ("GET", "HEAD"):
            return _json({"status": "ok"})
        known = face is not None or path in (COUNT_PATH, "/v1/models", "/healthz")
        words = f"{method} is not for {path}" if known else f"there is nothing at {path or '/'}"
        status = 405 if known else 404
        return _raw((face or OPENAI_FACE).error(words, status), status=status)

    async def _complete(self, request: web.BaseRequest, face: Face) -> web.StreamResponse:
        body = await body_or_none(request)
        if body is None:
            return _raw(face.error("the request is too long", 413), status=413)
        try:
            scene = self._player.answer(body, created=int(time.time()), face=face)
        except BadRequest as error:
            return _raw(face.error(str(error), 400), status=400)
        self._write_log(scene)
        if scene.plan.delay_s:
            await asyncio.sleep(scene.plan.delay_s)
        fault = scene.plan.fault
        return await (_reply(request, scene) if fault is None else self._faulty(request, scene, fault))

    def _write_log(self, scene: Scene) -> None:
        """One line of JSON for each request, on its way to the disk before the answer is on its way to the asker."""
        if self._log < 0:
            return
        line = msgspec.json.encode(
            {
                "at": time.time_ns() // 1000,
                "model": scene.asked.model,
                "user": scene.asked.user or "",
                "digest": scene.digest,
                "attempt": scene.attempt,
                "rule": scene.plan.rule,
                "tools": [call.tool for call in scene.plan.calls],
                "fault": scene.plan.fault.kind.value if scene.plan.fault else "",
            }
        )
        os.write(self._log, line + b"\n")

    async def _faulty(self, request: web.BaseRequest, scene: Scene, fault: Fault) -> web.StreamResponse:
        match fault.kind:
            case FaultKind.STATUS:
                body = fault.body.encode() or scene.face.error(f"scripted fault: status {fault.status}", fault.status)
                return _raw(body, status=fault.status, retry_after=fault.retry_after)
            case FaultKind.DROP:
                return _cut(request)
            case FaultKind.HANG:
                await self._stopping.wait()
                return _cut(request)
            case FaultKind.TRUNCATE:
                return await _truncated(request, scene)
            case FaultKind.ENDLESS:
                return await _endless(request, scene.face.flood())
            case FaultKind.HTML:
                return _raw(scene.face.whole(scene.plan, scene.identity), kind="text/html")
            case _:
                return await _reply(request, scene)


async def body_or_none(request: web.BaseRequest) -> bytes | None:
    """The body of a request; None where it is too long."""
    if (request.content_length or 0) > REQUEST_MAX_BYTES:
        return None
    body = bytearray()
    while block := await request.content.readany():
        body += block
        if len(body) > REQUEST_MAX_BYTES:
            return None
    return bytes(body)


async def _count(request: web.BaseRequest) -> web.Response:
    """Tokens of a request that is not made: four bytes each."""
    body = await body_or_none(request)
    return _json({"input_tokens": (len(body or b"") + 3) // 4})


def _model(name: str) -> dict[str, object]:
    """A model as both dialects list it."""
    made = {"created": 0, "owned_by": "script", "created_at": "1970-01-01T00:00:00Z"}
    return {"id": name, "object": "model", "type": "model", "display_name": name, **made}


async def _reply(request: web.BaseRequest, scene: Scene) -> web.StreamResponse:
    """A reply as the dialect has it: whole or streamed, and if the rule says so, piece by piece."""
    if not scene.asked.stream:
        return _raw(scene.face.whole(scene.plan, scene.identity))
    events = _events(scene)
    if not scene.plan.pace_s:
        return _raw(b"".join(events), kind="text/event-stream")
    response = await _open(request)
    for event in events:
        await response.write(event)
        await asyncio.sleep(scene.plan.pace_s)
    return response


def _events(scene: Scene) -> list[bytes]:
    return scene.face.events(scene.plan, scene.identity, scene.asked)


async def _truncated(request: web.BaseRequest, scene: Scene) -> web.StreamResponse:
    if scene.asked.stream:
        body, kind = b"".join(_events(scene)), "text/event-stream"
    else:
        body, kind = scene.face.whole(scene.plan, scene.identity), "application/json"
    response = await _open(request, kind=kind, length=len(body))
    await response.write(body[: len(body) // 2])
    return _cut(request)


async def _endless(request: web.BaseRequest, flood: bytes) -> web.StreamResponse:
    response = await _open(request)
    with suppress(ConnectionError):  # the asker has had enough
        while True:
            await response.write(flood)
            await asyncio.sleep(0)
    return response


async def _open(
    request: web.BaseRequest, *, kind: str = "text/event-stream", length: int | None = None
) -> web.StreamResponse:
    from aiohttp import web

    response = web.StreamResponse(headers={"Content-Type": kind})
    response.content_length = length
    await response.prepare(request)
    return response


def _cut(request: web.BaseRequest) -> web.StreamResponse:
    """Close the connection; the answer that is returned no longer reaches anybody."""
    if request.transport is not None:
        request.transport.close()
    return _raw(b"")


def _raw(body: bytes, *, status: int = 200, kind: str = "application/json", retry_after: str = "") -> web.Response:
    from aiohttp import web

    headers = {"Content-Type": kind, "Retry-After": retry_after} if retry_after else {"Content-Type": kind}
    return web.Response(body=body, status=status, headers=headers)


def _json(value: object) -> web.Response:
    return _raw(msgspec.json.encode(value))


def serve(
    script: Path,
    *,
    host: str = "127.0.0.1",
    port: int = 0,
    ready: Callable[[str], None],
    log: Path | None = None,
) -> None:
    """Serve a script until SIGINT or SIGTERM. `ready` is told the URL up to `/v1` once it listens.

    Loopback only, unless another host is asked for: the server asks for no key. Raises Invalid for a bad script, and
    Conflict where it cannot listen.
    """
    player = Player.of_file(script)

    async def serving() -> None:
        server = ScriptServer(player, log=log)
        await until_signalled(lambda: server.start(host=host, port=port), lambda: ready(server.url), stop=server.stop)

    asyncio.run(serving())


async def until_signalled(
    start: Callable[[], Awaitable[None]], ready: Callable[[], None], *, stop: Callable[[], Awaitable[None]]
) -> None:
    """Starts a server, says that it is ready, and stops it when SIGINT or SIGTERM comes."""
    signalled = asyncio.Event()
    loop = asyncio.get_running_loop()
    for each in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(each, signalled.set)
    await start()
    try:
        ready()
        await signalled.wait()
    finally:
        await stop()
