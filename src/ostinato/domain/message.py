"""Messages and sessions: what waits to be read, and the conversations it is read in.

Knows nothing of channels, stores or turns.
"""

from __future__ import annotations

import enum

from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.file_rules import parts_of
from ostinato.domain.instant import format_instant
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.values import Attachment, Instant, Origin, Source, Trust, Value

DEPTH_MAX = 5
"""Longest chain of causes between agents."""

OPERATOR_SESSION = "operator:inbox"
"""Key of the session in which what agents tell the operator is kept. No agent reads it: append with `wake=False`."""

PARENT = "parent"
"""Where a result goes that its parent task alone waits for: it wakes that task, and is no message."""

OPERATOR = "operator"
"""Owner of that session."""

SAVE_TOOL = "result.save"
"""How journals call the saving of a result in a file; no agent has such a tool."""


class NewMessage(Value):
    """A message to be appended to a session's inbox. `client_id` makes it idempotent within the session."""

    source: Source
    text: str
    sender: str = "operator"
    requester: str = "operator"
    trust: Trust = Trust.OPERATOR
    private: bool = False
    """Its author had read what may be private, and may tell it here."""
    origin: Origin | None = None
    depth: int = 0
    causes: tuple[str, ...] = ()
    attachments: tuple[Attachment, ...] = ()
    client_id: str | None = None
    model: str | None = None
    """A tier or model for the turn that this message wakes."""
    effort: str | None = None
    """Reasoning effort of that turn."""
    retry: RetryPolicy | None = None
    """How that turn is tried again; None: as every task."""
    deliver: str | None = None
    """Where that turn's result goes (`parse_deliver`)."""


class Message(NewMessage):
    """A message in an inbox. Ids grow over the whole fleet; a session's cursor is the last id read."""

    id: int
    session: str
    at: Instant


class SessionKind(enum.StrEnum):
    """Own sessions belong to one task; shared ones do not, and a gate never freezes them."""

    MAIN = "main"
    CHANNEL = "channel"
    ROOM = "room"
    TASK = "task"
    ISOLATED = "isolated"
    CHILD = "child"


OWN_KINDS = frozenset({SessionKind.TASK, SessionKind.ISOLATED, SessionKind.CHILD})


class Session(Value):
    """A conversation of one agent under one key."""

    key: str
    agent: str
    kind: SessionKind
    cursor: int
    """Id of the last message read."""
    created_at: Instant
    active_at: Instant
    paused: bool = False

    @property
    def own(self) -> bool:
        """True where the session belongs to one task."""
        return self.kind in OWN_KINDS


def kind_of(key: str) -> SessionKind:
    """The kind of a session from its key: `main:triage`, `task:12`, `isolated:...`, `room:...`, `child:...`; every
    other prefix is a channel's."""
    prefix = key.partition(":")[0]
    try:
        return SessionKind(prefix)
    except ValueError:
        return SessionKind.CHANNEL


def main_session(agent: str) -> str:
    """Key of an agent's main session."""
    return f"main:{agent}"


def owner_of(key: str) -> str | None:
    """Whose session a key says that it is; None where it does not say."""
    if key == OPERATOR_SESSION:
        return OPERATOR
    return key.partition(":")[2] if kind_of(key) is SessionKind.MAIN else None


def parse_deliver(text: str) -> str:
    """Where a result goes, as people write it: `operator`, `agent:<id>` (its main session), `session:<key>`, or
    `file:<path>` in the folder of the agent that did the work, with `{task}` and `{date}` (UTC). Raises Invalid."""
    kind, _, key = text.partition(":")
    if text == OPERATOR or (kind == "session" and key):
        return text
    if kind == "agent" and key:
        return f"session:{main_session(key)}"
    if kind == "file" and parts_of(saved_path(key, task="T1", at=0)):
        return text
    cure = "Write 'operator', 'agent:NAME', 'session:KEY' or 'file:PATH'."
    raise Invalid(f"{text[:64]!r} is no place for a result", cure=cure)


def saved_path(path: str, *, task: str, at: Instant) -> str:
    """The file that a result is saved in, of a task that ended then."""
    return path.replace("{task}", task).replace("{date}", format_instant(at)[:10])


def check_owner(key: str, agent: str) -> None:
    """Raises Conflict where a session's key names another owner: whoever opens a session has it for ever."""
    owner = owner_of(key) or agent
    if owner != agent:
        what = f"The session {key!r} belongs to {owner!r}, not to {agent!r}"
        raise Conflict(what, cure="Use another key, or none.")


def task_session(task: int) -> str:
    """Key of the session that belongs to a goal."""
    return f"task:{task}"
