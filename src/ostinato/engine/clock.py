"""The real clock. Knows nothing of who asks; manual and story clocks live elsewhere and look the same."""

from __future__ import annotations

import asyncio
import time

from ostinato.domain.values import Instant


class SystemClock:
    """Time as this machine tells it: the wall clock for instants, the monotonic clock for durations."""

    def now(self) -> Instant:
        """Microseconds since 1970, UTC; may jump when the machine's clock is set."""
        return time.time_ns() // 1_000

    def elapsed_s(self) -> float:
        """Seconds from an arbitrary start; never goes back, and stands still while the machine is suspended."""
        return time.monotonic()

    async def sleep(self, seconds: float) -> None:
        """Returns after at least `seconds`; at once for zero or less."""
        await asyncio.sleep(seconds)
