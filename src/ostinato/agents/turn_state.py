"""One turn in memory: its journal so far, the messages it names, and the leash it runs on.

Changed only by `load` and, once a transaction is on disk, by `took_place` and `was_recorded`. Knows nothing of what
comes next.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.agents.leash import Leash
from ostinato.agents.model_choices import ModelChoices
from ostinato.agents.moves import Advance
from ostinato.agents.unfit import Unfit
from ostinato.domain.chat import ToolCall
from ostinato.domain.errors import Invalid
from ostinato.domain.message import OWN_KINDS, Message, kind_of
from ostinato.domain.step import (
    CompactionIntent,
    Effect,
    Entry,
    Input,
    ModelAnswer,
    ModelIntent,
    ToolIntent,
    is_private,
    is_tainted,
)
from ostinato.domain.taint import touches
from ostinato.domain.task import Task, TaskKind, TaskSpec
from ostinato.domain.turn import TurnView
from ostinato.domain.values import Instant, Limits, Trust, Value, digest_of
from ostinato.models.port import Model
from ostinato.store.port import Claim, Tx
from ostinato.tools.port import CallReport, ToolContext


class _Looked(Value):
    """What a tool has found out about a call, and under which rules."""

    arguments: dict[str, Any]
    context: ToolContext
    report: CallReport

    def shown_to(self, context: ToolContext, arguments: dict[str, Any]) -> ToolContext:
        """The context with it, unless somebody has changed the rules since, or other arguments are meant."""
        then = self.context
        same = (then.commands, then.secrets, then.credentials, then.workspace, self.arguments) == (
            context.commands, context.secrets, context.credentials, context.workspace, arguments,
        )  # fmt: skip
        return replace(context, looked=self.report) if same else context


class TurnState:
    """The journal of one attempt, and what it brings along."""

    def __init__(self, task: Task, *, leash: Leash, choices: ModelChoices, journal: Sequence[Entry] = ()) -> None:
        self.task = task
        self.claim = Claim(task=task.id, token=task.token)
        self.session = task.session or ""
        self.own = kind_of(self.session) in OWN_KINDS
        self.leash = leash
        self.choices = choices
        self.names_model = choices.named_by(leash.then, leash.now)
        self.model: Model = self._begin_with(journal)
        self.limits: Limits = task.spec.limits or leash.then.limits
        self.journal: list[Entry] = list(journal)
        self.messages: dict[int, Message] = {}
        self.has_past = False
        """True: the session had turns before, which the prompt will show."""
        self.past_tokens = 0
        """Tokens of the latest of them: a bound for what they will cost."""
        self.trust = task.spec.trust
        self.private = task.spec.private
        """True: the session has read what may be private, through a tool, or was told it by somebody who has."""
        self.call_held_at: Instant | None = None
        """When the money of the open call was set aside."""
        self.summary_held_at: Instant | None = None
        """The same for a summary that was begun."""
        self._view: TurnView | None = None
        self._looked: dict[str, _Looked] = {}
        self.probed: set[str] = set()
        """Calls whose tool could not tell whether they have happened: only a person can."""

    def _begin_with(self, journal: Sequence[Entry]) -> Model:
        """The model that is asked next. Raises Unfit where the agent's files name one that nobody knows."""
        try:
            return self.choices.begin_with(self.task, self.names_model, journal)
        except Invalid as error:
            if self.task.spec.model is not None:
                raise
            raise Unfit(error) from error

    def load(self, tx: Tx) -> None:
        """Reads what the journal and the session's earlier turns bring along."""
        tainted = tx.tainted_files(self.leash.then.id)
        if self.leash.has_unread or any(touches(path, tainted) for path in self.leash.shown_files):
            self.trust = Trust.EXTERNAL
        if self.journal:
            ids = [each for entry in self.journal if isinstance(entry, Input) for each in entry.messages]
            self._keep(tx.messages_by_id(ids).values() if ids else ())
            self._learn(self.journal)
        if not self.own or self.task.kind is TaskKind.TURN:  # what a person says after a goal's end is about the goal
            latest = tx.session_tasks(self.session, before=self.task.id, limit=1)
            self.has_past, self.past_tokens = bool(latest), latest[0].tokens if latest else 0

    def learn_past(self, tasks: Iterable[Task], messages: Iterable[Message], entries: Iterable[Entry]) -> None:
        """Text from outside that an earlier turn has read is in this one's prompt too: taint is sticky."""
        self._learn(entries)
        for task in tasks:
            self._hear(task.spec)
        for message in messages:
            self._hear(message)

    def took_place(self, done: Advance) -> None:
        """Called once the transaction is on disk, never before."""
        new = done.journal[len(self.journal) :]
        for entry in new:
            if isinstance(entry, Input):
                self.leash.kept(entry.files)
            elif isinstance(entry, ModelAnswer):
                self.leash.gauge.kept(self.model.name)
            elif isinstance(entry, ModelIntent):
                self.call_held_at = done.at
                if entry.model != self.model.name and self.choices.is_known(entry.model):
                    self.model = self.choices.model(entry.model)
        self.journal[:] = done.journal
        self._view = done.view
        self._looked.clear()
        self._keep(done.messages)
        self._learn(new)

    def was_recorded(self, entry: Entry, *, at: Instant) -> None:
        """The same for an entry that had a commit of its own."""
        self.journal.append(entry)
        if self._view is not None:
            self._view.add(entry)
        if isinstance(entry, CompactionIntent):
            self.summary_held_at = at
        self._learn((entry,))

    def view(self) -> TurnView:
        """The journal, folded: to be looked at."""
        if self._view is None:
            self._view = TurnView(self.journal)
        return self._view

    @property
    def asked(self) -> ModelIntent:
        """The last intent; there is one once a model is to be asked."""
        asked = self.view().asked
        assert asked is not None, "the intent is durable before the call"
        return asked

    def taken_view(self, journal: Sequence[Entry]) -> TurnView:
        """The same, for a transaction to go on folding; it comes back with `took_place`. Where that never happens, or
        the journal is another by now, it is folded anew."""
        view, self._view = self._view, None
        if view is None or journal is not self.journal or view.folded != len(journal):
            return TurnView(journal)
        return view

    @property
    def requesters(self) -> tuple[str, ...]:
        """Everybody on whose behalf this turn works; `operator` is nobody in particular."""
        asked = (self.task.spec.requester, *(each.requester for each in self.messages.values()))
        return tuple(dict.fromkeys(each for each in asked if each not in ("", "operator")))

    def draft_intent(self, call: ToolCall, arguments: dict[str, Any] | None) -> ToolIntent:
        """What a call would be: as irreversible as can be, until its tool has looked at it."""
        task = self.task
        key = digest_of(f"{task.id}/{task.journal}/{call.id}".encode())[:32]
        return ToolIntent(
            call_id=call.id, tool=call.name, effect=Effect.IRREVERSIBLE, arguments=arguments or {}, key=key
        )

    def context(self, intent: ToolIntent, *, now: Instant, repeated: bool = False) -> ToolContext:
        """What a tool is told about one call of this turn."""
        context = self.leash.context(
            self.task,
            intent=intent,
            trust=self.trust,
            private=self.private,
            now=now,
            messages=tuple(self.messages.values()),
            repeated=repeated,
        )
        looked = self._looked.get(intent.call_id)
        return looked.shown_to(context, intent.arguments) if looked is not None else context

    async def look_ahead(self, calls: Iterable[ToolCall], *, now: Instant) -> None:
        """Reads what the tools of these calls must know of them, so that the one transaction that judges them next,
        and performs them or asks, need not."""
        for call in calls:
            tool = self.leash.tool_or_none(call.name)
            if tool is None or not tool.looks:
                continue
            context = self.context(self.draft_intent(call, call.arguments), now=now)
            report = await self.leash.look(tool, call, context=context)
            if report is not None:
                self._looked[call.id] = _Looked(arguments=call.arguments or {}, context=context, report=report)

    def _learn(self, entries: Iterable[Entry]) -> None:
        """What the journal says of what was read: it is all that survives a crash."""
        entries = tuple(entries)
        if is_tainted(entries):
            self.trust = Trust.EXTERNAL
        self.private = self.private or is_private(entries)

    def _keep(self, messages: Iterable[Message]) -> None:
        for message in messages:
            self.messages[message.id] = message
            self._hear(message)

    def _hear(self, said: Message | TaskSpec) -> None:
        if said.trust is Trust.EXTERNAL:
            self.trust = Trust.EXTERNAL
        self.private = self.private or said.private
