"""Flags of scopes, blobs by digest, and settings."""

from __future__ import annotations

from collections.abc import Sequence

from ostinato.domain.aging import AGING_SETTING, rank_of
from ostinato.domain.errors import Invalid
from ostinato.domain.event import EventName
from ostinato.domain.limit import QueueLimit, Strands
from ostinato.domain.secret import KNOWN
from ostinato.domain.values import SECOND, Instant, digest_of
from ostinato.store.verbs import rows
from ostinato.store.verbs.limits import LIMITS_SETTING
from ostinato.store.verbs.nodes import NodeVerbs

FLAG_NAMES = ("halted", "paused", "draining")
SCOPES = ("agent:", "task:", "session:", "pool:")
REUSE_NOTED_AFTER: Instant = 86_400 * SECOND
"""How old the note of a blob's last use may grow before it is written again: a day, so that waking every quarter of an
hour with the same files writes nothing."""


class SettingVerbs(NodeVerbs):
    """Small things with a name."""

    def set_flag(self, scope: str, name: str, *, actor: str, reason: str, now: Instant) -> None:
        """Pauses, halts or drains a scope."""
        if name not in FLAG_NAMES:
            raise Invalid(f"There is no flag {name!r}", cure=f"Flags are: {', '.join(FLAG_NAMES)}.")
        if scope != "fleet" and not (scope.startswith(SCOPES) and scope.partition(":")[2]):
            raise Invalid(f"{scope!r} is no scope", cure="Scopes are: fleet, agent:<id>, task:<id>, session:<key>, "
                          "pool:<name>.")  # fmt: skip
        self._db.do("set_flag", scope=scope, name=name, actor=actor, reason=reason, now=now)
        self._tell_flag(EventName.FLAG_SET, scope, name, actor=actor, reason=reason, now=now)

    def clear_flag(self, scope: str, name: str, *, actor: str, reason: str = "", now: Instant) -> bool:
        """Takes a flag away; False where it was not set."""
        if not self._db.do("clear_flag", scope=scope, name=name):
            return False
        self._tell_flag(EventName.FLAG_CLEARED, scope, name, actor=actor, reason=reason, now=now)
        return True

    def _tell_flag(self, event: EventName, scope: str, name: str, *, actor: str, reason: str, now: Instant) -> None:
        self._memory.flags = None
        self._memory.queues = None
        kind, _, owner = scope.partition(":")
        self._tell(
            event,
            now=now,
            task=int(owner) if kind == "task" and owner.isdecimal() else None,
            agent=owner if kind == "agent" else None,
            session=owner if kind == "session" else None,
            actor=actor,
            reason=reason,
            data={"scope": scope, "flag": name},
        )

    def set_limits(self, limits: Sequence[QueueLimit], *, now: Instant) -> bool:
        """Other limits of queues; tasks that wait, and may wait again, go to the strands that these make."""
        old, new = self._strands(), Strands(limits)
        if new.limits == old.limits:
            return False
        self._db.do("set_setting", name=LIMITS_SETTING, value=rows.to_text(new.limits))
        for project, priority in self._db.all("strands_in_use"):
            strand = new.strand(project=project, priority=priority)
            if strand != old.strand(project=project, priority=priority):
                self._db.do("move_to_strand", project=project, priority=priority, strand=strand)
        self._memory.strands = self._memory.queues = None
        said = [
            {
                "scope": each.scope(kind=each.kind, project=each.project, agent=each.agent).removeprefix("limit:"),
                "concurrency": each.concurrency,
                "rate": each.rate.text if each.rate else None,
            }
            for each in limits
        ]
        self._tell(EventName.LIMITS_CHANGED, now=now, data={"limits": said})
        return True

    def set_aging(self, aging_s: float) -> bool:
        """Another worth of a level of priority; what waits goes to its new place."""
        old = self._aging_s()
        if old == aging_s:
            return False
        self._db.do("set_setting", name=AGING_SETTING, value=repr(aging_s))
        self._db.do("change_aging", less=rank_of(0, priority=1, aging_s=aging_s) - rank_of(0, priority=1, aging_s=old))
        self._memory.aging_s = aging_s
        self._memory.queues = None
        self._memory.tasks.clear()
        return True

    def put_blob(self, data: bytes, *, now: Instant) -> str:
        """Keeps bytes under their digest, both without any secret that this process knows of."""
        data = KNOWN.stored(data)  # else the digest would be of what is not kept
        digest = digest_of(data)
        row = self._db.one("blob_used_at", digest=digest)
        if row is None:
            self._db.do("add_blob", digest=digest, data=data, now=now)
        elif row[0] < now - REUSE_NOTED_AFTER:
            self._db.do("touch_blob", digest=digest, now=now)
        return digest

    def set_setting(self, name: str, value: str) -> None:
        """A setting's new value."""
        self._db.do("set_setting", name=name, value=value)
