"""What becomes of a schedule whose time has come: one fire, or a miss, and when it is due next.

Pure: a node that slept, or a clock that jumped, is just a large distance between the nominal time and now. Knows
nothing of what fires.
"""

from __future__ import annotations

from ostinato.domain.schedule import Misfire, ScheduleRule, next_fire
from ostinato.domain.values import SECOND, Instant, Value

GRACE: Instant = 300 * SECOND
"""A fire that is no later than this is not missed: a restart or a busy minute must not swallow the daily report."""

CATCH_UP_MAX = 1_000
"""Nominal times that are stepped over one by one before the walk jumps to now."""


class Due(Value):
    """What to do about a schedule: `fire_at` is the nominal time that fires now, None where all were missed."""

    fire_at: Instant | None
    next_at: Instant | None
    missed: int
    """Nominal times that passed and will never fire; a lower bound beyond `CATCH_UP_MAX`."""


def due(rule: ScheduleRule, *, nominal_at: Instant, now: Instant) -> Due:
    """At most one fire for all nominal times from `nominal_at` up to `now`, at the latest of them.

    With misfire `once` a late fire is made up for; with `skip` it happens only within `GRACE`.
    """
    latest, passed = nominal_at, 1
    following = next_fire(rule, after=latest)
    while following is not None and following <= now and passed < CATCH_UP_MAX:
        latest, passed = following, passed + 1
        following = next_fire(rule, after=latest)
    if following is not None and following <= now:
        following = next_fire(rule, after=now)
    if rule.misfire is Misfire.ONCE or now - latest <= GRACE:
        return Due(fire_at=latest, next_at=following, missed=passed - 1)
    return Due(fire_at=None, next_at=following, missed=passed)
