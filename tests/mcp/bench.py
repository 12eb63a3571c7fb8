"""A fleet's folder, a store and a toolbox, with servers that are kept up by the real thing.

Run as a program it keeps one up until it is killed; its argument marks the server's process.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys
import tempfile
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

from ostinato.domain.policy import Policy
from ostinato.store.port import Store
from ostinato.store.sqlite import open_store
from ostinato.tools.mcp.port import McpPlace, McpServer
from ostinato.tools.mcp.sdk import dial
from ostinato.tools.mcp.servers import McpServers
from ostinato.tools.port import OutsideTool, ToolContext, ToolResult
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import Toolbox, perform
from ostinato.tools.web.proxy import Ways
from tests.sandbox.ground import ORDINARY, PYTHON

CONTEXT = ToolContext(
    task=1, call_id="1.0", key="k", agent="a", session="s", workspace=Path(), now=0, policy=Policy(agent="a")
)
SOURCE = Path(__file__).with_name("hostile_server.py")


def own_server(behaviour: str, name: str = "own", **more: Any) -> McpServer:
    """The hostile server, by its text: what runs in a room need not be able to read where the tests lie."""
    args = ("-I", "-S", "-u", "-c", SOURCE.read_text(encoding="utf-8"), behaviour)
    given = {"command": Path(PYTHON).name, "args": args, "folder": "shared", "start_s": 15.0, "timeout_s": 10.0}
    return McpServer(name=name, **{**given, **more})


class Bench:
    """Servers at work, and one agent's hand to try their tools with."""

    def __init__(
        self, folder: Path, store: Store, servers: Sequence[McpServer], *, backoff_s: float, ways: Ways | None = None
    ) -> None:
        self.folder = folder
        self.store = store
        self.box: Toolbox = standard_toolbox()
        self.said: list[str] = []
        self._heard = asyncio.Event()
        self.servers = McpServers(
            servers,
            place=McpPlace(fleet=folder, ways=ways),
            toolbox=self.box,
            store=store,
            now=lambda: 1_800_000_000_000_000,
            dialler=_dialler,
            say=self._say,
            backoff_s=(backoff_s,),
        )

    def _say(self, level: str, text: str) -> None:
        self.said.append(f"{level}: {text}")
        self._heard.set()

    async def until(self, holds: Callable[[], object]) -> None:
        """Looks again whenever servers have something to say, and a few times a second."""
        async with asyncio.timeout(20):
            while not holds():
                self._heard.clear()
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(0.05):
                        await self._heard.wait()

    @property
    def tools(self) -> list[str]:
        """Names of all that servers brought."""
        return [each.name for each in self.box if each.name.startswith("mcp.")]

    async def call(self, tool: str, **arguments: Any) -> ToolResult:
        """One call, as a turn makes it."""
        found = self.box.get(tool)
        assert isinstance(found, OutsideTool), self.tools
        assert found.outside_text
        return await perform(found, CONTEXT, arguments)


async def _dialler() -> Any:
    return dial


@contextlib.asynccontextmanager
async def bench(
    folder: Path,
    *servers: McpServer,
    store: Store | None = None,
    backoff_s: float = 60.0,
    listed: bool = True,
    ways: Ways | None = None,
) -> AsyncIterator[Bench]:
    """Servers of a fleet in this folder, started, and ended afterwards."""
    kept = store or open_store(None)
    made = Bench(folder, kept, servers, backoff_s=backoff_s, ways=ways)
    deaf = kept.subscribe(made.servers.hear)
    try:
        await made.servers.start()
        if listed:
            async with asyncio.timeout(25):
                await made.servers.wait_listed()
        yield made
    finally:
        deaf()
        await made.servers.stop()
        if store is None:
            await kept.close()


def give(folder: Path, uid: int) -> None:
    """Makes a folder that of the user whom the tests run servers as."""
    if os.geteuid() == 0:
        for path in (folder, *folder.rglob("*")):
            os.chown(path, uid, uid)


async def _keep_up(folder: Path, mark: str) -> None:
    async with bench(folder, own_server("good", args=(*own_server("good").args, mark))) as b:
        assert b.tools
        sys.stdout.write("up\n")
        sys.stdout.flush()
        await asyncio.Event().wait()


def _main() -> None:
    with tempfile.TemporaryDirectory(prefix="ostinato-mcp-killed-", dir="/tmp") as made:
        folder = Path(made)
        folder.chmod(0o755)
        (folder / "shared").mkdir()
        give(folder, ORDINARY)
        asyncio.run(_keep_up(folder, sys.argv[1]))


if __name__ == "__main__":
    _main()
