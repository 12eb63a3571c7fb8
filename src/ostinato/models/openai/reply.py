"""A reply in the OpenAI chat dialect: from bytes to `Whole`. Pure.

Knows nothing of connections, nor of what was asked. What is wrong with a reply is said in `Whole.problem`; nothing here
raises because of what a server sent.
"""

from __future__ import annotations

from typing import Any

import msgspec

from ostinato.domain.chat import Usage
from ostinato.domain.values import Value
from ostinato.models.reply import DECODE_ERRORS, RawCall, Whole, count_or_none


class Function(Value, gc=False):
    """A call's name and arguments; the arguments are JSON in a string."""

    name: str | None = None
    arguments: str | dict[str, Any] | None = None


class WireCall(Value, gc=False):
    """A tool call, or a piece of one when streamed."""

    id: str | None = None
    type: str | None = None
    function: Function | None = None
    index: int | None = None


class ContentPart(Value, gc=False):
    """A piece of content, where content is a list."""

    type: str | None = None
    text: str | None = None


class WireMessage(Value, gc=False):
    """A message of an assistant, or a delta of one when streamed."""

    role: str | None = None
    content: str | list[ContentPart] | None = None
    tool_calls: list[WireCall] | None = None
    refusal: str | None = None


class TokenDetails(Value, gc=False):
    """What part of the prompt came from the provider's cache."""

    cached_tokens: int | None = None


class WireUsage(Value, gc=False):
    """Tokens as the provider counts them."""

    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    prompt_tokens_details: TokenDetails | None = None


class Choice(Value, gc=False):
    """One answer; `delta` where the reply is streamed."""

    message: WireMessage | None = None
    delta: WireMessage | None = None
    finish_reason: str | None = None


class WireReply(Value, gc=False):
    """A reply, or an event of a streamed one. `error` is any JSON: some servers put it into a reply with status 200."""

    choices: list[Choice] | None = None
    usage: WireUsage | None = None
    model: str | None = None
    error: Any = None
    misfit: bool = msgspec.field(default=False, name="-misfit-")
    """Something that was said has an unknown shape and is lost. Set by the decoder, never by a server."""


_encoder = msgspec.json.Encoder()
_reply_decoder = msgspec.json.Decoder(WireReply)
_json_decoder = msgspec.json.Decoder()


def decode_reply(body: bytes) -> WireReply | None:
    """A reply or an event; None where it is no JSON object. Fields of an unexpected type count as absent."""
    try:
        return _reply_decoder.decode(body)
    except DECODE_ERRORS:
        return _decode_leniently(body)


def _decode_leniently(body: bytes) -> WireReply | None:
    """The slow way, for servers that are loose with types: what does not fit is dropped, field by field."""
    try:
        found = _json_decoder.decode(body)
    except DECODE_ERRORS:
        return None
    if not isinstance(found, dict):
        return None
    listed = found.get("choices")
    choices = [each for each in listed if isinstance(each, dict)] if isinstance(listed, list) else []
    said = [each[key] for each in choices[:1] for key in ("message", "delta") if each.get(key) is not None]
    return WireReply(
        choices=[_choice(each) for each in choices],
        misfit=any(_fitting(each, WireMessage) is None for each in said),
        usage=_usage(found.get("usage")),
        model=_fitting(found.get("model"), str),
        error=found.get("error"),
    )


def _choice(found: dict[str, Any]) -> Choice:
    return Choice(
        message=_fitting(found.get("message"), WireMessage),
        delta=_fitting(found.get("delta"), WireMessage),
        finish_reason=_fitting(found.get("finish_reason"), str),
    )


def _usage(found: Any) -> WireUsage | None:
    """Counts that are numbers of any kind; whatever else is dropped."""
    if not isinstance(found, dict):
        return None
    details = found.get("prompt_tokens_details")
    return WireUsage(
        prompt_tokens=count_or_none(found.get("prompt_tokens")),
        completion_tokens=count_or_none(found.get("completion_tokens")),
        prompt_tokens_details=TokenDetails(cached_tokens=count_or_none(details.get("cached_tokens")))
        if isinstance(details, dict)
        else None,
    )


def _fitting(found: Any, kind: Any) -> Any:
    """The value as `kind`, None where it does not fit."""
    try:
        return msgspec.convert(found, kind)
    except DECODE_ERRORS:
        return None


def usage_of(found: WireUsage | None) -> Usage | None:
    """Tokens, None where the provider named none; nonsense (negative counts, more cached than read) is cut."""
    if found is None or (found.prompt_tokens is None and found.completion_tokens is None):
        return None
    read = min(max(found.prompt_tokens or 0, 0), 10**12)
    details = found.prompt_tokens_details
    cached = min(max((details.cached_tokens or 0) if details else 0, 0), read)
    return Usage(
        input_tokens=read, cached_tokens=cached, output_tokens=min(max(found.completion_tokens or 0, 0), 10**12)
    )


def whole_of(reply: WireReply) -> Whole:
    """A reply that came in one piece."""
    usage, model = usage_of(reply.usage), reply.model or ""
    if not reply.choices:
        return Whole(usage=usage, model=model, problem="the reply has no choices")
    choice = reply.choices[0]
    if choice.message is None:
        return Whole(usage=usage, model=model, problem="the reply's choice has no message of a known shape")
    found = choice.message
    return Whole(
        text=text_of(found.content) or found.refusal or "",
        calls=tuple(
            RawCall(id=call.id or "", name=name_of(call), arguments=arguments_of(call)) for call in found.tool_calls
        )
        if found.tool_calls
        else (),
        finish=choice.finish_reason,
        refused=bool(found.refusal),
        usage=usage,
        model=model,
    )


def text_of(content: str | list[ContentPart] | None) -> str:
    """Content as text; some servers send it in parts."""
    if content is None or isinstance(content, str):
        return content or ""
    return "".join(part.text or "" for part in content if part.type in (None, "text", "output_text"))


def name_of(call: WireCall) -> str:
    """The called tool's wire name, empty where there is none."""
    return (call.function.name or "") if call.function else ""


def arguments_of(call: WireCall) -> str:
    """Arguments as text; a server that sends an object instead of a string is understood."""
    found = call.function.arguments if call.function else None
    return found or "" if not isinstance(found, dict) else _encoder.encode(found).decode()
