"""The OpenAI chat dialect from the server's side (see `Face`). Pure; knows nothing of sockets."""

from __future__ import annotations

import hashlib
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
    BadRequest,
    Identity,
    calls_of,
    is_faulty,
    pieces,
    text_of,
)


class _Head(Value, gc=False):
    """The messages as bytes, for their digest."""

    messages: msgspec.Raw


_asked_decoder = msgspec.json.Decoder(Asked)
_head_decoder = msgspec.json.Decoder(_Head)
_encode = msgspec.json.Encoder().encode

_FINISH = {StopReason.END: "stop", StopReason.TOOLS: "tool_calls", StopReason.LENGTH: "length"}


class OpenAiFace:
    """`POST /v1/chat/completions`."""

    def read(self, body: bytes) -> tuple[Asked, str]:
        """The request and the digest of its messages. Raises BadRequest."""
        try:
            asked = _asked_decoder.decode(body)
            messages = bytes(_head_decoder.decode(body).messages)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadRequest(f"this is no request for a chat completion: {error}") from error
        return asked, hashlib.sha256(messages).hexdigest()

    def whole(self, plan: Plan, identity: Identity) -> bytes:
        """A reply in one piece."""
        if is_faulty(plan, FaultKind.HTML):
            return HTML
        if is_faulty(plan, FaultKind.MALFORMED):
            return MALFORMED
        calls = _calls(plan, identity)
        answer: dict[str, Any] = {"role": "assistant", "content": text_of(plan) or (None if calls else "")}
        if calls:
            answer["tool_calls"] = calls
        choice = {"index": 0, "message": answer, "finish_reason": _finish_of(plan, calls), "logprobs": None}
        return _encode(
            {
                "id": f"chatcmpl-{identity.id}",
                "object": "chat.completion",
                "created": identity.created,
                "model": identity.model,
                "choices": [] if is_faulty(plan, FaultKind.EMPTY) else [choice],
                "usage": _usage_of(plan.usage),
            }
        )

    def events(self, plan: Plan, identity: Identity, asked: Asked) -> list[bytes]:
        """The same reply in pieces."""
        if is_faulty(plan, FaultKind.MALFORMED):
            return [b"data: " + MALFORMED + b"\n\n"]
        head: dict[str, Any] = {
            "id": f"chatcmpl-{identity.id}",
            "object": "chat.completion.chunk",
            "created": identity.created,
            "model": identity.model,
        }
        choices = [[]] if is_faulty(plan, FaultKind.EMPTY) else _choices(plan, identity)
        events = [{**head, "choices": each} for each in choices]
        if asked.stream_options is not None and asked.stream_options.include_usage:
            events.append({**head, "choices": [], "usage": _usage_of(plan.usage)})
        return [*(b"data: " + _encode(event) + b"\n\n" for event in events), b"data: [DONE]\n\n"]

    def flood(self) -> bytes:
        """Some events of a stream that never ends."""
        return b'data: {"choices":[{"index":0,"delta":{"content":"and on and on "}}]}\n\n' * 100

    def error(self, words: str, status: int) -> bytes:
        """The body of an error."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        return _encode({"error": {"message": words, "type": kind, "param": None, "code": None}})


def _choices(plan: Plan, identity: Identity) -> list[list[dict[str, Any]]]:
    """The choices of each event."""
    calls = _calls(plan, identity)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas.extend({"content": piece} for piece in pieces(text_of(plan)))
    for index, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        opening = {**call, "index": index, "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [opening]})
        deltas.extend(
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces(arguments)
        )
    choices: list[list[dict[str, Any]]] = [[{"index": 0, "delta": each, "finish_reason": None}] for each in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": _finish_of(plan, calls)}])
    return choices


def _calls(plan: Plan, identity: Identity) -> list[dict[str, Any]]:
    return [
        {"id": call.id, "type": "function", "function": {"name": call.tool, "arguments": call.arguments}}
        for call in calls_of(plan, identity, prefix="call")
    ]


def _usage_of(usage: Usage) -> dict[str, Any]:
    return {
        "prompt_tokens": usage.input_tokens,
        "completion_tokens": usage.output_tokens,
        "total_tokens": usage.tokens,
        "prompt_tokens_details": {"cached_tokens": usage.cached_tokens},
    }


def _finish_of(plan: Plan, calls: list[dict[str, Any]]) -> str:
    if plan.stop is StopReason.END and calls:
        return "tool_calls"
    return _FINISH.get(plan.stop, "content_filter")


OPENAI_FACE: Face = OpenAiFace()
