"""Sessions, their inboxes, and the one wake rule: a message and what it wakes share a commit.

Knows nothing of how tasks end.
"""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.errors import Conflict, Invalid, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.message import OWN_KINDS, Message, NewMessage, Session, kind_of
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.task import NewTask, TaskEvent, TaskKind, TaskSpec, TaskState, Wait, WaitKind
from ostinato.domain.values import Instant, Trust
from ostinato.store.verbs import rows
from ostinato.store.verbs.rows import Kept
from ostinato.store.verbs.tasks import WAITS_FOR_NOTHING, TaskVerbs

TITLE_CHARACTERS_MAX = 80
"""A title fits a line of a terminal."""
UNREAD_LOOKED_AT = 50
"""Unread messages that decide about the next turn's trust and depth; what `inbox` gives at once."""

AWAITING_TASKS = frozenset({WaitKind.CHILD, WaitKind.PROCESS})
"""Waits that the end of a task ends; both name it as `T12`."""

_TRUST_ORDER = (Trust.EXTERNAL, Trust.AGENT, Trust.OPERATOR)


class SessionVerbs(TaskVerbs):
    """Sessions and messages."""

    def _session_row(self, key: str) -> Session | None:
        """Most tasks have a session of their own in which nobody has said anything: those of all that were claimed are
        looked up together when the first of them is needed."""
        memory = self._memory
        if key in memory.unasked:
            unasked, memory.unasked = memory.unasked, set()
            found = self._db.all("sessions_that_exist", keys=rows.to_text(sorted(unasked)))
            memory.note_sessionless(unasked - {each for (each,) in found})
        return None if key in memory.sessionless else super()._session_row(key)

    def open_session(self, key: str, *, agent: str, now: Instant) -> Session:
        """The session of a key, made where it is missing."""
        session = self._session_row(key)
        if session is None:
            if not key:
                raise Invalid("A session needs a key", cure="For example 'main:triage' or 'task:12'.")
            kind = kind_of(key)
            self._memory.sessionless.discard(key)
            self._db.do("add_session", key=key, agent=agent, kind=kind.value, now=now)
            return Session(key=key, agent=agent, kind=kind, cursor=0, created_at=now, active_at=now)
        if session.agent != agent:
            raise Conflict(
                f"The session {key!r} belongs to agent {session.agent!r}, not to {agent!r}",
                cure="A session has one agent; use another key.",
            )
        return session

    def append_message(self, key: str, new: NewMessage, *, agent: str, now: Instant, wake: bool = True) -> Message:
        """A message, once per client id, and what it wakes."""
        return self._append(key, new, agent=agent, now=now, wake=wake)

    def _append(
        self, key: str, new: NewMessage, *, agent: str, now: Instant, wake: bool = True, child: int | None = None
    ) -> Message:
        """`child`: the message is the result of this task, for which a parent may wait."""
        self.open_session(key, agent=agent, now=now)
        if new.client_id is not None:
            known = self._db.one("message_by_client_id", session=key, client_id=new.client_id)
            if known is not None:
                return rows.message_of(known)
        message_id = self._db.next_id("messages")
        self._db.do("add_message", id=message_id, session=key, at=now, client_id=new.client_id, body=rows.to_text(new))
        self._db.do("touch_session", key=key, now=now)
        if new.attachments:
            self._note_blobs([each.digest for each in new.attachments], message=message_id)
        self._tell(
            EventName.MESSAGE_APPENDED,
            now=now,
            agent=agent,
            session=key,
            actor=new.sender,
            data={"message": message_id, "source": new.source.value},
        )
        message = rows.message_from(new, id_=message_id, session=key, at=now)
        if wake:
            self._wake_session(key, [message], agent=agent, now=now, child=child)
        return message

    def _wake_session(
        self, key: str, unread: Sequence[Message], *, agent: str, now: Instant, child: int | None = None
    ) -> None:
        """Makes or wakes what will read these messages."""
        unfinished = [rows.kept_of(row) for row in self._db.all("unfinished_in_session", session=key)]
        for kept in unfinished:
            if kept.task.state is TaskState.WAITING and _is_woken(kept.task.wait, child):
                self._move(kept, TaskEvent.WAKE, now=now, reason=f"M{unread[-1].id} arrived")
        readers = unfinished if kind_of(key) in OWN_KINDS else [k for k in unfinished if k.task.kind is TaskKind.TURN]
        if not readers:
            self._add_turn(key, unread, agent=agent, now=now)

    def _add_turn(self, key: str, unread: Sequence[Message], *, agent: str, now: Instant) -> Kept:
        """The turn that reads these messages. It is trusted as little as the least trusted of them."""
        first = unread[0]
        spec = TaskSpec(
            requester=first.requester,
            trust=min((each.trust for each in unread), key=_TRUST_ORDER.index),
            trigger=first.source,
            origin=first.origin,
            causes=(*first.causes, f"M{first.id}"),
            model=first.model,
            effort=first.effort,
            retry=first.retry or RetryPolicy(),
            deliver=first.deliver,
        )
        turn = NewTask(
            kind=TaskKind.TURN,
            title=title_of(first.text) or f"Message from {first.sender}",
            spec=spec,
            agent=agent,
            session=key,
            depth=max(each.depth for each in unread),
        )
        return self._insert(turn, WAITS_FOR_NOTHING, body=None, now=now, actor=first.sender)

    def _next_turn(self, key: str, *, now: Instant, newer_than: int = 0) -> None:
        """Where messages wait unread and nothing unfinished will read them, makes the turn that does."""
        session = self._session_row(key)
        if session is None:
            return
        unread = self.messages(key, after=max(session.cursor, newer_than), limit=UNREAD_LOOKED_AT)
        if unread:
            self._wake_session(key, unread, agent=session.agent, now=now)

    def advance_cursor(self, key: str, to: int, *, now: Instant) -> None:
        """Messages up to here are read; never back."""
        if not self._db.do("advance_cursor", key=key, to=to, now=now) and self._session_row(key) is None:
            raise NotFound(f"There is no session {key!r}")


def title_of(text: str) -> str:
    """The first line that says something, shortened to fit a line."""
    line = next((each.strip() for each in text.splitlines() if each.strip()), "")
    return line if len(line) <= TITLE_CHARACTERS_MAX else line[: TITLE_CHARACTERS_MAX - 1].rstrip() + "…"


def _is_woken(wait: Wait | None, child: int | None) -> bool:
    """True where a message ends this wait: it waits for any event, or for the child whose result this is."""
    if wait is None:
        return False
    if wait.kind is WaitKind.EVENT:
        return True
    return child is not None and wait.kind in AWAITING_TASKS and is_among(child, wait.refs)


def is_among(number: int, refs: Sequence[str]) -> bool:
    """True where the references name this id (`12`, `T12`, `Q12`); no references mean any."""
    return not refs or number in ids_of(refs)


def ids_of(refs: Sequence[str]) -> list[int]:
    """References as ids; what is no id (a process handle) is left out."""
    digits = (ref.lstrip("TQ") for ref in refs)
    return [int(each) for each in digits if each.isdecimal()]
