"""The servers that the protocol's own people publish, as the npm registry has them.

With OSTINATO_CRASH=full: `make mcp-servers` installs them, pinned, into a folder of the cache first.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from ostinato.domain.step import Effect, ResultStatus
from ostinato.tools.mcp.port import McpServer
from tests.conftest import run
from tests.mcp.bench import bench

MODULES = Path(os.environ.get("OSTINATO_MCP_SERVERS", "/var/tmp/ostinato-mcp")) / "node_modules"


def published(name: str, *args: str, **more: object) -> McpServer:
    """One of them, by its package's name."""
    main = str(MODULES / f"@modelcontextprotocol/server-{name}/dist/index.js")
    return McpServer(name=name, command="node", args=(main, *args), reads=(str(MODULES),), **more)  # type: ignore[arg-type]  # a test's own keywords


@pytest.mark.slow
def test_files_memory_and_everything_work_in_their_rooms(folder: Path) -> None:
    async def story() -> None:
        (folder / "shared/a.txt").write_text("hello")
        (folder / "shared/a.txt").chmod(0o644)
        servers = (
            published("filesystem", ".", folder="shared", effects={"read_text_file": Effect.READ}),
            published("memory"),
            published("everything"),
        )
        async with bench(folder, *servers) as b:
            found = await b.call("mcp.filesystem.read_text_file", path=str(folder / "shared/a.txt"))
            assert (found.status, found.text) == (ResultStatus.OK, "hello")
            refused = await b.call("mcp.filesystem.read_text_file", path="/etc/hostname")
            assert refused.status is ResultStatus.ERROR
            graph = await b.call("mcp.memory.read_graph")
            assert '"entities": []' in graph.text
            assert (await b.call("mcp.everything.echo", message="hi")).text == "Echo: hi"
            assert "[image: image/png" in (await b.call("mcp.everything.get-tiny-image")).text
            shown = (await b.call("mcp.everything.get-env")).text
            assert "OSTINATO" not in shown
            assert not any(each.unfit for each in b.servers.facts())

    run(story(), timeout_s=60.0)
