"""Claims: taking tasks, writing while holding one, and finishing. Every write says which token it holds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, assert_never

from msgspec.structs import replace

from ostinato.domain.errors import Fenced, Internal
from ostinato.domain.event import EventName
from ostinato.domain.failure import NO_PLAN, FailurePlan
from ostinato.domain.message import task_session
from ostinato.domain.step import Entry
from ostinato.domain.task import (
    ENDED,
    Cancelled,
    Done,
    Fail,
    Outcome,
    Park,
    Requeue,
    Retry,
    Review,
    Task,
    TaskEvent,
    TaskState,
    claim_number,
    next_token,
)
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import Claim, ClaimRequest
from ostinato.store.verbs import rows
from ostinato.store.verbs.failures import FailureVerbs
from ostinato.store.verbs.rows import Kept
from ostinato.store.verbs.work import WRITTEN_TOGETHER

RELEASED_AT_ONCE = 200
"""Delayed tasks that one claim makes claimable; the rest follow with the next."""


class ClaimVerbs(FailureVerbs):
    """What a worker does."""

    def claim(self, request: ClaimRequest, *, now: Instant) -> list[Task]:
        """Takes what may run, most urgent first."""
        flags = self._flags()
        if "fleet" in flags or request.most <= 0:
            return []
        self._release_delayed(now=now, limit=RELEASED_AT_ONCE)
        queues = self._queues()
        claimed: list[Task] = []
        begun: dict[str, list[int]] = {}
        written: list[dict[str, Any]] = []
        seen = self._last_message()
        while len(claimed) < request.most:
            found = queues.take(request, flags.__contains__, now=now)
            if found is None:
                break
            kept = self._kept_or_none(found[1].id)
            if kept is None or self._place_of(kept) != found:
                continue  # it moved on since it was noted; where it went, it was noted again
            task = self._take(kept, node=request.node, seen=seen, now=now)
            claimed.append(task)
            written.append(
                {"task": task.id, "token": task.token, "node": task.node, "seen": seen, "ready_at": kept.ready_at,
                 "now": now}
            )  # fmt: skip
            queues.started(found[0], found[1].session)
            for scope, most in queues.began(found[0], now=now).items() if self._strands().limits else ():
                begun.setdefault(scope, []).append(most)
            if len(written) == WRITTEN_TOGETHER:
                self._write_claims(written)
        self._write_claims(written)
        self._write_begun(begun, now=now)
        own = {task_session(task.id) for task in claimed}
        self._memory.note_unasked(own.intersection(task.session for task in claimed))
        return claimed

    def _write_claims(self, written: list[dict[str, Any]]) -> None:
        """Writes what was taken so far, and forgets it."""
        if written:
            if self._db.many("claim_task", written) != len(written):
                raise Internal("A task could not be claimed, though it was ready")
            self._db.many("add_attempt", written)
            written.clear()

    def _write_begun(self, begun: Mapping[str, Sequence[int]], *, now: Instant) -> None:
        """What rates count, in the claim's own commit: they hold over restarts, and for all nodes together."""
        for scope, counts in begun.items():
            last = self._db.one("last_begun", scope=scope)
            seq = 0 if last is None else last[0]
            self._db.many(
                "add_begun", [{"scope": scope, "seq": seq + n, "now": now} for n in range(1, len(counts) + 1)]
            )
            self._db.do("forget_begun", scope=scope, seq=seq + len(counts) - counts[-1])

    def next_start_at(self) -> Instant | None:
        """When a rate opens that the last claim found used up."""
        queues = self._memory.queues
        return None if queues is None else queues.opens_at()

    def urgent_waits(self, request: ClaimRequest) -> Mapping[str, int]:
        """Urgent tasks that only places are wanting for."""
        flags = self._flags()
        return {} if "fleet" in flags else self._queues().urgent(request.pools, flags.__contains__)

    def _take(self, kept: Kept, *, node: int, seen: int, now: Instant) -> Task:
        """The task as it will be written, and what is said of it."""
        old = kept.task
        task = replace(
            old,
            state=TaskState.RUNNING,
            token=next_token(old.token, epoch=self._db.epoch),
            attempts=old.attempts + 1,
            node=node,
            updated_at=now,
            reason="",
        )
        self._remember(replace(kept, task=task, seen=seen))
        self._tally(old, -1)
        self._tally(task, 1)
        data = {"attempt": claim_number(task.token), "node": task.node}
        self._tell_of(task, EventName.TASK_CLAIMED, now=now, data=data)
        return task

    def _last_message(self) -> int:
        """Id of the fleet's newest message; what is newer was not there when the task was claimed."""
        return self._db.next_id("messages", take=False) - 1

    def _release_delayed(self, *, now: Instant, limit: int) -> int:
        """Delayed tasks whose time has come are claimable from now on."""
        memory = self._memory
        if not memory.due_known:
            row = self._db.one("first_due")
            memory.due_at, memory.due_known = (None if row is None else row[0]), True
        if memory.due_at is None or memory.due_at > now:
            return 0
        released = self._db.all("release_delayed", now=now, limit=limit)
        for row in released:
            kept = rows.kept_of(row)
            self._remember(kept)
            self._note_claimable(kept)
        memory.due_known = False
        return len(released)

    def check_claim(self, claim: Claim) -> Task:
        """The task, if it is still held and nothing halts it."""
        task = self._held(claim).task
        flags = self._flags()
        if flags:
            for scope in ("fleet", f"agent:{task.agent}", f"task:{task.id}", f"session:{task.session}",
                          f"pool:{task.pool}"):  # fmt: skip
                if "halted" in flags.get(scope, ()):
                    raise Fenced(f"T{task.id} must stop: {scope} is halted", cure="`ostinato start` lets it go on.")
        return task

    def _held(self, claim: Claim) -> Kept:
        """The task under this claim; Fenced where another holds it or nobody does."""
        kept = self._kept(claim.task)
        task = kept.task
        if task.token != claim.token or task.state is not TaskState.RUNNING:
            raise Fenced(
                f"T{task.id} is not held by claim {claim.token}: it is {task.state.value}, its last claim {task.token}",
                cure="Stop this attempt at once.",
            )
        return kept

    def record_steps(self, claim: Claim, entries: Sequence[Entry], *, now: Instant) -> int:
        """Appends to the journal of a task that is held."""
        return self._append_steps(self._held(claim), entries, now=now).task.steps

    def finish(
        self, claim: Claim, outcome: Outcome, *, now: Instant, chance: float = 0.5, plan: FailurePlan = NO_PLAN
    ) -> Task:
        """Ends the attempt as its outcome says, with all that follows."""
        kept = self._held(claim)
        if isinstance(outcome, Retry | Fail):
            return self._fail(kept, outcome, plan=plan, now=now, chance=chance).task
        moved = self._apply(kept, outcome, now=now)
        if moved.task.state in ENDED:
            if isinstance(outcome, Done) and outcome.holds:
                self._release_reserved(moved.task, now=now)
            self._end(moved, now=now)
        elif moved.task.state is TaskState.WAITING and self._wait_is_over(moved, now=now):
            moved = self._move(moved, TaskEvent.WAKE, now=now, reason="what it waits for has come already")
        return moved.task

    def _apply(self, kept: Kept, outcome: Done | Review | Park | Requeue | Cancelled, *, now: Instant) -> Kept:
        """Moves the task as the outcome says, and ends the attempt. An attempt that ended in order clears the count of
        lost nodes."""
        task = kept.task
        event, name = TaskEvent.FINISH, "done"
        more: dict[str, Any] = {}
        match outcome:
            case Done(result=result):
                more["result"] = result
                if result.source is not None:
                    self._note_hit(task, result.source, now=now)
            case Review(result=result, wait=wait, reason=reason):
                event, name = TaskEvent.SUBMIT, "review"
                more.update(result=result, wait=wait, reason=reason)
            case Park(wait=wait, reason=reason):
                event, name = TaskEvent.PARK, "park"
                more.update(wait=wait, reason=reason, due_at=wait.until_at)
            case Requeue(reason=reason):
                event, name, more["reason"] = TaskEvent.REQUEUE, "requeue", reason
            case Cancelled(reason=reason):
                event, name, more["reason"] = TaskEvent.CANCEL, "cancelled", reason
            case _:
                assert_never(outcome)
        self._end_attempt(task, name, error="", now=now)
        return self._move(kept, event, now=now, losses=0, **more)

    def _note_hit(self, task: Task, source: int, *, now: Instant) -> None:
        """An answer that cost nothing, and what it has cost the first time."""
        first = self._kept_or_none(source)
        saved = 0 if first is None else first.task.usd_micros
        self._db.do("add_hit", task=task.id, first=source, now=now, usd_micros=saved)
        data = {"source": f"T{source}", "saved_usd_micros": saved}
        self._tell_of(task, EventName.TASK_ANSWERED, now=now, data=data)

    def note_question(self, task: int, key: str, *, now: Instant) -> None:
        """What a task asks, whose result may answer others."""
        self._db.do("forget_question_of", task=task)
        self._db.do("add_result", key=key, task=task, now=now)

    def keep_result(self, task: int, *, for_s: float, now: Instant) -> bool:
        """Its result counts for so long."""
        until = now + round(for_s * SECOND)
        return bool(self._db.do("keep_result", task=task, now=now, until=until))
