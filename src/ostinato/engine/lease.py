"""The lease of a node: says that it is alive, and only while its event loop really is.

A thread of its own renews it, so that a loop that is busy for some seconds loses nothing; but a loop that has not
ticked for `STALL_S` will not come back, and a process that holds work without doing it must end: the stacks of all
threads go to standard error, the process exits, and its supervisor starts the next. Renewing from the loop itself was
not enough: it loses leases under load, and finds no stall at all. Knows nothing of tasks.
"""

from __future__ import annotations

import asyncio
import faulthandler
import os
import threading
import time
from collections.abc import Callable

from ostinato.domain.values import Value
from ostinato.engine.notice import LeaseLost, LoopStalled, Notify

STALLED_EXIT_CODE = 70
"""Exit code of a node that found its loop stalled: `EX_SOFTWARE` of sysexits.h; its supervisor starts another."""


class LeaseTimes(Value):
    """Seconds. A lease must outlast a stall, or a node that is only slow would lose its tasks to another."""

    lease_s: float = 60.0
    renew_s: float = 15.0
    stall_s: float = 30.0
    tick_s: float = 2.0
    """How often the loop is asked for a sign of life."""


class Lease:
    """Renews the lease of `node` by calling `renew` on a thread of its own, and watches the loop.

    `renew` returns False when the lease is another's; None: there is nothing to renew, the loop is watched all the
    same. `lost` is called on the loop when the lease is lost, and also when renewing failed for so long that it must be
    over. `end` ends the process (replaceable for tests).
    """

    def __init__(
        self,
        node: int,
        renew: Callable[[], bool] | None,
        lost: Callable[[], None],
        *,
        times: LeaseTimes,
        notify: Notify,
        end: Callable[[int], object] = os._exit,
    ) -> None:
        self._node = node
        self._renew = renew
        self._lost = lost
        self._times = times
        self._notify = notify
        self._end = end
        self._stopped = threading.Event()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._ticked = True
        self._renewed_s = 0.0

    def start(self) -> None:
        """Begins to renew; the lease must have been taken a moment ago."""
        if self._thread is None:
            self._stopped.clear()
            self._loop = asyncio.get_running_loop()
            self._ticked, self._renewed_s = True, time.monotonic()
            self._thread = threading.Thread(target=self._keep, name="lease", daemon=True)
            self._thread.start()

    async def stop(self) -> None:
        """Returns when the thread has ended; the lease is left as it is."""
        thread, self._thread = self._thread, None
        self._stopped.set()
        if thread is not None:
            await asyncio.to_thread(thread.join)

    # --- on the thread ---

    def _keep(self) -> None:
        stalled_s, round_s = 0.0, time.monotonic()
        while not self._stopped.wait(self._times.tick_s):
            now_s = time.monotonic()
            # A round that took long means that the whole process was stopped, not that its loop was stuck.
            stalled_s = 0.0 if self._ticked else stalled_s + min(now_s - round_s, 2 * self._times.tick_s)
            self._ticked, round_s = False, now_s
            if stalled_s > self._times.stall_s:
                self._end_process(stalled_s)
                return
            self._ask_for_tick()
            if self._renew and now_s - self._renewed_s >= self._times.renew_s and not self._renew_once(self._renew):
                return

    def _ask_for_tick(self) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(self._tick)
        except RuntimeError:  # the loop is closed: nobody is left to renew for
            self._stopped.set()

    def _tick(self) -> None:
        self._ticked = True

    def _renew_once(self, renew: Callable[[], bool]) -> bool:
        """False when there is nothing left to renew."""
        now_s = time.monotonic()
        try:
            if not renew():
                self._give_up("it has passed to another node")
                return False
        except Exception as error:  # a full disk, a database that is away: the lease still runs for a while
            if now_s - self._renewed_s >= self._times.lease_s:
                self._give_up(f"it could not be renewed for {self._times.lease_s:g} s: {error}")
                return False
            return True
        self._renewed_s = now_s
        return True

    def _give_up(self, reason: str) -> None:
        assert self._loop is not None
        notice = LeaseLost(node=self._node, reason=reason)
        try:
            self._loop.call_soon_threadsafe(self._notify, notice)
            self._loop.call_soon_threadsafe(self._lost)
        except RuntimeError:  # the loop is closed: it has stopped already
            return

    def _end_process(self, stalled_s: float) -> None:
        self._notify(LoopStalled(node=self._node, stalled_s=stalled_s))
        faulthandler.dump_traceback(all_threads=True)
        self._end(STALLED_EXIT_CODE)
