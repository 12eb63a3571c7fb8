"""The OpenAI chat dialect, put together (see `Dialect`). Knows nothing of connections."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from ostinato.domain.chat import ModelRequest
from ostinato.models.dialect import Dialect, Options, Refused, StreamedReply
from ostinato.models.openai.reply import decode_reply, whole_of
from ostinato.models.openai.request import encode_request
from ostinato.models.openai.stream import OpenAiStream
from ostinato.models.reply import Whole
from ostinato.models.tool_names import ToolNames


class OpenAiChat:
    """`POST /chat/completions`."""

    name = "openai"
    path = "chat/completions"

    def headers(self, key: str) -> Mapping[str, str]:
        """The key as a bearer's."""
        return {"Authorization": f"Bearer {key}"} if key else {}

    def encode(self, request: ModelRequest, names: ToolNames, options: Options) -> bytes:
        """The body of a request."""
        return encode_request(request, names, stream=options.stream, completion_limit=options.completion_limit)

    def read(self, body: bytes, *, asked: str) -> Whole | Refused | None:
        """A reply in one piece; it carries no thoughts, whoever was asked."""
        found = decode_reply(body)
        if found is None:
            return None
        if found.error is not None and not found.choices:
            return Refused(error=found.error)
        return whole_of(found)

    def stream(self, on_text: Callable[[str], None] | None, *, asked: str) -> StreamedReply:
        """A reply in pieces."""
        return OpenAiStream(on_text)


OPENAI: Dialect = OpenAiChat()
