"""The tools of the web against a real server: what is sent, what is shown, and what is refused before that."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.policy import Policy
from ostinato.domain.step import ResultStatus
from ostinato.tools.port import ToolContext, ToolResult
from ostinato.tools.toolbox import Toolbox, perform
from ostinato.tools.web.client import WebClient
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.markdown import readable
from ostinato.tools.web.place import WebPlace
from ostinato.tools.web.search import BraveSearch, SearxSearch
from ostinato.tools.web.web_tools import web_tools
from tests.conftest import run

PAGE = """<html><head><title>A page &amp; more</title><style>x</style></head><body><nav>Home Blog</nav>
<main><h1>Chairs</h1><p>Forty <a href="/c?a=1">chairs</a>, at a <b>good</b> price, from the same maker as last year.</p>
<table><tr><th>n</th></tr><tr><td>40</td></tr></table><pre><code>x = 1</code></pre></main>
<script>alert(1)</script><footer>Cookies</footer></body></html>"""
HITS = [{"title": f"T{n}", "url": f"https://x.test/{n}", "content": "c", "description": "d"} for n in range(30)]


class Web:
    """A server, an agent that may reach it, and the tools."""

    def __init__(self, port: int, folder: Path) -> None:
        self.port = port
        self.heads: list[str] = []
        self.bodies: list[bytes] = []
        self.answer: Callable[[str], tuple[str, bytes]] = lambda _head: ("text/html; charset=utf-8", PAGE.encode())
        self.place = WebPlace(client=WebClient(Guard()), outputs=folder)
        self.credentials: dict[str, dict[str, str]] = {}

    def context(self, *, key: str = "k" * 32) -> ToolContext:
        """Of one call of the agent."""
        return ToolContext(
            task=1, call_id="1.0", key=key, agent="a", session="s", workspace=Path(), now=0,
            policy=Policy(agent="a", network=(f"localhost:{self.port}",)), credentials=self.credentials,
        )  # fmt: skip

    def url(self, path: str = "/") -> str:
        """An address of the server."""
        return f"http://localhost:{self.port}{path}"

    async def call(self, tool: str, *, key: str = "k" * 32, **arguments: Any) -> ToolResult:
        """Performs a tool whose arguments fit."""
        box = Toolbox(web_tools(self.place))
        found = box.get(tool)
        assert found is not None
        assert box.check_arguments(found, arguments) == ""
        return await perform(found, self.context(key=key), arguments)  # type: ignore[arg-type]  # all of them act outside


@contextlib.asynccontextmanager
async def web(folder: Path) -> AsyncIterator[Web]:
    """A server that keeps what it was asked."""
    here: list[Web] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            head = (await reader.readuntil(b"\r\n\r\n")).decode()
            size = next((int(x.split(":")[1]) for x in head.splitlines() if x.lower().startswith("content-length")), 0)
            here[0].heads.append(head)
            here[0].bodies.append(await reader.readexactly(size))
            kind, body = here[0].answer(head)
            writer.write(
                f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body
            )
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    async with server:
        here.append(Web(server.sockets[0].getsockname()[1], folder))
        yield here[0]


@pytest.mark.slow
def test_a_page_is_read_as_markdown_without_what_surrounds_it(tmp_path: Path) -> None:
    async def story() -> None:
        async with web(tmp_path) as there:
            result = await there.call("web.read", url=there.url("/p"))
            assert result.status is ResultStatus.OK
            head, _, text = result.text.partition("\n\n")
            assert head.endswith("\nA page & more")
            assert text.startswith("# Chairs\n\nForty [chairs](http://localhost:")
            assert "| 40 |" in text
            assert not any(word in text for word in ("Home", "Cookies", "alert"))

    run(story())


def test_a_long_answer_is_cut_and_read_on_to_its_end(tmp_path: Path) -> None:
    whole = "".join(f"line {number} ü\n" for number in range(4_000))

    async def story() -> None:
        async with web(tmp_path) as there:
            there.answer = lambda _head: ("text/plain", whole.encode())
            result = await there.call("http.get", url=there.url())
            assert result.data is not None
            text, name = result.text.partition("\n\n")[2].rpartition("\n[bytes ")[0], result.data["output"]
            while len(text.encode()) < len(whole.encode()):
                more = await there.call("web.more", output=name, **{"from": len(text.encode())})
                text += more.text.partition("\n")[2]
            assert text == whole

    run(story())


def test_a_post_carries_its_key_and_what_was_given(tmp_path: Path) -> None:
    async def story() -> None:
        async with web(tmp_path) as there:
            there.answer = lambda _head: ("application/json", b'{"ok": true}')
            result = await there.call("http.post", key="a" * 32, url=there.url("/x"), json={"b": [1, "ü"]})
            assert result.text.endswith('{"ok": true}')
            assert json.loads(there.bodies[0]) == {"b": [1, "ü"]}
            assert f"Idempotency-Key: {'a' * 32}" in there.heads[0]
            await there.call("http.post", url=there.url(), text="plain", headers={"content-type": "text/csv"})
            assert there.bodies[1] == b"plain"
            assert "text/csv" in there.heads[1]
            for wrong in ({}, {"json": {}, "text": ""}):
                assert (await there.call("http.post", url=there.url(), **wrong)).status is ResultStatus.ERROR
            assert len(there.heads) == 2

    run(story())


@pytest.mark.parametrize(
    "headers",
    [{"Host": "evil.test"}, {"Content-Length": "1"}, {"Transfer-Encoding": "chunked"}, {"X": "a\r\nY: b"}, {"a b": "c"},
     {"Proxy-Authorization": "x"}, {"Authorization": "Bearer ${{ secrets.KEY }}"}, {"Cookie": "a=b"}, {"": "x"}],
)  # fmt: skip
def test_a_header_that_is_not_the_agents_to_set_is_refused(tmp_path: Path, headers: dict[str, str]) -> None:
    async def story() -> None:
        async with web(tmp_path) as there:
            result = await there.call("http.get", url=there.url(), headers=headers)
            assert result.status is ResultStatus.ERROR
            assert there.heads == []

    run(story())


def test_a_post_whose_answer_never_comes_is_unknown_and_a_get_has_failed(tmp_path: Path) -> None:
    def hang_up(_head: str) -> tuple[str, bytes]:
        raise ConnectionResetError

    async def story() -> None:
        async with web(tmp_path) as there:
            there.answer = hang_up
            assert (await there.call("http.post", url=there.url(), text="x")).status is ResultStatus.UNKNOWN
            assert (await there.call("http.get", url=there.url())).status is ResultStatus.ERROR
        result = await there.call("http.post", url=there.url(), text="x")  # nobody listens there any more
        assert result.status is ResultStatus.ERROR
        assert "cannot be reached" in result.text

    run(story())


def test_both_providers_are_asked_in_their_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SEARCH_KEY", "search-Key-98765")

    async def story() -> None:
        async with web(tmp_path) as there:
            client = there.place.client
            assert "No search provider" in (await there.call("web.search", query="x")).text
            there.answer = lambda _head: ("application/json", json.dumps({"results": HITS}).encode())
            there.place = WebPlace(client=client, outputs=tmp_path, search=SearxSearch(client, there.url("")))
            found = await there.call("web.search", query="forty chairs & more", most=2)
            assert found.text == "1. T0\nhttps://x.test/0\nc\n\n2. T1\nhttps://x.test/1\nc"
            assert "GET /search?q=forty+chairs+%26+more&format=json " in there.heads[-1]
            there.answer = lambda _head: ("application/json", json.dumps({"web": {"results": HITS[:1]}}).encode())
            brave = BraveSearch(client, "SEARCH_KEY", url=there.url("/brave"))
            there.place = WebPlace(client=client, outputs=tmp_path, search=brave)
            assert (await there.call("web.search", query="x")).text == "1. T0\nhttps://x.test/0\nd"
            assert "X-Subscription-Token: search-Key-98765" in there.heads[-1]
            for wrong in (b"[]", b"no", b'{"web": 1}', b'{"web": {"results": [1, {}]}}'):
                there.answer = lambda _head, w=wrong: ("application/json", w)
                await there.call("web.search", query="x")

    run(story())


@given(st.text(max_size=400))
def test_whatever_a_page_is_made_of_something_is_read(html: str) -> None:
    assert isinstance(readable(html, url="http://x.test/").text, str)


@pytest.mark.slow
def test_a_page_that_is_nested_deeper_than_any_is_read_all_the_same() -> None:
    assert "deep" in readable("<div>" * 5_000 + "deep", url="http://x.test/").text
