"""The circuit breaker: after failures in a row it spares whoever is in trouble, then lets one probe look. Pure.

Who asks to be left alone is left alone at once, for as long as it asks: that is no guess, so that it needs no row.
A closed breaker that has seen no failure is nothing: None stands for it, and nobody keeps it. Only the probe's own
outcome moves a breaker that is not closed; what began before it opened, or was lost on the way, moves nothing. Knows
nothing of models, hosts or stores.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping

from msgspec.structs import replace

from ostinato.domain.values import SECOND, Instant, Value


class BreakerState(enum.StrEnum):
    """Where a breaker stands."""

    CLOSED = "closed"
    OPEN = "open"
    HALF_OPEN = "half_open"
    """One probe is on its way."""


class BreakerEvent(enum.StrEnum):
    """What moves a breaker."""

    TRIP = "trip"
    """Too many failures in a row, a word to be left alone, or the probe failed."""
    PROBE = "probe"
    """Somebody may look; a probe that did not come back is replaced."""
    CLOSE = "close"
    """The probe came back well."""


_S, _E = BreakerState, BreakerEvent

TRANSITIONS: dict[tuple[BreakerState, BreakerEvent], BreakerState] = {
    (_S.CLOSED, _E.TRIP): _S.OPEN,
    (_S.OPEN, _E.PROBE): _S.HALF_OPEN,
    (_S.HALF_OPEN, _E.PROBE): _S.HALF_OPEN,
    (_S.HALF_OPEN, _E.TRIP): _S.OPEN,
    (_S.HALF_OPEN, _E.CLOSE): _S.CLOSED,
}


class BreakerRule(Value):
    """When a breaker opens and for how long."""

    failures_max: int = 5
    """Failures in a row that open it. A call is one, whatever its attempts; three calls of one task do not."""
    window_s: float = 300.0
    """Failures further apart are not in a row: who is asked once an hour is asked."""
    open_s: float = 15.0
    """How long it stays open at first; doubles with each probe that fails."""
    open_max_s: float = 600.0
    asked_max_s: float = 3_600.0
    """How long the other side is believed that asks to be left alone; then a probe looks whether it meant it."""
    probe_s: float = 120.0
    """A probe that has not come back by then is given up: its node died, or the other side never answers."""

    @property
    def longest_s(self) -> float:
        """No state that refuses lasts longer."""
        return max(self.open_max_s, self.asked_max_s, self.probe_s)


USUAL_RULES: Mapping[str, BreakerRule] = {
    "model": BreakerRule(),
    "host": BreakerRule(),
    "tool": BreakerRule(),
    "channel": BreakerRule(open_s=30.0, probe_s=300.0),
    "agent": BreakerRule(window_s=3_600.0, open_s=60.0, open_max_s=1_800.0, probe_s=3_600.0),
}
"""By what a breaker guards: the part of its name before the colon. An agent's probe is a whole task, which may take as
long as an attempt may; what it failed at an hour ago says little about it."""


def rule_for(name: str, rules: Mapping[str, BreakerRule] = USUAL_RULES) -> BreakerRule:
    """The rule of the breaker with this name."""
    kind = name.partition(":")[0]
    return rules.get(kind) or USUAL_RULES.get(kind) or BreakerRule()


class Breaker(Value):
    """One breaker as the store keeps it."""

    name: str
    """What it guards: `model:small`, `host:api.example.com`."""
    state: BreakerState = BreakerState.CLOSED
    failures: int = 0
    """In a row."""
    since_at: Instant = 0
    """Closed: the last of these failures. Else: since when calls are refused."""
    until_at: Instant = 0
    """Open: when a probe may go. Half-open: when the probe is given up."""
    opened: int = 0
    """How often it has opened since it was last closed."""
    probe: str = ""
    """Half-open: who is looking, such as `T12`."""
    reason: str = ""
    """The last failure, in words."""


class Admission(enum.StrEnum):
    """Whether a call may go."""

    PASS = "pass"
    PROBE = "probe"
    """It may, as the one probe: `begin_probe` must be on disk before it goes."""
    REFUSE = "refuse"


def admit(breaker: Breaker | None, *, who: str, now: Instant, rule: BreakerRule) -> Admission:
    """Whether a call of `who` may go now. A probe that asks again is still the probe. What is shut for longer than
    anything ever is was shut by a clock that was ahead, and has been set back."""
    if breaker is None or breaker.state is BreakerState.CLOSED:
        return Admission.PASS
    if breaker.state is BreakerState.HALF_OPEN and breaker.probe == who:
        return Admission.PROBE
    left_s = (breaker.until_at - now) / SECOND
    return Admission.REFUSE if 0 < left_s <= rule.longest_s else Admission.PROBE


def begin_probe(breaker: Breaker, *, who: str, now: Instant, rule: BreakerRule) -> Breaker:
    """The breaker while `who` looks; for callers that were admitted as the probe."""
    state = TRANSITIONS[breaker.state, BreakerEvent.PROBE]
    return replace(breaker, state=state, probe=who, until_at=now + round(rule.probe_s * SECOND))


def succeeded(breaker: Breaker | None, *, who: str) -> Breaker | None:
    """The breaker after a call of `who` that went well; None: closed, without a failure."""
    if breaker is None or breaker.state is BreakerState.CLOSED:
        return None
    if breaker.state is BreakerState.HALF_OPEN and breaker.probe == who:
        return None
    return breaker


def failed(
    breaker: Breaker | None,
    name: str,
    *,
    who: str,
    reason: str,
    now: Instant,
    rule: BreakerRule,
    asked_s: float = 0.0,
) -> Breaker:
    """The breaker called `name` after a call of `who` that failed. `asked_s`: how long the other side asked to be left
    alone, in seconds: it is, from now on, up to what the rule believes; of several such words the longest counts."""
    asked_at = now + round(min(max(asked_s, 0.0), rule.asked_max_s) * SECOND)
    before = breaker or Breaker(name=name)
    if before.state is BreakerState.CLOSED:
        in_row = now - before.since_at <= rule.window_s * SECOND
        counted = replace(before, failures=(before.failures if in_row else 0) + 1, since_at=now, reason=reason)
        if counted.failures < rule.failures_max and asked_at <= now:
            return counted
        return _open(counted, now, asked_at=asked_at, rule=rule)
    if before.state is BreakerState.HALF_OPEN and before.probe == who:
        counted = replace(before, failures=before.failures + 1, reason=reason)
        return _open(counted, now, asked_at=asked_at, rule=rule)
    if before.state is BreakerState.OPEN and asked_at > before.until_at:
        return replace(before, until_at=asked_at)
    return before


def _open(breaker: Breaker, now: Instant, *, asked_at: Instant, rule: BreakerRule) -> Breaker:
    """Until the time that was asked for, where there is one; longer where too many have failed in a row."""
    until_at, beyond = asked_at, breaker.failures - rule.failures_max
    if beyond >= 0 or asked_at <= now:
        wait_s = min(rule.open_s * 2.0 ** min(max(beyond, 0), 30), rule.open_max_s)
        until_at = max(until_at, now + round(wait_s * SECOND))
    return replace(
        breaker,
        state=TRANSITIONS[breaker.state, BreakerEvent.TRIP],
        opened=breaker.opened + 1,
        since_at=breaker.since_at if breaker.opened else now,
        until_at=until_at,
        probe="",
    )
