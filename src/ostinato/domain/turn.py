"""The turn, sans I/O: what to do next, given what the journal says has been done.

The runner does what `next_action` says, appends the outcome and asks again. Resuming after a crash is nothing special:
read the journal, ask again. Knows nothing of stores, models, tools or sessions. Replaying recorded code instead was
tried by others and makes every deploy a hazard; a journal of facts has no code to stay faithful to.
"""

from __future__ import annotations

import enum
from collections.abc import Sequence
from typing import Any, assert_never

from ostinato.domain.budget import WARN_AT
from ostinato.domain.chat import ToolCall, Usage
from ostinato.domain.compaction import Extent
from ostinato.domain.step import (
    REPEATABLE,
    WITHDRAWN,
    Answered,
    Chosen,
    Compacted,
    CompactionIntent,
    Decision,
    Entry,
    Input,
    Judged,
    LimitReached,
    ModelAnswer,
    ModelIntent,
    Note,
    ResultStatus,
    Reviewed,
    Submitted,
    ToolIntent,
    ToolOutcome,
)
from ostinato.domain.values import Limits, Trust, Value, to_json

REPAIRS_MAX = 2
"""Malformed replies in a row that are handed back for repair before the turn fails."""

FINISH_TOOL = "finish"
VERDICT_TOOLS = ("review.accept", "review.reject")
ENDING = frozenset({FINISH_TOOL, *VERDICT_TOOLS})
"""The tools whose result ends a turn: whoever has given a verdict has nothing more to do."""

RUNTIME = Note(text="").by
"""Who signs the notes that no person wrote."""


class Stage(enum.StrEnum):
    """How far a call has come."""

    JUDGE = "judge"
    PERFORM = "perform"
    REPEAT = "repeat"
    """An intent without a result, of an effect that may run again with the same key and needs no second intent."""
    REFUSE = "refuse"
    """A person denied it; only the result that says so is missing."""


class PendingCall(Value):
    """A tool call that can go on now. `arguments` are the ones to use; None where the model's were malformed."""

    call: ToolCall
    stage: Stage
    arguments: dict[str, Any] | None
    refusal: str = ""
    answer: Answered | None = None
    """The person's decision that this stage rests on."""


class CallModel(Value):
    """Ask the model; `resumed` means that the intent is in the journal and only the reply is missing, `escalated` that
    a stronger model is to be asked than before."""

    call: int
    resumed: bool
    escalated: bool = False


class RunTools(Value):
    """Take these calls one stage further, at the same time."""

    calls: tuple[PendingCall, ...]


class AskUnknown(Value):
    """An effect that may have happened; a probe, the model or a person must settle it. Where a person is asked, a
    verdict `ask` with the question goes into the journal, behind the intent, so that nobody is asked twice."""

    call: ToolCall
    intent: ToolIntent


class AskLimit(Value):
    """A limit is reached; may the turn go on?"""

    limit: str
    value: float
    used: float


class Park(Value):
    """Everything left waits for these questions."""

    questions: tuple[int, ...]


class Finish(Value):
    """The turn is over; `failed` says why it ended badly."""

    text: str
    data: dict[str, Any] | None = None
    failed: str = ""
    failed_as: str = "invalid_output"
    """The kind of that failure."""


Action = CallModel | RunTools | AskUnknown | AskLimit | Park | Finish


class TurnView:
    """A journal, folded: the facts that decide what is next. Mutable only while it folds."""

    def __init__(self, journal: Sequence[Entry]) -> None:
        self.folded = 0
        """Entries so far."""
        self.folded_away = 0
        """Of these, so many a summary stands for."""
        self.extent = Extent()
        self.worked_ms = 0.0
        self.model_calls = 0
        self.tokens = 0
        self.usd_micros = 0
        self.before: tuple[int, int] | None = None
        """Tokens and money before the last reply."""
        self.asked: ModelIntent | None = None
        """The last intent, also once it has its reply."""
        self.open_intent: ModelIntent | None = None
        self.reply: ModelAnswer | None = None
        self.verdicts: dict[str, Judged] = {}
        self.intents: dict[str, ToolIntent] = {}
        self.outcomes: dict[str, ToolOutcome] = {}
        self.answers: dict[int, Answered] = {}
        self.settled: dict[str, Answered] = {}
        """What people said about a call since its last intent: an intent uses up the leave that it rests on."""
        self.doubts: dict[str, int] = {}
        """The question that asks whether a call's last intent came about."""
        self.limits: list[LimitReached] = []
        self.malformed = 0
        self.escalated = False
        """A stronger model has taken over."""
        self.limits_forgiven = 0
        """So many limits a person has set aside by sending a failed turn on."""
        self.same_calls = 0
        self.last_call = b""
        self.noted = False
        self.finish: ToolOutcome | None = None
        for entry in journal:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Folds one entry more."""
        self.folded += 1
        self.extent.add(entry)
        match entry:
            case ModelIntent():
                self.open_intent = self.asked = entry
                self.model_calls = entry.call
                if entry.chosen is Chosen.ESCALATION:
                    self.malformed, self.escalated = 0, True
                    self.same_calls, self.last_call = 0, b""
            case ModelAnswer():
                self._add_reply(entry)
            case Judged():
                self._add_verdict(entry)
            case ToolIntent():
                self.intents[entry.call_id] = entry
                self.settled.pop(entry.call_id, None)
                self.doubts.pop(entry.call_id, None)
            case ToolOutcome():
                self.outcomes[entry.call_id] = entry
                self.worked_ms += entry.duration_ms
                if entry.tool in ENDING and entry.status is ResultStatus.OK:
                    self.finish = entry
            case Answered():
                self._add_answer(entry)
            case LimitReached():
                self.limits.append(entry)
            case Input():
                self.noted = True
            case CompactionIntent():
                pass
            case Compacted():
                self.folded_away = entry.entries
                self.tokens += entry.usage.tokens
                self.usd_micros += entry.usd_micros or 0
            case Note():
                self._add_note(entry)
            case Submitted():
                pass
            case Reviewed():
                self._add_review(entry)
            case _:
                assert_never(entry)

    def _add_reply(self, reply: ModelAnswer) -> None:
        self.open_intent = None
        self.reply = reply
        self.noted = False
        self.finish = None
        self.worked_ms += reply.duration_ms
        self.before = self.tokens, self.usd_micros
        self.tokens += reply.usage.tokens
        self.usd_micros += reply.usd_micros or 0
        broken = reply.problem or (reply.calls and all(call.arguments is None for call in reply.calls))
        self.malformed = self.malformed + 1 if broken else 0
        for call in reply.calls:
            this = to_json([call.name, call.arguments if call.arguments is not None else call.raw])
            self.same_calls = self.same_calls + 1 if this == self.last_call else 1
            self.last_call = this

    def _add_verdict(self, verdict: Judged) -> None:
        if verdict.call_id not in self.intents:
            self.verdicts[verdict.call_id] = verdict
        elif verdict.question is not None:
            self.doubts[verdict.call_id] = verdict.question

    def _add_answer(self, answer: Answered) -> None:
        if answer.question in self.answers:
            return  # the first decision stands
        self.answers[answer.question] = answer
        if answer.call_id and answer.decision != WITHDRAWN:
            self.settled[answer.call_id] = answer
        self.same_calls, self.last_call = 0, b""

    def _add_note(self, note: Note) -> None:
        """A person who sends a failed turn on sets aside what it had come to; any word of a person may be a reason to
        do the same once more. The runtime's own remarks and those of agents are neither."""
        self.noted = True
        if note.sends_on:
            self.malformed, self.limits_forgiven = 0, len(self.limits)
        if note.by != RUNTIME and note.trust is Trust.OPERATOR:
            self.same_calls, self.last_call = 0, b""

    def _add_review(self, verdict: Reviewed) -> None:
        """A rejection takes the end back: the model reads the notes and goes on."""
        if not verdict.accepted:
            self.noted, self.finish = True, None
            self.same_calls, self.last_call = 0, b""

    def granted(self, limit: str, allowed: float) -> float:
        """How far people have let this limit be passed: each leave by the sum that it names, else by the same once
        more. Twice nothing is nothing: a leave past a limit of 0 covers what was used by then."""
        most = allowed
        for each in self.limits:
            answer = self.answers.get(each.question) if each.limit == limit and each.question is not None else None
            if answer is not None and answer.decision == "allow":
                step = float((answer.arguments or {}).get("more", allowed))
                most = most + step if step else max(most, each.used)
        return most

    def open_question_of_limit(self) -> LimitReached | None:
        """The limit whose question nobody has answered."""
        last = self.limits[-1] if self.limits else None
        return last if last and last.question is not None and last.question not in self.answers else None

    @property
    def usage(self) -> Usage:
        """Tokens so far, as one number of input tokens."""
        return Usage(input_tokens=self.tokens)


def next_action(
    journal: Sequence[Entry], limits: Limits, *, worked_s: float = 0.0, can_escalate: bool = False
) -> Action:
    """What the turn does next. Pure: equal journals give equal actions.

    `worked_s` is the time spent working in this turn so far, in seconds; `can_escalate`: there is a stronger model,
    which is asked once before the turn fails for malformed replies. Never raises.
    """
    return next_of(TurnView(journal), limits, worked_s=worked_s, can_escalate=can_escalate)


def next_of(view: TurnView, limits: Limits, *, worked_s: float = 0.0, can_escalate: bool = False) -> Action:
    """The same, of a journal that is folded already."""
    escalates = False
    if view.reply is not None and view.open_intent is None:
        pending = None if view.reply.problem else _open_calls(view, view.reply)
        if pending is not None:
            return pending
        if view.finish is not None:
            return Finish(text=view.finish.text, data=view.finish.data)
        if not view.reply.calls and not view.noted and not view.reply.problem:
            return Finish(text=view.reply.text)
        escalates = view.malformed > REPAIRS_MAX and can_escalate and not view.escalated
        if view.malformed > REPAIRS_MAX and not escalates:
            problem = view.reply.problem or next((c.problem for c in view.reply.calls if c.problem), "malformed calls")
            return Finish(
                text="", failed=f"The model's replies stayed malformed after {REPAIRS_MAX} repairs: {problem}"
            )
    waiting = view.open_question_of_limit()
    if waiting is not None and waiting.question is not None:
        return Park(questions=(waiting.question,))
    stopped = _stopped_by_limit(view)
    if stopped:
        return Finish(text="", failed=stopped, failed_as="limit")
    if view.open_intent is not None:  # the limit was that of a model which would have taken this call over
        return CallModel(call=view.open_intent.call, resumed=True)
    over = _limit_reached(view, limits, worked_s=worked_s, repeats=view.same_calls if not escalates else 0)
    return over or CallModel(call=view.model_calls + 1, resumed=False, escalated=escalates)


def _open_calls(view: TurnView, reply: ModelAnswer) -> Action | None:
    """What to do about the calls of the last reply; None when each has its result."""
    ready: list[PendingCall] = []
    unknown: AskUnknown | None = None
    questions: list[int] = []
    for call in reply.calls:
        if call.id in view.outcomes:
            continue
        step = _stage_of(view, call)
        match step:
            case PendingCall():
                ready.append(step)
            case AskUnknown():
                unknown = unknown or step
            case int():
                questions.append(step)
            case _:
                assert_never(step)
    if ready:
        return RunTools(calls=tuple(ready))
    if unknown is not None:
        return unknown
    return Park(questions=tuple(questions)) if questions else None


def _stage_of(view: TurnView, call: ToolCall) -> PendingCall | AskUnknown | int:
    """The next stage of one call, or the id of the question that it waits for."""
    intent, verdict = view.intents.get(call.id), view.verdicts.get(call.id)
    if intent is not None:
        return _after_intent(view, call, intent)
    if verdict is None:
        return PendingCall(call=call, stage=Stage.JUDGE, arguments=call.arguments)
    if verdict.decision is Decision.ASK:
        if verdict.question is None:
            refusal = f"{verdict.reason}, and nobody could be asked"
            return PendingCall(call=call, stage=Stage.REFUSE, arguments=call.arguments, refusal=refusal)
        answer = view.answers.get(verdict.question)
        if answer is None:
            return verdict.question
        if answer.decision == WITHDRAWN:  # nobody has decided: the gate speaks again, and asks anew
            return PendingCall(call=call, stage=Stage.JUDGE, arguments=call.arguments)
        if answer.decision != "allow":
            refusal = refusal_of(answer)
            return PendingCall(call=call, stage=Stage.REFUSE, arguments=call.arguments, refusal=refusal, answer=answer)
        used = answer.arguments if answer.arguments is not None else call.arguments
        return PendingCall(call=call, stage=Stage.PERFORM, arguments=used, answer=answer)
    if verdict.decision is Decision.DENY:
        return PendingCall(call=call, stage=Stage.REFUSE, arguments=call.arguments, refusal=verdict.reason)
    return PendingCall(call=call, stage=Stage.PERFORM, arguments=call.arguments)


def refusal_of(answer: Answered) -> str:
    """What a model reads where a person has not allowed its call."""
    said = f": {answer.text}" if answer.text else ""
    if answer.decision == "expired":
        return f"nobody answered in time{said}"
    return f"{answer.by} said no{said}" if answer.decision == "deny" else f"{answer.decision} by {answer.by}{said}"


def _after_intent(view: TurnView, call: ToolCall, intent: ToolIntent) -> PendingCall | AskUnknown | int:
    """An intent without a result: the effect decides whether it may run again."""
    if intent.effect in REPEATABLE:
        return PendingCall(call=call, stage=Stage.REPEAT, arguments=intent.arguments)
    settled = view.settled.get(call.id)
    if settled is None:
        asked = view.doubts.get(call.id)
        return AskUnknown(call=call, intent=intent) if asked is None or asked in view.answers else asked
    if settled.decision == "allow":  # a person says: it did not happen, do it again; with an intent of its own
        return PendingCall(call=call, stage=Stage.PERFORM, arguments=intent.arguments, answer=settled)
    return PendingCall(call=call, stage=Stage.REFUSE, arguments=intent.arguments, refusal=settled.text, answer=settled)


def _stopped_by_limit(view: TurnView) -> str:
    """Why the last limit ends the turn; empty where it does not."""
    last = view.limits[-1] if len(view.limits) > view.limits_forgiven else None
    if last is None:
        return ""
    answer = view.answers.get(last.question) if last.question is not None else None
    if answer is not None and answer.decision in ("allow", WITHDRAWN):
        return ""
    why = "nobody is asked" if answer is None else "a person said no"
    if answer is not None and answer.decision == "expired":
        why = "nobody answered in time"
    return f"Stopped at the limit of {last.limit} ({last.value:g}); {why}"


def _limit_reached(view: TurnView, limits: Limits, *, worked_s: float, repeats: int) -> AskLimit | None:
    """The first limit that another model call would pass. `repeats`: identical calls in a row of the model that is
    about to be asked again."""
    for name, amount, allowed in _used(view, limits, worked_s=worked_s):
        most = view.granted(name, allowed)
        if amount >= most if allowed else amount > most:
            return AskLimit(limit=name, value=allowed, used=amount)
    if repeats >= limits.identical:
        return AskLimit(limit="identical", value=limits.identical, used=repeats)
    return None


def _used(view: TurnView, limits: Limits, *, worked_s: float = 0.0) -> tuple[tuple[str, float, float], ...]:
    return (
        ("steps", view.model_calls, limits.steps),
        *_spent(view, limits),
        ("wall_s", worked_s, limits.wall_s),
    )


def beyond_a_call(view: TurnView, limits: Limits, *, usd_micros: int, tokens: int) -> AskLimit | None:
    """The limit of a single call that one of this size would pass."""
    for name, amount, allowed in (
        ("per_call_usd_micros", usd_micros, limits.per_call_usd_micros),
        ("per_call_tokens", tokens, limits.per_call_tokens),
    ):
        if allowed is not None and amount > allowed and amount > view.granted(name, allowed):
            return AskLimit(limit=name, value=allowed, used=amount)
    return None


def nearly_reached(view: TurnView, limits: Limits) -> Sequence[AskLimit]:
    """The limits of which the last reply has made so much used that people should know (`budget.WARN_AT`); of steps, at
    the latest when one is left. Each once, until a person grants more of it."""
    if view.before is None:
        return ()
    near = []
    steps, before = ("steps", view.model_calls, limits.steps), (view.model_calls - 1, *view.before)
    for (name, amount, allowed), earlier in zip((steps, *_spent(view, limits)), before, strict=True):
        most = view.granted(name, allowed)
        enough = min(WARN_AT * most, most - 1) if name == "steps" and allowed > 1 else WARN_AT * most
        if enough > 0 and earlier < enough <= amount:
            near.append(AskLimit(limit=name, value=most if name == "steps" else allowed, used=amount))
    return near


def few_steps_left(near: AskLimit) -> Note:
    """What the model reads once, so that it comes to an end of its own."""
    left = near.value - near.used
    what = "1 step is" if left == 1 else f"{left:g} steps are"
    return Note(text=f"{what} left of {near.value:g}: come to an end, or say what is done and what is missing.")


def _spent(view: TurnView, limits: Limits) -> tuple[tuple[str, float, float], ...]:
    """What a reply uses up."""
    return ("tokens", view.tokens, limits.tokens), ("usd_micros", view.usd_micros, limits.usd_micros)


def limit_words(reached: AskLimit) -> str:
    """How much of a limit is used, for people."""
    value, used, name = reached.value, reached.used, reached.limit
    if name.endswith("usd_micros"):
        value, used, name = value / 1_000_000, used / 1_000_000, name.removesuffix("_micros")
    return f"has used {used:g} of {value:g} {name}"
