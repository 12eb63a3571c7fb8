"""The Anthropic dialect: what is sent, what is read, whole and in pieces, and that thoughts go back as they came."""

from __future__ import annotations

import json
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ostinato.domain.budget import Price, cost
from ostinato.domain.chat import (
    AssistantPart,
    ChatPart,
    ModelReply,
    ModelRequest,
    StopReason,
    SystemPart,
    Thought,
    ToolCall,
    ToolPart,
    Usage,
    UserPart,
)
from ostinato.models.anthropic.dialect import ANTHROPIC
from ostinato.models.anthropic.reply import FINISHES
from ostinato.models.dialect import Options, Refused, names_of
from ostinato.models.reply import Whole, reply_of
from ostinato.models.scripted.anthropic_face import ANTHROPIC_FACE, signature_of
from ostinato.models.scripted.script import Plan
from ostinato.models.scripted.wire import Asked
from ostinato.tools.port import object_schema
from tests.models.chats import requests
from tests.models.plans import IDENTITY, plans
from tests.models.stage import TOOLS

CACHED = {"type": "ephemeral"}


def sent(*parts: ChatPart, options: Options = Options(), **more: Any) -> dict[str, Any]:  # noqa: B008 - frozen
    request = ModelRequest(model="m", parts=parts, **more)
    decoded: dict[str, Any] = json.loads(ANTHROPIC.encode(request, names_of(request), options))
    return decoded


def read(content: list[dict[str, Any]], *, stop: str = "end_turn", model: str = "m", **more: Any) -> ModelReply:
    body = {"type": "message", "content": content, "stop_reason": stop, "model": "m-1", "usage": {}, **more}
    whole = ANTHROPIC.read(json.dumps(body).encode(), asked=model)
    assert isinstance(whole, Whole)
    request = ModelRequest(model=model, parts=(), tools=TOOLS)
    return reply_of(whole, request, names_of(request))


def streamed(*events: dict[str, Any], heard: list[str] | None = None) -> Whole:
    stream = ANTHROPIC.stream(None if heard is None else heard.append, asked="m")
    for event in events:
        stream.add(json.dumps(event).encode())
    return stream.whole()


def called(call_id: str = "1.0", provider_id: str = "toolu_9", **more: Any) -> ToolCall:
    return ToolCall(id=call_id, name="files.read", arguments={"path": "a"}, provider_id=provider_id, **more)


def answered(text: str = "ok", call_id: str = "1.0", provider_id: str = "toolu_9") -> ToolPart:
    return ToolPart(call_id=call_id, provider_id=provider_id, name="files.read", text=text)


def test_a_conversation_has_the_form_of_the_dialect() -> None:
    found = sent(
        SystemPart(text="be"),
        UserPart(text="hi"),
        AssistantPart(text="let me look", calls=(called(),)),
        answered("content"),
        UserPart(text="and?"),
        tools=TOOLS[:1],
        output_tokens_max=77,
        temperature=0.5,
        effort="low",
        user="T7",
        options=Options(stream=True, thinking="2048"),
    )
    assert found == {
        "model": "m",
        "max_tokens": 77,
        "messages": [
            {"role": "user", "content": [{"type": "text", "text": "hi"}]},
            {
                "role": "assistant",
                "content": [
                    {"type": "text", "text": "let me look"},
                    {"type": "tool_use", "id": "toolu_9", "name": "files__read", "input": {"path": "a"}},
                ],
            },
            {
                "role": "user",
                "content": [
                    {"type": "tool_result", "tool_use_id": "toolu_9", "content": "content"},
                    {"type": "text", "text": "and?", "cache_control": CACHED},
                ],
            },
        ],
        "system": [{"type": "text", "text": "be", "cache_control": CACHED}],
        "tools": [
            {"name": "files__read", "description": "", "input_schema": object_schema(), "cache_control": CACHED},
        ],
        "temperature": 0.5,
        "output_config": {"effort": "low"},
        "thinking": {"type": "enabled", "budget_tokens": 2048},
        "metadata": {"user_id": "T7"},
        "stream": True,
    }


def test_what_is_not_set_is_not_sent() -> None:
    text = {"type": "text", "text": "hi", "cache_control": CACHED}
    assert sent(UserPart(text="hi")) == {
        "model": "m",
        "max_tokens": 8192,
        "messages": [{"role": "user", "content": [text]}],
    }


def test_a_conversation_begins_and_ends_with_the_user() -> None:
    for parts in ((), (SystemPart(text="be"),), (AssistantPart(text="a"),), (UserPart(text=" \n"),)):
        messages = sent(*parts)["messages"]
        assert (messages[0]["role"], messages[-1]["role"]) == ("user", "user")
        assert all(block["text"].strip() for message in messages for block in message["content"])


def test_results_stand_before_whatever_else_a_user_says() -> None:
    two = AssistantPart(calls=(called("1.0", "a"), called("1.1", "b")))
    said = sent(two, answered("one", "1.0", "a"), UserPart(text="note"), answered("two", "1.1", "b"))["messages"][2]
    assert [block.get("content") or block["text"] for block in said["content"]] == ["one", "two", "note"]


def test_ids_are_of_the_kind_that_the_dialect_allows_and_each_is_there_once() -> None:
    foreign = (AssistantPart(calls=(called(provider_id=""),)), answered("one", provider_id=""))
    again = (AssistantPart(calls=(called(provider_id="call|x"),)), answered("two", provider_id="call|x"))
    messages = sent(UserPart(text="hi"), *foreign, *foreign, *again, *again)["messages"]
    calls = [block["id"] for message in messages for block in message["content"] if block["type"] == "tool_use"]
    results = [
        block["tool_use_id"] for message in messages for block in message["content"] if block["type"] == "tool_result"
    ]
    assert calls == results == ["call_1_0", "call_1_0_2", "call_x", "call_x_2"]


def test_malformed_arguments_of_an_earlier_reply_are_sent_as_an_object() -> None:
    broken = ToolCall(id="1.0", name="ask", arguments=None, raw='{"a": ', provider_id="x")
    messages = sent(UserPart(text="hi"), AssistantPart(calls=(broken,)), answered(provider_id="x"))["messages"]
    assert messages[1]["content"][0]["input"] == {"malformed": '{"a": '}


@settings(max_examples=40)
@given(st.text(alphabet=st.characters(), max_size=40))
def test_any_text_can_be_sent_even_half_a_surrogate_pair(text: str) -> None:
    found = sent(SystemPart(text=text + "\ud800"), UserPart(text=text))
    assert found["system"][0]["text"].endswith("?")


def test_a_reply_is_read_with_its_calls_and_its_tokens() -> None:
    found = read(
        [
            {"type": "text", "text": "look"},
            {"type": "tool_use", "id": "toolu_1", "name": "files__read", "input": {"path": "a"}},
        ],
        stop="tool_use",
        usage={
            "input_tokens": 10,
            "cache_read_input_tokens": 100,
            "cache_creation_input_tokens": 50,
            "output_tokens": 5,
        },
    )
    assert (found.text, found.stop, found.model, found.problem) == ("look", StopReason.TOOLS, "m-1", "")
    assert found.calls == (
        ToolCall(id="1.0", name="files.read", arguments={"path": "a"}, provider_id="toolu_1", raw='{"path": "a"}'),
    )
    assert found.usage == Usage(input_tokens=160, cached_tokens=100, written_tokens=50, output_tokens=5)


def test_what_is_written_to_a_cache_has_a_price_of_its_own() -> None:
    price = Price(
        input_usd_micros=1_000_000, cached_usd_micros=100_000, output_usd_micros=0, written_usd_micros=1_250_000
    )
    assert cost(price, input_tokens=160, cached_tokens=100, written_tokens=50, output_tokens=0) == 10 + 10 + 63


@pytest.mark.parametrize(("reason", "stop"), [
    ("end_turn", StopReason.END), ("stop_sequence", StopReason.END), ("max_tokens", StopReason.LENGTH),
    ("model_context_window_exceeded", StopReason.LENGTH), ("pause_turn", StopReason.LENGTH),
    ("refusal", StopReason.FILTER), ("something_new", StopReason.END),
])  # fmt: skip
def test_every_reason_to_stop_is_understood(reason: str, stop: StopReason) -> None:
    assert read([{"type": "text", "text": "a"}], stop=reason).stop is stop


def test_a_reply_that_is_said_to_call_tools_and_calls_none_is_unusable() -> None:
    assert FINISHES["tool_use"] == "tool_calls"
    assert read([], stop="tool_use").problem == "the reply is said to call tools and calls none"


THOUGHTS: list[dict[str, Any]] = [
    {"type": "thinking", "thinking": "first", "signature": "s1"},
    {"type": "text", "text": "I look"},
    {"type": "redacted_thinking", "data": "sealed"},
    {"type": "tool_use", "id": "a", "name": "files__read", "input": {"path": "a"}},
    {"type": "thinking", "thinking": "", "signature": "s2"},
    {"type": "tool_use", "id": "b", "name": "files__read", "input": {"path": "b"}},
]


def test_thoughts_go_back_as_they_came_and_where_they_stood() -> None:
    found = read(THOUGHTS, stop="tool_use")
    kept = msgspec.json.decode(msgspec.json.encode(found), type=ModelReply)  # as the journal keeps it
    part = AssistantPart(text=kept.text, calls=kept.calls, thoughts=kept.thoughts)
    results = [answered(call_id=call.id, provider_id=call.provider_id) for call in kept.calls]
    again = sent(UserPart(text="hi"), part, *results)["messages"][1]["content"]
    assert again == THOUGHTS


def test_thoughts_are_only_for_the_model_that_had_them() -> None:
    found = read(THOUGHTS, stop="tool_use", model="another")
    part = AssistantPart(text=found.text, calls=found.calls, thoughts=found.thoughts)
    kinds = [block["type"] for block in sent(UserPart(text="hi"), part)["messages"][1]["content"]]
    assert kinds == ["text", "tool_use", "tool_use"]


def test_a_thought_without_a_signature_was_cut_off_and_is_not_kept() -> None:
    found = read([{"type": "thinking", "thinking": "hm"}, {"type": "text", "text": "a"}])
    assert found.thoughts == ()


def test_a_reply_of_thoughts_alone_is_not_sent_back() -> None:
    part = AssistantPart(thoughts=(Thought(model="m", text="hm", signature="s"),))
    assert [each["role"] for each in sent(UserPart(text="hi"), part, UserPart(text="?"))["messages"]] == ["user"]


@settings(max_examples=40)
@given(requests())
def test_whatever_is_sent_the_strict_server_understands(request_: ModelRequest) -> None:
    body = ANTHROPIC.encode(request_, names_of(request_), Options())
    asked, _ = ANTHROPIC_FACE.read(body)
    said = [part.text for part in request_.parts if isinstance(part, UserPart) and part.text.strip()]
    heard = [each.content for each in asked.messages if each.role == "user"]
    assert [each for each in heard if each != "Go on."] == [each for each in said if each != "Go on."]
    results = [part.text for part in request_.parts if isinstance(part, ToolPart)]
    assert [each.content for each in asked.messages if each.role == "tool"] == results


@settings(max_examples=40)
@given(plans)
def test_a_streamed_reply_equals_the_same_reply_in_one_piece(plan: Plan) -> None:
    asked = Asked(model="m", messages=[])
    heard: list[str] = []
    stream = ANTHROPIC.stream(heard.append, asked="m")
    for event in ANTHROPIC_FACE.events(plan, IDENTITY, asked):
        stream.add(event.partition(b"data: ")[2].strip())
    whole = ANTHROPIC.read(ANTHROPIC_FACE.whole(plan, IDENTITY), asked="m")
    assert isinstance(whole, Whole)
    assert stream.done
    assert stream.ended
    got = stream.whole()
    assert [json.loads(call.arguments) for call in got.calls] == [json.loads(call.arguments) for call in whole.calls]
    assert msgspec.structs.replace(got, calls=()) == msgspec.structs.replace(whole, calls=())
    assert "".join(heard) == whole.text == plan.text
    assert [each.signature for each in whole.thoughts] == ([signature_of(plan.thinking)] if plan.thinking else [])


def test_what_an_event_does_not_repeat_stays_as_it_was_said() -> None:
    found = streamed(
        {"type": "message_start", "message": {"usage": {"input_tokens": 3, "cache_read_input_tokens": 7}}},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 5}},
    )
    assert found.usage == Usage(input_tokens=10, cached_tokens=7, output_tokens=5)


def test_an_error_with_status_200_is_no_reply() -> None:
    body = b'{"type": "error", "error": {"type": "overloaded_error", "message": "busy"}}'
    found = ANTHROPIC.read(body, asked="m")
    assert found == Refused(error={"type": "overloaded_error", "message": "busy"})
    assert ANTHROPIC.read(b"[]", asked="m") is None


def test_the_key_goes_in_a_header_of_its_own() -> None:
    assert ANTHROPIC.headers("k") == {"anthropic-version": "2023-06-01", "x-api-key": "k"}
    assert "x-api-key" not in ANTHROPIC.headers("")
