"""What follows from the end of a task, in the commit that ends it: whoever waits for it learns of it exactly once.

Its questions are withdrawn, dependants released or told why they stay blocked, the result delivered where it was
asked for and into the parent's inbox, and the session looks for messages that came meanwhile.
"""

from __future__ import annotations

import re

from ostinato.domain.dependency import (
    NAMED_MAX,
    SKIPPED,
    Standing,
    is_not_taken,
    is_skipped,
    reason_to_wait,
    standing,
    waits_for,
    without,
)
from ostinato.domain.event import EventName
from ostinato.domain.message import (
    OPERATOR,
    OPERATOR_SESSION,
    PARENT,
    SAVE_TOOL,
    NewMessage,
    owner_of,
    saved_path,
    task_session,
)
from ostinato.domain.task import (
    ENDED,
    After,
    Condition,
    Join,
    NewTask,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskSpec,
    TaskState,
    Wait,
    WaitKind,
)
from ostinato.domain.values import Instant, Source, Trust, to_json
from ostinato.store.verbs import rows
from ostinato.store.verbs.accounts import AccountVerbs
from ostinato.store.verbs.rows import Kept
from ostinato.store.verbs.sessions import AWAITING_TASKS, ids_of, is_among
from ostinato.store.verbs.tasks import Waits

SESSION_PREFIX = "session:"
FILE_PREFIX = "file:"

_TASKS = re.compile(r"\bT(\d+)\b")
"""The numbers of tasks that a reason names; one expression for all, as each of its own would be compiled anew."""


class EndingVerbs(AccountVerbs):
    """The consequences of an ending."""

    def _end(self, kept: Kept, *, now: Instant) -> None:
        """Everything that an ended task sets off. `kept` has just reached its state."""
        for each in self._end_alone(kept, now=now):
            self._skip_branch(each, why=_why_not_taken(kept.task), now=now)

    def _end_alone(self, kept: Kept, *, now: Instant) -> list[int]:
        """The same; returns the tasks whose branch is not taken because of it, which are still to be skipped."""
        self._withdraw_questions(kept.task.id, now=now)
        if kept.task.state is not TaskState.DONE and kept.task.steps:
            self._release_reserved(kept.task, now=now)
        not_taken = self._tell_dependants(kept.task, now=now) if kept.awaited else []
        self._deliver(kept, now=now)
        self._read_on(kept, now=now)
        return not_taken

    def _withdraw_questions(self, task: int, *, now: Instant, why: str = "its task has ended") -> None:
        """Questions of an ended task need no answer. Stored actions live on: nothing of them hangs on the task."""
        asking = self._memory.asking
        if asking is None:
            asking = self._memory.asking = {row[0] for row in self._db.all("asking_tasks")}
        if task not in asking:
            return
        asking.discard(task)
        for question_id, agent, session in self._db.all("withdraw_questions", task=task, now=now):
            self._tell_withdrawn(question_id, task, agent=agent, session=session, why=why, now=now)

    def _tell_withdrawn(self, question: int, task: int, *, agent: str, session: str, why: str, now: Instant) -> None:
        self._total("questions", -1)
        self._tell(
            EventName.QUESTION_SETTLED,
            now=now,
            task=task,
            agent=agent,
            session=session,
            reason=why,
            data={"question": question, "state": "withdrawn"},
        )

    def _added(self, kept: Kept, waits: Waits, *, now: Instant) -> Task:
        """A new task is skipped at once where its branch is not taken."""
        if not is_not_taken(kept.task.spec.join, waits.standings):
            return kept.task
        self._skip_branch(kept.task.id, why=kept.task.reason, now=now)
        return self.task(kept.task.id)

    def _tell_dependants(self, task: Task, *, now: Instant) -> list[int]:
        """Counts what has been met, and says what went wrong; returns the tasks whose branch is not taken."""
        skipped = is_skipped(task)
        not_taken: list[int] = []
        for row in self._db.all("waiting_dependants", after=task.id):
            kept, after = rows.kept_of(row[:-1]), After(task=task.id, on=Condition(row[-1]))
            match standing(after.on, state=task.state, skipped=skipped):
                case Standing.MET:
                    self._dependency_met(kept, task.id, now=now)
                case Standing.VOID:
                    if kept.task.state in (TaskState.BLOCKED, TaskState.DRAFT) and self._will_not_come(kept.task):
                        not_taken.append(kept.task.id)
                case Standing.OPEN:
                    self._explain(kept, now=now)
        return not_taken

    def _explain(self, kept: Kept, *, now: Instant) -> None:
        """Says anew what a task waits for, where that is what keeps it."""
        if not _waits_for_others(kept):
            return
        reason = self._what_is_missing(kept.task)
        self._db.do("explain_task", id=kept.task.id, reason=reason, now=now)
        self._memory.tasks.pop(kept.task.id, None)
        if kept.task.state is TaskState.BLOCKED:
            self._tell_of(kept.task, EventName.TASK_BLOCKED, now=now, reason=reason)

    def _what_is_missing(self, task: Task, *, first: int = 0, left: int = 0) -> str:
        """From the task `first` on, where enough of the `left` is missing there: whoever waits for thousands need not
        step over all that have ended."""
        edges = self._db.all("missing_edges", task=task.id, first=first, limit=NAMED_MAX + 1)
        if first and len(edges) < min(left, NAMED_MAX + 1):
            return self._what_is_missing(task)
        missing = [
            waits_for(After(task=other, on=Condition(condition)), state=TaskState(state))
            for other, condition, state in edges
        ]
        return reason_to_wait(task.spec.join, missing)

    def _will_not_come(self, task: Task) -> bool:
        """True where no further event can meet what a task waits for."""
        stands = [
            Standing.MET
            if met
            else standing(Condition(condition), state=TaskState(state), skipped=rows.is_skipped_row(state, result))
            for _, condition, met, state, result in self._db.all("edges", task=task.id)
        ]
        return is_not_taken(task.spec.join, stands)

    def _skip_branch(self, first: int, *, why: str, now: Instant) -> None:
        """Cancels what is not taken, and what can only follow it. A list, not a recursion: a branch may be long."""
        pending = [(first, why)]
        while pending:
            number, reason = pending.pop()
            kept = self._kept(number)
            if kept.task.state not in (TaskState.BLOCKED, TaskState.DRAFT):
                continue
            moved = self._move(
                kept, TaskEvent.CANCEL, reason=f"skipped: {reason}", result=TaskResult(error_class=SKIPPED), now=now
            )
            follow = self._end_alone(moved, now=now)
            pending += [(each, f"{moved.task.name} was skipped") for each in follow]

    def _dependency_met(self, kept: Kept, other: int, *, now: Instant) -> None:
        left = kept.task.unfinished - 1 if kept.task.spec.join is Join.ALL else 0
        self._db.do("meet_dependency", task=kept.task.id, after=other)
        if left == kept.task.unfinished:
            return  # any one was enough, and came before
        if left == 0 and kept.task.state is TaskState.BLOCKED and not kept.held:
            self._move(kept, TaskEvent.RELEASE, now=now, due_at=kept.task.not_before_at, unfinished=0)
            return
        reason = kept.task.reason
        named = _named(reason)
        if left and _waits_for_others(kept) and other in named:
            reason = without(reason, other) or self._what_is_missing(kept.task, first=min(named), left=left)
        self._db.do("count_dependency", id=kept.task.id, unfinished=left, reason=reason)
        self._memory.tasks.pop(kept.task.id, None)

    def _deliver(self, kept: Kept, *, now: Instant) -> None:
        """The result, as a message: once per session, whoever asked for it there."""
        task = kept.task
        if task.spec.deliver is not None and task.spec.deliver.startswith(SESSION_PREFIX):
            self._deliver_to(task.spec.deliver.removeprefix(SESSION_PREFIX), kept, or_agent=task.agent, now=now)
        elif task.spec.deliver == OPERATOR:
            self._append(OPERATOR_SESSION, self._completion(kept), agent=OPERATOR, now=now, wake=False)
        elif task.state is TaskState.DONE and (task.spec.deliver or "").startswith(FILE_PREFIX):
            self.add_task(_saving(task, now=now), now=now)
        above = None if task.parent is None else self._kept_or_none(task.parent)
        if above is None:
            return
        cancelled = above.task.state is TaskState.CANCELLED and above.task.session == task_session(above.task.id)
        told = task.spec.deliver != PARENT and not cancelled
        if above.task.session is not None and told:  # nobody takes up again what was cancelled
            self._deliver_to(above.task.session, kept, or_agent=above.task.agent, now=now)
            above = self._kept(above.task.id)
        wait = above.task.wait
        waits = wait is not None and wait.kind in AWAITING_TASKS and is_among(task.id, wait.refs)
        if waits and above.task.state is TaskState.WAITING:
            self._move(above, TaskEvent.WAKE, now=now, reason=f"T{task.id} has ended")

    def _deliver_to(self, key: str, kept: Kept, *, or_agent: str | None, now: Instant) -> None:
        """To whomever the session belongs, so that nothing about the receiver can keep a task from ending."""
        session = self._session_row(key)
        owner = (owner_of(key) or or_agent) if session is None else session.agent
        if key and owner:
            self._append(key, self._completion(kept), agent=owner, now=now, child=kept.task.id)

    def _completion(self, kept: Kept) -> NewMessage:
        """What the one who waited reads. A task that comes back and ends again is told of again."""
        task, again = kept.task, f":{kept.endings}" if kept.endings else ""
        return NewMessage(
            source=Source.COMPLETION,
            text=completion_text(task),
            sender=task.agent or "runtime",
            requester=task.spec.requester,
            trust=Trust.EXTERNAL if task.is_outside else Trust.AGENT,
            private=_is_private(task),
            depth=task.depth,
            causes=(*task.spec.causes, f"T{task.id}"),
            client_id=f"completion:T{task.id}{again}",
        )

    def _read_on(self, kept: Kept, *, now: Instant) -> None:
        """Messages that came while the task ran get their turn. After a failure only those that it cannot have seen do:
        the others made it fail, and would do so for ever."""
        task = kept.task
        if task.state is TaskState.CANCELLED and task.session == task_session(task.id):
            return  # nobody takes up again what was cancelled, unless somebody says something new
        if task.session is not None:
            self._next_turn(task.session, now=now, newer_than=0 if task.state is TaskState.DONE else kept.seen)

    def _wait_is_over(self, kept: Kept, *, now: Instant) -> bool:
        """True where what a task begins to wait for has come already: an answer while it still ran, a child's end, a
        message."""
        wait = kept.task.wait
        if wait is None:
            return False
        if wait.until_at is not None and wait.until_at <= now:
            return True
        return self._has_happened(wait, kept)

    def _has_happened(self, wait: Wait, kept: Kept) -> bool:
        task = kept.task
        match wait.kind:
            case WaitKind.QUESTION | WaitKind.UNKNOWN:
                settled = self._db.one("any_settled", ids=rows.list_of(ids_of(wait.refs)))
                return settled is not None
            case WaitKind.CHILD | WaitKind.PROCESS:
                ended = rows.list_of(each.value for each in ENDED)
                return self._db.one("any_ended", ids=rows.list_of(ids_of(wait.refs)), ended=ended) is not None
            case WaitKind.EVENT:
                return bool(task.session and self.inbox(task.session, limit=1))
            case WaitKind.TIME:
                return False


def _saving(task: Task, *, now: Instant) -> NewTask:
    """The task that saves a result in a file of its agent; it is added in the commit of the end, and needs no key."""
    path = saved_path((task.spec.deliver or "").removeprefix(FILE_PREFIX), task=task.name, at=now)
    spec = TaskSpec(
        goal=f"Save the result of {task.name} in {path}.",
        input={"tool": SAVE_TOOL, "arguments": {"path": path, "text": completion_text(task)}},
        requester=task.spec.requester,
        trust=Trust.EXTERNAL if task.is_outside else task.spec.trust,
        private=_is_private(task),
        trigger=Source.COMPLETION,
        causes=(*task.spec.causes, task.name),
    )
    return NewTask(kind=TaskKind.DELIVERY, title=f"save the result of {task.name}", spec=spec, agent=task.agent)


def _is_private(task: Task) -> bool:
    """True where its end may tell what is private: it has read that, was told it, or is a command or an action."""
    return task.is_private or task.kind in (TaskKind.PROCESS, TaskKind.DELIVERY)


def _waits_for_others(kept: Kept) -> bool:
    """True where nothing but its dependencies keeps it from running, or would if it were approved."""
    return kept.task.state in (TaskState.BLOCKED, TaskState.DRAFT) and not kept.held


def _named(reason: str) -> list[int]:
    """The tasks that a reason names. What waits for thousands is not asked after each of them what is left."""
    return [int(number) for number in _TASKS.findall(reason)]


def _why_not_taken(task: Task) -> str:
    return f"{task.name} did not fail" if task.state is TaskState.DONE else f"{task.name} is {task.state.value}"


def completion_text(task: Task) -> str:
    """How a task ended, for whoever reads the message."""
    result = task.result
    if task.state is TaskState.DONE:
        if result is None:
            return f"{task.name} is done"
        return result.text or (to_json(result.data).decode() if result.data else f"{task.name} is done")
    if task.state is TaskState.CANCELLED:
        return f"{task.name} was cancelled" + (f": {task.reason}" if task.reason else "")
    return f"{task.name} failed: {result.error if result is not None else task.reason}"
