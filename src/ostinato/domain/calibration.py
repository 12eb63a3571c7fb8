"""The factor between estimated and counted tokens, as it is learned from replies.

Knows nothing of models by name, or of where factors are kept.
"""

from __future__ import annotations

EVEN = 1.0
LEAST, MOST = 0.25, 8.0
"""Whatever a provider says: an estimate of four bytes a token is never further off."""

WEIGHT = 0.2
"""Of the newest reply: five replies say more than the first estimate."""

SMALLEST = 50
"""Estimated tokens below which a reply teaches nothing: what providers add themselves would weigh too much."""

NEWS = 0.05
"""The part by which a factor must have moved to be written down again."""


def factor_after(factor: float, *, estimated: int, counted: int) -> float:
    """The factor after one more reply; as it was where there is nothing to learn."""
    if estimated < SMALLEST or counted <= 0:
        return factor
    seen = min(MOST, max(LEAST, counted / estimated))
    return min(MOST, max(LEAST, factor + WEIGHT * (seen - factor)))


def is_news(kept: float, learned: float) -> bool:
    """True where the learned factor differs so much from the kept one that it matters."""
    return abs(learned - kept) >= NEWS * kept
