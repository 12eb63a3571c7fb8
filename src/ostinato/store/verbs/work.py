"""What all changing verbs share: the database, the writer's memory, and what waits for the end of the batch.

Events and tallies are gathered while functions run and written once for the whole commit; those of a function that is
undone are dropped with it. Knows nothing of threads or commits: the writer calls `begin`, `keep` or `undo`, `flush`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple, TypeVar

from msgspec.structs import asdict

from ostinato.domain.aging import AGING_S, AGING_SETTING, rank_of
from ostinato.domain.audit import BEGINNING, Place, bound, is_audited
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.limit import Strands
from ostinato.domain.secret import KNOWN
from ostinato.domain.task import Task, TaskKind
from ostinato.domain.values import Instant, to_json
from ostinato.store.port import DEFAULT_POOL, Flag, Tallies
from ostinato.store.verbs import rows
from ostinato.store.verbs.database import Database
from ostinato.store.verbs.memory import Memory
from ostinato.store.verbs.queues import Candidate, QueueKey, Queues
from ostinato.store.verbs.reads import ReadVerbs

T = TypeVar("T")

AUDIT_END = "audit.end"
"""The setting that says where the audit's rows end: incarnation, seq and digest of the last one."""


class Told(NamedTuple):
    """An event on its way to the table, in the order of its columns."""

    at: Instant
    name: str
    task: int | None
    agent: str | None
    session: str | None
    actor: str
    reason: str
    data: str | None


WRITTEN_TOGETHER = 64
"""Rows that are written before the batch has come to its end: a database of its own has begun with them by then."""

Tally = tuple[str, bool, str]
"""Agent (empty: none), is a goal, state."""


class Work(ReadVerbs):
    """One batch of transactions: reads, buffers and memory, on which the rooms of verbs build."""

    def __init__(self, database: Database, memory: Memory) -> None:
        super().__init__(database)
        self._memory = memory
        self._told: list[Told] = []
        self._written: list[tuple[int, Told]] = []
        """Events that are in the table, with their ids, and of which nobody was told yet."""
        self._tallied: dict[Tally, int] = {}
        self._totalled: dict[str, int] = {}
        self._mark = 0
        self._tallied_here: dict[Tally, int] = {}
        self._totalled_here: dict[str, int] = {}
        self.brings_work = False
        """True: something in this batch has made a task claimable, or may have."""

    # --- for the writer -------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """A function begins."""
        self._mark = len(self._told)

    def keep(self) -> None:
        """What the function did stands, unless the whole batch is undone."""
        if len(self._told) >= WRITTEN_TOGETHER:
            self._write_events()
        if self._tallied_here:
            _merge(self._tallied, self._tallied_here)
            self._tallied_here.clear()
        if self._totalled_here:
            _merge(self._totalled, self._totalled_here)
            self._totalled_here.clear()

    def undo(self) -> None:
        """What the function did is undone."""
        del self._told[self._mark :]
        self._tallied_here.clear()
        self._totalled_here.clear()

    def forget(self) -> None:
        """The whole batch is undone."""
        self._told.clear()
        self._written.clear()
        self._tallied.clear()
        self._totalled.clear()
        self.brings_work = False
        self.undo()

    def flush(self) -> list[tuple[int, Told]]:
        """Writes events and tallies of the whole batch; returns the events with their ids."""
        self._write_events()
        told, self._written = self._written, []
        if told:
            self._audit(told)
        totals = self._totalled
        by_agent: dict[tuple[str, bool, str], int] = {}
        for (agent, goal, state), change in self._tallied.items():
            if not change:
                continue
            by_agent[agent, goal, state] = change
            totals[f"tasks.{state}"] = totals.get(f"tasks.{state}", 0) + change
            if goal:
                totals[f"goals.{state}"] = totals.get(f"goals.{state}", 0) + change
        if by_agent:
            self._db.many("add_to_tally", [_tally_values(each, change) for each, change in by_agent.items()])
        changed = [{"name": name, "change": change} for name, change in totals.items() if change]
        if changed:
            self._db.many("add_to_total", changed)
        self._tallied.clear()
        totals.clear()
        self.brings_work = False
        return told

    def _write_events(self) -> None:
        """Of what stands; a database of its own has begun with them when the batch has come to its end."""
        if self._told:
            told = [(self._db.next_id("events"), each) for each in self._told]
            self._db.many("add_event", [_event_values(id_, each) for id_, each in told])
            self._written += told
            self._told.clear()

    def _audit(self, told: list[tuple[int, Told]]) -> None:
        """What people did goes into the chain of this incarnation, in the commit that did it; and where it ends now."""
        audited = [(id_, each) for id_, each in told if is_audited(each.name, each.actor)]
        if not audited:
            return
        node = self._db.one("last_node")
        incarnation = (node[0] if node else None) or 0
        seq, previous = self._db.one("audit_end", incarnation=incarnation) or (0, self._last_digest())
        for id_, each in audited:
            fact = {"event": id_, **{name: value for name, value in each._asdict().items() if name != "at"}}
            body = KNOWN.stored(to_json(fact).decode())  # else the digest would be of what is not kept
            row = bound(incarnation=incarnation, seq=seq + 1, at=each.at, body=body, previous=previous)
            self._db.do("add_audit", **asdict(row))
            seq, previous = row.seq, row.digest
        end = Place(incarnation=incarnation, seq=seq, digest=previous)
        self._db.do("set_setting", name=AUDIT_END, value=end.text)

    def _last_digest(self) -> str:
        """Of the last row before this incarnation's first."""
        latest = self._db.one("audit_latest", limit=1)
        return rows.audit_of(latest).digest if latest else BEGINNING

    # --- for callers ----------------------------------------------------------------------------------------------

    def whole(self, fn: Callable[[], T]) -> T:
        """Performs a part of a function whole or not at all: see `ostinato.store.port.Tx`."""
        told, tallied, totalled = len(self._told), dict(self._tallied_here), dict(self._totalled_here)
        self._db.mark()
        try:
            value = fn()
        except BaseException:
            if self._db.unmark(undo=True):
                self._memory.forget()
            del self._told[told:]
            self._tallied_here, self._totalled_here = tallied, totalled
            raise
        self._db.unmark(undo=False)
        return value

    # --- for the rooms of verbs -----------------------------------------------------------------------------------

    def _tell(
        self,
        name: EventName,
        *,
        now: Instant,
        task: int | None = None,
        agent: str | None = None,
        session: str | None = None,
        actor: str = "runtime",
        reason: str = "",
        data: dict[str, Any] | None = None,
    ) -> None:
        """An event, to be written with the batch."""
        text = rows.to_text(data) if data else None
        self._told.append(Told(now, name.value, task, agent, session, actor, reason, text))

    def _tell_of(self, task: Task, name: EventName, *, now: Instant, **more: Any) -> None:
        """An event about a task."""
        self._tell(name, now=now, task=task.id, agent=task.agent, session=task.session, **more)

    def _tally(self, task: Task, change: int) -> None:
        """The task enters (1) or leaves (-1) its state."""
        self._tally_as((task.agent or "", task.kind is TaskKind.GOAL, task.state.value), change)

    def _tally_as(self, key: Tally, change: int) -> None:
        self._tallied_here[key] = self._tallied_here.get(key, 0) + change

    def _total(self, name: str, change: int) -> None:
        self._totalled_here[name] = self._totalled_here.get(name, 0) + change

    def announce(self, event: NewEvent, *, now: Instant) -> None:
        """An event of the caller's own."""
        self._tell(
            event.name,
            now=now,
            task=event.task,
            agent=event.agent,
            session=event.session,
            actor=event.actor,
            reason=event.reason,
            data=event.data,
        )

    def announce_late(self, event: NewEvent) -> None:
        """An event of the writer's own, at the time of the batch's last one; without any it has to wait."""
        last = self._told[-1] if self._told else self._written[-1][1] if self._written else None
        if last is not None:
            self.announce(event, now=last.at)

    def tallies(self) -> Tallies:
        """Includes what this batch has not written yet."""
        totals: dict[str, int] = dict(self._db.all("totals"))
        agents: dict[str, dict[str, int]] = {}
        for agent, state, count in self._db.all("agent_tallies"):
            agents.setdefault(agent, {})[state] = count
        for tallied in (self._tallied, self._tallied_here):
            for (agent, goal, state), change in tallied.items():
                _merge(totals, {f"tasks.{state}": change})
                if goal:
                    _merge(totals, {f"goals.{state}": change})
                if agent:
                    _merge(agents.setdefault(agent, {}), {state: change})
        for totalled in (self._totalled, self._totalled_here):
            _merge(totals, totalled)
        return self._tallies_from(totals, agents)

    def _state_totals(self) -> dict[str, int]:
        totals = super()._state_totals()
        for tallied in (self._tallied, self._tallied_here):
            for (_agent, _goal, state), change in tallied.items():
                totals[state] = totals.get(state, 0) + change
        return totals

    def agent_tally(self, agent: str) -> Mapping[str, int]:
        """Includes what this batch has not written yet."""
        states: dict[str, int] = dict(self._db.all("agent_tally", agent=agent))
        for tallied in (self._tallied, self._tallied_here):
            for (owner, _goal, state), change in tallied.items():
                if owner == agent:
                    states[state] = states.get(state, 0) + change
        return {state: count for state, count in states.items() if count}

    def flags(self) -> list[Flag]:
        """None is known from memory, as nearly always: a heartbeat's check need not ask."""
        return super().flags() if self._flags() else []

    def _flags(self) -> dict[str, set[str]]:
        """Scope -> names of the flags that are set, from memory."""
        flags = self._memory.flags
        if flags is None:
            flags = self._memory.flags = {}
            for scope, name, *_ in self._db.all("flags"):
                flags.setdefault(scope, set()).add(name)
        return flags

    def _pool_of(self, agent: str | None) -> str:
        """Where an agent's tasks wait, from memory."""
        pools = self._memory.pools
        if pools is None:
            pools = self._memory.pools = self.placements()
        return pools.get(agent or "", DEFAULT_POOL)

    def _queues(self) -> Queues:
        """What can be claimed, from memory."""
        queues = self._memory.queues
        if queues is None:
            queues = self._memory.queues = Queues(
                heads=self._queue_heads(), page=self._queue_page, strands=self._strands(), begun=self._begun
            )
            for pool, agent, kind, strand, session in self._db.all("running"):
                queues.started(QueueKey(pool, agent, kind, strand), session)
        return queues

    def _strands(self) -> Strands:
        """How limits part the queues, from memory."""
        strands = self._memory.strands
        if strands is None:
            strands = self._memory.strands = Strands(self.limits())
        return strands

    def _strand_of(self, task: Task) -> str:
        strands = self._memory.strands or self._strands()
        return strands.strand(project=task.project, priority=task.priority) if strands.limits else ""

    def _rank(self, since_at: Instant, *, priority: int) -> int:
        """The place of a task that waits since then."""
        return rank_of(since_at, priority=priority, aging_s=self._aging_s())

    def _aging_s(self) -> float:
        """What a level of priority is worth, from memory."""
        aging_s = self._memory.aging_s
        if aging_s is None:
            kept = self.setting(AGING_SETTING)
            aging_s = self._memory.aging_s = AGING_S if kept is None else float(kept)
        return aging_s

    def _queue_heads(self) -> list[tuple[QueueKey, Candidate]]:
        heads: list[tuple[QueueKey, Candidate]] = []
        key = QueueKey("", "", "")
        while (row := self._db.one("next_queue", **key._asdict())) is not None:
            pool, agent, kind, strand, rank, id_, session, priority = row
            key = QueueKey(pool, agent, kind, strand)
            heads.append((key, Candidate(rank, id_, session, priority)))
        return heads

    def _queue_page(self, key: QueueKey, after: Candidate, most: int) -> list[Candidate]:
        """The next of a queue, and the tasks themselves: one after the other they would cost twice as much. Where the
        last page held nothing that was at hand, the queue is longer than memory, and both are read in one go."""
        memory = self._memory
        place = {**key._asdict(), "rank": after.rank, "id": after.id, "limit": most}
        if key in memory.long_queues:
            read = [rows.kept_of(row) for row in self._db.all("queue_page_whole", **place)]
            found = [Candidate(each.rank, each.task.id, each.task.session or "", each.task.priority) for each in read]
            fresh = [each for each in read if each.task.id not in memory.tasks]
        else:
            found = [Candidate(*each) for each in self._db.all("queue_page", **place)]
            missing = [each.id for each in found if each.id not in memory.tasks]
            listed = self._db.all("tasks_by_id", ids=rows.list_of(missing)) if missing else []
            fresh = [rows.kept_of(row) for row in listed]
        if len(fresh) == most:
            memory.long_queues.add(key)
        else:
            memory.long_queues.discard(key)
        for each in fresh:
            memory.keep(each)
        return found


def event_from(id_: int, told: Told) -> Event:
    """The event as listeners get it."""
    return rows.event_of((id_, *told))


def _merge(into: dict[Any, int], changes: dict[Any, int]) -> None:
    for key, change in changes.items():
        into[key] = into.get(key, 0) + change


def _event_values(id_: int, told: Told) -> dict[str, Any]:
    """Spelled out, because it is done three times for each task, and `_asdict` takes four times as long."""
    at, name, task, agent, session, actor, reason, data = told
    return {
        "id": id_, "at": at, "name": name, "task": task, "agent": agent, "session": session, "actor": actor,
        "reason": reason, "data": data,
    }  # fmt: skip


def _tally_values(key: Tally, change: int) -> dict[str, Any]:
    agent, goal, state = key
    return {"agent": agent, "goal": goal, "state": state, "change": change}
