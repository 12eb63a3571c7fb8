"""A journal for people: each step as a sentence with its figures.

Knows nothing of stores, HTTP or screens.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, assert_never

import msgspec

from ostinato.domain.step import (
    ABOVE,
    Answered,
    Chosen,
    Compacted,
    CompactionIntent,
    Entry,
    Input,
    Judged,
    LimitReached,
    ModelAnswer,
    ModelIntent,
    Note,
    Reviewed,
    Step,
    Submitted,
    ToolIntent,
    ToolOutcome,
)
from ostinato.gateway.notation import iso, usd
from ostinato.gateway.sentences import one_line, quoted
from ostinato.gateway.views import StepView

DIGEST_CHARS = 12
"""Characters of a digest that a sentence shows."""


def prompt_files(steps: Sequence[Step]) -> dict[str, str]:
    """Name -> digest of the agent's own files that the last attempt ran with; empty where none began."""
    found = [each.entry.files for each in steps if isinstance(each.entry, Input) and each.entry.files]
    return {name: digest for name, digest in found[-1].items() if not name.startswith(ABOVE)} if found else {}


class _Told(msgspec.Struct, frozen=True, kw_only=True):
    text: str
    tokens: int | None = None
    usd: float | None = None
    ran_s: float | None = None
    call: str | None = None
    tool: str | None = None


def step_views(steps: Sequence[Step]) -> list[StepView]:
    """A journal, in order."""
    return [step_view(each) for each in steps]


def step_view(step: Step) -> StepView:
    """One step."""
    told = _told(step.entry)
    detail: dict[str, Any] = msgspec.to_builtins(step.entry)
    return StepView(
        seq=step.seq,
        at=iso(step.at),
        attempt=step.attempt,
        kind=str(detail.pop("type", "")),
        text=told.text,
        tokens=told.tokens,
        usd=told.usd,
        ran_s=told.ran_s,
        call=told.call,
        tool=told.tool,
        detail=detail,
    )


def _told(entry: Entry) -> _Told:
    match entry:
        case Input():
            return _Told(text=_input(entry))
        case ModelIntent():
            text = f"asks {entry.model}{_choice(entry)}, about {entry.prompt_tokens} tokens"
            return _Told(text=text, call=str(entry.call))
        case ModelAnswer():
            return _answer(entry)
        case Judged():
            return _Told(text=_verdict(entry), call=entry.call_id, tool=entry.tool)
        case ToolIntent():
            said = quoted(_arguments(entry.arguments), chars_max=160)
            return _Told(text=f"calls {entry.tool} ({entry.effect.value}) {said}", call=entry.call_id, tool=entry.tool)
        case ToolOutcome():
            said = f": {quoted(entry.text)}" if entry.text else ""
            text = f"{entry.tool}: {entry.status.value}{said}"
            return _Told(text=text, ran_s=entry.duration_ms / 1000, call=entry.call_id, tool=entry.tool)
        case Answered():
            said = f": {quoted(entry.text)}" if entry.text else ""
            changed = ", with changed arguments" if entry.arguments is not None else ""
            return _Told(text=f"Q{entry.question}: {entry.decision} by {entry.by}{changed}{said}", call=entry.call_id)
        case LimitReached():
            asks = f", asks in Q{entry.question}" if entry.question else ""
            return _Told(text=f"limit reached: {entry.limit} {entry.value:g}{asks}")
        case CompactionIntent(model=model):
            return _Told(text=f"a summary of what came before is written{f' by {model}' if model else ''}")
        case Compacted():
            why = f", by the runtime: {one_line(entry.problem)}" if entry.problem else ""
            return _Told(text=f"what came before is summarised{why}: {quoted(entry.text)}")
        case Note():
            return _Told(text=f"note by {entry.by}: {quoted(entry.text)}")
        case Submitted():
            where = f"T{entry.task}" if entry.task else f"Q{entry.question}" if entry.question else ""
            why = f": {one_line(entry.why)}" if entry.why else ""
            text = f"handed in for review {entry.round} by {entry.by}{f' ({where})' if where else ''}{why}"
            return _Told(text=text)
        case Reviewed():
            said = f": {quoted(entry.notes)}" if entry.notes else ""
            return _Told(text=f"{'accepted' if entry.accepted else 'rejected'} by {entry.by}{said}")
        case _:
            assert_never(entry)


def _input(entry: Input) -> str:
    read = ", ".join(f"M{each}" for each in entry.messages)
    files = f"runs with {len(entry.files)} file{'' if len(entry.files) == 1 else 's'}" if entry.files else ""
    return "; ".join(part for part in (f"reads {read}" if read else "", files) if part) or "begins"


def _choice(entry: ModelIntent) -> str:
    """Why this model, in brackets; nothing where it was named as it is."""
    wanted = entry.wanted if entry.wanted != entry.model else ""
    why = one_line(entry.why, chars_max=160)
    match entry.chosen:
        case Chosen.ASKED:
            return f" ({wanted})" if wanted else ""
        case Chosen.RULE:
            why = f"by the rule {quoted(entry.why)}"
        case Chosen.ESCALATION:
            why = f"as {why}"
        case Chosen.FALLBACK:
            pass
        case _:
            assert_never(entry.chosen)
    return f" ({', '.join(part for part in (wanted, why) if part)})"


def _answer(entry: ModelAnswer) -> _Told:
    parts = [f"says {quoted(entry.text)}"] if entry.text else []
    parts += [f"wants {', '.join(call.name for call in entry.calls)}"] if entry.calls else []
    parts += [f"is unusable: {entry.problem}"] if entry.problem else []
    return _Told(
        text=f"{entry.model} {' and '.join(parts) or 'says nothing'}",
        tokens=entry.usage.tokens,
        usd=usd(entry.usd_micros),
        ran_s=entry.duration_ms / 1000,
        call=str(entry.call),
    )


def _verdict(entry: Judged) -> str:
    asked = f", asked in Q{entry.question}" if entry.question else ""
    rule = f" ({entry.rule})" if entry.rule else ""
    return f"{entry.tool}: {entry.decision.value}{asked}: {entry.reason}{rule}"


def _arguments(arguments: dict[str, Any]) -> str:
    return ", ".join(f"{key}={value!r}" for key, value in arguments.items())
