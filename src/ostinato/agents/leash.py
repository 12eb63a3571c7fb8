"""What one turn may do and what it is shown: the agent as it was when the turn began, and as it is now.

The prompt comes from then, so that a deploy does not change a turn in flight; every verdict is the stricter of then and
now. The gate is outside the model. Knows nothing of how a turn goes on.
"""

from __future__ import annotations

import asyncio
import copy
import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.agents.bounds import narrowed
from ostinato.agents.gauge import Gauge, NoGauge
from ostinato.agents.prompt import PromptPart, fixed_parts, note_parts
from ostinato.agents.unfit import Unfit
from ostinato.domain.chat import ToolCall, ToolSpec, estimate_tokens
from ostinato.domain.compaction import ContextLimits
from ostinato.domain.errors import Invalid, NotFound, OstinatoError
from ostinato.domain.file_rules import FileRules
from ostinato.domain.ledger import day_of
from ostinato.domain.message import Message
from ostinato.domain.permission import Permission
from ostinato.domain.policy import CallFacts, Verdict, judge, stricter
from ostinato.domain.step import ABOVE, Decision, Entry, Input, ToolIntent
from ostinato.domain.task import Task
from ostinato.domain.values import Attachment, Instant, Limits, Trust, Value, digest_of, to_json
from ostinato.engine.finisher import Finisher
from ostinato.engine.vault import learn
from ostinato.store.port import Tx
from ostinato.tools.port import AnyTool, CallReport, Colleague, CommandRules, ToolContext
from ostinato.tools.review import review_tools
from ostinato.tools.toolbox import Lent, Toolbox, report_of
from ostinato.workspace.agent import AgentDefinition, is_agent_file
from ostinato.workspace.registry import Workspaces

NO_LIMITS = Limits()
NOBODY: Mapping[str, AgentDefinition] = {}
USUAL_CONTEXT = ContextLimits()

NOTES_S = 1.0
"""Seconds for which an agent's daily notes are not read again: a busy agent ends many turns in one."""

_KEPT_MAX = 8_192
"""Contents known to be stored: notes change with each turn, and what is forgotten is only stored once more."""

_CACHED_MAX = 512
"""Versions of agents whose fixed prompt is kept ready; a few kilobytes each."""


def _no_limit() -> int | None:
    return None


class _Fixed(Value):
    """What depends on nothing but an agent's files."""

    parts: tuple[PromptPart, ...]
    specs: tuple[ToolSpec, ...]
    unread: bool
    tokens: int


class Leash:
    """Judges the calls of one turn and lends tools their context."""

    def __init__(
        self,
        maker: LeashMaker,
        task: Task,
        *,
        then: AgentDefinition,
        now: AgentDefinition,
        notes: Mapping[str, str],
        above: Mapping[str, AgentDefinition] = NOBODY,
    ) -> None:
        """`above`: the agents above a sub-agent as they were; whoever is not among them is as now."""
        self._maker = maker
        self._task = task
        self._above = {each: above.get(each) or maker.current(each) for each in task.spec.within}
        self.then = narrowed(then, task, self._above.__getitem__)
        self.now = narrowed(now, task, maker.current)
        self._notes = notes
        fixed = maker.fixed(self.then)
        late = note_parts(notes, maker.context_limits)
        self.fixed: Sequence[PromptPart] = (*fixed.parts, *late)
        self.specs = fixed.specs
        self.has_unread = fixed.unread
        """True where a server describes its tools in words that no person has read: the prompt holds a stranger's."""
        self.spec_tokens = fixed.tokens - sum(part.tokens for part in fixed.parts)
        self.prompt_tokens = fixed.tokens + sum(part.tokens for part in late)

    @property
    def timezone(self) -> str:
        """The agent's zone, in which it reads times."""
        return self.then.timezone

    @property
    def colleagues(self) -> frozenset[str]:
        """Ids of all agents of the fleet."""
        return frozenset(each.id for each in self._maker.colleagues())

    @property
    def fleet_limits(self) -> Limits:
        """What the whole fleet may spend in a UTC day, and nothing else that a turn would ask for here."""
        return self._maker.fleet_limits

    @property
    def context_limits(self) -> ContextLimits:
        """What each part of the prompt may take."""
        return self._maker.context_limits

    @property
    def gauge(self) -> Gauge:
        """What models really count."""
        return self._maker.gauge

    @property
    def finisher(self) -> Finisher:
        """Whoever ends the attempt."""
        return self._maker.finisher

    def renew(self) -> None:
        """Looks at the agent's files as they are now: before each verdict, for whoever takes a tool away means the turn
        that is under way, too. Raises Unfit where they are broken."""
        self.now = narrowed(self._maker.current(self.now.id), self._task, self._maker.current)

    def tool_or_none(self, name: str) -> AnyTool | None:
        """A tool by name; a verdict has allowed it, but a deploy may have taken it away since."""
        return self._maker.toolbox.get(name)

    def judge(
        self,
        call: ToolCall,
        *,
        context: ToolContext,
        arguments: dict[str, Any] | None,
        permissions: Callable[[], Sequence[Permission]] = tuple,
        budget_left: Callable[[], int | None] = _no_limit,
    ) -> tuple[Verdict, CallFacts] | str:
        """What is wrong with the call itself, in words; or the stricter verdict of then and now, and what it was judged
        by. Never raises. `budget_left`, micro-dollars, is asked for calls that cost something, `permissions` where a
        person would be asked."""
        if arguments is None:
            return call.problem or "the arguments are not a JSON object"
        toolbox = self._maker.toolbox
        try:
            tool = toolbox.tool(call.name, self.now.policy)
        except Invalid as unknown:
            return str(unknown)
        problem = toolbox.check_arguments(tool, arguments)
        if problem:
            return problem
        facts = toolbox.facts(tool, arguments, context)
        if facts.cost_usd_micros:
            facts = replace(facts, budget_left_usd_micros=budget_left())
        facts_then = None
        if self._has_changed:
            before = replace(context, commands=command_rules(self.then), secrets=self.then.tools.secrets, looked=None)
            facts_then = toolbox.facts(tool, arguments, before)
            facts_then = replace(facts_then, budget_left_usd_micros=facts.budget_left_usd_micros)
        verdict = self._strictest(facts, facts_then)
        if verdict.decision is Decision.ASK and (known := permissions()):
            verdict = self._strictest(facts, facts_then, known)
        return verdict, facts

    def _strictest(
        self, facts: CallFacts, facts_then: CallFacts | None, permissions: Sequence[Permission] = ()
    ) -> Verdict:
        """Of now and, where they may differ, of then."""
        verdict = judge(facts, self.now.policy, permissions)
        return verdict if facts_then is None else stricter(judge(facts_then, self.then.policy, permissions), verdict)

    async def look(self, tool: AnyTool, call: ToolCall, *, context: ToolContext) -> CallReport | None:
        """What a tool finds out about a call, on a thread of its own; None for a call that will be refused for what it
        is."""
        if call.arguments is None or self._maker.toolbox.check_arguments(tool, call.arguments):
            return None
        return await asyncio.to_thread(report_of, tool, call.arguments, context)

    @property
    def _has_changed(self) -> bool:
        """True where then and now may judge differently."""
        others = (self._maker.current(name).version != then.version for name, then in self._above.items())
        return self.then.version != self.now.version or any(others)

    @property
    def shown_files(self) -> tuple[str, ...]:
        """Files of the agent's own hand that its prompt shows."""
        return ("MEMORY.md", *self._notes)

    def keep_files(self, tx: Tx, *, now: Instant) -> Mapping[str, str]:
        """Stores the contents of the prompt files by digest, and returns name -> digest."""
        texts = {**self.then.texts, **self._notes}
        digests = {**self.then.digests, **{name: digest_of(text.encode()) for name, text in self._notes.items()}}
        for agent, above in self._above.items():  # the turn's verdicts are bounded by what these allowed when it began
            texts |= {f"{ABOVE}{agent}:{name}": text for name, text in above.texts.items()}
            digests |= {f"{ABOVE}{agent}:{name}": digest for name, digest in above.digests.items()}
        return self._maker.keep(tx, texts, digests, now=now)

    def kept(self, files: Mapping[str, str]) -> None:
        """Called once the commit that stored these files is on disk."""
        self._maker.kept(files)

    def context(
        self,
        task: Task,
        *,
        intent: ToolIntent,
        trust: Trust,
        now: Instant,
        private: bool = False,
        messages: Sequence[Message] = (),
        repeated: bool = False,
    ) -> ToolContext:
        """What a tool is told about one call."""
        latest = messages[-1] if messages else None
        return ToolContext(
            task=task.id,
            call_id=intent.call_id,
            key=intent.key,
            agent=self.then.id,
            session=task.session or "",
            workspace=self.then.folder,
            now=now,
            timezone=self.timezone,
            policy=self.now.policy,
            files=FileRules(read=self.now.files_read, write=self.now.files_write),
            commands=command_rules(self.now),
            secrets=self.now.tools.secrets,
            credentials={host: dict(headers) for host, headers in self.now.tools.credentials.items()},
            bound=intent.bound,
            requester=task.spec.requester,
            trust=trust,
            private=private,
            marking=intent.outside or trust is Trust.EXTERNAL,
            remembers=any(name in self.then.prompt_files for name in ("MEMORY.md", "USER.md")),
            depth=max([task.depth, *(message.depth for message in messages)]),  # also of those that came later
            causes=(*task.spec.causes, task.name),
            origin=(latest.origin if latest else None) or task.spec.origin,
            attachments=_attachments(task, messages),
            colleagues=self._maker.colleagues(),
            delegates=self.now.delegates,
            fleet=self._maker.fleet,
            repeated=repeated,
        )


class LeashMaker:
    """Makes the leash of each turn; keeps what does not change from turn to turn."""

    def __init__(
        self,
        *,
        workspaces: Workspaces,
        toolbox: Toolbox,
        fleet: str,
        fleet_limits: Limits = NO_LIMITS,
        context_limits: ContextLimits = USUAL_CONTEXT,
        colleagues: Callable[[], tuple[Colleague, ...]],
        elapsed_s: Callable[[], float] = time.monotonic,
        skills: Callable[[Sequence[str]], str] = lambda granted: "",
        finisher: Finisher | None = None,
    ) -> None:
        """`elapsed_s`: seconds from any start, by which notes grow old. `skills`: what prompts say of granted ones."""
        self.toolbox = toolbox
        self.fleet = fleet
        self.fleet_limits = fleet_limits
        self.context_limits = context_limits
        self.gauge = Gauge()
        self.colleagues = colleagues
        self.finisher = finisher or Finisher()
        self._elapsed_s = elapsed_s
        self._skills = skills
        self._workspaces = workspaces
        self._fixed: dict[str, _Fixed] = {}
        self._reviewing: LeashMaker | None = None
        self._kept: set[str] = set()
        self._kept_day = 0
        self._notes: dict[str, tuple[float, Mapping[str, str]]] = {}

    def lending(self, *tools: AnyTool) -> LeashMaker:
        """The same for a turn without a model: with tools of its own, and no prompt that would count."""
        made = copy.copy(self)
        made.toolbox, made.gauge, made._fixed = Lent(self.toolbox, tools), NoGauge(), {}
        return made

    def _for(self, task: Task) -> LeashMaker:
        """Whoever reviews has the tools for it; nobody else is shown them."""
        if task.spec.reviews is None:
            return self
        known = self._reviewing
        if known is None or known.toolbox.generation != self.toolbox.generation:
            known = copy.copy(self)
            known.toolbox, known._fixed = Lent(self.toolbox, review_tools(), shown=True), {}
            self._reviewing = known
        return known

    def leash(self, tx: Tx, task: Task, *, journal: Sequence[Entry]) -> Leash:
        """The leash of a task's turn. Raises Unfit where the agent's files are broken, or it is gone."""
        now, maker = self.current(task.agent or ""), self._for(task)
        began = next((each for each in journal if isinstance(each, Input) and each.agent_version), None)
        if began is None:
            return Leash(maker, task, then=now, now=now, notes=self._daily_notes(now.id))
        texts = _kept_texts(tx, began.files)
        notes = {name: text for name, text in texts.items() if not (is_agent_file(name) or name.startswith(ABOVE))}
        then = now if began.agent_version == now.version else self._as_it_was(now, texts)
        above = {each: self._as_it_was(self.current(each), _texts_of(each, texts)) for each in task.spec.within}
        return Leash(maker, task, then=then, now=now, notes=notes, above=above)

    def current(self, agent: str) -> AgentDefinition:
        """The agent as its files are now. Raises Unfit."""
        try:
            return self._workspaces.current(agent)
        except OstinatoError as error:
            raise Unfit(error) from error

    def _as_it_was(self, now: AgentDefinition, texts: Mapping[str, str]) -> AgentDefinition:
        """The agent that a turn began with; today's where its files are no longer kept, or no longer make one."""
        files = {name: text for name, text in texts.items() if is_agent_file(name)}
        try:
            return self._workspaces.from_texts(now.id, files) if files else now
        except OstinatoError:
            return now

    def _daily_notes(self, agent: str) -> Mapping[str, str]:
        """The last notes, at most `NOTES_S` old: the runtime writes them, after each turn."""
        at, notes = self._notes.get(agent, (-math.inf, {}))
        if self._elapsed_s() - at > NOTES_S:
            notes = self._workspaces.daily_notes(agent)
            if len(self._notes) >= _CACHED_MAX:
                self._notes.clear()
            self._notes[agent] = (self._elapsed_s(), notes)
        return notes

    def delivery_context(self, tx: Tx, task: Task, *, intent: ToolIntent, now: Instant, repeated: bool) -> ToolContext:
        """What a tool is told that performs a stored action, outside of any turn. Raises Unfit: whoever performs it is
        `Patient`."""
        leash = self.leash(tx, task, journal=())
        return leash.context(task, intent=intent, trust=task.spec.trust, now=now, repeated=repeated)

    def fixed(self, agent: AgentDefinition) -> _Fixed:
        """The fixed prompt and the tools of an agent's version."""
        key = f"{agent.id}\0{agent.prompt_version}\0{self.toolbox.generation}"
        found = self._fixed.get(key)
        if found is None:
            learn(agent.tools.secrets)
            parts = fixed_parts(agent=agent.id, fleet=self.fleet, files=agent.prompt_files, limits=self.context_limits)
            skills = self._skills(agent.policy.tools or ())
            if skills:
                parts = (*parts, PromptPart(name="skills", text=skills))
            specs = self.toolbox.specs(agent.policy)
            tokens = sum(part.tokens for part in parts) + estimate_tokens(to_json(specs).decode())
            unread = self.toolbox.has_unread(agent.policy)
            found = _Fixed(parts=parts, specs=specs, unread=unread, tokens=tokens)
            if len(self._fixed) >= _CACHED_MAX:
                self._fixed.clear()
            self._fixed[key] = found
        return found

    def keep(self, tx: Tx, texts: Mapping[str, str], digests: Mapping[str, str], *, now: Instant) -> Mapping[str, str]:
        """Stores each file's contents, unless a commit of today that is known to be on disk has: contents that nobody
        stores anew are forgotten in the end. Name -> digest of what is kept: of a file that holds a secret, another."""
        if day_of(now) != self._kept_day:
            self._kept_day = day_of(now)
            self._kept.clear()
        return {
            name: digest if digest in self._kept else tx.put_blob(texts[name].encode(), now=now)
            for name, digest in digests.items()
        }

    def kept(self, files: Mapping[str, str]) -> None:
        """Called once the commit that stored these files is on disk."""
        if len(self._kept) > _KEPT_MAX:
            self._kept.clear()
        self._kept.update(files.values())


def _texts_of(above: str, texts: Mapping[str, str]) -> dict[str, str]:
    """The files of an agent above, by their own names."""
    own = f"{ABOVE}{above}:"
    return {name.removeprefix(own): text for name, text in texts.items() if name.startswith(own)}


def _kept_texts(tx: Tx, files: Mapping[str, str]) -> dict[str, str]:
    texts = {}
    for name, digest in files.items():
        try:
            texts[name] = tx.blob(digest).decode()
        except NotFound:
            continue  # pruned: the turn goes on with what is left
    return texts


def command_rules(agent: AgentDefinition) -> CommandRules | None:
    """Which commands an agent may run, and how; None: none."""
    rules = agent.tools.exec
    if rules is None:
        return None
    return CommandRules(
        commands=rules.commands,
        effects=dict(rules.effects),
        paths=rules.paths,
        timeout_s=rules.timeout_s,
        lasts_s=rules.lasts_s,
        silence_s=rules.silence_s,
        network=rules.network,
    )


def _attachments(task: Task, messages: Sequence[Message]) -> tuple[Attachment, ...]:
    return (*task.spec.attachments, *(each for message in messages for each in message.attachments))
