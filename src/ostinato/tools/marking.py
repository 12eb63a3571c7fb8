"""Marks on what a call writes: before it writes, and once it has said what it has written.

Knows nothing of turns; whoever performs a call knows whether its words come from strangers.
"""

from __future__ import annotations

from collections.abc import Callable

from ostinato.domain.step import ToolIntent
from ostinato.domain.taint import UNDER_WAY
from ostinato.domain.task import Task
from ostinato.domain.values import Instant
from ostinato.store.port import Tx
from ostinato.tools.port import AnyTool


def mark_writes(
    tx: Tx, tool: AnyTool, intent: ToolIntent, *, task: Task, now: Instant, dated: Callable[[str], str] = str
) -> None:
    """What this call of a task writes holds text from strangers. All of it, as long as it has not said what that is.
    `dated` fills in the day."""
    paths = tool.writes(intent.arguments)
    if paths:
        names = [_under_way(task, intent)] if tool.tells_writes else [dated(path) for path in paths]
        tx.taint_files(task.agent or "", names, task=task.id, now=now)


def settle_writes(
    tx: Tx, tool: AnyTool, intent: ToolIntent, *, wrote: tuple[str, ...] | None, task: Task, now: Instant
) -> None:
    """The call has ended: only what it has changed is marked, where it could tell that."""
    if tool.tells_writes and wrote is not None:
        tx.taint_files(task.agent or "", wrote, task=task.id, now=now, settled=_under_way(task, intent))


def _under_way(task: Task, intent: ToolIntent) -> str:
    return f"{UNDER_WAY}{task.name} {intent.call_id}"
