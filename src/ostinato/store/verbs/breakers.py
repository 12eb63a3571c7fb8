"""Circuit breakers: how they stand, kept in the commits of the outcomes that move them."""

from __future__ import annotations

from msgspec.structs import asdict

from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.event import EventName
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import Retention
from ostinato.store.verbs.retention import RetentionVerbs

IDLE: Instant = 7 * 86_400 * SECOND
"""How long a breaker is kept that nobody has asked about: far longer than failures count as in a row, or any is open.
An agent that reads the web meets thousands of hosts that do not answer, and most of them once."""


class BreakerVerbs(RetentionVerbs):
    """What is left alone because it was in trouble."""

    def prune(self, keep: Retention, *, now: Instant, limit: int = 500) -> int:
        """The same; and what nobody has asked about for long is closed, without a failure."""
        gone = super().prune(keep, now=now, limit=limit)
        idle = self._db.all("prunable_breakers", until=now - IDLE, limit=limit - gone) if gone < limit else []
        for (name,) in idle:
            self.put_breaker(name, None, now=now)
        return gone + len(idle)

    def put_breaker(
        self, name: str, breaker: Breaker | None, *, now: Instant, task: int | None = None, actor: str = "runtime"
    ) -> None:
        """How it stands now."""
        before = self.breaker(name)
        if before == breaker:
            return
        if breaker is None:
            self._db.do("drop_breaker", name=name)
        else:
            self._db.do("put_breaker", **{**asdict(breaker), "name": name, "state": breaker.state.value})
        refused, refuses = _refuses(before), _refuses(breaker)
        if refuses and not refused and breaker is not None:
            data = {"breaker": name, "until_at": breaker.until_at, "failures": breaker.failures}
            self._tell(EventName.BREAKER_OPENED, now=now, task=task, reason=breaker.reason, data=data)
        elif refused and not refuses:
            self._tell(EventName.BREAKER_CLOSED, now=now, task=task, actor=actor, data={"breaker": name})


def _refuses(breaker: Breaker | None) -> bool:
    return breaker is not None and breaker.state is not BreakerState.CLOSED
