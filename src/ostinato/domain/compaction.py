"""What of a long conversation is folded into a summary, and what the runtime itself keeps of it, word for word.

A summary may forget; what is open, who decided what, and which files there are must not hang on that. Knows nothing of
models, stores or prompts.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ostinato.domain.chat import estimate_tokens
from ostinato.domain.step import (
    Answered,
    Compacted,
    CompactionIntent,
    Entry,
    Facts,
    Judged,
    LimitReached,
    ModelAnswer,
    ModelIntent,
    Note,
    Reviewed,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.values import Attachment, Value

KEPT_PART = 4
"""After folding, a quarter of the limit is left as it was: the next folding is far away, and prefixes stay the same."""

FACTS_MAX = 40
"""Of each kind, newest kept."""

FACT_CHARACTERS_MAX = 200


class ContextLimits(Value):
    """Estimated tokens that each part of a prompt may take: `[context]` in the fleet's file."""

    soul: int = 8_000
    agents: int = 16_000
    memory: int = 8_000
    notes: int = 1_000
    """Of each daily note, newest part kept."""
    message: int = 16_000
    """Of each message or goal."""
    history: int = 24_000
    """Earlier turns of the session, beyond which they are folded into a summary."""
    turn: int = 60_000
    """The turn itself, likewise."""
    summary: str = "cheap"
    """The tier or model that writes summaries; `none`: the runtime does, without a model."""


_AROUND = 100
"""Tokens that a prompt puts around an entry at most: marks, names, a line about it."""


class Extent:
    """How much of a prompt a journal takes, folded entry by entry: nobody walks a long turn again for each call."""

    def __init__(self, entries: Iterable[Entry] = ()) -> None:
        self.said = 0
        """Tokens of results (estimated) and of replies (as they were counted)."""
        self._bounds = [0]
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """One entry more."""
        bound = 0
        match entry:
            case ModelAnswer(text=text, calls=calls):
                self.said += entry.usage.output_tokens
                asked = (estimate_tokens(each.raw or str(each.arguments)) + _AROUND for each in calls)
                bound = estimate_tokens(text) + _AROUND + estimate_tokens(entry.problem) + sum(asked)
            case ToolOutcome(text=text):
                tokens = estimate_tokens(text)
                self.said += tokens
                bound = tokens + _AROUND
            case Note(text=text) | Reviewed(notes=text) | Answered(text=text):
                bound = estimate_tokens(text) + _AROUND
            case _:
                pass
        self._bounds.append(self._bounds[-1] + bound)

    def bound(self, *, first: int = 0) -> int:
        """At least so many estimated tokens as a prompt shows of the entries from number `first` on, but for messages
        and the goal."""
        return self._bounds[-1] - self._bounds[min(first, len(self._bounds) - 1)]


def bound_of(*texts: str, files: Sequence[Attachment] = ()) -> int:
    """The same for a message, or a goal."""
    named = sum(estimate_tokens(each.name) + _AROUND for each in files)
    return sum(map(estimate_tokens, texts)) + _AROUND + named


def to_fold(sizes: Sequence[int], *, limit: int, most: int) -> int:
    """How many of the oldest parts are folded, of these sizes in tokens: none while all of them fit the limit and are
    no more than `most`; else so many that the rest takes a quarter of it. The newest part stays if it fits at all."""
    if not sizes or (sum(sizes) <= limit and len(sizes) <= most):
        return 0
    kept = total = 0
    for size in reversed(sizes):
        if size > limit or (kept and (total + size > limit // KEPT_PART or kept + 1 > max(1, most // KEPT_PART))):
            break
        kept, total = kept + 1, total + size
    return len(sizes) - kept


def boundaries(entries: Sequence[Entry]) -> list[int]:
    """Where a turn may be cut: before each call of the model but the first, when every earlier call has its result."""
    return [at for at, each in enumerate(entries) if isinstance(each, ModelIntent)][1:]


def unwritten_summary(entries: Iterable[Entry]) -> CompactionIntent | None:
    """The summary that was about to be written where these entries end; None where none was, or it is there."""
    found = [each for each in entries if isinstance(each, CompactionIntent | Compacted)]
    return found[-1] if found and isinstance(found[-1], CompactionIntent) else None


def facts_of(entries: Iterable[Entry]) -> Facts:
    """Questions that nobody has answered, decisions of people, and files that were named in calls."""
    asked: dict[int, str] = {}
    decisions: list[str] = []
    files: list[str] = []
    for entry in entries:
        match entry:
            case Judged(question=question) if question is not None:
                asked[question] = f"Q{question} about {entry.tool}"
            case LimitReached(question=question) if question is not None:
                asked[question] = f"Q{question} about the limit of {entry.limit}"
            case Answered():
                what = asked.pop(entry.question, f"Q{entry.question}")
                said = f": {entry.text}" if entry.text else ""
                decisions.append(one_line(f"{what}: {entry.decision} by {entry.by}{said}"))
            case ToolIntent(arguments=arguments):
                files.extend(one_line(str(arguments[key])) for key in ("path", "to_path", "file") if arguments.get(key))
            case _:
                continue
    return Facts(questions=tuple(asked.values()), decisions=tuple(decisions), files=_newest(files))


def carried(
    before: Facts, after: Facts, *, running: Iterable[str] = (), open_questions: Iterable[str] | None = None
) -> Facts:
    """Facts of an earlier summary and of what has been folded since. `running` and `open_questions` are what is true
    now, whatever was true then."""
    return Facts(
        questions=_newest(open_questions if open_questions is not None else (*before.questions, *after.questions)),
        running=_newest(running),
        decisions=_newest((*before.decisions, *after.decisions)),
        files=_newest((*before.files, *after.files)),
    )


def outline(lines: Sequence[str], *, characters_max: int) -> str:
    """A summary that no model has written: a line for each thing said, the newest kept where not all of them fit."""
    kept: list[str] = []
    left = characters_max
    for line in reversed(lines):
        left -= len(line) + 1
        if left < 0:
            kept.append(f"[{len(lines) - len(kept)} earlier lines are not shown]")
            break
        kept.append(line)
    return "\n".join(reversed(kept))


def said_in(entries: Iterable[Entry]) -> list[str]:
    """What the agent said and did, a line each."""
    lines = []
    for entry in entries:
        match entry:
            case ModelAnswer(text=text, calls=calls):
                called = ", ".join(each.name for each in calls)
                lines.append(one_line(f"you: {' '.join(text.split())}{f' [called {called}]' if called else ''}"))
            case _:
                continue
    return lines


def _newest(found: Iterable[str]) -> tuple[str, ...]:
    """Each once, where it was said last."""
    last = dict.fromkeys(reversed(list(found)))
    return tuple(reversed(list(last)[:FACTS_MAX]))


def one_line(text: str) -> str:
    """A text on one line, cut to what a fact may take."""
    line = " ".join(text.split())
    return line if len(line) <= FACT_CHARACTERS_MAX else f"{line[: FACT_CHARACTERS_MAX - 1]}…"
