"""What people have allowed for good, and which files of an agent hold text from strangers."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from ostinato.domain.errors import Conflict, NotFound
from ostinato.domain.event import EventName
from ostinato.domain.permission import NewPermission, Permission
from ostinato.domain.taint import EVERYTHING, INBOX, TAINTED_MAX, UNDER_WAY, normal
from ostinato.domain.values import Instant
from ostinato.store.verbs import rows
from ostinato.store.verbs.memory import TASKS_MAX
from ostinato.store.verbs.pins import PinVerbs

TOLD_MAX = 100
"""Paths that an event names; how many there were it says in any case."""


class LeashVerbs(PinVerbs):
    """Permissions come and go; taint stays until a person has looked."""

    def add_permission(self, new: NewPermission, *, now: Instant) -> Permission:
        """Keeps a permission, in the commit of the decision that it comes from."""
        permission_id = self._db.next_id("permissions")
        self._db.do("add_permission", id=permission_id, agent=new.agent, now=now, body=rows.to_text(new))
        kept = rows.permission_from(new, id_=permission_id, added_at=now)
        self._tell_permission(EventName.PERMISSION_ADDED, kept, actor=new.by, now=now)
        return kept

    def revoke_permission(self, permission: int, *, actor: str, now: Instant) -> Permission:
        """It answers nothing from now on. NotFound where there is none, Conflict where it was revoked before."""
        kept = next((each for each in self.permissions() if each.id == permission), None)
        if kept is None:
            raise NotFound(f"There is no permission P{permission}", cure="See: ostinato approvals permissions")
        if kept.revoked_at is not None:
            raise Conflict(f"{kept.name} is revoked already", cure="Nothing is left to do.")
        self._db.do("revoke_permission", id=permission, now=now, actor=actor)
        self._tell_permission(EventName.PERMISSION_REVOKED, kept, actor=actor, now=now)
        return next(each for each in self.permissions() if each.id == permission)

    def _tell_permission(self, event: EventName, permission: Permission, *, actor: str, now: Instant) -> None:
        data = {"permission": permission.id, "tool": permission.tool, "gate": permission.gate}
        self._tell(event, now=now, agent=permission.agent, actor=actor, data=data)

    def tainted_files(self, agent: str) -> tuple[str, ...]:
        """From memory: each turn asks."""
        found = self._memory.tainted.get(agent)
        if found is None:
            if len(self._memory.tainted) >= TASKS_MAX:
                self._memory.tainted.clear()
            found = self._memory.tainted[agent] = super().tainted_files(agent)
        return found

    def taint_files(self, agent: str, paths: Iterable[str], *, task: int, now: Instant, settled: str = "") -> None:
        """Notes that these files, or folders that end with `/`, hold text from strangers; all of the workspace where
        they would be too many. `settled`: the mark (`UNDER_WAY`) of a call that has ended, and has changed just these.
        """
        if settled:
            self._memory.tainted.pop(agent, None)
            self._db.do("clear_taint", agent=agent, name=settled)
        known = set(self.tainted_files(agent))
        self._memory.tainted.pop(agent, None)
        for path in map(_kept_as, paths):
            is_letter = path.startswith(INBOX)  # who wrote it says how long a chain of causes it goes on
            if not is_letter and (path in known or EVERYTHING in known):
                continue
            name = path if len(known) < TAINTED_MAX or path in known else EVERYTHING
            self._db.do("taint_file", agent=agent, name=name, task=task, now=now)
            known.add(name)

    def clear_taint(
        self, agent: str, paths: Sequence[str] = (), *, actor: str, reason: str = "", now: Instant
    ) -> tuple[str, ...]:
        """A person has looked at these files, or at all: they do not count as written by strangers. Which did."""
        tainted = self.tainted_files(agent)
        cleared = tainted
        if paths:
            wanted = {normal(each) for each in paths}
            cleared = tuple(each for each in tainted if normal(each) in wanted)
            missing = sorted(wanted - {normal(each) for each in cleared})
            if missing:
                cure = f"Marked are: {', '.join(tainted[:20]) or 'none'}."
                raise NotFound(f"{missing[0]!r} of {agent} is not marked as written by strangers", cure=cure)
        self._memory.tainted.pop(agent, None)
        for each in cleared:
            self._db.do("clear_taint", agent=agent, name=each)
        if cleared:
            data = {"files": len(cleared), "paths": list(cleared[:TOLD_MAX])}
            self._tell(EventName.TAINT_CLEARED, now=now, agent=agent, actor=actor, reason=reason, data=data)
        return cleared


def _kept_as(path: str) -> str:
    return path if path.startswith(UNDER_WAY) else normal(path)
