"""What a fleet brings with it, beside its agents: servers of tools, tools in Python, skills.

Everything heavy is loaded inside, and only where the fleet has something that needs it. Knows nothing of turns.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, cast

from ostinato.config import mcp_servers
from ostinato.domain.errors import Invalid
from ostinato.engine.clock import SystemClock
from ostinato.engine.service import Ground, Service
from ostinato.tools.mcp.port import Dial, McpPlace, ServerFacts
from ostinato.tools.mcp.servers import McpServers
from ostinato.tools.python.family import PythonTools
from ostinato.tools.skills import Skills
from ostinato.workspace.fleet_file import FLEET_FILE, FleetSettings

if TYPE_CHECKING:
    from ostinato.tools.toolbox import Toolbox
    from ostinato.tools.web.proxy import Ways

Say = Callable[[str, str], None]
"""A level and what people should know."""


class Plugins:
    """Whatever comes and goes in a toolbox while a node runs. `stop` returns when nothing of it is left."""

    def __init__(
        self, settings: FleetSettings, fleet: Path, *, toolbox: Toolbox, ground: Ground, say: Say,
        ways: Ways | None = None,
    ) -> None:  # fmt: skip
        """`ways`: of helpers to the network. Raises Invalid where a library is missing that the fleet needs."""
        if settings.mcp and find_spec("mcp") is None:
            raise Invalid(
                "The SDK of the Model Context Protocol is not installed",
                place=f"{FLEET_FILE}, section mcp",
                cure="Install it with: pip install 'ostinato[mcp]'",
            )
        store, now = ground.store, ground.clock.now
        self._store = store
        self._servers = McpServers(
            mcp_servers(settings),
            place=McpPlace(fleet=fleet.resolve(), ways=ways),
            toolbox=toolbox,
            store=store,
            now=now,
            dialler=_dialler,
            say=say,
        )
        self.python = PythonTools(fleet.resolve(), toolbox=toolbox, say=say, ways=ways)
        self._skills = Skills(fleet.resolve(), toolbox=toolbox, store=store, now=now, say=say)
        # By the machine's clock: whatever time a story tells, files are edited in this one.
        here = Ground(store=store, clock=SystemClock(), notify=ground.notify)
        self._looking = (
            Service("python tools", self.python.poll, here, stop_s=0.0),
            Service("skills", self._skills.poll, here, hears=self._skills.hear, stop_s=0.0),
        )
        self._deaf: Callable[[], None] | None = None

    async def start(self) -> None:
        """Offers what was accepted before; servers start, and Python tools are loaded, beside."""
        self._deaf = self._store.subscribe(self._servers.hear)
        await self._servers.start()
        await self._skills.look()
        for each in self._looking:
            each.start()

    async def stop(self) -> None:
        """Ends all of it."""
        if self._deaf is not None:
            self._deaf()
            self._deaf = None
        for each in self._looking:
            await each.stop()
        await self._servers.stop()
        await self.python.stop()

    def skills(self, granted: Sequence[str]) -> str:
        """What prompts say of the skills among these grants."""
        return self._skills.listed(granted)

    def servers(self) -> tuple[ServerFacts, ...]:
        """How the servers stand."""
        return self._servers.facts()


async def _dialler() -> Dial:
    """What begins links, loaded beside the loop: it takes 0.8 s."""
    room = await asyncio.to_thread(import_module, "ostinato.tools.mcp.sdk")
    return cast("Dial", room.dial)
