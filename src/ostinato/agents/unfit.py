"""Work whose agent's files are broken: it waits, blocked, and its reason says where and what to do about it.

A wrong character in a file must not turn a day's work into dead letters. Nothing is lost meanwhile: what was journaled
stays, messages gather in their sessions. Whoever sees the files in order again releases it. Knows nothing of how files
are read.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial

from ostinato.domain.errors import OstinatoError
from ostinato.domain.step import Entry
from ostinato.domain.task import Outcome, Requeue, Task, TaskEvent, TaskState
from ostinato.domain.values import Instant
from ostinato.engine.port import AttemptPort, Ending, Handler, Settled
from ostinato.store.port import Claim, Reads, Store, TaskFilter, Tx

REASON = "the agent's files are not valid: "
"""How the reason of such a task begins."""

RELEASED_MAX = 1_000
"""Tasks that are read, and released, in one transaction."""


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
    return task.state is TaskState.BLOCKED and is_for_files(task.reason)


def is_for_files(reason: str) -> bool:
    """True for the reason of a task that waits for its agent's files."""
    return reason.startswith(REASON)


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


async def release(store: Store, agents: Sequence[str], *, now: Instant) -> None:
    """Lets the held work of these agents go on, the oldest first."""
    for agent in await store.read(lambda reads: [each for each in agents if _has_blocked(reads, each)]):
        held = await _held(store, agent)
        for start in range(0, len(held), RELEASED_MAX):
            await store.run(partial(_release, held[start : start + RELEASED_MAX], now=now))


def _has_blocked(reads: Reads, agent: str) -> bool:
    return bool(reads.agent_tally(agent).get(TaskState.BLOCKED.value))


async def _held(store: Store, agent: str) -> list[int]:
    """Ids of the tasks that wait for an agent's files, oldest first; others may be blocked for other reasons."""
    found: list[int] = []
    before: int | None = None
    while True:
        page = await store.read(partial(_blocked, agent=agent, before=before))
        found += [task.id for task in page if is_unfit(task)]
        if len(page) < RELEASED_MAX:
            return found[::-1]
        before = page[-1].id


def _blocked(reads: Reads, *, agent: str, before: int | None) -> list[Task]:
    which = TaskFilter(agent=agent, states=frozenset({TaskState.BLOCKED}))
    return reads.tasks(which, before=before, limit=RELEASED_MAX)


def _release(held: Sequence[int], tx: Tx, *, now: Instant) -> None:
    reason = "the agent's files are in order again"
    for task in held:
        if is_unfit(tx.task(task)):
            tx.move_task(task, TaskEvent.RELEASE, actor="runtime", reason=reason, now=now)
