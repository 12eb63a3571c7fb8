"""Traces as a view over the journal: an attempt, and in it each model call and each tool call, with their times.

Pure: what was written anyway becomes spans once the attempt has ended, so that tracing costs a turn nothing, and a
turn that survived a crash is traced whole. Names follow OpenTelemetry's conventions for generative AI. Knows nothing of
OpenTelemetry's library, nor of where spans go.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Literal

from ostinato.domain.chat import StopReason
from ostinato.domain.ledger import Charge
from ostinato.domain.step import ModelAnswer, ModelIntent, ResultStatus, Step, ToolIntent, ToolOutcome
from ostinato.domain.task import Task
from ostinato.domain.values import Instant, Value, to_json
from ostinato.store.port import Attempt

Attribute = str | int | float | bool | tuple[str, ...]

CONTENT_CHARACTERS_MAX = 8_000
"""Of each text, where contents are told at all."""

MALFORMED = "malformed"

_FINISHED = {
    StopReason.END: "stop",
    StopReason.TOOLS: "tool_call",
    StopReason.LENGTH: "length",
    StopReason.FILTER: "content_filter",
}
"""Why a model stopped, in the words of the conventions."""


class Span(Value):
    """One piece of work. `error` is empty where it went well."""

    name: str
    kind: Literal["internal", "client"]
    began_at: Instant
    ended_at: Instant
    attributes: Mapping[str, Attribute]
    error: str = ""
    children: tuple[Span, ...] = ()


class Told(Value):
    """What is told beside times and names: of which fleet, and whether with contents."""

    fleet: str
    contents: bool = False


def trace_of(task: Task, told: Told) -> str:
    """What names the trace: work that one task gave to others belongs to the trace of the first."""
    root = next((each for each in task.spec.causes if each.startswith("T")), task.name)
    return f"{told.fleet}:{root}"


def attempt_span(task: Task, attempt: Attempt, *, steps: Sequence[Step], charges: Sequence[Charge], told: Told) -> Span:
    """One attempt of a task that has ended, with its calls. `steps` may be those of several attempts."""
    ended_at = attempt.ended_at or attempt.started_at
    mine = [each for each in steps if each.attempt == attempt.token]
    models = {each.call: each for each in charges}
    agent = task.agent or "nobody"
    calls = (*_calls(mine, models, ended_at=ended_at, told=told), *_tools(mine, told=told))
    attributes: dict[str, Attribute] = {
        "gen_ai.operation.name": "invoke_agent",
        "gen_ai.agent.id": f"{told.fleet}/{agent}",
        "gen_ai.agent.name": agent,
        "ostinato.fleet": told.fleet,
        "ostinato.task": task.name,
        "ostinato.kind": task.kind.value,
        "ostinato.trigger": task.spec.trigger.value,
        "ostinato.attempt": len({each.attempt for each in steps if each.attempt <= attempt.token}) or 1,
        "ostinato.outcome": attempt.outcome,
    }
    if task.session:
        attributes["gen_ai.conversation.id"] = task.session
    if provider := next((each.provider for each in charges if each.provider), ""):
        attributes["gen_ai.provider.name"] = provider
    error = ""
    if attempt.outcome in ("fail", "retry", "lost"):
        error = attributes["error.type"] = (task.result.error_class if task.result else "") or attempt.outcome
        if told.contents:  # what a server says of a request may quote it
            error = attempt.error or attempt.outcome
    return Span(
        name=f"invoke_agent {agent}",
        kind="internal",
        began_at=attempt.started_at,
        ended_at=ended_at,
        attributes=attributes,
        error=error,
        children=tuple(sorted(calls, key=lambda each: each.began_at)),
    )


def _calls(steps: Sequence[Step], charges: Mapping[int, Charge], *, ended_at: Instant, told: Told) -> Iterator[Span]:
    """Calls of models: answered ones by their answer, one that was never answered by its intent."""
    unanswered: dict[int, Instant] = {}
    for step in steps:
        match step.entry:
            case ModelIntent(call=call):
                unanswered[call] = step.at
            case ModelAnswer() as answer:
                unanswered.pop(answer.call, None)
                attributes = _chat(charges.get(answer.call), answer.model)
                attributes["gen_ai.usage.input_tokens"] = answer.usage.input_tokens
                attributes["gen_ai.usage.output_tokens"] = answer.usage.output_tokens
                if answer.usage.cached_tokens:
                    attributes["gen_ai.usage.cache_read.input_tokens"] = answer.usage.cached_tokens
                if answer.usage.written_tokens:
                    attributes["gen_ai.usage.cache_creation.input_tokens"] = answer.usage.written_tokens
                attributes["gen_ai.response.finish_reasons"] = (_FINISHED[answer.stop],)
                problem = answer.problem if told.contents else answer.problem and MALFORMED
                if problem:
                    attributes["error.type"] = MALFORMED
                if told.contents:
                    attributes["gen_ai.output.messages"] = _message(answer)
                began_at = step.at - round(answer.duration_ms * 1_000)
                yield _chat_span(attributes, began_at, step.at, problem=problem)
            case _:
                pass
    for call, began_at in unanswered.items():
        attributes = {**_chat(charges.get(call), ""), "error.type": "no_answer"}
        yield _chat_span(attributes, began_at, max(began_at, ended_at), problem="the model did not answer")


def _chat(charge: Charge | None, model: str) -> dict[str, Attribute]:
    asked = charge.model if charge else model
    return {
        "gen_ai.operation.name": "chat",
        "gen_ai.provider.name": charge.provider if charge else "unknown",
        "gen_ai.request.model": asked,
        "gen_ai.response.model": model or asked,
    }


def _chat_span(attributes: dict[str, Attribute], began_at: Instant, ended_at: Instant, *, problem: str) -> Span:
    return Span(
        name=f"chat {attributes['gen_ai.request.model']}".strip(),
        kind="client",
        began_at=began_at,
        ended_at=ended_at,
        attributes=attributes,
        error=problem,
    )


def _tools(steps: Sequence[Step], *, told: Told) -> Iterator[Span]:
    intents = {each.entry.call_id: each.entry for each in steps if isinstance(each.entry, ToolIntent)}
    for step in steps:
        if not isinstance(step.entry, ToolOutcome):
            continue
        outcome, intent = step.entry, intents.get(step.entry.call_id)
        failed = outcome.status not in (ResultStatus.OK, ResultStatus.PENDING)
        attributes: dict[str, Attribute] = {
            "gen_ai.operation.name": "execute_tool",
            "gen_ai.tool.name": outcome.tool,
            "gen_ai.tool.call.id": outcome.call_id,
            "gen_ai.tool.type": "function",
            "ostinato.tool.status": outcome.status.value,
        }
        if intent is not None:
            attributes["ostinato.tool.effect"] = intent.effect.value
        if failed:
            attributes["error.type"] = outcome.status.value
        if told.contents:
            attributes["gen_ai.tool.call.arguments"] = _cut(to_json(intent.arguments if intent else {}).decode())
            attributes["gen_ai.tool.call.result"] = _cut(outcome.text)
        yield Span(
            name=f"execute_tool {outcome.tool}",
            kind="internal",
            began_at=step.at - round(outcome.duration_ms * 1_000),
            ended_at=step.at,
            attributes=attributes,
            error=outcome.status.value if failed else "",
        )


def _message(answer: ModelAnswer) -> str:
    """The reply in the form of the conventions: one message of parts."""
    parts: list[dict[str, object]] = [{"type": "text", "content": _cut(answer.text)}] if answer.text else []
    for call in answer.calls:
        arguments = _cut(to_json(call.arguments or {}).decode())
        parts.append({"type": "tool_call", "id": call.id, "name": call.name, "arguments": arguments})
    return to_json([{"role": "assistant", "parts": parts, "finish_reason": _FINISHED[answer.stop]}]).decode()


def _cut(text: str) -> str:
    return text if len(text) <= CONTENT_CHARACTERS_MAX else f"{text[:CONTENT_CHARACTERS_MAX]}..."
