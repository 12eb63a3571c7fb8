"""The event loop of a node: libuv's, which does in C what asyncio's own does in Python.

A turn comes back to the loop some eighteen times, and a loop in Python was a sixth of all that a turn takes from a
processor (docs/explanation/decisions/038). Knows nothing of what runs on it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import uvloop

T = TypeVar("T")


def run(work: Coroutine[Any, Any, T]) -> T:
    """As `asyncio.run`: the coroutine's result, with everything that it has left behind cancelled."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        return runner.run(work)
