"""One attempt of one task, read top to bottom: start, perform, judge, record, announce.

The store has claimed the task and run the handler's `open` before; here the handler performs, what came of it becomes
one outcome, and the outcome is written in one commit with what belongs to it. Every attempt that ends tries to write an
outcome, also one that was stopped because its task had been taken away: the token refuses the write then, so nothing
has to be known for sure about why it was stopped. Knows nothing of what handlers do or how tasks are chosen.
"""

from __future__ import annotations

import asyncio
import enum
from collections.abc import Callable, Sequence
from functools import partial
from typing import Protocol

from ostinato.domain.errors import Denied, Exhausted, Fenced, Invalid, NotFound, OstinatoError
from ostinato.domain.step import Entry
from ostinato.domain.task import Cancelled, Done, Fail, Outcome, Park, Requeue, Retry, Review, Task
from ostinato.domain.values import SECOND
from ostinato.engine.finisher import Finisher
from ostinato.engine.notice import AttemptCrashed, AttemptStuck, Notify, OutcomeNotRecorded, code_of, traceback_of
from ostinato.engine.port import Clock, Ending, Handler, Settled
from ostinato.store.port import Claim, Store, StoreAway, Tx

RECORD_PAUSE_S = 1.0
"""Rest before an outcome is written again that found no room on the disk."""

STUCK_S = 5.0
"""How long an attempt may take to stop before it is told again, and people are."""

OUTCOMES = (Done, Review, Retry, Park, Fail, Requeue, Cancelled)


class Stop(enum.StrEnum):
    """Why an attempt is told to stop; the value is the reason that its task shows."""

    MOVED = "its task was moved by somebody else"
    HALTED = "halted"
    DRAINED = "the node is stopping"
    TIMEOUT = "timeout"
    LOST = "the node has lost its lease"


class Surroundings(Protocol):
    """What all attempts of a worker share."""

    store: Store
    clock: Clock
    notify: Notify
    finisher: Finisher
    draining: bool

    def ended(self, attempt: Attempt) -> None:
        """The attempt is over and its outcome is on disk, or never will be."""


class _Phase(enum.Enum):
    NEW = 0
    PERFORMING = 1
    RECORDING = 2


class Attempt:
    """One try of one task; what its handler is given (`AttemptPort`)."""

    __slots__ = (
        "_around",
        "_handler",
        "_phase",
        "_stop",
        "_timeout_s",
        "_work",
        "claim",
        "clock",
        "ends_at_s",
        "preempted",
        "store",
        "task",
    )

    def __init__(self, task: Task, handler: Handler, around: Surroundings) -> None:
        self.task = task
        self.claim = Claim(task=task.id, token=task.token)
        self.store = around.store
        self.clock = around.clock
        self._timeout_s = handler.timeout_s if task.spec.timeout_s is None else task.spec.timeout_s
        if task.spec.deadline_at is not None:
            self._timeout_s = min(self._timeout_s, (task.spec.deadline_at - around.clock.now()) / SECOND)
        self.ends_at_s = around.clock.elapsed_s() + self._timeout_s
        self._handler = handler
        self._around = around
        self._phase = _Phase.NEW
        self._stop: Stop | None = None
        self._work: asyncio.Task[None] | None = None
        self.preempted = False
        """True: an urgent task needs the place."""

    # --- what the handler sees ---

    @property
    def draining(self) -> bool:
        """True: the node wants to stop, or an urgent task needs the place; return Requeue at the next step boundary."""
        return self.preempted or self._around.draining

    async def record(self, entries: Sequence[Entry], *, within: Callable[[Tx], None] | None = None) -> None:
        """Appends to the journal in one commit, together with `within` (run first); raises Fenced when the claim is
        gone."""
        await self.store.run(partial(self._append, entries, within))

    def _append(self, entries: Sequence[Entry], within: Callable[[Tx], None] | None, tx: Tx) -> None:
        if within is not None:
            within(tx)
        tx.record_steps(self.claim, entries, now=self.clock.now())

    # --- what the worker sees ---

    def start(self) -> None:
        """Begins to perform."""
        self._work = asyncio.create_task(self._run())

    def stop(self, why: Stop) -> None:
        """Tells the handler to stop now, by cancellation. Nothing for an attempt whose outcome is being written."""
        if self._phase is _Phase.RECORDING or self._work is None:
            return
        if self._stop is None:
            self._stop = why
            self.ends_at_s = self.clock.elapsed_s() + STUCK_S
        if self._phase is _Phase.PERFORMING:  # one that has not begun looks at `_stop` itself
            self._work.cancel()

    def expire(self) -> None:
        """Its time is over: a timeout at first, and then a reminder as often as it does not stop."""
        if self._stop is not None and self._phase is _Phase.PERFORMING:
            self._around.notify(
                AttemptStuck(task=self.task.id, kind=self.task.kind, token=self.task.token, waited_s=STUCK_S)
            )
        self.ends_at_s = self.clock.elapsed_s() + STUCK_S
        self.stop(Stop.TIMEOUT)

    async def wait_ended(self) -> None:
        """Returns when nothing of it runs any more."""
        if self._work is not None:
            await asyncio.wait((self._work,))

    # --- the pipe ---

    async def _run(self) -> None:
        try:
            performed = await self._perform()
            self._phase = _Phase.RECORDING
            await self._record(self._judge(performed))
        finally:
            self._phase = _Phase.RECORDING
            self._around.ended(self)

    async def _perform(self) -> object:
        """What the handler returned, or the outcome that its end by an exception stands for."""
        if self._stop is not None:
            return self._stopped()
        self._phase = _Phase.PERFORMING
        try:
            return await self._handler.perform(self)
        except asyncio.CancelledError:
            return self._stopped()
        except Fenced as error:  # halted, or not ours any more: the token will tell
            return Requeue(reason=error.message)
        except StoreAway as error:  # it goes on from its journal, and what it may fail is not used up
            return Requeue(reason=error.message)
        except Exception as error:  # whatever a handler may raise is a surprise, and must not end the worker
            return self._crashed(error)

    def _stopped(self) -> Outcome:
        """The outcome of a cancelled attempt."""
        work = asyncio.current_task()
        if work is not None:
            while work.cancelling():  # it has been noticed; what is left to do here must not be cut off by it
                work.uncancel()
        match self._stop:
            case Stop.TIMEOUT:
                return Retry(error=f"Timed out after {self._timeout_s:g} s", error_class="timeout")
            case None:  # not by us: the loop is being closed
                return Requeue(reason=Stop.DRAINED.value)
            case why:
                return Requeue(reason=why.value)

    def _crashed(self, error: Exception) -> Retry:
        text = f"{type(error).__name__}: {error}" if str(error) else type(error).__name__
        self._around.notify(
            AttemptCrashed(
                task=self.task.id,
                kind=self.task.kind,
                token=self.task.token,
                error=text,
                traceback=traceback_of(error),
            )
        )
        return Retry(error=text, error_class=code_of(error))

    def _judge(self, performed: object) -> Ending | Settled:
        """One form for everything that a handler may return."""
        if isinstance(performed, Ending | Settled):
            return performed
        if isinstance(performed, OUTCOMES):
            return Ending(outcome=performed)
        kind = type(performed).__name__
        return Ending(
            outcome=Fail(
                error=f"The handler of {self.task.kind.value} tasks returned {kind}, which is no outcome",
                error_class="internal",
            )
        )

    async def _record(self, ending: Ending | Settled) -> None:
        """Writes the outcome, whatever happens meanwhile to this task of the loop."""
        if isinstance(ending, Settled):
            return
        try:
            await self.store.run(partial(self._finish, ending))
        except Fenced:  # somebody else decides about the task now; there is nothing left to say
            return
        except asyncio.CancelledError:
            await asyncio.shield(asyncio.ensure_future(self._insist(ending, pause_s=0.0)))
            raise
        except Exception as error:  # a full disk, or a handler's `within` that failed
            await asyncio.shield(asyncio.ensure_future(self._record_otherwise(ending, error)))

    def _finish(self, ending: Ending, tx: Tx) -> None:
        now = self.clock.now()
        if ending.within is not None:
            _run_within(ending.within, tx)
        if ending.entries:
            tx.record_steps(self.claim, ending.entries, now=now)
        self._around.finisher.finish(tx, self.claim, ending.outcome, now=now)

    async def _record_otherwise(self, ending: Ending, error: Exception) -> None:
        """After a first failure: what the handler added is at fault, or the store has no room now."""
        if isinstance(error, Exhausted) or (ending.within is None and not ending.entries):
            self._not_recorded(error, pause_s=RECORD_PAUSE_S)
            await self._insist(ending, pause_s=RECORD_PAUSE_S)
            return
        cause = error.cause if isinstance(error, _WithinFailedError) else error
        await self._insist(Ending(outcome=self._crashed(cause)), pause_s=0.0)

    async def _insist(self, ending: Ending, *, pause_s: float) -> None:
        """Writes the outcome as soon as the store can; gives up on anything but a store without room."""
        while True:
            try:
                if pause_s > 0.0:
                    await self.clock.sleep(pause_s)
                await self.store.run(partial(self._finish, ending))
            except Fenced:
                return
            except Exhausted as error:
                pause_s = RECORD_PAUSE_S
                self._not_recorded(error, pause_s=pause_s)
            except Exception as error:  # the store is closed or broken: its node ends, and the task is rescued
                self._not_recorded(error, pause_s=None)
                return
            else:
                return

    def _not_recorded(self, error: Exception, *, pause_s: float | None) -> None:
        self._around.notify(
            OutcomeNotRecorded(
                task=self.task.id,
                token=self.task.token,
                error=str(error),
                code=code_of(error),
                traceback=traceback_of(error),
                pause_s=pause_s,
            )
        )


class _WithinFailedError(Exception):
    """A handler's `within` said no, by an error of ours that must not be taken for one of the store's own."""

    def __init__(self, cause: OstinatoError) -> None:
        super().__init__(str(cause))
        self.cause = cause


def _run_within(within: Callable[[Tx], None], tx: Tx) -> None:
    try:
        within(tx)
    except Fenced:
        raise
    except OstinatoError as error:
        raise _WithinFailedError(error) from error


def outcome_of_error(error: Exception) -> Retry | Fail:
    """What an exception means for its task: what cannot become right by trying again fails at once."""
    text = str(error) or type(error).__name__
    if isinstance(error, Invalid | NotFound | Denied):
        return Fail(error=text, error_class=code_of(error))
    return Retry(error=text, error_class=code_of(error))
