"""The entries of a journal: what a task has done, append-only, owned by the task and not by an attempt.

Transcript, timeline and cost are views over these. Contents are deltas and digests, never a whole prompt again.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable
from typing import Any

import msgspec

from ostinato.domain.chat import StopReason, Thought, ToolCall, Usage
from ostinato.domain.values import Instant, Trust, Value


class Effect(enum.StrEnum):
    """What a tool does to the world; decides what happens to a call whose result was lost."""

    READ = "read"
    IDEMPOTENT = "idempotent"
    REVERSIBLE = "reversible"
    IRREVERSIBLE = "irreversible"


EFFECTS = {
    Effect.READ: "changes nothing; done again when its result was lost",
    Effect.IDEMPOTENT: "the same when done twice; done again, with the same key",
    Effect.REVERSIBLE: "can be undone; never repeated by itself",
    Effect.IRREVERSIBLE: "cannot be undone, as far as anybody has said; never repeated by itself, and asked first",
}
"""What each effect means for people who judge a tool."""

REPEATABLE = frozenset({Effect.READ, Effect.IDEMPOTENT})
"""Effects that may run again when the result was lost."""


class Decision(enum.StrEnum):
    """The answer of the gate for one call."""

    ALLOW = "allow"
    ASK = "ask"
    DENY = "deny"


class ResultStatus(enum.StrEnum):
    """How a tool call ended, as the model is told."""

    OK = "ok"
    ERROR = "error"
    INVALID = "invalid"
    """The call itself was malformed: unknown tool, arguments that do not fit."""
    DENIED = "denied"
    PENDING = "pending"
    """Waits for a person; the result will arrive as a message (shared sessions)."""
    UNKNOWN = "unknown"
    """It may have happened: the node died between intent and result."""


ABOVE = "above:"
"""How the names of files begin in `Input` that are no part of the prompt: those of the agents above a sub-agent, as
`above:<agent>:<file>`."""


class Input(Value, tag="input"):
    """What a turn read at its start or at a step boundary: ids of messages, and the files it runs with."""

    messages: tuple[int, ...] = ()
    files: dict[str, str] = {}
    """Name -> digest of the prompt files, frozen for the turn."""
    agent_version: str = ""


class Chosen(enum.StrEnum):
    """Why a model is asked."""

    ASKED = "asked"
    """The task, the heartbeat, the agent or the fleet names it, or the tier that it stands for."""
    RULE = "rule"
    """A rule of the fleet holds for this task."""
    FALLBACK = "fallback"
    """Another one could not be had."""
    ESCALATION = "escalation"
    """The replies of a weaker one stayed malformed."""


class ModelIntent(Value, tag="model_intent"):
    """A model is about to be asked; durable before the call. Money is reserved. Another intent of the same call takes
    its place where the model could not be had."""

    call: int
    model: str
    reserved_usd_micros: int = 0
    reserved_tokens: int = 0
    prompt_tokens: int = 0
    """Estimate."""
    prompt_usd_micros: int = 0
    """What the prompt alone costs: so much is taken to be spent where the call is cut off."""
    wanted: str = ""
    """The tier or model that was wanted; empty: the fleet's default."""
    chosen: Chosen = Chosen.ASKED
    why: str = ""
    """In words, where it was not simply asked for."""
    effort: str | None = None
    """Reasoning effort; None: the model's own."""


class ModelAnswer(Value, tag="model_answer"):
    """A model's reply, durable before its use."""

    call: int
    model: str
    text: str = ""
    calls: tuple[ToolCall, ...] = ()
    thoughts: tuple[Thought, ...] = ()
    """Reasoning that the provider wants back with the next call of this turn."""
    stop: StopReason = StopReason.END
    usage: Usage = Usage()
    usd_micros: int | None = None
    """None: the price is unknown."""
    duration_ms: float = 0.0
    problem: str = ""
    trust: Trust = Trust.OPERATOR
    """The least trusted text that the model was shown: what it said is no more trusted than that."""
    private: bool = False
    """It was shown what may be private."""


class Judged(Value, tag="verdict"):
    """The gate's verdict for one call. `question` is set where the decision is ask."""

    call_id: str
    tool: str
    decision: Decision
    reason: str
    rule: str = ""
    question: int | None = None
    bound: dict[str, Any] = {}
    """What the question was about beside the arguments; see `Action`."""


class ToolIntent(Value, tag="tool_intent"):
    """A tool is about to act; durable before the effect."""

    call_id: str
    tool: str
    effect: Effect
    arguments: dict[str, Any]
    """The arguments that are really used: a person may have edited them."""
    key: str
    """Idempotency key: hash of task, journal and call."""
    bound: dict[str, Any] = {}
    """What must be found again when it acts, beside the arguments; see `Action`."""
    outside: bool = False
    """Strangers wrote what it will return."""
    private: bool = False
    """What it will return may be private."""


class ToolOutcome(Value, tag="tool_result"):
    """What came of a call, as the model reads it."""

    call_id: str
    tool: str
    status: ResultStatus
    text: str = ""
    data: dict[str, Any] | None = None
    duration_ms: float = 0.0
    outside: bool = False
    """Strangers wrote the text, as its tool found out."""
    broken: bool = False
    """The tool itself, or whom it asked, is in trouble: another call would fare no better."""
    private: bool = False
    """What it tells may be private, as its tool found out."""
    wrote: tuple[str, ...] | None = None
    """The files that it has changed; None: its tool cannot tell, and all that it may write counts."""


WITHDRAWN = "withdrawn"
"""The decision of an answer that nobody gave: the task ended first, and went on later. It settles nothing."""


class Answered(Value, tag="answer"):
    """A person settled a question of this task."""

    question: int
    decision: str
    """`allow`, `deny`, `expired`, `withdrawn`, or for an `ask` and an unknown outcome the answer's keyword."""
    by: str
    call_id: str = ""
    text: str = ""
    arguments: dict[str, Any] | None = None
    """Edited arguments, where the person changed them."""
    bound: dict[str, Any] | None = None
    """What was found beside the edited arguments when the person allowed them; see `Action`."""


class LimitReached(Value, tag="limit"):
    """A limit stopped the turn; `question` asks whether it may go on."""

    limit: str
    value: float
    question: int | None = None
    used: float = 0.0
    """How much was used by then."""


class Facts(Value):
    """What is kept word for word, newest last."""

    questions: tuple[str, ...] = ()
    running: tuple[str, ...] = ()
    decisions: tuple[str, ...] = ()
    files: tuple[str, ...] = ()

    @property
    def text(self) -> str:
        """One line for each kind that there is."""
        kinds = (
            ("Open questions", self.questions),
            ("Still running", self.running),
            ("Decisions", self.decisions),
            ("Files", self.files),
        )
        return "\n".join(f"{name}: {'; '.join(found)}" for name, found in kinds if found)


class CompactionIntent(Value, tag="compaction_intent"):
    """A summary is about to be written: by a model, for which money is reserved, or by the runtime (no model)."""

    model: str = ""
    reserved_usd_micros: int = 0
    reserved_tokens: int = 0
    prompt_tokens: int = 0
    prompt_usd_micros: int = 0


class Compacted(Value, tag="compaction"):
    """From here on a summary stands for what came before it; all of that stays in the store."""

    text: str
    facts: Facts = Facts()
    through: int = 0
    """The last turn of the session (its task) that it stands for."""
    entries: int = 0
    """So many entries of this journal it stands for, too."""
    model: str = ""
    usage: Usage = Usage()
    usd_micros: int | None = None
    problem: str = ""
    """Why no model has written it, where one should have."""
    trust: Trust = Trust.OPERATOR
    """The least trusted text that it was made from."""
    private: bool = False


class Note(Value, tag="note"):
    """A remark of the runtime or of a person in the journal."""

    text: str
    by: str = "runtime"
    trust: Trust = Trust.OPERATOR
    """Less where an agent wrote it: such a remark decides nothing, and may hold text from outside."""
    private: bool = False
    """Its author had read what may be private."""
    sends_on: bool = False
    """A person's word lets the failed task go on: only the store writes such a note, in the commit that does so."""


def sent_on(*, by: str, reason: str) -> Note:
    """What tells a turn that may go on from one that has stopped for good."""
    return Note(text=f"sent on: {reason}" if reason else "sent on", by=by, sends_on=True)


class Submitted(Value, tag="submitted"):
    """A result was handed in for review."""

    round: int
    """From 1; it counts on when a failed task is sent on."""
    by: str
    """Who reviews, in words."""
    rounds: int
    """The rejection with this number fails the task."""
    task: int | None = None
    """The task of the reviewer."""
    question: int | None = None
    """The question that a person decides."""
    why: str = ""
    """Why a person must decide where another reviewer was wanted."""


class Reviewed(Value, tag="reviewed"):
    """What came of a review. Notes of a rejection are read by whoever did the work."""

    accepted: bool
    by: str
    notes: str = ""
    task: int | None = None
    """The reviewer's own task."""
    trust: Trust = Trust.OPERATOR
    """Less where no person wrote the notes: such notes instruct nobody, and may hold text from outside."""
    private: bool = False


Entry = (
    Input
    | ModelIntent
    | ModelAnswer
    | Judged
    | ToolIntent
    | ToolOutcome
    | Answered
    | LimitReached
    | CompactionIntent
    | Compacted
    | Note
    | Submitted
    | Reviewed
)
"""What a step can be."""


class Step(Value):
    """One entry with its place in the journal. `attempt` is the token of the claim that wrote it."""

    task: int
    journal: int
    seq: int
    """From 1, without gaps."""
    at: Instant
    attempt: int
    entry: Entry


_decoder = msgspec.json.Decoder(Entry)
_encoder = msgspec.json.Encoder()


def entry_to_json(entry: Entry) -> bytes:
    """The stored form of an entry."""
    return _encoder.encode(entry)


def entry_from_json(data: bytes | str) -> Entry:
    """Reads back what `entry_to_json` wrote."""
    entry: Entry = _decoder.decode(data)
    return entry


def is_tainted(entries: Iterable[Entry]) -> bool:
    """True where strangers wrote something that these entries brought along: a result, an agent's remark, or whatever a
    reply came from."""
    for entry in entries:
        match entry:
            case ToolIntent() | ToolOutcome():
                if entry.outside:
                    return True
            case Note() | ModelAnswer() | Compacted() | Reviewed():
                if entry.trust is Trust.EXTERNAL:
                    return True
            case _:
                pass
    return False


def is_private(entries: Iterable[Entry]) -> bool:
    """True where these entries brought along what may be private."""
    marked = ToolIntent | ToolOutcome | ModelAnswer | Compacted | Note | Reviewed
    return any(isinstance(each, marked) and each.private for each in entries)
