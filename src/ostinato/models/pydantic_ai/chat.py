"""Our chat values as pydantic-ai's messages and back. Pure, but for the times that its values carry.

A reply with reasoning is kept whole, sealed in one thought: what a provider wants back with it (ids, signatures) is
known to its adapter alone. Knows nothing of connections.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any, cast

import msgspec

from ostinato.domain.chat import (
    AssistantPart,
    ModelRequest,
    SystemPart,
    Thought,
    ToolPart,
    Usage,
    UserPart,
)
from ostinato.models.reply import RawCall, Whole, count_or_none
from ostinato.models.tool_names import ToolNames

if TYPE_CHECKING:
    from pydantic_ai import messages
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.settings import ModelSettings
    from pydantic_ai.usage import RequestUsage


FINISHES = {"length": "length", "content_filter": "content_filter", "tool_call": "tool_calls"}
"""Why a model stopped, in the words of `Whole.finish`."""


def messages_of(request: ModelRequest, names: ToolNames) -> list[messages.ModelMessage]:
    """The conversation; parts of one side are one message."""
    from pydantic_ai import messages

    found: list[messages.ModelMessage] = []
    asked: list[messages.ModelRequestPart] = []
    for part in request.parts:
        match part:
            case SystemPart():
                asked.append(messages.SystemPromptPart(part.text))
            case UserPart():
                asked.append(messages.UserPromptPart(part.text))
            case ToolPart():
                call_id = part.provider_id or part.call_id
                asked.append(messages.ToolReturnPart(names.to_wire(part.name), part.text, call_id))
            case AssistantPart():
                if asked:
                    found.append(messages.ModelRequest(parts=asked))
                    asked = []
                found.append(_response(part, names, model=request.model))
    if asked:
        found.append(messages.ModelRequest(parts=asked))
    return found


def _response(part: AssistantPart, names: ToolNames, *, model: str) -> messages.ModelResponse:
    from pydantic_ai import messages

    sealed = next((each.sealed for each in part.thoughts if each.model == model and each.sealed), "")
    kept = _unsealed(sealed) if sealed else None
    if kept is not None:
        return kept
    parts: list[messages.ModelResponsePart] = [messages.TextPart(part.text)] if part.text else []
    for call in part.calls:
        name = names.to_wire(call.name)
        parts.append(messages.ToolCallPart(name, call.shown_arguments, call.provider_id or call.id))
    return messages.ModelResponse(parts=parts or [messages.TextPart("")])


def _unsealed(sealed: str) -> messages.ModelResponse | None:
    """A reply that was kept whole; None where another adapter has sealed it."""
    from pydantic_ai import messages

    try:
        (kept,) = messages.ModelMessagesTypeAdapter.validate_json(sealed)
    except ValueError:
        return None
    return kept if isinstance(kept, messages.ModelResponse) else None


def parameters_of(request: ModelRequest, names: ToolNames) -> ModelRequestParameters:
    """The tools that are offered."""
    from pydantic_ai.models import ModelRequestParameters
    from pydantic_ai.tools import ToolDefinition

    tools = [
        ToolDefinition(
            name=names.to_wire(tool.name), description=tool.description, parameters_json_schema=tool.parameters
        )
        for tool in request.tools
    ]
    return ModelRequestParameters(function_tools=tools, allow_text_output=True)


def settings_of(request: ModelRequest, *, total_s: float) -> ModelSettings:
    """Limits and effort. Their clients' own retries are off: each attempt is ours, and a row of the ledger. `total_s`:
    how long an attempt may take; one of them refuses long replies whose time nobody bounds."""
    found: dict[str, Any] = {"max_tokens": request.output_tokens_max, "max_retries": 0, "timeout": total_s}
    if request.temperature is not None:
        found["temperature"] = request.temperature
    if request.effort is not None:
        found["thinking"] = request.effort
    return cast("ModelSettings", found)


def whole_of(response: messages.ModelResponse, *, asked: str) -> Whole:
    """What came back. Raises TypeError or ValueError for what the library has taken over unchecked."""
    return Whole(
        text="".join(_texts(response.parts)),
        calls=tuple(_calls(response.parts)),
        thoughts=tuple(_thoughts(response, asked)),
        finish=FINISHES.get(response.finish_reason or "", "stop"),
        refused=response.finish_reason == "content_filter",
        usage=_usage(response.usage),
        model=_text(response.model_name or ""),
        problem="the reply was broken off by the provider" if response.finish_reason == "error" else "",
    )


def _usage(found: RequestUsage) -> Usage | None:
    """Tokens; None where the provider names none, or nonsense."""
    read, said = count_or_none(found.input_tokens), count_or_none(found.output_tokens)
    if read is None or said is None or not (read or said):
        return None
    return Usage(
        input_tokens=read,
        cached_tokens=min(count_or_none(found.cache_read_tokens) or 0, read),
        written_tokens=count_or_none(found.cache_write_tokens) or 0,
        output_tokens=said,
    )


def _texts(parts: Sequence[messages.ModelResponsePart]) -> Iterator[str]:
    from pydantic_ai import messages

    return (_text(part.content) for part in parts if isinstance(part, messages.TextPart))


def _text(found: object) -> str:
    if not isinstance(found, str):
        raise TypeError(f"{type(found).__name__} is no text")
    return found


def _calls(parts: Sequence[messages.ModelResponsePart]) -> Iterator[RawCall]:
    from pydantic_ai import messages

    for part in parts:
        if isinstance(part, messages.ToolCallPart):
            given = "" if part.args is None else part.args
            arguments = given if isinstance(given, str) else msgspec.json.encode(given).decode()
            yield RawCall(id=_text(part.tool_call_id or ""), name=_text(part.tool_name or ""), arguments=arguments)


def _thoughts(response: messages.ModelResponse, asked: str) -> Iterator[Thought]:
    from pydantic_ai import messages

    thoughts = [part.content for part in response.parts if isinstance(part, messages.ThinkingPart)]
    if thoughts:
        sealed = messages.ModelMessagesTypeAdapter.dump_json([response]).decode()
        yield Thought(model=asked, text="\n\n".join(map(_text, filter(None, thoughts))), sealed=sealed)
