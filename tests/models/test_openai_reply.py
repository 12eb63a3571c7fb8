"""Replies, whole and streamed, become one `ModelReply`; what is wrong with them is said and never acted on."""

from __future__ import annotations

import json
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.chat import ModelReply, ModelRequest, StopReason, Usage, UserPart
from ostinato.models.dialect import names_of
from ostinato.models.openai.reply import decode_reply, whole_of
from ostinato.models.openai.stream import OpenAiStream
from ostinato.models.reply import CALLS_MAX, NESTING_MAX, read_arguments, reply_of
from ostinato.models.server_events import EventReader
from tests.models.stage import TOOLS, call, delta, reply, sse

REQUEST = ModelRequest(model="m", parts=(UserPart(text="hi"),), tools=TOOLS, call=3)


def read(body: dict[str, Any]) -> ModelReply:
    found = decode_reply(json.dumps(body).encode())
    assert found is not None
    return reply_of(whole_of(found), REQUEST, names_of(REQUEST))


def read_stream(stream: bytes, *cuts: int, heard: list[str] | None = None) -> ModelReply:
    """The reply of a stream that comes in pieces, cut at these places."""
    body = stream.partition(b"\r\n\r\n")[2]
    reader, found = EventReader(), OpenAiStream(heard.append if heard is not None else None)
    edges = [0, *sorted(each % (len(body) + 1) for each in cuts), len(body)]
    for start, end in pairwise(edges):
        for data in reader.feed(body[start:end]):
            found.add(data)
    for data in reader.rest():
        found.add(data)
    return reply_of(found.whole(), REQUEST, names_of(REQUEST))


def test_parallel_calls_get_ids_of_ours_and_our_tool_names() -> None:
    found = read(reply(None, calls=[call(), call("ask", '{"question": "why?"}', "c2")], finish="tool_calls"))
    assert [(each.id, each.name, each.arguments, each.provider_id) for each in found.calls] == [
        ("3.0", "files.read", {"path": "a"}, "c1"),
        ("3.1", "ask", {"question": "why?"}, "c2"),
    ]
    assert found.stop is StopReason.TOOLS
    assert found.usage == Usage(input_tokens=10, cached_tokens=4, output_tokens=5)
    assert found.model == "m-1"
    assert not found.problem


@pytest.mark.parametrize(
    ("finish", "calls", "stop"),
    [
        ("stop", None, StopReason.END),
        ("length", None, StopReason.LENGTH),
        ("content_filter", None, StopReason.FILTER),
        ("stop", [call()], StopReason.TOOLS),
        (None, None, StopReason.END),
        ("something new", None, StopReason.END),
        ("function_call", [call()], StopReason.TOOLS),
    ],
)
def test_each_reason_to_stop_is_told_apart(finish: str | None, calls: Any, stop: StopReason) -> None:
    assert read(reply(calls=calls, finish=finish)).stop is stop


def test_a_refusal_is_text_that_the_filter_stopped() -> None:
    body = reply(None)
    body["choices"][0]["message"]["refusal"] = "I cannot."
    assert (read(body).text, read(body).stop) == ("I cannot.", StopReason.FILTER)


def test_content_in_parts_is_joined() -> None:
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "a"}, {"type": "text", "text": "b"}]
    assert read(reply(parts)).text == "ab"


@pytest.mark.parametrize(
    "usage",
    [
        None, "many", [], {}, {"prompt_tokens": "10"}, {"prompt_tokens": None, "completion_tokens": None},
    ],
)  # fmt: skip
def test_usage_that_cannot_be_read_is_no_reason_to_lose_the_reply(usage: Any) -> None:
    found = read(reply(usage=usage))
    assert (found.text, found.usage, found.problem) == ("hello", Usage(), "")


def test_loose_numbers_and_fields_of_other_types_are_understood() -> None:
    body = reply(
        usage={"prompt_tokens": 10.0, "completion_tokens": 3, "prompt_tokens_details": {"cached_tokens": 99.0}}
    )
    assert read(body).usage == Usage(input_tokens=10, cached_tokens=10, output_tokens=3)
    body = reply(usage={"prompt_tokens": -5, "completion_tokens": 3, "prompt_tokens_details": None})
    assert read(body).usage == Usage(input_tokens=0, cached_tokens=0, output_tokens=3)
    assert read(reply(model=7, calls=[call(arguments={"path": "a"})])).calls[0].arguments == {"path": "a"}


@pytest.mark.parametrize("finish", ["stop", "tool_calls", None])
def test_two_calls_with_one_id_are_a_problem_and_no_call_is_left(finish: str | None) -> None:
    found = read(reply("text", calls=[call(), call("ask", "{}")], finish=finish))
    assert "share the id 'c1'" in found.problem
    assert found.calls == ()


def test_calls_without_ids_are_told_apart_by_ours() -> None:
    found = read(reply(calls=[call(call_id=None), call(call_id=""), call(call_id=None)]))
    assert [each.id for each in found.calls] == ["3.0", "3.1", "3.2"]
    assert not found.problem


def test_too_many_calls_and_nameless_calls_are_problems() -> None:
    assert "129 tool calls" in read(reply(calls=[call(call_id=str(n)) for n in range(CALLS_MAX + 1)])).problem
    assert "no name" in read(reply(calls=[call(name=None)])).problem
    assert "endless name" in read(reply(calls=[call(name="x" * 300)])).problem


def test_arguments_cut_off_by_the_output_limit_say_so() -> None:
    found = read(reply(calls=[call(arguments='{"path": "a')], finish="length"))
    assert found.calls[0].arguments is None
    assert "output limit" in found.calls[0].problem
    assert found.calls[0].raw == '{"path": "a'


@pytest.mark.parametrize(
    ("raw", "problem"),
    [
        ('{"a": NaN}', "valid JSON"),
        ('{"a": Infinity}', "valid JSON"),
        ('{"a": 1e999}', "valid JSON"),
        ('{"a": 1', "valid JSON"),
        ("{'a': 1}", "valid JSON"),
        ('{"a": 1} trailing', "valid JSON"),
        ('{"a": "\ud800"}', "valid JSON"),
        ('{"a": "\\ud800"}', "valid JSON"),
        ('{"a": ' + "9" * 5000 + "}", "valid JSON"),
        ("[1]", "array"),
        ('"text"', "string"),
        ("12", "number"),
        ("null", "null"),
        ("true", "boolean"),
        ('{"a":' * (NESTING_MAX + 1) + "1" + "}" * (NESTING_MAX + 1), "nested"),
        ("[" * 100_000, "nested"),
        ('{"a": "' + "x" * 2_100_000 + '"}', "characters"),
    ],
)
def test_arguments_that_are_no_object_are_not_guessed_at(raw: str, problem: str) -> None:
    arguments, said = read_arguments(raw)
    assert arguments is None
    assert problem in said


def test_brackets_inside_strings_are_no_nesting() -> None:
    text = '"[{\\"' * 200
    assert read_arguments(json.dumps({"a": text}))[0] == {"a": text}
    assert read_arguments("  ") == ({}, "")


@given(st.text(max_size=60) | st.binary(max_size=60).map(lambda raw: raw.decode("latin-1")))
def test_any_arguments_are_an_object_or_a_problem(raw: str) -> None:
    arguments, problem = read_arguments(raw)
    assert (arguments is None) == bool(problem)
    if arguments is not None:
        msgspec.json.encode(arguments)


loose = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=8),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(
                ["choices", "message", "delta", "content", "tool_calls", "function", "name", "arguments", "usage",
                 "prompt_tokens", "finish_reason", "id", "index", "error", "model", "text", "refusal"]
            ),
            inner,
            max_size=5,
        )
    ),
    max_leaves=30,
)  # fmt: skip


@pytest.mark.slow
@given(loose)
def test_no_shape_of_reply_is_an_accident(found: Any) -> None:
    body = json.dumps(found).encode()
    decoded = decode_reply(body)
    if decoded is not None:
        reply_of(whole_of(decoded), REQUEST, names_of(REQUEST))
    streamed = OpenAiStream()
    streamed.add(body)
    streamed.add(body)
    reply_of(streamed.whole(), REQUEST, names_of(REQUEST))


# --- streams ------------------------------------------------------------------------------------------------------

STREAM = sse(
    delta(role="assistant", content=""),
    delta(content="Let me "),
    delta(content="see ü."),
    delta(tool_calls=[{"index": 0, "id": "c1", "function": {"name": "files__read", "arguments": ""}}]),
    delta(tool_calls=[{"index": 1, "id": "c2", "type": "function", "function": {"name": "ask", "arguments": ""}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": '{"pa'}}]),
    delta(tool_calls=[{"index": 1, "function": {"arguments": "{}"}}]),
    delta(tool_calls=[{"index": 0, "function": {"arguments": 'th": "a"}'}}]),
    delta(finish="tool_calls"),
    {"choices": [], "usage": {"prompt_tokens": 9, "completion_tokens": 2}, "model": "m-2"},
)  # fmt: skip


def check_stream(found: ModelReply) -> None:
    assert found.text == "Let me see ü."
    assert [(each.name, each.arguments) for each in found.calls] == [("files.read", {"path": "a"}), ("ask", {})]
    assert found.stop is StopReason.TOOLS
    assert found.usage == Usage(input_tokens=9, output_tokens=2)
    assert (found.model, found.problem) == ("m-2", "")


@pytest.mark.slow
@given(st.lists(st.integers(0, 5000), max_size=20), st.sampled_from([b"\n", b"\r\n", b"\r"]))
def test_a_stream_means_the_same_wherever_it_is_cut_and_whatever_ends_its_lines(cuts: list[int], end: bytes) -> None:
    head, _, body = STREAM.partition(b"\r\n\r\n")
    check_stream(read_stream(head + b"\r\n\r\n" + body.replace(b"\n", end), *cuts))


def test_a_stream_byte_by_byte_is_told_in_order() -> None:
    heard: list[str] = []
    check_stream(read_stream(STREAM, *range(len(STREAM)), heard=heard))
    assert heard == ["Let me ", "see ü."]


def test_comments_names_and_data_over_several_lines_are_read() -> None:
    stream = (
        b"\r\n\r\n: ping\n\nevent: chunk\nid: 7\ndata: "
        + json.dumps(delta(content="a")).encode()
        + b"\n\nretry: 10\n\ndata:"
        + json.dumps(delta(content="b")).encode()
        + b'\n\ndata: {"choices": [{"delta":\ndata: {"content": "c"}, "finish_reason": "stop"}]}\n\n'
    )
    assert read_stream(stream).text == "abc"


def test_a_last_event_without_an_empty_line_counts() -> None:
    assert read_stream(sse(delta(content="a"), done=False).rstrip() + b"\n").text == "a"


def test_calls_that_all_claim_the_first_place_are_told_apart_by_their_ids() -> None:
    pieces = [
        {"index": 0, "id": "c1", "function": {"name": "ask", "arguments": '{"n": 1}'}},
        {"index": 0, "id": "c2", "function": {"name": "ask", "arguments": '{"n": 2}'}},
        {"id": "c3", "function": {"name": "ask", "arguments": '{"n": '}},
        {"function": {"arguments": "3}"}},
        {"id": "c3", "function": {"arguments": ""}},
    ]
    found = read_stream(sse(*(delta(tool_calls=[each]) for each in pieces), delta(finish="stop")))
    assert [each.arguments for each in found.calls] == [{"n": 1}, {"n": 2}, {"n": 3}]


def test_an_id_and_a_name_in_every_piece_are_one_call() -> None:
    pieces = [{"index": 0, "id": "c1", "function": {"name": "ask", "arguments": each}} for each in ("{", "}")]
    found = read_stream(sse(*(delta(tool_calls=[each]) for each in pieces), delta(finish="stop")))
    assert [(each.name, each.arguments) for each in found.calls] == [("ask", {})]


def test_two_places_with_one_id_are_a_problem() -> None:
    pieces = [{"index": n, "id": "c1", "function": {"name": "ask", "arguments": "{}"}} for n in (0, 1)]
    found = read_stream(sse(*(delta(tool_calls=[each]) for each in pieces), delta(finish="stop")))
    assert "share the id" in found.problem
    assert found.calls == ()


def test_an_event_that_is_no_json_is_a_problem_and_what_was_said_is_kept() -> None:
    found = read_stream(sse(delta(content="a"), "{oops", delta(content="b", finish="stop")))
    assert found.text == "ab"
    assert "no JSON" in found.problem
