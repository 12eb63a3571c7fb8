"""Where the time of synchronous work goes: named functions are wrapped, and each moment counts for the innermost.

Time on the wall and time of the processor are kept apart, so that waiting can be told from working. Knows nothing of
what the functions do. A sampling profiler in the process would see, under one interpreter lock, where threads hand the
lock over, and not where they work.
"""

from __future__ import annotations

import functools
import threading
import time
from collections.abc import Callable
from typing import Any


class Cost:
    """What one span has cost so far."""

    def __init__(self) -> None:
        self.calls = 0
        self.wall_ns = 0
        self.cpu_ns = 0


class Spans:
    """Costs by name, of all threads. Wrap first, then measure; `unwrap` at the end."""

    def __init__(self) -> None:
        self.costs: dict[str, Cost] = {}
        self._local = threading.local()
        self._undo: list[Callable[[], None]] = []

    def wrap(self, name: str, owner: Any, *attributes: str) -> None:
        """Counts these functions of a class or module under `name`."""
        cost = self.costs.setdefault(name, Cost())
        for attribute in attributes:
            inner = owner.__dict__[attribute]
            setattr(owner, attribute, self._wrapped(inner, cost))
            self._undo.append(functools.partial(setattr, owner, attribute, inner))

    def reset(self) -> None:
        """Everything counts from zero again."""
        for cost in self.costs.values():
            cost.calls = cost.wall_ns = cost.cpu_ns = 0

    def unwrap(self) -> None:
        """The functions are as before."""
        while self._undo:
            self._undo.pop()()

    def _wrapped(self, inner: Callable[..., Any], cost: Cost) -> Callable[..., Any]:
        local = self._local

        @functools.wraps(inner)
        def outer(*args: Any, **kwargs: Any) -> Any:
            stack: list[list[int]] = local.__dict__.setdefault("stack", [])
            inside = [0, 0]
            stack.append(inside)
            wall, cpu = time.perf_counter_ns(), time.thread_time_ns()
            try:
                return inner(*args, **kwargs)
            finally:
                spent_cpu, spent = time.thread_time_ns() - cpu, time.perf_counter_ns() - wall
                stack.pop()
                cost.calls += 1
                cost.wall_ns += spent - inside[0]
                cost.cpu_ns += spent_cpu - inside[1]
                if stack:
                    stack[-1][0] += spent
                    stack[-1][1] += spent_cpu

        return outer
