"""The one way from a command to the fleet: over the node's socket where one runs, else in this process with the engine
off.

Both ways call the same operations with the same requests, and raise the same errors. Knows nothing of what commands
print.
"""

from __future__ import annotations

import http.client
import os
import socket
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote, urlencode

import msgspec

from ostinato.domain import errors
from ostinato.domain.errors import Conflict, Denied, Internal, NotFound, OstinatoError
from ostinato.engine.lock import FleetLock
from ostinato.gateway.keyring import held
from ostinato.gateway.operation import AnyRoute, Ask, Operation, Stream, View, request_fields
from ostinato.gateway.socket_place import SOCKET_NAME, socket_address

Request = TypeVar("Request", bound=Ask)
Response = TypeVar("Response", bound=View)

CALL_TIMEOUT_S = 120.0
"""A backup or a check of a large database takes its time."""

STARTING_S = 10.0
"""How long a node that holds the fleet may take until its socket answers."""

BACK_WITHIN_S = 600.0
"""How long somebody who follows waits for a node to come back: a deploy, or a person who has to log in."""

TARGET_CHARS_MAX = 60_000
"""The head of a request has room for 64 KiB."""

STATE_FOLDER = ".ostinato"
FLEET_FILE = "ostinato.toml"


class Client:
    """Calls operations of one fleet. `folder` is the fleet's own, or any below it; None: where the command runs."""

    def __init__(self, folder: Path | None = None) -> None:
        self._start = folder
        self._fleet: Path | None = None

    @property
    def fleet(self) -> Path:
        """The fleet's folder; raises NotFound."""
        if self._fleet is None:
            self._fleet = _found(Path(os.path.abspath(self._start or _here())))
        return self._fleet

    @property
    def state_dir(self) -> Path:
        """Where the fleet's database and socket are."""
        return self.fleet / STATE_FOLDER

    def node_runs(self) -> bool:
        """True where a node answers on the fleet's socket."""
        connection = self._connect()
        if connection is None:
            return False
        connection.close()
        return True

    def call(self, route: Operation[Request, Response], request: Request) -> Response:
        """One request, one response."""
        deadline_s = time.monotonic() + STARTING_S
        while True:
            connection = self._connect()
            if connection is not None:
                return _over_http(connection, route, request, token=held(self.state_dir))
            from ostinato.app import FleetHeld, call_here

            token = held(self.state_dir)
            try:
                return call_here(self.fleet, route, request, token=token)
            except Denied:
                # Where there was no token: another command of this person may have been the fleet's first just now.
                if token is not None or held(self.state_dir) is None:
                    raise
            except FleetHeld as busy:
                # A node that is just starting, or another command's write: its turn first, then ours.
                if time.monotonic() >= deadline_s:
                    raise Conflict(busy.message, place=busy.place, cure=busy.cure) from busy
                time.sleep(0.05)

    def stream(self, route: Stream[Request, Response], request: Request) -> Iterator[Response | None]:
        """Responses as they come; None where nothing came for a while. Needs a node."""
        connection = self._connect_to_starting()
        if connection is None:
            raise Conflict(
                "No node is running: nothing was sent, and nothing can be followed", cure="Start one: ostinato up"
            )
        return _lines(connection, route, request, token=held(self.state_dir))

    def follow(
        self,
        route: Stream[Request, Response],
        request: Request,
        *,
        key: Callable[[Response], object],
        gone: Callable[[], None],
    ) -> Iterator[Response]:
        """The same, across starts of the node: what was told before is not told again, by its `key`. `gone` is called
        when the node goes away. Ends only when the caller does, or no node came back for BACK_WITHIN_S."""
        seen: set[object] = set()
        stream = self.stream(route, request)  # at first there must be one
        while True:
            try:
                for item in stream:
                    if item is not None and key(item) not in seen:
                        seen.add(key(item))
                        yield item
            except Conflict:
                if not seen:
                    raise
                # Killed in the midst of it, or just when it was asked; one that stops ends the stream in order.
            gone()
            stream = self._back(route, request)

    def _back(self, route: Stream[Request, Response], request: Request) -> Iterator[Response | None]:
        deadline_s = time.monotonic() + BACK_WITHIN_S
        while not self.node_runs():
            if time.monotonic() >= deadline_s:
                raise Conflict(f"No node has come back for {BACK_WITHIN_S:g} s", cure="Start one: ostinato up")
            time.sleep(0.2)
        return self.stream(route, request)

    def _connect_to_starting(self) -> UnixConnection | None:
        """The same for what only a node can answer: one that holds the fleet already is about to listen."""
        deadline_s = time.monotonic() + STARTING_S
        connection = self._connect()
        while connection is None and FleetLock(self.state_dir).holder() is not None and time.monotonic() < deadline_s:
            time.sleep(0.05)
            connection = self._connect()
        return connection

    def _connect(self) -> UnixConnection | None:
        if not self.state_dir.is_dir():
            return None
        connection = UnixConnection(self.state_dir)
        try:
            connection.connect()
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except PermissionError as error:
            place = str(self.state_dir / SOCKET_NAME)
            raise errors.Denied("The fleet belongs to another user", place=place, cure="Use that user.") from error
        return connection


class UnixConnection(http.client.HTTPConnection):
    """HTTP over the fleet's socket."""

    def __init__(self, state_dir: Path) -> None:
        super().__init__("localhost", timeout=CALL_TIMEOUT_S)
        self._state_dir = state_dir

    def connect(self) -> None:
        """Opens the socket."""
        opened = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        opened.settimeout(self.timeout)
        try:
            with socket_address(self._state_dir) as address:
                opened.connect(address)
        except BaseException:  # also Ctrl-C: no open socket stays behind
            opened.close()
            raise
        self.sock = opened


def _here() -> Path:
    try:
        return Path.cwd()
    except FileNotFoundError as error:
        raise NotFound(
            "The folder that you are in is gone", cure="Go to another one, or name the fleet's with --fleet."
        ) from error


def _found(start: Path) -> Path:
    """The fleet's folder. The workspace's own search says what is wrong, but takes longer to load than to run."""
    for folder in (start, *start.parents):
        if os.path.lexists(folder / FLEET_FILE):
            return folder
    from ostinato.workspace.fleet_file import find_fleet

    return find_fleet(start)


def wire(route: AnyRoute, request: Ask) -> tuple[str, bytes | None]:
    """The target and body of an HTTP request for an operation. Raises Invalid for text that is not Unicode."""
    try:
        fields = request_fields(request)
        path = route.path
        for key in route.path_keys:
            path = path.replace(f"{{{key}}}", quote(str(fields.pop(key)), safe=""))
        if route.writes and route.method != "DELETE":
            return path, msgspec.json.encode(fields)
        pairs = [
            (key, each) for key, value in fields.items() for each in (value if isinstance(value, list) else [value])
        ]
        query = urlencode([(key, _plain(each)) for key, each in pairs if each is not None])
    except UnicodeEncodeError:
        raise errors.Invalid("The text is not valid UTF-8", cure="Give it in UTF-8.") from None
    target = f"{path}?{query}" if query else path
    if len(target) > TARGET_CHARS_MAX:
        raise errors.Invalid("The arguments are too long to ask with", cure="Give shorter ones.")
    return target, None


def _plain(value: object) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def _send(connection: UnixConnection, route: AnyRoute, request: Ask, *, token: str | None) -> http.client.HTTPResponse:
    target, body = wire(route, request)
    headers = {} if token is None else {"authorization": f"Bearer {token}"}
    if body is not None:
        headers["content-type"] = "application/json"
    try:
        connection.request(route.method, target, body=body, headers=headers)
        return connection.getresponse()
    except TimeoutError:
        raise Conflict(
            f"The node did not answer within {CALL_TIMEOUT_S:g} s", cure="See its log in .ostinato/logs/node.log."
        ) from None
    except (OSError, http.client.HTTPException) as error:
        raise Conflict(
            f"The node went away while it was asked ({type(error).__name__})",
            cure="Look with `ostinato status` whether it was done, then ask again.",
        ) from error


def _over_http(
    connection: UnixConnection, route: Operation[Request, Response], request: Request, *, token: str | None
) -> Response:
    try:
        reply = _send(connection, route, request, token=token)
        data = reply.read()
        if reply.status >= 300:
            raise _error(data, reply.status)
        decoded: Response = msgspec.json.decode(data, type=route.response)
        return decoded
    except msgspec.DecodeError as error:
        raise Internal(f"The node's answer cannot be read: {error}", cure="Is it of the same version?") from error
    finally:
        connection.close()


def _lines(
    connection: UnixConnection, route: Stream[Request, Response], request: Request, *, token: str | None
) -> Iterator[Response | None]:
    try:
        reply = _send(connection, route, request, token=token)
        if reply.status >= 300:
            raise _error(reply.read(), reply.status)
        while line := reply.readline():
            if not line.strip():
                yield None
            elif line.startswith(b'{"error":'):
                raise _error(line, 500)
            else:
                yield msgspec.json.decode(line, type=route.response)
    except (OSError, http.client.HTTPException) as error:
        raise Conflict("The node went away", cure="Start it again: ostinato up") from error
    finally:
        connection.close()


def _error(data: bytes, status: int) -> OstinatoError:
    """The error that an answer stands for, as the exception that it was on the other side."""
    try:
        detail: Any = msgspec.json.decode(data)["error"]
        kind = next(each for each in _KINDS if each.code == detail["code"])
        return kind(detail["message"], place=detail["place"], cure=detail["cure"])
    except (msgspec.DecodeError, KeyError, TypeError, StopIteration):
        shown = data[:200].decode(errors="replace")
        return Internal(f"The node answered with status {status}: {shown}", cure="See its log.")


_KINDS: tuple[type[OstinatoError], ...] = (
    errors.Invalid,
    errors.NotFound,
    errors.Conflict,
    errors.Denied,
    errors.Exhausted,
    errors.Internal,
)
"""The classes that errors have when they reach people, one for each code."""
