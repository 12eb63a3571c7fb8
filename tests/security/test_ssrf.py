"""No address of the corpus is connected to: not by a tool, not after a redirect, not by a command's proxy, whatever a
name server says and however often it changes its mind. The same corpus gets through where nobody guards.
"""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import ipaddress
import socket
import unicodedata
import zlib
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ostinato.domain.address import is_public
from ostinato.domain.errors import Denied, Exhausted, Invalid
from ostinato.tools.web.client import WebClient, WebLimits, WebRequest
from ostinato.tools.web.guard import Guard
from ostinato.tools.web.proxy import Ways
from ostinato.tools.web.target import declared_hosts, parse_target
from tests.conftest import run
from tests.security.ssrf_corpus import NAMES, SCHEMES, corpus
from tests.ways import connected

FRONT = "127.0.0.2"
"""Stands for a public server in these tests: its network is opened by a person."""
OPENED = (ipaddress.ip_network(f"{FRONT}/32"),)
Reply = Callable[[bytes], bytes]


async def by_names(host: str, _port: int) -> Sequence[str]:
    """The name server of the corpus."""
    if host == "front.test":
        return [FRONT]
    return NAMES.get(host) or (["127.0.0.1"] if host == "localhost" else [])


class Servers:
    """Two servers at one port: one that is opened, and one inside, which counts who comes."""

    def __init__(self, port: int) -> None:
        self.port = port
        self.reached = 0
        self.heads: list[bytes] = []
        self.reply: Reply = lambda _head: b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"


@contextlib.asynccontextmanager
async def servers() -> AsyncIterator[Servers]:
    """Both, listening."""
    with socket.create_server(("127.0.0.1", 0)) as inner, socket.socket() as outer:
        found = Servers(inner.getsockname()[1])
        outer.bind((FRONT, found.port))

        async def inside(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            found.reached += 1
            writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\ninside")
            writer.close()

        async def front(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                found.heads.append(await reader.readuntil(b"\r\n\r\n"))
                writer.write(found.reply(found.heads[-1]))
                await writer.drain()
            writer.close()

        one, other = await asyncio.start_server(inside, sock=inner), await asyncio.start_server(front, sock=outer)
        async with one, other:
            yield found


def everything(url: str) -> tuple[str, ...]:
    """A person who declares whatever is asked for, as far as that can be declared: only the addresses stand guard."""
    try:
        host = parse_target(url).host
    except Invalid:
        host = "x.test"
    return (host, f"*.{host}", "*.test", "local.test", "front.test", *NAMES)


def careless(url: str) -> str | None:
    """Where a client goes that reads an address as usual libraries do, and asks nobody: the inner address."""
    text = unicodedata.normalize("NFKC", url).strip().replace("\t", "").replace("\\", "/").replace("。", ".")
    host = unquote(urlsplit(text).hostname or "").rstrip(".").lower()
    if host in NAMES:
        return NAMES[host][0] if "mixed" not in host else next(each for each in NAMES[host] if is_inner(each))
    try:
        found = socket.getaddrinfo(host.partition("%")[0], 80, type=socket.SOCK_STREAM)
    except OSError:
        return None
    return str(found[0][4][0])


def is_inner(text: str) -> bool:
    """By another reading than the product's: Python's own list, and addresses within addresses."""
    address = ipaddress.ip_address(text.partition("%")[0])
    inside = [getattr(address, name, None) for name in ("ipv4_mapped", "sixtofour")]
    if any(each is not None and not each.is_global for each in inside):
        return True
    odd = [
        "64:ff9b::/32",
        "168.63.129.16/32",
        "192.0.0.0/24",
        "100::/64",
        "fec0::/10",
        "::/8",
        "224.0.0.0/4",
        "ff00::/8",
    ]
    networks = map(ipaddress.ip_network, odd)
    return not address.is_global or any(address.version == n.version and address in n for n in networks)


def test_the_corpus_is_large_and_has_teeth() -> None:
    found = corpus()
    assert len(found) >= 150
    assert len(Counter(technique for technique, _, _ in found)) >= 10
    through = [url for _, url, _ in found if (where := careless(url.format(port=80))) and is_inner(where)]
    assert len(through) > 0.95 * len(found), sorted({url for _, url, _ in found} - set(through))


@pytest.mark.slow
def test_no_address_of_the_corpus_is_connected_to() -> None:
    async def story() -> None:
        async with servers() as there:
            client, through = WebClient(Guard(resolve=by_names)), []
            for _, form, _ in corpus():
                for port in (there.port, 80):
                    url = form.format(port=port)
                    try:
                        target = parse_target(url)
                        await client.ask(WebRequest(target=target, network=everything(url)))
                    except (Denied, Invalid):
                        continue
                    through.append(url)
            assert (through, there.reached) == ([], 0)

    run(story())


def test_where_addresses_are_not_judged_the_names_of_the_corpus_get_through(monkeypatch: pytest.MonkeyPatch) -> None:
    async def story() -> None:
        async with servers() as there:

            async def inside(_host: str, _port: int) -> Sequence[str]:
                return ["127.0.0.1"]

            network = tuple(f"{name}:{there.port}" for name in NAMES)
            for guarded in (True, False):
                if not guarded:
                    monkeypatch.setattr("ostinato.tools.web.guard.is_allowed", lambda *_: True)
                there.reached, client = 0, WebClient(Guard(resolve=inside))
                for name in NAMES:
                    target = parse_target(f"http://{name}:{there.port}/")
                    with contextlib.suppress(Denied):
                        await client.ask(WebRequest(target=target, network=network))
                assert there.reached == (0 if guarded else len(NAMES))

    run(story())


@pytest.mark.slow
def test_no_redirect_leads_inside() -> None:
    async def story() -> None:
        async with servers() as there:
            client = WebClient(Guard(private=OPENED, resolve=by_names))
            locations = [form.format(port=80) for _, form, _ in corpus() if form.isascii()]
            seen = 0
            for status in (301, 302, 303, 307, 308):
                for location in (*locations[:: 1 if status == 302 else 7], *SCHEMES):
                    text = location.strip().replace("\t", "%09")
                    there.reply = lambda _head, s=status, t=text: (
                        f"HTTP/1.1 {s} Go\r\nLocation: {t}\r\nContent-Length: 0\r\n\r\n".encode()
                    )
                    network = (*everything(location), f"front.test:{there.port}", "front.test")
                    target = parse_target(f"http://front.test:{there.port}/")
                    with pytest.raises((Denied, Invalid)):
                        await client.ask(WebRequest(target=target, network=network))
                    seen += 1
            assert (seen >= 250, there.reached) == (True, 0)

    run(story(), timeout_s=60)


def test_a_name_server_that_changes_its_mind_is_asked_once_and_believed_once() -> None:
    async def story() -> None:
        async with servers() as there:
            asked = 0

            async def rebinding(_host: str, _port: int) -> Sequence[str]:
                nonlocal asked
                asked += 1
                return [FRONT] if asked % 2 else ["127.0.0.1"]

            client = WebClient(Guard(private=OPENED, resolve=rebinding))
            request = WebRequest(
                target=parse_target(f"http://rebind.test:{there.port}/"), network=(f"rebind.test:{there.port}",)
            )
            for round_ in range(20):
                if round_ % 2:
                    with pytest.raises(Denied, match="not public"):
                        await client.ask(request)
                else:
                    assert (await client.ask(request)).body == b"ok"
            assert (asked, there.reached, len(there.heads)) == (20, 0, 10)

    run(story())


@pytest.mark.slow
def test_the_proxy_of_commands_lets_nothing_of_the_corpus_through(tmp_path: Path) -> None:
    async def said(ways: Ways, folder: Path, head: str) -> int:
        reader, writer = await connected(folder)
        writer.write(head.encode(errors="replace"))
        answer = await reader.read()
        writer.close()
        return int(answer.split(b" ")[1]) if answer else 0

    async def story() -> None:
        async with servers() as there:
            ways = Ways(tmp_path / "ways", guard=Guard(resolve=by_names))
            way = await ways.open(agent="a", network=("*.test", "localhost", "127.0.0.1", *NAMES))
            heads = [
                head
                for _, form, _ in corpus()
                for url in (form.format(port=there.port), form.format(port=80))
                for head in (f"GET {url}", f"CONNECT {url.partition('//')[2].rstrip('/')}")
            ]
            got = [await said(ways, ways.folder(way), f"{head} HTTP/1.1\r\n\r\n") for head in heads]
            through = [head for head, status in zip(heads, got, strict=True) if status not in (400, 403, 0)]
            await ways.close(way.token)
            assert (through, there.reached) == ([], 0)

    run(story())


def test_credentials_and_headers_stay_with_their_origin(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOP_KEY", "hop-Key-1234567")

    async def story() -> None:
        async with servers() as there:

            async def two(_host: str, _port: int) -> Sequence[str]:
                return [FRONT]

            client = WebClient(Guard(private=OPENED, resolve=two))
            first, second = f"localhost:{there.port}", f"second.test:{there.port}"
            there.reply = lambda head: (
                f"HTTP/1.1 302 Go\r\nLocation: http://{second}/there\r\nContent-Length: 0\r\n\r\n".encode()
                if b"/there" not in head
                else b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"
            )
            request = WebRequest(
                target=parse_target(f"http://{first}/"),
                network=(first, second),
                headers={"X-Plain": "mine"},
                credentials={first: {"Authorization": "Bearer ${{ secrets.HOP_KEY }}"}},
            )
            await client.ask(request)
            one, other = there.heads
            assert b"hop-Key-1234567" in one
            assert b"X-Plain" in one
            assert f"Host: {second}".encode() in other
            for word in (b"hop-Key", b"Authorization", b"X-Plain"):
                assert word not in other

    run(story())


@pytest.mark.parametrize("coding", ["gzip", "deflate", "x-gzip"])
def test_a_bomb_is_left_where_the_limit_is_reached(coding: str) -> None:
    zeros = bytes(20_000_000)
    packed = gzip.compress(zeros) if "gzip" in coding else zlib.compress(zeros)

    async def story() -> None:
        async with servers() as there:
            head = f"HTTP/1.1 200 OK\r\nContent-Encoding: {coding}\r\nContent-Length: {len(packed)}\r\n\r\n"
            there.reply = lambda _head: head.encode() + packed
            client = WebClient(Guard(private=OPENED, resolve=by_names), limits=WebLimits(body_bytes=100_000))
            answer = await client.ask(_front(there))
            assert (len(answer.body), answer.is_whole) == (100_000, False)

    run(story())


def test_what_was_not_asked_for_or_never_ends_is_given_up() -> None:
    async def story() -> None:
        async with servers() as there:
            client = WebClient(Guard(private=OPENED, resolve=by_names), limits=WebLimits(total_s=0.2))
            there.reply = lambda _head: b"HTTP/1.1 200 OK\r\nContent-Encoding: br\r\nContent-Length: 1\r\n\r\nx"
            with pytest.raises(Denied, match="packed"):
                await client.ask(_front(there))
            there.reply = lambda _head: b"HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nx"
            with pytest.raises(Exhausted):
                await client.ask(_front(there))
            there.reply = lambda _head: b"HTTP/1.1 302 Go\r\nLocation: /again\r\nContent-Length: 0\r\n\r\n"
            with pytest.raises(Denied, match="redirects"):
                await client.ask(_front(there))
            there.reply = lambda _head: b"SSH-2.0-x\r\n\r\n"
            with pytest.raises(Exhausted, match="HTTP"):
                await client.ask(_front(there))

    run(story())


def _front(there: Servers) -> WebRequest:
    return WebRequest(target=parse_target(f"http://front.test:{there.port}/"), network=(f"front.test:{there.port}",))


@pytest.mark.parametrize("url", SCHEMES)
def test_no_other_scheme_is_read(url: str) -> None:
    with pytest.raises(Invalid):
        parse_target(url)
    assert " " in declared_hosts(url)[0], "which no declaration covers"


@given(st.text(max_size=60), st.sampled_from(["http://", "https://", "http:/", ""]))
def test_what_is_judged_is_what_is_connected_to(rest: str, scheme: str) -> None:
    try:
        target = parse_target(scheme + rest)
    except Invalid:
        return
    assert declared_hosts(scheme + rest) == (target.declared,)
    assert parse_target(target.url) == target, "one reading"
    read = urlsplit(target.url)
    assert (read.hostname, read.port or {"http": 80, "https": 443}[read.scheme]) == (target.host, target.port)


@given(st.ip_addresses(v=6))
def test_an_ipv6_address_is_public_only_where_it_carries_no_other(address: ipaddress.IPv6Address) -> None:
    if is_public(address):
        assert address.is_global
        assert address.sixtofour is None
        assert address.teredo is None
