"""The service that turns ended attempts into spans: woken by commits, reads their journals, and hands them on.

Each node hands on its own attempts, because all nodes of a store hear of every commit; those of a node that was lost,
the youngest of the others. Where nobody asked for traces it does not exist. What ends while it is behind by more than
QUEUE_MAX tasks is not traced; nothing else ever waits for it. Knows nothing of OpenTelemetry's library.
"""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Callable, Sequence

from ostinato.domain.errors import NotFound
from ostinato.domain.event import Event, EventName
from ostinato.engine.port import Clock
from ostinato.gateway.spans import Span, Told, attempt_span, trace_of
from ostinato.store.port import Attempt, Reads, Store

ENDINGS = frozenset(
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
"""After each of these an attempt may have ended."""

QUEUE_MAX = 10_000
BATCH = 50
"""Tasks whose journals are read at once."""

IDLE_S = 3_600.0

STARTING_S = 0.1
"""Seconds between looks at whether the node has its number; what an earlier one lost is heard of before."""

Emit = Callable[[Span, str], None]
"""Takes a span and what names its trace. Must be quick, and is called in a thread."""


class Tracer:
    """Follows what ends."""

    def __init__(self, *, store: Store, clock: Clock, emit: Emit, told: Told, node: Callable[[], int | None]) -> None:
        """`node` says which node this is, None before it has begun and once it has ended."""
        self._store = store
        self._emit = emit
        self._told = told
        self._node = node
        self._mine: int | None = None
        """Which node this is or, once it has ended, was: what has ended with it is handed on after it."""
        self._since_at = clock.now()
        self._ended: OrderedDict[int, None] = OrderedDict()
        self._emitted: OrderedDict[int, int] = OrderedDict()
        """Task -> token of its last attempt that was handed on."""

    def hear(self, events: Sequence[Event]) -> bool:
        """What a commit announced; True where the service has something to do."""
        found = [each.task for each in events if each.name in ENDINGS and each.task is not None]
        if len(self._ended) < QUEUE_MAX:
            self._ended.update(dict.fromkeys(found))
        return bool(found)

    async def poll(self) -> float:
        """One batch; seconds until the next."""
        self._mine = self._node() or self._mine
        if self._mine is None:
            return STARTING_S
        some = [self._ended.popitem(last=False)[0] for _ in range(min(BATCH, len(self._ended)))]
        if not some:
            return IDLE_S
        spans = await self._store.read(lambda reads: [each for task in some for each in self._spans(reads, task)])
        await asyncio.to_thread(self._hand_on, spans)
        return 0.0

    async def finish(self) -> None:
        """Hands on what has ended before the node stops."""
        while await self.poll() == 0.0:
            pass

    def _hand_on(self, spans: Sequence[tuple[Span, str]]) -> None:
        for span, trace in spans:
            self._emit(span, trace)

    def _spans(self, reads: Reads, number: int) -> list[tuple[Span, str]]:
        try:
            task = reads.task(number)
        except NotFound:
            return []  # pruned since
        last = self._emitted.get(number, -1)
        ended = [
            each
            for each in reads.attempts(number)
            if each.ended_at is not None and each.ended_at >= self._since_at and each.token > last
            if self._is_ours(reads, each)
        ]
        if not ended:
            return []
        steps, charges = reads.steps(number), reads.charges(number)
        self._emitted[number] = max(each.token for each in ended)
        self._emitted.move_to_end(number)
        while len(self._emitted) > QUEUE_MAX:
            self._emitted.popitem(last=False)
        trace = trace_of(task, self._told)
        return [(attempt_span(task, each, steps=steps, charges=charges, told=self._told), trace) for each in ended]

    def _is_ours(self, reads: Reads, attempt: Attempt) -> bool:
        if attempt.outcome != "lost":
            return attempt.node == self._mine
        return next((each.id for each in reads.nodes() if each.ended_at is None), None) == self._mine
