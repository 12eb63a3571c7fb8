"""A request in the Anthropic messages dialect, as bytes. Pure.

Consecutive parts of one side become one message, results of tools before texts, as the dialect wants it. What repeats
from call to call is marked for the provider's cache: the tools, the instructions, and the conversation up to now. Knows
nothing of connections, nor of how the answer looks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

import msgspec

from ostinato.domain.chat import AssistantPart, ModelRequest, SystemPart, Thought, ToolCall, ToolPart, UserPart
from ostinato.models.dialect import Options
from ostinato.models.surrogates import without_surrogates
from ostinato.models.tool_names import ToolNames

CACHED = {"type": "ephemeral"}
"""Marks the end of what the provider shall keep in its cache; for five minutes, its default."""

NOTHING_SAID = "Go on."
"""Stands where the dialect wants a person to speak and nobody has."""


_FOREIGN = re.compile(r"[^a-zA-Z0-9_-]")
_encoder = msgspec.json.Encoder()

Block = dict[str, Any]


def encode_request(request: ModelRequest, names: ToolNames, options: Options) -> bytes:
    """The body of a request."""
    body: dict[str, Any] = {
        "model": request.model,
        "max_tokens": request.output_tokens_max,
        "messages": _messages(request, names),
    }
    system: list[Block] = [{"type": "text", "text": part.text} for part in request.parts if _is_instruction(part)]
    if system:
        system[-1]["cache_control"] = CACHED
        body["system"] = system
    if request.tools:
        tools: list[Block] = [
            {"name": names.to_wire(tool.name), "description": tool.description, "input_schema": tool.parameters}
            for tool in request.tools
        ]
        tools[-1]["cache_control"] = CACHED
        body["tools"] = tools
    if request.temperature is not None:
        body["temperature"] = request.temperature
    if request.effort is not None:
        body["output_config"] = {"effort": request.effort}
    if options.thinking:
        body["thinking"] = _thinking(options.thinking)
    if request.user:
        body["metadata"] = {"user_id": request.user}
    if options.stream:
        body["stream"] = True
    try:
        return _encoder.encode(body)
    except UnicodeEncodeError:  # a half of a surrogate pair, from a broken file: no provider takes it
        return _encoder.encode(without_surrogates(body))


def _is_instruction(part: object) -> bool:
    return isinstance(part, SystemPart) and bool(part.text.strip())


def _thinking(said: str) -> Block:
    return {"type": "enabled", "budget_tokens": int(said)} if said.isdecimal() else {"type": said}


def _messages(request: ModelRequest, names: ToolNames) -> list[dict[str, Any]]:
    """Turns of user and assistant, one after the other; the first and the last are the user's."""
    ids = _Ids()
    turns: list[tuple[str, list[Block]]] = []

    def add(role: str, blocks: Iterable[Block]) -> None:
        blocks = list(blocks)
        if not blocks:
            return
        if turns and turns[-1][0] == role:
            turns[-1][1].extend(blocks)
        else:
            turns.append((role, blocks))

    for part in request.parts:
        match part:
            case UserPart():
                add("user", _texts(part.text))
            case ToolPart():
                add("user", [_result(part, ids)])
            case AssistantPart():
                add("assistant", _reply(part, names, ids=ids, model=request.model))
            case SystemPart():
                pass  # stands beside the conversation
    if not turns or turns[0][0] != "user":
        turns.insert(0, ("user", list(_texts(NOTHING_SAID))))
    if turns[-1][0] != "user":
        turns.append(("user", list(_texts(NOTHING_SAID))))
    messages: list[dict[str, Any]] = [
        {"role": role, "content": sorted(blocks, key=_is_no_result) if role == "user" else blocks}
        for role, blocks in turns
    ]
    messages[-1]["content"][-1]["cache_control"] = CACHED
    return messages


def _is_no_result(block: Block) -> bool:
    """Results stand before whatever else a user says in the same turn; all other order is kept."""
    return bool(block["type"] != "tool_result")


def _texts(text: str) -> Iterator[Block]:
    """A block for a text, none for one that says nothing: the dialect refuses those."""
    if text.strip():
        yield {"type": "text", "text": text}


def _result(part: ToolPart, ids: _Ids) -> Block:
    return {"type": "tool_result", "tool_use_id": ids.of_result(part), "content": part.text}


def _reply(part: AssistantPart, names: ToolNames, *, ids: _Ids, model: str) -> list[Block]:
    """What the model said, with its thoughts in their places; they are only for the model that had them."""
    thoughts = [each for each in part.thoughts if each.model == model]
    blocks: list[Block] = []
    at = 0
    for thought in (each for each in thoughts if not each.calls_before):
        blocks.extend(_texts(part.text[at : thought.characters_before]))
        at = max(at, thought.characters_before)
        blocks.append(_thought(thought))
    blocks.extend(_texts(part.text[at:]))
    for number, call in enumerate(part.calls):
        blocks.extend(_thought(each) for each in thoughts if number and each.calls_before == number)
        blocks.append(_call(call, names, ids))
    while blocks and "thinking" in blocks[-1]["type"]:
        blocks.pop()  # the dialect refuses a message that ends in one
    return blocks


def _thought(thought: Thought) -> Block:
    if thought.sealed:
        return {"type": "redacted_thinking", "data": thought.sealed}
    return {"type": "thinking", "thinking": thought.text, "signature": thought.signature}


def _call(call: ToolCall, names: ToolNames, ids: _Ids) -> Block:
    name = names.to_wire(call.name)
    return {"type": "tool_use", "id": ids.of_call(call), "name": name, "input": call.shown_arguments}


class _Ids:
    """Ids of calls as the dialect allows them: letters, digits, `_` and `-`, each once in a conversation."""

    def __init__(self) -> None:
        self._taken: set[str] = set()
        self._latest: dict[str, str] = {}

    def of_call(self, call: ToolCall) -> str:
        """A new id for a call."""
        plain = _FOREIGN.sub("_", call.provider_id or f"call_{call.id}")
        found, number = plain, 1
        while found in self._taken:
            number += 1
            found = f"{plain}_{number}"
        self._taken.add(found)
        self._latest[call.id] = found
        return found

    def of_result(self, part: ToolPart) -> str:
        """The id of the latest call that this is the result of."""
        return self._latest.get(part.call_id) or _FOREIGN.sub("_", part.provider_id or f"call_{part.call_id}")
