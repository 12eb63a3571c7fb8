"""Streams of sessions: send a message and see the reply come, or follow what is said.

Text streams in live where the node hears it from the model; what is durable comes from the journal. Knows nothing of
HTTP or of screens.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import AsyncIterator, Sequence

from ostinato.domain.errors import Conflict
from ostinato.domain.message import Message
from ostinato.domain.person import Role
from ostinato.domain.question import QuestionState
from ostinato.domain.step import Input
from ostinato.domain.task import ENDED, Task, TaskState
from ostinato.domain.values import Value
from ostinato.gateway.context import Context
from ostinato.gateway.follow import changes_of
from ostinato.gateway.notation import iso
from ostinato.gateway.operation import View, stream
from ostinato.gateway.sentences import question_words
from ostinato.gateway.sessions_api import (
    SendMessage,
    TranscriptLine,
    WhichSession,
    append,
    session_of,
    transcript_of,
)
from ostinato.gateway.views import waits_for
from ostinato.store.port import QuestionFilter, Reads

TURNS_LOOKED_AT = 20
"""Latest turns of a session among which the one that read a message is looked for."""


PIECES_MAX = 10_000
"""Pieces of live text that wait for a slow reader; older ones are dropped, as the journal has it all."""


class TalkItem(View):
    """Something that happened while the reply was made. `kind`: `sent`, `piece` (live text, not stored), `line` (of the
    transcript), `retry` (an error that may pass), `question` (a person must settle something), `held` (somebody has
    stopped the agent), `waiting`, `end`. The last three end the stream."""

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
    key = request.session or f"main:{request.agent}"
    reply = _Reply()
    async with changes_of(context.store) as changes:

        def hear(text: str) -> None:
            reply.pieces.append(text)
            changes.notice()

        stop = context.live.watch(key, hear) if context.live else None
        try:
            message = await append(context, request)
            yield TalkItem(kind="sent", text=f"M{message.id}", state=message.session)
            while True:
                await changes.wait()
                reply.look()
                found = await context.store.read(lambda tx: _look(tx, message, request.agent))
                for item in (*reply.told(found.lines), *found.ending):
                    yield item
                if found.ending:
                    return
                yield None
        finally:
            if stop is not None:
                stop()


class _Reply:
    """What somebody has been told of a reply: lines of the transcript, and pieces that came before them."""

    def __init__(self) -> None:
        self.pieces: deque[str] = deque(maxlen=PIECES_MAX)
        """Heard, and not shown yet."""
        self._before = 0
        """Pieces that were heard before the store was looked at: what the store has to tell comes behind them."""
        self._streamed = ""
        self._told: set[tuple[str, str, str]] = set()

    def look(self) -> None:
        """The store is looked at now. Pieces that come meanwhile may follow on lines which only the next look shows."""
        self._before = len(self.pieces)

    def told(self, lines: Sequence[TranscriptLine]) -> list[TalkItem]:
        """What is new, in order: each reply behind its pieces, then the pieces of the one that is being made."""
        items: list[TalkItem] = []
        for line in lines:
            mark = (line.at, line.kind, line.text)
            if mark in self._told or line.kind == "message":
                continue
            self._told.add(mark)
            if line.kind == "reply":
                items += self._taken(len(line.text))
            is_shown = line.kind == "reply" and line.text in self._streamed
            self._streamed = "" if is_shown else self._streamed
            kind = "retry" if line.kind == "retry" else "line"
            items.append(TalkItem(kind=kind, line=line, text=line.text, task=line.task, live=is_shown))
        return [*items, *self._taken(pieces=self._before)]

    def _taken(self, most: float = math.inf, *, pieces: float = math.inf) -> list[TalkItem]:
        """Pieces that nobody has seen yet, until they have so many characters together or are so many."""
        taken, characters = list[TalkItem](), 0
        while self.pieces and characters < most and len(taken) < pieces:
            piece = self.pieces.popleft()
            self._before = max(0, self._before - 1)
            characters += len(piece)
            self._streamed += piece
            taken.append(TalkItem(kind="piece", text=piece))
        return taken


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


class _Found(Value):
    """What a look at the store gives: lines so far, and, where the reply has come to an end, how it ends."""

    lines: list[TranscriptLine] = []
    ending: list[TalkItem] = []


def _look(tx: Reads, message: Message, agent: str) -> _Found:
    task = _turn_that_read(tx, message)
    if task is None:
        return _Found(ending=_held(tx, agent))
    lines = transcript_of(tx, task)
    if task.state is TaskState.READY and task.failures:
        text = f"{task.reason or 'an error'}; attempt {task.failures + 1} follows"
        lines.append(TranscriptLine(at=iso(task.updated_at), who="runtime", kind="retry", text=text, task=task.name))
    if task.state not in ENDED and task.state is not TaskState.WAITING:
        return _Found(lines=lines, ending=_held(tx, agent) if task.state is TaskState.READY else [])
    asked = tx.questions(QuestionFilter(state=QuestionState.PENDING, task=task.id), limit=20)
    ending = [
        TalkItem(kind="question", question=each.name, text=question_words(each), task=task.name)
        for each in reversed(asked)
    ]
    text = task.result.text or task.result.error if task.result else waits_for(task)
    kind = "end" if task.state in ENDED else "waiting"
    ending.append(TalkItem(kind=kind, text=text, task=task.name, state=task.state.value))
    return _Found(lines=lines, ending=ending)


def _held(tx: Reads, agent: str) -> list[TalkItem]:
    """Nobody will answer as long as the agent or the fleet is stopped."""
    for flag in tx.flags():
        if flag.scope in ("fleet", f"agent:{agent}"):
            what, cure = ("The fleet", "ostinato start")
            if flag.scope != "fleet":
                what, cure = agent, f"ostinato agents resume {agent}"
            why = f": {flag.reason}" if flag.reason else ""
            text = f"{what} is {flag.name} (by {flag.actor}{why}); the answer comes after: {cure}"
            return [TalkItem(kind="held", text=text, state=flag.name)]
    return []


def _turn_that_read(tx: Reads, message: Message) -> Task | None:
    """The turn whose input has the message, or one that failed before it could read it."""
    for task in tx.session_tasks(message.session, limit=TURNS_LOOKED_AT):
        unread = task.state is TaskState.FAILED and not task.steps and task.updated_at >= message.at
        if unread or any(
            isinstance(each.entry, Input) and message.id in each.entry.messages for each in tx.steps(task.id)
        ):
            return task
    return None
