"""The OpenAI chat dialect from the server's side: requests to `Seen`, plans to the bytes of a reply. Pure.

Faults that are about bytes are made here; those that are about connections (drop, hang) belong to the server. Knows
nothing of sockets.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from ostinato.domain.chat import StopReason, Usage
from ostinato.domain.values import Value
from ostinato.models.scripted.script import FaultKind, Plan, PlannedCall, Result, Seen

HUGE_BYTES = 10 * 1024 * 1024
"""Size of a reply with the fault `huge`."""

PIECE_CHARACTERS = 24
"""Characters of a piece of streamed text."""

PIECES_MAX = 64
"""Pieces that one text is streamed in at most; longer texts have longer pieces."""


class _Part(Value, gc=False):
    text: str = ""


class _Function(Value, gc=False):
    name: str = ""
    arguments: str = ""


class _Call(Value, gc=False):
    id: str = ""
    function: _Function = _Function()


class _Message(Value, gc=False):
    role: str
    content: str | list[_Part] | None = None
    tool_calls: list[_Call] | None = None
    tool_call_id: str = ""


class _Tool(Value, gc=False):
    function: _Function = _Function()


class _StreamOptions(Value, gc=False):
    include_usage: bool | None = False


class _Head(Value, gc=False):
    """The messages as bytes, for their digest."""

    messages: msgspec.Raw


class Asked(Value, gc=False):
    """A request for a chat completion."""

    model: str
    messages: list[_Message]
    tools: list[_Tool] | None = None
    stream: bool | None = False
    stream_options: _StreamOptions | None = None
    user: str | None = ""


_asked_decoder = msgspec.json.Decoder(Asked)
_head_decoder = msgspec.json.Decoder(_Head)


class BadRequest(ValueError):
    """A body that is no request of this dialect; the text says why."""


def read_request(body: bytes) -> tuple[Asked, str]:
    """The request and the digest of its messages. Raises BadRequest."""
    try:
        asked = _asked_decoder.decode(body)
        messages = bytes(_head_decoder.decode(body).messages)
    except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
        raise BadRequest(f"this is no request for a chat completion: {error}") from error
    return asked, hashlib.sha256(messages).hexdigest()


def seen_of(asked: Asked, *, attempt: int, prompt_bytes: int) -> Seen:
    """The request as rules see it."""
    messages = asked.messages
    new = _after_last(messages, "assistant")
    last_user = max((at for at, each in enumerate(messages) if each.role == "user"), default=-1)
    first_user = last_user
    while first_user > 0 and messages[first_user - 1].role == "user":
        first_user -= 1
    names = {call.id: call.function.name for each in messages for call in each.tool_calls or ()}
    replies = [each for each in messages[last_user + 1 :] if each.role == "assistant"]
    return Seen(
        model=asked.model,
        system="\n\n".join(_text(each) for each in messages if each.role in ("system", "developer")),
        user=tuple(_text(each) for each in new if each.role == "user"),
        asked=tuple(_text(each) for each in messages[max(first_user, 0) : last_user + 1]),
        results=tuple(
            Result(tool=names.get(each.tool_call_id, ""), text=_text(each)) for each in new if each.role == "tool"
        ),
        offered=frozenset(tool.function.name for tool in asked.tools or ()),
        called=frozenset(names.values()),
        called_now=frozenset(call.function.name for each in replies for call in each.tool_calls or ()),
        call=len(replies) + 1,
        attempt=attempt,
        prompt_bytes=prompt_bytes,
    )


def _after_last(messages: list[_Message], role: str) -> list[_Message]:
    last = max((at for at, each in enumerate(messages) if each.role == role), default=-1)
    return messages[last + 1 :]


def _text(message: _Message) -> str:
    content = message.content
    return content or "" if not isinstance(content, list) else "".join(part.text for part in content)


# --- replies ----------------------------------------------------------------------------------------------------------

_FINISH = {StopReason.END: "stop", StopReason.TOOLS: "tool_calls", StopReason.LENGTH: "length"}
_encode = msgspec.json.Encoder().encode


class Identity(Value):
    """What makes a reply tell itself from others."""

    id: str
    model: str
    created: int
    """Seconds since 1970."""


def _calls_of(plan: Plan, identity: Identity) -> list[dict[str, Any]]:
    """The calls with their ids, after the faults that change them."""
    calls, kind = plan.calls, plan.fault.kind if plan.fault else None
    if kind is FaultKind.UNKNOWN_TOOL:
        calls = (*calls, PlannedCall(tool="no_such_tool", arguments="{}"))
    elif kind is FaultKind.NAN:
        calls = tuple(PlannedCall(tool=each.tool, arguments='{"value": NaN}') for each in calls)
    elif kind is FaultKind.CUT_ARGUMENTS:
        calls = tuple(PlannedCall(tool=e.tool, arguments=e.arguments[: max(len(e.arguments) // 2, 1)]) for e in calls)
    elif kind is FaultKind.DUPLICATE_IDS:
        calls = calls + calls[:1] if len(calls) < 2 else calls
    same = kind is FaultKind.DUPLICATE_IDS
    return [
        {
            "id": f"call_{identity.id[:12]}_{0 if same else index}",
            "type": "function",
            "function": {"name": call.tool, "arguments": call.arguments},
        }
        for index, call in enumerate(calls)
    ]


def _text_of(plan: Plan) -> str:
    if plan.fault is not None and plan.fault.kind is FaultKind.HUGE:
        return (plan.text or "all work and no play. ") * (HUGE_BYTES // len(plan.text or "all work and no play. ") + 1)
    return plan.text


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


HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"
"""The page of the fault `html`."""

MALFORMED = b'{"id": "reply", "choices": [{"message": {"role": "assistant", "content": oops'
"""The reply of the fault `malformed`."""


def whole_body(plan: Plan, identity: Identity) -> bytes:
    """A reply in one piece."""
    kind = plan.fault.kind if plan.fault else None
    if kind is FaultKind.HTML:
        return HTML
    if kind is FaultKind.MALFORMED:
        return MALFORMED
    calls = _calls_of(plan, identity)
    answer: dict[str, Any] = {"role": "assistant", "content": _text_of(plan) or (None if calls else "")}
    if calls:
        answer["tool_calls"] = calls
    choice = {"index": 0, "message": answer, "finish_reason": _finish_of(plan, calls)}
    return _encode(
        {
            "id": f"chatcmpl-{identity.id}",
            "object": "chat.completion",
            "created": identity.created,
            "model": identity.model,
            "choices": [] if kind is FaultKind.EMPTY else [choice],
            "usage": _usage_of(plan.usage),
        }
    )


def stream_events(plan: Plan, identity: Identity, *, include_usage: bool) -> list[bytes]:
    """The same reply as server-sent events, the last one included."""
    kind = plan.fault.kind if plan.fault else None
    if kind is FaultKind.MALFORMED:
        return [b"data: " + MALFORMED + b"\n\n"]
    head: dict[str, Any] = {
        "id": f"chatcmpl-{identity.id}",
        "object": "chat.completion.chunk",
        "created": identity.created,
        "model": identity.model,
    }
    calls = _calls_of(plan, identity)
    deltas: list[dict[str, Any]] = [{"role": "assistant", "content": ""}]
    deltas.extend({"content": piece} for piece in pieces(_text_of(plan)))
    for index, call in enumerate(calls):
        name, arguments = call["function"]["name"], call["function"]["arguments"]
        opening = {**call, "index": index, "function": {"name": name, "arguments": ""}}
        deltas.append({"tool_calls": [opening]})
        deltas.extend(
            {"tool_calls": [{"index": index, "function": {"arguments": piece}}]} for piece in pieces(arguments)
        )
    choices: list[list[dict[str, Any]]] = [[{"index": 0, "delta": each, "finish_reason": None}] for each in deltas]
    choices.append([{"index": 0, "delta": {}, "finish_reason": _finish_of(plan, calls)}])
    if kind is FaultKind.EMPTY:
        choices = [[]]
    events = [{**head, "choices": each} for each in choices]
    if include_usage:
        events.append({**head, "choices": [], "usage": _usage_of(plan.usage)})
    return [*(b"data: " + _encode(event) + b"\n\n" for event in events), b"data: [DONE]\n\n"]


def pieces(text: str) -> list[str]:
    """A text cut into pieces, none of them empty."""
    size = max(PIECE_CHARACTERS, -(-len(text) // PIECES_MAX))
    return [text[at : at + size] for at in range(0, len(text), size)]


def error_body(words: str, *, kind: str = "invalid_request_error") -> bytes:
    """An error as the dialect has it."""
    return _encode({"error": {"message": words, "type": kind, "param": None, "code": None}})
