"""A reply, whatever its dialect: from what a provider said to `ModelReply`. Pure.

What is wrong with a reply is said in `ModelReply.problem` or `ToolCall.problem`; nothing here raises because of what a
server sent. Knows nothing of connections or of the shapes in which replies come.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import msgspec

from ostinato.domain.chat import ModelReply, ModelRequest, StopReason, Thought, ToolCall, Usage
from ostinato.domain.values import Value
from ostinato.models.tool_names import ToolNames

CALLS_MAX = 128
"""Tool calls in one reply; the most parallel calls that any provider documents."""

NESTING_MAX = 100
"""Levels of arrays and objects in arguments; far below where encoders of any language give up."""

ARGUMENTS_MAX_BYTES = 2 * 1024 * 1024
"""Arguments of one call; a file of that size can still be written."""

NAME_MAX = 256
"""Characters of a tool name that are worth showing to anybody."""

_json_decoder = msgspec.json.Decoder()

UNKNOWN_SHAPE = "the reply has an unknown shape"
"""What is wrong with a reply that fits no part of its dialect."""

DECODE_ERRORS = (msgspec.MsgspecError, UnicodeError, RecursionError, OverflowError)
"""Everything that decoding foreign bytes can raise."""


class RawCall(Value, gc=False):
    """A call as the provider sent it, put together."""

    id: str
    name: str
    arguments: str


class Whole(Value, gc=False):
    """Everything a provider said in one reply, before it is judged well-formed."""

    text: str = ""
    calls: tuple[RawCall, ...] = ()
    thoughts: tuple[Thought, ...] = ()
    finish: str | None = None
    """Why it stopped, in the words of the OpenAI chat dialect; other dialects translate theirs."""
    refused: bool = False
    usage: Usage | None = None
    model: str = ""
    problem: str = ""
    """Not empty: something did not fit the dialect."""


def count_or_none(found: Any) -> int | None:
    """A count of tokens that is a number of any kind; None for whatever else."""
    return int(found) if isinstance(found, int | float) and 0 <= found < 1e12 else None


def reply_of(whole: Whole, request: ModelRequest, names: ToolNames) -> ModelReply:
    """The finished reply. A reply with a problem carries no calls: it must not be acted on."""
    problem = whole.problem or _problem_of(whole.calls)
    if not problem and whole.finish == "tool_calls" and not whole.calls and not whole.text:
        problem = "the reply is said to call tools and calls none"
    calls = () if problem else tuple(_calls(whole, request.call, names))
    return ModelReply(
        text=whole.text,
        calls=calls,
        thoughts=() if problem else whole.thoughts,
        stop=StopReason.FILTER if whole.refused else _stop(whole.finish, bool(calls)),
        usage=whole.usage or Usage(),
        model=whole.model or request.model,
        problem=problem,
    )


def _problem_of(calls: tuple[RawCall, ...]) -> str:
    if not calls:
        return ""
    if len(calls) > CALLS_MAX:
        return f"the reply has {len(calls)} tool calls; at most {CALLS_MAX} are read"
    ids = [call.id for call in calls if call.id]
    if len(set(ids)) != len(ids):
        return f"two tool calls share the id {next(each for each in ids if ids.count(each) > 1)[:NAME_MAX]!r}"
    for number, call in enumerate(calls, 1):
        if not call.name or len(call.name) > NAME_MAX:
            return f"tool call {number} has no name" if not call.name else f"tool call {number} has an endless name"
    return ""


def _calls(whole: Whole, number: int, names: ToolNames) -> Iterable[ToolCall]:
    for index, call in enumerate(whole.calls):
        arguments, problem = read_arguments(call.arguments)
        if problem and whole.finish == "length":
            problem = f"the reply was cut off at the output limit; {problem}"
        yield ToolCall(
            id=f"{number}.{index}",
            name=names.from_wire(call.name),
            arguments=arguments,
            provider_id=call.id[:NAME_MAX],
            raw=call.arguments[:ARGUMENTS_MAX_BYTES],
            problem=problem,
        )


def read_arguments(raw: str) -> tuple[dict[str, Any] | None, str]:
    """Arguments as an object and an empty problem, or None and what is wrong. Empty text means no arguments."""
    if not raw or raw.isspace():
        return {}, ""
    if len(raw) > ARGUMENTS_MAX_BYTES:
        return None, f"the arguments have {len(raw)} characters; at most {ARGUMENTS_MAX_BYTES} are read"
    if raw.count("{") + raw.count("[") > NESTING_MAX and _nesting(raw) > NESTING_MAX:
        return None, f"the arguments are nested deeper than {NESTING_MAX} levels"
    try:
        found = _json_decoder.decode(raw)
    except DECODE_ERRORS as error:
        return None, f"the arguments are not valid JSON: {error}"
    if not isinstance(found, dict):
        return None, f"the arguments are a JSON {_kind(found)}, not an object"
    return found, ""


def _nesting(raw: str) -> int:
    """Deepest level of brackets outside strings."""
    depth = deepest = 0
    quoted = escaped = False
    for each in raw:
        if quoted:
            quoted = escaped or each != '"'
            escaped = each == "\\" and not escaped
        elif each == '"':
            quoted = True
        elif each in "{[":
            depth += 1
            deepest = max(deepest, depth)
        elif each in "}]":
            depth -= 1
    return deepest


def _kind(found: object) -> str:
    kinds = {list: "array", str: "string", bool: "boolean", type(None): "null"}
    return kinds.get(type(found), "number")


def _stop(finish: str | None, has_calls: bool) -> StopReason:
    match finish:
        case "length":
            return StopReason.LENGTH
        case "content_filter":
            return StopReason.FILTER
        case _:
            return StopReason.TOOLS if has_calls else StopReason.END
