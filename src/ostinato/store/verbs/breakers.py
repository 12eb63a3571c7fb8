"""Circuit breakers: how they stand, kept in the commits of the outcomes that move them."""

from __future__ import annotations

from msgspec.structs import asdict

from ostinato.domain.breaker import Breaker, BreakerState
from ostinato.domain.event import EventName
from ostinato.domain.values import Instant
from ostinato.store.verbs.retention import RetentionVerbs


class BreakerVerbs(RetentionVerbs):
    """What is left alone because it was in trouble."""

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
