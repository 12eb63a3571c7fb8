"""What people and sweeps do to tasks: approve, cancel, release, replay, change, note."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from ostinato.domain.dependency import NAMED_MAX, Standing, standing, still_missing
from ostinato.domain.errors import Conflict, Invalid
from ostinato.domain.event import EventName
from ostinato.domain.failure import Setbacks
from ostinato.domain.message import task_session
from ostinato.domain.question import QuestionKind, QuestionState
from ostinato.domain.replay import Edit
from ostinato.domain.step import (
    REPEATABLE,
    WITHDRAWN,
    Answered,
    Entry,
    Input,
    Note,
    Step,
    ToolIntent,
    ToolOutcome,
    is_private,
    is_tainted,
    sent_on,
)
from ostinato.domain.task import (
    ENDED,
    Condition,
    Task,
    TaskEvent,
    TaskKind,
    TaskResult,
    TaskState,
    next_state,
    next_token,
)
from ostinato.domain.values import Instant, Trust
from ostinato.store.port import QuestionFilter
from ostinato.store.verbs import rows
from ostinato.store.verbs.endings import EndingVerbs
from ostinato.store.verbs.rows import Kept

BY_ATTEMPT = frozenset(
    {TaskEvent.CLAIM, TaskEvent.FINISH, TaskEvent.SUBMIT, TaskEvent.PARK, TaskEvent.RETRY, TaskEvent.REQUEUE}
)
"""What only the holder of a claim can do."""

PRIORITY_MAX = 100

WITHDRAWN_MAX = 1_000
"""Questions of one task that a retry looks at; limits stop a turn long before it has asked so many."""


class MoveVerbs(EndingVerbs):
    """Moves that need no claim."""

    def move_task(self, task: int, event: TaskEvent, *, actor: str, reason: str = "", now: Instant) -> Task:
        """What people and sweeps do; what belongs to a claim is Invalid here."""
        kept = self._kept(task)
        if event in BY_ATTEMPT:
            raise Invalid(
                f"{event.value} belongs to whoever holds the task's claim",
                cure="From outside, a task can be cancelled, failed, blocked, released or woken.",
            )
        next_state(kept.task.state, event, task=kept.task.name)  # the table speaks first, whatever else may be wrong
        match event:
            case TaskEvent.REPLAY:
                return self._replay(kept, fresh=True, actor=actor, reason=reason, now=now)
            case TaskEvent.RELEASE:
                return self._release(kept, actor=actor, reason=reason, now=now)
            case TaskEvent.APPROVE:
                return self._approve(kept, actor=actor, reason=reason, now=now)
            case TaskEvent.BLOCK:
                return self._move(kept, event, actor=actor, reason=reason, held=True, now=now).task
            case TaskEvent.DISMISS:
                if kept.task.dismissed:
                    raise Conflict(f"T{task} has been dismissed already", cure="Nothing more needs to be done.")
                self._withdraw_questions(task, now=now, why=f"{actor} has dealt with it")
                return self._move(kept, event, actor=actor, reason=reason, dismissed=True, now=now).task
            case _:
                return self._move_and_end(kept, event, actor=actor, reason=reason, now=now)

    def _approve(self, kept: Kept, *, actor: str, reason: str, now: Instant) -> Task:
        """Why somebody approved it stands in the event; why it still waits, in the task."""
        approved = self._move(kept, TaskEvent.APPROVE, actor=actor, reason=reason or kept.task.reason, now=now)
        if not (approved.task.unfinished or approved.held):
            due_at = approved.task.not_before_at
            return self._move(approved, TaskEvent.RELEASE, actor=actor, due_at=due_at, now=now).task
        waits = kept.task.reason if approved.held else self._what_is_missing(approved.task)
        self._db.do("explain_task", id=kept.task.id, reason=waits, now=now)
        return replace(approved.task, reason=waits)

    def _move_and_end(self, kept: Kept, event: TaskEvent, *, actor: str, reason: str, now: Instant) -> Task:
        """Moves that may end the task; a running attempt is fenced by a new token."""
        changes: dict[str, Any] = {}
        if event is TaskEvent.FAIL:
            result = kept.task.result or TaskResult()
            changes["result"] = replace(result, error=reason or "stopped", error_class="permanent")
        if kept.task.state is TaskState.RUNNING:
            outcome = "fail" if event is TaskEvent.FAIL else "cancelled"
            self._end_attempt(kept.task, outcome, error=reason, now=now)
            changes["token"] = next_token(kept.task.token, epoch=self._db.epoch)
        moved = self._move(kept, event, actor=actor, reason=reason, now=now, **changes)
        if moved.task.state in ENDED:
            self._end(moved, now=now)
        return moved.task

    def _end(self, kept: Kept, *, now: Instant) -> None:
        """The same for sub-agents of a cancelled task: they work for it alone. What it gave away to others lives on."""
        super()._end(kept, now=now)
        if kept.task.state is not TaskState.CANCELLED:
            return
        for row in self._db.all("unfinished_children", parent=kept.task.id):
            child = rows.kept_of(row)
            if child.task.spec.within or child.task.spec.reviews:
                why = f"{kept.task.name}, which it worked for, was cancelled"
                self._move_and_end(child, TaskEvent.CANCEL, actor="runtime", reason=why, now=now)

    def _end_attempt(self, task: Task, outcome: str, *, error: str, now: Instant) -> None:
        self._db.do("end_attempt", task=task.id, token=task.token, outcome=outcome, error=error, now=now)

    def _release(self, kept: Kept, *, actor: str, reason: str, now: Instant) -> Task:
        """Takes the hold away. What waits for others stays blocked; where these have ended badly and will not come, a
        release is the decision to go on without them."""
        task = kept.task
        if task.unfinished:
            names = [f"T{row[0]}" for row in self._db.all("unfinished_dependencies", task=task.id)]
            if names and not kept.held:
                shown = f"{', '.join(names[:NAMED_MAX])}{' and others' if len(names) > NAMED_MAX else ''}"
                cure = "It goes on by itself once they are done, or can be released once they have ended."
                raise Conflict(f"T{task.id} waits for {shown}", cure=cure)
            if kept.held:
                return self._drop_hold(kept, actor=actor, now=now)
        return self._move(
            kept, TaskEvent.RELEASE, actor=actor, reason=reason, held=False, due_at=task.not_before_at, now=now
        ).task

    def _drop_hold(self, kept: Kept, *, actor: str, now: Instant) -> Task:
        reason = self._what_is_missing(kept.task)
        self._db.do("drop_hold", id=kept.task.id, reason=reason, now=now)
        self._memory.tasks.pop(kept.task.id, None)
        self._tell_of(kept.task, EventName.TASK_BLOCKED, now=now, actor=actor, reason=reason)
        return self.task(kept.task.id)

    def retry_task(
        self,
        task: int,
        *,
        fresh: bool,
        actor: str,
        reason: str = "",
        now: Instant,
        edit: Edit | None = None,
    ) -> Task:
        """Brings a failed task back, with its journal or a new one, as it was or with other words."""
        kept = self._kept(task)
        next_state(kept.task.state, TaskEvent.REPLAY, task=kept.task.name)
        if edit is not None:
            if kept.task.kind is not TaskKind.GOAL:
                cure = "Send its session a message, or add a new task."
                raise Conflict(f"{kept.task.name} is a {kept.task.kind.value}: only goals are edited", cure=cure)
            old, spec = kept.task.spec, edit.of(kept.task.spec)
            kept = self._reword(kept, title=kept.task.title, spec=spec, now=now)
            changed = [each for each in ("goal", "input") if getattr(old, each) != getattr(spec, each)]
            self._tell_of(kept.task, EventName.TASK_CHANGED, now=now, actor=actor, data={"edited": changed})
        return self._replay(kept, fresh=fresh, actor=actor, reason=reason, now=now)

    def _replay(self, kept: Kept, *, fresh: bool, actor: str, reason: str, now: Instant) -> Task:
        journal = self.steps(kept.task.id)
        if kept.task.kind is TaskKind.TURN and kept.task.session:
            self._check_turn(kept.task.session)
        self._check_work(kept.task)
        effects = effects_of(journal) if fresh else []
        changes: dict[str, Any] = {"failures": 0, "losses": 0, "dismissed": False, "result": None}
        self._forget_counts(kept.task)
        self._withdraw_questions(kept.task.id, now=now, why=f"{actor} has dealt with it")
        if fresh:
            changes.update(journal=kept.task.journal + 1, steps=0)
        endings = kept.endings + 1
        moved = self._move(kept, TaskEvent.REPLAY, actor=actor, reason=reason, endings=endings, now=now, **changes)
        for row in self._db.all("waiting_dependants", after=kept.task.id) if kept.awaited else ():
            self._explain(rows.kept_of(row[:-1]), now=now)
        if fresh:
            self._withdraw_stored(kept.task.id, now=now)
            entries = begun_anew(journal, effects)
        else:
            self._reserve_again(kept.task, journal, now=now)
            entries = [sent_on(by=actor, reason=reason), *self._undecided(kept.task.id, journal)]
        moved = self._append_steps(moved, entries, now=now)
        never_began = kept.task.unfinished and not kept.task.attempts
        return self._wait_again(moved, now=now) if never_began else moved.task

    def _wait_again(self, kept: Kept, *, now: Instant) -> Task:
        """What ended badly before it could begin waits for what it waited for, as far as that has not come since."""
        task = kept.task
        for other, condition, met, state, result in self._db.all("edges", task=task.id):
            stands = standing(Condition(condition), state=TaskState(state), skipped=rows.is_skipped_row(state, result))
            if not met and stands is Standing.MET:
                self._db.do("meet_dependency", task=task.id, after=other)
        edges = self._db.all("edges", task=task.id)
        left = still_missing(task.spec.join, [Standing.MET if edge[2] else Standing.OPEN for edge in edges])
        self._db.do("count_dependency", id=task.id, unfinished=left, reason=task.reason)
        kept = replace(kept, task=replace(task, unfinished=left))
        if not left:
            self._remember(kept)
            return kept.task
        reason = self._what_is_missing(task)
        blocked = self._move(kept, TaskEvent.BLOCK, reason=reason, held=False, now=now)
        if self._will_not_come(blocked.task):
            self._skip_branch(task.id, why=reason, now=now)
        return self.task(task.id)

    def _keep_setbacks(self, task: int, setbacks: Setbacks) -> None:
        self._db.do("put_setbacks", task=task, body=rows.to_text(setbacks))

    def _forget_counts(self, task: Task) -> None:
        """A person sends it on: every budget is whole again."""
        known = self.setbacks(task.id)
        if known.told:
            self._keep_setbacks(task.id, known.anew())

    def _withdraw_stored(self, task: int, *, now: Instant) -> None:
        """Actions that the old journal asked for, and that nobody has decided about: the new one asks for its own. Its
        calls have the same ids, and one leave must not stand for two actions."""
        pending = QuestionFilter(state=QuestionState.PENDING, task=task)
        for each in self.questions(pending, limit=WITHDRAWN_MAX):
            if each.stored and each.budget is None:  # what is asked about a budget is everybody's
                self._db.do("withdraw_question", id=each.id, now=now)
                self._tell_withdrawn(
                    each.id, task, agent=each.agent, session=each.session, why="its task began anew", now=now
                )

    def _undecided(self, task: int, journal: Sequence[Step]) -> list[Entry]:
        """What became of the questions that were withdrawn when the task ended: else it would wait for them for ever,
        or not at all."""
        known = {step.entry.question for step in journal if isinstance(step.entry, Answered)}
        withdrawn = self.questions(QuestionFilter(state=QuestionState.WITHDRAWN, task=task), limit=WITHDRAWN_MAX)
        return [
            Answered(question=each.id, decision=WITHDRAWN, by="runtime", call_id=each.call_id)
            for each in reversed(withdrawn)
            if each.id not in known and not each.stored and each.kind is not QuestionKind.FAILURE
        ]

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
        """Priority and project while it is unfinished; agent and delay while it does not run; `routed` says why an
        agent was chosen that nobody named."""
        kept = self._kept(task)
        old = kept.task
        wanted = {"priority": priority, "agent": agent, "not_before_at": not_before_at, "project": project}
        changes = {name: value for name, value in wanted.items() if value is not None and value != getattr(old, name)}
        if old.state in ENDED:
            raise Conflict(f"{old.name} has ended ({old.state.value})", cure="Replay it first, or add a new task.")
        if old.state is TaskState.RUNNING and {"agent", "not_before_at"} & changes.keys():
            raise Conflict(f"{old.name} runs now", cure="Cancel it, or wait until it parks, to move or delay it.")
        if priority is not None and abs(priority) > PRIORITY_MAX:
            raise Invalid(f"Priority {priority} is out of range", cure=f"Use -{PRIORITY_MAX} to {PRIORITY_MAX}.")
        if "agent" in changes and old.session and old.session != task_session(old.id):
            session = self._session_row(old.session)
            if session is not None and session.agent != agent:
                raise Conflict(
                    f"{old.name} belongs to the session {old.session!r} of {session.agent!r}",
                    cure="Another agent cannot read that session. Cancel it, and give the other one a task.",
                )
        if not changes:
            return old
        if routed and "agent" in changes:
            spec = replace(old.spec, routed=routed, routed_to=agent or "")
            kept = self._reword(kept, title=old.title, spec=spec, now=now)
        return self._change(kept, changes, actor=actor, now=now)

    def _change(self, kept: Kept, changes: dict[str, Any], *, actor: str, now: Instant) -> Task:
        old = kept.task
        if "agent" in changes:
            changes = {**changes, "pool": self._pool_of(changes["agent"])}
            changes = {name: value for name, value in changes.items() if value != getattr(old, name)}
        new = replace(old, updated_at=now, **changes)
        due_at, since_at = kept.due_at, kept.rank - self._rank(0, priority=old.priority)
        if new.state is TaskState.READY and "not_before_at" in changes:
            due_at = new.not_before_at if new.not_before_at > now else None
            since_at = max(min(since_at, now), due_at or 0)  # what is tried again, or parked, keeps its place
        place = self._rank(since_at, priority=new.priority)
        changed = replace(kept, task=new, due_at=due_at, ready_at=due_at or kept.ready_at, rank=place)
        self._db.do(
            "change_task",
            id=new.id,
            priority=new.priority,
            agent=new.agent or "",
            pool=new.pool,
            not_before_at=new.not_before_at,
            project=new.project,
            strand=self._strand_of(new),
            rank=changed.rank,
            due_at=due_at,
            ready_at=changed.ready_at,
            now=now,
        )
        if "agent" in changes:
            self._hand_on_reserved(old, new)
            self._tally(old, -1)
            self._tally(new, 1)
            if new.session == f"task:{new.id}":
                self._db.do("give_session", key=new.session, agent=new.agent or "")
        queues = self._memory.queues
        if queues is not None and new.state is TaskState.RUNNING and self._queue_of(new) != self._queue_of(old):
            queues.ended(self._queue_of(old), old.session or "")
            queues.started(self._queue_of(new), new.session or "")
        self._remember(changed)
        self._note_claimable(changed)
        before = {name: getattr(old, name) for name in changes}
        self._tell_of(new, EventName.TASK_CHANGED, now=now, actor=actor, data={"from": before, "to": changes})
        return new

    def note_task(
        self, task: int, text: str, *, by: str, now: Instant, trust: Trust = Trust.OPERATOR, private: bool = False
    ) -> None:
        """A comment, as a step and as an event."""
        kept = self._append_steps(self._kept(task), [Note(text=text, by=by, trust=trust, private=private)], now=now)
        self._tell_of(kept.task, EventName.TASK_NOTED, now=now, actor=by, data={"text": rows.shortened(text)})


def effects_of(journal: list[Step]) -> list[tuple[ToolIntent, ToolOutcome | None]]:
    """What a journal did to the world, each with its outcome if there is one."""
    outcomes = {step.entry.call_id: step.entry for step in journal if isinstance(step.entry, ToolOutcome)}
    return [
        (step.entry, outcomes.get(step.entry.call_id))
        for step in journal
        if isinstance(step.entry, ToolIntent) and step.entry.effect not in REPEATABLE
    ]


def begun_anew(journal: Sequence[Step], effects: list[tuple[ToolIntent, ToolOutcome | None]]) -> list[Entry]:
    """How a new journal begins: with the messages that the old one took out of the inbox, for no other turn will read
    them, and with what it did to the world."""
    read = (number for step in journal if isinstance(step.entry, Input) for number in step.entry.messages)
    messages = tuple(dict.fromkeys(read))
    entries: list[Entry] = [Input(messages=messages)] if messages else []
    return [*entries, told_anew(journal, _told_of(effects))] if effects else entries


def told_anew(journal: Sequence[Step], text: str, *, by: str = "runtime") -> Note:
    """A note about an old journal at the begin of a new one. It may repeat what strangers wrote into that one, or what
    was private there: so the note is no more trusted, and no less private."""
    old = [step.entry for step in journal]
    trust = Trust.EXTERNAL if is_tainted(old) else Trust.OPERATOR
    return Note(text=text, by=by, trust=trust, private=is_private(old))


def _told_of(effects: list[tuple[ToolIntent, ToolOutcome | None]]) -> str:
    """The note with which a new journal begins."""
    lines = ["This task was begun anew. An earlier try has already done this:"]
    for intent, outcome in effects:
        came = "its outcome is unknown" if outcome is None else outcome.status.value
        arguments = rows.shortened(rows.to_text(intent.arguments))
        lines.append(f"- {intent.tool} ({intent.effect.value}) {arguments}: {came}")
    return "\n".join(lines)
