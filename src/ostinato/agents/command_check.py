"""The check of a heartbeat, or of a result, that is a command: run in the agent's sandbox, before anything costs
anything.

A person wrote it into HEARTBEAT.md, and TOOLS.md grants its program. Exit 0 wakes the agent and hands it what was said,
as data; any other exit is a reason to sleep on. What cannot be run, or is ended, wakes the agent and says so: silence
must not look like peace. Knows nothing of schedules.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Sequence
from typing import Any

from ostinato.agents.bounds import narrowed
from ostinato.agents.leash import command_rules
from ostinato.domain.errors import OstinatoError
from ostinato.domain.task import Task
from ostinato.domain.values import Instant, Trust, Value
from ostinato.tools.commands import CommandPlace, errand_of, furnished, wanted_command, way_out
from ostinato.tools.port import ToolContext
from ostinato.tools.sandbox.command import Ended, run_command
from ostinato.tools.sandbox.preflight import preflight
from ostinato.tools.sandbox.spill import plain
from ostinato.tools.sandbox.surroundings import without
from ostinato.workspace.agent import AgentDefinition
from ostinato.workspace.registry import Workspaces

SHOWN_BYTES = 8_192
"""Of what a check says."""

NOT_RUN = (126, 127)
"""Exit codes with which shells say that there was nothing to run."""


class Checked(Value):
    """What came of a check. `broken`: why it says nothing; then the agent wakes."""

    wakes: bool
    said: str = ""
    trust: Trust = Trust.AGENT
    """Less where it could reach a network."""
    reason: str = ""
    broken: str = ""


class CommandChecks:
    """Runs the checks of a fleet's heartbeats."""

    def __init__(self, *, workspaces: Workspaces, place: CommandPlace) -> None:
        self._workspaces = workspaces
        self._place = place

    async def run(
        self,
        agent: str,
        argv: Sequence[str],
        *,
        timeout_s: float,
        now: Instant,
        cwd: str = ".",
        bounds: Task | None = None,
    ) -> Checked:
        """What the command says. Never raises for anything that a file may say. `bounds`: the task of whose sub-agent
        it is a part; it may do no more than that."""
        text = shlex.join(argv)
        try:
            definition = await asyncio.to_thread(self._definition, agent, bounds)
            arguments = {"argv": list(argv), "timeout_s": timeout_s, "cwd": cwd}
            return await self._run(definition, arguments, now=now)
        except (OstinatoError, OSError) as error:
            return Checked(wakes=True, broken=f"the check {text} could not be run: {error}")

    def _definition(self, agent: str, bounds: Task | None) -> AgentDefinition:
        definition = self._workspaces.current(agent)
        return definition if bounds is None else narrowed(definition, bounds, self._workspaces.current)

    async def _run(self, definition: AgentDefinition, arguments: dict[str, Any], *, now: Instant) -> Checked:
        agent = definition.id
        context = ToolContext(
            task=0,
            call_id="check",
            key="",
            agent=agent,
            session="",
            workspace=definition.folder,
            now=now,
            policy=definition.policy,
            commands=command_rules(definition),
            secrets=definition.tools.secrets,
        )
        wanted = await asyncio.to_thread(wanted_command, self._place, context, arguments)
        backend, account = (await preflight(self._place.fleet)).required()
        async with way_out(self._place, wanted, agent=agent) as way:
            watch, room = await asyncio.to_thread(furnished, context, wanted, way=way)
            errand = errand_of(wanted, agent=agent, secrets={})
            finished = await run_command(backend, room, errand, account=account, watch=watch)
        kept = without(finished.output)
        _, data = kept.read(max(0, kept.total_bytes - SHOWN_BYTES), SHOWN_BYTES)
        said, text = plain(data).strip(), shlex.join(arguments["argv"])
        trust = Trust.EXTERNAL if wanted.network else Trust.AGENT
        if finished.ended is not Ended.EXIT or finished.code in NOT_RUN:
            how = finished.problem or (f"exit {finished.code}" if finished.code else finished.ended.value)
            return Checked(wakes=True, said=said, trust=trust, broken=f"the check {text} is broken: {how}")
        return Checked(wakes=finished.code == 0, said=said, trust=trust, reason=f"{text}: exit {finished.code}")
