"""Helpers that stay reach the hosts that a person has declared, and nothing else: functions of tools, servers of tools,
functions of agents. Real rooms, real sockets."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from msgspec.structs import replace

from ostinato.agents.function_model import Reach
from ostinato.domain.file_rules import FileRules
from ostinato.domain.gate import DEFAULT_GATES
from ostinato.domain.policy import Policy, intersect, judge
from ostinato.domain.step import Decision, ResultStatus
from ostinato.domain.values import Trust
from ostinato.tools.python.family import AgentFunction, PythonTools
from ostinato.tools.python.workers import Given, Sources
from ostinato.tools.standard import standard_toolbox
from ostinato.tools.toolbox import perform
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.proxy import Ways
from tests.conftest import run
from tests.mcp.bench import CONTEXT, bench, give, own_server
from tests.python_tools.test_python_tools import Hand, _ground, fleet
from tests.sandbox.ground import ORDINARY
from tests.sandbox.test_network import served

__all__ = ["_ground", "fleet"]

pytestmark = pytest.mark.slow

ASKS = """
import urllib.error, urllib.request
from ostinato import tool

def got(url):
    try:
        return urllib.request.urlopen(url, timeout=10).read().decode()
    except urllib.error.HTTPError as error:
        return f"{error.code} {error.read().decode()}"
    except Exception as error:
        return f"{type(error).__name__}"

@tool(effect="read", network="localhost:PORT")
def ask(url: str) -> str:
    "Ask."
    return got(url)

@tool(effect="read", network=("localhost:PORT", "inside.test"), outside=False)
def near(url: str) -> str:
    "Ask somebody near."
    return got(url)

@tool(effect="read")
def plain(url: str) -> str:
    "Ask without leave."
    return got(url)

@tool(effect="read", network="*.example.com")
def wide(url: str) -> str:
    "Ask anybody."
    return got(url)
"""


def ways_of(folder: Path) -> Ways:
    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    return Ways(folder / "ways", guard=Guard(resolve=resolve), owner=ORDINARY if os.geteuid() == 0 else None)


def test_a_function_reaches_the_hosts_that_it_names_and_toolsmd_declares_and_no_other(fleet: Path) -> None:
    async def story() -> None:
        async with served([]) as port, served([]) as other:
            (fleet / "tools/web.py").unlink(missing_ok=True)
            (fleet / "tools/net.py").write_text(ASKS.replace("PORT", str(port)))
            give(fleet, ORDINARY)
            box, ways = standard_toolbox(), ways_of(fleet)
            tools = PythonTools(fleet, toolbox=box, say=lambda level, text: None, ways=ways)
            try:
                await tools.look()
                h = Hand(box, tools)
                assert h.box.get("net.wide") is None, "one name each: a person should see whom it reaches"
                assert any("is no host" in each.message for each in tools.findings)
                url = f"http://localhost:{port}/"
                assert (await h.call("net.ask", url=url)).text == "hello"
                assert (await h.call("net.near", url=url)).text == "hello"
                for there in (f"http://localhost:{other}/", f"http://127.0.0.1:{port}/", "http://example.com/"):
                    assert (await h.call("net.ask", url=there)).text.startswith("403 "), there
                inside = (await h.call("net.near", url="http://inside.test/")).text
                assert "not public" in inside, "a declared name that leads inside"
                assert (await h.call("net.plain", url=url)).text == "URLError"
                ask, near = h.tool("net.ask"), h.tool("net.near")
                assert (ask.outward, ask.outside_text, near.outside_text) == (True, True, False)
                assert len(ways.tokens()) == 2
            finally:
                await tools.stop()
            assert ways.tokens() == ()
            alone = PythonTools(fleet, toolbox=standard_toolbox(), say=lambda level, text: None)
            try:
                await alone.look()
                refused = await perform(Hand(alone._toolbox, alone).tool("net.ask"), CONTEXT, {"url": url})
                assert (refused.status, "has no network here" in refused.text) == (ResultStatus.ERROR, True)
            finally:
                await alone.stop()
            declared = Policy(agent="a", tools=("net.*",), network=(f"localhost:{port}",), files=FileRules())
            facts = h.box.facts(ask, {"url": url}, CONTEXT)
            assert judge(facts, declared).decision is Decision.ALLOW
            assert judge(facts, replace(declared, network=())).decision is Decision.DENY
            assert judge(facts, intersect(declared, replace(declared, network=("x.test",)))).decision is Decision.DENY
            both = judge(replace(facts, trust=Trust.EXTERNAL, private=True), declared)
            assert (both.decision, both.gate) == (Decision.ASK, DEFAULT_GATES["taint"])

    run(story(), timeout_s=60)


def test_a_server_of_tools_reaches_its_declared_hosts_and_no_other(fleet: Path) -> None:
    async def story() -> None:
        async with served([]) as port, served([]) as other:
            (fleet / "shared").mkdir()
            give(fleet, ORDINARY)
            ways = ways_of(fleet)
            one = own_server("asks", network=(f"localhost:{port}",))
            async with bench(fleet, one, own_server("asks", name="shut"), ways=ways) as b:
                assert (await b.call("mcp.own.echo", text=f"http://localhost:{port}/")).text == "hello"
                for there in (f"http://localhost:{other}/", "http://example.com/"):
                    assert "403" in (await b.call("mcp.own.echo", text=there)).text, there
                assert "hello" not in (await b.call("mcp.shut.echo", text=f"http://localhost:{port}/")).text
                tool, shut = b.box.get("mcp.own.echo"), b.box.get("mcp.shut.echo")
                assert tool is not None
                assert shut is not None
                assert (tool.outward, tool.reaches, shut.outward) == (True, (f"localhost:{port}",), False)
            assert ways.tokens() == ()
            async with bench(fleet, one) as b:
                assert "has no network here" in " ".join(b.said)

    run(story(), timeout_s=60)


def test_the_function_of_an_agent_has_what_toolsmd_declares_and_every_bound_lets_it_have() -> None:
    function = AgentFunction(
        name="f.go", sources=Sources(), given=Given(secrets=("KEY",), network=("api.example.com",))
    )
    policy = Policy(agent="a", network=("*.example.com",))
    assert Reach(secrets=("KEY",), policy=policy).refusal(function) == ""
    assert "KEY" in Reach(secrets=(), policy=policy).refusal(function)
    assert "api.example.com" in Reach(secrets=("KEY",), policy=Policy(agent="a")).refusal(function)
    bound = intersect(policy, Policy(agent="*", network=("other.test",)))
    assert "network" in Reach(secrets=("KEY",), policy=bound).refusal(function)
    open_bound = intersect(policy, Policy(agent="*", network=None))
    assert Reach(secrets=("KEY",), policy=open_bound).refusal(function) == ""
