"""The Anthropic messages dialect, put together (see `Dialect`). Knows nothing of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ostinato.domain.chat import ModelRequest
from ostinato.models.anthropic.reply import read_reply
from ostinato.models.anthropic.request import encode_request
from ostinato.models.anthropic.stream import AnthropicStream
from ostinato.models.dialect import Dialect, Options, Refused, StreamedReply
from ostinato.models.reply import Whole
from ostinato.models.tool_names import ToolNames

VERSION = "2023-06-01"
"""Of the interface; new ones are told of by new kinds of blocks and fields, not by this."""


class AnthropicMessages:
    """`POST /messages`."""

    name = "anthropic"
    path = "messages"

    def headers(self, key: str) -> Mapping[str, str]:
        """The key in a header of its own."""
        return {"anthropic-version": VERSION, **({"x-api-key": key} if key else {})}

    def encode(self, request: ModelRequest, names: ToolNames, options: Options) -> bytes:
        """The body of a request."""
        return encode_request(request, names, options)

    def read(self, body: bytes, *, asked: str) -> Whole | Refused | None:
        """A reply in one piece."""
        return read_reply(body, asked=asked)

    def stream(self, on_text: Callable[[str], None] | None, *, asked: str) -> StreamedReply:
        """A reply in pieces."""
        return AnthropicStream(on_text, asked=asked)


ANTHROPIC: Dialect = AnthropicMessages()
