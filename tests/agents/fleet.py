"""A small fleet for tests: real files, a real store and engine, and a script as its model, inside the process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from ostinato.agents.fires import Fires
from ostinato.agents.inbox import InboxTaker, InboxTimes
from ostinato.agents.intake import Intake
from ostinato.agents.leash import LeashMaker
from ostinato.agents.live import LiveText
from ostinato.agents.model_choices import ModelChoices
from ostinato.agents.scribe import Scribe
from ostinato.agents.turn_handler import TurnHandler
from ostinato.agents.unfit import Patient
from ostinato.config import model_settings
from ostinato.domain.message import NewMessage, main_session
from ostinato.domain.step import Entry
from ostinato.domain.task import NewTask, Task, TaskKind, TaskSpec, TaskState
from ostinato.domain.values import Instant, Source
from ostinato.engine.clock import SystemClock
from ostinato.engine.limits import EngineLimits
from ostinato.engine.node import EngineNode, NodeSettings
from ostinato.engine.port import Handler
from ostinato.models.catalogue import FleetModels
from ostinato.models.settings import ModelSettings
from ostinato.store.port import ScheduleRow, Store
from ostinato.store.sqlite import open_store
from ostinato.tools.delivery import DeliveryHandler
from ostinato.tools.port import AnyTool, Colleague
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox
from ostinato.workspace.fleet_file import FLEET_FILE, read_fleet
from ostinato.workspace.registry import Workspaces

DONE = frozenset({TaskState.DONE})
PARKED = frozenset({TaskState.WAITING})
ENDED = frozenset({TaskState.DONE, TaskState.FAILED, TaskState.CANCELLED})


class SetClock(SystemClock):
    """The real clock, set forward by a test."""

    ahead: Instant = 0

    def now(self) -> Instant:
        """Real time plus what the test has set it ahead."""
        return super().now() + self.ahead


class Fleet:
    """Everything of a fleet that a test may want to touch."""

    def __init__(
        self,
        folder: Path,
        *,
        tools: tuple[AnyTool, ...] = (),
        state: Path | None = None,
        store: Store | None = None,
    ) -> None:
        self.folder = folder
        self.clock = SetClock()
        self.store: Store = store or open_store(state)
        self.workspaces = Workspaces(folder)
        named = read_fleet(folder).model_names if (folder / FLEET_FILE).exists() else ("script",)
        self.toolbox = Toolbox((*standard_toolbox(models=named), *tools))
        settings = ModelSettings(provider="scripted", model="script", script="model.yaml", in_process=True)
        self.models = FleetModels({"script": settings}, clock=self.clock, folder=folder)
        self.choices = ModelChoices(self.models)
        if (folder / FLEET_FILE).exists():
            self._read_models()
        self.live = LiveText()
        self.leashes = LeashMaker(
            workspaces=self.workspaces, toolbox=self.toolbox, fleet="test", colleagues=self.colleagues
        )
        self.inbox = InboxTaker(
            fleet=folder,
            store=self.store,
            workspaces=self.workspaces,
            intake=Intake(colleagues=self.colleagues),
            clock=self.clock,
            times=InboxTimes(settle_s=0.0),
        )
        self.fires = Fires(store=self.store, workspaces=self.workspaces, inbox=self.inbox, clock=self.clock)
        self.scribe = Scribe(store=self.store, workspaces=self.workspaces, clock=self.clock)
        self.node = self._node()

    def _read_models(self) -> None:
        """Models, tiers and rules as the fleet's file says."""
        fleet = read_fleet(self.folder)
        self.models = FleetModels(
            model_settings(fleet), tiers=fleet.tiers, default=fleet.model, clock=self.clock, folder=self.folder
        )
        self.choices = ModelChoices(self.models, rules=fleet.model_rules, escalates=fleet.escalates)

    def colleagues(self) -> tuple[Colleague, ...]:
        """All agents of the folder."""
        found = (self.workspaces.current(agent) for agent in self.workspaces.ids())
        return tuple(Colleague(id=each.id, skills=each.skills) for each in found)

    def _node(self) -> EngineNode:
        kinds = (TaskKind.GOAL, TaskKind.TURN)
        turns = [self._turns(kind) for kind in kinds]
        deliveries = DeliveryHandler(
            toolbox=self.toolbox, contexts=self.leashes.delivery_context, outbox=self.folder / "outbox"
        )
        return EngineNode(
            self.store,
            [*turns, Patient(deliveries)],
            clock=self.clock,
            settings=NodeSettings(version="test", limits=EngineLimits(tasks=8, agent_default=4), cancel_s=1.0),
            fire=self._fire,
            notify=lambda notice: None,
        )

    def _turns(self, kind: TaskKind) -> Handler:
        return TurnHandler(kind, leashes=self.leashes, models=self.models, live=self.live, choices=self.choices)

    async def _fire(self, row: ScheduleRow) -> None:
        await self.fires.fire(row)

    async def goal(self, agent: str, text: str, **more: object) -> Task:
        """Adds a goal for an agent."""
        new = NewTask(kind=TaskKind.GOAL, title=text[:40], agent=agent, spec=TaskSpec(goal=text, **more))  # type: ignore[arg-type]  # a test's own keywords
        return await self.store.run(lambda tx: tx.add_task(new, now=self.clock.now()))

    async def tell(self, agent: str, text: str, *, session: str = "") -> None:
        """Appends an operator's message to an agent's main session."""
        key, message = session or main_session(agent), NewMessage(source=Source.OPERATOR, text=text)
        await self.store.run(lambda tx: tx.append_message(key, message, agent=agent, now=self.clock.now()))

    async def until(self, task: int, states: frozenset[TaskState] = ENDED) -> Task:
        """The task, once it is in one of these states."""
        found: list[Task] = []

        async def look() -> bool:
            found[:] = [await self.store.read(lambda reads: reads.task(task))]
            return found[0].state in states

        await self.wait(look)
        return found[0]

    async def wait(self, holds: Callable[[], object]) -> None:
        """Looks again after each commit until `holds()` (awaited, if it must be) is true; fails after 10 s."""
        changed = asyncio.Event()
        stop = self.store.subscribe(lambda events: changed.set())
        try:
            async with asyncio.timeout(10.0):
                while True:
                    changed.clear()
                    answer = holds()
                    if await answer if asyncio.iscoroutine(answer) else answer:
                        return
                    await changed.wait()
        finally:
            stop()

    async def journal(self, task: int) -> list[Entry]:
        """The entries of a task's journal."""
        return [step.entry for step in await self.store.read(lambda reads: reads.steps(task))]


def write_fleet(folder: Path, files: Mapping[str, str]) -> Path:
    """Writes files of a fleet; `model.yaml` is the script of its model."""
    for name, text in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return folder


@asynccontextmanager
async def running(
    folder: Path, files: Mapping[str, str], *, tools: tuple[AnyTool, ...] = (), start: bool = True
) -> AsyncIterator[Fleet]:
    """A fleet with these files, its node running."""
    fleet = Fleet(write_fleet(folder, files), tools=tools)
    if start:
        await fleet.node.start()
    try:
        yield fleet
    finally:
        await fleet.node.stop()
        await fleet.store.close()
        await fleet.models.close()
