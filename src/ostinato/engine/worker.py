"""Claims tasks when a commit says that there may be some, and runs an attempt for each.

One claim is under way at a time, and takes as many tasks as there are free places: what ends or arrives meanwhile is in
the next one, so claims grow with the load by themselves. Knows nothing of what the tasks are, or of who made them.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Mapping, Sequence

from msgspec.structs import replace

from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import Event, EventName
from ostinato.domain.instant import format_instant
from ostinato.domain.limit import Strands
from ostinato.domain.message import task_session
from ostinato.domain.task import URGENT_PRIORITY, Fail, Task, TaskKind
from ostinato.domain.values import SECOND, Instant, Value
from ostinato.engine.attempt import Attempt, Stop, outcome_of_error
from ostinato.engine.deadlines import Deadlines
from ostinato.engine.finisher import Finisher
from ostinato.engine.limits import EngineLimits
from ostinato.engine.notice import AttemptCrashed, Notice, ServiceFailed, code_of, traceback_of
from ostinato.engine.port import Dispatcher, Handler
from ostinato.engine.service import Ground, Service
from ostinato.store.port import EVERY_POOL, Claim, ClaimRequest, Tx

SWEEP_S = 30.0
"""Rest without a hint: hints may be lost, and another node's finishing may free an agent's limit."""

URGENT_PAUSE_S = 0.01
"""Between two questions of a full worker whether something urgent waits: it may be hinted at thousands of times a
second."""

HINTS_PAUSE_S = 5.0
"""Rest after a dispatcher has failed to give a hint; tasks are looked for meanwhile as often."""

MOVED = frozenset(
    {
        EventName.TASK_CANCELLED,
        EventName.TASK_FAILED,
        EventName.TASK_REQUEUED,
        EventName.TASK_BLOCKED,
        EventName.TASK_DISMISSED,
    }
)
"""Events that say of a running task that its attempt has no right to go on, unless the attempt itself made them."""

FREEING = frozenset(
    {
        EventName.TASK_DONE,
        EventName.TASK_REVIEW,
        EventName.TASK_PARKED,
        EventName.TASK_RETRIED,
        EventName.TASK_REQUEUED,
        EventName.TASK_FAILED,
        EventName.TASK_CANCELLED,
    }
)
"""Events after which a limit of the fleet may have room."""

HALTED = "halted"


class _Unseen:
    """What others decided while a claim was under way, about tasks that it may bring.

    Commits are heard in their order, so whatever was said of a task before the claim's own event is over."""

    def __init__(self) -> None:
        self.moved: set[int] = set()
        self.halted: list[str] = []

    def hear(self, event: Event) -> None:
        """One event, in the order of commits."""
        name = event.name
        if name is EventName.TASK_CLAIMED:
            self.moved.discard(event.task or 0)
        elif name in MOVED:
            self.moved.add(event.task or 0)
        elif name is EventName.FLAG_SET and event.data.get("flag") == HALTED:
            self.halted.append(str(event.data.get("scope")))
        elif name is EventName.FLAG_CLEARED and event.data.get("scope") in self.halted:
            self.halted.remove(str(event.data.get("scope")))

    def stop_for(self, task: Task) -> Stop | None:
        """Why a task that the claim brought must not go on."""
        if task.id in self.moved:
            return Stop.MOVED
        return Stop.HALTED if any(is_in_scope(task, scope) for scope in self.halted) else None


class _Claimed(Value):
    """What one claim brought."""

    is_all: bool
    """False: there may be more that could be claimed."""
    tasks: tuple[Task, ...] = ()
    """To be performed; those whose `open` failed have ended already."""
    failures: tuple[Notice, ...] = ()
    due_at: Instant | None = None
    opens_at: Instant | None = None
    """When a rate opens for which tasks wait."""
    urgent: Mapping[str, int] = {}
    """Urgent tasks that wait for places, as `urgent_waits` says."""


class Worker:
    """Performs tasks of the kinds that `handlers` know, as many at once as `limits` allow."""

    def __init__(
        self,
        ground: Ground,
        handlers: Sequence[Handler],
        *,
        node: int,
        dispatcher: Dispatcher,
        limits: EngineLimits,
        finisher: Finisher,
        pools: tuple[str, ...] = (EVERY_POOL,),
        due: Callable[[Instant | None], None] | None = None,
        shared: bool = False,
    ) -> None:
        """`shared`: other nodes take from the same store, and may hold some of an agent's or a kind's places."""
        self.store = ground.store
        self.clock = ground.clock
        self.notify = ground.notify
        self.finisher = finisher
        self.limits = limits
        self._strands = Strands(limits.queues)
        self.draining = False
        self._handlers: Mapping[TaskKind, Handler] = {each.kind: each for each in handlers}
        self._node = node
        self._dispatcher = dispatcher
        self._pools = pools
        self._due = due
        self._shared = shared
        self._running: dict[int, Attempt] = {}
        self._of_agent: Counter[str] = Counter()
        self._of_kind: Counter[TaskKind] = Counter()
        self._more = False
        self._asked_s = float("-inf")
        # Places of claimed tasks that have not begun. Each of these is written on one thread only.
        self._polled = 0
        self._came_along = 0
        self._begun_along = 0
        self._unseen: _Unseen | None = None
        self._emptied: asyncio.Future[None] | None = None
        self._service = Service("worker", self._poll, ground)
        self._deadlines = Deadlines(self._running.values, Attempt.expire, ground)
        self._listener: asyncio.Task[None] | None = None
        self._unsubscribe: Callable[[], None] | None = None
        self._leave: Callable[[], None] | None = None

    # --- for its node ---

    @property
    def running(self) -> int:
        """Attempts under way."""
        return len(self._running)

    def start(self) -> None:
        """Begins to claim."""
        if self._listener is not None:
            return
        self.draining = False
        self._unsubscribe = self.store.subscribe(self._heard)
        self._deadlines.start()
        self._service.start()
        self._leave = self.store.run_along(self._claim_along, self._came)
        self._listener = asyncio.create_task(self._listen(), name="worker hints")

    async def stop(self, *, drain_s: float, cancel_s: float) -> None:
        """Drains: claims no more, lets attempts come to a step boundary for `drain_s` seconds, then cancels them and
        waits `cancel_s` at most. What is still running then is left to the next node, with a notice each."""
        self.draining = True
        listener, self._listener = self._listener, None
        if listener is not None:
            listener.cancel()
            await asyncio.wait((listener,))
        await self._service.stop()
        await self._stop_going_along()
        if not await self._wait_empty(drain_s):
            self.stop_all(Stop.DRAINED)
            if not await self._wait_empty(cancel_s):
                for attempt in self._running.values():
                    attempt.expire()
        await self._deadlines.stop()
        if self._unsubscribe is not None:
            self._unsubscribe()
            self._unsubscribe = None

    def stop_all(self, why: Stop) -> None:
        """Stops every attempt, now."""
        for attempt in list(self._running.values()):
            attempt.stop(why)

    def set_limits(self, limits: EngineLimits) -> None:
        """From the next claim on; what runs already runs on."""
        self.limits, self._strands = limits, Strands(limits.queues)
        self._service.wake()

    def wake(self) -> None:
        """Looks for tasks, whether or not there was a hint."""
        self._service.wake()

    # --- claiming ---

    async def _listen(self) -> None:
        while True:
            try:
                await self._dispatcher.take(self._pools, max(1, self.limits.tasks - len(self._running)))
            except Exception as error:  # hints may fail to come; the sweep finds what they would have told
                self.notify(
                    ServiceFailed(
                        service="hints",
                        error=str(error),
                        code=code_of(error),
                        traceback=traceback_of(error),
                        pause_s=HINTS_PAUSE_S,
                    )
                )
                await self.clock.sleep(HINTS_PAUSE_S)
            self._service.wake()

    async def _poll(self) -> float:
        if self.draining or len(self._running) >= self.limits.tasks:
            self._more = True
            return SWEEP_S if self.draining else await self._look_for_urgent()
        unseen = self._unseen = _Unseen()
        try:
            claimed = await self.store.run(self._claim_asked)
            self._take(claimed, unseen.stop_for)
        finally:
            self._unseen, self._polled = None, 0
        self._more = not claimed.is_all
        if self._more:
            return 0.0
        if self._due is not None:
            self._due(claimed.due_at)
        return self._rest_s(claimed.opens_at)

    def _rest_s(self, opens_at: Instant | None) -> float:
        """How long to rest without a hint: until a rate opens, a little longer than that, for it may be closed again by
        another node; otherwise as hints may be lost."""
        if opens_at is None:
            return SWEEP_S
        return min(SWEEP_S, max(0.001, (opens_at - self.clock.now()) / SECOND))

    def _take(self, claimed: _Claimed, stop_for: Callable[[Task], Stop | None]) -> None:
        for task in claimed.tasks:
            self._begin(task, stop_for(task))
        for failure in claimed.failures:
            self.notify(failure)
        self._make_room(claimed.urgent)

    def _came(self, claimed: _Claimed, committed: bool) -> None:
        """What was claimed in a commit of others. What that commit says of tasks was heard a moment ago, so that it was
        not about these attempts, and the next is heard after they have begun."""
        if committed and self._leave is not None:
            self._take(claimed, lambda task: None)
        self._begun_along += len(claimed.tasks)
        if not claimed.is_all:
            self._more = True
            self._service.wake()

    async def _stop_going_along(self) -> None:
        """What was claimed before has begun when this returns."""
        if self._leave is not None:
            self._leave()
            with contextlib.suppress(OstinatoError):  # a store that takes nothing more has nothing on its way either
                await self.store.run(lambda tx: None)
            self._leave = None

    def _free(self) -> int:
        """Places for more tasks; may be asked on the store's thread, and errs on the side of fewer."""
        coming = self._came_along - self._begun_along + self._polled
        return self.limits.tasks - coming - len(self._running)  # in this order: what begins counts twice for a moment

    def _request(self, most: int) -> ClaimRequest:
        return ClaimRequest(
            node=self._node,
            pools=self._pools,
            most=most,
            kinds=tuple(self._handlers),
            agent_limits=self.limits.agents,
            agent_limit_default=self.limits.agent_default,
            kind_limits=self.limits.kinds,
        )

    def _claim_asked(self, tx: Tx) -> _Claimed:
        """On the store's thread, and looks at what will be due, and when; may be performed a second time."""
        self._polled = 0
        claimed = self._claim(tx, most=min(self._free(), self.limits.claim))
        self._polled = len(claimed.tasks)
        if not claimed.is_all:
            return claimed
        return replace(claimed, due_at=tx.next_dues().get("tasks"), opens_at=tx.next_start_at())

    def _claim_along(self, tx: Tx) -> _Claimed:
        """On the store's thread, in a commit that has made a task claimable."""
        most = min(self._free(), self.limits.claim)
        if most <= 0 or self.draining:
            return _Claimed(is_all=False)
        claimed = self._claim(tx, most=most)
        self._came_along += len(claimed.tasks)
        return claimed

    def _claim(self, tx: Tx, *, most: int) -> _Claimed:
        """Claims, and lets each handler open its tasks in the same commit."""
        request, now = self._request(max(0, most)), self.clock.now()
        tasks = tx.claim(request, now=now)
        opened: list[Task] = []
        failures: list[Notice] = []
        for task in tasks:
            if task.spec.deadline_at is not None and now >= task.spec.deadline_at:
                late = Fail(
                    error=f"Its deadline has passed: {format_instant(task.spec.deadline_at)}", error_class="deadline"
                )
                self.finisher.finish(tx, Claim(task=task.id, token=task.token), late, now=now)
                continue
            if (wait := self.finisher.wait(tx, task, now=now)) is not None:
                tx.finish(Claim(task=task.id, token=task.token), wait, now=now)
                continue
            try:
                self._handlers[task.kind].open(tx, task, now=now)
            except Exception as error:  # one task that cannot be opened must not keep the others from their work
                claim, outcome = Claim(task=task.id, token=task.token), outcome_of_error(error)
                self.finisher.finish(tx, claim, outcome, now=now)
                failures.append(
                    AttemptCrashed(
                        task=task.id,
                        kind=task.kind,
                        token=task.token,
                        error=f"{code_of(error)}: {error}",
                        # Where an error came from helps nobody whose own file was wrong.
                        traceback="" if isinstance(outcome, Fail) else traceback_of(error),
                    )
                )
            else:
                opened.append(task)
        is_all = len(tasks) < request.most
        return _Claimed(
            tasks=tuple(opened),
            # What could not be opened has given its places back, and nobody else will say so.
            is_all=is_all and len(opened) == len(tasks),
            failures=tuple(failures),
            urgent=tx.urgent_waits(request) if is_all else {},
        )

    async def _look_for_urgent(self) -> float:
        """No place is free: is there anything for which one must be made? Asked only where somebody could yield."""
        rest_s = self._asked_s + URGENT_PAUSE_S - self.clock.elapsed_s()
        if not any(_can_yield(each) for each in self._running.values()):
            return SWEEP_S
        if rest_s > 0:
            return rest_s
        self._asked_s, request = self.clock.elapsed_s(), self._request(0)
        self._make_room(await self.store.run(lambda tx: tx.urgent_waits(request)))
        return SWEEP_S

    def _make_room(self, urgent: Mapping[str, int]) -> None:
        """Asks as many lesser attempts to yield as there are urgent tasks that could take their places."""
        for scope, count in urgent.items():
            inside = [each for each in self._running.values() if not scope or self._counts_for(each.task, scope)]
            wanted = count - sum(each.preempted for each in inside)
            lesser = sorted(filter(_can_yield, inside), key=lambda each: (each.task.priority, -each.task.id))
            for attempt in lesser[: max(0, wanted)]:
                attempt.preempted = True

    def _counts_for(self, task: Task, scope: str) -> bool:
        """True where the task uses up the limit of `agent:<id>`, `kind:<kind>` or one of the fleet's."""
        if scope in (f"agent:{task.agent}", f"kind:{task.kind.value}"):
            return True
        return any(scope == each for each, _ in self._strands.of(task))

    # --- attempts ---

    def _begin(self, task: Task, stop: Stop | None) -> None:
        attempt = Attempt(task, self._handlers[task.kind], self)
        self._running[task.id] = attempt
        if task.agent is not None:
            self._of_agent[task.agent] += 1
        self._of_kind[task.kind] += 1
        self._deadlines.watch(attempt.ends_at_s)
        attempt.start()
        if stop is not None:
            attempt.stop(stop)

    def ended(self, attempt: Attempt) -> None:
        """An attempt is over: its place is free."""
        task = attempt.task
        if self._running.get(task.id) is attempt:
            del self._running[task.id]
        if self._free_limit(task) or self._more:
            self._service.wake()
        if not self._running and self._emptied is not None and not self._emptied.done():
            self._emptied.set_result(None)

    def _free_limit(self, task: Task) -> bool:
        """Gives back what the task counted against; True where that limit was reached, so that others may wait."""
        reached = False
        if task.agent is not None:
            count = self._of_agent[task.agent]
            reached = count >= self.limits.agents.get(task.agent, self.limits.agent_default)
            if count > 1:
                self._of_agent[task.agent] = count - 1
            else:
                del self._of_agent[task.agent]
        if task.session is not None and task.session != task_session(task.id):
            reached = True  # another task of the session may wait for this one
        count = self._of_kind[task.kind]
        self._of_kind[task.kind] = count - 1
        if self.limits.queues or (self._shared and (task.agent is not None or task.kind in self.limits.kinds)):
            return True
        return reached or (task.kind in self.limits.kinds and count >= self.limits.kinds[task.kind])

    async def _wait_empty(self, seconds: float) -> bool:
        """True once nothing runs; False after `seconds` on the clock."""
        if not self._running:
            return True
        self._emptied = asyncio.get_running_loop().create_future()
        sleeper = asyncio.create_task(self.clock.sleep(seconds))
        await asyncio.wait((self._emptied, sleeper), return_when=asyncio.FIRST_COMPLETED)
        self._emptied = None
        sleeper.cancel()
        return not self._running

    # --- what others decide ---

    def _heard(self, events: Sequence[Event]) -> None:
        """On the loop, after each commit. A commit may be heard of before the claim that it is about has come back."""
        unseen = self._unseen
        for event in events:
            if unseen is not None:
                unseen.hear(event)
            if event.name in MOVED:
                attempt = self._running.get(event.task or 0)
                if attempt is not None:
                    attempt.stop(Stop.MOVED)
            if event.name in FREEING and self.limits.queues:
                self._service.wake()  # another node's: what has ended there may have been what others waited for here
            elif event.name is EventName.FLAG_SET and event.data.get("flag") == HALTED:
                self._halt(str(event.data.get("scope")))

    def _halt(self, scope: str) -> None:
        for attempt in list(self._running.values()):
            if is_in_scope(attempt.task, scope):
                attempt.stop(Stop.HALTED)


def _can_yield(attempt: Attempt) -> bool:
    return attempt.task.priority < URGENT_PRIORITY and not attempt.preempted


def is_in_scope(task: Task, scope: str) -> bool:
    """True where a flag on `scope` (`fleet`, `agent:<id>`, `task:<id>`, `session:<key>`, `pool:<name>`) is about
    `task`."""
    kind, _, name = scope.partition(":")
    match kind:
        case "fleet":
            return True
        case "agent":
            return task.agent == name
        case "task":
            return str(task.id) == name
        case "session":
            return task.session == name
        case "pool":
            return task.pool == name
        case _:
            return False
