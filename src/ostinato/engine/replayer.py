"""Performs tasks of kind `replay`: tries dead letters anew, a few in each commit, no faster than asked.

Which letter was the last stands in the journal, in the commit that brought the letters back: whatever kills the node,
each is replayed once. Cancelling the task stops it. Knows nothing of what the letters are about.
"""

from __future__ import annotations

from functools import partial

from ostinato.domain.errors import Conflict
from ostinato.domain.replay import (
    NO_EDIT,
    Progress,
    ReplayOrder,
    Risky,
    beyond_recall,
    order_of,
    progress_of,
    spaced_at,
    step_of,
)
from ostinato.domain.task import Done, Outcome, Park, Requeue, Task, TaskKind, TaskResult, Wait, WaitKind
from ostinato.domain.task_query import TaskQuery, parse_query
from ostinato.domain.values import SECOND, Instant, Value
from ostinato.engine.port import AttemptPort, Ending, Settled
from ostinato.store.port import Tx

BATCH = 20
"""Letters replayed in one commit: some milliseconds of the one writer."""

LOOKED_AT = 200
"""Letters looked at in one commit for those that a query means."""

PARKED_FROM_S = 1.0
"""A rate that lets the next one follow sooner is waited for without parking."""


class _Came(Value):
    """What one commit has come to: the end of the attempt, or how long to wait for the next."""

    progress: Progress
    ended: Task | None = None
    wait_s: float = 0.0


class ReplayHandler:
    """The engine's handler for replays."""

    kind = TaskKind.REPLAY
    timeout_s = 24 * 3_600.0

    def open(self, tx: Tx, task: Task, *, now: Instant) -> None:
        """Nothing is to be written before it begins."""

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """Batch by batch, until nothing is left or the rate says to wait."""
        order = order_of(attempt.task.spec)
        query, progress = parse_query(order.where), None
        while not attempt.draining:
            now = attempt.clock.now()
            came = await attempt.store.run(partial(_batch, attempt, order, query=query, progress=progress, now=now))
            progress = came.progress
            if came.ended is not None:
                return Settled(task=came.ended)
            if came.wait_s > 0.0:
                await attempt.clock.sleep(came.wait_s)
        return Requeue(reason="the node is stopping; the replay goes on where it was")


def _batch(
    attempt: AttemptPort, order: ReplayOrder, tx: Tx, *, query: TaskQuery, progress: Progress | None, now: Instant
) -> _Came:
    """`progress`: what this attempt has written last. The journal is read once: it gets a step with each commit."""
    tx.check_claim(attempt.claim)
    progress = progress or progress_of(step.entry for step in tx.steps(attempt.task.id))
    if progress.next_at > now:
        return _wait(attempt, order, progress, now=now, tx=tx)
    found = tx.dead_letters(group=order.group, after=progress.after, until_at=order.until_at, limit=LOOKED_AT)
    most = BATCH if order.rate is None else 1
    replayed, left, after = 0, 0, progress.after
    for letter in found:
        if replayed + left >= most:
            break
        after = letter.id
        if not query.holds(letter, now=now):
            continue
        if _replay(order, letter, now=now, tx=tx):
            replayed += 1
        else:
            left += 1
    is_over = after == (found[-1].id if found else after) and len(found) < LOOKED_AT
    progress = Progress(
        after=after,
        replayed=progress.replayed + replayed,
        left=progress.left + left,
        next_at=spaced_at(order.rate, now=now) if order.rate is not None and replayed else progress.next_at,
    )
    tx.record_steps(attempt.claim, [step_of(progress, total=order.total)], now=now)
    if is_over:
        data = {"replayed": progress.replayed, "left": progress.left}
        result = TaskResult(text=progress.text(order.total), data=data)
        return _Came(progress=progress, ended=tx.finish(attempt.claim, Done(result=result), now=now))
    return _wait(attempt, order, progress, now=now, tx=tx) if progress.next_at > now else _Came(progress=progress)


def _replay(order: ReplayOrder, letter: Task, *, now: Instant, tx: Tx) -> bool:
    """Whether the letter is tried anew."""
    if order.risky is Risky.LEAVE and beyond_recall([step.entry for step in tx.steps(letter.id)]):
        return False
    edit = None if order.edit == NO_EDIT else order.edit
    try:
        tx.retry_task(letter.id, fresh=True, actor=order.actor, reason=order.reason, edit=edit, now=now)
    except Conflict:  # its session has a turn, or another task does its work by now
        return False
    return True


def _wait(attempt: AttemptPort, order: ReplayOrder, progress: Progress, *, now: Instant, tx: Tx) -> _Came:
    wait_s = (progress.next_at - now) / SECOND
    if wait_s < PARKED_FROM_S:
        return _Came(progress=progress, wait_s=wait_s)
    wait = Wait(kind=WaitKind.TIME, until_at=progress.next_at)
    park = Park(wait=wait, reason=f"{progress.text(order.total)}; {order.rate.text if order.rate else ''}")
    return _Came(progress=progress, ended=tx.finish(attempt.claim, park, now=now))
