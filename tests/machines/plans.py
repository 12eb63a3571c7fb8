"""A machine for graphs of tasks: dependencies of every kind, drafts decided in part, replays, yields, stops, and work
that several propose at once.

Beside the store it keeps plain rows with their edges, written from what the docs say and not from the store's code: an
edge is met at most once and stays so; a branch that is not taken is cancelled as skipped, with all that can only follow
it; whatever waits says for what. Knows nothing of which store it is.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

from hypothesis import strategies as st
from hypothesis.stateful import initialize, invariant, precondition, rule

from ostinato.domain.errors import Conflict
from ostinato.domain.ledger import Charge
from ostinato.domain.step import Note
from ostinato.domain.task import (
    ENDED,
    UNFINISHED,
    After,
    Condition,
    Done,
    Fail,
    Join,
    NewTask,
    Outcome,
    Requeue,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
)
from ostinato.store.port import ClaimRequest, Reads, Tx
from ostinato.testing.contract.scene import claim_of
from tests.machines.machine import Machine

PROPOSERS = 8
PLACES = 100

numbers = st.integers(0, 10_000)
edges = st.lists(st.tuples(numbers, st.sampled_from(Condition)), max_size=3)


_OUTCOMES: dict[str, Outcome] = {
    "done": Done(result=TaskResult(text="ok")),
    "fail": Fail(error="broken"),
    "yield": Requeue(reason="an urgent task goes first"),
}


@dataclass
class Edge:
    """What a row waits for in another."""

    on: Condition
    met: bool = False


@dataclass
class Row:
    """What is known of a task."""

    id: int
    state: TaskState
    agent: str
    join: Join
    work: str
    edges: dict[int, Edge] = field(default_factory=dict)
    skipped: bool = False
    sent_on: bool = False
    """A person let it go on without what it waited for."""
    begun: bool = False
    """It has been claimed."""
    notes: list[str] = field(default_factory=list)
    usd_micros: int = 0

    @property
    def waits(self) -> bool:
        """Some of what it waits for has not come."""
        met = [each.met for each in self.edges.values()]
        return not all(met) if self.join is Join.ALL else bool(met) and not any(met)


class PlanMachine(Machine):
    """Rules do the same to the store and to the rows."""

    def __init__(self) -> None:
        super().__init__()
        self.rows: dict[int, Row] = {}
        self.held: list[Task] = []
        self.halted: set[str] = set()
        self.calls = 0

    # --- how the rows follow each other -------------------------------------------------------------------------------

    def _add_row(self, task: Task, new: NewTask) -> None:
        row = Row(task.id, TaskState.DRAFT, new.agent or "", new.spec.join, new.spec.delegation)
        row.edges = {each.task: Edge(each.on) for each in new.dependencies}
        self.rows[row.id] = row
        for other in row.edges:
            row.edges[other].met = self._is_met(row.edges[other], self.rows[other])
        if not new.draft:
            row.state = TaskState.BLOCKED if row.waits else TaskState.READY
        if row.state is not TaskState.READY and self._is_lost(row):
            self._skip(row)

    @staticmethod
    def _is_met(edge: Edge, other: Row) -> bool:
        match edge.on:
            case Condition.SUCCESS:
                return other.state is TaskState.DONE
            case Condition.FAILURE:
                return other.state is TaskState.FAILED
            case Condition.ALWAYS:
                return other.state in ENDED

    def _is_lost(self, row: Row) -> bool:
        """Nothing that can still happen lets it run."""
        void = []
        for number, edge in row.edges.items():
            other = self.rows[number]
            never_done = edge.on is Condition.SUCCESS and other.skipped
            never_failed = edge.on is Condition.FAILURE and other.state in (TaskState.DONE, TaskState.CANCELLED)
            void.append(not edge.met and (never_done or never_failed))
        return any(void) if row.join is Join.ALL else bool(void) and all(void)

    def _end(self, row: Row, state: TaskState) -> None:
        """It has ended: whoever follows is counted, let go, or skipped."""
        row.state = state
        self.held = [each for each in self.held if each.id != row.id]
        followers = [each for each in self.rows.values() if row.id in each.edges and each.state in UNFINISHED]
        for each in followers:
            edge = each.edges[row.id]
            edge.met = edge.met or self._is_met(edge, row)
            if each.state is TaskState.BLOCKED and not each.waits:
                each.state = TaskState.READY
        for each in followers:
            if each.state in (TaskState.BLOCKED, TaskState.DRAFT) and self._is_lost(each):
                self._skip(each)

    def _skip(self, row: Row) -> None:
        row.skipped = True
        self._end(row, TaskState.CANCELLED)

    def _wait_again(self, row: Row) -> None:
        """It was given up before it began: it waits for what has not come since, whatever a person had said."""
        row.sent_on = False
        for number, edge in row.edges.items():
            edge.met = edge.met or self._is_met(edge, self.rows[number])
        if row.waits:
            row.state = TaskState.BLOCKED
            if self._is_lost(row):
                self._skip(row)

    # --- what is asked for --------------------------------------------------------------------------------------------

    @initialize(tasks=st.lists(st.tuples(edges, st.sampled_from(Join), st.booleans()), min_size=3, max_size=8))
    def begin_with_a_plan(self, tasks: list[tuple[list[tuple[int, Condition]], Join, bool]]) -> None:
        """Several that wait for each other, some of them drafts."""
        for number, (after, join, draft) in enumerate(tasks):
            self.add(after, join, draft=draft, agent="ab"[number % 2], high=number % 3 == 0)

    @rule(after=edges, join=st.sampled_from(Join), draft=st.booleans(), agent=st.sampled_from("ab"), high=st.booleans())
    def add(self, after: list[tuple[int, Condition]], join: Join, *, draft: bool, agent: str, high: bool) -> None:
        """A task of a plan, or beside one."""
        known = sorted(self.rows)
        needs = {known[number % len(known)]: on for number, on in after} if known else {}
        new = NewTask(
            kind=TaskKind.RUN,
            title="x",
            agent=agent,
            priority=50 if high else 0,
            draft=draft,
            after=tuple(After(task=number, on=on) for number, on in needs.items()),
            spec=TaskSpec(join=join),
        )
        self._add_row(self.do(lambda tx: tx.add_task(new, now=self.scene.now)), new)

    @rule(work=st.sampled_from(["bill", "tax"]), draft=st.booleans())
    def propose_at_once(self, work: str, *, draft: bool) -> None:
        """Eight propose the same work, each by a call of its own."""
        self.calls += 1
        new = [
            NewTask(
                kind=TaskKind.RUN, title=work, agent="a", draft=draft, key=f"{self.calls}.{number}",
                spec=TaskSpec(delegation=work),
            )
            for number in range(PROPOSERS)
        ]  # fmt: skip
        made = self.call(self._all_add(new))
        live = [row.id for row in self.rows.values() if row.work == work and row.state in UNFINISHED]
        assert len({each.id for each in made}) == 1
        assert [made[0].id] == live or not live
        if not live:
            self._add_row(made[0], new[0])

    async def _all_add(self, new: list[NewTask]) -> list[Task]:
        now = self.scene.now
        return list(await asyncio.gather(*(self.scene.change("add_task", each, now=now) for each in new)))

    # --- how it goes on -----------------------------------------------------------------------------------------------

    @rule(most=st.integers(1, 4))
    def claim(self, most: int) -> None:
        """Nothing begins before what it waits for, unless a person said so; nothing that could begin is left out."""
        request = ClaimRequest(node=self.scene.node, most=most, agent_limit_default=PLACES)
        claimed: list[Task] = self.do(lambda tx: tx.claim(request, now=self.scene.now))
        can = {row.id for row in self.rows.values() if row.state is TaskState.READY and row.agent not in self.halted}
        assert {each.id for each in claimed} <= can
        assert len(claimed) == min(most, len(can))
        for task in claimed:
            row = self.rows[task.id]
            assert not row.waits or row.sent_on, f"{task.name} begins early"
            row.state, row.begun = TaskState.RUNNING, True
        self.held += claimed

    @rule(done=st.lists(st.tuples(numbers, st.sampled_from(sorted(_OUTCOMES)), st.integers(0, 2)), max_size=5))
    def work(self, done: list[tuple[int, str, int]]) -> None:
        """A busy stretch: claims, steps and ends in turn."""
        for number, how, steps in done:
            self.claim(1 + number % 3)
            for each in range(steps if self.held else 0):
                self.take_a_step(number, each + 1)
            if self.held:
                self.finish(number, how)

    @precondition(lambda self: self.held)
    @rule(number=numbers, usd_micros=st.integers(1, 9))
    def take_a_step(self, number: int, usd_micros: int) -> None:
        """A step that costs something."""
        task = self.held[number % len(self.held)]
        row, now = self.rows[task.id], self.scene.now
        charge = Charge(
            task=task.id, agent=row.agent, session="", trigger="", call=len(row.notes) + 1, provider="p", model="m",
            status=200, usd_micros=usd_micros,
        )  # fmt: skip

        def step(tx: Tx) -> None:
            tx.check_claim(claim_of(task))
            tx.record_steps(claim_of(task), [Note(text=str(len(row.notes)))], now=now)
            tx.charge(charge, now=now)

        try:
            self.do(step)
        except Conflict:
            assert row.agent in self.halted
            return
        assert row.agent not in self.halted, "a step of what is halted"
        row.notes.append(str(len(row.notes)))
        row.usd_micros += usd_micros

    @precondition(lambda self: self.held)
    @rule(number=numbers, how=st.sampled_from(["done", "done", "fail", "yield"]))
    def finish(self, number: int, how: str) -> None:
        """It ends, or yields to something urgent."""
        task = self.held.pop(number % len(self.held))
        self.call(self.scene.finish(task, _OUTCOMES[how]))
        row = self.rows[task.id]
        match how:
            case "done":
                self._end(row, TaskState.DONE)
            case "fail":
                self._end(row, TaskState.FAILED)
            case _:
                row.state = TaskState.READY

    @rule()
    def lose_the_node(self) -> None:
        """Its process dies; what it was at can be claimed again."""
        self.restart()
        for task in self.held:
            self.rows[task.id].state = TaskState.READY
        self.held.clear()
        self.call(self._forget_losses())

    async def _forget_losses(self) -> None:
        """Three in a row would make poison of a task; that is another machine's."""
        for task in await self.scene.claim(most=PLACES, agent_limit_default=PLACES):
            await self.scene.finish(task, _OUTCOMES["yield"])
            self.rows[task.id].begun = True

    # --- what people do -----------------------------------------------------------------------------------------------

    @precondition(lambda self: self.rows)
    @rule(number=numbers, what=st.sampled_from([TaskEvent.APPROVE, TaskEvent.APPROVE, TaskEvent.REJECT]))
    def decide(self, number: int, what: TaskEvent) -> None:
        """A draft is approved or rejected, whatever becomes of the others of its plan."""
        drafts = [row for row in self.rows.values() if row.state is TaskState.DRAFT]
        if not drafts:
            return
        row = drafts[number % len(drafts)]
        self._move(row, what)
        if what is TaskEvent.REJECT:
            self._end(row, TaskState.CANCELLED)
        else:
            row.state = TaskState.BLOCKED if row.waits else TaskState.READY

    @precondition(lambda self: self.rows)
    @rule(number=numbers, fails=st.booleans())
    def stop(self, number: int, *, fails: bool) -> None:
        """Nobody wants it any more, or somebody calls it failed."""
        row = self._pick(number)
        if row.state in ENDED or (fails and row.state is TaskState.DRAFT):
            return
        self._move(row, TaskEvent.FAIL if fails else TaskEvent.CANCEL)
        self._end(row, TaskState.FAILED if fails else TaskState.CANCELLED)

    @precondition(lambda self: any(row.state is TaskState.FAILED for row in self.rows.values()))
    @rule(number=numbers)
    def replay(self, number: int) -> None:
        """A dead letter is sent on; not beside the same work."""
        failed = [row for row in self.rows.values() if row.state is TaskState.FAILED]
        row = failed[number % len(failed)]
        others = [each for each in self.rows.values() if row.work and each.work == row.work]
        try:
            self._move(row, TaskEvent.REPLAY)
        except Conflict:
            assert any(each.state in UNFINISHED for each in others)
            return
        assert not any(each.state in UNFINISHED for each in others)
        row.state, row.notes = TaskState.READY, []
        if row.begun or not row.waits:
            row.sent_on = row.sent_on or row.waits
        else:
            self._wait_again(row)

    @precondition(lambda self: any(row.state is TaskState.BLOCKED for row in self.rows.values()))
    @rule(number=numbers)
    def go_on_without(self, number: int) -> None:
        """Where what a task waits for has ended and will not come, a person may send it on."""
        blocked = [row for row in self.rows.values() if row.state is TaskState.BLOCKED]
        row = blocked[number % len(blocked)]
        may_come = [each for each in row.edges if self.rows[each].state in UNFINISHED]
        try:
            self._move(row, TaskEvent.RELEASE)
        except Conflict:
            assert may_come
            return
        assert not may_come
        row.state, row.sent_on = TaskState.READY, True

    @rule(agent=st.sampled_from("ab"))
    def halt_or_let_go_on(self, agent: str) -> None:
        """An agent is stopped: nothing of its begins or takes a step."""
        scope, now = f"agent:{agent}", self.scene.now
        if agent in self.halted:
            self.do(lambda tx: tx.clear_flag(scope, "halted", actor="ann", now=now))
        else:
            self.do(lambda tx: tx.set_flag(scope, "halted", actor="ann", reason="", now=now))
        self.halted ^= {agent}

    def _move(self, row: Row, event: TaskEvent) -> None:
        self.do(lambda tx: tx.move_task(row.id, event, actor="ann", now=self.scene.now))

    def _pick(self, number: int) -> Row:
        return self.rows[sorted(self.rows)[number % len(self.rows)]]

    # --- what must hold -----------------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_rows(self) -> None:
        """State by state."""
        assert self.states() == {row.id: row.state for row in self.rows.values()}

    @invariant()
    def whatever_waits_says_for_what(self) -> None:
        """Blocked tasks name those that have not come."""
        blocked = [row for row in self.rows.values() if row.state is TaskState.BLOCKED]
        tasks = self.call(self.scene.see(lambda reads: [reads.task(row.id) for row in blocked]))
        for row, task in zip(blocked, tasks, strict=True):
            assert any(f"T{number}" in task.reason for number, edge in row.edges.items() if not edge.met), task.reason

    @invariant()
    def one_task_for_each_work(self) -> None:
        """However many proposed it."""
        live = [row.work for row in self.rows.values() if row.work and row.state in UNFINISHED]
        assert len(live) == len(set(live))

    def teardown(self) -> None:
        """Everybody lets everything run: what has begun ends, what has not says why, and nothing that was done or paid
        is lost."""
        try:
            self._let_all_run()
        finally:
            super().teardown()

    def _let_all_run(self) -> None:
        for agent in sorted(self.halted):
            self.halt_or_let_go_on(agent)
        while self.held:
            self.finish(0, "done")
        for number in [row.id for row in self.rows.values() if row.state is TaskState.DRAFT]:
            if self.rows[number].state is TaskState.DRAFT:
                self._move(self.rows[number], TaskEvent.APPROVE)
                self.rows[number].state = TaskState.BLOCKED if self.rows[number].waits else TaskState.READY
        while any(row.state is TaskState.READY for row in self.rows.values()):
            self.claim(PLACES)
            while self.held:
                self.finish(0, "done")
        self.the_store_is_as_the_rows()
        self.whatever_waits_says_for_what()
        assert {row.state for row in self.rows.values()} <= {*ENDED, TaskState.BLOCKED}
        for row, (notes, usd_micros) in zip(self.rows.values(), self.call(self.scene.see(self._kept)), strict=True):
            assert (notes, usd_micros) == (row.notes, row.usd_micros), f"T{row.id} has lost something"

    def _kept(self, reads: Reads) -> list[tuple[list[str], int]]:
        return [
            (
                [each.entry.text for each in reads.steps(row.id) if isinstance(each.entry, Note)],
                reads.task(row.id).usd_micros,
            )
            for row in self.rows.values()
        ]
