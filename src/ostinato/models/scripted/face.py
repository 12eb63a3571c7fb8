"""What a dialect is from a server's side: how requests are read, and how replies look on the wire. Pure.

Whatever the dialect, rules see the same `Asked`. Knows nothing of sockets.
"""

from __future__ import annotations

from typing import Protocol

from ostinato.models.scripted.script import Plan
from ostinato.models.scripted.wire import Asked, Identity


class Face(Protocol):
    """One dialect."""

    def read(self, body: bytes) -> tuple[Asked, str]:
        """The request and the digest of its messages. Raises BadRequest."""

    def whole(self, plan: Plan, identity: Identity) -> bytes:
        """A reply in one piece."""

    def events(self, plan: Plan, identity: Identity, asked: Asked) -> list[bytes]:
        """The same reply as server-sent events, the last one included."""

    def flood(self) -> bytes:
        """Some events of a stream that never ends."""

    def error(self, words: str, status: int) -> bytes:
        """The body of an error."""
