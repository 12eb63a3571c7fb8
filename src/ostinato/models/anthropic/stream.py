"""A streamed reply of the Anthropic messages dialect: the data of events in, one whole reply out. Pure.

Knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Callable

import msgspec

from ostinato.domain.chat import Usage
from ostinato.domain.values import Value
from ostinato.models.anthropic.reply import Building, WireBlock, WireMessage, usage_of
from ostinato.models.reply import CALLS_MAX, DECODE_ERRORS, Whole

BLOCKS_MAX = 4 * CALLS_MAX
"""Blocks of one reply: each call with a thought and a text before it, and as many again."""


class _Delta(Value, gc=False):
    """A piece of a block, or in the last but one event the end of the message."""

    text: str | None = None
    thinking: str | None = None
    signature: str | None = None
    partial_json: str | None = None
    stop_reason: str | None = None


class _Event(WireMessage, gc=False):
    """Any event of a stream."""

    index: int | None = None
    message: WireMessage | None = None
    content_block: WireBlock | None = None
    delta: _Delta | None = None


_decoder = msgspec.json.Decoder(_Event)
_json_decoder = msgspec.json.Decoder()


class _Open:
    """A block while its pieces come in."""

    __slots__ = ("json", "signature", "start", "text", "thinking")

    def __init__(self, start: WireBlock) -> None:
        self.start = start
        self.text = [start.text or ""]
        self.thinking = [start.thinking or ""]
        self.signature = start.signature or ""
        self.json: list[str] = []

    def block(self) -> WireBlock:
        """The block as far as it has come."""
        written = "".join(self.json)
        return msgspec.structs.replace(
            self.start,
            text="".join(self.text),
            thinking="".join(self.thinking),
            signature=self.signature,
            input=msgspec.Raw(written.encode("utf-8", "replace")) if written else self.start.input,
        )


class AnthropicStream:
    """Puts one streamed reply together (see `StreamedReply`)."""

    def __init__(self, on_text: Callable[[str], None] | None, *, asked: str) -> None:
        self._on_text = on_text
        self._asked = asked
        self._blocks: dict[int, _Open] = {}
        self._finish: str | None = None
        self._model = ""
        self._problem = ""
        self.done = False
        self.usage: Usage | None = None
        self.error: object = None

    @property
    def ended(self) -> bool:
        """True once the provider has said that the reply is complete."""
        return self.done or self._finish is not None

    def add(self, data: bytes) -> None:
        """One event's data; what follows the last event is not read."""
        if self.done:
            return
        try:
            event = _decoder.decode(data)
        except DECODE_ERRORS:
            self._problem = self._problem or _misfit(data)
            return
        if event.error is not None:
            self.error = event.error
        match event.type:
            case "message_start" if event.message is not None:
                self._model = event.message.model or ""
                self.usage = usage_of(event.message.usage, self.usage)
            case "content_block_start":
                self._begin(event)
            case "content_block_delta":
                self._go_on(event)
            case "message_delta":
                self.usage = usage_of(event.usage, self.usage)
                if event.delta is not None:
                    self._finish = event.delta.stop_reason or self._finish
            case "message_stop":
                self.done = True
            case _:
                pass  # pings, ends of blocks, and whatever comes to be

    def _begin(self, event: _Event) -> None:
        if event.content_block is None or event.index is None or event.index in self._blocks:
            self._problem = self._problem or "a block of the stream has no place of its own"
        elif len(self._blocks) == BLOCKS_MAX:
            self._problem = self._problem or f"the reply has more than {BLOCKS_MAX} blocks"
        else:
            self._blocks[event.index] = _Open(event.content_block)
            self._tell(event.content_block.text)

    def _go_on(self, event: _Event) -> None:
        block = self._blocks.get(event.index if event.index is not None else -1)
        delta = event.delta
        if block is None or delta is None:
            self._problem = self._problem or "a piece of the stream belongs to no block"
            return
        if delta.text:
            block.text.append(delta.text)
            self._tell(delta.text)
        if delta.thinking:
            block.thinking.append(delta.thinking)
        if delta.partial_json:
            block.json.append(delta.partial_json)
        block.signature = delta.signature or block.signature

    def _tell(self, text: str | None) -> None:
        if text and self._on_text is not None:
            self._on_text(text)

    def whole(self) -> Whole:
        """All of it so far."""
        building = Building(self._asked)
        for index in sorted(self._blocks):
            building.add(self._blocks[index].block())
        problem = self._problem
        if not problem and self.done and self._finish is None and not self._blocks:
            problem = "the stream has no content"
        return building.whole(finish=self._finish, usage=self.usage, model=self._model, problem=problem)


def _misfit(data: bytes) -> str:
    try:
        is_object = isinstance(_json_decoder.decode(data), dict)
    except DECODE_ERRORS:
        is_object = False
    return "an event of the stream has an unknown shape" if is_object else "an event of the stream is no JSON object"
