"""Nodes: who runs, who is gone, and what to do with the work of those who are."""

from __future__ import annotations

from msgspec.structs import replace

from ostinato.domain.event import EventName
from ostinato.domain.fingerprint import fingerprint_of
from ostinato.domain.task import TaskEvent, TaskState
from ostinato.domain.values import SECOND, Instant
from ostinato.store.port import (
    DEFAULT_POOL,
    EVERY_POOL,
    POISON_LOSSES,
    SUSPECT_LOSSES_MAX,
    SUSPECTS_APART_S,
    Node,
)
from ostinato.store.verbs import rows
from ostinato.store.verbs.dead import AHEAD, NAMELESS_MAX
from ostinato.store.verbs.rows import Kept
from ostinato.store.verbs.schedules import ScheduleVerbs

LOOKED_AT_FAR = 100
"""Tasks due last that are looked at: what a clock far ahead has put off is among them."""


class NodeVerbs(ScheduleVerbs):
    """Incarnations, leases and rescue."""

    def start_node(
        self,
        *,
        pid: int,
        host: str,
        version: str,
        lease_s: float,
        exclusive: bool,
        now: Instant,
        pools: tuple[str, ...] = (EVERY_POOL,),
    ) -> Node:
        """A new incarnation; what older ones ran is given back where they are known to be gone."""
        node_id = self._db.next_id("nodes")
        boot = self._db.boot()
        for older, its_boot in self._db.all("open_nodes"):
            if exclusive or its_boot != boot:  # the clock of its lease has started anew since
                self._lose_node(older, now=now)
        lease_until = self._db.lease_now() + round(lease_s * SECOND)
        self._db.do(
            "add_node", id=node_id, pid=pid, host=host, version=version, boot=boot, now=now, lease_until=lease_until,
            pools=rows.to_text(pools),
        )  # fmt: skip
        if exclusive:  # also what no open node holds: nothing may stay running that nobody runs
            for row in self._db.all("running_elsewhere", node=node_id):
                self._lose_task(rows.kept_of(row), now=now)
        self._name_failures(NAMELESS_MAX)
        self._tell(EventName.NODE_STARTED, now=now, data={"node": node_id, "pid": pid, "version": version})
        return Node(
            id=node_id, pid=pid, host=host, version=version, started_at=now, ended_at=None, clean=False, pools=pools
        )

    def _name_failures(self, limit: int) -> int:
        """Dead letters of an earlier version have no fingerprints yet; how many got one."""
        found = self._db.all("nameless_dead", limit=limit)
        for row in found:
            kept = rows.kept_of(row)
            self._db.do("name_failure", id=kept.task.id, fingerprint=fingerprint_of(kept.task))
        return len(found)

    def place_agent(self, agent: str, pool: str, *, now: Instant) -> bool:
        """Its tasks wait elsewhere from now on; those that run go there when they come back."""
        if self._pool_of(agent) == pool:
            return False
        if pool == DEFAULT_POOL:
            self._db.do("unplace_agent", agent=agent)
        else:
            self._db.do("place_agent", agent=agent, pool=pool)
        self._db.do("move_to_pool", agent=agent, pool=pool)
        self._memory.pools = self._memory.queues = None
        self._memory.tasks.clear()
        self._tell(EventName.AGENT_PLACED, now=now, agent=agent, data={"pool": pool})
        return True

    def renew_node(self, node: int, *, lease_s: float) -> bool:
        """A longer lease, if there still is one."""
        lease_now = self._db.lease_now()
        until = lease_now + round(lease_s * SECOND)
        return bool(self._db.do("renew_node", id=node, lease_now=lease_now, lease_until=until))

    def end_node(self, node: int, *, now: Instant) -> None:
        """What it still runs is given back without counting a loss: it ended in order."""
        if not self._db.do("end_node", id=node, clean=True, now=now):
            return
        for row in self._db.all("running_on", node=node):
            kept = rows.kept_of(row)
            self._end_attempt(kept.task, "requeue", error="", now=now)
            self._move(kept, TaskEvent.REQUEUE, reason=f"node {node} has stopped", now=now)
        self._tell(EventName.NODE_STOPPED, now=now, data={"node": node})

    def _lose_node(self, node: int, *, now: Instant) -> int:
        self._db.do("end_node", id=node, clean=False, now=now)
        self._tell(EventName.NODE_LOST, now=now, data={"node": node})
        lost = [rows.kept_of(row) for row in self._db.all("running_on", node=node)]
        suspects = [each for each in lost if each.task.losses + 1 >= POISON_LOSSES]
        is_clear = len(suspects) == 1
        for each in lost:
            if each not in suspects:
                self._lose_task(each, now=now)
        for number, each in enumerate(suspects):
            if is_clear or each.task.losses + 1 >= SUSPECT_LOSSES_MAX:
                self._set_aside(each, now=now)
            else:
                self._lose_task(each, now=now, due_at=now + round(number * SUSPECTS_APART_S * SECOND))
        return len(lost)

    def _lose_task(self, kept: Kept, *, now: Instant, due_at: Instant | None = None) -> None:
        """The node died with it: back into the queue."""
        task, losses = kept.task, kept.task.losses + 1
        reason = f"node {task.node} was lost"
        self._end_attempt(task, "lost", error=reason, now=now)
        self._move(
            kept, TaskEvent.REQUEUE, reason=reason, losses=losses, data={"losses": losses}, due_at=due_at, now=now
        )

    def _set_aside(self, kept: Kept, *, now: Instant) -> None:
        """Too many nodes have died with it: among the dead letters."""
        task, losses = kept.task, kept.task.losses + 1
        self._end_attempt(task, "lost", error=f"node {task.node} was lost", now=now)
        error = f"{losses} nodes in a row died with it"
        self._note_setback(task, error, "poison", now=now)
        result = self._failure(task, error, "poison")
        moved = self._move(kept, TaskEvent.FAIL, reason=error, losses=losses, result=result, now=now)
        self._end(moved, now=now)

    def rescue(self, *, now: Instant, limit: int = 100) -> int:
        """Gives back what lost nodes ran, ends waits, and releases delayed tasks."""
        moved = 0
        for (node,) in self._db.all("lapsed_nodes", lease_now=self._db.lease_now(), boot=self._db.boot()):
            moved += self._lose_node(node, now=now)
        for row in self._db.all("due_waits", now=now, limit=max(0, limit - moved)):
            kept = rows.kept_of(row)
            assert kept.task.state is TaskState.WAITING
            self._move(kept, TaskEvent.WAKE, reason="its time has come", now=now)
            moved += 1
        moved += self._bring_near(now=now)
        return moved + self._release_delayed(now=now, limit=max(0, limit - moved))

    def _bring_near(self, *, now: Instant) -> int:
        """What a clock has put off that was ahead, and has been set back since, is looked at now: the next try, and
        whatever a task waited for, would come when that far time does."""
        ahead = now + AHEAD
        last = [rows.kept_of(row) for row in self._db.all("due_last", after=ahead, limit=LOOKED_AT_FAR)]
        far = [each for each in last if each.task.updated_at > ahead and not _was_named(each)]
        for kept in far:
            if kept.task.state is TaskState.WAITING:
                near = replace(kept, rank=min(kept.rank, self._rank(now, priority=kept.task.priority)))
                self._move(near, TaskEvent.WAKE, reason="the clock was set back", now=now)
            else:
                self._change(kept, {"not_before_at": now}, actor="runtime", now=now)
        return len(far)


def _was_named(kept: Kept) -> bool:
    """True for a task that is to begin at this very time."""
    return kept.task.state is TaskState.READY and kept.due_at == kept.task.not_before_at
