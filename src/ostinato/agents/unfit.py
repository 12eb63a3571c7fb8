"""Work whose agent's files are broken: it waits, blocked, and its reason says where and what to do about it.

A wrong character in a file must not turn a day's work into dead letters. Nothing is lost meanwhile: what was journaled
stays, messages gather in their sessions. Whoever sees the files in order again releases it. Knows nothing of how files
are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from ostinato.domain.errors import OstinatoError
from ostinato.domain.step import Entry
from ostinato.domain.task import Outcome, Requeue, Task, TaskEvent, TaskState
from ostinato.domain.values import Instant
from ostinato.engine.port import AttemptPort, Ending, Handler, Settled
from ostinato.store.port import Claim, TaskFilter, Tx

REASON = "the agent's files are not valid: "
"""How the reason of such a task begins."""

RELEASED_MAX = 1_000
"""Tasks of one agent that are released at once; an agent does some at a time, and the next sweep brings the rest."""


class Unfit(Exception):
    """The agent's files make no agent right now. Raised before anything is written."""

    def __init__(self, error: OstinatoError) -> None:
        super().__init__(str(error))
        self.reason = f"{REASON}{error}"


class Patient:
    """A handler whose tasks wait, too, where the agent that they are for is unfit."""

    def __init__(self, handler: Handler) -> None:
        self._handler = handler
        self.kind = handler.kind
        self.timeout_s = handler.timeout_s
        self.open = handler.open

    async def perform(self, attempt: AttemptPort) -> Outcome | Ending | Settled:
        """As the handler does; or ends the attempt with its task blocked."""
        try:
            return await self._handler.perform(attempt)
        except Unfit as broken:
            unfit, now = broken, attempt.clock.now()
            return Settled(task=await attempt.store.run(lambda tx: hold(tx, attempt.claim, unfit, now=now)))


def is_unfit(task: Task) -> bool:
    """True for a task that waits for its agent's files."""
    return task.state is TaskState.BLOCKED and task.reason.startswith(REASON)


def hold(
    tx: Tx,
    claim: Claim,
    unfit: Unfit,
    *,
    produced: Sequence[Entry] = (),
    within: Callable[[Tx], None] | None = None,
    now: Instant,
) -> Task:
    """Ends the attempt and blocks its task. What the world has just `produced` is journaled first: it may have been
    paid for."""
    tx.check_claim(claim)
    if within is not None:
        within(tx)
    if produced:
        tx.record_steps(claim, produced, now=now)
    tx.finish(claim, Requeue(reason=unfit.reason), now=now)
    return tx.move_task(claim.task, TaskEvent.BLOCK, actor="runtime", reason=unfit.reason, now=now)


def release(tx: Tx, agent: str, *, now: Instant) -> int:
    """Lets an agent's held work go on; how many tasks that were."""
    if not tx.agent_tally(agent).get(TaskState.BLOCKED.value):
        return 0
    which = TaskFilter(agent=agent, states=frozenset({TaskState.BLOCKED}))
    found = [task for task in tx.tasks(which, limit=RELEASED_MAX) if is_unfit(task)]
    for task in reversed(found):  # the oldest first
        tx.move_task(
            task.id, TaskEvent.RELEASE, actor="runtime", reason="the agent's files are in order again", now=now
        )
    return len(found)
