"""Whom a node leaves alone: asks the store about breakers, but only about those that somebody has had trouble with.

A model that works costs nothing here: no look into the store, no write. Everything happens inside the transactions of
intents and outcomes, on the store's thread; what is remembered between them are names worth a look, never a state.
Knows nothing of models.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence

from ostinato.domain.breaker import (
    USUAL_RULES,
    Admission,
    Breaker,
    BreakerRule,
    BreakerState,
    admit,
    begin_probe,
    failed,
    rule_for,
    succeeded,
)
from ostinato.domain.values import SECOND, Instant, Value
from ostinato.store.port import Tx

LOOK_EVERY = 5 * SECOND
"""How long another node's trouble may go unnoticed. A call that fails meanwhile notices it itself."""

LOOK_AGAIN = 5 * SECOND
"""Who finds a probe on its way comes back after about this, or when the probe is given up."""

SPREAD = 0.8
"""By how much of it the one comes sooner and another later: all at once would be what nobody in trouble can bear."""


class Refusal(Value):
    """Why a call must not go now, and when it may be tried again."""

    reason: str
    until_at: Instant
    who: str = ""
    """Whom the call would have reached, without what is told of it: `tool rates.fetch`."""
    breakers: tuple[str, ...] = ()
    """Those that refuse it, by name."""


class Trouble(Value):
    """How a call failed. `asked_s`: how long the other side asked to be left alone, in seconds."""

    reason: str
    asked_s: float = 0.0


class Breakers:
    """The breakers of one node's calls."""

    def __init__(self, rules: Mapping[str, BreakerRule] = USUAL_RULES) -> None:
        """`rules` by what is guarded: model, host, tool, channel, agent."""
        self._rules = rules
        self._suspects: set[str] = set()
        self._found: set[str] = set()
        """What the last look has found, and whoever had trouble since: suspects until one more look at least, because
        what closed them may be undone and performed once more."""
        self._looked_at: Instant | None = None

    def are_closed(self, tx: Tx, names: Sequence[str], *, now: Instant) -> bool:
        """True where a call guarded by all these may go without a look at any."""
        self._look(tx, now)
        return self._suspects.isdisjoint(names)

    def admit(self, tx: Tx, names: Sequence[str], *, who: str, now: Instant) -> Refusal | None:
        """None where a call guarded by all these breakers may go; it is their probe where one is needed. `who` names
        the caller."""
        if self.are_closed(tx, names, now=now):
            return None
        probed = []
        for name in names:
            breaker = tx.breaker(name) if name in self._suspects else None
            match admit(breaker, who=who, now=now, rule=rule_for(name, self._rules)):
                case Admission.REFUSE:
                    assert breaker is not None
                    until_at = breaker.until_at
                    if breaker.state is BreakerState.HALF_OPEN:
                        until_at = min(until_at, now + _later(who))
                    found = name.replace(":", " ", 1)
                    reason = f"{found} is in trouble: {breaker.reason}"
                    return Refusal(who=found, reason=reason, until_at=until_at, breakers=(name,))
                case Admission.PROBE:
                    assert breaker is not None
                    probed.append(breaker)
                case Admission.PASS:
                    pass
        for breaker in probed:
            tx.put_breaker(breaker.name, self._probing(breaker, who=who, now=now), now=now)
        return None

    def went_well(self, tx: Tx, names: Sequence[str], *, who: str, now: Instant) -> None:
        """A call came back."""
        if self._suspects.isdisjoint(names):
            return
        for name in names:
            if name in self._suspects:
                tx.put_breaker(name, succeeded(tx.breaker(name), who=who), now=now)

    def went_wrong(self, tx: Tx, name: str, trouble: Trouble, *, who: str, now: Instant, task: int) -> None:
        """A call failed, in a way that speaks against what this breaker guards."""
        self._suspects.add(name)
        self._found.add(name)
        after = failed(
            tx.breaker(name),
            name,
            who=who,
            reason=trouble.reason,
            now=now,
            rule=rule_for(name, self._rules),
            asked_s=trouble.asked_s,
        )
        tx.put_breaker(name, after, now=now, task=task)

    def _probing(self, breaker: Breaker, *, who: str, now: Instant) -> Breaker:
        return begin_probe(breaker, who=who, now=now, rule=rule_for(breaker.name, self._rules))

    def _look(self, tx: Tx, now: Instant) -> None:
        """Learns of what other nodes, or this one before it started anew, had trouble with."""
        if self._looked_at is None or not 0 <= now - self._looked_at < LOOK_EVERY:
            self._looked_at = now
            found = {each.name for each in tx.breakers()}
            self._suspects, self._found = found | self._found, found


def _later(who: str) -> int:
    """Microseconds until a caller looks again, of each another number, and always the same."""
    share = zlib.crc32(who.encode()) / 2**31 - 1
    return round(LOOK_AGAIN * (1 + SPREAD * share))
