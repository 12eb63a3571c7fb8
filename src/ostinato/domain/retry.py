"""When to try again: exponential backoff with full jitter, a maximum, and what the other side asked for.

Knows nothing of tasks or clocks; randomness is passed in as one number. Source of the formula: the "full jitter"
variant of capped exponential backoff, which spreads retries best when many clients fail together.
"""

from __future__ import annotations

from ostinato.domain.values import Value


class RetryPolicy(Value):
    """How often and how soon a failed attempt is tried again."""

    attempts_max: int = 3
    """Attempts in all that may end in an error; parks, drains and lost nodes do not count."""
    base_s: float = 2.0
    factor: float = 2.0
    max_s: float = 300.0
    jitter: bool = True


def delay_s(policy: RetryPolicy, *, failures: int, chance: float, asked_s: float | None = None) -> float | None:
    """Seconds until the next try after `failures` failed attempts (>= 1), or None when no try is left.

    `chance` in [0, 1) places the delay in its window; `asked_s` (a server's Retry-After) is a lower bound that the
    policy's maximum does not shorten.
    """
    if failures >= policy.attempts_max:
        return None
    try:
        window = min(policy.max_s, policy.base_s * policy.factor ** (failures - 1))
    except OverflowError:  # beyond any maximum
        window = policy.max_s
    wait = window * chance if policy.jitter else window
    return max(wait, asked_s or 0.0)
