"""Functions on their way from event loops to the one thread that writes, and their results on the way back.

Where many ask, those of one turn of a loop go along in one hand-over; whatever a commit settles wakes each loop once,
whatever the number of callers: a future per caller, woken one by one, was tried and costs more than the work. Knows
nothing of databases.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
import threading
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

from ostinato.domain.errors import Internal, OstinatoError
from ostinato.domain.event import Event
from ostinato.store.port import Listener

FUNCTIONS_MAX = 512
"""Functions in one commit: keeps it under about 30 ms, so that nobody waits long behind a crowd, here or on another
node."""

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


class Along(NamedTuple):
    """A function that goes along with every commit which makes a task claimable."""

    fn: Callable[[Any], Any]
    then: Callable[[Any, bool], None]
    loop: Loop


class Came(NamedTuple):
    """What came of it."""

    along: Along
    value: Any
    committed: bool = True


class Batch(NamedTuple):
    """What the thread is to do next."""

    orders: list[Order]
    nudged: bool
    """Another node may have written, or nobody has asked for anything for `idle_s`."""
    ending: bool


class Orders:
    """The counter between loops and the one thread that performs; `perform` is called on that thread."""

    def __init__(self, perform: Callable[[Batch], None], *, idle_s: Callable[[], float | None] = lambda: None) -> None:
        """`idle_s`: how long to wait for an order before the thread looks after other things; None: for ever."""
        self._perform_batch = perform
        self._idle_s = idle_s
        self._inbox: queue.SimpleQueue[list[Order] | bool] = queue.SimpleQueue()
        self._gathered: dict[Loop, list[Order]] = {}
        self._listeners: dict[Listener, Loop] = {}
        self.along: tuple[Along, ...] = ()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._crowded = False
        """Several have asked at once, a moment ago. Whoever is alone is handed over in the same turn of the loop."""
        self.closed: OstinatoError | None = None
        """Why nothing is taken any more."""

    # --- on the loop ----------------------------------------------------------------------------------------------

    async def run(self, fn: Callable[[Any], Any], *, apart: bool = False) -> Any:
        """Hands the function over; returns its result when its commit is on disk. See `ostinato.store.port.Store.run`;
        `apart`: it gets the connection itself, between commits."""
        if self.closed is not None:
            raise again(self.closed)
        if self._thread is None:
            self._start()
        loop = asyncio.get_running_loop()
        future: Future = loop.create_future()
        order = Order(fn, future, loop, apart)
        orders = self._gathered.get(loop)
        if orders is not None:
            orders.append(order)
        elif self._crowded:
            self._gathered[loop] = [order]
            loop.call_soon(self._hand_over, loop)
        else:
            self._inbox.put([order])
        return await future

    def _hand_over(self, loop: Loop) -> None:
        self._inbox.put(self._gathered.pop(loop))

    def subscribe(self, listener: Listener) -> Callable[[], None]:
        """Adds a listener, to be called on the running loop."""
        self._listeners = {**self._listeners, listener: asyncio.get_running_loop()}

        def remove() -> None:
            self._listeners = {each: loop for each, loop in self._listeners.items() if each is not listener}

        return remove

    def run_along(self, fn: Callable[[Any], Any], then: Callable[[Any, bool], None]) -> Callable[[], None]:
        """Runs `fn` at the end of each commit that makes a task claimable, in a savepoint of its own. `then` gets what
        it returned on the running loop, behind the listeners of that commit, and False where the commit failed. What
        raises is undone, and nobody is told. Call the result to end it.

        A convenience and no promise: a store of many nodes never does, and whoever wants to claim takes hints too.
        """
        mine = Along(fn, then, asyncio.get_running_loop())
        self.along = (*self.along, mine)

        def remove() -> None:
            self.along = tuple(each for each in self.along if each is not mine)

        return remove

    @property
    def is_heard(self) -> bool:
        """True where somebody listens to events."""
        return bool(self._listeners)

    def nudge(self) -> None:
        """Another node may have written: look. May be called from any thread."""
        if self.closed is None:
            if self._thread is None:
                self._start()
            self._inbox.put(False)

    def _start(self) -> None:
        with self._lock:
            if self._thread is None:
                self._thread = threading.Thread(target=self._live, name="ostinato-writer", daemon=True)
                self._thread.start()

    async def close(self) -> None:
        """Lets what was handed in be performed, then ends the thread."""
        if self.closed is None:
            self.closed = Internal("The store is closed", cure="Open it again.")
        for orders in self._gathered.values():
            self._inbox.put(list(orders))
            orders.clear()  # the list itself stays for the call that is on its way
        thread, self._thread = self._thread, None
        if thread is not None:
            self._inbox.put(True)
            await asyncio.to_thread(thread.join)

    # --- on the thread --------------------------------------------------------------------------------------------

    def _live(self) -> None:
        ending = False
        while not ending:
            batch = self._gather()
            self._crowded = len(batch.orders) > 1
            ending = batch.ending
            for start in range(0, max(1, len(batch.orders)), FUNCTIONS_MAX):
                part = batch._replace(orders=batch.orders[start : start + FUNCTIONS_MAX])
                try:
                    self._perform_batch(part)
                except BaseException as error:  # whatever it is, nobody may wait for ever
                    self._fail(part, error)

    def _fail(self, batch: Batch, error: BaseException) -> None:
        """What goes wrong beside all functions is a mistake of ours: nothing more is taken."""
        if self.closed is None:
            self.closed = Internal(f"The store's thread has failed: {error!r}", cure="The node must begin again.")
        self.tell([Settled(each.future, None, again(self.closed)) for each in batch.orders], [])

    def _gather(self) -> Batch:
        """Waits for orders and takes all there are."""
        orders: list[Order] = []
        nudged = False
        try:
            item = self._inbox.get(timeout=self._idle_s())
        except queue.Empty:
            return Batch(orders, nudged=True, ending=False)
        while item is not True:
            if item is False:
                nudged = True
            else:
                orders.extend(item)
            if len(orders) >= FUNCTIONS_MAX:
                return Batch(orders, nudged, ending=False)
            try:
                item = self._inbox.get_nowait()
            except queue.Empty:
                return Batch(orders, nudged, ending=False)
        return Batch(orders, nudged, ending=True)

    def tell(self, settled: Sequence[Settled], events: Sequence[Event], along: Sequence[Came] = ()) -> None:
        """Wakes each loop once, with everything that concerns it."""
        listeners = self._listeners if events else {}
        loops = {each.future.get_loop() for each in settled}.union(listeners.values(), (e.along.loop for e in along))
        for loop in loops:
            mine = settled if len(loops) == 1 else [each for each in settled if each.future.get_loop() is loop]
            hearing = [each for each, its_loop in listeners.items() if its_loop is loop]
            came = [each for each in along if each.along.loop is loop]
            with contextlib.suppress(RuntimeError):  # the loop has closed: nobody is left to be told
                loop.call_soon_threadsafe(_resolve, _News(mine, hearing, events, came))


class _News(NamedTuple):
    """What one commit means for one loop."""

    settled: Sequence[Settled]
    listeners: Sequence[Listener]
    events: Sequence[Event]
    came: Sequence[Came]


def _resolve(news: _News) -> None:
    for future, value, error in news.settled:
        if future.done():  # cancelled, or told before the rest of its batch failed
            continue
        if error is None:
            future.set_result(value)
        else:
            future.set_exception(error)
    for listener in news.listeners:
        try:
            listener(news.events)
        except Exception as error:  # it must not; but what goes along has claimed tasks, which somebody must begin
            context = {"message": "A listener of the store has raised", "exception": error}
            asyncio.get_running_loop().call_exception_handler(context)
    for each in news.came:
        each.along.then(each.value, each.committed)


def presentable(error: BaseException) -> BaseException:
    """A future takes no StopIteration."""
    if isinstance(error, StopIteration):
        wrapped = RuntimeError("a function raised StopIteration")
        wrapped.__cause__ = error
        return wrapped
    return error


def again(error: OstinatoError) -> OstinatoError:
    """Each caller gets an exception of its own: a shared one would gather everybody's traceback."""
    return type(error)(error.message, place=error.place, cure=error.cure)
