"""What a command with declared hosts reaches, and by which ways it tries to reach more. Real rooms, real sockets."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import json
import os
import ssl
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ostinato.domain.errors import Denied
from ostinato.tools.sandbox.account import account_of
from ostinato.tools.sandbox.command import run_command
from ostinato.tools.sandbox.launch import landlock_or_none
from ostinato.tools.sandbox.protected import prepare
from ostinato.tools.sandbox.room import Errand, Room
from ostinato.tools.sandbox.surroundings import environment
from ostinato.tools.web import proxy
from ostinato.tools.web.credentials import filled
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.proxy import Ways
from tests.conftest import run
from tests.sandbox.ground import PYTHON, World, backend, owner, world
from tests.ways import connected

pytestmark = pytest.mark.slow

HEAD = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: close\r\n\r\nhello"


@contextlib.asynccontextmanager
async def served(seen: list[bytes]) -> AsyncIterator[int]:
    """A server that keeps what it is asked, and says hello."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(HEAD)
            await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, "127.0.0.1", 0)
    async with server:
        yield server.sockets[0].getsockname()[1]


async def tried(here: World, ways: Ways, code: str, *, network: tuple[str, ...]) -> Any:
    """What a Python program says that runs with these hosts declared: JSON."""
    way = await ways.open(agent="me", network=network)
    watch = prepare(here.workspace)
    room = Room(workspace=here.workspace, guard=watch.guard, way=ways.folder(way))
    errand = Errand(
        argv=(PYTHON, "-I", "-S", "-c", textwrap.dedent(code)),
        cwd=here.workspace,
        environment=environment(agent="me", folders=(), secrets={}, network=True),
    )
    finished = await run_command(backend("bubblewrap"), room, errand, account=here.account, watch=watch)
    await ways.close(way.token)
    assert finished.code == 0, finished.output.head.decode()
    return json.loads(finished.output.head)


def ways_of(here: World) -> Ways:
    folder = here.root / "ways"
    return Ways(folder, guard=Guard(), owner=owner() if os.geteuid() == 0 else None)


FETCH = """
    import json, sys, urllib.request, urllib.error
    def got(url):
        try:
            return urllib.request.urlopen(url, timeout=10).read().decode()
        except urllib.error.HTTPError as error:
            return f"{error.code} {error.read().decode()}"
        except Exception as error:
            return f"{type(error).__name__} {error}"
"""


def test_a_command_reaches_a_declared_host_by_plain_http_and_by_a_tunnel_and_no_other() -> None:
    async def story() -> None:
        seen: list[bytes] = []
        with world() as here:
            async with served(seen) as port, served([]) as other:
                said = await tried(
                    here,
                    ways_of(here),
                    FETCH
                    + f"""
                    import http.client
                    tunnel = http.client.HTTPConnection("127.0.0.1", 3128, timeout=10)
                    tunnel.set_tunnel("localhost", {port})
                    tunnel.request("GET", "/through")
                    print(json.dumps([got("http://localhost:{port}/plain?x=1"), tunnel.getresponse().read().decode(),
                        got("http://localhost:{other}/"), got("http://127.0.0.1:{port}/"), got("http://example.com/")]))
                    """.replace("\n                    ", "\n    "),
                    network=(f"localhost:{port}",),
                )
            assert said[:2] == ["hello", "hello"]
            assert [each.split(" ")[0] for each in said[2:]] == ["403", "403", "403"]
            assert "is not a declared host" in said[2]
            assert sorted(each.split(b" ")[1] for each in seen) == [b"/plain?x=1", b"/through"]
            assert all(b"proxy" not in each.lower() for each in seen)

    run(story())


def test_a_command_with_declared_hosts_still_has_no_network_of_its_own() -> None:
    async def story() -> None:
        with world() as here:
            async with served([]) as port:
                code = f"""
                    import json, socket
                    said = []
                    for address in (("127.0.0.1", {port}), ("1.1.1.1", 443)):
                        try:
                            socket.create_connection(address, 5)
                            said.append("connected")
                        except OSError as error:
                            said.append("refused")
                    import os
                    for attempt in (lambda: os.unlink("/run/ostinato/way"), lambda: open("/run/ostinato/new", "w"),
                                    lambda: open("/run/ostinato/way.json", "w")):
                        try:
                            attempt()
                            said.append("changed")
                        except OSError:
                            said.append("refused")
                    print(json.dumps(said))
                """
                said = await tried(here, ways_of(here), code, network=(f"localhost:{port}",))
            assert said == ["refused"] * 5

    run(story())


def test_a_later_node_goes_on_at_the_way_of_a_process_that_lives() -> None:
    async def story() -> None:
        with world() as here:
            async with served([]) as port:
                first = ways_of(here)
                way = await first.open(agent="me", network=(f"localhost:{port}",), lasting=True)
                short = await first.open(agent="me", network=("example.com",))
                await first.stop()
                second = ways_of(here)
                await second.resume()
                assert second.tokens() == (way.token,)
                assert not second.folder(short).exists()
                reader, writer = await connected(second.folder(way))
                writer.write(f"GET http://localhost:{port}/ HTTP/1.1\r\nHost: x\r\n\r\n".encode())
                assert (await reader.read()).endswith(b"hello")
                writer.close()
                await second.close(way.token)
                await second.close(way.token)
                assert not second.folder(way).exists()

    run(story())


def test_the_proxy_adds_the_credentials_of_a_host_and_lets_no_other_value_of_that_header_pass(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PROXY_KEY", "proxy-Key-445566")

    async def story() -> None:
        seen: list[bytes] = []
        async with served(seen) as port:
            ways = Ways(tmp_path / "ways", guard=Guard(), credentials=lambda way, to: filled(to, way.credentials))
            host = f"localhost:{port}"
            texts = {host: {"Authorization": "Bearer ${{ secrets.PROXY_KEY }}"}}
            way = await ways.open(agent="me", network=(host,), credentials=texts)
            assert b"proxy-Key" not in (ways.folder(way) / "way.json").read_bytes()
            reader, writer = await connected(ways.folder(way))
            writer.write(f"GET http://{host}/ HTTP/1.1\r\nauthorization: mine\r\nX-A: b\r\n\r\n".encode())
            assert (await reader.read()).endswith(b"hello")
            writer.close()
            await ways.close(way.token)
        head = seen[0].decode()
        assert "Authorization: Bearer proxy-Key-445566" in head
        assert "mine" not in head
        assert "X-A: b" in head

    run(story())


CERTIFICATE = Path(__file__).with_name("good_test.pem")
"""For `good.test`, with its key, made for this test: nobody else trusts it."""


async def hear_credentials(folder: Path, host: str, monkeypatch: pytest.MonkeyPatch, *, trusts: bool) -> list[bytes]:
    """What a server that has the certificate of `good.test` hears where a plain request to `host` gets credentials."""
    seen: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            seen.append(await reader.readuntil(b"\r\n\r\n"))
            writer.write(HEAD)
            await writer.drain()
        writer.close()

    async def resolve(_host: str, _port: int) -> list[str]:
        return ["127.0.0.1"]

    served_by = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    served_by.load_cert_chain(CERTIFICATE)
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=served_by)
    port, connect, trust = server.sockets[0].getsockname()[1], asyncio.open_connection, proxy._tls

    def trusting() -> ssl.SSLContext:
        context = trust()
        if trusts:
            context.load_verify_locations(CERTIFICATE)
        return context

    async def to_the_server(address: str, wanted: int, **more: Any) -> Any:
        assert (address, wanted) == ("127.0.0.1", 443), "what is sent in the clear to port 80 goes on encrypted"
        return await connect(address, port, **more)

    monkeypatch.setattr(proxy, "_tls", trusting)
    ways = Ways(
        folder, guard=Guard(private=(ipaddress.ip_network("127.0.0.0/8"),), resolve=resolve),
        credentials=lambda way, to: filled(to, way.credentials),
    )  # fmt: skip
    async with server:
        way = await ways.open(
            agent="me", network=(host,), credentials={host: {"Authorization": "Bearer ${{ secrets.PROXY_KEY }}"}}
        )
        reader, writer = await connected(ways.folder(way))
        monkeypatch.setattr(proxy.asyncio, "open_connection", to_the_server)
        writer.write(f"GET http://{host}/ HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())
        said = await reader.read()
        monkeypatch.setattr(proxy.asyncio, "open_connection", connect)
        writer.close()
        await ways.close(way.token)
    assert said.endswith(b"hello") is bool(seen)
    return seen


@pytest.mark.parametrize(
    ("host", "trusts", "heard"), [("good.test", True, True), ("other.test", True, False), ("good.test", False, False)]
)
def test_credentials_go_over_tls_to_whoever_proves_to_be_the_host_and_to_nobody_else(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, host: str, trusts: bool, heard: bool
) -> None:
    monkeypatch.setenv("PROXY_KEY", "proxy-Key-445566")
    seen = run(hear_credentials(tmp_path / "ways", host, monkeypatch, trusts=trusts))
    assert [b"Bearer proxy-Key-445566" in each for each in seen] == [True] * heard


NOT_HANDED_ON = {
    "a method that echoes": "TRACE http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "the same in small letters": "trace http://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a space before the colon": "GET http://{host}/ HTTP/1.1\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
    "a line that goes on": "GET http://{host}/ HTTP/1.1\r\nX: a\r\n Transfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "a bare line feed": "GET http://{host}/ HTTP/1.1\r\nX: a\nAuthorization: mine\r\n\r\n",
    "a bare carriage return": "GET http://{host}/ HTTP/1.1\r\nX: a\rAuthorization: mine\r\n\r\n",
    "a zero byte": "GET http://{host}/ HTTP/1.1\r\nX: a\0b\r\n\r\n",
    "no colon": "GET http://{host}/ HTTP/1.1\r\nAuthorization\r\n\r\n",
    "pieces": "POST http://{host}/ HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
    "two lengths": "POST http://{host}/ HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 9\r\n\r\nGET / HTTP",
    "a length with a sign": "POST http://{host}/ HTTP/1.1\r\nContent-Length: +5\r\n\r\nhello",
    "a path alone": "GET / HTTP/1.1\r\nHost: {host}\r\n\r\n",
    "another host in front of it": "GET http://other.test@{host}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "https in the clear": "GET https://{host}/ HTTP/1.1\r\nHost: x\r\n\r\n",
    "a tunnel to its address": "CONNECT 127.0.0.1:{port} HTTP/1.1\r\n\r\n",
    "a tunnel to the same by IPv6": "CONNECT [::1]:{port} HTTP/1.1\r\n\r\n",
    "a tunnel to another port": "CONNECT localhost:22 HTTP/1.1\r\n\r\n",
    "a tunnel to a number": "CONNECT 2130706433:{port} HTTP/1.1\r\n\r\n",
    "a tunnel without a port": "CONNECT localhost HTTP/1.1\r\n\r\n",
    "another version": "GET http://{host}/ HTTP/2.0\r\nHost: x\r\n\r\n",
    "three words more": "GET http://{host}/ x y HTTP/1.1\r\nHost: x\r\n\r\n",
}


def test_what_can_be_read_in_two_ways_or_leads_elsewhere_is_not_handed_on(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """A hostile command speaks to the proxy itself: by its socket, and not in any way that clients do."""
    monkeypatch.setenv("PROXY_KEY", "proxy-Key-445566")

    async def story() -> None:
        seen: list[bytes] = []
        async with served(seen) as port:
            ways = Ways(tmp_path / "ways", guard=Guard(), credentials=lambda way, to: filled(to, way.credentials))
            host = f"localhost:{port}"
            texts = {host: {"Authorization": "Bearer ${{ secrets.PROXY_KEY }}"}}
            way = await ways.open(agent="me", network=(host,), credentials=texts)
            for name, request in NOT_HANDED_ON.items():
                reader, writer = await connected(ways.folder(way))
                writer.write(request.format(host=host, port=port).encode("latin-1"))
                answer = await reader.read()
                assert answer.split(b" ")[1:2] in ([b"400"], [b"403"]), (name, answer)
                writer.close()
            assert seen == []
            reader, writer = await connected(ways.folder(way))
            sent = f"POST http://{host}/ HTTP/1.1\r\nHost: other.test\r\nContent-Length: 0\r\n\r\n"
            writer.write(f"{sent}GET /smuggled HTTP/1.1\r\nHost: other.test\r\n\r\n".encode())
            assert (await reader.read()).endswith(b"hello")
            writer.close()
            await ways.close(way.token)
        assert len(seen) == 1
        assert f"Host: {host}" in seen[0].decode()
        assert "other.test" not in seen[0].decode()

    run(story())


def test_without_bubblewrap_a_command_with_hosts_is_refused(tmp_path: Path) -> None:
    found = landlock_or_none()
    assert found is not None
    with world() as here:
        room = Room(workspace=here.workspace, way=tmp_path)
        errand = Errand(argv=("/bin/true",), cwd=here.workspace)
        with pytest.raises(Denied, match="no network without bubblewrap"):
            run(run_command(found, room, errand, account=account_of(here.fleet)))
