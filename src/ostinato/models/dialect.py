"""What a dialect is: how a request is written, where it goes, and how whatever comes back is read. Pure.

Two are built in (`openai`, `anthropic`). Knows nothing of connections, retries or providers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Protocol

from ostinato.domain.chat import ModelRequest, Usage
from ostinato.domain.values import Value
from ostinato.models.reply import Whole
from ostinato.models.tool_names import ToolNames


class Options(Value):
    """What a request says beside the conversation."""

    stream: bool = False
    completion_limit: bool = False
    """The output limit is called `max_completion_tokens` (dialect `openai`)."""
    thinking: str = ""
    """`adaptive`, `disabled`, a number of tokens, or nothing: the model's own way (dialect `anthropic`)."""


class Refused(Value):
    """An error in a reply with status 200, as some servers send it; `error` is any JSON."""

    error: object


class StreamedReply(Protocol):
    """One streamed reply while its events come in."""

    done: bool
    """The last event has come."""
    usage: Usage | None
    error: object
    """What the provider sent as an error in the middle of the stream."""

    @property
    def ended(self) -> bool:
        """True once the provider has said that the reply is complete."""

    def add(self, data: bytes) -> None:
        """One event's data; what follows the last event is not read."""

    def whole(self) -> Whole:
        """All of it so far."""


class Dialect(Protocol):
    """One way to speak with a model server."""

    @property
    def name(self) -> str:
        """`openai` or `anthropic`."""

    @property
    def path(self) -> str:
        """Where requests go, behind the base URL."""

    def headers(self, key: str) -> Mapping[str, str]:
        """What a request's head says beyond its type; `key` may be empty."""

    def encode(self, request: ModelRequest, names: ToolNames, options: Options) -> bytes:
        """The body of a request."""

    def read(self, body: bytes, *, asked: str) -> Whole | Refused | None:
        """A reply in one piece; None where it is no JSON object. `asked`: the model that was asked. Never raises."""

    def stream(self, on_text: Callable[[str], None] | None, *, asked: str) -> StreamedReply:
        """A reply that will come in pieces; `on_text` is told each piece of text."""


def names_of(request: ModelRequest) -> ToolNames:
    """The mapping of tool names for one request: what is offered comes first, then what earlier replies called."""
    return ToolNames(tool.name for tool in request.tools)
