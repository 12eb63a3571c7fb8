"""Random histories: whatever is done in whatever order, the laws of the store hold after each step.

Needs Hypothesis. A store's tests make a machine for their store and let Hypothesis run it:

    class TestHistories(history_of(open_fresh_store).TestCase): ...

The reference for a claim is a plain walk over all tasks, most urgent first: what a store does to be fast must not show.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from ostinato.domain.aging import AGING_S, rank_of
from ostinato.domain.errors import Conflict
from ostinato.domain.question import QuestionKind, QuestionState
from ostinato.domain.step import Note
from ostinato.domain.task import (
    ENDED,
    UNFINISHED,
    Cancelled,
    Done,
    Fail,
    NewTask,
    Outcome,
    Park,
    Requeue,
    Retry,
    Review,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import ClaimRequest, QuestionFilter, Reads, TaskFilter, Tx
from ostinato.testing.contract.cells import BY_ATTEMPT_ALONE
from ostinato.testing.contract.scene import Scene, StoreFactory, claim_of, tallies_are_true

AGENTS = ("a", "b", "c")
POOLS = ("default", "fast")
LIMITS = {"a": 1, "b": 2}
"""Tasks at once; c may run three."""
SHARED = ("main:a", "main:b")
FLAGS = ("fleet", "agent:a", "session:main:a", "pool:fast")

agents = st.sampled_from((*AGENTS, None))
numbers = st.integers(min_value=0, max_value=10_000)
outcomes: st.SearchStrategy[Outcome] = st.sampled_from(
    [
        Done(result=TaskResult(text="ok")),
        Review(result=TaskResult(text="look")),
        Retry(error="again", after_s=0.0),
        Park(wait=Wait(kind=WaitKind.EVENT), reason="message"),
        Park(wait=Wait(kind=WaitKind.TIME, until_at=0), reason="time"),
        Park(wait=Wait(kind=WaitKind.QUESTION), reason="question"),
        Fail(error="broken"),
        Requeue(reason="drained"),
        Cancelled(reason="enough"),
    ]
)
moves = st.sampled_from(sorted(set(TaskEvent) - BY_ATTEMPT_ALONE - {TaskEvent.CLAIM}))


class History(RuleBasedStateMachine):
    """Rules are verbs; invariants are laws. Subclasses say which store."""

    factory: StoreFactory

    def __init__(self) -> None:
        super().__init__()
        self.runner = asyncio.Runner()
        self.scene = Scene(type(self).factory())
        self.held: list[Task] = []
        self.claims: Counter[int] = Counter()
        self.completed: Counter[tuple[int, int]] = Counter()
        self.last_event = 0
        self.since: dict[int, tuple[TaskState, Instant]] = {}
        self._await(self.scene.begin())

    def teardown(self) -> None:
        """The counters are compared once more, and everything is closed."""
        try:
            self._await(tallies_are_true(self.scene))
            self._await(self.scene.store.close())
        finally:
            self.runner.close()

    def _await(self, work: Any) -> Any:
        return self.runner.run(work)

    def _do(self, fn: Any) -> Any:
        return self._await(self.scene.do(fn))

    def _tasks(self) -> list[Task]:
        found: list[Task] = self._await(self.scene.see(lambda reads: reads.tasks(TaskFilter(), limit=10_000)))
        return found

    def _pick(self, number: int) -> Task:
        tasks = self._tasks()
        return tasks[number % len(tasks)]

    # --- rules ----------------------------------------------------------------------------------------------------

    @rule(
        agent=agents,
        pool=st.sampled_from(POOLS),
        priority=st.integers(-2, 2),
        kind=st.sampled_from([TaskKind.GOAL, TaskKind.RUN, TaskKind.DELIVERY]),
        delay_s=st.sampled_from([0, 0, 0, 5]),
        session=st.sampled_from([None, None, "main:a"]),
        after=st.lists(numbers, max_size=2),
        how=st.sampled_from(["", "", "", "draft", "held", "child"]),
        copies=st.integers(1, 4),
    )
    def add(self, after: list[int], how: str, *, delay_s: int, copies: int, **more: Any) -> None:
        """Tasks of any kind."""
        tasks = self._tasks()
        if tasks and how == "child":
            more["parent"] = tasks[after[0] % len(tasks)].id if after else tasks[0].id
        new = NewTask(
            title="x",
            after=tuple(tasks[each % len(tasks)].id for each in after) if tasks and copies == 1 else (),
            draft=how == "draft",
            blocked="held" if how == "held" else "",
            not_before_at=self.scene.now + delay_s * SECOND if delay_s else 0,
            **more,
        )
        for _ in range(copies):
            self._do(lambda tx: tx.add_task(new, now=self.scene.now))

    @rule(most=st.integers(1, 4), pools=st.sampled_from([("default",), POOLS]))
    def claim(self, most: int, pools: tuple[str, ...]) -> None:
        """What is claimed is what a plain walk over all tasks would choose."""
        request = ClaimRequest(node=self.scene.node, most=most, pools=pools, agent_limits=LIMITS, agent_limit_default=3)
        expected = self._expected(request)
        claimed: list[Task] = self._do(lambda tx: tx.claim(request, now=self.scene.now))
        assert [task.id for task in claimed] == expected
        for task in claimed:
            self.claims[task.id] += 1
            assert task.token > 0
            assert task.attempts == self.claims[task.id]
        self.held += claimed

    @rule(numbers=st.lists(st.tuples(numbers, outcomes), min_size=1, max_size=6))
    def work(self, numbers: list[tuple[int, Outcome]]) -> None:
        """A busy stretch: claims and endings in turn."""
        for number, outcome in numbers:
            self.claim(1 + number % 2, POOLS)
            if self.held:
                self.finish(number, outcome)

    @rule(most=st.integers(1, 4), part=st.booleans())
    def claim_and_fail(self, most: int, part: bool) -> None:
        """A claim that is undone leaves nothing behind, also not in what a store remembers; neither as a function of
        its own, nor as a part of one that stands."""
        request = ClaimRequest(node=self.scene.node, most=most, agent_limit_default=9)

        def undone(tx: Tx) -> None:
            tx.claim(request, now=self.scene.now)
            raise ZeroDivisionError

        def undone_in_part(tx: Tx) -> None:
            with contextlib.suppress(ZeroDivisionError):
                tx.whole(lambda: undone(tx))

        before = self._tasks()
        with contextlib.suppress(ZeroDivisionError):
            self._do(undone_in_part if part else undone)
        assert self._tasks() == before

    @precondition(lambda self: bool(self.held))
    @rule(number=numbers, outcome=outcomes)
    def finish(self, number: int, outcome: Outcome) -> None:
        """A claim ends; one that is no longer held changes nothing."""
        task = self.held.pop(number % len(self.held))
        before = self._await(self.scene.look(task))
        still = before.state is TaskState.RUNNING and before.token == task.token
        try:
            after = self._await(self.scene.finish(task, outcome, chance=0.0))
        except Conflict:
            assert not still
            assert self._await(self.scene.look(task)) == before
            return
        assert still
        if after.state is TaskState.DONE:
            self.completed[after.id, after.token] += 1

    @precondition(lambda self: bool(self.held))
    @rule(number=numbers)
    def write(self, number: int) -> None:
        """Steps go to the holder of the claim only."""
        task = self.held[number % len(self.held)]
        before = self._await(self.scene.look(task))
        try:
            seq = self._do(lambda tx: tx.record_steps(claim_of(task), [Note(text="x")], now=self.scene.now))
        except Conflict:
            assert (before.state, before.token) != (TaskState.RUNNING, task.token)
        else:
            assert seq == before.steps + 1

    @precondition(lambda self: self._tasks())
    @rule(number=numbers, event=moves)
    def move(self, number: int, event: TaskEvent) -> None:
        """People do what they can."""
        task = self._pick(number)
        try:
            self._await(self.scene.move(task, event, "why"))
        except Conflict:
            assert self._await(self.scene.look(task)) == task

    @precondition(lambda self: self._tasks())
    @rule(number=numbers, priority=st.integers(-2, 2), agent=st.sampled_from(AGENTS))
    def change(self, number: int, priority: int, agent: str) -> None:
        """Priorities and agents change."""
        task = self._pick(number)
        try:
            self._do(lambda tx: tx.change_task(task.id, actor="x", priority=priority, agent=agent, now=self.scene.now))
        except Conflict:
            assert task.state in {*ENDED, TaskState.RUNNING} or task.session in SHARED

    @rule(key=st.sampled_from(SHARED), read=st.booleans())
    def message(self, key: str, read: bool) -> None:
        """Messages come and are read."""
        self._await(self.scene.say(key, agent=key[-1]))
        if read:
            self._await(self.scene.read_all(key))

    @precondition(lambda self: self._tasks())
    @rule(number=numbers, state=st.sampled_from([QuestionState.ALLOWED, QuestionState.DENIED]))
    def ask_and_answer(self, number: int, state: QuestionState) -> None:
        """A question of an unfinished task, and sometimes its answer."""
        task = self._pick(number)
        if task.state in ENDED:
            return
        question = self._await(self.scene.ask(task, kind=QuestionKind.BUDGET))
        if number % 3:
            self._await(self.scene.answer(question, state))

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        """The clock moves and the sweep runs."""
        self.scene.wait(seconds)
        self._do(lambda tx: tx.rescue(now=self.scene.now))

    @rule(scope=st.sampled_from(FLAGS), on=st.booleans())
    def flag(self, scope: str, on: bool) -> None:
        """Scopes are paused and let go."""
        now = self.scene.now
        if on:
            self._do(lambda tx: tx.set_flag(scope, "paused", actor="x", reason="", now=now))
        else:
            self._do(lambda tx: tx.clear_flag(scope, "paused", actor="x", now=now))

    @rule()
    def crash(self) -> None:
        """The node dies; another takes over."""
        self._await(self.scene.begin())

    # --- laws -----------------------------------------------------------------------------------------------------

    @invariant()
    def counters_are_true(self) -> None:
        """Whatever happened, the tallies equal a count."""
        self._await(tallies_are_true(self.scene))

    @invariant()
    def laws_hold(self) -> None:
        """Sessions, limits, dependencies, numbers."""
        tasks = self._tasks()
        self._see_who_waits(tasks)
        running = [task for task in tasks if task.state is TaskState.RUNNING]
        assert max(Counter(task.session for task in running if task.session).values(), default=0) <= 1
        turns = [task.session for task in tasks if task.kind is TaskKind.TURN and task.state in UNFINISHED]
        assert max(Counter(turns).values(), default=0) <= 1
        assert all(count == 1 for count in self.completed.values())
        done = {task.id for task in tasks if task.state is TaskState.DONE}

        def look(reads: Reads) -> list[tuple[Any, ...]]:
            return [
                (
                    task,
                    reads.attempts(task.id),
                    reads.steps(task.id),
                    reads.dependencies(task.id),
                    reads.questions(QuestionFilter(task=task.id)),
                )
                for task in tasks
            ]

        for task, attempts, steps, needed, pending in self._await(self.scene.see(look)):
            assert len(attempts) == task.attempts
            assert sum(attempt.ended_at is None for attempt in attempts) == (task.state is TaskState.RUNNING)
            assert [step.seq for step in steps] == list(range(1, task.steps + 1))
            assert (task.finished_at is not None) == (task.state in ENDED)
            assert (task.node is not None) == (task.state is TaskState.RUNNING)
            assert (task.wait is not None) == (task.state is TaskState.WAITING)
            assert not (pending and task.state in ENDED)
            missing = [each for each in needed if each.id not in done]
            assert task.unfinished == len(missing) or task.state in ENDED

    @invariant()
    def events_only_grow(self) -> None:
        """Numbers of events never go back."""
        latest = self._await(self.scene.see(lambda reads: reads.latest_event()))
        assert latest >= self.last_event
        self.last_event = latest

    def _expected(self, request: ClaimRequest) -> list[int]:
        """The plain walk."""
        flags = {flag.scope for flag in self._await(self.scene.see(lambda reads: reads.flags()))}
        tasks = self._tasks()
        delayed = self._delayed()
        agents_busy = Counter(task.agent for task in tasks if task.state is TaskState.RUNNING)
        sessions_busy = {task.session for task in tasks if task.state is TaskState.RUNNING and task.session}
        chosen: list[int] = []
        self._see_who_waits(tasks)
        for task in sorted(tasks, key=self._place):
            scopes = {"fleet", f"agent:{task.agent}", f"session:{task.session}", f"pool:{task.pool}"}
            limit = LIMITS.get(task.agent or "", request.agent_limit_default)
            if (
                len(chosen) == request.most
                or task.state is not TaskState.READY
                or delayed.get(task.id, 0) > self.scene.now
                or task.pool not in request.pools
                or scopes & flags
                or (task.agent and agents_busy[task.agent] >= limit)
                or (task.session and task.session in sessions_busy)
            ):
                continue
            chosen.append(task.id)
            agents_busy[task.agent] += 1
            sessions_busy |= {task.session} if task.session else set()
        return chosen

    def _see_who_waits(self, tasks: list[Task]) -> None:
        """Since when each has waited for its turn: since it came, was let go or came back from among the dead."""
        for task in tasks:
            state, since_at = self.since.get(task.id, (None, 0))
            anew = task.state is TaskState.READY and state in (TaskState.DRAFT, TaskState.BLOCKED, TaskState.FAILED)
            if state is None or anew:
                since_at = max(self.scene.now, task.not_before_at)
            self.since[task.id] = (task.state, since_at)

    def _place(self, task: Task) -> tuple[Instant, int]:
        return rank_of(self.since[task.id][1], priority=task.priority, aging_s=AGING_S), task.id

    def _delayed(self) -> dict[int, Instant]:
        """Tasks that may not start yet: nothing but `not_before_at` delays here, as every retry comes at once."""
        return {task.id: task.not_before_at for task in self._tasks()}


def history_of(factory: StoreFactory) -> type[History]:
    """A machine for one store."""
    return type("History", (History,), {"factory": staticmethod(factory)})
