"""The one thread that writes: many callers' functions in one commit, of which each is undone alone.

A caller hands in a function and awaits a future. Functions that come in while the thread is busy wait together and
share the next commit, so that the price of reaching the disk is paid once for all of them; each caller resumes only
when its own is there. How they come and go is said by `Orders`.

A function that fails has nearly always changed nothing before. Where one has, all of its batch are undone and performed
again, each in a savepoint: savepoints for everybody were a seventh of a whole task, because SQLite copies every page
that a savepoint is the first to change.

Only this thread checkpoints the write-ahead log, between commits. A lock around a connection was tried: a commit each,
a fifteenth of the throughput.

Knows nothing of tasks: what a function may do is decided by the `Transaction` it is lent.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Literal

from ostinato.domain.errors import OstinatoError
from ostinato.domain.event import EventName, NewEvent
from ostinato.store.orders import Batch, Came, Order, Orders, Settled, again, presentable
from ostinato.store.sqlite.checkpoints import Checkpoints
from ostinato.store.sqlite.database import SqliteDatabase, StoreBroken, StoreFull, meaning_of
from ostinato.store.verbs.memory import Memory
from ostinato.store.verbs.transaction import Transaction
from ostinato.store.verbs.work import Told, event_from

CommitHook = Callable[[Literal["before", "after"], int], None]
"""Called on the writer's thread around each commit that changes something, with its number from 1."""


class Writer(Orders):
    """Owns the writing connection and its thread."""

    def __init__(self, database: SqliteDatabase, *, hook: CommitHook | None = None) -> None:
        super().__init__(self._perform_all_of, idle_s=self._wait_s)
        self._database = database
        self._connection = database.connection
        self._memory = Memory()
        self._work = Transaction(database, self._memory)
        self._hook = hook
        self._checkpoints = Checkpoints(self._connection) if database.path is not None else None
        self._commits = 0
        self._refused = 0
        self._data_version = -1

    # --- on the loop ----------------------------------------------------------------------------------------------

    async def apart(self, fn: Callable[[sqlite3.Connection], Any]) -> Any:
        """Performs `fn` with the connection itself, between commits: copies and checks of a database in memory."""
        return await self.run(fn, apart=True)

    async def close(self) -> None:
        """Performs what was handed in, then ends the thread and closes the connection."""
        await super().close()
        self._connection.close()

    # --- on the thread --------------------------------------------------------------------------------------------

    def _wait_s(self) -> float | None:
        return None if self._checkpoints is None else self._checkpoints.idle_s

    def _perform_all_of(self, batch: Batch) -> None:
        if batch.orders:
            self._perform_all(batch.orders)
        elif batch.nudged and self._checkpoints is not None:
            self._checkpoint(self._checkpoints.when_idle)

    def _perform_all(self, orders: Sequence[Order]) -> None:
        together = [order for order in orders if not order.apart]
        if together:
            self._perform(together)
        for order in orders:
            if order.apart:
                self._tell([self._perform_apart(order)], [], [])

    def _perform(self, orders: Sequence[Order]) -> None:
        """One commit: begin, each function, flush, commit; then tell everybody."""
        if isinstance(self.closed, StoreBroken):
            self._tell([Settled(o.future, None, again(self.closed)) for o in orders], [], [])
            return
        settled: list[Settled] = []
        told: list[tuple[int, Told]] = []
        along: list[Came] = []
        try:
            before = self._connection.total_changes
            # Where nobody waits any more, nothing is begun.
            settled.extend(self._perform_each([order for order in orders if not order.future.cancelled()]))
            along.extend(self._perform_along())
            told = self._flush()
            self._commit(changed=self._connection.total_changes - before)
            if told:
                self._refused = 0
        except BaseException as error:  # whatever it is, nobody may wait for ever
            failure = self._give_up(_failure(error), orders=len(orders))
            settled, told = [Settled(o.future, None, again(failure)) for o in orders], []
            along = [each._replace(committed=False) for each in along]
        self._tell(settled, told, along)
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
            return Settled(order.future, None, presentable(error))

    def _begin(self) -> None:
        self._database.begin()
        self._connection.execute("BEGIN IMMEDIATE")
        version = self._connection.execute("PRAGMA data_version").fetchone()[0]
        if version != self._data_version:  # another process has written since
            self._data_version = version
            self._forget()

    def _perform_along(self) -> Iterator[Came]:
        """What goes along with a batch that makes a task claimable."""
        for each in self.along if self._work.brings_work else ():
            value, error = self._perform_one(each.fn, apart=True)
            if error is None:
                yield Came(each, value)

    def _perform_each(self, orders: Sequence[Order]) -> list[Settled]:
        """Begins, and performs one after the other. Where one of several fails that has changed something already, all
        of them are performed again, each in a savepoint."""
        self._begin()
        try:
            settled = [Settled(each.future, *self._perform_one(each.fn, apart=False)) for each in orders]
            self._database.send_held()
            return settled
        except _Spoilt as spoilt:
            error = spoilt.error
        except Exception as spoilt:  # a change that waited: whose it was is found out by performing each apart
            if self._database.spoilt is None or self._database.failed is not None:
                raise
            error = presentable(spoilt)
        self._work.forget()
        self._forget()
        self._connection.execute("ROLLBACK")
        self._begin()
        if len(orders) == 1:
            return [Settled(orders[0].future, None, error)]
        return [Settled(each.future, *self._perform_one(each.fn, apart=True)) for each in orders]

    def _perform_one(self, fn: Callable[[Any], Any], *, apart: bool) -> tuple[Any, BaseException | None]:
        """What one function returned or raised; `apart`: in a savepoint, else `_Spoilt` where it has to be undone."""
        work, database, execute = self._work, self._database, self._connection.execute
        if apart:
            database.send_held()
            execute("SAVEPOINT one")
        before = database.changes
        work.begin()
        try:
            value = fn(work)
            if apart:
                database.send_held()
            if database.spoilt is not None:  # hidden by the function
                raise database.spoilt
        except BaseException as error:  # a function may raise anything; it goes to its caller and to nobody else
            failed, changed = database.failed, database.changes != before or database.spoilt is not None
            if failed is not None:
                raise failed from error
            if changed and not apart:
                raise _Spoilt(presentable(error)) from error
            work.undo()
            if apart:
                database.drop_held()
                execute("ROLLBACK TO one")
                execute("RELEASE one")
            if changed:
                self._forget()
            return None, presentable(error)
        if database.failed is not None:
            raise database.failed
        if apart:
            execute("RELEASE one")
        work.keep()
        return value, None

    def _flush(self) -> list[tuple[int, Told]]:
        if self._refused:
            reason = f"{self._refused} writes were refused while the disk was full"
            self._work.announce_late(NewEvent(name=EventName.DISK_FULL, reason=reason))
        told = self._work.flush()
        self._database.send_held()
        return told

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

    def _tell(self, settled: Sequence[Settled], told: Sequence[tuple[int, Told]], along: Sequence[Came]) -> None:
        self.tell(settled, [event_from(id_, each) for id_, each in told] if self.is_heard else [], along)


class _Spoilt(Exception):
    """A function has failed after it had changed something: its transaction must not be committed."""

    def __init__(self, error: BaseException) -> None:
        super().__init__()
        self.error = error


def _failure(error: BaseException) -> OstinatoError:
    """What ended a batch, as its callers are told."""
    if isinstance(error, OstinatoError):
        return error
    if isinstance(error, sqlite3.Error):
        return meaning_of(error)
    return StoreBroken(f"The writer has failed: {error!r}", cure="The node must begin again; this is a mistake in it.")
