"""Adding tasks and moving them: every change of state passes through `_move`.

Knows nothing of what follows from an ending (endings) or of claims.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

from msgspec.structs import replace

from ostinato.domain.dependency import Standing, reason_to_wait, standing, still_missing, waits_for
from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.fingerprint import fingerprint_of
from ostinato.domain.message import task_session
from ostinato.domain.step import Entry, Input, entry_to_json
from ostinato.domain.task import ENDED, After, NewTask, Task, TaskEvent, TaskKind, TaskSpec, TaskState, next_state
from ostinato.domain.values import Instant, digest_of, to_json
from ostinato.store.port import DEFAULT_POOL
from ostinato.store.verbs import rows
from ostinato.store.verbs.queues import Candidate, QueueKey
from ostinato.store.verbs.rows import Kept
from ostinato.store.verbs.work import Work

EVENT_NAMES = {
    TaskEvent.APPROVE: EventName.TASK_APPROVED,
    TaskEvent.REJECT: EventName.TASK_CANCELLED,
    TaskEvent.BLOCK: EventName.TASK_BLOCKED,
    TaskEvent.RELEASE: EventName.TASK_RELEASED,
    TaskEvent.CLAIM: EventName.TASK_CLAIMED,
    TaskEvent.FINISH: EventName.TASK_DONE,
    TaskEvent.SUBMIT: EventName.TASK_REVIEW,
    TaskEvent.PARK: EventName.TASK_PARKED,
    TaskEvent.RETRY: EventName.TASK_RETRIED,
    TaskEvent.REQUEUE: EventName.TASK_REQUEUED,
    TaskEvent.FAIL: EventName.TASK_FAILED,
    TaskEvent.CANCEL: EventName.TASK_CANCELLED,
    TaskEvent.WAKE: EventName.TASK_WOKEN,
    TaskEvent.ACCEPT: EventName.TASK_DONE,
    TaskEvent.RETURN: EventName.TASK_RETURNED,
    TaskEvent.REPLAY: EventName.TASK_REPLAYED,
    TaskEvent.DISMISS: EventName.TASK_DISMISSED,
}


_BEGIN_TO_WAIT = frozenset({TaskEvent.RELEASE, TaskEvent.REPLAY})
"""From then on a task waits for its turn; what parks, is tried again or gives way keeps its place."""

_FINISHING = frozenset({"losses", "result"})
"""What an end in order changes of a task beside what every move does."""

_KEPT_AT_HAND = frozenset({TaskState.READY, TaskState.RUNNING})


class Waits(NamedTuple):
    """How each dependency of a new task stands, and those that are not met, in words."""

    standings: Sequence[Standing] = ()
    missing: Sequence[str] = ()


WAITS_FOR_NOTHING = Waits()


class TaskVerbs(Work):
    """Tasks: add, find, move, write into the journal."""

    def add_task(self, new: NewTask, *, now: Instant, actor: str = "runtime") -> Task:
        """A new task, or the one that the key already names."""
        body: str | None = None
        if new.key is not None:
            body = new.body or digest_of(to_json(new))
            found = self._db.one("task_by_key", key=new.key)
            if found is not None:
                task, known_body = found
                if known_body != body:
                    raise Conflict(
                        f"The key {new.key!r} belongs to T{task}, which was added with other contents",
                        cure="Use a new key for a new task.",
                    )
                return self.task(task)
        if new.spec.delegation and (live := self._live(new.spec.delegation)) is not None:
            return self.task(live)
        if new.kind is TaskKind.TURN and new.session:
            self._check_turn(new.session)
        waits = self._waits(new)
        return self._added(self._insert(new, waits, body=body, now=now, actor=actor), waits, now=now)

    def _added(self, kept: Kept, waits: Waits, *, now: Instant) -> Task:
        """What a new task sets off at once: nothing here, more in `endings`."""
        return kept.task

    def _live(self, delegation: str) -> int | None:
        """The unfinished task that does this work."""
        row = self._db.one("live_delegation", delegation=delegation)
        return None if row is None else row[0]

    def _check_work(self, task: Task) -> None:
        """Conflict where another task does the same work by now."""
        live = self._live(task.spec.delegation) if task.spec.delegation else None
        if live is not None and live != task.id:
            raise Conflict(f"T{live} does the same work as {task.name}", cure=f"See it: ostinato tasks show T{live}.")

    def edit_draft(self, task: int, *, title: str, spec: TaskSpec, actor: str, now: Instant) -> Task:
        """Other words for what nobody has approved yet; Conflict for anything else."""
        kept = self._kept(task)
        if kept.task.state is not TaskState.DRAFT:
            cure = "Only drafts are edited. Cancel it, and add another; or leave a comment."
            raise Conflict(f"{kept.task.name} is {kept.task.state.value}, no draft", cure=cure)
        edited = self._reword(kept, title=title, spec=spec, now=now)
        before = kept.task.spec
        changed = [each for each in spec.__struct_fields__ if getattr(before, each) != getattr(spec, each)]
        changed += ["title"] if title != kept.task.title else []
        self._tell_of(edited.task, EventName.TASK_CHANGED, now=now, actor=actor, data={"edited": changed})
        return edited.task

    def _reword(self, kept: Kept, *, title: str, spec: TaskSpec, now: Instant) -> Kept:
        """Other words for what is asked."""
        edited = replace(kept, task=replace(kept.task, title=title, spec=spec, updated_at=now))
        self._check_work(edited.task)
        task, text = kept.task.id, rows.to_text(spec)
        self._db.do("drop_task_document", task=task)
        is_long = len(text) > rows.SPEC_INLINE_MAX
        if is_long:
            self._db.do("add_task_document", task=task, spec=text)
        inline = None if is_long else text
        self._db.do("edit_task", id=task, title=title, spec=inline, delegation=spec.delegation or None, now=now)
        self._remember(edited)
        return edited

    def _check_turn(self, session: str) -> None:
        """One turn at a time: Conflict where an unfinished one will read the session's messages."""
        row = self._db.one("unfinished_turn", session=session)
        if row is not None:
            raise Conflict(
                f"The session {session!r} has a turn already: T{row[0]}", cure="Send the session a message instead."
            )

    def _insert(self, new: NewTask, waits: Waits, *, body: str | None, now: Instant, actor: str) -> Kept:
        if new.parent is not None and self._db.one("task_state", id=new.parent) is None:
            raise NotFound(f"There is no task T{new.parent} to be the parent of {new.title!r}")
        pool = self._pool_of(new.agent) if new.pool == DEFAULT_POOL else new.pool
        task = _fresh(self._db.next_id("tasks"), new, waits, pool=pool, now=now)
        due_at = task.not_before_at if task.state is TaskState.READY and task.not_before_at > now else None
        place = self._rank(due_at or now, priority=task.priority)
        kept = Kept(task=task, ready_at=due_at or now, due_at=due_at, held=bool(new.blocked), rank=place)
        self._write_new(kept, new, body)
        self._write_dependencies(task.id, new.dependencies, waits.standings)
        self._tally(task, 1)
        self._tell_of(task, EventName.TASK_ADDED, now=now, actor=actor, reason=task.reason)
        self._remember(kept)
        if task.parent is None and not task.spec.causes:  # nobody can have given it a budget: its calls need not ask
            self._memory.note_treeless(task.id)
        self._note_claimable(kept)
        return kept

    def _waits(self, new: NewTask) -> Waits:
        """How each dependency stands; asked together, as each question is a journey where the database is far."""
        if not new.dependencies:
            return WAITS_FOR_NOTHING
        ids = rows.to_text(sorted({each.task for each in new.dependencies}))
        found = {task: (state, result) for task, state, result in self._db.all("task_states", ids=ids)}
        standings: list[Standing] = []
        missing: list[str] = []
        for each in new.dependencies:
            if each.task not in found:
                raise NotFound(f"There is no task T{each.task} to wait for", cure="Name tasks that exist in `after`.")
            state, result = found[each.task]
            skipped = rows.is_skipped_row(state, result)
            standings.append(standing(each.on, state=TaskState(state), skipped=skipped))
            if standings[-1] is not Standing.MET:
                missing.append(waits_for(each, state=TaskState(state)))
        return Waits(standings, missing)

    def _write_dependencies(self, task: int, after: Sequence[After], standings: Sequence[Standing]) -> None:
        for each, stands in zip(after, standings, strict=True):
            met = stands is Standing.MET
            self._db.do("add_dependency", task=task, after=each.task, condition=each.on.value, met=met)
            self._db.do("await_task", id=each.task)
            self._memory.tasks.pop(each.task, None)

    def _write_new(self, kept: Kept, new: NewTask, body: str | None) -> None:
        task = kept.task
        spec: str | None = rows.to_text(task.spec)
        if spec is not None and len(spec) > rows.SPEC_INLINE_MAX:
            self._db.do("add_task_document", task=task.id, spec=spec)
            spec = None
        self._db.do(
            "add_task",
            id=task.id,
            kind=task.kind.value,
            state=task.state.value,
            title=task.title,
            agent=task.agent or "",
            session=task.session or "",
            pool=task.pool,
            project=task.project,
            type=task.type,
            priority=task.priority,
            not_before_at=task.not_before_at,
            now=task.created_at,
            ready_at=kept.ready_at,
            due_at=kept.due_at,
            unfinished=task.unfinished,
            held=kept.held,
            parent=task.parent,
            depth=task.depth,
            key=task.key,
            body=body,
            reason=task.reason,
            spec=spec,
            delegation=new.spec.delegation or None,
            strand=self._strand_of(task),
            rank=kept.rank,
        )
        if new.spec.attachments:
            self._note_blobs([each.digest for each in new.spec.attachments], task=task.id)

    def _kept(self, task: int) -> Kept:
        """A task by its id; raises NotFound."""
        kept = self._memory.tasks.get(task)
        if kept is None:
            kept = self._find_task(task)
            self._remember(kept)
        return kept

    def _kept_or_none(self, task: int) -> Kept | None:
        """The same; None where there is no such task."""
        try:
            return self._kept(task)
        except NotFound:
            return None

    def _remember(self, kept: Kept) -> None:
        """Memory follows every write: ready and running tasks are about to be needed again, others are forgotten."""
        if kept.task.state in _KEPT_AT_HAND:
            self._memory.keep(kept)
        else:
            self._memory.tasks.pop(kept.task.id, None)

    def _move(
        self,
        kept: Kept,
        event: TaskEvent,
        *,
        now: Instant,
        actor: str = "runtime",
        reason: str = "",
        data: dict[str, Any] | None = None,
        due_at: Instant | None = None,
        held: bool | None = None,
        endings: int | None = None,
        **fields: Any,
    ) -> Kept:
        """Takes a task through the table of states: row, tallies, event and memory. `fields` are the task's own."""
        old = kept.task
        state = next_state(old.state, event, task=old.name)
        if state is TaskState.READY and due_at is not None and due_at <= now:
            due_at = None
        changes: dict[str, Any] = {"wait": None, "node": None, **fields}
        finished_at = now if state in ENDED else None
        if event is TaskEvent.DISMISS:
            finished_at = old.finished_at
        task = replace(old, state=state, updated_at=now, finished_at=finished_at, reason=reason, **changes)
        moved = replace(
            kept,
            task=task,
            ready_at=due_at or now if state is TaskState.READY else kept.ready_at,
            due_at=due_at,
            held=kept.held if held is None else held,
            endings=kept.endings if endings is None else endings,
            rank=self._rank(due_at or now, priority=task.priority) if event in _BEGIN_TO_WAIT else kept.rank,
        )
        if event is TaskEvent.FINISH and fields.keys() <= _FINISHING:
            self._write_end(task)
        else:
            self._write_move(moved)
        self._remember(moved)
        self._tally(old, -1)
        self._tally(task, 1)
        dead = _is_dead(task) - _is_dead(old)
        if dead:
            self._total("dead", dead)
        self._tell_of(task, EVENT_NAMES[event], now=now, actor=actor, reason=reason, data=data)
        if old.state is TaskState.RUNNING:
            self._left_running(old)
        self._note_claimable(moved)
        return moved

    def _write_end(self, task: Task) -> None:
        """What the end of nearly every task changes: a third of the work of writing what any move may change."""
        self._db.do(
            "end_task",
            id=task.id,
            now=task.finished_at,
            losses=task.losses,
            reason=task.reason,
            result=rows.to_text_or_none(task.result),
        )

    def _write_move(self, kept: Kept) -> None:
        task = kept.task
        self._db.do(
            "move_task",
            id=task.id,
            state=task.state.value,
            now=task.updated_at,
            finished_at=task.finished_at,
            ready_at=kept.ready_at,
            due_at=kept.due_at,
            failures=task.failures,
            losses=task.losses,
            token=task.token,
            node=task.node,
            journal=task.journal,
            steps=task.steps,
            unfinished=task.unfinished,
            held=kept.held,
            wait=rows.to_text_or_none(task.wait),
            reason=task.reason,
            dismissed=task.dismissed,
            endings=kept.endings,
            result=rows.to_text_or_none(task.result),
            rank=kept.rank,
            fingerprint=fingerprint_of(task) if _is_dead(task) else None,
        )

    def _note_claimable(self, kept: Kept) -> None:
        """Tells memory that a task can be claimed, now or later."""
        memory = self._memory
        if kept.due_at is not None:
            memory.note_due(kept.due_at)
        elif (place := self._place_of(kept)) is not None:
            self.brings_work = True
            if memory.queues is not None and not memory.queues.add(*place) and place[0] in memory.long_queues:
                memory.tasks.pop(kept.task.id, None)  # others would have to make room for it, long before its turn

    def _left_running(self, task: Task) -> None:
        queues = self._memory.queues
        if queues is not None and queues.ended(self._queue_of(task), task.session or ""):
            self.brings_work = True

    def _queue_of(self, task: Task) -> QueueKey:
        return QueueKey(task.pool, task.agent or "", task.kind.value, self._strand_of(task))

    def _place_of(self, kept: Kept) -> tuple[QueueKey, Candidate] | None:
        """Where a task waits to be claimed; None where it cannot be."""
        task = kept.task
        if task.state is not TaskState.READY or kept.due_at is not None:
            return None
        return self._queue_of(task), Candidate(kept.rank, task.id, task.session or "", task.priority)

    def _append_steps(self, kept: Kept, entries: Sequence[Entry], *, now: Instant) -> Kept:
        """Writes entries at the end of the current journal."""
        if not entries:
            return kept
        task = kept.task
        self._db.many(
            "add_step",
            [
                {
                    "task": task.id,
                    "journal": task.journal,
                    "seq": task.steps + number,
                    "at": now,
                    "attempt": task.token,
                    "entry": entry_to_json(entry).decode(),
                }
                for number, entry in enumerate(entries, 1)
            ],
        )
        for entry in entries:
            if isinstance(entry, Input) and entry.files:
                self._note_blobs(list(entry.files.values()), task=task.id)
        steps = task.steps + len(entries)
        self._db.do("count_steps", id=task.id, steps=steps, now=now)
        written = replace(kept, task=replace(task, steps=steps, updated_at=now))
        self._remember(written)
        return written

    def _note_blobs(self, digests: Sequence[str], *, task: int = 0, message: int = 0) -> None:
        """Says who names these blobs, so that they are kept as long."""
        self._db.many("use_blob", [{"digest": each, "task": task, "message": message} for each in set(digests)])


def _is_dead(task: Task) -> bool:
    return task.state is TaskState.FAILED and not task.dismissed


def _fresh(task_id: int, new: NewTask, waits: Waits, *, pool: str, now: Instant) -> Task:
    """A new task as it begins: a draft, blocked with the reason, or ready."""
    unfinished = still_missing(new.spec.join, waits.standings)
    reason = new.blocked or (reason_to_wait(new.spec.join, waits.missing) if unfinished else "")
    if new.draft:
        state = TaskState.DRAFT
    elif reason:
        state = TaskState.BLOCKED
    else:
        state = TaskState.READY
    session = new.session
    if session is None and new.kind is TaskKind.GOAL:
        session = task_session(task_id)
    return Task(
        id=task_id,
        kind=new.kind,
        state=state,
        title=new.title,
        agent=new.agent or None,
        session=session or None,
        pool=pool,
        project=new.project,
        type=new.type,
        priority=new.priority,
        not_before_at=new.not_before_at,
        created_at=now,
        updated_at=now,
        finished_at=None,
        attempts=0,
        failures=0,
        losses=0,
        token=0,
        node=None,
        journal=1,
        unfinished=unfinished,
        parent=new.parent,
        depth=new.depth,
        key=new.key,
        wait=None,
        reason=reason,
        dismissed=False,
        spec=new.spec,
        result=None,
        tokens=0,
        usd_micros=0,
        steps=0,
    )
