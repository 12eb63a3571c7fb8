"""Operations on sessions: list, show, send, talk, follow.

A transcript is a view over the journals of the turns that ran in a session. Knows nothing of HTTP or of screens.
"""

from __future__ import annotations

from typing import Annotated

import msgspec

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.message import Message, NewMessage, Session, check_owner, kind_of, main_session
from ostinato.domain.person import Role
from ostinato.domain.step import Compacted, Input, LimitReached, ModelAnswer, Note, ToolOutcome
from ostinato.domain.task import ENDED, Task, TaskKind
from ostinato.domain.values import Origin, Source
from ostinato.gateway.context import Context
from ostinato.gateway.journal_view import step_view
from ostinato.gateway.notation import iso
from ostinato.gateway.operation import Ask, View, operation
from ostinato.gateway.tasks_api import PageSize, Word
from ostinato.gateway.views import MessageView, SessionList, SessionRow, message_view, session_row
from ostinato.store.port import Reads, Tx

UNREAD_MAX = 50
"""Unread messages of one session that are counted; more read as 50."""

Said = Annotated[str, msgspec.Meta(min_length=1, max_length=200_000)]


class WhichSessions(Ask):
    """Which sessions to list."""

    agent: Word | None = None
    after: Word = ""
    limit: PageSize = 100


class WhichSession(Ask):
    """One session; `turns` is how many of its latest turns the transcript tells."""

    session: Annotated[str, msgspec.Meta(min_length=1, max_length=300)]
    turns: Annotated[int, msgspec.Meta(ge=1, le=200)] = 20


class SendMessage(Ask):
    """A message of a person to an agent. `session` is the agent's main one unless named; `key` makes sending it twice
    harmless."""

    agent: Word
    text: Said
    session: Word | None = None
    key: Word | None = None


class TranscriptLine(View):
    """One line of a conversation. `who` is the sender, the agent, or `runtime`."""

    at: str
    who: str
    kind: str
    """`message`, `reply`, `tool`, `limit`, `note`, `result`."""
    text: str
    task: str | None = None
    call: str | None = None


class SessionView(View):
    """A session with its transcript, oldest line first."""

    session: SessionRow
    transcript: list[TranscriptLine]
    unread: list[MessageView]
    turns_left_out: bool
    """True: there are earlier turns."""


class SentView(View):
    """A message that is durable now."""

    session: str
    message: str
    task: str | None
    """The turn that reads it, where it is known already."""
    node_running: bool


@operation("sessions.list", "GET /api/v1/sessions")
async def list_sessions(context: Context, request: WhichSessions) -> SessionList:
    """Sessions by key."""

    def read(tx: Reads) -> SessionList:
        found = tx.sessions(agent=request.agent, limit=request.limit, after=request.after)
        rows = [session_row(each, unread=len(tx.inbox(each.key, limit=UNREAD_MAX))) for each in found]
        return SessionList(sessions=rows, next=rows[-1].key if len(rows) == request.limit else None)

    return await context.store.read(read)


@operation("sessions.show", "GET /api/v1/sessions/{session}")
async def show(context: Context, request: WhichSession) -> SessionView:
    """One session: who said what, and which tools were used."""

    def read(tx: Reads) -> SessionView:
        session = session_of(tx, request.session)
        tasks = tx.session_tasks(session.key, limit=request.turns)
        lines = [line for task in reversed(tasks) for line in transcript_of(tx, task)]
        unread = tx.inbox(session.key, limit=UNREAD_MAX)
        return SessionView(
            session=session_row(session, unread=len(unread)),
            transcript=lines,
            unread=[message_view(each) for each in unread],
            turns_left_out=len(tasks) == request.turns,
        )

    return await context.store.read(read)


@operation("sessions.send", "POST /api/v1/sessions/send", role=Role.OPERATOR)
async def send(context: Context, request: SendMessage) -> SentView:
    """Send an agent a message; it is durable when this returns, and answered when a node runs."""
    message = await append(context, request)
    task = await context.store.read(lambda tx: unfinished_turn(tx, message.session))
    return SentView(
        session=message.session,
        message=f"M{message.id}",
        task=task.name if task else None,
        node_running=context.node is not None,
    )


async def append(context: Context, request: SendMessage) -> Message:
    """The message, in the session's inbox."""
    agent = (await context.card(request.agent)).id
    key, now = request.session or main_session(agent), context.now
    check_owner(key, agent)
    new = NewMessage(
        source=Source.OPERATOR,
        text=request.text,
        sender=context.caller.name,
        requester=context.caller.name,
        origin=Origin(channel="cli"),
        client_id=request.key,
    )

    def write(tx: Tx) -> Message:
        session = tx.session(key)
        if session is not None and session.agent != agent:
            raise Conflict(f"The session {key!r} belongs to {session.agent!r}", cure="Name another session.")
        message = tx.append_message(key, new, agent=agent, now=now)
        if message.text != request.text:
            raise Conflict(
                f"The key {request.key!r} belongs to M{message.id}, which says something else",
                cure="Use a new key for a new message.",
            )
        return message

    return await context.store.run(write)


def session_of(tx: Reads, key: str) -> Session:
    """The session of a key, or of an agent's name, which means its main one. A task's own session is there as soon as
    the task is. Raises NotFound."""
    session = tx.session(key) or tx.session(main_session(key))
    if session is not None:
        return session
    for task in tx.session_tasks(key, limit=1):
        return Session(
            key=key,
            agent=task.agent or "",
            kind=kind_of(key),
            cursor=0,
            created_at=task.created_at,
            active_at=task.updated_at,
        )
    raise NotFound(f"There is no session {key!r}", cure="See `ostinato sessions list`.")


def unfinished_turn(tx: Reads, key: str) -> Task | None:
    """The turn that is about to run, or runs, in a session."""
    latest = tx.session_tasks(key, limit=1)
    return next((task for task in latest if task.state not in ENDED), None)


def transcript_of(tx: Reads, task: Task) -> list[TranscriptLine]:
    """What was said in one turn."""
    steps = tx.steps(task.id)
    wanted = [number for each in steps if isinstance(each.entry, Input) for number in each.entry.messages]
    messages = tx.messages_by_id(wanted)
    agent = task.agent or "agent"
    lines: list[TranscriptLine] = []
    if task.kind is TaskKind.GOAL:
        text = f"{task.title}\n{task.spec.goal}".strip()
        lines.append(_line(task, task.created_at, who=task.spec.requester, text=text))
    for step in steps:
        match step.entry:
            case Input():
                read = (messages[each] for each in step.entry.messages if each in messages)
                lines += [_line(task, each.at, who=each.sender, text=each.text) for each in read]
            case ModelAnswer(text=text) if text:
                lines.append(_line(task, step.at, who=agent, kind="reply", text=text))
            case ToolOutcome(call_id=call):
                lines.append(_line(task, step.at, who=agent, kind="tool", text=step_view(step).text, call=call))
            case LimitReached():
                lines.append(_line(task, step.at, who="runtime", kind="limit", text=step_view(step).text))
            case Compacted(text=text):
                lines.append(_line(task, step.at, who="runtime", kind="summary", text=text))
            case Note(text=text, by=by):
                lines.append(_line(task, step.at, who=by, kind="note", text=text))
            case _:
                pass  # verdicts, intents and answers are the journal's business: tasks show
    if task.state in ENDED and task.result is not None:
        said = task.result.text or task.result.error
        if said and not any(each.kind == "reply" and each.text == said for each in lines):
            kind = "result" if task.result.text else "failure"
            lines.append(_line(task, task.updated_at, who=agent, kind=kind, text=said))
    return lines


def _line(
    task: Task, at: int, *, who: str, text: str, kind: str = "message", call: str | None = None
) -> TranscriptLine:
    return TranscriptLine(at=iso(at), who=who, kind=kind, text=text, task=task.name, call=call)
