"""What is said to a model and what comes back, in a form that belongs to no provider.

Knows nothing of HTTP, prices or sessions; an adapter in `models/` turns these into a provider's dialect and back.
"""

from __future__ import annotations

import enum
from typing import Any

from ostinato.domain.values import Value


class ToolSpec(Value):
    """One tool as a model sees it. `parameters` is a JSON Schema of type object."""

    name: str
    description: str
    parameters: dict[str, Any]


MALFORMED_MAX = 2_000
"""Characters of malformed arguments that a model is shown again."""


class ToolCall(Value):
    """A model's wish to call a tool. `id` is ours (`3.0`: first call of the third reply), so that a provider that
    repeats or omits ids cannot confuse two calls; `provider_id` is what the provider wants back.

    `arguments` is None when `raw` was not a JSON object; `problem` then says why."""

    id: str
    name: str
    arguments: dict[str, Any] | None
    provider_id: str = ""
    raw: str = ""
    problem: str = ""

    @property
    def shown_arguments(self) -> dict[str, Any]:
        """For a history: malformed ones are wrapped and cut, as some servers refuse a whole request for them."""
        return self.arguments if self.arguments is not None else {"malformed": self.raw[:MALFORMED_MAX]}


class SystemPart(Value, tag="system"):
    """Instructions of the runtime and the agent's own files."""

    text: str


class UserPart(Value, tag="user"):
    """What came in: messages, goals, fenced outside text."""

    text: str


class Thought(Value):
    """A piece of a model's reasoning, which its provider wants back unchanged and in its place. `signature` proves to
    the provider that the text is its own; `sealed` is reasoning that only the provider can read."""

    model: str
    """The provider's name of the model that was asked: no other is shown it."""
    text: str = ""
    signature: str = ""
    sealed: str = ""
    characters_before: int = 0
    """Where it stood: so many characters of the reply's text came before it, and so many calls."""
    calls_before: int = 0


class AssistantPart(Value, tag="assistant"):
    """An earlier reply of the model."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    thoughts: tuple[Thought, ...] = ()


class ToolPart(Value, tag="tool"):
    """The result of one call."""

    call_id: str
    provider_id: str
    name: str
    text: str


ChatPart = SystemPart | UserPart | AssistantPart | ToolPart


class ModelRequest(Value):
    """One question to a model. `model` is the provider's own model name."""

    model: str
    parts: tuple[ChatPart, ...]
    tools: tuple[ToolSpec, ...] = ()
    output_tokens_max: int = 8_192
    temperature: float | None = None
    effort: str | None = None
    call: int = 1
    """Number of this model call in its turn; ids of tool calls begin with it."""
    user: str = ""
    """Opaque tag for the provider's logs: the task's name."""


class Usage(Value):
    """Tokens of one reply. `cached_tokens` are the part of `input_tokens` that the provider read from its cache,
    `written_tokens` the part that it wrote there."""

    input_tokens: int = 0
    cached_tokens: int = 0
    output_tokens: int = 0
    written_tokens: int = 0

    @property
    def tokens(self) -> int:
        """Input and output together."""
        return self.input_tokens + self.output_tokens


class StopReason(enum.StrEnum):
    """Why a model stopped."""

    END = "end"
    TOOLS = "tools"
    LENGTH = "length"
    FILTER = "filter"


class ModelReply(Value):
    """What a model answered, complete."""

    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    thoughts: tuple[Thought, ...] = ()
    stop: StopReason = StopReason.END
    usage: Usage = Usage()
    model: str = ""
    """The model that really answered, as the provider names it."""
    problem: str = ""
    """Not empty: the reply was malformed and must not be acted on; says how."""
    outside: bool = False
    """Strangers' text may stand in it, whatever it was asked: a function that reaches hosts has answered."""


class HttpAttempt(Value):
    """One try to reach a model: a ledger row each."""

    provider: str
    model: str
    status: int
    """HTTP status; 0: no answer."""
    duration_ms: float
    usage: Usage = Usage()
    error: str = ""
    request_id: str = ""


def estimate_tokens(text: str) -> int:
    """A rough count without a tokenizer: 4 bytes of UTF-8 a token, at least 1 for a text that is not empty."""
    return (len(text.encode()) + 3) // 4
