"""The same for the Anthropic dialect: replies as no server of it should send them.

Damage below the dialect (no JSON, no HTTP) is what malformed.py has. Knows nothing of how they are read.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from tests.models.malformed import ARGUMENTS, ERRORS, HEADS, NO_JSON, Malformed
from tests.models.stage import http, sse


def said(content: Any = None, *, stop: Any = "end_turn", **more: Any) -> dict[str, Any]:
    """A reply in one piece."""
    blocks = [{"type": "text", "text": "hello"}] if content is None else content
    usage = {"input_tokens": 10, "output_tokens": 5}
    return {"id": "r", "type": "message", "role": "assistant", "model": "m-1", "content": blocks, "stop_reason": stop,
            "usage": usage, **more}  # fmt: skip


def use(name: Any = "files__read", arguments: Any = None, call_id: Any = "c1") -> dict[str, Any]:
    """A call in such a reply."""
    return {"type": "tool_use", "id": call_id, "name": name, "input": {"path": "a"} if arguments is None else arguments}


CALL = use()
WHOLE = json.dumps(said([CALL], stop="tool_use"))

SHAPES: list[Any] = [
    {}, {"content": None}, {"content": {}}, {"content": "a"}, {"content": 1}, {"content": [None]}, {"content": [[]]},
    {"content": ["a"]}, {"content": [1]}, {"type": "message"}, {"type": 5, "content": []}, {"content": [], "model": 5},
    {"content": [{"type": "text", "text": 7}]}, {"content": [{"type": "text", "text": {"a": 1}}]},
    {"content": [{"type": 5, "text": "a"}]}, {"content": [{"type": []}]}, {"content": [], "stop_reason": 7},
    {"content": [{"type": "thinking", "thinking": 5}]}, {"content": [{"type": "redacted_thinking", "data": {}}]},
    {"content": [], "stop_reason": "tool_use"}, {"choices": [{"message": {"content": "of another dialect"}}]},
    {"candidates": []}, {"message": {"content": "of a third"}}, {"detail": "Not Found"}, {"completion": "of old"},
    said([{"type": "tool_use"}]), said([{"type": "tool_use", "id": "c"}]), said([{"type": "tool_use", "name": ""}]),
    said([{"type": "tool_use", "id": "c", "input": {}}]), said([{"type": "server_tool_use", "name": "files__read"}]),
    said([{"type": "function", "name": "files__read", "arguments": "{}"}]), said([{"type": "TOOL_USE", **CALL}][:0]),
    said(usage=5, stop="tool_use"), said(usage={"input_tokens": "many"}, stop="tool_use"), said([], usage=[]),
]  # fmt: skip

CALLS: list[Any] = [
    [CALL, CALL], [CALL, use("ask", {})], [use(name="")], [use(name="x" * 1000)], [use(name=5)], [use(call_id=7)],
    [use(arguments=5)], [use(arguments=[])], [use(arguments=True)], [use(arguments="{}")], [CALL, {}, CALL],
    [use(call_id=str(n)) for n in range(129)], [use(call_id=str(n)) for n in range(5000)], [CALL, None],
    [{**CALL, "input": None}], [{**CALL, "name": None}],
]  # fmt: skip


def event(kind: str, **more: Any) -> dict[str, Any]:
    """An event of a streamed reply."""
    return {"type": kind, **more}


BEGIN = event("message_start", message=said([], stop=None))
OPEN = event("content_block_start", index=0, content_block={**CALL, "input": {}})
STOP = event("message_delta", delta={"stop_reason": "tool_use"}, usage={"output_tokens": 5})
END = event("message_stop")


def piece(written: Any, index: Any = 0) -> dict[str, Any]:
    """A piece of a call's arguments."""
    return event("content_block_delta", index=index, delta={"type": "input_json_delta", "partial_json": written})


EVENTS: list[list[bytes | str | dict[str, Any]]] = [
    [], [""], ["{"], ["null"], ["[]"], ["12"], ["text"], [b"\xff\xfe"], [b"\x00"], ["{}"], ["{}"] * 50, ["[DONE]"],
    [END], [BEGIN, END], [STOP, END], [BEGIN, BEGIN, END], [event("message_start", message="a"), END],
    [event("message_start"), END], [BEGIN, event("content_block_start", index=0), STOP, END],
    [BEGIN, event("content_block_start", content_block=CALL), STOP, END], [BEGIN, piece("{}"), STOP, END],
    [BEGIN, OPEN, OPEN, STOP, END], [BEGIN, OPEN, piece("{", 5), STOP, END], [BEGIN, OPEN, piece(5), STOP, END],
    [BEGIN, OPEN, piece("{}", "0"), STOP, END], [BEGIN, OPEN, event("content_block_delta", index=0), STOP, END],
    [BEGIN, OPEN, event("content_block_delta", index=0, delta="a"), STOP, END], [BEGIN, OPEN, "{", STOP, END],
    [BEGIN, OPEN, piece('{"a": '), STOP, END], [BEGIN, OPEN, piece('{"a": NaN}'), STOP, END],
    [BEGIN, OPEN, piece("[]"), STOP, END], [BEGIN, OPEN, piece("{}" * 2), STOP, END],
    [BEGIN, OPEN, piece('{"path": "a"}'), event("error", error={"type": "overloaded_error"})],
    [BEGIN, OPEN, piece('{"path": "a"}'), event("error", error="busy"), STOP, END],
    [event("error", error={"type": "rate_limit_error", "message": "slow"})], [event("error")],
    [BEGIN, *({**OPEN, "index": n} for n in range(2)), STOP, END],
    [BEGIN, *(event("content_block_start", index=n, content_block=use(call_id=str(n))) for n in range(600)), STOP, END],
    [BEGIN, *(event("content_block_start", index=n, content_block=use(call_id=str(n))) for n in range(200)), STOP, END],
    [BEGIN, event("content_block_start", index=-5, content_block=use(name="")), STOP, END],
    [BEGIN, event("message_delta", delta={"stop_reason": 5}), END], [BEGIN, STOP, STOP, END],
]  # fmt: skip

UNENDED: list[list[bytes | str | dict[str, Any]]] = [[BEGIN, OPEN, piece('{"path": "a"}')], [BEGIN, OPEN], [BEGIN]]
"""The connection ends before the reply does."""


def corpus() -> Iterator[Malformed]:
    """All of them."""
    for number, text in enumerate(NO_JSON):
        yield Malformed(f"no-json-{number}", http(text.encode(errors="surrogatepass")))
        yield Malformed(f"no-json-page-{number}", http(text.encode(errors="surrogatepass"), kind="text/html"))
    for number, shape in enumerate(SHAPES):
        yield Malformed(f"shape-{number}", http(json.dumps(shape).encode()))
    for number, error in enumerate([*ERRORS, {"type": "overloaded_error"}, {"type": "no_such_error"}]):
        body = json.dumps({"type": "error", "error": error}).encode()
        yield Malformed(f"error-{number}", http(body))
        yield Malformed(f"error-529-{number}", http(body, status="529 Overloaded"))
        yield Malformed(f"error-401-{number}", http(body, status="401 No"))
    for number, raw in enumerate(ARGUMENTS):
        one = json.dumps(said([use(arguments="HERE")], stop="tool_use")).replace('"HERE"', raw)
        yield Malformed(f"arguments-{number}", http(one.encode()))
        if len(raw) < 1_000_000:
            yield Malformed(f"arguments-streamed-{number}", sse(BEGIN, OPEN, piece(raw), STOP, END, done=False))
    for number, calls in enumerate(CALLS):
        yield Malformed(f"calls-{number}", http(json.dumps(said(calls, stop="tool_use")).encode()))
    for number, head in enumerate(HEADS):
        yield Malformed(f"head-{number}", [head, b""])
    for number, events in enumerate([*EVENTS, *UNENDED]):
        yield Malformed(f"events-{number}", sse(*events, done=False))
        yield Malformed(f"events-cut-{number}", sse(*events, done=False)[:-20])
    for cut in range(1, len(WHOLE), 29):
        yield Malformed(f"cut-{cut}", http(WHOLE[:cut].encode()))
        yield Malformed(f"cut-line-{cut}", [http(WHOLE.encode())[: cut - len(WHOLE)], b""])
    for number, junk in enumerate([b"\xff", b"\xc3\x28", b"\xed\xa0\x80", b"\xf8\x88\x80\x80\x80"]):
        yield Malformed(f"utf-8-name-{number}", http(WHOLE.encode().replace(b"files__read", junk)))
        yield Malformed(f"utf-8-arguments-{number}", http(WHOLE.encode().replace(b'"a"', b'"' + junk + b'"')))
    yield Malformed("deep", http(b'{"content":' + b"[" * 200_000))
    yield Malformed("deep-whole", http(b'{"content":' + b"[" * 50_000 + b"]" * 50_000 + b"}"))
    yield Malformed("ten-megabytes", http(json.dumps(said([{"type": "text", "text": "x" * 10_000_000}])).encode()))
