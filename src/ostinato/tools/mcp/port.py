"""What is known of a server, and what a link with one can do. Plain values; knows nothing of the SDK."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Any, Protocol

from ostinato.domain.step import Effect
from ostinato.domain.values import Value
from ostinato.tools.web.proxy import Ways


class McpServer(Value):
    """A server as the fleet's file describes it: a command that runs in a room, or a URL."""

    name: str
    command: str = ""
    args: tuple[str, ...] = ()
    folder: str = ""
    """The one folder of the fleet, by its path there, that a command may read and write; empty: none."""
    reads: tuple[str, ...] = ()
    """Absolute folders of programs that a command may read."""
    env: tuple[str, ...] = ()
    """Names of secrets in the node's environment that a command is given."""
    network: tuple[str, ...] = ()
    """Hosts that a command may reach, by the runtime's proxy."""
    url: str = ""
    token_env: str = ""
    """Name of the secret that goes to a URL as a bearer token."""
    effects: dict[str, Effect] = {}
    """Tool -> its effect, as a person declares it; all others are irreversible, whatever the server says of them."""
    start_s: float = 30.0
    """How long it may take to start, to introduce itself and to list its tools."""
    timeout_s: float = 60.0
    """How long one call may take."""


class McpPlace(Value):
    """Where servers run: the fleet whose owner they run as, and their ways to the network; None: there is none."""

    fleet: Path
    ways: Ways | None = None


class Answer(Value):
    """What a server answers to a call: text for the model, and whether it calls itself a failure."""

    text: str
    is_error: bool = False


class Unfit(Value):
    """A tool that is not taken, and why."""

    tool: str
    why: str


class ServerFacts(Value):
    """How one server stands, for people."""

    name: str
    where: str
    """Its command or URL."""
    state: str
    """`starting`, `up` or `down`."""
    problem: str = ""
    tools: tuple[str, ...] = ()
    """That can be granted."""
    withheld: tuple[str, ...] = ()
    """That have changed since they were accepted."""
    unfit: tuple[Unfit, ...] = ()


class Link(Protocol):
    """A server that has introduced itself."""

    async def tools(self) -> list[dict[str, Any]]:
        """Whatever it offers, as it says it, up to a most."""

    async def call(self, tool: str, arguments: dict[str, Any]) -> Answer:
        """Calls a tool. Raises Refused where the server did not take the call; anything else leaves it unknown whether
        it happened."""

    async def closed(self) -> str:
        """Returns, with the reason, when the link is over."""


class Refused(Exception):
    """The server answered that there is no such call: nothing has happened."""


Dial = Callable[[McpServer, McpPlace, Callable[[], None]], AbstractAsyncContextManager[Link]]
"""Begins a link; the callable is told whenever the server says that its tools have changed."""
