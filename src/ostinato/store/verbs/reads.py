"""The verbs that change nothing. They need only a database, so readers use them beside the writer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import itemgetter
from typing import Any, NamedTuple

from ostinato.domain.audit import AuditRow
from ostinato.domain.breaker import Breaker
from ostinato.domain.budget import Account, Ceiling, Spend
from ostinato.domain.errors import Invalid, NotFound
from ostinato.domain.event import Event
from ostinato.domain.failure import Setbacks
from ostinato.domain.ledger import Charge, Spending
from ostinato.domain.message import Message, Session
from ostinato.domain.permission import Permission
from ostinato.domain.person import Token
from ostinato.domain.pin import Pin
from ostinato.domain.question import Question
from ostinato.domain.routing import RECORD_REACH, RECORD_TASKS, Record
from ostinato.domain.step import Step
from ostinato.domain.taint import TAINTED_MAX
from ostinato.domain.task import After, Condition, Task, TaskKind
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import (
    EVERY_POOL,
    Attempt,
    EventFilter,
    Flag,
    Node,
    QuestionFilter,
    ScheduleRow,
    Skip,
    Tallies,
    TaskFilter,
)
from ostinato.store.verbs import rows
from ostinato.store.verbs.database import Database, Row
from ostinato.store.verbs.dead import DeadReads
from ostinato.store.verbs.limits import LimitReads
from ostinato.store.verbs.rows import Kept

CROWD = 5_000
"""Ready tasks that a list may sort; more are walked in order until the page is full, which then takes few steps."""

LOOKED_AT_MAX = 20_000
"""Rows that a page may look at in vain before it is given as it is: some 20 ms."""

SCATTERED = 5
"""A row that is found through an index lies anywhere, and costs so many times one in the table's own order."""

FIRST_BEFORE = 2**62
"""Behind every id: where a list that runs backwards begins."""


class Walk(NamedTuple):
    """One query of a list: the index that it goes along, what it takes there, and how many rows there are at most."""

    query: str
    state: str = ""
    kind: str = ""
    rows: int = 0

    @property
    def cost(self) -> int:
        """Of all its rows, counted in those that lie one after the other."""
        return self.rows if self.query == "tasks" else self.rows * SCATTERED


class ReadVerbs(LimitReads, DeadReads):
    """Reads bound to one snapshot; the contract is `ostinato.store.port.Reads`."""

    def __init__(self, database: Database) -> None:
        self._db = database

    def _find_task(self, task: int) -> Kept:
        row = self._db.one("task", id=task)
        if row is None:
            raise NotFound(f"There is no task T{task}", cure="`ostinato tasks list` shows those there are.")
        return rows.kept_of(row)

    def _session_row(self, key: str) -> Session | None:
        row = self._db.one("session", key=key)
        return None if row is None else rows.session_of(row)

    def task(self, task: int) -> Task:
        """One task."""
        return self._find_task(task).task

    def tasks(self, which: TaskFilter, *, before: int | None = None, limit: int = 100) -> list[Task]:
        """Tasks, newest first."""
        return self._tasks(which, self._walks(which), before=before, limit=limit)

    def tasks_page(
        self, which: TaskFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Task], int | None]:
        """A page for people, and the id from which to go on; None: there are no older ones."""
        walks = self._walks(which)
        newest = _first(self._db.one("newest_task")) or 0
        start = min(newest + 1, FIRST_BEFORE if before is None else before)
        after = 0
        if not _is_exact(which, walks):
            rows_on_the_way = max(1, sum(each.cost for each in walks))
            after = max(0, start - 1 - max(LOOKED_AT_MAX // SCATTERED, LOOKED_AT_MAX * newest // rows_on_the_way))
        found = self._tasks(which, walks, before=start, limit=limit, after=after)
        if len(found) == limit:
            return found, found[-1].id
        return found, after + 1 if after else None

    def _tasks(
        self, which: TaskFilter, walks: list[Walk], *, before: int | None, limit: int, after: int = 0
    ) -> list[Task]:
        if not walks:
            return []
        values: dict[str, Any] = {
            "states": rows.list_of(each.value for each in which.states) if which.states else None,
            "kinds": rows.list_of(each.value for each in which.kinds) if which.kinds else None,
            "agent": which.agent,
            "project": which.project,
            "session": which.session,
            "parent": which.parent,
            "dead": which.dead,
            "text": which.text,
            "before": FIRST_BEFORE if before is None else before,
            "after": after,
            "limit": limit,
        }
        found = [row for w in walks for row in self._db.all(w.query, state=w.state, kind=w.kind, **values)]
        found.sort(key=itemgetter(0), reverse=True)
        return [rows.kept_of(row).task for row in found[:limit]]

    def _walks(self, which: TaskFilter) -> list[Walk]:
        """The queries that together find what a filter wants, along the indexes that have the least to pass over: the
        counters tell how much that is."""
        if which.parent is not None:
            return [Walk("tasks_of_parent")]
        if which.session is not None:
            return [Walk("tasks_of_session")]
        tally = None if which.agent is None else self.agent_tally(which.agent)
        if tally is not None and which.states and not any(tally.get(each.value) for each in which.states):
            return []  # heartbeats ask for what there is not, thousands of them
        totals = self._state_totals()
        if which.dead:
            return [Walk("tasks_dead", rows=totals.get("failed", 0))]
        here = totals if tally is None else tally
        rows_here = sum(here.values())
        kinds = [each.value for each in which.kinds]
        if which.agent is not None:
            all_of_them = [Walk("tasks_of_agent", rows=rows_here)]
        elif which.project is not None:
            all_of_them = [Walk("tasks_of_project", rows=rows_here)]
        elif kinds:
            all_of_them = [Walk("tasks_of_kind", kind=kind, rows=rows_here // len(kinds)) for kind in kinds]
        else:
            all_of_them = [Walk("tasks", rows=rows_here)]
        if not which.states:
            return all_of_them
        states = [each.value for each in which.states if here.get(each.value)]
        in_states = sum(totals.get(state, 0) for state in states)
        if totals.get("ready", 0) > CROWD and "ready" in states:
            return all_of_them
        if which.agent is not None and in_states > rows_here:
            return all_of_them
        return [walk for state in states for walk in _walks_of_state(state, kinds, rows=totals.get(state, 0))]

    def _state_totals(self) -> dict[str, int]:
        """State -> tasks of the whole fleet."""
        return {name[6:]: count for name, count in self._db.all("totals") if name.startswith("tasks.")}

    def tasks_keyed(self, prefix: str, *, limit: int = 500) -> list[Task]:
        """Tasks whose keys begin so, oldest first."""
        found = self._db.all("tasks_keyed", prefix=prefix, behind=_behind(prefix), limit=limit)
        return [rows.kept_of(row).task for row in found]

    def dependencies(self, task: int) -> list[Task]:
        """What a task waits for."""
        return self._tasks_of("dependencies", task)

    def waits_on(self, task: int) -> list[After]:
        """What a task waits for in each of them."""
        return [After(task=row[0], on=Condition(row[1])) for row in self._db.all("edges", task=task)]

    def dependants(self, task: int) -> list[Task]:
        """What waits for a task."""
        return self._tasks_of("dependants", task)

    def _tasks_of(self, query: str, task: int) -> list[Task]:
        return [rows.kept_of(row).task for row in self._db.all(query, task=task)]

    def attempts(self, task: int) -> list[Attempt]:
        """Every try of a task."""
        return [rows.attempt_of(row) for row in self._db.all("attempts", task=task)]

    def setbacks(self, task: int) -> Setbacks:
        """What has failed in a task so far."""
        row = self._db.one("setbacks", task=task)
        return rows.setbacks_of(row) if row is not None else Setbacks()

    def steps(self, task: int, *, journal: int | None = None) -> list[Step]:
        """One generation of a journal."""
        generation = self._find_task(task).task.journal if journal is None else journal
        return [rows.step_of(row) for row in self._db.all("steps", task=task, journal=generation)]

    def session(self, key: str) -> Session | None:
        """One session, or None."""
        return self._session_row(key)

    def sessions(self, *, agent: str | None = None, limit: int = 100, after: str = "") -> list[Session]:
        """Sessions by key."""
        query = "sessions" if agent is None else "sessions_of_agent"
        return [rows.session_of(row) for row in self._db.all(query, agent=agent, after=after, limit=limit)]

    def inbox(self, key: str, *, limit: int = 50) -> list[Message]:
        """What a session has not read."""
        session = self._session_row(key)
        return [] if session is None else self.messages(key, after=session.cursor, limit=limit)

    def messages(self, key: str, *, after: int = 0, limit: int = 500) -> list[Message]:
        """Messages of a session behind an id, oldest first."""
        return [rows.message_of(row) for row in self._db.all("messages", session=key, after=after, limit=limit)]

    def messages_by_id(self, ids: Iterable[int]) -> dict[int, Message]:
        """These messages, by id."""
        found = map(rows.message_of, self._db.all("messages_by_id", ids=rows.list_of(ids)))
        return {message.id: message for message in found}

    def session_tasks(self, key: str, *, before: int | None = None, limit: int = 50) -> list[Task]:
        """What ran in a session, newest first."""
        before = FIRST_BEFORE if before is None else before
        found = self._db.all("session_tasks", session=key, before=before, limit=limit)
        return [rows.kept_of(row).task for row in found]

    def question(self, question: int) -> Question:
        """One question."""
        row = self._db.one("question", id=question)
        if row is None:
            raise NotFound(f"There is no question Q{question}", cure="`ostinato approvals list` shows those there are.")
        return rows.question_of(row)

    def questions(self, which: QuestionFilter, *, before: int | None = None, limit: int = 100) -> list[Question]:
        """Questions, newest first."""
        if which.task is not None:
            path = "questions_of_task"
        elif which.state is not None and which.state.value == "pending":
            path = "questions_pending"
        else:
            path = "questions"
        found = self._db.all(
            path,
            state=which.state.value if which.state else None,
            kind=which.kind.value if which.kind else None,
            agent=which.agent,
            task=which.task,
            before=FIRST_BEFORE if before is None else before,
            limit=limit,
        )
        return [rows.question_of(row) for row in found]

    def events(self, which: EventFilter, *, after: int = 0, limit: int = 500) -> list[Event]:
        """Events behind an id, oldest first."""
        if which.task is not None:
            path = "events_of_task"
        elif which.agent is not None:
            path = "events_of_agent"
        else:
            path = "events"
        found = self._db.all(
            path,
            after=max(after, self._before_first_event(which.since_at)),
            since_at=which.since_at,
            until_at=FIRST_BEFORE if which.until_at is None else which.until_at,
            agent=which.agent,
            task=which.task,
            session=which.session,
            names=rows.list_of(each.value for each in which.names) if which.names else None,
            limit=limit,
        )
        return rows.events_of(found)

    def _before_first_event(self, since_at: Instant) -> int:
        """An id before which nothing is as new as `since_at`: the mark before the first new one."""
        if since_at <= 0:
            return 0
        mark = _first(self._db.one("event_mark", since_at=since_at))
        if mark is None:  # nothing new carries a mark: it can only be among the last few
            mark = self.latest_event() + 1
        return max(0, int(mark) - 65)

    def latest_event(self) -> int:
        """The newest event's id; 0 where there is none."""
        return _first(self._db.one("latest_event")) or 0

    def tallies(self) -> Tallies:
        """All counters."""
        agents: dict[str, dict[str, int]] = {}
        for agent, state, count in self._db.all("agent_tallies"):
            agents.setdefault(agent, {})[state] = count
        return self._tallies_from(dict(self._db.all("totals")), agents)

    def _tallies_from(self, totals: dict[str, int], agents: dict[str, dict[str, int]]) -> Tallies:
        def of(prefix: str) -> dict[str, int]:
            return {name[len(prefix) :]: count for name, count in totals.items() if name.startswith(prefix) and count}

        return Tallies(
            tasks=of("tasks."),
            goals=of("goals."),
            agents={agent: {state: n for state, n in states.items() if n} for agent, states in agents.items()},
            dead=totals.get("dead", 0),
            questions=totals.get("questions", 0),
        )

    def agent_tally(self, agent: str) -> Mapping[str, int]:
        """State -> tasks of one agent."""
        return {state: count for state, count in self._db.all("agent_tally", agent=agent) if count}

    def agent_record(self, agent: str, task_type: str) -> Record:
        """What became of an agent's last tasks of a type."""
        row = self._db.one("agent_record", agent=agent, type=task_type, most=RECORD_TASKS, reach=RECORD_REACH)
        done, failed, micros, time = row or (0, 0, None, None)
        return Record(
            done=done or 0,
            failed=failed or 0,
            usd_micros=micros,
            seconds=None if time is None else time / SECOND,
        )

    def account(self, scope: str, day: int) -> Account:
        """One account, with its own limits."""
        row = self._db.one("account", scope=scope, day=day)
        if row is None:
            return Account(scope=scope, day=day, most=Ceiling())
        reserved, spent, reserved_tokens, spent_tokens, granted, granted_tokens, own, own_tokens, warned, question = row
        return Account(
            scope=scope,
            day=day,
            spent=Spend(usd_micros=spent, tokens=spent_tokens),
            reserved=Spend(usd_micros=reserved, tokens=reserved_tokens),
            granted=Spend(usd_micros=granted, tokens=granted_tokens),
            most=Ceiling(usd_micros=own, tokens=own_tokens),
            warned=bool(warned),
            question=question,
        )

    def spending(
        self, by: str, *, since_at: Instant, until_at: Instant | None = None, limit: int = 100
    ) -> list[Spending]:
        """Costs and skips, summed by one dimension."""
        if by not in _SPENDING:
            raise Invalid(f"Costs cannot be listed by {by!r}", cure=f"Choose one of: {', '.join(_SPENDING)}.")
        until = FIRST_BEFORE if until_at is None else until_at
        lines = self._db.all(f"spending_by_{by}", since_at=since_at, until_at=until)
        skipped: dict[str, int] = {}
        if by in _SKIPS:
            skipped = {str(n): c for n, c in self._db.all(f"skips_by_{by}", since_at=since_at, until_at=until)}
        found = [_spending(line, skipped.pop(str(line[0]), 0)) for line in lines]
        found += [_spending((name, 0, 0, 0, 0, 0, 0), count) for name, count in skipped.items()]
        found.sort(key=lambda each: (-each.usd_micros, -each.calls, -each.skipped, each.name))
        return found[:limit]

    def charges(self, task: int) -> list[Charge]:
        """The ledger rows of a task."""
        return [rows.charge_of(row) for row in self._db.all("charges_of_task", task=task)]

    def schedules(self, *, agent: str | None = None) -> list[ScheduleRow]:
        """Heartbeats and schedules by name."""
        query = "schedules" if agent is None else "schedules_of_agent"
        return [rows.schedule_of(row) for row in self._db.all(query, agent=agent)]

    def schedule_or_none(self, name: str) -> ScheduleRow | None:
        """One of them."""
        row = self._db.one("schedule", name=name)
        return None if row is None else rows.schedule_of(row)

    def next_wakes(self) -> dict[str, Instant]:
        """When each agent is due next."""
        return dict(self._db.all("next_wakes"))

    def skips(self, *, agent: str | None = None, since_at: Instant = 0, limit: int = 500) -> list[Skip]:
        """Runs of skips, newest first."""
        query = "skips" if agent is None else "skips_of_agent"
        return [rows.skip_of(row) for row in self._db.all(query, agent=agent, since_at=since_at, limit=limit)]

    def flags(self) -> list[Flag]:
        """Every flag that is set."""
        return [rows.flag_of(row) for row in self._db.all("flags")]

    def nodes(self, *, limit: int = 10) -> list[Node]:
        """The last nodes, newest first."""
        return [rows.node_of(row) for row in self._db.all("nodes", limit=limit)]

    def blob(self, digest: str) -> bytes:
        """Bytes by their digest."""
        row = self._db.one("blob", digest=digest)
        if row is None:
            raise NotFound(f"There is no blob {digest[:12]}...", cure="It may be older than what is kept (retention).")
        return bytes(row[0])

    def next_due_at(self) -> Instant | None:
        """When the clock alone will have something to do."""
        return min(self.next_dues().values(), default=None)

    def next_dues(self) -> Mapping[str, Instant]:
        """The same of each table, where there is any."""
        found: dict[str, Instant] = {}
        for table, due_at in self._db.all("next_due"):
            if due_at is not None:
                found[table] = min(due_at, found.get(table, due_at))
        return found

    def audit(self, *, after: tuple[int, int] = (-1, 0), limit: int = 500) -> list[AuditRow]:
        """Rows of the audit's chains, in order."""
        found = self._db.all("audit", incarnation=after[0], seq=after[1], limit=limit)
        return [rows.audit_of(row) for row in found]

    def audit_latest(self, *, limit: int = 100) -> list[AuditRow]:
        """The newest rows of the audit first."""
        return [rows.audit_of(row) for row in self._db.all("audit_latest", limit=limit)]

    def setting(self, name: str) -> str | None:
        """The value of a setting, or None."""
        value: str | None = _first(self._db.one("setting", name=name))
        return value

    def settings(self, prefix: str) -> dict[str, str]:
        """Settings whose names begin so."""
        found = self._db.all("settings_like", prefix=prefix, behind=_behind(prefix))
        return {name[len(prefix) :]: value for name, value in found if value}

    def permissions(self, agent: str | None = None) -> list[Permission]:
        """Every permission that there is or was; those that hold for one agent."""
        found = self._db.all("permissions") if agent is None else self._db.all("permissions_of", agent=agent)
        return [rows.permission_of(each) for each in found]

    def tainted_by(self, agent: str, path: str) -> int | None:
        """The task that has put strangers' text there last."""
        row = self._db.one("tainted_by", agent=agent, name=path)
        return None if row is None else int(row[0])

    def tainted_files(self, agent: str) -> tuple[str, ...]:
        """Paths in an agent's workspace that hold text from strangers."""
        return tuple(path for (path,) in self._db.all("tainted_files", agent=agent, limit=TAINTED_MAX + 1))

    def pins(self) -> list[Pin]:
        """What servers and skills said, by name."""
        return [rows.pin_of(row) for row in self._db.all("pins")]

    def pin(self, name: str) -> Pin | None:
        """One pin."""
        row = self._db.one("pin", name=name)
        return rows.pin_of(row) if row is not None else None

    def breakers(self) -> list[Breaker]:
        """Every breaker that is not simply closed."""
        return [rows.breaker_of(row) for row in self._db.all("breakers")]

    def breaker(self, name: str) -> Breaker | None:
        """One breaker."""
        row = self._db.one("breaker", name=name)
        return rows.breaker_of(row) if row is not None else None

    def placements(self) -> dict[str, str]:
        """Agent -> pool."""
        return dict(self._db.all("placements"))

    def unserved_pools(self) -> list[str]:
        """Pools that wait for a node."""
        served: set[str] = set()
        for (pools,) in self._db.all("served_pools"):
            served.update(rows.texts_of(pools))
        if EVERY_POOL in served:
            return []
        found: list[str] = []
        pool = ""
        while (row := self._db.one("next_pool", pool=pool)) is not None:
            pool = row[0]
            if pool not in served:
                found.append(pool)
        return found

    def tokens(self) -> list[Token]:
        """Every token that there is or was."""
        return [rows.token_of(each) for each in self._db.all("tokens")]

    def token_of(self, digest: str) -> Token | None:
        """The token with this digest."""
        row = self._db.one("token_of", digest=digest)
        return rows.token_of(row) if row is not None else None

    def size(self) -> Mapping[str, int]:
        """Bytes and estimated rows."""
        spans = {f"rows.{table}": count for table, count in self._db.all("row_estimates")}
        return {**self._db.size(), **spans}


def _behind(prefix: str) -> str:
    """The first text behind all those that begin so."""
    return prefix[:-1] + chr(ord(prefix[-1]) + 1)


def _first(row: Row | None) -> Any:
    return None if row is None else row[0]


def _spending(line: Row, skipped: int) -> Spending:
    name, calls, input_tokens, cached_tokens, output_tokens, usd_micros, unpriced = line
    return Spending(
        name=str(name),
        calls=calls,
        input_tokens=input_tokens,
        cached_tokens=cached_tokens,
        output_tokens=output_tokens,
        usd_micros=usd_micros,
        unpriced_calls=unpriced,
        skipped=skipped,
    )


_SPENDING = ("agent", "model", "task", "day", "trigger")
_SKIPS = {"agent", "day", "trigger"}


def _walks_of_state(state: str, kinds: list[str], *, rows: int) -> list[Walk]:
    """Along the indexes of a state: of most of them there are never many, and they share one."""
    if state == "done":
        wanted = kinds or [each.value for each in TaskKind]
        return [Walk("tasks_done", state=state, kind=kind, rows=rows // len(wanted)) for kind in wanted]
    query = {"ready": "tasks_ready", "running": "tasks_running"}.get(state, "tasks_set_aside")
    return [Walk(query, state=state, rows=rows)]


def _is_exact(which: TaskFilter, walks: list[Walk]) -> bool:
    """True where little that is passed on these walks is not wanted."""
    if sum(each.cost for each in walks) <= LOOKED_AT_MAX:
        return True
    narrows = {
        "text": which.text != "",
        "states": bool(which.states),
        "kinds": bool(which.kinds),
        "agent": which.agent is not None,
        "project": which.project is not None,
    }
    for walk in walks:
        narrows = {name: on and name not in _DONE_BY[walk.query] for name, on in narrows.items()}
    return not any(narrows.values())


_DONE_BY: dict[str, set[str]] = {
    "tasks": set(),
    "tasks_of_agent": {"agent"},
    "tasks_of_kind": {"kinds"},
    "tasks_of_project": {"project"},
    "tasks_done": {"states", "kinds"},
    "tasks_ready": {"states"},
    "tasks_running": {"states"},
    "tasks_set_aside": {"states"},
    "tasks_dead": {"states"},
}
"""The parts of a filter that a walk meets by its index alone."""
