"""Questions against a plain list: asked once per call, settled once, by the first decision, by time, or with its task.

A task that waits is woken by what it waits for; a stored action becomes one delivery, of exactly what was allowed.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import invariant, precondition, rule

from ostinato.domain.errors import Conflict, Denied
from ostinato.domain.permission import NewPermission, Permission
from ostinato.domain.person import Role
from ostinato.domain.question import Action, Answer, NewQuestion, Question, QuestionKind, QuestionState, check_decider
from ostinato.domain.step import Answered
from ostinato.domain.task import Done, NewTask, Park, Task, TaskEvent, TaskKind, TaskResult, TaskState, Wait, WaitKind
from ostinato.domain.values import SECOND, digest_of, to_json
from ostinato.store.port import POISON_LOSSES, QuestionFilter, TaskFilter, Tx
from ostinato.testing.contract.scene import claim_of
from tests.machines.machine import Machine

EXPIRES = 5 * SECOND
EDITED = {"what": "less"}
FOUND = {"program": "/bin/less"}
PEOPLE = {"ann": Role.ADMIN, "ben": Role.OPERATOR, "zoe": Role.VIEWER}
ESCALATES_S = 2.0
FITTING = {
    QuestionKind.APPROVAL: {QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.BUDGET: {QuestionState.ALLOWED, QuestionState.DENIED},
    QuestionKind.ASK: {QuestionState.ANSWERED, QuestionState.DENIED},
    QuestionKind.UNKNOWN: {QuestionState.ANSWERED, QuestionState.ALLOWED, QuestionState.DENIED},
}
"""What may be answered. What becomes of a failed task and what a reviewer says move the task itself, and have histories
of their own: `failing.py` and `reviewing.py` in `testing/contract/`."""

numbers = st.integers(0, 10_000)


@dataclass
class Asked:
    """What the list knows of a question."""

    question: Question
    state: QuestionState = QuestionState.PENDING
    arguments: dict[str, Any] | None = None
    bound: dict[str, Any] | None = None
    by: str = ""


@dataclass
class Asker:
    """A task that asks, with the claim it was taken under while it runs."""

    task: Task
    claimed: Task | None
    waits_for: set[int] = field(default_factory=set)
    ended: bool = False


class QuestionMachine(Machine):
    """Rules do the same to the store and to the list."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: dict[int, Asked] = {}
        self.askers: list[Asker] = []
        self.calls = 0
        self.permissions: dict[int, bool] = {}

    # --- asking ---------------------------------------------------------------------------------------------------

    @rule()
    def begin_a_task(self) -> None:
        """It runs, and may ask."""
        new = NewTask(kind=TaskKind.GOAL, title="x", agent=f"a{len(self.askers)}")
        self.askers.append(Asker(self.do(lambda tx: tx.add_task(new, now=self.scene.now)), None))
        self.go_on()

    @precondition(lambda self: any(each.claimed for each in self.askers))
    @rule(
        number=numbers,
        kind=st.sampled_from(sorted(FITTING)),
        stored=st.booleans(),
        expires=st.booleans(),
        whom=st.sampled_from(["operator", "admin"]),
        requester=st.sampled_from(["", "ann", "ben"]),
    )
    def ask(
        self,
        number: int,
        kind: QuestionKind,
        *,
        stored: bool,
        expires: bool,
        whom: str = "operator",
        requester: str = "",
    ) -> None:
        """Once, and once more about the same call, as a turn does that was interrupted."""
        asker = self._running(number)
        self.calls += 1
        action = Action(tool="world.fire", arguments={"what": f"deed {self.calls}"}, agent=asker.task.agent or "")
        new = NewQuestion(
            kind=kind, text="May I?", agent=action.agent, task=asker.task.id,
            session=f"main:{action.agent}" if stored else asker.task.session or "", call_id=f"{self.calls}.0",
            action=action if kind is QuestionKind.APPROVAL else None, stored=stored,
            expires_at=self.scene.now + EXPIRES if expires else None, ask=whom,
            escalate="ben" if whom == "admin" else "", escalate_s=ESCALATES_S,
            requesters=(requester,) if requester else (),
        )  # fmt: skip
        question = self.do(lambda tx: tx.ask(new, now=self.scene.now))
        again = self.do(lambda tx: tx.ask(new, now=self.scene.now))
        assert again == question
        assert question.id not in self.asked
        assert question.action == new.action
        self.asked[question.id] = Asked(question)

    @precondition(lambda self: any(each.claimed for each in self.askers))
    @rule(number=numbers)
    def park(self, number: int) -> None:
        """For all of its own questions: what is settled already wakes it at once."""
        asker = self._running(number)
        mine = {each.question.id for each in self.asked.values() if self._is_of(each, asker)}
        if not mine or asker.claimed is None:
            return
        wait = Wait(kind=WaitKind.QUESTION, refs=tuple(f"Q{each}" for each in sorted(mine)))
        moved = self.call(self.scene.finish(asker.claimed, Park(wait=wait, reason="asks")))
        asker.claimed = None
        settled = any(self.asked[each].state is not QuestionState.PENDING for each in mine)
        assert (moved.state is TaskState.READY) == settled
        asker.waits_for = set() if settled else mine

    @precondition(lambda self: any(each.claimed is None and not each.ended for each in self.askers))
    @rule()
    def go_on(self) -> None:
        """Whoever was woken runs again; whoever waits does not."""
        ready = {each.task.id: each for each in self.askers if not (each.ended or each.claimed or each.waits_for)}
        claimed = self.call(self.scene.claim(99, kinds=(TaskKind.GOAL,)))
        # Of several that were there each time a node died, all but one begin a little later.
        late = [self.do(lambda tx, each=each: tx.task(each)) for each in set(ready) - {task.id for task in claimed}]
        assert all(task.losses >= POISON_LOSSES for task in late)
        for task in claimed:
            ready[task.id].claimed = task

    # --- settling -------------------------------------------------------------------------------------------------

    @precondition(lambda self: self.asked)
    @rule(
        number=numbers,
        state=st.sampled_from([QuestionState.ALLOWED, QuestionState.DENIED, QuestionState.ANSWERED]),
        edits=st.booleans(),
        by=st.sampled_from(sorted(PEOPLE)),
        lasts=st.booleans(),
    )
    def answer(self, number: int, state: QuestionState, *, edits: bool, by: str, lasts: bool = False) -> None:
        """Somebody decides, perhaps too late, twice, in words that do not fit, or without being asked; a leave may come
        along that lasts, in the same commit."""
        asked = self.asked[sorted(self.asked)[number % len(self.asked)]]
        question = asked.question
        arguments = EDITED if edits and question.action and state is QuestionState.ALLOWED else None
        is_late = question.expires_at is not None and self.scene.now >= question.expires_at
        right = asked.state is QuestionState.PENDING and not is_late and state in FITTING[question.kind]
        decision = Answer(state=state, by=by, text="so", arguments=arguments, bound=FOUND if arguments else None)
        leaves = lasts and question.action is not None and state is QuestionState.ALLOWED

        def decide(tx: Tx) -> Permission | None:
            check_decider(tx.question(question.id), by, PEOPLE[by], people=PEOPLE, now=self.scene.now)
            tx.answer(question.id, decision, now=self.scene.now)
            new = NewPermission(agent=question.agent, tool="world.fire", gate="g", by=by, question=question.id)
            return tx.add_permission(new, now=self.scene.now) if leaves else None

        try:
            kept = self.do(decide)
        except Denied:
            assert not self._decides(question, by)
            return
        except Conflict:
            assert not right
            return
        assert self._decides(question, by), f"{by} was not asked"
        assert right, f"{question.name} took {state.value}, and is {asked.state.value}"
        asked.arguments, asked.bound = arguments, decision.bound
        if kept is not None:
            self.permissions[kept.id] = True
        self._settle(asked, state, by=by)

    def _decides(self, question: Question, by: str) -> bool:
        """Ann may always stand in, Ben decides what operators are asked, and later the rest, Zoe nothing; and nobody
        about what is done for them while the other could."""
        late = self.scene.now >= question.created_at + round(ESCALATES_S * SECOND)
        able = {"ann"} | ({"ben"} if question.ask == "operator" or late else set())
        return by in able and (by not in question.requesters or able == {by})

    @precondition(lambda self: self.permissions)
    @rule(number=numbers)
    def revoke(self, number: int) -> None:
        """What was given for good is taken back, once."""
        chosen = sorted(self.permissions)[number % len(self.permissions)]
        try:
            self.do(lambda tx: tx.revoke_permission(chosen, actor="ann", now=self.scene.now))
        except Conflict:
            assert not self.permissions[chosen]
            return
        assert self.permissions[chosen]
        self.permissions[chosen] = False

    @rule(seconds=st.sampled_from([1.0, 6.0]))
    def time_passes(self, seconds: float) -> None:
        """What nobody has answered in time is denied."""
        self.scene.wait(seconds)
        due = [
            each
            for each in self.asked.values()
            if each.state is QuestionState.PENDING
            and each.question.expires_at is not None
            and each.question.expires_at <= self.scene.now
        ]
        assert self.do(lambda tx: tx.expire_questions(now=self.scene.now)) == len(due)
        for each in due:
            self._settle(each, QuestionState.EXPIRED, by="runtime")

    @precondition(lambda self: any(not each.ended for each in self.askers))
    @rule(number=numbers, cancels=st.booleans())
    def end_a_task(self, number: int, cancels: bool) -> None:
        """Its own questions need no answer then; stored actions live on."""
        alive = [each for each in self.askers if not each.ended]
        asker = alive[number % len(alive)]
        if cancels or asker.claimed is None:
            self.do(lambda tx: tx.move_task(asker.task.id, TaskEvent.CANCEL, actor="ann", now=self.scene.now))
        else:
            self.do(lambda tx: tx.finish(claim_of(asker.claimed), Done(result=TaskResult()), now=self.scene.now))
        asker.ended, asker.claimed = True, None
        for each in self.asked.values():
            if self._is_of(each, asker) and each.state is QuestionState.PENDING:
                each.state = QuestionState.WITHDRAWN

    @rule()
    def lose_the_node(self) -> None:
        """Questions are still there; what ran is ready."""
        self.restart()
        for each in self.askers:
            each.claimed = None
        poisoned = {task for task, state in self.states().items() if state is TaskState.FAILED}
        for asker in self.askers:
            if asker.task.id in poisoned and not asker.ended:
                asker.ended = True
                for each in self.asked.values():
                    if self._is_of(each, asker) and each.state is QuestionState.PENDING:
                        each.state = QuestionState.WITHDRAWN

    def _settle(self, asked: Asked, state: QuestionState, *, by: str) -> None:
        asked.state, asked.by = state, by
        for asker in self.askers:
            if self._is_of(asked, asker) and asker.waits_for:
                asker.waits_for = set()

    def _running(self, number: int) -> Asker:
        running = [each for each in self.askers if each.claimed]
        return running[number % len(running)]

    def _is_of(self, asked: Asked, asker: Asker) -> bool:
        return asked.question.task == asker.task.id and not asked.question.stored

    # --- what must hold -------------------------------------------------------------------------------------------

    @invariant()
    def the_store_is_as_the_list(self) -> None:
        """State by state, and who decided."""
        which = QuestionFilter(state=None)
        found: list[Question] = self.do(lambda tx: tx.questions(which, limit=1_000))
        assert {each.id: (each.state, each.arguments, each.edited_bound) for each in found} == {
            number: (each.state, each.arguments, each.bound) for number, each in self.asked.items()
        }
        kept = self.do(lambda tx: tx.permissions())
        assert {each.id: each.revoked_at is None for each in kept} == self.permissions
        decided = {each.id: each.decided_by for each in found if each.decided_by and each.decided_by != "runtime"}
        assert decided == {n: each.by for n, each in self.asked.items() if each.by not in ("", "runtime")}

    @invariant()
    def each_decision_stands_once_in_its_journal(self) -> None:
        """And nowhere else."""
        wanted = sorted(
            number
            for number, each in self.asked.items()
            if not each.question.stored and each.state not in (QuestionState.PENDING, QuestionState.WITHDRAWN)
        )
        steps = [self.do(lambda tx, task=asker.task.id: tx.steps(task)) for asker in self.askers]  # type: ignore[misc]  # bound now
        told = [step.entry.question for each in steps for step in each if isinstance(step.entry, Answered)]
        assert sorted(told) == wanted

    @invariant()
    def what_was_allowed_is_one_delivery_of_just_that(self) -> None:
        """By the digest of tool, arguments and agent."""
        which = TaskFilter(kinds=frozenset({TaskKind.DELIVERY}))
        found: list[Task] = self.do(lambda tx: tx.tasks(which, limit=1_000))
        made = sorted((task.spec.input["question"], _digest(task.spec.input, task.agent)) for task in found)
        wanted = [
            (number, _digest(_input(each), each.question.agent))
            for number, each in sorted(self.asked.items())
            if each.question.stored and each.question.action and each.state is QuestionState.ALLOWED
        ]
        assert made == wanted


def _input(asked: Asked) -> dict[str, Any]:
    action = asked.question.action
    assert action is not None
    return {"tool": action.tool, "arguments": asked.arguments or action.arguments}


def _digest(wanted: dict[str, Any], agent: str | None) -> str:
    return digest_of(to_json([wanted["tool"], wanted["arguments"], agent]))
