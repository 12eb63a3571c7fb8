"""The way of sandboxed programs to the network: a proxy of the runtime, one socket for each process.

A command's room has a network of its own with nothing in it. `Ways.open` makes a folder with a socket, and the room is
given that folder (`Room.way`; the folder, not the socket: a later node makes a new socket in it). Inside, a small
program (`sandbox/forward.py`) listens on a loopback port and hands each connection on to the socket; the command's
programs are told by `way.VARIABLES`. Whoever comes through a folder's socket is the process that the folder was made
for: it needs no password, its name is the token. What it may reach is stored beside the socket, so that after a restart
`Ways.resume` goes on for processes that have lived through it; `Ways.close` ends a way with its process.

Names of hosts only, judged by the same guard as every tool. Knows nothing of sandboxes or processes.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import secrets
import shutil
import socket
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from ostinato.domain.errors import Conflict, Denied, Exhausted, Invalid, OstinatoError
from ostinato.domain.values import digest_of, to_json
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.server_name import foreign_name
from ostinato.tools.web.target import Target, parse_authority, parse_target
from ostinato.tools.web.way import SOCKET_NAME, Way

HEAD_BYTES_MAX = 16_384
"""Of the head of a request."""
HEAD_S = 15.0
"""Seconds until the head of a request is whole."""
CONNECT_S = 20.0
"""Until a host has answered a connection."""
IDLE_S = 600.0
"""Seconds without a byte in either direction, after which a connection is closed."""
CONNECTIONS_MAX = 64
"""Of one process at a time."""

if TYPE_CHECKING:
    import ssl

_STORED = "way.json"
_CHUNK_BYTES = 65_536
_DROPPED = ("host", "connection", "keep-alive", "te", "trailer", "upgrade", "expect")
_ECHOING = frozenset({"TRACE", "TRACK"})
"""Methods whose answer is the request: with the secrets that were added to it."""

_HEADER = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]+:[^\x00-\x08\x0a-\x1f\x7f]*", re.ASCII)
"""A line of a head that every server reads alike: no space before the colon, no line that goes on, no bare line end."""

_STATUS = {Invalid: 400, Denied: 403, Conflict: 409, Exhausted: 502}

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]
Credentials = Callable[[Way, Target], Mapping[str, str]]
"""Way and target -> headers that are added for it, with their secrets in them."""


def _stored_in(folder: Path) -> Way | None:
    try:
        return msgspec.json.decode((folder / _STORED).read_bytes(), type=Way)
    except (OSError, msgspec.MsgspecError):
        return None


@contextlib.asynccontextmanager
async def helper_way(ways: Ways | None, name: str, network: tuple[str, ...]) -> AsyncIterator[Path | None]:
    """The folder of the way of a helper that stays (a server of tools, a worker); None where it reaches nothing. It is
    given no credentials: what a helper may know it finds in its environment."""
    if not network:
        yield None
        return
    if ways is None:
        raise Denied(f"{name} has no network here")
    async with ways.lent(agent=name, network=network) as folder:
        yield folder


def ways_folder(state_dir: Path) -> Path:
    """Where the ways of a fleet are: in its state; for root in /run, as the user of the commands must get there."""
    if os.geteuid() != 0:
        return state_dir / "ways"
    return Path("/run/ostinato-ways") / digest_of(os.fsencode(state_dir.resolve()))[:16]


def no_credentials(_way: Way, _target: Target) -> Mapping[str, str]:
    """Nothing is added for anybody."""
    return {}


class Ways:
    """All ways of a node. `owner`: as whom commands run, where that is not this process's own user."""

    def __init__(
        self, folder: Path, *, guard: Guard, credentials: Credentials = no_credentials, owner: int | None = None
    ) -> None:
        self._folder = folder
        self._owner = owner
        self._guard = guard
        self._credentials = credentials
        self._listening: dict[str, asyncio.Server] = {}
        self._connections: dict[str, set[asyncio.Task[None]]] = {}

    async def open(
        self,
        *,
        agent: str,
        network: tuple[str, ...],
        credentials: Mapping[str, Mapping[str, str]] | None = None,
        lasting: bool = False,
    ) -> Way:
        """A new way, at which somebody listens. `credentials`: texts of headers, by host; `lasting`: its process may
        live through a restart of the node."""
        given = {host: dict(headers) for host, headers in (credentials or {}).items()}
        way = Way(token=secrets.token_hex(16), agent=agent, network=network, credentials=given, lasting=lasting)
        folder = self.folder(way)
        self._folder.mkdir(mode=0o711, parents=True, exist_ok=True)
        folder.mkdir(mode=0o700)
        (folder / _STORED).touch(mode=0o600)
        (folder / _STORED).write_bytes(to_json(way))
        if self._owner is not None:
            os.chown(folder, self._owner, -1)
        await self._listen(way)
        return way

    @contextlib.asynccontextmanager
    async def lent(
        self, *, agent: str, network: tuple[str, ...], credentials: Mapping[str, Mapping[str, str]] | None = None
    ) -> AsyncIterator[Path]:
        """The folder of a way that is there for as long as somebody holds it, and no longer than this node."""
        way = await self.open(agent=agent, network=network, credentials=credentials)
        try:
            yield self.folder(way)
        finally:
            await self.close(way.token)

    def folder(self, way: Way) -> Path:
        """What its room must be given as `WAY_FOLDER`."""
        return self._folder / way.token

    async def resume(self) -> None:
        """Listens again at the lasting ways that an earlier node has left, and clears away the others."""
        for folder in sorted(self._folder.glob("*")):
            way = _stored_in(folder)
            if way is None or not way.lasting or way.token != folder.name:
                await self.close(folder.name)
            elif way.token not in self._listening:
                await self._listen(way)

    def tokens(self) -> tuple[str, ...]:
        """Of all ways that are open."""
        return tuple(self._listening)

    async def close(self, token: str) -> None:
        """Ends a way for good; twice is fine."""
        await self._hang_up(token)
        if token.isalnum():
            await asyncio.to_thread(shutil.rmtree, self._folder / token, ignore_errors=True)

    async def stop(self) -> None:
        """Stops listening; the ways stay for the next node."""
        for token in tuple(self._listening):
            await self._hang_up(token)

    async def _hang_up(self, token: str) -> None:
        server = self._listening.pop(token, None)
        if server is not None:
            server.close()
        for each in (connections := self._connections.pop(token, set())):
            each.cancel()
        if connections:
            await asyncio.wait(connections)

    async def _listen(self, way: Way) -> None:
        """Binds by the folder's descriptor, for a socket's path must be short."""
        descriptor = os.open(self.folder(way), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(SOCKET_NAME, dir_fd=descriptor)
            listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK)
            listener.bind(f"/proc/self/fd/{descriptor}/{SOCKET_NAME}")
            os.chmod(SOCKET_NAME, 0o666, dir_fd=descriptor)  # the folder is nobody else's
        finally:
            os.close(descriptor)
        self._connections[way.token] = set()
        self._listening[way.token] = await asyncio.start_unix_server(
            lambda reader, writer: self._serve(way, (reader, writer)), sock=listener, limit=HEAD_BYTES_MAX
        )

    async def _serve(self, way: Way, inner: Streams) -> None:
        """One connection of a process, from its first word to its end."""
        task, tasks = asyncio.current_task(), self._connections.get(way.token)
        if task is None or tasks is None or len(tasks) >= CONNECTIONS_MAX:
            inner[1].close()
            return
        tasks.add(task)
        try:
            await self._answer(way, inner)
        except OstinatoError as error:
            await _refuse(inner[1], error)
        except (OSError, TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError):
            pass  # either side hung up, or said nothing, or no HTTP: the connection is closed, and the command sees it
        except asyncio.CancelledError:
            pass  # the way is closed; the streams' own machinery would report it as an error
        finally:
            tasks.discard(task)
            inner[1].close()

    async def _answer(self, way: Way, inner: Streams) -> None:
        async with asyncio.timeout(HEAD_S):
            head = (await inner[0].readuntil(b"\r\n\r\n")).decode("latin-1")
        request, *lines = head[:-4].split("\r\n")
        method, _, rest = request.partition(" ")
        address, _, version = rest.partition(" ")
        if version not in ("HTTP/1.1", "HTTP/1.0") or not method.isalpha():
            raise Invalid("This is no request to a proxy")
        if method == "CONNECT":
            host, port = parse_authority(address)
            await self._tunnel(way, Target(scheme="https", host=host, port=port), inner)
        else:
            await self._hand_on(way, parse_target(address), inner, head=(method, lines))

    async def _tunnel(self, way: Way, target: Target, inner: Streams) -> None:
        """CONNECT: whatever both sides say, once the name that TLS asks for is the one that was judged."""
        outer = await self._connect(way, target)
        try:
            inner[1].write(b"HTTP/1.1 200 Connected\r\n\r\n")
            first = await _first_words(inner[0])
            if foreign_name(first, target.host):
                return
            outer[1].write(first)
            await _pumped(inner, outer)
        finally:
            outer[1].close()

    async def _hand_on(self, way: Way, target: Target, inner: Streams, *, head: tuple[str, list[str]]) -> None:
        """A request in plain HTTP. Where credentials are declared for its host it goes on encrypted, with them."""
        method, lines = head
        if target.scheme != "http":
            raise Invalid("A proxy is asked for https by CONNECT")
        if method.upper() in _ECHOING:
            raise Invalid(f"{method[:20]} is not handed on", cure="It would answer with what is added to a request.")
        if not all(map(_HEADER.fullmatch, lines)):
            raise Invalid("A header can be read in two ways", cure="Write each as 'name: value', in a line of its own.")
        headers = [each for each in lines if not _is_dropped(each)]
        if any(each.lower().startswith("transfer-encoding:") for each in headers):
            raise Invalid("Bodies in pieces are not handed on", cure="Send a Content-Length.")
        left = _length(headers)
        encrypted = msgspec.structs.replace(target, scheme="https", port=443) if target.port == 80 else target
        added = self._credentials(way, encrypted)
        target = encrypted if added else target
        names = {each.lower() for each in added}
        headers = [each for each in headers if each.partition(":")[0].strip().lower() not in names]
        headers += [f"Host: {target.authority}", "Connection: close", *(f"{k}: {v}" for k, v in added.items())]
        outer = await self._connect(way, target, encrypted=target.scheme == "https")
        try:
            outer[1].write("\r\n".join([f"{method} {target.path} HTTP/1.1", *headers, "", ""]).encode("latin-1"))
            sending = asyncio.create_task(_copied(inner[0], outer[1], most=left))
            try:
                await _copied(outer[0], inner[1])
            finally:
                sending.cancel()
                await asyncio.wait([sending])
        finally:
            outer[1].close()

    async def _connect(self, way: Way, target: Target, *, encrypted: bool = False) -> Streams:
        """To one of the addresses that were judged, and no other."""
        addresses = await self._guard.addresses(target, way.network)
        context = await asyncio.to_thread(_tls) if encrypted else None
        problem: Exception | None = None
        for address in addresses:
            try:
                async with asyncio.timeout(CONNECT_S):
                    return await asyncio.open_connection(
                        address, target.port, ssl=context, server_hostname=target.host if context else None
                    )
            except (OSError, TimeoutError) as error:
                problem = error
        raise Exhausted(f"{target.host} cannot be reached: {problem}")


def _tls() -> ssl.SSLContext:
    import ssl  # 20 ms, and few commands need it

    return ssl.create_default_context()


async def _first_words(reader: asyncio.StreamReader) -> bytes:
    """What the inner side says first; of TLS all of its first record, which may come in pieces."""
    async with asyncio.timeout(IDLE_S):
        said = await reader.read(_CHUNK_BYTES)
    async with asyncio.timeout(HEAD_S):
        while said[:1] == b"\x16" and len(said) < 5 + int.from_bytes(said[3:5]):
            more = await reader.read(_CHUNK_BYTES)
            if not more:
                break
            said += more
    return said


async def _pumped(one: Streams, other: Streams) -> None:
    """Both directions, until both have ended or nobody says anything for long."""
    await asyncio.gather(_copied(one[0], other[1]), _copied(other[0], one[1]))


async def _copied(reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, most: int | None = None) -> None:
    """Bytes from here to there, at most so many; the end is passed on where there is no such bound."""
    left = most
    while left is None or left > 0:
        async with asyncio.timeout(IDLE_S):
            data = await reader.read(_CHUNK_BYTES if left is None else min(left, _CHUNK_BYTES))
        if not data:
            break
        left = None if left is None else left - len(data)
        writer.write(data)
        async with asyncio.timeout(IDLE_S):
            await writer.drain()
    if most is None and writer.can_write_eof():
        with contextlib.suppress(OSError):
            writer.write_eof()


async def _refuse(writer: asyncio.StreamWriter, error: OstinatoError) -> None:
    text = f"ostinato: {error}\n".encode()
    head = f"HTTP/1.1 {_STATUS.get(type(error), 502)} Refused\r\nContent-Type: text/plain\r\n"
    with contextlib.suppress(OSError):
        writer.write(f"{head}Content-Length: {len(text)}\r\nConnection: close\r\n\r\n".encode() + text)
        await writer.drain()


def _is_dropped(line: str) -> bool:
    name = line.partition(":")[0].strip().lower()
    return name in _DROPPED or name.startswith("proxy-")


def _length(headers: list[str]) -> int:
    """Bytes of a request's body. Raises Invalid where that is told twice or not in digits."""
    found = {each.partition(":")[2].strip() for each in headers if each.lower().startswith("content-length:")}
    if not found:
        return 0
    text = found.pop()
    if found or not (text.isascii() and text.isdecimal() and len(text) < 16):
        raise Invalid("The length of the body is not clear")
    return int(text)
