"""A zombie: an attempt whose claim is gone while its tool goes on. What the tool did is told, and changes nothing."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

from ostinato.domain.event import EventName
from ostinato.domain.step import Effect, ToolIntent, ToolOutcome
from ostinato.domain.task import Task, TaskKind, TaskState, WaitKind
from ostinato.domain.values import digest_of
from ostinato.store.port import ClaimRequest, EventFilter, Node, Store, Tx
from ostinato.tools.port import Arguments, OutsideTool, ToolContext, ToolResult, object_schema
from tests.agents.fleet import PARKED, Fleet, running, write_fleet
from tests.agents.test_turns import files
from tests.conftest import run

SCRIPT = "default: {calls: [{tool: test.send, args: {}}]}"
LEASH = {
    "agents/helper/TOOLS.md": "---\nallow: [test.send]\n---\n",
    "agents/helper/AGENTS.md": "---\ngates_off: [irreversible]\n---\n",
}
SENT = "sent as number 17 " + "x" * 3_000


class Zombie:
    """A tool that nobody can stop, as one that waits in another thread."""

    def __init__(self) -> None:
        self.begun, self.end = asyncio.Event(), asyncio.Event()
        self.tool = OutsideTool(
            name="test.send", description="Send.", parameters=object_schema(), effect=Effect.IRREVERSIBLE,
            act=self._act,
        )  # fmt: skip

    async def _act(self, _context: ToolContext, _arguments: Arguments) -> ToolResult:
        self.begun.set()
        while not self.end.is_set():
            try:
                await self.end.wait()
            except asyncio.CancelledError:
                continue
        return ToolResult(text=SENT)


async def outlive(folder: Path, store: Store | None) -> None:
    """Another node takes the task over while the tool of the first is at work."""
    zombie = Zombie()
    fleet = Fleet(write_fleet(folder, files(SCRIPT) | LEASH), tools=(zombie.tool,), store=store)
    await fleet.node.start()
    goal = await fleet.goal("helper", "send it")
    await zombie.begun.wait()
    try:
        await _outlive(fleet, goal, zombie)
    finally:
        zombie.end.set()
        await fleet.node.stop()
        await fleet.store.close()
        await fleet.models.close()


async def _outlive(fleet: Fleet, goal: Task, zombie: Zombie) -> None:
    now, late = fleet.clock.now(), EventFilter(names=frozenset({EventName.TASK_LATE}))

    def take_over(tx: Tx) -> tuple[Node, Task]:
        """In one commit, or the node that is taken over from, and works on, would be as quick."""
        other = tx.start_node(pid=1, host="other", version="test", lease_s=60.0, exclusive=True, now=now)
        (taken,) = tx.claim(ClaimRequest(node=other.id, kinds=(TaskKind.GOAL,)), now=now)
        return other, taken

    other, taken = await fleet.store.run(take_over)
    zombie.end.set()

    async def told() -> bool:
        return bool(await fleet.store.read(lambda reads: reads.events(late)))

    await fleet.wait(told)
    (event,) = await fleet.store.read(lambda reads: reads.events(late))
    assert (event.task, event.agent, event.data["token"]) == (goal.id, "helper", taken.token - 1)
    assert (event.data["tool"], event.data["status"]) == ("test.send", "ok")
    assert (event.data["text"], event.data["digest"]) == (SENT[:2_000], digest_of(SENT.encode()))
    assert "not held by claim" in event.reason
    task = await fleet.store.read(lambda reads: reads.task(goal.id))
    assert (task.state, task.token, task.node) == (TaskState.RUNNING, taken.token, other.id), "it is the other's"
    journal = await fleet.journal(goal.id)
    assert isinstance(journal[-1], ToolIntent), "whoever holds it now must find the doubt"
    assert not any(isinstance(each, ToolOutcome) for each in journal)


def test_what_a_tool_has_done_for_a_lost_claim_is_kept_as_evidence(tmp_path: Path) -> None:
    run(outlive(tmp_path, None))


def test_what_may_have_happened_is_repeated_only_where_its_tool_knows_that_it_has_not(tmp_path: Path) -> None:
    acts: Counter[str] = Counter()
    begun, goes_on = asyncio.Event(), asyncio.Event()

    def tool(name: str, knows: bool | None) -> OutsideTool:
        async def act(_context: ToolContext, _arguments: Arguments) -> ToolResult:
            acts[name] += 1
            if acts.total() == 3:
                begun.set()
            await goes_on.wait()
            return ToolResult(text="sent")

        async def probe(_context: ToolContext, _arguments: Arguments) -> bool | None:
            goes_on.set()
            return knows

        return OutsideTool(
            name=f"test.{name}", description="Send.", parameters=object_schema(), effect=Effect.IRREVERSIBLE, act=act,
            probe=probe,
        )  # fmt: skip

    async def story() -> None:
        tools = tool("did", True), tool("did_not", False), tool("unsure", None)
        calls = ", ".join(f"{{tool: {each.name}, args: {{}}}}" for each in tools)
        leash = LEASH | {"agents/helper/TOOLS.md": "---\nallow: [test.did, test.did_not, test.unsure]\n---\n"}
        written = files(f"default: {{calls: [{calls}]}}") | leash
        async with running(tmp_path, written, tools=tools) as fleet:
            goal = await fleet.goal("helper", "send it")
            await begun.wait()
            now = fleet.clock.now()
            await fleet.store.run(  # as if the node had died, and begun again
                lambda tx: tx.start_node(pid=1, host="other", version="test", lease_s=60.0, exclusive=True, now=now)
            )
            waiting = await fleet.until(goal.id, PARKED)
            assert waiting.wait is not None
            assert waiting.wait.kind is WaitKind.UNKNOWN
            assert acts == {"did": 1, "did_not": 2, "unsure": 1}

    run(story())
