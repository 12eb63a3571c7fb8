"""A request in the OpenAI chat dialect, as bytes. Pure.

Knows nothing of connections, nor of how the answer looks.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ostinato.domain.chat import AssistantPart, ChatPart, ModelRequest, SystemPart, ToolCall, ToolPart, UserPart
from ostinato.domain.values import Value
from ostinato.models.surrogates import without_surrogates
from ostinato.models.tool_names import ToolNames


class _ToolFunction(Value, gc=False):
    name: str
    description: str
    parameters: dict[str, Any]


class _Tool(Value, gc=False, tag_field="type", tag="function"):
    function: _ToolFunction


class _CallFunction(Value, gc=False):
    name: str
    arguments: str


class _Call(Value, gc=False, tag_field="type", tag="function"):
    id: str
    function: _CallFunction


class _System(Value, gc=False, tag_field="role", tag="system"):
    content: str


class _User(Value, gc=False, tag_field="role", tag="user"):
    content: str


class _Assistant(Value, gc=False, tag_field="role", tag="assistant"):
    content: str | None
    tool_calls: list[_Call] | None = None


class _Result(Value, gc=False, tag_field="role", tag="tool"):
    tool_call_id: str
    content: str


class _StreamOptions(Value, gc=False):
    include_usage: bool


class _Request(Value, gc=False):
    model: str
    messages: list[_System | _User | _Assistant | _Result]
    tools: list[_Tool] | None = None
    max_tokens: int | None = None
    max_completion_tokens: int | None = None
    temperature: float | None = None
    reasoning_effort: str | None = None
    stream: bool = False
    stream_options: _StreamOptions | None = None
    user: str = ""


_encoder = msgspec.json.Encoder()


def encode_request(request: ModelRequest, names: ToolNames, *, stream: bool, completion_limit: bool) -> bytes:
    """The body of a request. `completion_limit`: the provider wants `max_completion_tokens`, not `max_tokens`."""
    body = _Request(
        model=request.model,
        messages=[_message(part, names) for part in request.parts],
        tools=[
            _Tool(
                function=_ToolFunction(
                    name=names.to_wire(tool.name), description=tool.description, parameters=tool.parameters
                )
            )
            for tool in request.tools
        ]
        or None,
        max_tokens=None if completion_limit else request.output_tokens_max,
        max_completion_tokens=request.output_tokens_max if completion_limit else None,
        temperature=request.temperature,
        reasoning_effort=request.effort,
        stream=stream,
        stream_options=_StreamOptions(include_usage=True) if stream else None,
        user=request.user,
    )
    try:
        return _encoder.encode(body)
    except UnicodeEncodeError:  # a half of a surrogate pair, from a broken file: no provider takes it
        return _encoder.encode(without_surrogates(msgspec.to_builtins(body)))


def _message(part: ChatPart, names: ToolNames) -> _System | _User | _Assistant | _Result:
    match part:
        case UserPart():
            return _User(content=part.text)
        case ToolPart():
            return _Result(tool_call_id=part.provider_id or part.call_id, content=part.text)
        case AssistantPart():
            calls = [
                _Call(
                    id=call.provider_id or call.id,
                    function=_CallFunction(name=names.to_wire(call.name), arguments=_arguments_text(call)),
                )
                for call in part.calls
            ]
            return _Assistant(content=part.text or (None if calls else ""), tool_calls=calls or None)
        case SystemPart():
            return _System(content=part.text)


def _arguments_text(call: ToolCall) -> str:
    """Arguments as the model wrote them, so that the provider's cache knows them again."""
    if call.arguments is None:
        return _encoder.encode(call.shown_arguments).decode() if call.raw else "{}"
    return call.raw or _encoder.encode(call.arguments).decode()
