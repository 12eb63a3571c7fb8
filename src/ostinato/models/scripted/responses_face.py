"""The OpenAI responses dialect from the server's side (see `Face`). Pure; knows nothing of sockets.

Nothing is kept between requests: whoever asks sends the whole conversation, as agents do that store nothing there. No
model of a fleet is asked in this dialect; agents of other makers are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

import msgspec

from ostinato.domain.chat import StopReason, Usage
from ostinato.domain.values import Value
from ostinato.models.scripted.anthropic_face import signature_of
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
    calls_of,
    is_faulty,
    pieces,
    text_of,
)


class _Part(Value, gc=False):
    text: str | None = ""


class _Item(Value, gc=False):
    type: str = "message"
    role: str = ""
    content: str | list[_Part] | None = ""
    call_id: str = ""
    name: str = ""
    arguments: str = ""
    input: str = ""
    """Of a custom tool, whose arguments are any text."""
    output: str | list[_Part] = ""


class _Tool(Value, gc=False):
    name: str = ""


class _Request(Value, gc=False):
    model: str
    input: str | list[_Item]
    instructions: str | None = ""
    tools: list[_Tool] | None = None
    stream: bool | None = False
    user: str | None = ""
    previous_response_id: str | None = None


class _Head(Value, gc=False):
    """The conversation as bytes, for its digest."""

    input: msgspec.Raw


_decoder = msgspec.json.Decoder(_Request)
_head_decoder = msgspec.json.Decoder(_Head)
_encode = msgspec.json.Encoder().encode

_INCOMPLETE = {StopReason.LENGTH: "max_output_tokens", StopReason.FILTER: "content_filter"}


class ResponsesFace:
    """`POST /v1/responses`."""

    def read(self, body: bytes) -> tuple[Asked, str]:
        """The request and the digest of its conversation. Raises BadRequest."""
        try:
            found = _decoder.decode(body)
            said = bytes(_head_decoder.decode(body).input)
        except (msgspec.MsgspecError, UnicodeError, RecursionError) as error:
            raise BadRequest(f"this is no request for a response: {error}") from error
        if found.previous_response_id:
            raise BadRequest("previous_response_id: nothing is kept here; send the whole conversation")
        return _asked(found), hashlib.sha256(said).hexdigest()

    def whole(self, plan: Plan, identity: Identity) -> bytes:
        """A reply in one piece."""
        if is_faulty(plan, FaultKind.HTML):
            return HTML
        if is_faulty(plan, FaultKind.MALFORMED):
            return MALFORMED
        return _encode(_response(plan, identity, output=list(_items(plan, identity)), status=_status(plan)))

    def events(self, plan: Plan, identity: Identity, asked: Asked) -> list[bytes]:
        """The same reply in pieces."""
        if is_faulty(plan, FaultKind.MALFORMED):
            return [b"event: response.created\ndata: " + MALFORMED + b"\n\n"]
        output = list(_items(plan, identity))
        begun = _response(plan, identity, output=[], status="in_progress")
        told: list[dict[str, Any]] = [{"type": f"response.{each}", "response": begun} for each in _BEGINNING]
        for index, item in enumerate(output):
            told.extend(_of_item(item, index))
        status = _status(plan)
        told.append({"type": f"response.{status}", "response": _response(plan, identity, output=output, status=status)})
        return [_event(number, each) for number, each in enumerate(told)]

    def flood(self) -> bytes:
        """Some events of a stream that never ends."""
        facts = {"item_id": "msg_0", "output_index": 0, "content_index": 0, "logprobs": [], "delta": "and on and on "}
        return _event(0, {"type": "response.output_text.delta", **facts}) * 100

    def error(self, words: str, status: int) -> bytes:
        """The body of an error."""
        kind = "invalid_request_error" if status < 500 else "server_error"
        return _encode({"error": {"message": words, "type": kind, "param": None, "code": None}})


_BEGINNING = ("created", "in_progress")


# --- requests ---------------------------------------------------------------------------------------------------------


def _asked(request: _Request) -> Asked:
    """The request in the plainest dialect, so that rules see the same."""
    messages = [AskedMessage(role="system", content=request.instructions)] if request.instructions else []
    items = [_Item(role="user", content=request.input)] if isinstance(request.input, str) else request.input
    for item in items:
        _add(messages, item)
    return Asked(
        model=request.model,
        messages=messages,
        tools=[AskedTool(function=AskedFunction(name=tool.name)) for tool in request.tools or () if tool.name],
        stream=request.stream,
        user=request.user,
    )


def _add(messages: list[AskedMessage], item: _Item) -> None:
    """Calls and texts of one reply are items of their own here, and one message there."""
    match item.type:
        case "message":
            messages.append(AskedMessage(role=item.role, content=_text(item.content)))
        case "function_call" | "custom_tool_call":
            call = AskedCall(
                id=item.call_id, function=AskedFunction(name=item.name, arguments=item.arguments or item.input)
            )
            last = messages[-1] if messages and messages[-1].role == "assistant" else None
            if last is not None:
                messages[-1] = msgspec.structs.replace(last, tool_calls=[*(last.tool_calls or ()), call])
            else:
                messages.append(AskedMessage(role="assistant", tool_calls=[call]))
        case "function_call_output" | "custom_tool_call_output":
            messages.append(AskedMessage(role="tool", tool_call_id=item.call_id, content=_text(item.output)))
        case _:
            pass  # reasoning, and tools of the provider's own


def _text(content: str | list[_Part] | None) -> str:
    if isinstance(content, str) or content is None:
        return content or ""
    return "".join(part.text or "" for part in content)


# --- replies ----------------------------------------------------------------------------------------------------------


def _items(plan: Plan, identity: Identity) -> Iterator[dict[str, Any]]:
    if is_faulty(plan, FaultKind.EMPTY):
        return
    if plan.thinking:
        summary = [{"type": "summary_text", "text": plan.thinking}]
        sealed = signature_of(plan.thinking)
        yield {"id": f"rs_{identity.id}", "type": "reasoning", "summary": summary, "encrypted_content": sealed}
    text = text_of(plan)
    calls = calls_of(plan, identity, prefix="call")
    if text or not calls:
        content = [{"type": "output_text", "text": text, "annotations": [], "logprobs": []}]
        yield {
            "id": f"msg_{identity.id}", "type": "message", "role": "assistant", "status": "completed",
            "content": content,
        }  # fmt: skip
    for number, call in enumerate(calls):
        yield {
            "id": f"fc_{identity.id}_{number}", "type": "function_call", "status": "completed", "call_id": call.id,
            "name": call.tool, "arguments": call.arguments,
        }  # fmt: skip


def _status(plan: Plan) -> str:
    return "incomplete" if plan.stop in _INCOMPLETE else "completed"


def _response(plan: Plan, identity: Identity, *, output: list[dict[str, Any]], status: str) -> dict[str, Any]:
    ended = status != "in_progress"
    reason = _INCOMPLETE.get(plan.stop) if ended else None
    return {
        "id": f"resp_{identity.id}",
        "object": "response",
        "created_at": identity.created,
        "model": identity.model,
        "status": status,
        "output": output,
        "error": None,
        "incomplete_details": {"reason": reason} if reason else None,
        "instructions": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "tool_choice": "auto",
        "tools": [],
        "temperature": None,
        "top_p": None,
        "usage": _usage(plan.usage) if ended else None,
    }


def _usage(usage: Usage) -> dict[str, Any]:
    return {
        "input_tokens": usage.input_tokens,
        "input_tokens_details": {"cached_tokens": usage.cached_tokens, "cache_write_tokens": usage.written_tokens},
        "output_tokens": usage.output_tokens,
        "output_tokens_details": {"reasoning_tokens": 0},
        "total_tokens": usage.tokens,
    }


def _of_item(item: dict[str, Any], index: int) -> Iterator[dict[str, Any]]:
    """The events of one item: it comes empty, then piece by piece, then as a whole."""
    place = {"item_id": item["id"], "output_index": index}
    empty: dict[str, Any] = {"content": []} if item["type"] == "message" else {}
    empty |= {"arguments": ""} if item["type"] == "function_call" else {}
    empty |= {"status": "in_progress"} if "status" in item else {}
    yield {"type": "response.output_item.added", "output_index": index, "item": {**item, **empty}}
    if item["type"] == "message":
        yield from _of_text(item["content"][0], place)
    elif item["type"] == "function_call":
        for piece in pieces(item["arguments"]):
            yield {"type": "response.function_call_arguments.delta", **place, "delta": piece}
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield {"type": "response.function_call_arguments.done", **place, **done}
    yield {"type": "response.output_item.done", "output_index": index, "item": item}


def _of_text(part: dict[str, Any], place: dict[str, Any]) -> Iterator[dict[str, Any]]:
    place = {**place, "content_index": 0}
    yield {"type": "response.content_part.added", **place, "part": {**part, "text": ""}}
    for piece in pieces(part["text"]):
        yield {"type": "response.output_text.delta", **place, "delta": piece, "logprobs": []}
    yield {"type": "response.output_text.done", **place, "text": part["text"], "logprobs": []}
    yield {"type": "response.content_part.done", **place, "part": part}


def _event(number: int, facts: dict[str, Any]) -> bytes:
    name = str(facts["type"]).encode()
    return b"event: " + name + b"\ndata: " + _encode({**facts, "sequence_number": number}) + b"\n\n"


RESPONSES_FACE: Face = ResponsesFace()
