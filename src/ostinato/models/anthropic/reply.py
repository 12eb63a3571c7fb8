"""A reply in the Anthropic messages dialect: from bytes to `Whole`. Pure.

Knows nothing of connections. What is wrong with a reply is said in `Whole.problem`; nothing here raises because of what
a server sent. Blocks of kinds that nobody asked for (searches by the provider itself) are passed over.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ostinato.domain.chat import Thought, Usage
from ostinato.domain.values import Value
from ostinato.models.dialect import Refused
from ostinato.models.reply import DECODE_ERRORS, UNKNOWN_SHAPE, RawCall, Whole, count_or_none

FINISHES = {
    "end_turn": "stop",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "max_tokens": "length",
    "model_context_window_exceeded": "length",
    "pause_turn": "length",
    "refusal": "content_filter",
}
"""Why a model stopped, in the words of `Whole.finish`."""


class WireBlock(Value, gc=False):
    """A block of content, of any kind."""

    type: str | None = None
    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    data: str | None = None
    id: str | None = None
    name: str | None = None
    input: msgspec.Raw = msgspec.Raw()


class WireMessage(Value, gc=False):
    """A reply, or the beginning of a streamed one. `usage` and `error` are any JSON."""

    type: str | None = None
    content: list[WireBlock] | None = None
    stop_reason: str | None = None
    model: str | None = None
    usage: Any = None
    error: Any = None


_decoder = msgspec.json.Decoder(WireMessage)
_json_decoder = msgspec.json.Decoder()


def read_reply(body: bytes, *, asked: str) -> Whole | Refused | None:
    """A reply that came in one piece; None where it is no JSON object."""
    try:
        found = _decoder.decode(body)
    except DECODE_ERRORS:
        return _misfit(body)
    if found.error is not None and found.content is None:
        return Refused(error=found.error)
    usage, model = usage_of(found.usage), found.model or ""
    if found.content is None:
        return Whole(usage=usage, model=model, problem="the reply has no content")
    building = Building(asked)
    for block in found.content:
        building.add(block)
    return building.whole(finish=found.stop_reason, usage=usage, model=model)


def _misfit(body: bytes) -> Whole | None:
    try:
        found = _json_decoder.decode(body)
    except DECODE_ERRORS:
        return None
    if not isinstance(found, dict):
        return None
    return Whole(usage=usage_of(found.get("usage")), problem=UNKNOWN_SHAPE)


def usage_of(found: Any, before: Usage | None = None) -> Usage | None:
    """Tokens, None where the provider named none. What it counts apart (read from its cache, written to it) is a part
    of the input here. `before` holds what an earlier event said and this one does not."""
    if not isinstance(found, dict):
        return before
    said = {name: count_or_none(found.get(key)) for name, key in _COUNTS.items()}
    if all(each is None for each in said.values()):
        return before
    old = before or Usage()
    fresh = old.input_tokens - old.cached_tokens - old.written_tokens if said["fresh"] is None else said["fresh"]
    cached = old.cached_tokens if said["cached"] is None else said["cached"]
    written = old.written_tokens if said["written"] is None else said["written"]
    return Usage(
        input_tokens=fresh + cached + written,
        cached_tokens=cached,
        written_tokens=written,
        output_tokens=old.output_tokens if said["output"] is None else said["output"],
    )


_COUNTS = {
    "fresh": "input_tokens",
    "cached": "cache_read_input_tokens",
    "written": "cache_creation_input_tokens",
    "output": "output_tokens",
}


class Building:
    """A reply while its blocks are put together, in their order. `asked`: the model that was asked."""

    def __init__(self, asked: str) -> None:
        self._asked = asked
        self._text: list[str] = []
        self._characters = 0
        self._calls: list[RawCall] = []
        self._thoughts: list[Thought] = []

    def add(self, block: WireBlock) -> None:
        """The next block."""
        match block.type:
            case "text":
                self._text.append(block.text or "")
                self._characters += len(block.text or "")
            case "tool_use":
                arguments = bytes(block.input).decode("utf-8", "backslashreplace")  # which JSON does not allow
                self._calls.append(RawCall(id=block.id or "", name=block.name or "", arguments=arguments))
            case "thinking" if block.signature:  # one that was cut off has none, and is never asked for again
                self._think(Thought(model=self._asked, text=block.thinking or "", signature=block.signature))
            case "redacted_thinking" if block.data:
                self._think(Thought(model=self._asked, sealed=block.data))
            case _:
                pass

    def _think(self, thought: Thought) -> None:
        placed = msgspec.structs.replace(thought, characters_before=self._characters, calls_before=len(self._calls))
        self._thoughts.append(placed)

    def whole(self, *, finish: str | None, usage: Usage | None, model: str, problem: str = "") -> Whole:
        """All of it."""
        return Whole(
            text="".join(self._text),
            calls=tuple(self._calls),
            thoughts=tuple(self._thoughts),
            finish=FINISHES.get(finish or "", finish),
            refused=finish == "refusal",
            usage=usage,
            model=model,
            problem=problem,
        )
