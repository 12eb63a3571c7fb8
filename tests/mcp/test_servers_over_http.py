"""Servers behind URLs, over real HTTP: well-behaved and not."""

from __future__ import annotations

from pathlib import Path

import pytest

from ostinato.domain.step import ResultStatus
from ostinato.tools.mcp.port import McpServer
from tests.conftest import run
from tests.mcp.bench import bench
from tests.mcp.web_server import broken, compressed, elsewhere, endless, odd_app, sdk_app, served

pytestmark = pytest.mark.slow


def test_a_server_behind_a_url_is_used_with_its_token(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WEB_TOKEN", "daffodil-meadow-9")
    heard: list[str] = []

    async def story() -> None:
        async with served(sdk_app(heard)) as address:
            server = McpServer(name="web", url=f"{address}/mcp", token_env="WEB_TOKEN", start_s=15.0)
            async with bench(folder, server) as b:
                assert b.tools == ["mcp.web.shout"], b.servers.facts()
                assert (await b.call("mcp.web.shout", text="hello")).text == "HELLO"
                tool = b.box.get("mcp.web.shout")
                assert tool is not None
                assert tool.outward  # whoever runs it sees the arguments
        assert set(heard) == {"Bearer daffodil-meadow-9"}

    run(story())


@pytest.mark.parametrize("turn", [endless, elsewhere, compressed, broken], ids=lambda each: each.__name__)
def test_an_answer_that_cannot_be_had_leaves_the_outcome_unknown(folder: Path, turn: object) -> None:
    async def story() -> None:
        async with served(odd_app(turn)) as address:  # type: ignore[arg-type]  # parametrized
            server = McpServer(name="web", url=f"{address}/mcp", timeout_s=5.0, start_s=15.0)
            async with bench(folder, server) as b:
                result = await b.call("mcp.web.echo", text="x")
                assert (result.status, "may have happened" in result.text) == (ResultStatus.UNKNOWN, True), result

    run(story())


def test_a_server_that_nobody_runs_is_down_and_says_so(folder: Path) -> None:
    async def story() -> None:
        async with bench(folder, McpServer(name="web", url="http://127.0.0.1:1/mcp", start_s=2.0)) as b:
            (facts,) = b.servers.facts()
            assert facts.state == "down"
            assert facts.problem

    run(story())
