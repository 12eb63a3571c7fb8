"""The queue against a plain list: what is claimed, in which order, what becomes of it, and who may still write.

The list knows priorities, waiting, limits of agents, delays, dependencies, retries, parks, lost nodes and old claims.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from ostinato.domain.errors import Conflict
from ostinato.domain.retry import RetryPolicy
from ostinato.domain.step import Note
from ostinato.domain.task import (
    Done,
    Fail,
    NewTask,
    Outcome,
    Park,
    Requeue,
    Retry,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import POISON_LOSSES, SUSPECT_LOSSES_MAX, SUSPECTS_APART_S, ClaimRequest
from ostinato.testing.contract.scene import claim_of
from tests.machines.machine import Machine

LIMITS = {"a": 1, "b": 2}
LIMIT = 3
DELAY = 2 * SECOND
LEVEL = 15 * 60 * SECOND
"""What a level of priority is worth."""
RETRIES = RetryPolicy(attempts_max=2, base_s=2.0, factor=1.0, jitter=False)
ENDED = {TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED}

numbers = st.integers(0, 10_000)


@dataclass
class Row:
    """What the list knows of a task."""

    id: int
    agent: str
    priority: int
    state: TaskState
    since_at: Instant
    """When its waiting began: what is tried again, or parked, keeps its place."""
    due_at: Instant = 0

    @property
    def place(self) -> tuple[int, int]:
        """The smallest goes first: a level of priority is worth so much waiting."""
        return self.since_at - self.priority * LEVEL, self.id

    needs: set[int] = field(default_factory=set)
    failures: int = 0
    losses: int = 0
    done: int = 0


class QueueMachine(Machine):
    """Rules do the same to the store and to the list."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Row] = {}
        self.held: list[Task] = []
        self.old: list[Task] = []
        self.paused: set[str] = set()

    # --- what is asked for ----------------------------------------------------------------------------------------

    @rule(
        agent=st.sampled_from("abc"),
        priority=st.integers(-1, 1),
        delayed=st.booleans(),
        after=st.lists(numbers, max_size=2),
        copies=st.integers(1, 3),
    )
    def add(self, agent: str, priority: int, *, delayed: bool, after: list[int], copies: int) -> None:
        """Tasks, some of them later or after others."""
        needs = {sorted(self.rows)[each % len(self.rows)] for each in after} if self.rows else set()
        due_at = self.scene.now + DELAY if delayed else 0
        new = NewTask(
            kind=TaskKind.RUN, title="x", agent=agent, priority=priority, not_before_at=due_at,
            after=tuple(needs), spec=TaskSpec(retry=RETRIES),
        )  # fmt: skip
        for _ in range(copies):
            task = self.do(lambda tx: tx.add_task(new, now=self.scene.now))
            missing = {each for each in needs if self.rows[each].state is not TaskState.DONE}
            state = TaskState.BLOCKED if missing else TaskState.READY
            since_at = max(due_at, self.scene.now)
            self.rows[task.id] = Row(task.id, agent, priority, state, since_at=since_at, due_at=due_at, needs=missing)

    @rule(most=st.integers(1, 4))
    def claim(self, most: int) -> None:
        """The most urgent first, those of them first that wait longest, as far as limits and pauses let them."""
        expected = self._next(most)
        request = ClaimRequest(node=self.scene.node, most=most, agent_limits=LIMITS, agent_limit_default=LIMIT)
        claimed: list[Task] = self.do(lambda tx: tx.claim(request, now=self.scene.now))
        assert [task.id for task in claimed] == expected
        for task in claimed:
            self.rows[task.id].state = TaskState.RUNNING
        self.held += claimed

    def _next(self, most: int) -> list[int]:
        busy = dict.fromkeys("abc", 0)
        for row in self.rows.values():
            busy[row.agent] += row.state is TaskState.RUNNING
        chosen: list[int] = []
        for row in sorted(self.rows.values(), key=lambda row: row.place):
            free = busy[row.agent] < LIMITS.get(row.agent, LIMIT) and row.agent not in self.paused
            if row.state is TaskState.READY and row.due_at <= self.scene.now and free and len(chosen) < most:
                busy[row.agent] += 1
                chosen.append(row.id)
        return chosen

    # --- how it goes on -------------------------------------------------------------------------------------------

    @precondition(lambda self: self.held)
    @rule(number=numbers, how=st.sampled_from(["done", "done", "retry", "fail", "requeue", "park"]))
    def finish(self, number: int, how: str) -> None:
        """The holder of a claim ends its attempt."""
        task = self.held.pop(number % len(self.held))
        self.old.append(task)
        row = self.rows[task.id]
        self.call(self.scene.finish(task, self._outcome(how)))
        row.losses = 0
        match how:
            case "done":
                row.state, row.done = TaskState.DONE, row.done + 1
                for other in self.rows.values():
                    other.needs.discard(row.id)
                    if not other.needs and other.state is TaskState.BLOCKED:
                        other.state, other.since_at = TaskState.READY, max(other.due_at, self.scene.now)
            case "retry":
                row.failures += 1
                row.state = TaskState.READY if row.failures < RETRIES.attempts_max else TaskState.FAILED
                row.due_at = self.scene.now + DELAY
            case "fail":
                row.state = TaskState.FAILED
            case "requeue":
                row.state, row.due_at = TaskState.READY, 0
            case "park":
                row.state, row.due_at = TaskState.WAITING, self.scene.now + DELAY

    def _outcome(self, how: str) -> Outcome:
        return {
            "done": Done(result=TaskResult(text="ok")),
            "retry": Retry(error="again"),
            "fail": Fail(error="broken"),
            "requeue": Requeue(reason="drained"),
            "park": Park(wait=Wait(kind=WaitKind.TIME, until_at=self.scene.now + DELAY), reason="later"),
        }[how]

    @precondition(lambda self: self.old)
    @rule(number=numbers, finishes=st.booleans())
    def write_with_an_old_claim(self, number: int, finishes: bool) -> None:
        """Whoever holds no claim changes nothing."""
        again = [task for task in self.old if self.rows[task.id].state is TaskState.RUNNING] or self.old
        task = again[number % len(again)]
        try:
            if finishes:
                self.call(self.scene.finish(task))
            else:
                self.do(lambda tx: tx.record_steps(claim_of(task), [Note(text="late")], now=self.scene.now))
        except Conflict:
            return
        raise AssertionError(f"{task.name} took a write of its old claim {task.token}")

    @precondition(lambda self: self.rows)
    @rule(number=numbers)
    def cancel(self, number: int) -> None:
        """A person does not want it any more, also while it runs."""
        row = self._pick(number)
        if row.state in ENDED:
            return
        self.do(lambda tx: tx.move_task(row.id, TaskEvent.CANCEL, actor="ann", now=self.scene.now))
        row.state = TaskState.CANCELLED
        self._let_go(row.id)

    @precondition(lambda self: any(row.state is TaskState.FAILED for row in self.rows.values()))
    @rule(number=numbers, fresh=st.booleans())
    def send_on(self, number: int, fresh: bool) -> None:
        """A person sends a dead letter on."""
        failed = [row for row in self.rows.values() if row.state is TaskState.FAILED]
        row = failed[number % len(failed)]
        self.do(lambda tx: tx.retry_task(row.id, fresh=fresh, actor="ann", now=self.scene.now))
        row.state, row.failures, row.losses, row.due_at = TaskState.READY, 0, 0, 0
        row.since_at = self.scene.now

    @precondition(lambda self: self.rows)
    @rule(number=numbers, priority=st.integers(-1, 1))
    def hurry(self, number: int, priority: int) -> None:
        """Another priority."""
        row = self._pick(number)
        if row.state not in ENDED:
            self.do(lambda tx: tx.change_task(row.id, actor="ann", now=self.scene.now, priority=priority))
            row.priority = priority

    @rule(agent=st.sampled_from("abc"))
    def pause_or_go_on(self, agent: str) -> None:
        """An agent rests."""
        scope, now = f"agent:{agent}", self.scene.now
        if agent in self.paused:
            self.do(lambda tx: tx.clear_flag(scope, "paused", actor="ann", now=now))
        else:
            self.do(lambda tx: tx.set_flag(scope, "paused", actor="ann", reason="", now=now))
        self.paused ^= {agent}

    @rule(seconds=st.sampled_from([1.0, 3.0]))
    def time_passes(self, seconds: float) -> None:
        """The clock moves and the sweep looks."""
        self.scene.wait(seconds)
        self.do(lambda tx: tx.rescue(now=self.scene.now))
        for row in self.rows.values():
            if row.state is TaskState.WAITING and row.due_at <= self.scene.now:
                row.state, row.due_at = TaskState.READY, 0

    @rule()
    def lose_the_node(self) -> None:
        """Its process dies; the third time, so does what it was at, where that was one thing. Of several that were
        there each time one begins at once, and the others a little later."""
        self.restart()
        for task in self.held:
            row = self.rows[task.id]
            row.losses += 1
            row.state, row.due_at = TaskState.READY, 0
        held = sorted(self.held, key=lambda each: each.id)
        suspects = [row for each in held if (row := self.rows[each.id]).losses >= POISON_LOSSES]
        for number, row in enumerate(suspects):
            if len(suspects) == 1 or row.losses >= SUSPECT_LOSSES_MAX:
                row.state = TaskState.FAILED
            elif number:
                row.due_at = self.scene.now + round(number * SUSPECTS_APART_S * SECOND)
        self.old += self.held
        self.held.clear()

    def _pick(self, number: int) -> Row:
        return self.rows[sorted(self.rows)[number % len(self.rows)]]

    def _let_go(self, task: int) -> None:
        self.old += [each for each in self.held if each.id == task]
        self.held = [each for each in self.held if each.id != task]

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_list(self) -> None:
        """State by state."""
        assert self.states() == {row.id: row.state for row in self.rows.values()}

    @invariant()
    def nothing_ends_well_twice(self) -> None:
        """However often it was begun."""
        assert all(row.done <= 1 for row in self.rows.values())
