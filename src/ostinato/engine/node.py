"""One running engine: takes the fleet's lock, starts the services in order, and brings them to an end in order.

Start: lock, incarnation, hints, worker, alarm and sweeps, lease. Stop is the same backwards, with a drain: claim
nothing more, let attempts come to a step boundary, cancel what takes too long, say goodbye to the store, unlock.
Knows nothing of agents, nor which store it stands on.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import socket
from collections.abc import Callable, Coroutine, Sequence
from typing import Any

from ostinato.domain.errors import Internal
from ostinato.domain.event import EventName, NewEvent
from ostinato.domain.values import Value
from ostinato.engine.alarm import Alarm
from ostinato.engine.attempt import Stop
from ostinato.engine.auditor import Auditor
from ostinato.engine.completion import Completions
from ostinato.engine.dispatcher import LocalDispatcher
from ostinato.engine.finisher import Finisher
from ostinato.engine.lease import Lease, LeaseTimes
from ostinato.engine.limits import EngineLimits, limits_for, measure_machine
from ostinato.engine.lock import FleetLock
from ostinato.engine.lookout import Lookout
from ostinato.engine.notice import Notice, Notify, OutcomeNotRecorded, ServiceFailed, StoreChecked
from ostinato.engine.port import Clock, Dispatcher, Handler
from ostinato.engine.pruner import Pruner
from ostinato.engine.rescuer import SWEEP_S as RESCUE_S
from ostinato.engine.rescuer import Rescuer
from ostinato.engine.scheduler import Fire, FireTogether, Scheduler
from ostinato.engine.service import Ground
from ostinato.engine.worker import Worker
from ostinato.store.port import EVERY_POOL, Node, Retention, Store, Tx

RENEWAL_TIMEOUT_S = 10.0
"""A renewal that takes longer has failed; the lease runs on meanwhile."""

FOREVER_S = 100 * 365 * 86_400.0
"""The lease of a node that is alone with its store: the fleet's lock is its lease, and goes with its process. One that
runs out would make a laptop that has slept lose its work, to nobody."""

DRAIN_S = 20.0
"""How long attempts may take to come to a step boundary when the node stops."""

CANCEL_S = 5.0
"""How long an attempt may take to end once it is cancelled."""


class NodeSettings(Value):
    """What a node is told about itself. `limits` None: derived from the machine."""

    version: str
    pools: tuple[str, ...] = (EVERY_POOL,)
    limits: EngineLimits | None = None
    retention: Retention = Retention()
    lease: LeaseTimes | None = LeaseTimes()
    """None: not renewed, and the loop not watched, for tests whose time is not the machine's."""
    exclusive: bool = True
    """The store is this node's alone, proved by the fleet's lock: claims of older nodes are void at once."""
    drain_s: float = DRAIN_S
    cancel_s: float = CANCEL_S


class EngineNode:
    """An engine over `store` that performs tasks with `handlers` and fires schedules with `fire`.

    `start` and `stop` may each be called twice, and `stop` before `start`; a node that was stopped can be started again
    and is a new incarnation then. A `lock` that is not held yet is taken at start and released at the end; one that is
    held already stays so, for whoever holds it may have more to write.
    """

    def __init__(
        self,
        store: Store,
        handlers: Sequence[Handler],
        *,
        clock: Clock,
        settings: NodeSettings,
        fire: Fire,
        notify: Notify,
        fire_together: FireTogether | None = None,
        lock: FleetLock | None = None,
        dispatcher: Dispatcher | None = None,
        finisher: Finisher | None = None,
    ) -> None:
        self.store = store
        self.clock = clock
        self.settings = settings
        self.limits = settings.limits or limits_for(measure_machine())
        self.node: Node | None = None
        """This incarnation, once started."""
        self._handlers = handlers
        self._fire = fire
        self._fire_together = fire_together
        self._notify = notify
        self._lock = lock
        self._dispatcher = dispatcher
        self.finisher = finisher or Finisher(chance=random.random)
        """Ends attempts; set before the start."""
        self._worker: Worker | None = None
        self._completions: Completions | None = None
        self._ends = contextlib.AsyncExitStack()
        self._changing = asyncio.Lock()
        self._started = False
        self._stopped = asyncio.Event()
        self._failure: str | None = None
        self._lease_lost = False
        self._failing: asyncio.Future[None] | None = None

    @property
    def running(self) -> int:
        """Attempts under way."""
        return self._worker.running if self._worker is not None else 0

    @property
    def draining(self) -> bool:
        """True where nothing new is begun: the node stops, has stopped, or was never started."""
        return self._worker is None or self._worker.draining

    @property
    def completions(self) -> Completions:
        """For waiting until a task has ended; raises Internal unless the node runs."""
        if self._completions is None:
            raise Internal("The engine is not running")
        return self._completions

    async def start(self) -> None:
        """Begins to work; raises `Conflict` where another process holds the fleet. What had been started before a
        failure is stopped again."""
        async with self._changing:
            if self._started:
                return
            self._failure, self._lease_lost = None, False
            self._stopped.clear()
            try:
                await self._start()
            except BaseException:  # also a cancelled start leaves nothing running
                await self._ends.aclose()
                raise
            self._started = True

    def drain(self) -> None:
        """Begins nothing new from now on; what runs stops at its next step. `stop` is to follow."""
        if self._worker is not None:
            self._worker.draining = True

    async def stop(self) -> None:
        """Drains and returns when everything has stopped. Cancelling it does not leave a node half stopped."""
        await asyncio.shield(asyncio.get_running_loop().create_task(self._stop()))

    async def wait_stopped(self) -> None:
        """Returns when the node has been stopped; raises `Internal` where it had to stop by itself."""
        await self._stopped.wait()
        if self._failure is not None:
            raise Internal(self._failure)

    def set_limits(self, limits: EngineLimits) -> None:
        """Other limits from now on; attempts under way are not touched."""
        self.limits = limits
        if self._worker is not None:
            self._worker.set_limits(limits)

    # --- in order ---

    async def _start(self) -> None:
        if self._lock is not None and not self._lock.held:
            self._lock.acquire()
            self._ends.callback(self._lock.release)
        before = await self.store.read(lambda reads: reads.nodes(limit=1))
        self.node = await self._begin_incarnation()
        self._ends.push_async_callback(self._end_incarnation, self.node)
        self._completions = Completions(self.store)
        self._ends.callback(self._close_completions)
        self._start_services(self.node)
        if self.settings.exclusive and before and not before[0].clean:
            check = asyncio.create_task(self._check(), name="check of the store")
            self._ends.push_async_callback(_end_task, check)

    def _start_services(self, node: Node) -> None:
        ground = Ground(store=self.store, clock=self.clock, notify=self._hear)
        rescuer = Rescuer(ground, sweep_s=self._rescue_s())
        scheduler = Scheduler(ground, self._fire, at_once=self.limits.fires, fire_together=self._fire_together)
        alarm = Alarm(ground)
        worker = self._worker = Worker(
            ground,
            self._handlers,
            node=node.id,
            dispatcher=self._hints(),
            limits=self.limits,
            finisher=self.finisher,
            pools=self.settings.pools,
            due=alarm.learn,
            shared=not self.settings.exclusive,
        )
        pruner = Pruner(ground, self.settings.retention, lambda: worker.running > 0)
        auditor, lookout = Auditor(ground), Lookout(ground, stalled_s=self.limits.stalled_s)
        tasks, questions = (rescuer.wake, worker.wake), (rescuer.wake,)
        alarm.ring_for(tasks=tasks, questions=questions, schedules=(scheduler.wake,))
        if self.settings.lease is not None:
            lease_s = self.settings.lease.lease_s
            renew = None if self.settings.exclusive else self._renewal(node.id, lease_s)
            lease = Lease(node.id, renew, self._lose, times=self.settings.lease, notify=self._notify)
            self._begin(lease.start, lease.stop)
        self._begin(worker.start, self._drain)
        for service in (alarm, rescuer, scheduler, pruner, auditor, lookout):
            self._begin(service.start, service.stop)

    def _rescue_s(self) -> float:
        """Where other nodes run, they are looked after twice as often as leases are renewed."""
        lease = self.settings.lease
        return RESCUE_S if self.settings.exclusive or lease is None else min(RESCUE_S, lease.renew_s / 2)

    def _begin(self, start: Callable[[], None], end: Callable[[], Coroutine[Any, Any, None]]) -> None:
        start()
        self._ends.push_async_callback(end)

    def _hints(self) -> Dispatcher:
        """The dispatcher that was given, or one of this process's own, which ends with the node."""
        hints = self._dispatcher or LocalDispatcher()
        hints.listen(self.store)
        self._ends.callback(hints.close)
        return hints

    async def _stop(self) -> None:
        async with self._changing:
            try:
                if self._started:
                    self._started = False
                    self.drain()  # at once: the rest of the house is closed room by room
                    await self._ends.aclose()
            finally:  # whatever could not be closed: who waits for the end must not wait for ever
                self._stopped.set()

    async def _drain(self) -> None:
        worker, self._worker = self._worker, None
        if worker is not None:
            # A node that failed has no right, or no means, to bring its work to a good end.
            drain_s = 0.0 if self._failure is not None else self.settings.drain_s
            await worker.stop(drain_s=drain_s, cancel_s=self.settings.cancel_s)

    def _close_completions(self) -> None:
        if self._completions is not None:
            self._completions.close()
            self._completions = None

    # --- the incarnation ---

    async def _begin_incarnation(self) -> Node:
        now = self.clock.now()
        settings = self.settings
        lease_s = FOREVER_S if settings.exclusive or settings.lease is None else settings.lease.lease_s

        def begin(tx: Tx) -> Node:
            tx.set_limits(self.limits.queues, now=now)
            tx.set_aging(self.limits.aging_s)
            return tx.start_node(
                pid=os.getpid(),
                host=socket.gethostname(),
                version=settings.version,
                lease_s=lease_s,
                exclusive=settings.exclusive,
                pools=settings.pools,
                now=now,
            )

        return await self.store.run(begin)

    async def _end_incarnation(self, node: Node) -> None:
        """Says goodbye; a store that cannot hear it must not keep the rest from ending, the next start sees it."""
        self.node = None
        if self._lease_lost:
            return
        now = self.clock.now()
        try:
            await self.store.run(lambda tx: tx.end_node(node.id, now=now))
        except Exception as error:  # the store may be what is broken
            self._failure = self._failure or f"The node could not be ended in order: {error}"

    def _renewal(self, node: int, lease_s: float) -> Callable[[], bool]:
        """A blocking renewal for the lease's thread, which waits on a small loop of its own."""

        async def renew() -> bool:
            async with asyncio.timeout(RENEWAL_TIMEOUT_S):
                return await self.store.run(lambda tx: tx.renew_node(node, lease_s=lease_s))

        return lambda: asyncio.run(renew())

    def _lose(self) -> None:
        """The lease is lost: whatever runs here is no longer ours."""
        self._lease_lost = True
        if self._worker is not None:
            self._worker.draining = True
            self._worker.stop_all(Stop.LOST)
        self.fail("The node has lost its lease; another node may hold its tasks now")

    def fail(self, reason: str) -> None:
        """Stops the node by itself: `wait_stopped` raises with this reason then."""
        if self._failure is None:
            self._failure = reason
            self._failing = asyncio.get_running_loop().create_task(self._stop())

    def _hear(self, notice: Notice) -> None:
        """Passes on what the engine says; a store that is broken, by its own word, ends the node."""
        self._notify(notice)
        match notice:
            case ServiceFailed(code="internal") | OutcomeNotRecorded(code="internal"):
                self.fail(notice.error)
            case _:
                pass

    async def _check(self) -> None:
        """Looks the database through after an end that was not clean, beside all other work, and says what it found."""
        result = await self.store.check()
        self._notify(StoreChecked(result=result))
        event = NewEvent(name=EventName.STORE_CHECKED, reason=result)
        now = self.clock.now()
        await self.store.run(lambda tx: tx.announce(event, now=now))


async def _end_task(task: asyncio.Task[None]) -> None:
    task.cancel()
    await asyncio.wait((task,))
    if not task.cancelled():
        task.exception()  # said by a notice, or a matter of the store
