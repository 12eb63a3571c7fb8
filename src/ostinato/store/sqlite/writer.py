"""The one thread that writes: many callers' functions, each in its savepoint, in one commit.

A caller hands in a function and awaits a future. Functions that come in while the thread is busy wait together and
share the next commit, so that the price of reaching the disk is paid once for all of them; each caller resumes only
when its own is there. After each commit the event loop is woken once, whatever the number of callers.

Only this thread checkpoints the write-ahead log, between commits. Other ways were tried: a lock around a connection
(a commit each: a fifteenth of the throughput), and a future per caller woken one by one (the wake-ups cost more than
the work).

Knows nothing of tasks: what a function may do is decided by the `Transaction` it is lent.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import sqlite3
import threading
from collections.abc import Callable, Sequence
from typing import Any, Final, Literal, NamedTuple

from ostinato.domain.errors import Internal, OstinatoError
from ostinato.domain.event import Event, EventName, NewEvent
from ostinato.store.port import Listener
from ostinato.store.sqlite.checkpoints import Checkpoints
from ostinato.store.sqlite.database import SqliteDatabase, StoreBroken, StoreFull, meaning_of
from ostinato.store.verbs.memory import Memory
from ostinato.store.verbs.transaction import Transaction
from ostinato.store.verbs.work import Told, event_from

FUNCTIONS_MAX: Final = 512
"""Functions in one commit: keeps a commit under about 30 ms, so that nobody waits long behind a crowd."""

CommitHook = Callable[[Literal["before", "after"], int], None]
"""Called on the writer's thread around each commit that changes something, with its number from 1."""

Loop = asyncio.AbstractEventLoop
Future = asyncio.Future[Any]


class Order(NamedTuple):
    """A function that somebody waits for."""

    fn: Callable[[Any], Any]
    future: Future
    loop: Loop
    apart: bool = False
    """Gets the connection itself, outside of any transaction."""


class Settled(NamedTuple):
    """What came of an order."""

    future: Future
    value: Any
    error: BaseException | None


class Writer:
    """Owns the writing connection and its thread."""

    def __init__(self, database: SqliteDatabase, *, hook: CommitHook | None = None) -> None:
        self._database = database
        self._connection = database.connection
        self._memory = Memory()
        self._work = Transaction(database, self._memory)
        self._hook = hook
        self._checkpoints = Checkpoints(self._connection) if database.path is not None else None
        self._inbox: queue.SimpleQueue[list[Order] | None] = queue.SimpleQueue()
        self._gathered: dict[Loop, list[Order]] = {}
        self._listeners: dict[Listener, Loop] = {}
        self._commits = 0
        self._refused = 0
        self._data_version = -1
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self.closed: OstinatoError | None = None
        """Why nothing is taken any more."""

    # --- on the loop ----------------------------------------------------------------------------------------------

    async def apart(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        """Performs `fn` with the connection itself, between commits: copies and checks of a database in memory."""
        return await self.run(fn, apart=True)

    async def run(self, fn: Callable[[Any], Any], *, apart: bool = False) -> Any:
        """Performs `fn` in the next commit; see `ostinato.store.port.Store.run`."""
        if self.closed is not None:
            raise _again(self.closed)
        if self._thread is None:
            self._start()
        loop = asyncio.get_running_loop()
        future: Future = loop.create_future()
        orders = self._gathered.get(loop)
        if orders is None:
            # Whoever else asks in this turn of the loop goes along: one hand-over, one wake-up of the thread.
            orders = self._gathered[loop] = []
            loop.call_soon(self._hand_over, loop)
        orders.append(Order(fn, future, loop, apart))
        return await future

    def _hand_over(self, loop: Loop) -> None:
        self._inbox.put(self._gathered.pop(loop))

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener, to be called on the running loop."""
        self._listeners = {**self._listeners, listener: asyncio.get_running_loop()}

        def remove() -> None:
            self._listeners = {each: loop for each, loop in self._listeners.items() if each is not listener}

        return remove

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="ostinato-writer", daemon=True)
                self._thread.start()

    async def close(self) -> None:
        """Performs what was handed in, then ends the thread and closes the connection."""
        if self.closed is None:
            self.closed = Internal("The store is closed", cure="Open it again.")
        for loop in list(self._gathered):
            self._hand_over_now(loop)
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(None)
            await asyncio.to_thread(thread.join)
        self._connection.close()

    def _hand_over_now(self, loop: Loop) -> None:
        orders = self._gathered[loop]
        self._inbox.put(list(orders))
        orders.clear()  # the list itself stays for the call that is on its way

    # --- on the thread --------------------------------------------------------------------------------------------

    def _live(self) -> None:
        ending = False
        while not ending:
            orders: list[Order] = []
            ending = self._gather(orders)
            if orders:
                self._perform_all(orders)

    def _perform_all(self, orders: Sequence[Order]) -> None:
        together = [order for order in orders if not order.apart]
        for start in range(0, len(together), FUNCTIONS_MAX):
            self._perform(together[start : start + FUNCTIONS_MAX])
        for order in orders:
            if order.apart:
                self._tell([self._perform_apart(order)], [order], [])

    def _gather(self, orders: list[Order]) -> bool:
        """Waits for orders and takes all there are; True: these are the last."""
        idle_s = self._checkpoints.idle_s if self._checkpoints is not None else None
        try:
            batch = self._inbox.get(timeout=idle_s)
        except queue.Empty:
            assert self._checkpoints is not None
            self._checkpoint(self._checkpoints.when_idle)
            return False
        while batch is not None:
            orders.extend(batch)
            if len(orders) >= FUNCTIONS_MAX:
                return False
            try:
                batch = self._inbox.get_nowait()
            except queue.Empty:
                return False
        return True

    def _perform(self, orders: Sequence[Order]) -> None:
        """One commit: begin, each function, flush, commit; then tell everybody."""
        if isinstance(self.closed, StoreBroken):
            self._tell([Settled(o.future, None, _again(self.closed)) for o in orders], orders, [])
            return
        settled: list[Settled] = []
        told: list[tuple[int, Told]] = []
        try:
            before = self._connection.total_changes
            self._begin()
            # Where nobody waits any more, nothing is begun.
            settled.extend(self._perform_one(order) for order in orders if not order.future.cancelled())
            told = self._flush()
            self._commit(changed=self._connection.total_changes - before)
            if told:
                self._refused = 0
        except BaseException as error:  # whatever it is, nobody may wait for ever
            failure = self._give_up(_failure(error), orders=len(orders))
            settled, told = [Settled(o.future, None, _again(failure)) for o in orders], []
        self._tell(settled, orders, told)
        if self._checkpoints is not None and self.closed is None:
            self._checkpoint(self._checkpoints.when_large)

    def _checkpoint(self, due: Callable[[], None]) -> None:
        """Between commits; a disk that fails then has taken nothing yet, and is not trusted with anything more."""
        try:
            due()
        except StoreBroken as error:
            self.closed = error

    def _perform_apart(self, order: Order) -> Settled:
        try:
            return Settled(order.future, order.fn(self._connection), None)
        except Exception as error:  # it goes to its caller and to nobody else
            return Settled(order.future, None, _presentable(error))

    def _begin(self) -> None:
        self._database.failed = None
        self._connection.execute("BEGIN IMMEDIATE")
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:  # another process has written since
            self._data_version = version
            self._forget()

    def _perform_one(self, order: Order) -> Settled:
        work, execute = self._work, self._connection.execute
        before = self._connection.total_changes
        execute("SAVEPOINT one")
        work.begin()
        try:
            value = order.fn(work)
        except BaseException as error:  # a function may raise anything; it goes to its caller and to nobody else
            failed = self._database.failed
            if failed is not None:
                raise failed from error
            work.undo()
            execute("ROLLBACK TO one")
            execute("RELEASE one")
            if self._connection.total_changes != before:
                self._forget()
            return Settled(order.future, None, _presentable(error))
        if self._database.failed is not None:
            raise self._database.failed
        execute("RELEASE one")
        work.keep()
        return Settled(order.future, value, None)

    def _flush(self) -> list[tuple[int, Told]]:
        if self._refused:
            reason = f"{self._refused} writes were refused while the disk was full"
            self._work.announce_late(NewEvent(name=EventName.DISK_FULL, reason=reason))
        return self._work.flush()

    def _commit(self, *, changed: int) -> None:
        if not changed:
            self._connection.execute("COMMIT")
            return
        number = self._commits + 1
        if self._hook is not None:
            self._hook("before", number)
        self._connection.execute("COMMIT")
        self._commits = number
        if self._hook is not None:
            self._hook("after", number)
        if self._checkpoints is not None:
            self._checkpoints.note(changed)

    def _give_up(self, failure: OstinatoError, *, orders: int) -> OstinatoError:
        """Undoes the batch. A full disk passes; what else went wrong with the file does not."""
        self._work.forget()
        self._forget()
        try:
            if self._connection.in_transaction:
                self._connection.execute("ROLLBACK")
        except sqlite3.Error as error:
            failure = StoreBroken(f"A transaction could not be undone ({error})", cure="The node must begin again.")
        if isinstance(failure, StoreFull):
            self._refused += orders
        elif isinstance(failure, StoreBroken):
            self.closed = failure
        return failure

    def _forget(self) -> None:
        self._memory.forget()
        self._database.last_ids.clear()

    def _tell(self, settled: Sequence[Settled], orders: Sequence[Order], told: Sequence[tuple[int, Told]]) -> None:
        """Wakes each loop once, with everything that concerns it."""
        listeners = self._listeners
        events = [event_from(id_, each) for id_, each in told] if listeners else []
        loops = {order.loop for order in orders} | (set(listeners.values()) if events else set())
        for loop in loops:
            mine = settled if len(loops) == 1 else [each for each in settled if each.future.get_loop() is loop]
            hearing = [each for each, its_loop in listeners.items() if its_loop is loop] if events else []
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to be told
                loop.call_soon_threadsafe(_resolve, mine, hearing, events)


def _resolve(settled: Sequence[Settled], listeners: Sequence[Listener], events: Sequence[Event]) -> None:
    for future, value, error in settled:
        if future.cancelled():
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
    for listener in listeners:
        listener(events)


def _failure(error: BaseException) -> OstinatoError:
    """What ended a batch, as its callers are told."""
    if isinstance(error, OstinatoError):
        return error
    if isinstance(error, sqlite3.Error):
        return meaning_of(error)
    return StoreBroken(f"The writer has failed: {error!r}", cure="The node must begin again; this is a mistake in it.")


def _presentable(error: BaseException) -> BaseException:
    """A future takes no StopIteration."""
    if isinstance(error, StopIteration):
        wrapped = RuntimeError("a function raised StopIteration")
        wrapped.__cause__ = error
        return wrapped
    return error


def _again(error: OstinatoError) -> OstinatoError:
    """Each caller gets an exception of its own: a shared one would gather everybody's traceback."""
    return type(error)(error.message, place=error.place, cure=error.cure)
