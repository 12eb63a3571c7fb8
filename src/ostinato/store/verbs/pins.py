"""Pins: what servers and skills said when a person let them in, and what they say now."""

from __future__ import annotations

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.pin import Pin
from ostinato.domain.values import Instant
from ostinato.store.verbs.breakers import BreakerVerbs


class PinVerbs(BreakerVerbs):
    """The first sight is accepted; a change waits for a person."""

    def see_pin(self, name: str, *, digest: str, text: str, now: Instant) -> Pin:
        """Notes how it is now; writes nothing where that is how it was seen last."""
        kept = self.pin(name)
        if kept is not None and kept.seen_digest == digest:
            return kept
        if kept is None:
            self._db.do("add_pin", name=name, digest=digest, text=text, now=now)
        else:
            self._db.do("see_pin", name=name, digest=digest, text=text, now=now)
            if digest != kept.digest:
                self._tell(EventName.PIN_CHANGED, now=now, data={"pin": name, "digest": digest})
        return self._pinned(name)

    def accept_pin(self, name: str, *, digest: str, actor: str, now: Instant) -> Pin:
        """Takes it as it was seen last. NotFound where there is no such pin; Conflict where that is not `digest`: it
        has changed since the person looked."""
        kept = self._pinned(name)
        if kept.seen_digest != digest:
            raise Conflict(f"{name} has changed once more since you looked", cure=f"Look again: {_LOOK} {name}")
        if kept.is_withheld or kept.is_unread:
            self._db.do("accept_pin", name=name, actor=actor, now=now)
            self._tell(EventName.PIN_ACCEPTED, now=now, actor=actor, data={"pin": name, "digest": digest})
        return self._pinned(name)

    def _pinned(self, name: str) -> Pin:
        kept = self.pin(name)
        if kept is None:
            raise NotFound(f"Nothing is pinned as {name[:200]!r}", cure="See: ostinato pins list")
        return kept


_LOOK = "ostinato pins show"
