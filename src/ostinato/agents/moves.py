"""What a transaction of a turn leaves to the world: ask a model, act with tools, or nothing more.

Knows nothing of how either is done.
"""

from __future__ import annotations

from ostinato.domain.chat import ToolCall
from ostinato.domain.message import Message
from ostinato.domain.step import Entry, ToolIntent
from ostinato.domain.task import Task
from ostinato.domain.turn import TurnView
from ostinato.domain.values import Instant, Value


class Planned(Value):
    """A tool call whose intent is durable: it may act now."""

    call: ToolCall
    intent: ToolIntent
    at: Instant
    """When the intent was written: what the tool takes for now, so that a repetition writes the same words."""
    repeated: bool = False
    """True: an earlier attempt may have done it already, with the same key."""
    doubtful: bool = False
    """True: it must not happen twice, and the tool can tell whether it has."""


class AskModel(Value):
    """The intent is durable: ask the model for its reply number `call`."""

    call: int


class Act(Value):
    """These calls may act outside, at the same time."""

    planned: tuple[Planned, ...]


class Ended(Value):
    """The turn is over, and with it this attempt of its task."""

    task: Task


Move = AskModel | Act | Ended


class Advance(Value):
    """What one transaction did: the journal as it is now, the messages it read, and what comes next."""

    journal: tuple[Entry, ...]
    messages: tuple[Message, ...]
    move: Move
    at: Instant
    view: TurnView | None = None
    """The journal, folded."""
