"""A desk for trying tools at: a workspace, a real store in memory, and contexts with other words for what matters.

Knows nothing of turns: it hands a tool to whoever performs it in the product.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from ostinato.domain.file_rules import FileRules
from ostinato.domain.policy import Policy
from ostinato.domain.task import NewTask, Task, TaskKind
from ostinato.store.port import Store, Tx
from ostinato.tools.port import Colleague, StoreTool, ToolContext, ToolResult
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox, perform, perform_in

T = TypeVar("T")

BEGINS_AT = 1_800_000_000_000_000
"""2027-01-15T08:00:00Z, a Friday."""

POLICY = Policy(agent="triage", tools=("*", "message.send"), recipients=("operator", "mail:*@example.com"))
COLLEAGUES = (
    Colleague(id="billing", skills=("billing", "refunds")),
    Colleague(id="sales", skills=("sales",)),
    Colleague(id="technical", skills=("technical", "Refunds")),
    Colleague(id="triage", skills=("triage",)),
)
RULES = FileRules(read=(".",), write=(".",))


class Desk:
    """One agent's place: `call` performs a tool by name, each time as another call unless a key is given."""

    def __init__(self, workspace: Path, store: Store) -> None:
        self.workspace = workspace
        self.store = store
        self.box: Toolbox = standard_toolbox()
        self.task = 0
        self._calls = 0

    async def begin(self) -> None:
        """Adds the task in which the calls are made."""
        turn = await self.add(kind=TaskKind.TURN, title="look around", agent="triage", session="main:triage")
        self.task = turn.id

    async def add(self, *, now: int = BEGINS_AT, **more: Any) -> Task:
        """Adds any task."""
        new = NewTask(**{"kind": TaskKind.GOAL, "title": "a goal", **more})
        return await self.store.run(lambda tx: tx.add_task(new, now=now))

    def context(self, **more: Any) -> ToolContext:
        """The context of one call, with a key of its own."""
        self._calls += 1
        given: dict[str, Any] = {
            "task": self.task,
            "call_id": f"{self._calls}.0",
            "key": f"key-of-call-{self._calls}",
            "agent": "triage",
            "session": "main:triage",
            "workspace": self.workspace,
            "now": BEGINS_AT,
            "policy": POLICY,
            "files": RULES,
            "colleagues": COLLEAGUES,
            "causes": (f"T{self.task}",),
            "fleet": "Acme Support",
        }
        return ToolContext(**{**given, **more})

    async def call(
        self, name: str, arguments: dict[str, Any], context: ToolContext | None = None, **more: Any
    ) -> ToolResult:
        """Performs a tool whose arguments fit, in a transaction of its own where it acts on the store."""
        tool = self.box.get(name)
        assert tool is not None, name
        assert self.box.check_arguments(tool, arguments) == ""
        here = context or self.context(**more)
        if isinstance(tool, StoreTool):
            store_tool = tool
            return await self.store.run(lambda tx: perform_in(tx, store_tool, context=here, arguments=arguments))
        return await perform(tool, here, arguments)

    async def see(self, fn: Callable[[Tx], T]) -> T:
        """Looks into the store."""
        return await self.store.run(fn)
