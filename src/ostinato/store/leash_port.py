"""The part of the seam about leashes: what people have allowed, what strangers have written, and pins.

`ostinato.store.port` joins it to the rest. Knows nothing of who is judged by it.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Protocol

from ostinato.domain.permission import NewPermission, Permission
from ostinato.domain.pin import Pin
from ostinato.domain.values import Instant


class LeashReads(Protocol):
    """Verbs that change nothing."""

    def permissions(self, agent: str | None = None) -> list[Permission]:
        """Every permission that there is or was, oldest first; of one agent, those that hold."""

    def tainted_by(self, agent: str, path: str) -> int | None:
        """The task that wrote strangers' text into this very path last; None: none is known."""

    def tainted_files(self, agent: str) -> tuple[str, ...]:
        """Paths in an agent's workspace that hold text from strangers; a folder ends with `/`."""

    def pins(self) -> list[Pin]:
        """What servers and skills said when a person let them in, and what they say now; by name."""

    def pin(self, name: str) -> Pin | None: ...


class LeashTx(Protocol):
    """Verbs bound to one transaction."""

    def see_pin(self, name: str, *, digest: str, text: str, now: Instant) -> Pin:
        """Notes how something is now. New: taken as it is, unread. Changed: withheld, and `pin.changed` told."""

    def accept_pin(self, name: str, *, digest: str, actor: str, now: Instant) -> Pin:
        """Takes it as it was seen last. NotFound; Conflict where that is not `digest`."""

    def add_permission(self, new: NewPermission, *, now: Instant) -> Permission: ...

    def revoke_permission(self, permission: int, *, actor: str, now: Instant) -> Permission:
        """It answers nothing from this commit on. `NotFound`, and `Conflict` where it was revoked before."""

    def taint_files(self, agent: str, paths: Iterable[str], *, task: int, now: Instant, settled: str = "") -> None:
        """These files, or folders that end with `/`, hold strangers' text; `settled`: the mark of a call, gone now."""

    def clear_taint(
        self, agent: str, paths: Sequence[str] = (), *, actor: str, reason: str = "", now: Instant
    ) -> tuple[str, ...]:
        """A person has looked at these files of an agent, or at all: they do not count as written by strangers any
        more; which did. `NotFound` for one that is not marked, and then nothing has changed."""
