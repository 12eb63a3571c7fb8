"""Replies as no model server should send them: families of damage, each in many forms.

Each entry says what must not happen with `acts`: True only where the reply can still be used as it is. Knows nothing of
how they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any, NamedTuple

from tests.models.stage import call, delta, http, reply, sse


class Malformed(NamedTuple):
    """One bad reply: its name, its bytes, and whether calls in it may still be acted on."""

    name: str
    answer: bytes | list[bytes | float]
    acts: bool = False


CALL = call()
WHOLE = json.dumps(reply(None, calls=[CALL], finish="tool_calls"))

NO_JSON = [
    "", " ", "\n", "oops", "null", "true", "12", '"text"', "[]", "[1, 2]", "[{}]", "{", "}", "{]", '{"a"', "{'a': 1}",
    '{"choices": }', '{"choices": [}', "NaN", "{,}", '{"choices": NaN}', "undefined", "\ufeff{}", "{}{}", "{} {}",
    '{"choices": [{"message": {"content": "a"}}]} trailing', "data: {}", "<html>", "<?xml version='1.0'?><a/>",
    "<!DOCTYPE html><html><body>502 Bad Gateway</body></html>", "OK", "Internal Server Error", "\x00", "\x1b[2J",
]  # fmt: skip

SHAPES: list[Any] = [
    {}, {"choices": None}, {"choices": []}, {"choices": {}}, {"choices": "a"}, {"choices": 1}, {"choices": [None]},
    {"choices": [[]]}, {"choices": ["a"]}, {"choices": [{}]}, {"choices": [{"message": None}]},
    {"choices": [{"message": "a"}]}, {"choices": [{"message": []}]}, {"choices": [{"text": "completion"}]},
    {"choices": [{"message": {"content": 7}}]}, {"choices": [{"message": {"content": {"a": 1}}}]},
    {"choices": [{"message": {"content": [1]}}]}, {"choices": [{"message": {"tool_calls": "a"}}]},
    {"choices": [{"message": {"tool_calls": {}}}]}, {"choices": [{"message": {"tool_calls": [1]}}]},
    {"choices": [{"message": {"tool_calls": [[]]}}]}, {"choices": [{"message": {"role": 5, "content": "a"}}]},
    {"output": [{"type": "message"}]}, {"content": [{"type": "text", "text": "of another dialect"}]},
    {"candidates": []}, {"message": {"content": "of a third"}}, {"detail": "Not Found"}, {"error": None},
    {"choices": [{"delta": {"content": "a"}}], "object": "chat.completion"},
    {"choices": [{"message": {"content": None, "tool_calls": None}, "finish_reason": 4}]},
]  # fmt: skip

ERRORS: list[Any] = [
    "busy", {}, [], 5, {"message": None}, {"message": "busy", "code": 503}, {"message": "no", "code": "401"},
    {"message": "slow", "code": 429}, {"code": "context_length_exceeded"}, {"message": {"deep": ["x"]}},
    {"code": 10**30}, {"code": -1}, {"code": "²"}, True, {"message": "x" * 100_000},
]  # fmt: skip

ARGUMENTS = [
    "{", '{"a"', '{"a": ', '{"a": "b', '{"a": "b"', "{'a': 1}", '{"a": NaN}', '{"a": Infinity}', '{"a": -Infinity}',
    '{"a": 1e999}', '{"a": 01}', '{"a": .5}', '{"a": 1,}', '{a: 1}', '{"a": 1} {"b": 2}', '{"a": 1}]', "[]", "[{}]",
    '"{}"', "null", "true", "0", "None", "undefined", "```json\n{}\n```", "<arguments>{}</arguments>", '{"a": "\n"}',
    '{"a": "\\x41"}', '{"a": "\\ud800"}', '{"a": ' + "9" * 5000 + "}", '{"a":' * 101 + "1" + "}" * 101, "[" * 50_000,
    '{"a":' * 100_000, '{"a": "' + "x" * 2_200_000 + '"}', "\x00", "{}\x00", '{"a": tru}', '/* */ {"a": 1}', "{" * 99,
]  # fmt: skip

CALLS: list[Any] = [
    [CALL, CALL], [CALL, call("ask", "{}")], [call(name=None)], [call(name="")], [call(name="x" * 1000)], [{}],
    [{"id": "c"}], [{"function": None}], [{"function": {}}], [{"id": "c", "function": {"arguments": "{}"}}], [None],
    [call(call_id=str(n)) for n in range(129)], [call(call_id=str(n)) for n in range(5000)], [call(name=5)],
    [call(arguments=5)], [call(arguments=[])], [call(arguments=True)], [call(call_id=7)], [CALL, {}], [CALL, None],
    [{"type": "function", "id": "c", "name": "files__read", "arguments": "{}"}],
]  # fmt: skip

HEADS = [
    b"HTTP/1.1 200 OK\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n{}", b"HTTP/1.1 200", b"\x00" * 100,
    b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n{}", b"HTTP/1.1 200 OK\r\nContent-Length: many\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}", b"SSH-2.0-OpenSSH\r\n", b"\r\n\r\n", b"{}",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n", b"HTTP/9.9 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nffffffffffffffffff\r\n{}", b"HTTP/1.1 999 What\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n{}", b"HTTP/1.1 20 OK\r\n\r\n", b"ICY 200 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nno colon\r\n\r\n{}", b"HTTP/1.1 200 OK\r\n" + b"X: " + b"y" * 100_000 + b"\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 50_000 + b"\r\n{}", b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 204 No Content\r\n\r\n", b"HTTP/1.1 304 Not Modified\r\n\r\n", b"HTTP/1.1 100 Continue\r\n\r\n",
    b"HTTP/1.1 301 Moved\r\nLocation: /v2\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.1 -1 OK\r\n\r\n",
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream; charset=klingon\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Type: \xff\xfe\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
    b"HTTP/1.1 429 Slow\r\nRetry-After: \xff\r\nContent-Length: 0\r\n\r\n", b"HTTP/1.0 500 Oops\r\n\r\n<html>",
]  # fmt: skip

EVENTS: list[list[bytes | str | dict[str, Any]]] = [
    [], [""], ["{"], ["null"], ["[]"], ["12"], ["text"], [b"\xff\xfe"], [b"\x00"], ["{}"], ["{}"] * 50,
    [{"choices": []}], [{"choices": None}], [{"choices": [{}]}], [{"choices": [None]}], [{"choices": "a"}],
    [delta(content=5, finish="stop")], [{"choices": [{"delta": "a"}]}], [{"choices": [{"delta": []}]}],
    [delta(content="a"), "{"], [delta(content="a"), {"error": "busy"}], [{"error": {"code": 400, "message": "no"}}],
    [delta(tool_calls=[{}], finish="tool_calls")], [delta(tool_calls="a", finish="tool_calls")],
    [delta(tool_calls=[{"index": 0, "id": "c", "function": {"name": None, "arguments": "{}"}}], finish="stop")],
    [delta(tool_calls=[{"index": 0, "id": "c", "function": {"arguments": "{}"}}], finish="stop")],
    [delta(tool_calls=[{"index": n, **CALL}]) for n in range(2)],
    [delta(tool_calls=[{"index": n, **call(call_id=str(n))}]) for n in range(200)],
    [delta(tool_calls=[{"index": -5, "id": "c", "function": {"name": "", "arguments": "{}"}}], finish="stop")],
    [delta(tool_calls=[{"index": 0, **call(arguments='{"a": NaN}')}], finish="tool_calls")],
    [delta(tool_calls=[{"index": 0, **call(arguments='{"a": ')}], finish="length")],
    [delta(tool_calls=[{"index": "0", **CALL}], finish="tool_calls"), "{"],
]  # fmt: skip


def corpus() -> Iterator[Malformed]:
    """All of them."""
    for number, text in enumerate(NO_JSON):
        yield Malformed(f"no-json-{number}", http(text.encode(errors="surrogatepass")))
        yield Malformed(f"no-json-page-{number}", http(text.encode(errors="surrogatepass"), kind="text/html"))
    for number, shape in enumerate(SHAPES):
        yield Malformed(f"shape-{number}", http(json.dumps(shape).encode()))
    for number, error in enumerate(ERRORS):
        yield Malformed(f"error-{number}", http(json.dumps({"error": error}).encode()))
        yield Malformed(f"error-500-{number}", http(json.dumps({"error": error}).encode(), status="500 Oops"))
    for number, raw in enumerate(ARGUMENTS):
        one = reply(None, calls=[call(arguments=raw)], finish="tool_calls")
        yield Malformed(f"arguments-{number}", http(json.dumps(one).encode()))
        if len(raw) < 1_000_000:
            piece = delta(tool_calls=[{"index": 0, **call(arguments=raw)}], finish="tool_calls")
            yield Malformed(f"arguments-streamed-{number}", sse(piece))
    for number, calls in enumerate(CALLS):
        yield Malformed(f"calls-{number}", http(json.dumps(reply("a", calls=calls)).encode()))
    for number, head in enumerate(HEADS):
        yield Malformed(f"head-{number}", [head, b""])
    for number, events in enumerate(EVENTS):
        yield Malformed(f"events-{number}", sse(*events))
        yield Malformed(f"events-cut-{number}", sse(*events, done=False)[:-1])
    for cut in range(1, len(WHOLE), 29):
        yield Malformed(f"cut-{cut}", http(WHOLE[:cut].encode()))
        yield Malformed(f"cut-line-{cut}", [http(WHOLE.encode())[: 80 + cut], b""])
    for number, junk in enumerate([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"]):
        yield Malformed(f"utf-8-{number}", http(WHOLE.encode().replace(b'"r"', b'"' + junk + b'"')), acts=True)
        yield Malformed(f"utf-8-name-{number}", http(WHOLE.encode().replace(b"files__read", junk)))
    yield Malformed("deep", http(b'{"choices":' + b"[" * 200_000))
    yield Malformed("deep-whole", http(b'{"choices":' + b"[" * 50_000 + b"]" * 50_000 + b"}"))
    yield Malformed("ten-megabytes", http(json.dumps(reply("x" * 10_000_000)).encode()))
