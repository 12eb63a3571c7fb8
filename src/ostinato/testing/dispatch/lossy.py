"""A dispatcher that drops half of the hints, doubles half of the others, and gives them in another order.

One seed is one sequence of misdeeds. Knows nothing of what the hints are about.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Final

from ostinato.engine.dispatcher import LocalDispatcher

HELD_MAX: Final = 4
"""Hints that wait while later ones overtake them."""


class LossyDispatcher(LocalDispatcher):
    """Every right of a dispatcher, used."""

    def __init__(self, seed: int) -> None:
        super().__init__()
        self._random = random.Random(seed)
        self._held: list[tuple[int, str, int]] = []

    def offer(self, task: int, *, pool: str, priority: int) -> None:
        """Perhaps later, perhaps twice, perhaps never."""
        if self._random.random() < 0.5:
            return
        hint = (task, pool, priority)
        self._held += [hint, hint] if self._random.random() < 0.5 else [hint]
        while len(self._held) > self._random.randrange(HELD_MAX + 1):
            held, its_pool, its_priority = self._held.pop(self._random.randrange(len(self._held)))
            super().offer(held, pool=its_pool, priority=its_priority)

    async def take(self, pools: Sequence[str], free: int) -> None:
        """Now and then without any reason."""
        if self._random.random() < 0.1:
            return
        await super().take(pools, free)
