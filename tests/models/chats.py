"""Random conversations as the turn makes them: what users say, replies with calls and thoughts, a result for each call.

Knows nothing of dialects.
"""

from __future__ import annotations

from hypothesis import strategies as st

from ostinato.domain.chat import (
    AssistantPart,
    ChatPart,
    ModelRequest,
    SystemPart,
    Thought,
    ToolCall,
    ToolPart,
    UserPart,
)
from ostinato.models.scripted.anthropic_face import signature_of
from tests.models.stage import TOOLS

texts = st.text(st.characters(codec="utf-8"), max_size=40)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(allow_nan=False, allow_infinity=False) | texts,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(texts, inner, max_size=3),
    max_leaves=5,
)


@st.composite
def replies(draw: st.DrawFn, number: int) -> list[ChatPart]:
    """One reply of a model, and the results of its calls."""
    text = draw(texts)
    calls = tuple(
        ToolCall(
            id=f"{number}.{index}",
            name=draw(st.sampled_from([tool.name for tool in TOOLS] + ["no.such.tool"])),
            arguments=draw(st.none() | st.dictionaries(texts, values, max_size=3)),
            provider_id=draw(st.sampled_from(["", f"call_{number}_{index}", "toolu_1", "odd|id:1"])),
            raw=draw(st.sampled_from(["", '{"a": '])),
        )
        for index in range(draw(st.integers(0, 3)))
    )
    thoughts = tuple(
        Thought(
            model=draw(st.sampled_from(["m", "another"])),
            text=thought,
            signature=signature_of(thought),
            sealed=draw(st.sampled_from(["", "sealed"])),
            characters_before=draw(st.integers(0, len(text))),
            calls_before=0,
        )
        for thought in draw(st.lists(texts, max_size=2))
    )
    results: list[ChatPart] = [
        ToolPart(call_id=call.id, provider_id=call.provider_id, name=call.name, text=draw(texts)) for call in calls
    ]
    thoughts = tuple(sorted(thoughts, key=lambda each: each.characters_before))
    return [AssistantPart(text=text, calls=calls, thoughts=thoughts if text.strip() or calls else ()), *results]


@st.composite
def requests(draw: st.DrawFn) -> ModelRequest:
    """A whole request."""
    parts: list[ChatPart] = [SystemPart(text=draw(texts))] if draw(st.booleans()) else []
    for number in range(1, draw(st.integers(0, 4)) + 1):
        parts.extend(UserPart(text=each) for each in draw(st.lists(texts, max_size=2)))
        parts.extend(draw(replies(number)))
    parts.extend(UserPart(text=each) for each in draw(st.lists(texts, max_size=2)))
    return ModelRequest(
        model="m",
        parts=tuple(parts),
        tools=TOOLS if draw(st.booleans()) else (),
        output_tokens_max=draw(st.integers(1, 10_000)),
        effort=draw(st.none() | st.sampled_from(["low", "medium", "high"])),
        user=draw(st.sampled_from(["", "T7"])),
    )
