"""What goes over the wire to a provider."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.chat import (
    AssistantPart,
    ModelRequest,
    SystemPart,
    ToolCall,
    ToolPart,
    UserPart,
)
from ostinato.models.dialect import names_of
from ostinato.models.openai.request import encode_request
from ostinato.tools.port import object_schema
from tests.models.stage import TOOLS


def sent(request: ModelRequest, *, stream: bool = False, completion_limit: bool = False) -> dict[str, Any]:
    found = encode_request(request, names_of(request), stream=stream, completion_limit=completion_limit)
    decoded: dict[str, Any] = json.loads(found)
    return decoded


def test_a_conversation_has_the_form_of_the_dialect() -> None:
    call = ToolCall(id="1.0", name="files.read", arguments={"path": "a"}, provider_id="call_9", raw='{"path" : "a"}')
    request = ModelRequest(
        model="m",
        parts=(
            SystemPart(text="be"),
            UserPart(text="hi"),
            AssistantPart(text="", calls=(call,)),
            ToolPart(call_id="1.0", provider_id="call_9", name="files.read", text="content"),
            AssistantPart(text="done"),
        ),
        tools=TOOLS[:1],
        output_tokens_max=77,
        temperature=0.5,
        effort="low",
        user="T-7",
    )
    assert sent(request, stream=True) == {
        "model": "m",
        "messages": [
            {"role": "system", "content": "be"},
            {"role": "user", "content": "hi"},
            {
                "role": "assistant",
                "content": None,
                "tool_calls": [
                    {
                        "id": "call_9",
                        "type": "function",
                        "function": {"name": "files__read", "arguments": '{"path" : "a"}'},
                    }
                ],
            },
            {"role": "tool", "tool_call_id": "call_9", "content": "content"},
            {"role": "assistant", "content": "done"},
        ],
        "tools": [
            {
                "type": "function",
                "function": {"name": "files__read", "description": "", "parameters": object_schema()},
            }
        ],
        "max_tokens": 77,
        "temperature": 0.5,
        "reasoning_effort": "low",
        "stream": True,
        "stream_options": {"include_usage": True},
        "user": "T-7",
    }


def test_what_is_not_set_is_not_sent() -> None:
    found = sent(ModelRequest(model="m", parts=(UserPart(text="hi"),)), completion_limit=True)
    assert found == {
        "model": "m",
        "messages": [{"role": "user", "content": "hi"}],
        "max_completion_tokens": 8192,
    }


def test_malformed_arguments_of_an_earlier_reply_are_sent_as_valid_json() -> None:
    calls = (
        ToolCall(id="1.0", name="ask", arguments=None, raw='{"a": '),
        ToolCall(id="1.1", name="ask", arguments=None),
        ToolCall(id="1.2", name="ask", arguments={"b": 1}),
    )
    found = sent(ModelRequest(model="m", parts=(AssistantPart(calls=calls),)))
    said = [call["function"]["arguments"] for call in found["messages"][0]["tool_calls"]]
    assert [json.loads(each) for each in said] == [{"malformed": '{"a": '}, {}, {"b": 1}]
    assert [call["id"] for call in found["messages"][0]["tool_calls"]] == ["1.0", "1.1", "1.2"]


@given(st.text(alphabet=st.characters(), max_size=40))
def test_any_text_can_be_sent_even_half_a_surrogate_pair(text: str) -> None:
    found = sent(ModelRequest(model="m", parts=(SystemPart(text=text + "\ud800"), UserPart(text=text))))
    assert found["messages"][0]["content"].endswith("?")
