"""Serves the application on the fleet's Unix socket, which nobody but the fleet's own user can open.

Knows nothing of operations. A public listener is not offered yet: it needs tokens, and exists only with them.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import stat
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from ostinato.domain.errors import Conflict, Invalid
from ostinato.gateway.http import error_body
from ostinato.gateway.socket_place import SOCKET_NAME, socket_address

if TYPE_CHECKING:
    from starlette.types import ASGIApp

CONNECTIONS_MAX = 512
"""More are answered with 503 at once."""

NO_REQUEST = Invalid(
    "This is not a valid HTTP/1.1 request",
    place="head",
    cure="Look at its first line, its headers (64 KiB at most) and the length of its body.",
)
"""What somebody is told who sends anything else."""

STOP_S = 2
"""Whole seconds that answers under way may take when the server stops."""


def listen(state_dir: Path) -> socket.socket:
    """A listening socket with mode 0600; the caller holds the fleet's lock, so that an old socket is nobody's."""
    _check_folder(state_dir)
    path = state_dir / SOCKET_NAME
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(path.lstat().st_mode):
            raise Conflict("There is something else in the place of the socket", place=str(path), cure="Remove it.")
        path.unlink()
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    before = os.umask(0o177)  # so that the socket is never open to others, not for an instant
    try:
        with socket_address(state_dir) as address:
            listener.bind(address)
    except OSError as error:
        listener.close()
        raise Conflict(f"The socket cannot be made: {error.strerror}", place=str(path)) from error
    finally:
        os.umask(before)
    return listener


def _protocol() -> type[asyncio.Protocol]:
    """uvicorn's HTTP, whose refusal of what is no request at all is an error like every other."""
    import h11
    from uvicorn.protocols.http.h11_impl import H11Protocol

    class Protocol(H11Protocol):
        def send_400_response(self, message: str) -> None:
            if self.conn.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                body = msgspec.json.encode(error_body(NO_REQUEST))
                head = [
                    ("content-type", "application/json"),
                    ("content-length", str(len(body))),
                    ("connection", "close"),
                ]
                events = h11.Response(status_code=400, headers=head), h11.Data(data=body), h11.EndOfMessage()
                self.transport.write(b"".join(self.conn.send(event) or b"" for event in events))
            self.transport.close()

    return Protocol


def _check_folder(state_dir: Path) -> None:
    mode = stat.S_IMODE(state_dir.stat().st_mode)
    if mode & 0o022:
        raise Invalid(f"Others can write in it (mode {mode:o})", place=str(state_dir), cure=f"chmod 700 {state_dir}")


class LocalServer:
    """The HTTP server of a node. `start` returns when it answers, `stop` when nothing is left of it."""

    def __init__(self, app: ASGIApp, *, state_dir: Path, closing: asyncio.Event) -> None:
        self._app = app
        self._state_dir = state_dir
        self._closing = closing
        self._server: Any = None
        self._serving: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Binds the socket and begins to answer."""
        if self._serving is not None:
            return
        from uvicorn.config import Config
        from uvicorn.server import Server

        config = Config(
            self._app,
            lifespan="off",
            log_config=None,
            access_log=False,
            http=_protocol(),
            ws="none",
            loop="none",
            server_header=False,
            date_header=False,
            proxy_headers=False,
            limit_concurrency=CONNECTIONS_MAX,
            timeout_keep_alive=5,
            timeout_graceful_shutdown=STOP_S,
        )
        server = self._server = Server(config)
        config.load()
        server.lifespan = config.lifespan_class(config)
        listener = listen(self._state_dir)
        # uvicorn's own `serve` takes over the signals of the process, which belong to the node.
        await server.startup(sockets=[listener])
        self._serving = asyncio.create_task(self._serve(server, listener), name="http server")

    async def _serve(self, server: Any, listener: socket.socket) -> None:
        await server.on_tick(0)
        await self._closing.wait()
        server.should_exit = True
        await server.shutdown(sockets=[listener])

    async def stop(self) -> None:
        """Ends streams, lets answers under way be sent, closes the socket and removes its file."""
        self._closing.set()
        serving, self._serving = self._serving, None
        if serving is not None:
            await serving
            with contextlib.suppress(FileNotFoundError):
                (self._state_dir / SOCKET_NAME).unlink()
