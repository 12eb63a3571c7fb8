"""How long a task has waited beside how urgent it is: one number says who goes first.

A level of priority is worth a time of waiting, so a task's place is fixed when it becomes ready: the moment at which it
would have come with priority 0. Whatever comes later than that goes behind it, however urgent it is; so nothing waits
for ever, nobody has to look at what grows old, and one index keeps the order. Raising the priority of what waits long
was tried on paper: a sweep that writes each waiting row again and again.
"""

from __future__ import annotations

from ostinato.domain.values import SECOND, Instant

AGING_S = 900.0
"""Seconds of waiting that a level of priority is worth: an urgent task (50) overtakes what has waited half a day."""

AGING_SETTING = "queues.aging"
"""Where a store keeps what else a level is worth."""

AGING_LEAST_S = 1.0
AGING_MOST_S = 366 * 86_400.0
"""So long that priority alone decides."""


def rank_of(since_at: Instant, *, priority: int, aging_s: float) -> Instant:
    """The place of a task that can be claimed since `since_at`; the smallest goes first."""
    return since_at - priority * round(aging_s * SECOND)
