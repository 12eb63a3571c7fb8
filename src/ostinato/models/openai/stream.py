"""A streamed reply of the OpenAI chat dialect: the data of events in, one whole reply out. Pure.

Knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Callable

from ostinato.domain.chat import Usage
from ostinato.models.openai.reply import (
    Choice,
    WireCall,
    arguments_of,
    decode_reply,
    name_of,
    text_of,
    usage_of,
)
from ostinato.models.reply import CALLS_MAX, RawCall, Whole

DONE = b"[DONE]"
"""Data of the last event."""


class _Assembled:
    """A call while its pieces come in."""

    __slots__ = ("arguments", "id", "name")

    def __init__(self, name: str, call_id: str) -> None:
        self.id = call_id
        self.name = name
        self.arguments: list[str] = []


class OpenAiStream:
    """Puts one streamed reply together (see `StreamedReply`)."""

    __slots__ = (
        "_at",
        "_calls",
        "_on_text",
        "_refused",
        "_text",
        "done",
        "error",
        "finish",
        "model",
        "problem",
        "usage",
    )

    def __init__(self, on_text: Callable[[str], None] | None = None) -> None:
        self._on_text = on_text
        self._text: list[str] = []
        self._calls: list[_Assembled] = []
        self._at: dict[int, _Assembled] = {}
        self._refused = False
        self.finish: str | None = None
        self.model = ""
        self.usage: Usage | None = None
        self.problem = ""
        self.done = False
        """The last event has come."""
        self.error: object = None
        """What the provider sent as `error` in the middle of the stream."""

    def add(self, data: bytes) -> None:
        """One event's data; what follows the last event is not read."""
        if self.done or data == DONE:
            self.done = True
            return
        event = decode_reply(data)
        if event is None:
            self.problem = self.problem or "an event of the stream is no JSON object"
            return
        if event.misfit:
            self.problem = self.problem or "an event of the stream has an unknown shape"
        if event.choices:
            self._add_choice(event.choices[0])
        if event.usage is not None:
            self.usage = usage_of(event.usage) or self.usage
        if event.model and not self.model:
            self.model = event.model
        if event.error is not None:
            self.error = event.error

    @property
    def said_something(self) -> bool:
        """True once there is text or a call."""
        return bool(self._text or self._calls)

    @property
    def ended(self) -> bool:
        """True once the provider has said that the reply is complete."""
        return self.done or self.finish is not None

    def _add_choice(self, choice: Choice) -> None:
        if choice.finish_reason:
            self.finish = choice.finish_reason
        delta = choice.delta or choice.message
        if delta is None:
            return
        text = delta.content if isinstance(delta.content, str) else text_of(delta.content)
        if not text and delta.refusal:
            text, self._refused = delta.refusal, True
        if text:
            self._text.append(text)
            if self._on_text is not None:
                self._on_text(text)
        for call in delta.tool_calls or ():
            self._add_call(call)

    def _add_call(self, piece: WireCall) -> None:
        """A piece belongs to the call of its index; without an index, to the last one unless it brings another id. A
        piece with another id and a name begins a call of its own: some servers send every call with index 0."""
        name, arguments = name_of(piece), arguments_of(piece)
        known = self._at.get(piece.index) if piece.index is not None else (self._calls[-1] if self._calls else None)
        if known is None or (piece.id and known.id and piece.id != known.id and (name or piece.index is None)):
            if len(self._calls) > CALLS_MAX:
                return  # one too many is enough to refuse the reply
            known = _Assembled("", "")
            self._calls.append(known)
            if piece.index is not None:
                self._at[piece.index] = known
        known.id = known.id or piece.id or ""
        if name and name != known.name:
            known.name += name
        if arguments:
            known.arguments.append(arguments)

    def whole(self) -> Whole:
        """All of it so far."""
        text = "".join(self._text)
        problem = self.problem
        if not problem and self.done and not self.said_something and self.finish is None:
            problem = "the stream has no choices"
        return Whole(
            text=text,
            calls=tuple(RawCall(id=c.id, name=c.name, arguments="".join(c.arguments)) for c in self._calls),
            finish=self.finish,
            refused=self._refused,
            usage=self.usage,
            model=self.model,
            problem=problem,
        )
