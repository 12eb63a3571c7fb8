"""The task: its states, the one table through which it moves, and what is written about it.

Knows nothing of stores, clocks, agents or models. The diagram in the docs is drawn from `TRANSITIONS`.
"""

from __future__ import annotations

import enum
from typing import Any

import msgspec

from ostinato.domain.budget import Ceiling
from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.escalation import Rung
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.review import ReviewTerms
from ostinato.domain.routing import RoutingPolicy
from ostinato.domain.values import Attachment, Instant, Limits, Origin, Source, Trust, Value


class TaskKind(enum.StrEnum):
    """Names the handler of a task."""

    GOAL = "goal"
    TURN = "turn"
    RUN = "run"
    STAGE = "stage"
    DELIVERY = "delivery"
    PROCESS = "process"
    FIRE = "fire"
    REPLAY = "replay"


class TaskState(enum.StrEnum):
    """Where a task stands."""

    DRAFT = "draft"
    BLOCKED = "blocked"
    READY = "ready"
    RUNNING = "running"
    WAITING = "waiting"
    REVIEW = "review"
    DONE = "done"
    CANCELLED = "cancelled"
    FAILED = "failed"


class TaskEvent(enum.StrEnum):
    """What can happen to a task."""

    APPROVE = "approve"
    REJECT = "reject"
    BLOCK = "block"
    RELEASE = "release"
    CLAIM = "claim"
    FINISH = "finish"
    SUBMIT = "submit"
    PARK = "park"
    RETRY = "retry"
    REQUEUE = "requeue"
    FAIL = "fail"
    CANCEL = "cancel"
    WAKE = "wake"
    ACCEPT = "accept"
    RETURN = "return"
    REPLAY = "replay"
    DISMISS = "dismiss"


_S, _E = TaskState, TaskEvent

TRANSITIONS: dict[tuple[TaskState, TaskEvent], TaskState] = {
    (_S.DRAFT, _E.APPROVE): _S.BLOCKED,  # released in the same commit when nothing is missing
    (_S.DRAFT, _E.REJECT): _S.CANCELLED,
    (_S.DRAFT, _E.CANCEL): _S.CANCELLED,
    (_S.BLOCKED, _E.RELEASE): _S.READY,
    (_S.BLOCKED, _E.CANCEL): _S.CANCELLED,
    (_S.BLOCKED, _E.FAIL): _S.FAILED,
    (_S.READY, _E.BLOCK): _S.BLOCKED,
    (_S.READY, _E.CLAIM): _S.RUNNING,
    (_S.READY, _E.CANCEL): _S.CANCELLED,
    (_S.READY, _E.FAIL): _S.FAILED,
    (_S.RUNNING, _E.FINISH): _S.DONE,
    (_S.RUNNING, _E.SUBMIT): _S.REVIEW,
    (_S.RUNNING, _E.PARK): _S.WAITING,
    (_S.RUNNING, _E.RETRY): _S.READY,
    (_S.RUNNING, _E.REQUEUE): _S.READY,
    (_S.RUNNING, _E.FAIL): _S.FAILED,
    (_S.RUNNING, _E.CANCEL): _S.CANCELLED,
    (_S.WAITING, _E.WAKE): _S.READY,
    (_S.WAITING, _E.CANCEL): _S.CANCELLED,
    (_S.WAITING, _E.FAIL): _S.FAILED,
    (_S.REVIEW, _E.ACCEPT): _S.DONE,
    (_S.REVIEW, _E.RETURN): _S.READY,
    (_S.REVIEW, _E.FAIL): _S.FAILED,
    (_S.REVIEW, _E.CANCEL): _S.CANCELLED,
    (_S.FAILED, _E.REPLAY): _S.READY,
    (_S.FAILED, _E.DISMISS): _S.FAILED,  # stays failed, but is no dead letter any more
}

UNFINISHED = frozenset({_S.DRAFT, _S.BLOCKED, _S.READY, _S.RUNNING, _S.WAITING, _S.REVIEW})
"""States in which a task still wants something; SQL's `state IN (...)` is filled from here."""

ENDED = frozenset({_S.DONE, _S.CANCELLED, _S.FAILED})


COMMANDS = {
    _E.APPROVE: "tasks approve",
    _E.ACCEPT: "tasks approve",
    _E.RELEASE: "tasks approve",
    _E.REJECT: "tasks reject",
    _E.RETURN: "tasks reject",
    _E.REPLAY: "tasks retry",
    _E.DISMISS: "dead dismiss",
    _E.CANCEL: "tasks cancel",
}
"""What people type for what they can do to a task; the rest is the runtime's."""


def commands_for(state: TaskState, *, task: str) -> list[str]:
    """What people can type about a task in this state."""
    words = dict.fromkeys(words for event, words in COMMANDS.items() if (state, event) in TRANSITIONS)
    return [f"ostinato {each} {task}" for each in words]


def next_state(state: TaskState, event: TaskEvent, *, task: str = "TASK") -> TaskState:
    """The state after `event`; raises `Conflict`, which names the commands that there are for `task` instead, and
    changes nothing where the table has no such cell."""
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        possible = commands_for(state, task=task)
        raise Conflict(
            f"{event.value!r} is not possible: the task is {state.value}",
            cure=f"Possible now: {', '.join(possible) or 'nothing, it has ended'}",
        ) from None


CLAIMS_BITS = 20
"""A token's lower bits count the claims of its task; above them stands the epoch of the store. A million claims, and an
epoch in seconds: a token stays below 2**53 for 250 years, so that every reader of JSON holds it."""


def next_token(token: int, *, epoch: int) -> int:
    """The token of the next claim: above every earlier one, and above all that an earlier epoch can have given out, of
    which this store may know nothing."""
    return max(token, (epoch << CLAIMS_BITS) | claim_number(token)) + 1


def claim_number(token: int) -> int:
    """Which claim of its task a token stands for, from 1: what people are shown."""
    return token & ((1 << CLAIMS_BITS) - 1)


URGENT_PRIORITY = 50
"""From this priority on a task without a free place parks a lesser one at its next step boundary; half of the most."""


class WaitKind(enum.StrEnum):
    """What a parked task waits for."""

    QUESTION = "question"
    CHILD = "child"
    PROCESS = "process"
    EVENT = "event"
    TIME = "time"
    UNKNOWN = "unknown"


class Wait(Value):
    """What a parked task waits for: `refs` are question ids, child task ids or process handles, as text, or, where it
    waits for a time, the breakers that refused it; any one of them wakes it. `until_at` wakes it anyway."""

    kind: WaitKind
    refs: tuple[str, ...] = ()
    until_at: Instant | None = None

    @property
    def breakers(self) -> tuple[str, ...]:
        """The breakers that keep it, by name; none where something else does."""
        return self.refs if self.kind is WaitKind.TIME else ()


class Condition(enum.StrEnum):
    """What one task waits for in another."""

    SUCCESS = "success"
    FAILURE = "failure"
    ALWAYS = "always"
    """Its end, whatever it is."""


class Join(enum.StrEnum):
    """Of how many dependencies."""

    ALL = "all"
    ANY = "any"


class After(Value):
    """A dependency: the id of another task, and what is waited for in it."""

    task: int
    on: Condition = Condition.SUCCESS


class TaskSpec(Value, gc=False):
    """What was asked for: fixed when the task is made, stored as one document."""

    goal: str = ""
    input: dict[str, Any] = msgspec.field(default_factory=dict)
    skills: tuple[str, ...] = ()
    requester: str = "operator"
    created_by: str = ""
    """The agent whose tool call made it; empty: a person or the runtime."""
    trust: Trust = Trust.OPERATOR
    private: bool = False
    """Whoever asked for it had read what may be private, and may have told it here."""
    trigger: Source = Source.OPERATOR
    origin: Origin | None = None
    attachments: tuple[Attachment, ...] = ()
    causes: tuple[str, ...] = ()
    """The chain of causes, oldest first: task and message ids (`T12`, `M40`)."""
    retry: RetryPolicy = RetryPolicy()
    """How it is tried again, before what its agent and its fleet say."""
    fallback: str = ""
    """Who takes over when its agent has given up: an agent, or `skills`; empty: what its agent's files say."""
    escalate: tuple[Rung, ...] | None = None
    """Whom to ask when it has failed, one after the other; None: what its agent's files say."""
    timeout_s: float | None = None
    """Seconds one attempt may run; None: the kind's default."""
    deadline_at: Instant | None = None
    limits: Limits | None = None
    budget: Ceiling | None = None
    """What it may spend with all that it sets off; None: what its agent's files say."""
    model: str | None = None
    """A tier or model name that overrides the agent's."""
    effort: str | None = None
    """Reasoning effort that overrides the agent's."""
    cache_s: float | None = None
    """Seconds for which its result may answer an equal task, and for which another's may answer it; 0: never; None:
    what its agent's files say."""
    fresh: bool = False
    """It runs, whatever is known already."""
    deliver: str | None = None
    """Where the result goes: `operator`, `session:<key>`, `file:<path>`, or None (kept in the record only)."""
    within: tuple[str, ...] = ()
    """Of a sub-agent: the agents above it, the topmost first. It may do no more than each of them."""
    tools: tuple[str, ...] | None = None
    """The tools that a sub-agent was given of theirs; None: all."""
    join: Join = Join.ALL
    """Whether every dependency must be met, or any one."""
    policy: RoutingPolicy | None = None
    """What makes an agent the best for it; None: what its fleet says."""
    delegation: str = ""
    """Key of the work: no two unfinished tasks have the same. Empty: none."""
    like: tuple[str, ...] = ()
    """Tasks that were much like it when it was proposed."""
    plan: str = ""
    """The plan that it belongs to."""
    review: ReviewTerms | None = None
    """What its result must pass before it counts; None: what its agent's files say."""
    reviews: int | None = None
    """The task whose result it reviews."""
    routed: str = ""
    """Why its agent got it when it was given to one for its skills."""
    routed_to: str = ""
    """That agent; whoever else has it by now was named by somebody."""


class NewTask(Value):
    """A task to be added. `key` makes adding it idempotent: the same key and body give the same task back, the same
    key with another body is a `Conflict`."""

    kind: TaskKind
    title: str
    spec: TaskSpec = TaskSpec()
    agent: str | None = None
    session: str | None = None
    """Session key; None for a goal means its own, `task:<id>`."""
    pool: str = "default"
    project: str = ""
    type: str = ""
    priority: int = 0
    """Higher is more urgent; -100 to 100."""
    not_before_at: Instant = 0
    draft: bool = False
    blocked: str = ""
    """Why nobody can do it now; empty: it can be claimed once its dependencies are done."""
    parent: int | None = None
    depth: int = 0
    after: tuple[int | After, ...] = ()
    """Tasks that must end before this one can run; an id alone: it must be done."""
    key: str | None = None
    body: str = ""
    """What the key is compared by, where this value was made from something else that stays the same while routing and
    "in an hour" do not: the digest of that. Empty: this value's own."""

    @property
    def dependencies(self) -> tuple[After, ...]:
        """Each dependency once, in the order given. Raises Invalid for a task that is waited for in two ways."""
        found: dict[int, After] = {}
        for each in (After(task=each) if isinstance(each, int) else each for each in self.after):
            if found.setdefault(each.task, each) != each:
                cure = f"Name it once; 'T{each.task}:always' is its end, whatever it is."
                raise Invalid(f"T{each.task} is waited for in two ways", place="key 'after'", cure=cure)
        return tuple(found.values())


class TaskResult(Value, gc=False):
    """How a task ended. `text` is for people and dependants; `error` names what failed."""

    text: str = ""
    data: dict[str, Any] | None = None
    error: str = ""
    error_class: str = ""
    trust: Trust = Trust.OPERATOR
    """External where strangers wrote what the task has read, whoever asked for it."""
    private: bool = False
    """The task has read what may be private, and may tell it here."""
    source: int | None = None
    """The task that found it out, where this one was answered from its result."""


class Task(Value, gc=False):
    """One task as it stands."""

    id: int
    kind: TaskKind
    state: TaskState
    title: str
    agent: str | None
    session: str | None
    pool: str
    project: str
    type: str
    priority: int
    not_before_at: Instant
    created_at: Instant
    updated_at: Instant
    finished_at: Instant | None
    attempts: int
    """Claims so far."""
    failures: int
    """Attempts of this journal that ended in an error; what the retry policy counts."""
    losses: int
    """Nodes that died with this task running, in a row; 3 make it `poison`."""
    token: int
    node: int | None
    journal: int
    """Generation of the journal; `retry --fresh` and replay start the next."""
    unfinished: int
    """Dependencies not yet done."""
    parent: int | None
    depth: int
    key: str | None
    wait: Wait | None
    reason: str
    """Why it is in this state, in words."""
    dismissed: bool
    spec: TaskSpec
    result: TaskResult | None
    tokens: int
    usd_micros: int
    steps: int
    """Entries in the journal."""

    @property
    def name(self) -> str:
        """How people call it: `T12`."""
        return f"T{self.id}"

    @property
    def is_outside(self) -> bool:
        """True where strangers have asked for it, or wrote what it has read; and as long as nobody has read a line that
        somebody wrote into TASKS.md, or dropped without a name."""
        unsigned = self.spec.trigger is Source.FILE and self.spec.trust is Trust.AGENT
        is_unread = unsigned and self.state is TaskState.DRAFT
        return is_unread or Trust.EXTERNAL in (self.spec.trust, self.result.trust if self.result else None)

    @property
    def is_private(self) -> bool:
        """True where what it was told, or has come to, may be private."""
        return self.spec.private or (self.result is not None and self.result.private)


class Done(Value, tag=True):
    """The attempt ended well."""

    result: TaskResult
    holds: bool = False
    """True: money is set aside still, for a call or a summary that was not made."""


class Review(Value, tag=True):
    """A result is there; a checker, agent or person must accept it."""

    result: TaskResult
    wait: Wait | None = None
    """The task of the reviewer, or the question that a person decides."""
    reason: str = ""


class Retry(Value, tag=True):
    """A transient error: the same journal goes on after a delay. `after_s` overrides the retry policy (Retry-After)."""

    error: str
    error_class: str = "transient"
    after_s: float | None = None


class Park(Value, tag=True):
    """Wait holding nothing."""

    wait: Wait
    reason: str


class Fail(Value, tag=True):
    """Ended badly; a dead letter until somebody deals with it."""

    error: str
    error_class: str = "permanent"


class Requeue(Value, tag=True):
    """Given back at once without an error: drained, preempted, or its node was lost."""

    reason: str


class Cancelled(Value, tag=True):
    """Somebody cancelled it while it ran."""

    reason: str


Outcome = Done | Review | Retry | Park | Fail | Requeue | Cancelled
"""What a handler returns."""
