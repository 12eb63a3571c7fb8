"""The one thread of a node that writes: many callers' functions, each in its savepoint, in one commit.

In the whole fleet one commit is under way at a time: whoever writes first locks the row of `ostinato_store`. The verbs
decide by what they have read, over limits that hold for all nodes, and number events, messages and tasks in the order
of commits; a reader that asks for what is behind an id would miss what is committed later under a smaller one. Locks on
single rows with SKIP LOCKED were tried on paper and lost: the fleet's limits and its day's money are rows that every
batch touches, so batches of two nodes would meet in deadlocks, or wait for each other all the same. Work takes seconds,
its bookkeeping half a millisecond: one writer at a time carries many nodes.

The lock also says whether anybody else has written since: where nobody has, everything remembered is still true.
A process that stops in the middle of a commit holds the others up for STALL_S, then the server ends its transaction.
A function may be performed a second time, of whose first nothing stays: where a connection was lost before its commit,
and where another of its batch failed after it had changed something. Only then does each get a savepoint, because
savepoints are half of the statements of a task, and failures that come so late are rare.

Knows nothing of tasks: what a function may do is decided by the `Transaction` it is lent.
"""

from __future__ import annotations

import time
import uuid
from collections.abc import Callable, Sequence
from typing import Final, Literal

from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.domain.task import Task
from ostinato.domain.values import Instant
from ostinato.store.orders import Batch, Order, Orders, Settled, again, presentable
from ostinato.store.port import ClaimRequest, StoreAway
from ostinato.store.postgres.connecting import PAUSE_S, RECONNECT_S, patiently
from ostinato.store.postgres.database import PostgresDatabase
from ostinato.store.postgres.failures import StoreBroken, StoreFull
from ostinato.store.postgres.lineage import learn
from ostinato.store.postgres.wire import Statement, Wire
from ostinato.store.verbs import rows
from ostinato.store.verbs.memory import Memory
from ostinato.store.verbs.transaction import Transaction
from ostinato.store.verbs.work import Told, event_from

Connect = Callable[[], Wire]
CommitHook = Callable[[Literal["before", "after"], int], None]
"""Called on the writer's thread around each commit that changes something, with its number from 1."""

STALL_S: Final = 2.0
"""A transaction in which nothing has been said for so long is ended by the server; functions take milliseconds."""
IN_DOUBT_S: Final = 60.0
"""How long to ask for what became of a commit, before the node must end: longer than a server takes to start."""
EVENTS_PAGE: Final = 1_000
SIGNATURES_KEPT: Final = 10_000
"""Commits of the fleet of which it is known whose they were: many seconds of them."""
FORGET_EVERY: Final = 1_000
"""Commits between two moments at which older signatures are forgotten."""

BEGIN: Final = Statement("begin", "BEGIN ISOLATION LEVEL READ COMMITTED")
COMMIT: Final = Statement("commit", "COMMIT")
ROLLBACK: Final = Statement("rollback", "ROLLBACK")
SAVEPOINT: Final = Statement("savepoint", "SAVEPOINT one")
RELEASE: Final = Statement("release", "RELEASE SAVEPOINT one")
UNDO: Final = Statement("undo", "ROLLBACK TO SAVEPOINT one")


class _Spoilt(Exception):
    """A function has failed after it had changed something, and nothing stands between it and the others."""


class NodeTransaction(Transaction):
    """All verbs; a node that has ended claims nothing: one that was stopped for long may learn of its end only later,
    and nobody would bring back what it takes."""

    def claim(self, request: ClaimRequest, *, now: Instant) -> list[Task]:
        """Nothing for a node that has ended."""
        known = self._memory.queues is not None  # nobody else has written since
        if not known and self._db.one("node_is_open", node=request.node) is None:
            return []
        return super().claim(request, now=now)


class Writer:
    """Owns the writing connection, on the thread of its orders."""

    def __init__(self, database: PostgresDatabase, connect: Connect, *, hook: CommitHook | None = None) -> None:
        """`connect` makes a new connection when the last one is lost."""
        self.name = uuid.uuid4().hex
        """Says from whom a notification comes."""
        self._database = database
        self._connect = connect
        self._memory = Memory()
        self._work = NodeTransaction(database, self._memory)
        self._hook = hook
        self._commits = 0
        self._refused = 0
        self._number = -1
        """Commits of the fleet when this node last had the lock; what is remembered is true as long as it stays."""
        self._learn_lineage()
        self._seen = self._latest_event()
        """Up to here, listeners have been told."""
        self._broken: StoreBroken | None = None
        self.orders = Orders(self._perform)

    async def close(self) -> None:
        """Performs what was handed in, then closes the connection."""
        await self.orders.close()
        self._database.wire.close()

    # --- on the thread --------------------------------------------------------------------------------------------

    def _perform(self, batch: Batch) -> None:
        orders = [order for order in batch.orders if not order.future.cancelled()]
        if not orders:
            if batch.nudged and self.orders.is_heard:
                self._catch_up()
            return
        if self._broken is not None:
            self._refuse(orders, self._broken)
            return
        try:
            self._perform_all(orders, until_s=time.monotonic() + RECONNECT_S)
        except BaseException as error:  # whatever it is, nobody may wait for ever
            self._refuse(orders, StoreBroken(f"The writer has failed: {error!r}", cure="The node must begin again."))

    def _perform_all(self, orders: Sequence[Order], *, until_s: float) -> None:
        """Once more as long as the connection is lost, until then; and each alone where a statement was refused,
        because whose it was is not known otherwise."""
        while True:
            try:
                self._perform_in_one_commit(orders)
            except StoreAway as error:
                if time.monotonic() < until_s:
                    continue
                self._refuse(orders, error)
            except OstinatoError as error:
                if len(orders) == 1 or isinstance(error, StoreFull | StoreBroken):
                    self._refuse(orders, error)
                else:
                    for order in orders:
                        self._perform_all([order], until_s=until_s)
            return

    def _perform_in_one_commit(self, orders: Sequence[Order]) -> None:
        """Raises where nothing was written."""
        try:
            self._perform_together(orders, apart=False)
        except _Spoilt:
            self._perform_together(orders, apart=True)

    def _refuse(self, orders: Sequence[Order], error: OstinatoError) -> None:
        if isinstance(error, StoreFull):
            self._refused += len(orders)
        elif isinstance(error, StoreBroken):
            self._broken = error
        self.orders.tell([Settled(order.future, None, again(error)) for order in orders], [])

    def _perform_together(self, orders: Sequence[Order], *, apart: bool) -> None:
        """One commit: begin, each function (`apart`: in a savepoint), flush, commit; then tell everybody. Raises where
        nothing was written."""
        database = self._database
        events: list[Event] = []
        seen = self._seen
        try:
            self._reconnect()
            self._begin(events)
            before = database.changes
            alone = len(orders) == 1
            settled = [self._perform_one(order, alone=alone, apart=apart and not alone) for order in orders]
            told = self._flush()
            if database.changes == before:
                database.say(ROLLBACK)
                database.sync()
            else:
                self._commit()
        except BaseException:  # whatever it was: the next batch begins on its own
            self._give_up()
            self._seen = seen  # what others have told is told with the next batch
            raise
        if told:
            self._seen, self._refused = told[-1][0], 0
            if self.orders.is_heard:
                events += [event_from(id_, each) for id_, each in told]
        self.orders.tell(settled, events)

    def _begin(self, events: list[Event]) -> None:
        """Takes the fleet's lock. Adds what others have told meanwhile."""
        database = self._database
        database.failed = None
        number = self._lock()
        if number != self._number:
            self._forget()
            self._number = number
            if self.orders.is_heard:
                events += self._new_events()
            else:
                self._seen = self._latest_event()

    def _lock(self) -> int:
        """Begins a transaction that nobody else's overlaps; returns how many commits the fleet has made."""
        self._database.say(BEGIN)
        row = self._database.one("begin_writing")
        assert row is not None
        number: int = row[0]
        return number

    def _perform_one(self, order: Order, *, alone: bool, apart: bool) -> Settled:
        work, database = self._work, self._database
        before = database.changes
        database.failed = None
        database.before_change = (lambda: database.say(SAVEPOINT)) if apart else None
        work.begin()
        try:
            value = order.fn(work)
        except BaseException as error:  # a function may raise anything; it goes to its caller and to nobody else
            if database.failed is not None:
                raise database.failed from error
            if database.changes != before and not (alone or apart):
                raise _Spoilt from error
            work.undo()
            self._undo(before, apart=apart)
            return Settled(order.future, None, presentable(error))
        finally:
            database.before_change = None
        if database.failed is not None:  # hidden by the function
            raise database.failed
        if apart and database.changes != before:
            database.say(RELEASE)
        work.keep()
        return Settled(order.future, value, None)

    def _undo(self, before: int, *, apart: bool) -> None:
        """What a function has sent is undone; where it is alone, by the end of its transaction."""
        if self._database.changes == before:
            return
        self._database.drop_held()
        if apart:
            self._database.say(UNDO)
            self._database.say(RELEASE)
        self._database.changes = before
        self._forget()

    def _flush(self) -> list[tuple[int, Told]]:
        if self._refused:
            reason = f"{self._refused} writes were refused while the disk was full"
            self._work.announce_late(NewEvent(name=EventName.DISK_FULL, reason=reason))
        return self._work.flush()

    def _commit(self) -> None:
        database, number = self._database, self._number + 1
        if number % FORGET_EVERY == 0 and number > SIGNATURES_KEPT:
            database.put("forget_signatures", before=number - SIGNATURES_KEPT)
        database.put("count_commit", number=number, writer=self.name)
        mine = self._commits + 1
        if self._hook is not None:
            self._hook("before", mine)
        database.say(COMMIT)
        try:
            database.sync()
        except StoreAway:
            if not self._was_committed(number):
                raise
        else:
            self._number = number
        self._commits = mine
        if self._hook is not None:
            self._hook("after", mine)

    def _was_committed(self, number: int) -> bool:
        """What became of a commit whose answer was lost: it is signed, and whoever has the fleet's lock knows that it
        has ended. The server's own word was not enough (`pg_xact_status`): one that crashes forgets which transactions
        were under way, and gives their numbers out again."""
        deadline_s = time.monotonic() + IN_DOUBT_S
        while time.monotonic() < deadline_s:
            try:
                self._reconnect()
                commits, signed = self._lock(), self._database.one("signer_of_commit", number=number)
                self._database.say(ROLLBACK)
                self._database.sync()
            except OstinatoError:  # away again, or held up by whoever has the lock
                self._database.wire.close()
                time.sleep(PAUSE_S)
                continue
            if signed is None and commits >= number + SIGNATURES_KEPT:  # it may have been forgotten
                break
            return signed is not None and bool(signed[0] == self.name)
        raise StoreBroken(
            "The connection was lost during a commit, and the database does not say what became of it",
            cure="The node must begin again, when the database is there.",
        )

    def _give_up(self) -> None:
        """Undoes the batch."""
        self._work.forget()
        self._database.drop_held()
        self._forget()
        self._number = -1
        wire = self._database.wire
        self._database.before_change = None
        try:
            if wire.is_open:
                wire.clear()
                wire.put(ROLLBACK)
                wire.sync()
        except OstinatoError:  # then the server undoes it by itself
            wire.close()

    def _forget(self) -> None:
        self._memory.forget()
        self._database.last_ids.clear()

    def _learn_lineage(self) -> None:
        self._forget()
        self._lineage = learn(self._database)
        self._database.epoch = self._lineage.epoch

    def _reconnect(self) -> None:
        """A new connection where the last one is lost; raises StoreAway when there is none for RECONNECT_S."""
        if not self._database.wire.is_open:
            self._database.wire = patiently(self._connect)
            self._number = -1  # whoever answers now may count otherwise
            try:
                self._learn_lineage()
            except BaseException:  # whatever it was: nothing is written before it is known
                self._database.wire.close()
                raise

    # --- what other nodes do --------------------------------------------------------------------------------------

    def _latest_event(self) -> int:
        row = self._database.one("latest_event")
        return 0 if row is None or row[0] is None else int(row[0])

    def _new_events(self) -> list[Event]:
        """Events behind the last one seen; they become visible in the order of their ids."""
        found: list[Event] = []
        seen = self._seen
        while True:
            page = self._database.all("events_behind", after=seen, limit=EVENTS_PAGE)
            found += rows.events_of(page)
            if page:
                seen = page[-1][0]
            if len(page) < EVENTS_PAGE:
                self._seen = seen
                return found

    def _catch_up(self) -> None:
        """Tells listeners what others have done; a hint that is lost comes with the next."""
        try:
            self._reconnect()
            events = self._new_events()
        except OstinatoError:
            return
        if events:
            self.orders.tell([], events)
