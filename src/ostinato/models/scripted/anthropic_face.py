"""The Anthropic messages dialect from the server's side (see `Face`). Pure; knows nothing of sockets.

As strict as the real thing about what its clients get wrong most often: results that belong to no call, calls without a
result, texts that say nothing, thoughts that were changed.
"""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from ostinato.domain.chat import StopReason, Usage
from ostinato.domain.values import Value
from ostinato.models.scripted.face import Face
from ostinato.models.scripted.script import FaultKind, Plan
from ostinato.models.scripted.wire import (
    HTML,
    MALFORMED,
    Asked,
    AskedCall,
    AskedFunction,
    AskedMessage,
    AskedTool,
    BadRequest,
    Identity,
    NumberedCall,
    calls_of,
    is_faulty,
    pieces,
    text_of,
)


class _Block(Value, gc=False):
    type: str = "text"
    text: str = ""
    thinking: str = ""
    signature: str = ""
    data: str = ""
    id: str = ""
    name: str = ""
    input: msgspec.Raw = msgspec.Raw(b"{}")
    tool_use_id: str = ""
    content: str | list[_Block] = ""


class _Message(Value, gc=False):
    role: str
    content: str | list[_Block]


class _Metadata(Value, gc=False):
    user_id: str | None = ""


class _Tool(Value, gc=False):
    name: str


class _Request(Value, gc=False):
    model: str
    messages: list[_Message]
    max_tokens: int = 0
    system: str | list[_Block] = ""
    tools: list[_Tool] = []
    stream: bool | None = False
    metadata: _Metadata | None = None


class _Head(Value, gc=False):
    """The messages as bytes, for their digest."""

    messages: msgspec.Raw


_decoder = msgspec.json.Decoder(_Request)
_head_decoder = msgspec.json.Decoder(_Head)
_encode = msgspec.json.Encoder().encode

_STOP = {
    StopReason.END: "end_turn",
    StopReason.TOOLS: "tool_use",
    StopReason.LENGTH: "max_tokens",
    StopReason.FILTER: "refusal",
}
_ERRORS = {400: "invalid_request_error", 401: "authentication_error", 403: "permission_error", 404: "not_found_error",
           413: "request_too_large", 429: "rate_limit_error", 529: "overloaded_error"}  # fmt: skip


def signature_of(thought: str) -> str:
    """What proves that a thought is this server's own, and was not changed."""
    return base64.b64encode(hashlib.sha256(f"thought:{thought}".encode(errors="replace")).digest()).decode()


class AnthropicFace:
    """`POST /v1/messages`."""

    def read(self, body: bytes) -> tuple[Asked, str]:
        """The request and the digest of its messages. Raises BadRequest."""
        try:
            found = _decoder.decode(body)
            messages = bytes(_head_decoder.decode(body).messages)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadRequest(f"this is no request for a message: {error}") from error
        _check(found)
        return _asked(found), hashlib.sha256(messages).hexdigest()

    def whole(self, plan: Plan, identity: Identity) -> bytes:
        """A reply in one piece. Arguments that are no JSON make the whole reply none."""
        if is_faulty(plan, FaultKind.HTML):
            return HTML
        if is_faulty(plan, FaultKind.MALFORMED):
            return MALFORMED
        calls = calls_of(plan, identity, prefix="toolu")
        blocks = [] if is_faulty(plan, FaultKind.EMPTY) else [*_said(plan), *(_call(each) for each in calls)]
        return _encode(
            {**_message(plan, identity), "content": blocks, **_end(plan, calls), "usage": _usage(plan.usage)}
        )

    def events(self, plan: Plan, identity: Identity, asked: Asked) -> list[bytes]:
        """The same reply in pieces."""
        if is_faulty(plan, FaultKind.MALFORMED):
            return [b"event: message_start\ndata: " + MALFORMED + b"\n\n"]
        calls = calls_of(plan, identity, prefix="toolu")
        begun = {**_usage(plan.usage), "output_tokens": 1}
        message = {
            **_message(plan, identity),
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "usage": begun,
        }
        events = [_event("message_start", message=message), _event("ping")]
        if not is_faulty(plan, FaultKind.EMPTY):
            blocks = [_pieces_of(block) for block in _said(plan)]
            blocks += [({"type": "tool_use", "id": c.id, "name": c.tool, "input": {}}, _json(c)) for c in calls]
            for index, (start, deltas) in enumerate(blocks):
                events.append(_event("content_block_start", index=index, content_block=start))
                events.extend(_event("content_block_delta", index=index, delta=each) for each in deltas)
                events.append(_event("content_block_stop", index=index))
        spent = {"output_tokens": plan.usage.output_tokens}
        events.append(_event("message_delta", delta=_end(plan, calls), usage=spent))
        return [*events, _event("message_stop")]

    def flood(self) -> bytes:
        """Some events of a stream that never ends: its block is opened again and again, as nobody knows where it is."""
        start = _event("content_block_start", index=0, content_block={"type": "text", "text": ""})
        piece = _event("content_block_delta", index=0, delta={"type": "text_delta", "text": "and on and on "})
        return start + piece * 100

    def error(self, words: str, status: int) -> bytes:
        """The body of an error."""
        kind = _ERRORS.get(status, "invalid_request_error" if status < 500 else "api_error")
        return _encode({"type": "error", "error": {"type": kind, "message": words}, "request_id": None})


# --- requests ---------------------------------------------------------------------------------------------------------


def _check(request: _Request) -> None:
    """What the real servers refuse. Raises BadRequest."""
    if not request.messages or request.messages[0].role != "user":
        raise BadRequest("messages: the first message must use the user role")
    called: set[str] = set()
    open_calls: set[str] = set()
    for number, message in enumerate(request.messages):
        place, blocks = f"messages.{number}", _blocks(message.content)
        if any(block.type == "text" and not block.text.strip() for block in blocks):
            raise BadRequest(f"{place}: text content blocks must contain non-whitespace text")
        if message.role == "assistant":
            _check_thoughts(blocks, place)
        answered = {block.tool_use_id for block in blocks if block.type == "tool_result"}
        if answered - open_calls:
            raise BadRequest(f"{place}: unexpected `tool_use_id` in `tool_result` blocks: {sorted(answered)[0]}")
        if open_calls - answered:
            raise BadRequest(
                f"{place}: `tool_use` ids were found without `tool_result` blocks: {sorted(open_calls)[0]}"
            )
        ids = [block.id for block in blocks if block.type == "tool_use"]
        if len(set(ids)) < len(ids) or called & set(ids):
            raise BadRequest(f"{place}: `tool_use` ids must be unique")
        called, open_calls = called | set(ids), set(ids)
    if open_calls:
        raise BadRequest(f"messages: `tool_use` ids were found without `tool_result` blocks: {sorted(open_calls)[0]}")


def _check_thoughts(blocks: list[_Block], place: str) -> None:
    for block in blocks:
        if block.type == "thinking" and block.signature != signature_of(block.thinking):
            raise BadRequest(f"{place}: invalid `signature` in `thinking` block")
    if blocks and blocks[-1].type in ("thinking", "redacted_thinking"):
        raise BadRequest(f"{place}: the final block in an assistant message cannot be `thinking`")


def _blocks(content: str | list[_Block]) -> list[_Block]:
    return [_Block(text=content)] if isinstance(content, str) else content


def _text(content: str | list[_Block]) -> str:
    return "".join(block.text for block in _blocks(content))


def _asked(request: _Request) -> Asked:
    """The request in the plainest dialect, so that rules see the same."""
    system = "\n\n".join(block.text for block in _blocks(request.system) if block.text)
    messages = [AskedMessage(role="system", content=system)] if system else []
    for message in request.messages:
        messages.extend(_messages(message))
    return Asked(
        model=request.model,
        messages=messages,
        tools=[AskedTool(function=AskedFunction(name=tool.name)) for tool in request.tools],
        stream=request.stream,
        user=request.metadata.user_id if request.metadata else "",
    )


def _messages(message: _Message) -> Iterator[AskedMessage]:
    blocks = _blocks(message.content)
    if message.role != "assistant":
        for block in blocks:
            if block.type == "tool_result":
                yield AskedMessage(role="tool", tool_call_id=block.tool_use_id, content=_text(block.content))
            elif block.type == "text":
                yield AskedMessage(role=message.role, content=block.text)
        return
    calls = [
        AskedCall(id=block.id, function=AskedFunction(name=block.name, arguments=bytes(block.input).decode()))
        for block in blocks
        if block.type == "tool_use"
    ]
    yield AskedMessage(role="assistant", content=_text(blocks), tool_calls=calls)


# --- replies ----------------------------------------------------------------------------------------------------------


def _message(plan: Plan, identity: Identity) -> dict[str, Any]:
    return {"id": f"msg_{identity.id}", "type": "message", "role": "assistant", "model": identity.model}


def _said(plan: Plan) -> Iterator[dict[str, Any]]:
    if plan.thinking:
        yield {"type": "thinking", "thinking": plan.thinking, "signature": signature_of(plan.thinking)}
    text = text_of(plan)
    if text:
        yield {"type": "text", "text": text}


def _call(call: NumberedCall) -> dict[str, Any]:
    return {
        "type": "tool_use",
        "id": call.id,
        "name": call.tool,
        "input": msgspec.Raw(call.arguments.encode() or b"{}"),
    }


def _json(call: NumberedCall) -> list[dict[str, Any]]:
    return [{"type": "input_json_delta", "partial_json": piece} for piece in ["", *pieces(call.arguments)]]


def _pieces_of(block: dict[str, Any]) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    if block["type"] == "text":
        return {**block, "text": ""}, [{"type": "text_delta", "text": piece} for piece in pieces(block["text"])]
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in pieces(block["thinking"])]
    return (
        {**block, "thinking": "", "signature": ""},
        [*deltas, {"type": "signature_delta", "signature": block["signature"]}],
    )


def _end(plan: Plan, calls: list[NumberedCall]) -> dict[str, Any]:
    reason = "tool_use" if plan.stop is StopReason.END and calls else _STOP[plan.stop]
    return {"stop_reason": reason, "stop_sequence": None}


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens - usage.cached_tokens - usage.written_tokens,
        "cache_read_input_tokens": usage.cached_tokens,
        "cache_creation_input_tokens": usage.written_tokens,
        "output_tokens": usage.output_tokens,
    }


def _event(kind: str, **facts: Any) -> bytes:
    return b"event: " + kind.encode() + b"\ndata: " + _encode({"type": kind, **facts}) + b"\n\n"


ANTHROPIC_FACE: Face = AnthropicFace()
