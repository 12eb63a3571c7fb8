"""The official clients' own types say whether what we send is right, and read what the script server answers."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, get_type_hints

import pytest
from hypothesis import given, settings
from pydantic import TypeAdapter

from ostinato.domain.chat import ModelRequest
from ostinato.models.anthropic.dialect import ANTHROPIC
from ostinato.models.dialect import Dialect, Options, names_of
from ostinato.models.openai.dialect import OPENAI
from ostinato.models.scripted.anthropic_face import ANTHROPIC_FACE
from ostinato.models.scripted.openai_face import OPENAI_FACE
from ostinato.models.scripted.player import Player
from ostinato.models.scripted.reading import parse_script
from ostinato.models.scripted.responses_face import RESPONSES_FACE
from ostinato.models.scripted.script import Plan
from ostinato.models.scripted.server import ScriptServer
from ostinato.models.scripted.wire import Asked, StreamOptions
from tests.conftest import run
from tests.models.chats import requests
from tests.models.plans import IDENTITY, plans

pytestmark = pytest.mark.slow

EXAMPLES = settings(max_examples=20)
"""Each is validated twice; the clients themselves take seconds to load."""

SCRIPT = """
rules:
  - when: {user: weather}
    thinking: "They ask for {user}"
    text: "I look."
    calls:
      - {tool: files.read, args: {path: "weather.txt", lines: [1, 2.5, null, "ü"]}}
    usage: {input: 100, cached: 60, written: 30, output: 7}
  - when: {tool: files.read}
    text: "It says: {result}"
default: {text: "hm"}
"""


def sent(dialect: Dialect, request: ModelRequest, options: Options) -> Any:
    return json.loads(dialect.encode(request, names_of(request), options))


@cache
def adapter_of(kind: Any) -> TypeAdapter[Any]:
    """Made once: a large type takes a second."""
    return TypeAdapter(kind)


def check(kind: Any, found: dict[str, Any]) -> None:
    """Valid, and no key that the type does not name."""
    _consume(adapter_of(kind).validate_python(found))
    assert set(found) <= set(get_type_hints(kind)), kind


def _consume(value: Any) -> None:
    """Goes through all of it: what stands in an iterable is only looked at when somebody reads it."""
    if isinstance(value, dict):
        for each in value.values():
            _consume(each)
    elif isinstance(value, Iterable) and not isinstance(value, str | bytes):
        for each in value:
            _consume(each)


@EXAMPLES
@given(requests())
def test_requests_are_what_the_openai_client_would_send(request_: ModelRequest) -> None:
    from openai.types import chat
    from openai.types.chat import completion_create_params as params

    for kind, options in (
        (params.CompletionCreateParamsStreaming, Options(stream=True)),
        (params.CompletionCreateParamsNonStreaming, Options(completion_limit=True)),
    ):
        found = sent(OPENAI, request_, options)
        check(kind, found)
        kinds = {
            "system": chat.ChatCompletionSystemMessageParam,
            "user": chat.ChatCompletionUserMessageParam,
            "assistant": chat.ChatCompletionAssistantMessageParam,
            "tool": chat.ChatCompletionToolMessageParam,
        }
        for message in found["messages"]:
            check(kinds[message["role"]], message)


@EXAMPLES
@given(requests())
def test_requests_are_what_the_anthropic_client_would_send(request_: ModelRequest) -> None:
    from anthropic import types
    from anthropic.types import message_create_params as params

    for kind, options in (
        (params.MessageCreateParamsStreaming, Options(stream=True, thinking="adaptive")),
        (params.MessageCreateParamsNonStreaming, Options(thinking="2048")),
    ):
        found = sent(ANTHROPIC, request_, options)
        check(kind, found)
        kinds: dict[str, Any] = {
            "text": types.TextBlockParam,
            "thinking": types.ThinkingBlockParam,
            "redacted_thinking": types.RedactedThinkingBlockParam,
            "tool_use": types.ToolUseBlockParam,
            "tool_result": types.ToolResultBlockParam,
        }
        for block in [*found.get("system", []), *(each for m in found["messages"] for each in m["content"])]:
            check(kinds[block["type"]], block)
        for tool in found.get("tools", []):
            check(types.ToolParam, tool)


def datas(events: list[bytes]) -> Iterator[Any]:
    for event in events:
        data = event.partition(b"data: ")[2].strip()
        if data != b"[DONE]":
            yield json.loads(data)


@EXAMPLES
@given(plans)
def test_the_openai_client_reads_what_a_script_answers(plan: Plan) -> None:
    from openai.types.chat import ChatCompletion, ChatCompletionChunk

    ChatCompletion.model_validate(json.loads(OPENAI_FACE.whole(plan, IDENTITY)))
    asked = Asked(model="m", messages=[], stream_options=StreamOptions(include_usage=True))
    for event in datas(OPENAI_FACE.events(plan, IDENTITY, asked)):
        ChatCompletionChunk.model_validate(event)


@EXAMPLES
@given(plans)
def test_the_anthropic_client_reads_what_a_script_answers(plan: Plan) -> None:
    from anthropic.types import Message, RawMessageStreamEvent

    Message.model_validate(json.loads(ANTHROPIC_FACE.whole(plan, IDENTITY)))
    adapter = adapter_of(RawMessageStreamEvent)
    for event in datas(ANTHROPIC_FACE.events(plan, IDENTITY, Asked(model="m", messages=[]))):
        if event["type"] != "ping":  # the client passes over it before it looks at types
            adapter.validate_python(event)


@EXAMPLES
@given(plans)
def test_the_openai_client_reads_what_a_script_responds(plan: Plan) -> None:
    from openai.types.responses import Response, ResponseStreamEvent

    whole = Response.model_validate(json.loads(RESPONSES_FACE.whole(plan, IDENTITY)))
    assert whole.output_text == ("" if plan.calls and not plan.text else plan.text)
    events = list(datas(RESPONSES_FACE.events(plan, IDENTITY, Asked(model="m", messages=[]))))
    for event in events:
        adapter_of(ResponseStreamEvent).validate_python(event)
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert events[-1]["response"] == json.loads(RESPONSES_FACE.whole(plan, IDENTITY))


def test_the_real_clients_talk_with_a_script() -> None:
    async def main() -> None:
        server = ScriptServer(Player(parse_script(SCRIPT)))
        await server.start()
        try:
            await asyncio.gather(_ask_by_anthropic(server.url), _ask_by_openai(server.url), _respond(server.url))
        finally:
            await server.stop()

    run(main())


async def _ask_by_anthropic(url: str) -> None:
    import anthropic

    tools: Any = [{"name": "files__read", "input_schema": {"type": "object"}}]
    asked: Any = {"model": "m", "max_tokens": 50, "tools": tools}
    async with anthropic.AsyncAnthropic(api_key="k", base_url=url.removesuffix("/v1"), max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "the weather"}]
        async with client.messages.stream(**asked, messages=messages) as stream:
            first = await stream.get_final_message()
        whole = await client.messages.create(**asked, messages=messages)
        assert [block.model_dump() for block in first.content] == [block.model_dump() for block in whole.content]
        assert [block.type for block in first.content] == ["thinking", "text", "tool_use"]
        assert (first.usage.input_tokens, first.usage.cache_read_input_tokens) == (10, 60)
        call: Any = first.content[2]
        assert call.input == {"path": "weather.txt", "lines": [1, 2.5, None, "ü"]}
        messages += [
            {"role": "assistant", "content": first.content},
            {"role": "user", "content": [{"type": "tool_result", "tool_use_id": call.id, "content": "rain"}]},
        ]
        second: Any = await client.messages.create(**asked, messages=messages)
        assert second.content[0].text == "It says: rain"
        messages[1]["content"] = [{**first.content[0].model_dump(), "thinking": "changed"}, call.model_dump()]
        with pytest.raises(anthropic.BadRequestError, match="signature"):
            await client.messages.create(**asked, messages=messages)
        assert (await client.messages.count_tokens(model="m", messages=messages[:1])).input_tokens > 0
        assert [each.id async for each in client.models.list()] == ["scripted"]


async def _ask_by_openai(url: str) -> None:
    import openai

    async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
        messages: Any = [{"role": "user", "content": "the weather"}]
        first: Any = await client.chat.completions.create(model="m", messages=messages)
        call = first.choices[0].message.tool_calls[0]
        assert json.loads(call.function.arguments)["path"] == "weather.txt"
        messages += [
            first.choices[0].message.model_dump(exclude_none=True),
            {"role": "tool", "tool_call_id": call.id, "content": "rain"},
        ]
        async with client.chat.completions.stream(model="m", messages=messages) as stream:
            second: Any = await stream.get_final_completion()
        assert second.choices[0].message.content == "It says: rain"


async def _respond(url: str) -> None:
    import openai

    async with openai.AsyncOpenAI(api_key="k", base_url=url, max_retries=0) as client:
        asked: Any = {"model": "m", "instructions": "be brief", "store": False}
        conversation: Any = [{"role": "user", "content": [{"type": "input_text", "text": "the weather"}]}]
        async with client.responses.stream(**asked, input=conversation) as stream:
            first: Any = await stream.get_final_response()
        assert [item.type for item in first.output] == ["reasoning", "message", "function_call"]
        assert (first.output_text, first.usage.input_tokens) == ("I look.", 100)
        call = first.output[2]
        assert json.loads(call.arguments)["path"] == "weather.txt"
        conversation += [item.model_dump(exclude_none=True) for item in first.output]
        conversation.append({"type": "function_call_output", "call_id": call.call_id, "output": "rain"})
        second: Any = await client.responses.create(**asked, input=conversation)
        assert second.output_text == "It says: rain"
        with pytest.raises(openai.BadRequestError, match="whole conversation"):
            await client.responses.create(model="m", input="hi", previous_response_id=first.id)
