"""What becomes of a schedule whose time has come: one fire, or a miss, and when it is due next.

Pure: a node that slept, or a clock that jumped, is just a large distance between the nominal time and now. Knows
nothing of what fires.
"""

from __future__ import annotations

from ostinato.domain.schedule import Misfire, ScheduleRule, fires_between, latest_fire, next_fire
from ostinato.domain.values import SECOND, Instant, Value

GRACE: Instant = 300 * SECOND
"""A fire that is no later than this is not missed: a restart or a busy minute must not swallow the daily report."""

COUNTED_MAX = 100
"""Times of a cron expression that are counted when they were missed: beyond it the number changes nothing."""


class Due(Value):
    """What to do about a schedule: `fire_at` is the nominal time that fires now, None where all were missed."""

    fire_at: Instant | None
    next_at: Instant | None
    missed: int
    """Nominal times that passed and will never fire; a lower bound beyond `COUNTED_MAX`."""


def due(rule: ScheduleRule, *, nominal_at: Instant, now: Instant) -> Due:
    """At most one fire for all nominal times from `nominal_at` up to `now`, at the latest of them.

    With misfire `once` a late fire is made up for; with `skip` it happens only within `GRACE`.
    """
    latest, passed = nominal_at, 1
    following = next_fire(rule, after=nominal_at)
    if following is not None and following <= now:
        latest = latest_fire(rule, start=following, now=now)
        passed += fires_between(rule, nominal_at, latest, most=COUNTED_MAX)
        following = next_fire(rule, after=latest)
    if rule.misfire is Misfire.ONCE or now - latest <= GRACE:
        return Due(fire_at=latest, next_at=following, missed=passed - 1)
    return Due(fire_at=None, next_at=following, missed=passed)


def repaired(rule: ScheduleRule, *, next_at: Instant | None, now: Instant) -> Instant | None:
    """When a schedule is due, if `next_at` passes by a time that is still to come; None where it does not.

    Where clocks only go forward it never does: it was computed before now. It does once a clock was far ahead, and has
    been set back.
    """
    first = next_fire(rule, after=now)
    return first if first is not None and (next_at is None or next_at > first) else None
