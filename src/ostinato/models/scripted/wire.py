"""What all dialects of a script server share: a request as rules see it, and the parts of a planned reply. Pure.

Requests are kept in the shape of the OpenAI chat dialect, the plainest of them; the others are turned into it. Faults
that are about bytes are made here and in the dialects; those that are about connections (drop, hang) belong to the
server. Knows nothing of sockets.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.values import Value
from ostinato.models.scripted.script import FaultKind, Plan, PlannedCall, Result, Seen

HUGE_BYTES = 10 * 1024 * 1024
"""Size of a reply with the fault `huge`."""

PIECE_CHARACTERS = 24
"""Characters of a piece of streamed text."""

PIECES_MAX = 64
"""Pieces that one text is streamed in at most; longer texts have longer pieces."""


class AskedPart(Value, gc=False):
    """A piece of content, where content is a list."""

    text: str = ""


class AskedFunction(Value, gc=False):
    """The name and the arguments of a call, or the name of a tool that is offered."""

    name: str = ""
    arguments: str = ""


class AskedCall(Value, gc=False):
    """A call in an earlier reply."""

    id: str = ""
    function: AskedFunction = AskedFunction()


class AskedMessage(Value, gc=False):
    """One message of the conversation."""

    role: str
    content: str | list[AskedPart] | None = None
    tool_calls: list[AskedCall] | None = None
    tool_call_id: str = ""


class AskedTool(Value, gc=False):
    """A tool that is offered."""

    function: AskedFunction = AskedFunction()


class StreamOptions(Value, gc=False):
    """What a streamed reply shall hold."""

    include_usage: bool | None = False


class Asked(Value, gc=False):
    """A request for a chat completion."""

    model: str
    messages: list[AskedMessage]
    tools: list[AskedTool] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    user: str | None = ""


class BadRequest(ValueError):
    """A body that is no request of this dialect; the text says why."""


def seen_of(asked: Asked, *, attempt: int, prompt_bytes: int) -> Seen:
    """The request as rules see it."""
    messages = asked.messages
    new = _after_last(messages, "assistant")
    last_user = max((at for at, each in enumerate(messages) if each.role == "user"), default=-1)
    first_user = last_user
    while first_user > 0 and messages[first_user - 1].role == "user":
        first_user -= 1
    names = {call.id: call.function.name for each in messages for call in each.tool_calls or ()}
    replies = [each for each in messages[last_user + 1 :] if each.role == "assistant"]
    return Seen(
        model=asked.model,
        system="\n\n".join(_text(each) for each in messages if each.role in ("system", "developer")),
        user=tuple(_text(each) for each in new if each.role == "user"),
        asked=tuple(_text(each) for each in messages[max(first_user, 0) : last_user + 1]),
        results=tuple(
            Result(tool=names.get(each.tool_call_id, ""), text=_text(each)) for each in new if each.role == "tool"
        ),
        offered=frozenset(tool.function.name for tool in asked.tools or ()),
        called=frozenset(names.values()),
        called_now=frozenset(call.function.name for each in replies for call in each.tool_calls or ()),
        call=len(replies) + 1,
        attempt=attempt,
        prompt_bytes=prompt_bytes,
    )


def _after_last(messages: Sequence[AskedMessage], role: str) -> Sequence[AskedMessage]:
    last = max((at for at, each in enumerate(messages) if each.role == role), default=-1)
    return messages[last + 1 :]


def _text(message: AskedMessage) -> str:
    content = message.content
    return content or "" if not isinstance(content, list) else "".join(part.text for part in content)


# --- replies ----------------------------------------------------------------------------------------------------------


class Identity(Value):
    """What makes a reply tell itself from others."""

    id: str
    model: str
    created: int
    """Seconds since 1970."""


class NumberedCall(Value):
    """A call as it goes out: with its id, and after the faults that change it."""

    id: str
    tool: str
    arguments: str


def calls_of(plan: Plan, identity: Identity, *, prefix: str) -> list[NumberedCall]:
    """The calls of a reply. `prefix` begins their ids."""
    calls, kind = plan.calls, plan.fault.kind if plan.fault else None
    if kind is FaultKind.UNKNOWN_TOOL:
        calls = (*calls, PlannedCall(tool="no_such_tool", arguments="{}"))
    elif kind is FaultKind.NAN:
        calls = tuple(PlannedCall(tool=each.tool, arguments='{"value": NaN}') for each in calls)
    elif kind is FaultKind.CUT_ARGUMENTS:
        calls = tuple(PlannedCall(tool=e.tool, arguments=e.arguments[: max(len(e.arguments) // 2, 1)]) for e in calls)
    elif kind is FaultKind.DUPLICATE_IDS:
        calls = calls + calls[:1] if len(calls) < 2 else calls
    same = kind is FaultKind.DUPLICATE_IDS
    return [
        NumberedCall(id=f"{prefix}_{identity.id[:12]}_{0 if same else index}", tool=call.tool, arguments=call.arguments)
        for index, call in enumerate(calls)
    ]


def text_of(plan: Plan) -> str:
    """The text of a reply, after the fault that changes it."""
    if plan.fault is not None and plan.fault.kind is FaultKind.HUGE:
        said = plan.text or "all work and no play. "
        return said * (HUGE_BYTES // len(said) + 1)
    return plan.text


def is_faulty(plan: Plan, kind: FaultKind) -> bool:
    """True where the plan has this fault."""
    return plan.fault is not None and plan.fault.kind is kind


HTML = b"<!DOCTYPE html><html><head><title>502</title></head><body><h1>Bad gateway</h1></body></html>"
"""The page of the fault `html`."""

MALFORMED = b'{"id": "reply", "choices": [{"message": {"role": "assistant", "content": oops'
"""The reply of the fault `malformed`."""


def pieces(text: str) -> list[str]:
    """A text cut into pieces, none of them empty."""
    size = max(PIECE_CHARACTERS, -(-len(text) // PIECES_MAX))
    return [text[at : at + size] for at in range(0, len(text), size)]
