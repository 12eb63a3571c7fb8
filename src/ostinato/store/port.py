"""The seam between the runtime and its database: what a store must be able to do.

`await store.run(fn)` lends `fn` the verbs, bound to one transaction; `fn` is synchronous, never awaits, and everything
it did is on disk when `run` returns. The contract suite in `ostinato.testing` is the definition of what each verb does.
Business verbs take `now`; leases take durations and the store's own clock. Knows nothing of agents, models or files.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Protocol, TypeVar

from ostinato.domain.audit import AuditRow
from ostinato.domain.breaker import Breaker
from ostinato.domain.errors import Exhausted
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.failure import NO_PLAN, FailurePlan, Setbacks
from ostinato.domain.message import Message, NewMessage, Session
from ostinato.domain.person import NewToken, Token
from ostinato.domain.question import Answer, NewQuestion, Question, QuestionKind, QuestionState
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.routing import Record
from ostinato.domain.step import Entry, Reviewed, Step
from ostinato.domain.task import After, NewTask, Outcome, Task, TaskEvent, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import Instant, Trust, Value
from ostinato.store.leash_port import LeashReads, LeashTx
from ostinato.store.money_port import MoneyReads, MoneyTx
from ostinato.store.queue_port import QueueReads, QueueTx

T = TypeVar("T")

DEFAULT_POOL = "default"
"""Where tasks wait of agents that are in no other pool."""

EVERY_POOL = "*"
"""As the pool of a node: it takes from all of them."""

POISON_LOSSES = 3
"""Nodes that may die with the same task before it is set aside, where no other is as likely to have killed them."""

SUSPECT_LOSSES_MAX = 9
"""Nodes that may die with several such tasks before they are all set aside."""

SUSPECTS_APART_S = 1.0
"""Between the next beginnings of such tasks: what kills its node then does so alone."""


class StoreAway(Exhausted):
    """The database cannot be reached, though it was tried for seconds: nothing was done, later it may work, and it is
    no fault of whoever asked."""


class Claim(Value):
    """The right to write for a task: its id and the token of the claim."""

    task: int
    token: int


class ClaimRequest(Value):
    """What a worker can take now."""

    node: int
    pools: tuple[str, ...] = (DEFAULT_POOL,)
    """Where it looks; EVERY_POOL among them: everywhere."""
    most: int = 1
    """Free places."""
    kinds: tuple[TaskKind, ...] | None = None
    agent_limits: Mapping[str, int] = {}
    """Tasks an agent may run at once, where it is not `agent_limit_default`."""
    agent_limit_default: int = 1
    kind_limits: Mapping[TaskKind, int] = {}


class Attempt(Value):
    """One try of a task, counted by its claim."""

    task: int
    token: int
    node: int | None
    started_at: Instant
    ended_at: Instant | None
    outcome: str
    """`done`, `review`, `retry`, `park`, `fail`, `requeue`, `cancelled`, `lost`; empty while it runs."""
    error: str
    ready_at: Instant
    """Since when it could have been claimed: `started_at` minus this is the time in the queue."""


class Node(Value):
    """One running engine. `id` grows with each start: the incarnation."""

    id: int
    pid: int
    host: str
    version: str
    started_at: Instant
    ended_at: Instant | None
    clean: bool
    """True when it ended in order."""
    pools: tuple[str, ...] = (EVERY_POOL,)
    """What it takes from."""


class Flag(Value):
    """A scope that is paused or halted. Scopes: `fleet`, `agent:<id>`, `task:<id>`, `session:<key>`, `pool:<name>`."""

    scope: str
    name: str
    """`halted` (nothing starts, running work is stopped), `paused` (nothing starts), `draining`."""
    at: Instant
    actor: str
    reason: str


class ScheduleRow(Value):
    """A heartbeat or schedule as the store keeps it: when it fired last and when it is due."""

    name: str
    """Unique: `heartbeat:<agent>:<name>` or the schedule's own name."""
    agent: str
    rule: dict[str, str]
    """`every`, `cron` or `at`, with `timezone`, `active` and what else the rule says, as text."""
    text: str = ""
    session: str = "main"
    """`main`, `isolated`, or a session key."""
    model: str | None = None
    effort: str | None = None
    retry: RetryPolicy | None = None
    """How a turn that it wakes is tried again; None: as every task."""
    deliver: str | None = None
    """Where the result of a turn that it wakes goes: `operator` or `session:<key>`."""
    source: str = "command"
    """`file` (kept in step with the workspace) or `command`."""
    last_at: Instant | None = None
    """Last nominal time that fired or was skipped."""
    fired_at: Instant | None = None
    """Last nominal time that fired."""
    next_at: Instant | None = None
    """None: never again."""
    skips_in_row: int = 0


class Skip(Value):
    """A run of wakes that did nothing: the same agent, heartbeat and reason, one after the other."""

    agent: str
    heartbeat: str
    reason: str
    from_at: Instant
    to_at: Instant
    count: int


class TaskFilter(Value):
    """Which tasks a list shows. Empty parts do not filter; `kinds={goal}` hides turns, deliveries and fires."""

    states: frozenset[TaskState] = frozenset()
    kinds: frozenset[TaskKind] = frozenset()
    agent: str | None = None
    project: str | None = None
    session: str | None = None
    parent: int | None = None
    dead: bool = False
    """Failed and not dismissed."""
    text: str = ""


class QuestionFilter(Value):
    """Which questions a list shows."""

    state: QuestionState | None = QuestionState.PENDING
    kind: QuestionKind | None = None
    agent: str | None = None
    task: int | None = None


class EventFilter(Value):
    """Which events a list shows."""

    since_at: Instant = 0
    until_at: Instant | None = None
    agent: str | None = None
    task: int | None = None
    session: str | None = None
    names: frozenset[EventName] = frozenset()


class Retention(Value):
    """How long ended things are kept, in seconds; None: for ever. A task goes with all that it owns; read messages of
    shared sessions, and all to the operator, go after `tasks_s`; dead letters stay until somebody deals with them."""

    tasks_s: float | None = 90 * 86_400.0
    events_s: float | None = 90 * 86_400.0
    blobs_s: float | None = 90 * 86_400.0
    skips_s: float | None = 90 * 86_400.0
    charges_s: float | None = 400 * 86_400.0


class Tallies(Value):
    """Counters kept in the commits that change them, never counted by scanning."""

    tasks: Mapping[str, int]
    """State -> tasks of every kind."""
    goals: Mapping[str, int]
    """State -> goals."""
    agents: Mapping[str, Mapping[str, int]]
    """Agent -> state -> tasks of every kind; only agents that ever had one."""
    dead: int
    questions: int  # pending


class Reads(QueueReads, LeashReads, MoneyReads, Protocol):
    """Verbs that change nothing. Lists are paged by key: `after` is the last id seen, newest first unless said."""

    def task(self, task: int) -> Task: ...  # raises NotFound
    def tasks(self, which: TaskFilter, *, before: int | None = None, limit: int = 100) -> list[Task]: ...
    def tasks_page(
        self, which: TaskFilter, *, before: int | None = None, limit: int = 100
    ) -> tuple[list[Task], int | None]:
        """As `tasks`, in a bounded time among millions: looks at some ten thousand tasks, and says from which id on to
        go on with `before`, even where the page is not full; None: there are no older ones."""

    def tasks_keyed(self, prefix: str, *, limit: int = 500) -> list[Task]:
        """Tasks whose idempotency keys begin so, in the order in which they were added."""

    def dependencies(self, task: int) -> list[Task]: ...
    def dependants(self, task: int) -> list[Task]: ...
    def waits_on(self, task: int) -> list[After]:
        """The same as ids, each with what is waited for in it."""

    def attempts(self, task: int) -> list[Attempt]: ...
    def setbacks(self, task: int) -> Setbacks:
        """What has failed in a task so far, by class; empty where nothing has."""

    def steps(self, task: int, *, journal: int | None = None) -> list[Step]:
        """Of the current journal unless another generation is named; in order."""

    def session(self, key: str) -> Session | None: ...
    def sessions(self, *, agent: str | None = None, limit: int = 100, after: str = "") -> list[Session]: ...
    def inbox(self, key: str, *, limit: int = 50) -> list[Message]:
        """Messages behind the cursor, oldest first."""

    def messages(self, key: str, *, after: int = 0, limit: int = 500) -> list[Message]: ...
    def messages_by_id(self, ids: Iterable[int]) -> dict[int, Message]: ...
    def session_tasks(self, key: str, *, before: int | None = None, limit: int = 50) -> list[Task]:
        """Turns that ran in a session, newest first: the session's transcript is their steps."""

    def question(self, question: int) -> Question: ...  # raises NotFound
    def questions(self, which: QuestionFilter, *, before: int | None = None, limit: int = 100) -> list[Question]: ...
    def events(self, which: EventFilter, *, after: int = 0, limit: int = 500) -> list[Event]:
        """Oldest first, from behind the id `after`."""

    def latest_event(self) -> int: ...
    def tallies(self) -> Tallies: ...
    def agent_tally(self, agent: str) -> Mapping[str, int]:
        """State -> tasks of every kind of one agent: one look at its counters, whatever the size of the fleet."""

    def agent_record(self, agent: str, task_type: str) -> Record:
        """What became of an agent's last RECORD_TASKS goals of a type within its last RECORD_REACH tasks."""

    def schedules(self, *, agent: str | None = None) -> list[ScheduleRow]: ...
    def schedule_or_none(self, name: str) -> ScheduleRow | None: ...
    def next_wakes(self) -> Mapping[str, Instant]:
        """Agent -> when the first of its heartbeats and schedules is due; only agents that have one."""

    def skips(self, *, agent: str | None = None, since_at: Instant = 0, limit: int = 500) -> list[Skip]: ...
    def flags(self) -> list[Flag]: ...
    def nodes(self, *, limit: int = 10) -> list[Node]: ...
    def placements(self) -> Mapping[str, str]:
        """Agent -> pool, of those that are not in the default one."""

    def unserved_pools(self) -> list[str]:
        """Pools in which something could be claimed, and from which no node takes that has not ended."""

    def blob(self, digest: str) -> bytes: ...  # raises NotFound
    def next_due_at(self) -> Instant | None:
        """The earliest instant at which a delayed task, a wait's end, a question's expiry or a schedule comes due."""

    def next_dues(self) -> Mapping[str, Instant]:
        """The same of `tasks`, of `questions` and of `schedules` apart; only those of which any will come due."""

    def breakers(self) -> list[Breaker]:
        """Circuit breakers that are not simply closed, by name."""

    def breaker(self, name: str) -> Breaker | None:
        """None: closed, and nothing has failed."""

    def audit(self, *, after: tuple[int, int] = (-1, 0), limit: int = 500) -> list[AuditRow]:
        """The chains of what people did, oldest first, behind the row of this incarnation and seq."""

    def audit_latest(self, *, limit: int = 100) -> list[AuditRow]:
        """The newest first."""

    def setting(self, name: str) -> str | None: ...
    def settings(self, prefix: str) -> Mapping[str, str]:
        """Settings whose names begin so, by what follows in their names; an empty value is none."""

    def tokens(self) -> list[Token]:
        """Every token that there is or was, oldest first."""

    def token_of(self, digest: str) -> Token | None:
        """The token with this digest, also a revoked one."""

    def size(self) -> Mapping[str, int]:
        """Bytes: `database`, `wal`, `free`; and rows by table as estimates from counters."""


class Tx(Reads, QueueTx, LeashTx, MoneyTx, Protocol):
    """All verbs, bound to one transaction."""

    def add_task(self, new: NewTask, *, now: Instant, actor: str = "runtime") -> Task:
        """Draft, blocked or ready, with its event and counters; the same key gives the same task back (`Conflict` if
        its body differs), and so does the same `spec.delegation` while that task is unfinished. Unknown dependencies
        are `NotFound`. A goal without a session gets `task:<id>`. What needs something that can no longer come (a
        failure that did not happen) is cancelled as skipped, then and whenever that turns out, with all that can only
        follow it."""

    def claim(self, request: ClaimRequest, *, now: Instant) -> list[Task]:
        """Highest priority first, oldest first within it; flags, limits and due times respected; attempt counted, token
        raised. Flat in the number of queued, waiting and blocked tasks. The fleet's limits (`set_limits`) hold over
        all nodes, and what they keep waiting hides nothing else. Every claim counts for a rate as a beginning."""

    def urgent_waits(self, request: ClaimRequest) -> Mapping[str, int]:
        """How many tasks of URGENT_PRIORITY and above the last claims found that could run but for a limit: by
        `agent:<id>` or `kind:<kind>`; under an empty name where only a free place of the node is wanting."""

    def record_steps(self, claim: Claim, entries: Sequence[Entry], *, now: Instant) -> int:
        """Appends to the journal; returns the last seq. `Fenced` where the token is not the task's or it is not
        running."""

    def check_claim(self, claim: Claim) -> Task:
        """The task, if the claim still holds and neither fleet, agent, task nor session is halted; else `Fenced`.
        Called in the transaction of every intent."""

    def finish(
        self, claim: Claim, outcome: Outcome, *, now: Instant, chance: float = 0.5, plan: FailurePlan = NO_PLAN
    ) -> Task:
        """Ends the attempt: moves the task as the outcome says (a failure as `plan` and its class say: again, to
        another agent, to a person, or for good), writes attempt, event and counters, releases dependants, delivers
        the result (spec.deliver, parent's inbox), withdraws pending questions of an ended task, and, if the session's
        inbox holds unread messages, makes its next turn. `Fenced` on an old token. A task that parks for what has come
        already (an answer, a child's end, a message) is ready again at once. After a failure only messages that came
        since the claim make a turn: the others made it fail."""

    def move_task(self, task: int, event: TaskEvent, *, actor: str, reason: str = "", now: Instant) -> Task:
        """What people and sweeps do. Approve releases at once what misses nothing. Cancel and fail fence a running
        attempt. Replay starts a new journal. Release takes a hold away; what waits for others stays blocked, and where
        these have ended badly it is the decision to go on without them."""

    def review_task(self, task: int, verdict: Reviewed, *, now: Instant) -> Task:
        """Accepts a result, or returns it with notes: the journal goes on; the last rejection fails the task."""

    def change_task(
        self,
        task: int,
        *,
        actor: str,
        now: Instant,
        priority: int | None = None,
        agent: str | None = None,
        not_before_at: Instant | None = None,
        project: str | None = None,
        routed: str = "",
    ) -> Task:
        """`routed` says by what and why an agent was chosen, where nobody named it."""

    def edit_draft(self, task: int, *, title: str, spec: TaskSpec, actor: str, now: Instant) -> Task:
        """Other words before anybody approves it; `Conflict` for no draft, or what is now another task's work."""

    def note_task(
        self, task: int, text: str, *, by: str, now: Instant, trust: Trust = Trust.OPERATOR, private: bool = False
    ) -> None:
        """A comment: a Note step in the current journal and an event."""

    def open_session(self, key: str, *, agent: str, now: Instant) -> Session:
        """The session, made if it is missing; `Conflict` if another agent owns the key."""

    def append_message(self, key: str, new: NewMessage, *, agent: str, now: Instant, wake: bool = True) -> Message:
        """Into the inbox, once per `client_id`. With `wake`: makes or wakes the session's turn in the same commit (at
        most one unfinished `turn` task per session; an own session wakes its parked task)."""

    def advance_cursor(self, key: str, to: int, *, now: Instant) -> None: ...

    def ask(self, new: NewQuestion, *, now: Instant) -> Question: ...
    def answer(self, question: int, answer: Answer, *, now: Instant) -> Question:
        """First decision wins (domain.question.check_answer). Appends the Answered step to the task's journal and
        wakes it; for a stored action of a shared session: allowed makes the one `delivery` task that performs it,
        anything else appends a message saying so. In the journal a decision is `allow`, `deny`, `answered`, `expired`
        or `withdrawn`."""

    def expire_questions(self, *, now: Instant, limit: int = 100) -> int: ...
    def repeat_questions(self, *, now: Instant, limit: int = 100) -> int:
        """Asks pending questions once more, or somebody else in the end, where their gates say so; how many."""

    def put_schedule(self, row: ScheduleRow, *, now: Instant, actor: str = "runtime") -> None:
        """Makes or changes it. Without `last_at` what has been (last time, skips in a row) stays as it is. Only a
        change of what it says is told, not one of when it is due."""

    def bring_forward(self, name: str, *, next_at: Instant, now: Instant) -> bool:
        """Due at `next_at` where that is earlier than it was, or where it was due never again; what lies ahead of now
        in `last_at` counts no more. False where there is nothing to do."""

    def remove_schedule(self, name: str, *, actor: str, now: Instant) -> None: ...  # raises NotFound
    def due_schedules(self, *, now: Instant, limit: int = 100) -> list[ScheduleRow]: ...
    def fire(self, name: str, *, nominal_at: Instant, next_at: Instant | None, now: Instant) -> bool:
        """Marks one nominal time as fired, once for as long as tasks are kept, whatever the clock did since: False
        where it already was. Moves `last_at` and `next_at`, ends the run of skips. Removing a schedule forgets its
        fires."""

    def skip(
        self,
        name: str,
        *,
        heartbeat: str,
        agent: str,
        reason: str,
        nominal_at: Instant,
        next_at: Instant | None,
        now: Instant,
        in_row: bool = True,
    ) -> int:
        """Marks one nominal time as skipped, once; lengthens or starts the run of skips; returns skips in a row, among
        which those without `in_row` are not counted. A run is told as one event."""

    def start_node(
        self,
        *,
        pid: int,
        host: str,
        version: str,
        lease_s: float,
        exclusive: bool,
        now: Instant,
        pools: tuple[str, ...] = (EVERY_POOL,),
    ) -> Node:
        """`exclusive`: the caller holds the fleet's lock, so the claims of all older nodes are void at once."""

    def renew_node(self, node: int, *, lease_s: float) -> bool:
        """False: the lease was lost; stop."""

    def end_node(self, node: int, *, now: Instant) -> None: ...
    def rescue(self, *, now: Instant, limit: int = 100) -> int:
        """Requeues running tasks of nodes whose lease is over (poison after POISON_LOSSES), wakes waits whose time has
        come, and releases delayed tasks; returns how many moved."""

    def set_flag(self, scope: str, name: str, *, actor: str, reason: str, now: Instant) -> None: ...
    def clear_flag(self, scope: str, name: str, *, actor: str, reason: str = "", now: Instant) -> bool: ...
    def put_blob(self, data: bytes, *, now: Instant) -> str: ...
    def place_agent(self, agent: str, pool: str, *, now: Instant) -> bool:
        """From now on the agent's tasks wait in this pool, also those that wait already; False where they do. A task
        added with a pool of its own keeps it until then."""

    def put_breaker(
        self, name: str, breaker: Breaker | None, *, now: Instant, task: int | None = None, actor: str = "runtime"
    ) -> None:
        """How a breaker stands now, in the commit of the outcome that moved it; None: closed, and nothing has failed.
        Announces when it begins and when it ends to refuse calls; `task` is whose call it was."""

    def check_audit(self, *, now: Instant, limit: int = 500) -> tuple[int, str]:
        """Looks at the next rows of the audit's chains from where the last look ended; returns how many, and what is
        wrong. A break is told once."""

    def announce(self, event: NewEvent, *, now: Instant) -> None: ...
    def whole(self, fn: Callable[[], T]) -> T:
        """Performs `fn`, a part of this transaction, whole or not at all: where it raises, what it has written is
        undone, what was written before stands, and the error goes on. Costs nothing where nothing is written. A part
        has no parts."""

    def set_setting(self, name: str, value: str) -> None: ...
    def add_token(self, new: NewToken, *, actor: str, now: Instant) -> Token:
        """Keeps the digest of a person's token; `Conflict` where it is kept already."""

    def revoke_token(self, token: int, *, actor: str, now: Instant) -> Token:
        """The token opens nothing from this commit on. `NotFound`, and `Conflict` where it was revoked before."""

    def prune(self, keep: Retention, *, now: Instant, limit: int = 500) -> int:
        """Deletes at most `limit` expired things; returns how many, 0 when nothing is left to do."""


Listener = Callable[[Sequence[Event]], None]
"""Called on the event loop after each commit with the events it made, in order. Must be quick and must not raise."""


class Store(Protocol):
    """A database that keeps its word."""

    async def run(self, fn: Callable[[Tx], T]) -> T:
        """Runs `fn` in a transaction that it shares with others; returns when it is on disk. An exception of `fn`
        undoes only what `fn` did; what shared its transaction may be performed a second time then, of whose first
        nothing stays. `Exhausted` when the disk is full, `StoreAway` when there is no database: nothing was done."""

    async def read(self, fn: Callable[[Reads], T]) -> T:
        """Runs `fn` over one snapshot, beside the writer."""

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener; call the result to remove it."""

    def run_along(self, fn: Callable[[Tx], T], then: Callable[[T, bool], None]) -> Callable[[], None]:
        """Runs `fn` in each commit that makes a task claimable; see `ostinato.store.orders.Orders.run_along`."""

    async def backup(self, target: Path) -> int:
        """Writes a consistent copy, while running; returns its bytes."""

    async def check(self) -> str:
        """Integrity in words: `ok` or what is wrong."""

    async def close(self) -> None: ...
