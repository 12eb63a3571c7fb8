"""Streams of sessions: send a message and see the reply come, or follow what is said.

Text streams in live where the node hears it from the model; what is durable comes from the journal. Knows nothing of
HTTP or of screens.
"""

from __future__ import annotations

from collections import deque
from collections.abc import AsyncIterator

from ostinato.domain.errors import Conflict
from ostinato.domain.message import Message
from ostinato.domain.question import QuestionState
from ostinato.domain.step import Input
from ostinato.domain.task import ENDED, Task, TaskState
from ostinato.gateway.context import Context
from ostinato.gateway.follow import changes_of
from ostinato.gateway.operation import Role, View, stream
from ostinato.gateway.sessions_api import (
    SendMessage,
    TranscriptLine,
    WhichSession,
    append,
    session_of,
    transcript_of,
)
from ostinato.gateway.views import question_view, waits_for
from ostinato.store.port import QuestionFilter, Reads

TURNS_LOOKED_AT = 20
"""Latest turns of a session among which the one that read a message is looked for."""


PIECES_MAX = 10_000
"""Pieces of live text that wait for a slow reader; older ones are dropped, as the journal has it all."""


class TalkItem(View):
    """Something that happened while the reply was made. `kind`: `sent`, `piece` (live text, not stored), `line` (of the
    transcript), `question` (a person must settle something), `waiting`, `end`."""

    kind: str
    text: str = ""
    task: str | None = None
    line: TranscriptLine | None = None
    question: str | None = None
    state: str = ""
    live: bool = False
    """Of a line: its text has come in pieces already."""


class FollowItem(View):
    """A line of a transcript as it is written."""

    line: TranscriptLine


@stream("sessions.talk", "POST /api/v1/sessions/talk", role=Role.OPERATOR)
async def talk(context: Context, request: SendMessage) -> AsyncIterator[TalkItem | None]:
    """Send an agent a message and stream what comes of it, until its turn ends or waits for a person."""
    if context.node is None:
        raise Conflict("No node is running, so nobody would answer", cure="Start one: ostinato up")
    pieces: deque[str] = deque(maxlen=PIECES_MAX)
    streamed = ""
    key = request.session or f"main:{request.agent}"
    async with changes_of(context.store) as changes:

        def hear(text: str) -> None:
            pieces.append(text)
            changes.notice()

        stop = context.live.watch(key, hear) if context.live else None
        try:
            message = await append(context, request)
            yield TalkItem(kind="sent", text=f"M{message.id}", state=message.session)
            told: set[tuple[str, str, str]] = set()
            while True:
                await changes.wait()
                found = await context.store.read(lambda tx: _turn_that_read(tx, message))
                if found is None:
                    yield None
                    continue
                task, lines, questions = found
                for line in lines:
                    mark = (line.at, line.kind, line.text)
                    if mark in told or line.kind == "message":
                        continue
                    told.add(mark)
                    live = _taken(pieces, line)
                    for piece in live:
                        yield TalkItem(kind="piece", text=piece)
                    streamed += "".join(live)
                    shown = line.kind == "reply" and line.text in streamed
                    streamed = "" if shown else streamed
                    yield TalkItem(kind="line", line=line, text=line.text, task=task.name, live=shown)
                while pieces:
                    streamed += pieces[0]
                    yield TalkItem(kind="piece", text=pieces.popleft())
                if task.state in ENDED or task.state is TaskState.WAITING:
                    for name, text in questions:
                        yield TalkItem(kind="question", question=name, text=text, task=task.name)
                    yield _end(task)
                    return
                yield None
        finally:
            if stop is not None:
                stop()


@stream("sessions.tail", "GET /api/v1/sessions/{session}/tail")
async def tail(context: Context, request: WhichSession) -> AsyncIterator[FollowItem | None]:
    """The latest turns of a session, then every line as it is written."""
    told: dict[str, int] = {}

    def read(tx: Reads) -> list[tuple[str, list[TranscriptLine]]]:
        session = session_of(tx, request.session)
        tasks = reversed(tx.session_tasks(session.key, limit=request.turns))
        return [(each.name, transcript_of(tx, each)) for each in tasks]

    async with changes_of(context.store) as changes:
        while True:
            for name, lines in await context.store.read(read):
                for line in lines[told.get(name, 0) :]:
                    yield FollowItem(line=line)
                told[name] = max(len(lines), told.get(name, 0))
            yield None
            await changes.wait()


def _taken(pieces: deque[str], line: TranscriptLine) -> list[str]:
    """The pieces that a reply came in, as far as they have not been shown: they stand before it."""
    if line.kind != "reply":
        return []
    taken: list[str] = []
    while pieces and sum(map(len, taken)) < len(line.text):
        taken.append(pieces.popleft())
    return taken


def _end(task: Task) -> TalkItem:
    text = task.result.text or task.result.error if task.result else waits_for(task)
    return TalkItem(kind="end" if task.state in ENDED else "waiting", text=text, task=task.name, state=task.state.value)


def _turn_that_read(tx: Reads, message: Message) -> tuple[Task, list[TranscriptLine], list[tuple[str, str]]] | None:
    """The turn whose input has the message, its lines, and its open questions; or one that failed before it could
    read it."""
    for task in tx.session_tasks(message.session, limit=TURNS_LOOKED_AT):
        unread = task.state is TaskState.FAILED and not task.steps and task.updated_at >= message.at
        if unread or any(
            isinstance(each.entry, Input) and message.id in each.entry.messages for each in tx.steps(task.id)
        ):
            asked = tx.questions(QuestionFilter(state=QuestionState.PENDING, task=task.id), limit=20)
            questions = [(view.id, view.text) for view in map(question_view, reversed(asked))]
            return task, transcript_of(tx, task), questions
    return None
